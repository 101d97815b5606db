"""Zips that write where they should not, or show two programs two contents: refused before anything is unpacked."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.hostile import (
    Files,
    with_a_name_twice,
    with_bomb,
    with_link,
    with_many,
    with_mode,
    with_name,
    with_shared_bytes,
    zip_of,
)
from volseg.bundle.packing import check_archive, pack_bundle, unpack_bundle
from volseg.bundle.storage.files import open_bundle
from volseg.bundle.storage.limits import LIMITS
from volseg.bundle.storage.manifest import MANIFEST
from volseg.errors import BundleError


def _patched(
    mark: bytes, at: int, form: str, change: Callable[[int], int], *, last: bool = False
) -> Callable[[Files], bytes]:
    """Change a field of the first (or last) record that starts with ``mark``."""

    def make(files: Files) -> bytes:
        data = bytearray(zip_of(files))
        offset = (data.rfind(mark) if last else data.find(mark)) + at
        (value,) = struct.unpack_from(form, data, offset)
        struct.pack_into(form, data, offset, change(value))
        return bytes(data)

    return make


def _both(at_local: int, at_central: int, value: int) -> Callable[[Files], bytes]:
    """The same change in front of the first file and in the table."""

    def make(files: Files) -> bytes:
        first = _patched(b"PK\3\4", at_local, "<H", lambda _: value)(files)
        data = bytearray(first)
        struct.pack_into("<H", data, data.find(b"PK\1\2") + at_central, value)
        return bytes(data)

    return make


def _second_name(files: Files) -> bytes:
    info = zipfile.ZipInfo("heart/more.txt")
    other = b"../../evil.txt"
    body = b"\1" + struct.pack("<L", zlib.crc32(b"heart/more.txt")) + other
    info.extra = struct.pack("<HH", 0x7075, len(body)) + body
    return zip_of(files, more=[(info, b"evil")])


def _damaged(files: Files) -> bytes:
    data = bytearray(zip_of(files, method=zipfile.ZIP_DEFLATED))
    data[data.find(b"PK\1\2") - 20] ^= 0x55
    return bytes(data)


def _manifest(change: Callable[[bytes], bytes]) -> Callable[[Files], bytes]:
    return lambda files: zip_of({**files, f"heart/{MANIFEST}": change(files[f"heart/{MANIFEST}"])})


def _comment(files: Files) -> bytes:
    buffer = io.BytesIO(zip_of(files))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"PK\5\6" + bytes(18)
    return buffer.getvalue()


def _several(*changes: tuple[bytes, int, str, int], last: bool = False) -> Callable[[Files], bytes]:
    """Fields of records set to what is wanted: mark, place, form, value."""

    def make(files: Files) -> bytes:
        data = bytearray(zip_of(files))
        for mark, at, form, value in changes:
            struct.pack_into(form, data, (data.rfind(mark) if last else data.find(mark)) + at, value)
        return bytes(data)

    return make


def _with_hidden(*, front: bytes = b"", between: bytes = b"", behind: bytes = b"") -> Callable[[Files], bytes]:
    """Bytes that no record names, and every record in order."""

    def make(files: Files) -> bytes:
        buffer = io.BytesIO(front)
        buffer.seek(len(front))
        with zipfile.ZipFile(buffer, "w") as archive:
            for number, (name, content) in enumerate(files.items(), start=1):
                archive.writestr(name, content)
                buffer.write(between if number == 1 else behind if number == len(files) else b"")
                archive.start_dir = buffer.tell()
        return buffer.getvalue()

    return make


def _with_extra(extra: bytes, **fields: int) -> Callable[[Files], bytes]:
    """A further file with an extra field, and the table's word for its size."""

    def make(files: Files) -> bytes:
        info = zipfile.ZipInfo("heart/more.txt")
        info.extra = extra
        data = bytearray(zip_of(files, more=[(info, b"x")]))
        if "size" in fields:
            struct.pack_into("<L", data, data.rfind(b"PK\1\2") + 24, fields["size"])
        return bytes(data)

    return make


