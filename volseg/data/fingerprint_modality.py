"""What made the images, and how sure that is: told by the data's description, or seen in the intensities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from volseg.data.fingerprint_case import CaseFingerprint
from volseg.errors import CohortError

Modality = Literal["CT", "MR", "PET", "US", "XR", "microscopy", "other"]
Sureness = Literal["told", "sure", "likely", "unsure"]

# air is -1000 HU, and nothing but Hounsfield units is that far below 0 in whole numbers
_AIR = -500.0
_SPELLINGS: dict[str, Modality] = {
    "ct": "CT",
    "hounsfield": "CT",
    "mr": "MR",
    "mri": "MR",
    "pet": "PET",
    "pt": "PET",
    "us": "US",
    "ultrasound": "US",
    "xr": "XR",
    "xray": "XR",
    "x-ray": "XR",
    "microscopy": "microscopy",
    "fluorescence": "microscopy",
    "em": "microscopy",
}
_MR_SEQUENCES = ("t1", "t2", "flair", "adc", "dwi", "mp2rage", "cine", "lge", "swi", "dixon")


@dataclass(frozen=True)
class Guess:
    """A modality, how sure it is, and why."""

    modality: Modality
    sureness: Sureness
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def named_modality(word: str) -> Modality | None:
    """The modality that a channel's name stands for.

    >>> named_modality("MRI"), named_modality("T2w"), named_modality("image")
    ('MR', 'MR', None)
    """
    small = word.strip().lower()
    if small in _SPELLINGS:
        return _SPELLINGS[small]
    return "MR" if small.startswith(_MR_SEQUENCES) else None


def guess_modality(cases: Sequence[CaseFingerprint], channels: Sequence[str] = ()) -> Guess:
    """What made the images of a cohort.

    Args:
        cases: that could be read.
        channels: names of the channels, where a description has them.

    Raises:
        CohortError: if some are CT and some are not.
    """
    seen = {case.case: _seen(case) for case in cases}
    kinds = Counter(seen.values())
    if kinds["CT"] and kinds["MR"]:
        few: Modality = "CT" if kinds["CT"] <= kinds["MR"] else "MR"
        example = next(name for name, kind in seen.items() if kind == few)
        raise CohortError(
            f"modalities are mixed: {kinds['CT']} cases are in Hounsfield units, {kinds['MR']} are not ({example}"
            f" is among the {kinds[few]})",
            mend="one recipe is for one modality: put each into a folder of its own",
        )
    named = {named_modality(name) for name in channels}
    if len(named) == 1 and (told := named.pop()) is not None:
        return Guess(told, "told", f"dataset.json calls the channels {', '.join(channels)}")
    stated = {case.told for case in cases}
    if len(stated) > 1 and None not in stated:
        raise CohortError(
            f"modalities are mixed: {' and '.join(sorted(str(s) for s in stated))} by their headers",
            mend="one recipe is for one modality: put each into a folder of its own",
        )
    if len(stated) == 1 and (header := stated.pop()) is not None:
        return Guess(header, "told", "the headers say so")  # type: ignore[arg-type]
    if kinds["CT"]:
        sure: Sureness = "sure" if kinds["CT"] == len(cases) else "likely"
        return Guess("CT", sure, f"whole numbers from below {_AIR:g}, as air has in Hounsfield units")
    if kinds["microscopy"] == len(cases):
        return Guess("microscopy", "likely", "pictures without a scale in millimetres")
    if kinds["MR"] == len(cases):
        return Guess("MR", "likely", "volumes without negative values, whose scale differs from case to case")
    return Guess("other", "unsure", "the intensities fit no modality that is known here")


def _seen(case: CaseFingerprint) -> Modality:
    """What one case's intensities say; ``other`` where they say nothing."""
    if case.picture:
        return "microscopy"
    first = case.channels[0]
    low, high = first.whole.percentiles[0], first.whole.percentiles[-1]
    if low <= _AIR and 100 <= high <= 32767 and first.integers:
        return "CT"
    if low >= 0 and len(case.shape) == 3:
        return "MR"
    return "other"
