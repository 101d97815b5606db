"""Writing NRRD and MetaImage: a header of a dozen lines in LPS, every digit of the affine, the voxels compressed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from volseg.geometry import Affine, Grid
from volseg.io.atomic import atomic_write
from volseg.io.byte_stream import Compressor
from volseg.io.formats import ending

_NRRD_TYPES = {
    "u1": "uint8", "i1": "int8", "u2": "uint16", "i2": "int16", "u4": "uint32", "i4": "int32",
    "u8": "uint64", "i8": "int64", "f4": "float", "f8": "double",
}  # fmt: skip
_META_TYPES = {
    "u1": "MET_UCHAR", "i1": "MET_CHAR", "u2": "MET_USHORT", "i2": "MET_SHORT", "u4": "MET_UINT", "i4": "MET_INT",
    "u8": "MET_ULONG_LONG", "i8": "MET_LONG_LONG", "f4": "MET_FLOAT", "f8": "MET_DOUBLE",
}  # fmt: skip


def write(path: Path, array: npt.NDArray[Any], grid: Grid) -> None:
    """Write a volume, ``.nrrd`` or ``.mha`` by its name."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    lps = grid.affine.copy()
    lps[:2] *= -1
    lps += 0.0
    with atomic_write(path) as file:
        if ending(path) == ".nrrd":
            file.write(_nrrd_header(little, lps))
            pack = Compressor("gzip")
            for piece in voxel_bytes(little):
                file.write(pack.compress(piece))
            file.write(pack.flush())
        else:
            pack = Compressor("zlib")
            packed = [pack.compress(piece) for piece in voxel_bytes(little)] + [pack.flush()]
            file.write(_meta_header(little, lps, sum(map(len, packed))))
            file.writelines(packed)


def voxel_bytes(array: npt.NDArray[Any], block: int = 1 << 22) -> Iterator[memoryview]:
    """The voxels, first axis fastest, in pieces of about ``block`` bytes: no copy of the whole is made."""
    last = array.shape[-1]
    step = max(1, block * last // max(1, array.nbytes))
    for start in range(0, last, step):
        yield np.asfortranarray(array[..., start : start + step]).ravel(order="F").view(np.uint8).data


def _nrrd_header(array: npt.NDArray[Any], lps: Affine) -> bytes:
    n = array.ndim
    columns = " ".join(f"({','.join(map(_digits, lps[:n, axis]))})" for axis in range(n))
    lines = [
        "NRRD0004",
        f"type: {_NRRD_TYPES[array.dtype.str[1:]]}",
        f"dimension: {n}",
        "space: left-posterior-superior" if n == 3 else f"space dimension: {n}",
        f"sizes: {' '.join(map(str, array.shape))}",
        f"space directions: {columns}",
        f"kinds: {' '.join(['domain'] * n)}",
        "endian: little",
        "encoding: gzip",
        f"space origin: ({','.join(map(_digits, lps[:n, n]))})",
    ]
    return ("\n".join(lines) + "\n\n").encode("ascii")


def _meta_header(array: npt.NDArray[Any], lps: Affine, packed: int) -> bytes:
    n = array.ndim
    spacing = np.linalg.norm(lps[:n, :n], axis=0)
    directions = lps[:n, :n] / spacing
    lines = [
        "ObjectType = Image",
        f"NDims = {n}",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
        f"CompressedDataSize = {packed}",
        f"TransformMatrix = {_spaced(directions.T.ravel())}",
        f"Offset = {_spaced(lps[:n, n])}",
        f"CenterOfRotation = {_spaced([0.0] * n)}",
        f"ElementSpacing = {_spaced(spacing)}",
        f"DimSize = {' '.join(map(str, array.shape))}",
        f"ElementType = {_META_TYPES[array.dtype.str[1:]]}",
        "ElementDataFile = LOCAL",
    ]
    return ("\n".join(lines) + "\n").encode("ascii")


def _spaced(numbers: Iterable[float]) -> str:
    return " ".join(map(_digits, numbers))


def _digits(number: float) -> str:
    return format(float(number), ".17g")