def large(files: Files, *, record: int = 44, places: int = 0, count: int = 0) -> bytes:
    """A zip with the second end record that large ones have; other values than those here are wrong ones."""
    data = zip_of(files)
    table, end = data[: data.rfind(b"PK\5\6")], data[data.rfind(b"PK\5\6") :]
    here, length, begin = struct.unpack_from("<H", end, 8)[0], *struct.unpack_from("<LL", end, 12)
    more = struct.pack("<4sQ2H2L4Q", b"PK\6\6", record, 45, 45, 0, 0, here + count, here + count, length, begin)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(table) + places, 1)
    return table + more + locator + end


ZIPS: dict[str, tuple[Callable[[Files], bytes], str]] = {
    "parent": (with_name("heart/../../evil.txt"), "leads out"),
    "absolute": (with_name("/tmp/evil.txt"), "absolute"),
    "drive": (with_name("C:/evil.txt"), "drive letter"),
    "backslash": (with_name("heart\\..\\evil.txt"), "backslash"),
    "empty-part": (with_name("heart//evil.txt"), "empty part"),
    "windows-device": (with_name("heart/CON.txt"), "device"),
    "windows-console": (with_name("heart/CONOUT$"), "device"),
    "windows-device-and-space": (with_name("heart/nul .txt"), "device"),
    "windows-short-name": (with_name("heart/CONFIG~1/logging.conf"), "for short"),
    "trailing-dot": (with_name("heart/LICENSE."), "dot or a space"),
    "stream": (with_name("heart/a.txt:evil"), "':'"),
    "newline": (with_name("heart/a\nb.txt"), "control character"),
    "nothing": (with_name("heart/a\0b.txt"), "control character"),
    "bidirectional": (with_name("heart/gnp\u202eyp.md"), "direction of text"),
    "look-alike": (with_name("heart/\u0441onfigs/train.json"), "CYRILLIC"),
    "full-width": (with_name("heart/LICEN\uff33E"), "pass for another"),
    "combining": (with_name("heart/u\u0308ber.md"), "pass for another"),
    "zero-width": (with_name("heart/LICENSE\u200b"), "control character"),
    "deep": (with_name("heart/" + "d/" * 40 + "x"), "folders deep"),
    "long": (with_name("heart/" + "x" * 400), "longer than"),
    "case": (with_name("heart/Configs/metadata.json"), "on some systems"),
    "case-of-a-file": (with_name("heart/license"), "on some systems"),
    "file-and-folder": (with_name("heart/LICENSE/x.txt"), "which is a file"),
    "twice": (with_a_name_twice, "stands twice"),
    "link": (with_link, "symbolic link"),
    "device": (with_mode(stat.S_IFBLK | 0o666, b""), "special file"),
    "pipe": (with_mode(stat.S_IFIFO | 0o666, b""), "special file"),
    "folder-with-content": (with_mode(stat.S_IFDIR | 0o777), "at the same time"),
    "bomb": (with_bomb(40_000_000), "a bomb"),
    "overlapping": (with_shared_bytes, "another"),
    "in-front": (lambda files: b"#!/bin/sh\n" + zip_of(files), "not where"),
    "behind": (lambda files: zip_of(files) + b"evil", "after the end"),
    "two-ends": (_comment, "two"),
    "encrypted": (_both(6, 8, 1), "encrypted"),
    "method": (_both(8, 10, 12), "method 12"),
    "other-name": (lambda files: zip_of(files).replace(b"heart/LICENSE", b"heart/LICENCE", 1), "another name"),
    "other-size": (_patched(b"PK\3\4", 22, "<L", lambda size: size + 1), "another size"),
    "other-method": (_patched(b"PK\3\4", 8, "<H", lambda _: 8), "another method"),
    "other-flags": (_patched(b"PK\3\4", 6, "<H", lambda _: 1), "another flags"),
    "wrong-count": (_patched(b"PK\5\6", 10, "<H", lambda count: count - 1, last=True), "zip"),
    "wrong-place": (_patched(b"PK\1\2", 42, "<L", lambda at: at + 7), "points at something else"),
    "far-away": (_patched(b"PK\1\2", 42, "<L", lambda _: 2**31), "outside of the zip"),
    "second-name": (_second_name, "second name"),
    "other-count": (_several((b"PK\5\6", 8, "<L", 0x00020002)), "entries and counts"),
    "huge-table": (_patched(b"PK\5\6", 12, "<L", lambda _: 2**31, last=True), "a table of contents of"),
    "table-of-others": (_patched(b"PK\1\2", 2, "<H", lambda _: 0), "is damaged"),
    "table-cut": (_patched(b"PK\1\2", 28, "<H", lambda n: n - 5, last=True), "is cut short"),
    "table-too-long": (_patched(b"PK\1\2", 28, "<H", lambda n: n + 5, last=True), "is damaged"),
    "other-volume": (_patched(b"PK\1\2", 34, "<H", lambda _: 7), "another volume"),
    "beyond-the-end": (_patched(b"PK\1\2", 20, "<L", lambda _: 2**30), "reaches outside"),
    "stored-in-another-size": (_several((b"PK\3\4", 22, "<L", 99), (b"PK\1\2", 24, "<L", 99)), "than its own"),
    "hidden-in-front": (_with_hidden(front=b"#!/bin/sh\n"), "10 hidden bytes in front of the zip"),
    "hidden-between": (_with_hidden(between=b"evil"), "4 hidden bytes between"),
    "hidden-behind": (_with_hidden(behind=b"evil!"), "5 hidden bytes in front of its table"),
    "sizes-twice": (_with_extra(struct.pack("<HHHH", 1, 0, 1, 0)), "three times"),
    "sizes-nowhere": (_with_extra(struct.pack("<HH", 1, 0), size=2**32 - 1), "damaged extra field"),
    "large-elsewhere": (partial(large, places=1), "do not lie together"),
    "large-and-damaged": (partial(large, record=43), "large end record is damaged"),
    "large-and-another": (partial(large, count=1), "contradict each other"),
    "latin-name": (lambda files: zip_of(files).replace(b"heart/LICENSE", b"heart/LIC\xe4NSE"), "not UTF-8"),
    "folder-of-bytes": (lambda files: zip_of(files).replace(b"heart/LICENSE", b"heart/CITING/"), "with content"),
    "damaged": (_damaged, "damaged"),
    "many": (with_many, "entries"),
    "cut": (lambda files: zip_of(files)[:-30], "end record"),
    "no-zip": (lambda files: b"evil" * 100, "end record"),
    "empty": (lambda files: b"", "end record"),
    "self-hash": (_manifest(lambda raw: raw.replace(b'"name": "heart"', b'"name": "brain"')), "own digest"),
    "respelled": (_manifest(lambda raw: raw.replace(b"\n", b" ")), "written anew"),
    "manifest-outside": (_manifest(lambda raw: raw.replace(b'"LICENSE"', b'"../LICE"')), "leads out"),
    "manifest-of-escapes": (
        _manifest(lambda raw: raw.replace(b'"monai_version": "1.6.1"', b'"monai_version": "\\u001b[2J"')),
        "damaged",
    ),
    "manifest-of-others": (_manifest(lambda raw: b"{}"), "no manifest of volseg"),
    "unlisted": (lambda files: zip_of({**files, "heart/more.txt": b"x"}), "not in the manifest"),
    "missing": (lambda files: zip_of({k: v for k, v in files.items() if k != "heart/LICENSE"}), "is missing"),
    "exchanged": (lambda files: zip_of({**files, "heart/LICENSE": b"Apache-2.1\n"}), "SHA-256"),
    "resized": (lambda files: zip_of({**files, "heart/LICENSE": b"Apache"}), "bytes, the manifest says"),
    "beside": (lambda files: zip_of({**files, "more.txt": b"x"}), "manifest"),
}  # fmt: skip


