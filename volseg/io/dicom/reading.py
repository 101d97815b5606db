"""The child's reading jobs: which series a folder holds, one of them as voxels, and whose files are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from volseg.errors import UsageError, VolumeError
from volseg.io.dicom.headers import Plane, planes_of, read_header, scan
from volseg.io.dicom.stacks import Stack, mixture, place_key, stacks_of

if TYPE_CHECKING:
    from volseg.io.dicom.placement import Placement

# A line on a terminal, not a listing
_SHOWN = 6


def list_job(request: Mapping[str, Any]) -> dict[str, Any]:
    """Every stack that can be asked for; localizers form none."""
    planes, _ = scan(Path(file) for file in request["files"])
    planes = [plane for plane in planes if not plane.is_localizer]  # as in reading, so that parts are numbered alike
    return {
        "series": [
            {"uid": s.key, "modality": s.first.modality, "count": len(s.planes), "description": s.description}
            for s in stacks_of(planes)
        ]
    }


def read_job(request: Mapping[str, Any]) -> dict[str, Any]:
    """One series as voxels in the shared memory, and what is to be known about it."""
    from volseg.io.dicom.pixels import decode
    from volseg.io.dicom.worker import limit

    stack, placed, notes = _placed(request)
    rows, columns = placed.planes[0].shape
    largest = rows * columns * len(placed.planes) * max(4, placed.planes[0].allocated // 8)
    _require_memory(largest)
    limit(memory=int(request["memory"]) + 3 * largest)
    voxels = decode(placed.planes, int(request["shared"]), Path(request["scratch"]))
    first = placed.planes[0]
    return {
        **_lie(placed),
        "dtype": voxels.dtype.name,
        "padding": voxels.padding,
        "notes": [*notes, *voxels.notes],
        "header": {
            "format": "DICOM",
            "modality": first.modality,
            "series": stack.key,
            "sop_class": first.sop_class,
            "transfer_syntax": first.syntax,
        },
    }


def outline_job(request: Mapping[str, Any]) -> dict[str, Any]:
    """Where the voxels of one series are, by its headers alone."""
    _, placed, _ = _placed(request)
    return {**_lie(placed), "modality": placed.planes[0].modality}


def patients_job(request: Mapping[str, Any]) -> dict[str, Any]:
    """Whose each file is, as a hash: the ID itself stays here."""
    return {"patients": [_patient(Path(file)) for file in request["files"]]}


def _patient(file: Path) -> str | None:
    header = read_header(file, ["PatientID", "IssuerOfPatientID"])
    told, issuer = (str(header.get(name) or "").strip() for name in ("PatientID", "IssuerOfPatientID"))
    return sha256(f"{issuer}\0{told}".encode()).hexdigest() if told else None


def _placed(request: Mapping[str, Any]) -> tuple[Stack, Placement, list[str]]:
    """The stack that is asked for, how its planes lie, and notes."""
    from volseg.io.dicom.placement import place

    stack, notes = find(request)
    kept, dropped = without_copies(stack.planes)
    placed = place(kept)
    return stack, placed, [*notes, *dropped, *placed.notes]


def _lie(placed: Placement) -> dict[str, Any]:
    rows, columns = placed.planes[0].shape
    flat = placed.planes[0].position is None
    shape = [columns, rows] if flat else [columns, rows, len(placed.planes)]
    return {"shape": shape, "affine": placed.affine.tolist()}


def find(request: Mapping[str, Any]) -> tuple[Stack, list[str]]:
    """The stack that is asked for, or the only one; notes on what was left out."""
    wanted, named = request.get("series"), request.get("file")
    if named is not None and isinstance(kind := planes_of(Path(named)), str):
        raise VolumeError(f"is {kind}, not an image to segment", mend="give the series it belongs to")
    planes, passed = scan(Path(file) for file in request["files"])
    if not planes:
        raise _nothing(passed)
    notes = [] if named is not None else _passed_notes(passed)
    if wanted is not None:  # the rest is only of interest when it is not there
        planes = [plane for plane in planes if plane.series == str(wanted).split("#")[0]] or planes
    localizers = [plane for plane in planes if plane.is_localizer]
    if len(localizers) == len(planes):
        raise VolumeError(
            f"holds only localizers ({len(planes)} images), which form no volume",
            mend="give the series itself",
        )
    if localizers and not any(plane.file == named for plane in localizers):
        planes = [plane for plane in planes if not plane.is_localizer]
        notes.append(_counted(len(localizers), "localizer image") + " left out")
    stacks = stacks_of(planes)
    if named is not None and wanted is None:
        stacks = _of_file(stacks, named)
    return _choose(stacks, wanted), notes


def without_copies(planes: Sequence[Plane]) -> tuple[list[Plane], list[str]]:
    """Each image once. Copies are told by their UID and place; images that merely share a place are refused."""
    kept: dict[tuple[str, int, tuple[int, ...]], Plane] = {}
    copies = 0
    for plane in planes:
        key = (plane.uid, plane.frame, place_key(plane))
        if key in kept:
            if _digest(kept[key]) != _digest(plane):
                raise VolumeError(
                    "holds two different images under one SOP instance UID and position",
                    mend="export the series again",
                )
            copies += 1
        else:
            kept[key] = plane
    notes = [_counted(copies, "duplicate slice") + " dropped"] if copies else []
    unique = list(kept.values())
    places = Counter(place_key(plane) for plane in unique)
    if unique[0].position is not None and len(places) < len(unique):
        most = max(places.values())
        raise VolumeError(
            f"holds up to {most} images in one place ({len(unique)} in {len(places)} places) told apart by nothing",
            mend="export each time point or echo as a series of its own",
        )
    if len({(plane.uid, plane.frame) for plane in unique}) < len(unique):
        notes.append("several slices carry the same SOP instance UID; they were told apart by their positions")
    return unique, notes


def _digest(plane: Plane) -> bytes:
    from pydicom import dcmread

    dataset = dcmread(plane.file, force=True)
    return sha256(dataset.get("PixelData", b"")).digest()


def _of_file(stacks: Sequence[Stack], named: str) -> list[Stack]:
    """The stacks that a file has a part in; alone, when it is an image without a place."""
    found = [stack for stack in stacks if any(plane.file == named for plane in stack.planes)]
    own = tuple(plane for stack in found for plane in stack.planes if plane.file == named)
    return [Stack(own[0].series, own)] if own and own[0].position is None else found


def _choose(stacks: Sequence[Stack], wanted: str | None) -> Stack:
    if wanted is not None:
        chosen = [stack for stack in stacks if stack.key == wanted]
        if chosen:
            return chosen[0]
        stacks_of_series = [stack for stack in stacks if stack.key.split("#")[0] == wanted]
        if not stacks_of_series:
            raise UsageError(f"holds no series {wanted}; {_listing(stacks)}")
        stacks = stacks_of_series
    if len(stacks) == 1:
        return stacks[0]
    series = {stack.key.split("#")[0] for stack in stacks}
    what = f"holds {len(series)} series" if len(series) > 1 else f"one series mixes {mixture(stacks)}"
    raise VolumeError(f"{what}: {_listing(stacks)}", mend="choose one with --series UID")


def _listing(stacks: Sequence[Stack]) -> str:
    shown = ", ".join(f"{stack.key} ({stack.description})" for stack in stacks[:_SHOWN])
    return shown + (f" and {len(stacks) - _SHOWN} more" if len(stacks) > _SHOWN else "")


def _nothing(passed: Counter[str]) -> VolumeError:
    """Why a folder holds no image."""
    kinds = [kind for kind in passed if kind != "not DICOM"]
    if not kinds:
        return VolumeError("holds no DICOM file", mend="subfolders are not looked into: name the one you mean")
    what = ", ".join(f"{passed[kind]} x {kind.removeprefix('a ').removeprefix('an ')}" for kind in kinds)
    return VolumeError(f"holds no image to segment, only {what}", mend="give the image series")


def _passed_notes(passed: Counter[str]) -> list[str]:
    notes = []
    for kind, count in passed.items():
        if kind == "not DICOM":
            notes.append(_counted(count, "file") + " skipped: not DICOM")
        elif "DICOMDIR" not in kind:
            notes.append(_counted(count, "file") + f" skipped: {kind}, not an image to segment")
    return notes


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _require_memory(needed: int) -> None:
    """Refuse before the machine runs out of memory, where it can say how much it has."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) << 10
    except (OSError, StopIteration, ValueError):
        return
    if needed > available:
        raise VolumeError(
            f"its voxels may take {needed >> 20} MiB, {available >> 20} MiB are free",
            mend="free some memory",
        )
