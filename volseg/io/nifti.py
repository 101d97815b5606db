"""NIfTI-1 and NIfTI-2: nibabel reads the header, the voxels are read here, to the end and with their checksum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from volseg.errors import VolumeError
from volseg.geometry import Affine, Grid
from volseg.io import byte_stream, formats
from volseg.io.geometry_check import Placement, Statements, grid_of, place, require_plausible
from volseg.io.raw_voxels import Storage, chosen_frame, read_voxels, times
from volseg.io.volume import Outline, ReadOptions, Volume
from volseg.io.voxel_check import judge

# One unit of xyzt_units in millimetres; unknown is millimetres by custom.
_UNITS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}

_REFUSED = {
    1: "one-bit",
    32: "complex",
    128: "RGB colour",
    1536: "128-bit float",
    1792: "complex",
    2048: "complex",
    2304: "RGBA colour",
}

_AGAIN = "copy or export it again"


@dataclass(frozen=True)
class _Layout:
    """What a header promises about the voxels."""

    shape: tuple[int, ...]
    frames: int
    dtype: np.dtype[Any]
    slope: float
    inter: float


@dataclass(frozen=True)
class _Told:
    """All that a header says of the frame that is asked for."""

    header: Any
    version: int
    layout: _Layout
    frame: int
    storage: Storage
    placement: Placement
    grid: Grid
    notes: tuple[str, ...]


def frame_count(path: Path) -> int:
    """How many frames a file holds, by its header."""
    header, _ = _header(path)
    return _layout(path, header).frames


def outline(path: Path, options: ReadOptions) -> Outline:
    """What the header tells of the volume that :func:`read` would give."""
    return Outline(_told(path, options).grid)


def read(path: Path, options: ReadOptions) -> Volume:
    """Read one volume: the only frame, or the one that is asked for."""
    told = _told(path, options)
    shape, dtype, frames = told.layout.shape, told.layout.dtype, told.layout.frames
    flat, more = read_voxels(told.storage, shape, dtype, path, frame=told.frame, frames=frames)
    scaled = _scaled(flat, told.layout)
    found = judge(scaled, options, path)
    array = scaled.reshape(shape, order="F")
    notes = (*told.notes, *more, *found.notes)
    return Volume(array, told.grid, _facts(told), notes, path, found.padding)


def _told(path: Path, options: ReadOptions) -> _Told:
    header, version = _header(path)
    layout = _layout(path, header)
    frame = chosen_frame(layout.frames, options.frame, path)
    storage = _storage(path, header)
    placement, grid, notes = _geometry(header, layout.shape, options, path)
    return _Told(header, version, layout, frame, storage, placement, grid, (*_size_note(header, layout.dtype), *notes))


def _header(path: Path) -> tuple[Any, int]:
    """The header of a file, in its own byte order, and the version of the format."""
    source = _sibling(path, ".hdr") if formats.ending(path).startswith(".img") else path
    with byte_stream.opened(source, compressed=formats.ending(source).endswith(".gz")) as stream:
        head = byte_stream.take(stream, formats.HEAD)
    title, kind = formats.content(head)
    if kind != "nifti":
        if title == formats.ANALYZE and len(head) < nib.Nifti1Header.template_dtype.itemsize:
            raise VolumeError("truncated within the header", where=path, mend=_AGAIN)
        if title == formats.ANALYZE:
            raise VolumeError(
                "an Analyze 7.5 file, which does not say where left and right are",
                where=path,
                mend="convert the original to NIfTI",
            )
        inside = "inside the gzip there is" if formats.ending(source).endswith(".gz") else "it is"
        raise VolumeError(f"no NIfTI: {inside} {title}", where=path, mend=_AGAIN)
    version = 2 if title.startswith(("NIfTI-2", "a NIfTI-2")) else 1
    single = head[344:347] == b"n+1" or head[4:7] == b"n+2"
    if single != (formats.ending(source) in (".nii", ".nii.gz")):
        raise VolumeError(
            f"named {formats.ending(source)}, but its header belongs to "
            + ("a single .nii file" if single else "a .hdr and .img pair"),
            where=path,
            mend=_AGAIN,
        )
    klass = nib.Nifti1Header if version == 1 else nib.Nifti2Header
    size = klass.template_dtype.itemsize
    if len(head) < size:
        raise VolumeError("truncated within the header", where=path, mend=_AGAIN)
    if int.from_bytes(head[:4], "little") != size and int.from_bytes(head[:4], "big") != size:
        raise VolumeError(f"the header says it is {int.from_bytes(head[:4], 'little')} bytes, not {size}", where=path)
    return klass(head[:size], endianness="<" if head[0] else ">", check=False), version


def _layout(path: Path, header: Any) -> _Layout:
    count = int(header["dim"][0])
    if not 1 <= count <= 7:
        raise VolumeError(f"the header says it has {count} dimensions", where=path, mend=_AGAIN)
    dims = [int(n) for n in header["dim"][1 : count + 1]]
    if min(dims) < 1:
        raise VolumeError(f"a dimension is zero or negative: {times(dims)}", where=path, mend=_AGAIN)
    while len(dims) > 3 and dims[-1] == 1:
        dims.pop()
    if len(dims) > 4:
        raise VolumeError(
            f"has {len(dims)} dimensions ({times(dims)}); volumes have 3, time series 4",
            where=path,
            mend="save the volume you mean by itself",
        )
    if len(dims) == 1 or math.prod(dims[:3]) == 1:
        raise VolumeError(f"no image: {times(dims)} voxels", where=path)
    code = int(header["datatype"])
    if code in _REFUSED:
        raise VolumeError(
            f"holds {_REFUSED[code]} voxels, not grey values or labels", where=path, mend="save one channel by itself"
        )
    try:
        dtype = np.dtype(nib.nifti1.data_type_codes.dtype[code]).newbyteorder(header.endianness)
    except KeyError as error:
        raise VolumeError(f"unknown data type code {code}", where=path, mend=_AGAIN) from error
    if dtype.kind not in "iuf":
        raise VolumeError(f"unknown data type code {code}", where=path, mend=_AGAIN)
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0:
        slope, inter = 1.0, 0.0  # as the standard has it: not scaled
    if not (math.isfinite(slope) and math.isfinite(inter)):
        raise VolumeError(
            f"scaled by no number (scl_slope {slope:g}, scl_inter {inter:g})", where=path, mend="mend the header"
        )
    return _Layout(tuple(dims[:3]), math.prod(dims[3:]), dtype, slope, inter)


def _size_note(header: Any, dtype: np.dtype[Any]) -> tuple[str, ...]:
    """A word where the header states the size of a voxel otherwise than its type; readers go by the type."""
    stated, bits = int(header["bitpix"]), 8 * dtype.itemsize
    if stated in (0, bits):
        return ()
    return (f"the header says {stated} bits per voxel, and its type {dtype.name} has {bits}; the type was taken",)


def _storage(path: Path, header: Any) -> Storage:
    """Where the voxels begin."""
    single = formats.ending(path) in (".nii", ".nii.gz")
    file = path if single else _sibling(path, ".img")
    start = float(header["vox_offset"])
    least = (header.template_dtype.itemsize + 4) if single else 0
    if not math.isfinite(start) or start != int(start) or start < least:
        raise VolumeError(
            f"the voxels are said to start at byte {start:g}, within the header of {least} bytes",
            where=path,
            mend=_AGAIN,
        )
    return Storage(file, 0, "gzip" if formats.ending(file).endswith(".gz") else "raw", inner_skip=int(start))


def _geometry(
    header: Any, shape: tuple[int, ...], options: ReadOptions, path: Path
) -> tuple[Placement, Grid, tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    code = int(header["xyzt_units"]) & 7
    if code not in _UNITS:
        notes += (f"unknown unit code {code} taken as millimetres",)
    ndim = len(shape)
    said = Statements(
        sform=_sform(header) if int(header["sform_code"]) > 0 else None,
        qform=_qform(header, ndim, path, options) if int(header["qform_code"]) > 0 else None,
        pixdim=tuple(float(x) for x in header["pixdim"][1 : ndim + 1]),
        unit=_UNITS.get(code, 1.0),
    )
    placement = place(said, options, path)
    grid, more = grid_of(shape, placement.affine, path)
    return placement, grid, (*notes, *placement.notes, *more, *require_plausible(grid, options.spacing_range, path))


def _sform(header: Any) -> Affine:
    affine: Affine = np.eye(4)
    for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
        affine[row] = header[name]
    return affine


def _qform(header: Any, ndim: int, path: Path, options: ReadOptions) -> Affine | None:
    if options.geometry == "sform":
        return None
    sizes = np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64))
    sizes[ndim:] = np.where(np.isfinite(sizes[ndim:]) & (sizes[ndim:] > 0), sizes[ndim:], 1.0)
    if not np.isfinite(sizes).all() or not sizes.all():
        return np.diag([*sizes, 1.0])  # the voxel sizes are judged and named first; there is no qform without them
    copy = header.copy()
    copy["pixdim"][1:4] = sizes
    if copy["pixdim"][0] not in (-1, 1):
        copy["pixdim"][0] = 1  # as the standard has it for 0
    numbers = [float(header[name]) for name in ("quatern_b", "quatern_c", "quatern_d")]
    try:
        with np.errstate(invalid="ignore"):
            affine: Affine = np.asarray(copy.get_qform(), dtype=np.float64)
    except ValueError as error:
        raise VolumeError(
            f"the qform is no rotation (quaternion {numbers})",
            where=path,
            mend="mend the header, or --geometry sform if its sform is right",
        ) from error
    return affine


def _scaled(flat: npt.NDArray[Any], layout: _Layout) -> npt.NDArray[Any]:
    """Stored values to the values they stand for: untouched without a scaling, else float."""
    if layout.slope == 1 and layout.inter == 0:
        return flat
    narrow = flat.dtype.itemsize <= 2 or flat.dtype == np.float32
    result = np.empty(flat.shape, np.float32 if narrow else np.float64)
    for start in range(0, flat.size, byte_stream.PIECE):  # in pieces: the exact intermediate is twice as wide
        piece = slice(start, start + byte_stream.PIECE)
        result[piece] = flat[piece] * np.float64(layout.slope) + np.float64(layout.inter)
    return result


def _facts(told: _Told) -> dict[str, Any]:
    """What writing on the same grid needs, bit for bit; descriptions and names of files and databases stay behind."""
    header, placement = told.header, told.placement
    return {
        "format": f"nifti{told.version}",
        "form": placement.form,
        "other_agrees": placement.other_agrees,
        "sform_code": int(header["sform_code"]),
        "qform_code": int(header["qform_code"]),
        "srow": [[float(x) for x in header[name]] for name in ("srow_x", "srow_y", "srow_z")],
        "quatern": [float(header[f"quatern_{x}"]) for x in "bcd"],
        "qoffset": [float(header[f"qoffset_{x}"]) for x in "xyz"],
        "pixdim": [float(x) for x in header["pixdim"][:4]],
        "xyzt_units": int(header["xyzt_units"]) & 7,
    }


def _sibling(path: Path, end: str) -> Path:
    """The other file of a .hdr and .img pair."""
    own = formats.ending(path)
    stem = path.name[: len(path.name) - len(own)]
    for name in (stem + end, stem + end + ".gz"):
        if path.with_name(name).exists():
            return path.with_name(name)
    raise VolumeError(f"its other half {stem}{end} is missing", where=path)