def test_each_is_refused_and_nothing_is_unpacked(
    make_bundle: Callable[..., Path], watched: Callable[[Path], dict[str, dict[str, Any]]], tmp_path: Path
) -> None:
    """One line each, the same from checking and unpacking; no file, no process, nothing outside and nothing inside."""
    packed = pack_bundle(make_bundle(), tmp_path / "heart.zip").path
    with zipfile.ZipFile(packed) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    given = tmp_path / "given"
    given.mkdir()
    for name, (make, _) in ZIPS.items():
        (given / f"{name}.zip").write_bytes(make(files))
    looked_at = watched(given)
    assert set(looked_at) == set(ZIPS)
    wrong = []
    for name, (_, words) in ZIPS.items():
        seen = looked_at[name]
        lines = [seen["check"], seen["unpack"]]
        if not all(line.startswith("error: ") and "\n" not in line for line in lines) or seen["noted"]:
            wrong.append((name, lines, seen["noted"]))
        elif not any(words in line for line in [*lines, *_told(seen["found"])]):
            wrong.append((name, words, lines, _told(seen["found"])))
        for use, line in (
            (check_archive, seen["check"]),
            (partial(unpack_bundle, out=tmp_path / "here"), seen["unpack"]),
        ):
            with pytest.raises(BundleError) as caught:
                use(given / f"{name}.zip")
            assert f"error: {caught.value}" == line  # in the process of whoever calls it as well
    assert wrong == []
    assert not (tmp_path / "here").exists() or not any((tmp_path / "here").iterdir())
    assert not Path("/tmp/evil.txt").exists()
    assert not list(tmp_path.rglob("evil*"))


