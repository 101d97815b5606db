"""The frames of a time series as cases of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from volseg.data.cohort.case import Case
from volseg.errors import CohortError, VolsegError
from volseg.io import frame_count

Frames = int | Literal["all"] | None


def with_frames(cases: tuple[Case, ...], frames: Frames) -> tuple[Case, ...]:
    """Cases of one frame (a number from 0), or of each frame (``all``); a label map goes with one image only."""
    if frames is None:
        return cases
    if frames == "all":
        return tuple(one for case in cases for one in _each(case))
    if frames < 0:
        raise CohortError(f"frames count from 0, {frames} is none")
    return tuple(replace(case, frame=frames) for case in cases)


def _each(case: Case) -> tuple[Case, ...]:
    if case.frame is not None or len(case.images) > 1 or case.image.is_dir():
        return (case,)
    try:
        count = frame_count(case.image)
    except VolsegError:  # a damaged file fails by itself when it is read, and not the others with it
        return (case,)
    if count == 1:
        return (case,)
    return tuple(replace(case, name=f"{case.name}_t{k:03d}", frame=k, label=None) for k in range(count))
