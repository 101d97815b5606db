"""What results are called: known, and known to differ, before anything runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from volseg.data.cohort.case import Case, Cohort
from volseg.data.cohort.naming import counted, listed
from volseg.errors import CohortError, WriteError

# What file systems bear, and what the temporary beside a file needs.
_MOST_BYTES = 255


def output_name(case: Case, ending: str = ".nii.gz") -> PurePosixPath:
    """The result's path below the output folder: the input tree mirrored.

    >>> from pathlib import Path
    >>> output_name(Case("p1/ct", (Path("in/p1/ct.mha"),))).as_posix()
    'p1/ct.nii.gz'
    """
    path = PurePosixPath(case.folder, case.name + ending)
    if path.is_absolute() or ".." in path.parts:
        raise CohortError("this name would lead out of the output folder", where=case.name, mend="rename the case")
    return path


def output_names(cases: Iterable[Case], ending: str = ".nii.gz") -> dict[str, PurePosixPath]:
    """Every case's result by the case's name.

    Raises:
        CohortError: if two cases would share one, or a name would be too long for a file.
    """
    names: dict[str, PurePosixPath] = {}
    sources: dict[PurePosixPath, list[Case]] = defaultdict(list)
    for case in cases:
        path = output_name(case, ending)
        sources[path].append(case)
        names[case.name] = path
        if any(len(part.encode("utf-8", "surrogateescape")) > _MOST_BYTES for part in path.parts):
            raise CohortError(
                f"the result's name would be longer than {_MOST_BYTES} bytes", where=case.image, mend="shorten the name"
            )
    for path, sharing in sources.items():
        if len(sharing) > 1:
            raise CohortError(
                f"{listed(case.image for case in sharing)} would share the result {listed([path])}",
                mend="keep one of them, or rename one",
            )
    return names


def without_outputs(cohort: Cohort, output: Path) -> Cohort:
    """The cohort without images in the output folder: the masks of an earlier run are no images of this one."""
    folder = output.resolve()
    if cohort.root.resolve() not in folder.parents:
        return cohort
    kept = tuple(case for case in cohort.cases if all(folder not in image.resolve().parents for image in case.images))
    left_out = len(cohort.cases) - len(kept)
    if not left_out:
        return cohort
    return replace(
        cohort, cases=kept, notes=(*cohort.notes, f"{counted(left_out, 'image')} in the output folder left out")
    )


def require_apart(case: Case, output: Path) -> None:
    """Refuse a result that would take the place of what it is made or judged from.

    Raises:
        WriteError: if it would.
    """
    for given in (*case.images, *([] if case.label is None else [case.label])):
        if output.exists() and given.exists() and output.samefile(given):
            what = "image" if given in case.images else "truth"
            raise WriteError(f"the mask would overwrite its {what}", where=given, mend="choose another output folder")
