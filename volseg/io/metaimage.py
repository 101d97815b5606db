"""MetaImage: SimpleITK reads the header; where the bytes are, and whether they are whole, is judged here."""

from __future__ import annotations

from pathlib import Path

from volseg.errors import VolumeError
from volseg.io.geometry_check import grid_of_affine, require_plausible
from volseg.io.itk_header import HeaderText, read_header, to_ras
from volseg.io.plain_volume import PlainVolume
from volseg.io.raw_voxels import Storage, beside
from volseg.io.volume import Outline, ReadOptions, Volume

_LONGEST_HEADER = 1 << 16
_AGAIN = "save it again as .mha"


def outline(path: Path, options: ReadOptions) -> Outline:
    """What the header tells of the volume that :func:`read` would give."""
    return _told(path, options).outline


def read(path: Path, options: ReadOptions) -> Volume:
    """Read a .mha file, or a .mhd header with its data file."""
    return _told(path, options).read(options)


def _told(path: Path, options: ReadOptions) -> PlainVolume:
    text = _text(path)
    storage = _storage(path, text)
    header = read_header(path, "MetaImageIO")
    oriented = {"transformmatrix", "rotation", "orientation"} & set(text.fields)
    notes: tuple[str, ...] = ()
    affine = to_ras(header.affine)
    if not oriented and len(header.shape) == 3:
        if not options.assume_ras:
            raise VolumeError(
                "the header does not say where left and right are (no TransformMatrix)",
                where=path,
                mend="mend the header, or --assume-ras if it is stored right-anterior-superior",
            )
        affine, notes = header.affine, ("no orientation in the header, taken as RAS",)
    grid = grid_of_affine(header.shape, affine, path)
    notes = (*notes, *require_plausible(grid, options.spacing_range, path))
    big = _flag(text.fields, "binarydatabyteordermsb") or _flag(text.fields, "elementbyteordermsb")
    dtype = header.dtype.newbyteorder(">" if big else "<")
    return PlainVolume(path, "metaimage", storage, dtype, grid, notes)


def _text(path: Path) -> HeaderText:
    """The header's fields: it ends with the line that names the data file."""
    with path.open("rb") as file:
        head = file.read(_LONGEST_HEADER)
    fields: dict[str, str] = {}
    at = 0
    while at < len(head):
        stop = head.find(b"\n", at)
        stop = len(head) if stop < 0 else stop
        name, equals, value = head[at:stop].decode("latin-1").partition("=")
        at = stop + 1
        if not equals or not name.strip().replace("_", "").isalnum():
            raise VolumeError("the header is damaged", where=path, mend="copy or export it again")
        fields[name.strip().lower()] = value.strip()
        if name.strip().lower() == "elementdatafile":
            return _checked(path, HeaderText(fields, min(at, len(head))))
    raise VolumeError("the header does not name its data (ElementDataFile)", where=path, mend="copy or export it again")


def _checked(path: Path, text: HeaderText) -> HeaderText:
    """Refuse what SimpleITK would complain about on the terminal rather than to us."""
    sizes = _numbers(path, text.fields, "dimsize")
    count = _numbers(path, text.fields, "ndims")
    if len(count) != 1 or len(sizes) != count[0] or not all(0 < n == int(n) for n in sizes):
        raise VolumeError(
            f"sizes that cannot be: NDims {text.fields.get('ndims', '')[:20]},"
            f" DimSize {text.fields.get('dimsize', '')[:40]}",
            where=path,
            mend="copy or export it again",
        )
    for name, wanted in (
        ("elementspacing", len(sizes)),
        ("elementsize", len(sizes)),
        ("offset", len(sizes)),
        ("position", len(sizes)),
        ("origin", len(sizes)),
        ("transformmatrix", len(sizes) ** 2),
        ("rotation", len(sizes) ** 2),
        ("orientation", len(sizes) ** 2),
        ("elementnumberofchannels", 1),
        ("headersize", 1),
    ):
        if name in text.fields and len(_numbers(path, text.fields, name)) != wanted:
            raise VolumeError(f"{name} needs {wanted} numbers, it has {text.fields[name][:60]!r}", where=path)
    if not text.fields.get("elementtype", "").startswith("MET_"):
        raise VolumeError("the header does not name the type of its voxels (ElementType)", where=path)
    return text


def _storage(path: Path, text: HeaderText) -> Storage:
    fields = text.fields
    named = fields["elementdatafile"]
    if not named or named.upper().startswith("LIST") or "%" in named:
        raise VolumeError("the voxels are in several files", where=path, mend=_AGAIN)
    if "binarydata" in fields and not _flag(fields, "binarydata"):
        raise VolumeError("the voxels are written as text", where=path, mend=_AGAIN)
    local = named.upper() == "LOCAL"
    skip = int(_numbers(path, fields, "headersize")[0]) if "headersize" in fields else 0
    if skip < -1 or (skip == -1 and _flag(fields, "compresseddata")):
        raise VolumeError(f"HeaderSize {skip} means nothing here", where=path, mend=_AGAIN)
    data, start = (path, text.end) if local else (beside(path, named), 0)
    return Storage(data, start + max(skip, 0), "zlib" if _flag(fields, "compresseddata") else "raw", at_end=skip == -1)


def _numbers(path: Path, fields: dict[str, str], name: str) -> list[float]:
    try:
        return [float(x) for x in fields.get(name, "").split()]
    except ValueError as error:
        raise VolumeError(f"{name} holds no numbers: {fields[name][:40]!r}", where=path) from error


def _flag(fields: dict[str, str], name: str) -> bool:
    return fields.get(name, "").lower() in ("true", "t", "1", "yes")