#: what only a manifest, or reading a file to its end, can tell: to be found by checking and unpacking
_BY_CONTENT = {
    "damaged", "self-hash", "respelled", "manifest-outside", "manifest-of-others", "unlisted", "missing", "exchanged",
    "resized", "beside", "manifest-of-escapes",
}  # fmt: skip


def test_inspect_refuses_what_is_odd_about_a_zip(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    """The audit alone tells every zip whose records lie or whose names are not safe."""
    from volseg.bundle.audit import Verdict
    from volseg.bundle.inspect import inspect_bundle

    packed = pack_bundle(make_bundle(), tmp_path / "heart.zip").path
    with zipfile.ZipFile(packed) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    passed = []
    for name, (make, _) in ZIPS.items():
        packed.write_bytes(make(files))
        try:
            refused = inspect_bundle(packed).audit.verdict is Verdict.REFUSE
        except BundleError:
            refused = True
        if not refused and name not in _BY_CONTENT:
            passed.append(name)
    assert passed == []


def _told(found: Any) -> list[str]:
    return [found] if isinstance(found, str) else [f["why"] for f in found["findings"] if f["weight"] == "refuse"]


def test_what_inflates_is_counted_together(
    as_files: Callable[..., Files], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many entries, none of them a bomb, do not fill the temporary folder; the same bytes as they are may be more."""
    monkeypatch.setattr("volseg.bundle.storage.archive.LIMITS", replace(LIMITS, inflated=1000))
    for method, refused in ((zipfile.ZIP_DEFLATED, True), (zipfile.ZIP_STORED, False)):
        path = tmp_path / "heart.zip"
        path.write_bytes(zip_of(as_files(), method=method))
        with open_bundle(path) as files:
            assert any("inflates to" in problem.what for problem in files.problems) is refused


def test_what_large_zips_have_is_read(as_files: Callable[..., Files], tmp_path: Path) -> None:
    """The second end record, and sizes in the extra field, as programs write them for small zips too."""
    files = as_files()
    (tmp_path / "large.zip").write_bytes(large(files))
    with zipfile.ZipFile(tmp_path / "wide.zip", "w") as archive:
        for name, content in files.items():
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(content)
    for path in (tmp_path / "large.zip", tmp_path / "wide.zip"):
        with open_bundle(path) as found:
            assert found.problems == ()
            read = {}
            for name in found.sizes:
                with found.open(name) as file:
                    read[f"heart/{name}"] = file.read()
            assert read == files


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_honest_zip_of_another_program_is_read(
    make_bundle: Callable[..., Path], tmp_path: Path, method: int
) -> None:
    """Streamed, packed, with folders of their own: what `zip` and Python write is no reason to refuse."""
    from volseg.bundle.audit import Verdict
    from volseg.bundle.inspect import inspect_bundle

    bundle = make_bundle()

    class Stream(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.data += data
            return len(data)

    stream = Stream()
    with zipfile.ZipFile(stream, "w", method) as archive:  # type: ignore[arg-type]
        for path in sorted(bundle.rglob("*")):
            archive.write(path, f"heart/{path.relative_to(bundle)}")
    made = tmp_path / "heart.zip"
    made.write_bytes(stream.data)
    found = inspect_bundle(made)
    assert found.audit.verdict is Verdict.RUNS, found.audit.first
    assert found.about.labels == {"0": "background", "1": "heart"}
