"""Whatever the bytes, readers give data or one line; nothing else comes out of them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volseg.bundle.audit.budget import Budget
from volseg.bundle.audit.configs import audit_config
from volseg.bundle.audit.expressions import judge_expression
from volseg.bundle.audit.logging_conf import audit_logging
from volseg.bundle.audit.onnx_files import audit_onnx
from volseg.bundle.audit.pickles import pickle_names
from volseg.bundle.audit.python_names import judge_module, judge_name
from volseg.bundle.audit.torch_files import audit_zip
from volseg.bundle.storage.archive import Packed, ZipFiles, zip_bytes
from volseg.bundle.storage.manifest import FileRecord, Manifest
from volseg.bundle.storage.names import collision_key, name_problem
from volseg.bundle.storage.safetensors_header import read_safetensors_header
from volseg.errors import VolsegError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("heart/configs/metadata.json", json.dumps({"a": ["b"] * 40}))
        archive.writestr("heart/models/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("heart/LICENSE", "text")
    return buffer.getvalue()


ZIP = _zip()
MANIFEST = Manifest("heart", {"LICENSE": FileRecord(3, "0" * 64)}, None, None, {"volseg": "0.1.0"})
SPOILT = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6)


def _spoilt(good: bytes, changes: list[tuple[int, int]]) -> bytes:
    data = bytearray(good)
    for at, value in changes:
        data[at % len(data)] = value
    return bytes(data)


def _read(files: ZipFiles, path: str) -> bytes:
    with files.open(path) as file:
        return file.read()


def _only_refusals(use: Callable[[], Any]) -> Any:
    try:
        return use()
    except VolsegError as error:
        if "\n" in str(error):
            raise AssertionError(f"two lines: {error}") from error
        return None


@given(SPOILT)
@settings(max_examples=400)
def test_a_spoilt_zip_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    """A zip with some bytes exchanged is told in problems or one line, and so are its entries."""
    file = io.BytesIO(_spoilt(ZIP, changes))
    files = _only_refusals(lambda: ZipFiles.of(file, "heart.zip"))
    if files is not None:
        for path in files.sizes:
            _only_refusals(lambda path=path: _read(files, path))
    file.seek(0)
    _only_refusals(lambda: list(audit_zip("heart.zip", file, Budget())))


@given(st.binary(max_size=400))
def test_any_bytes_as_a_zip(data: bytes) -> None:
    """Noise is no zip, in one line."""
    _only_refusals(lambda: ZipFiles.of(io.BytesIO(data + ZIP[-22:]), "noise.zip"))


@given(SPOILT)
@settings(max_examples=300)
def test_no_byte_of_a_manifest_can_change(changes: list[tuple[int, int]]) -> None:
    """A manifest with other bytes is refused; with the same it is the same."""
    raw = MANIFEST.to_bytes()
    spoilt = _spoilt(raw, changes)
    read = _only_refusals(lambda: Manifest.from_bytes(spoilt))
    assert (read == MANIFEST) if spoilt == raw else (read is None)


@given(JSON)
def test_any_data_as_a_manifest(data: Any) -> None:
    """JSON of any shape is no manifest, in one line; in a manifest's shape as well."""
    for content in (
        data,
        {**json.loads(MANIFEST.to_bytes()), "files": data},
        {**json.loads(MANIFEST.to_bytes()), "golden": data},
    ):
        assert _only_refusals(lambda content=content: Manifest.from_bytes(json.dumps(content).encode())) is None


@given(JSON, st.sampled_from(["_target_", "_disabled_", "_mode_", "a::_target_", "x"]), st.text(max_size=30))
def test_any_config_is_judged_or_refused(data: Any, key: str, text: str) -> None:
    """Configs of any shape and text come to findings or one line, as JSON and as YAML."""
    for sign in ("", "$", "%", "@"):
        raw = json.dumps({"a": data, key: sign + text}).encode()
        for name in ("x.json", "x.yaml"):
            found = _only_refusals(lambda raw=raw, name=name: list(audit_config(name, raw, {}, Budget())))
            assert found is None or all("\n" not in f"{f.text}{f.why}{f.place}" for f in found)


@given(st.text(max_size=60))
def test_any_text_as_a_name_an_expression_or_a_path(text: str) -> None:
    """Judging never fails, whatever the text."""
    judge_expression("$" + text)
    judge_name(text)
    judge_module(text)
    name_problem(text)
    collision_key(text)


@given(st.binary(max_size=200))
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_as_weights(data: bytes) -> None:
    """Noise as a pickle, a safetensors file, an ONNX file, a YAML file or a logging file: findings or one line."""
    pickle_names(io.BytesIO(b"\x80\x04" + data), Budget())
    _only_refusals(lambda: read_safetensors_header(io.BytesIO(data), len(data), "x"))
    head = len(data).to_bytes(8, "little") + data
    _only_refusals(lambda: read_safetensors_header(io.BytesIO(head), len(head), "x"))
    _only_refusals(lambda: list(audit_onnx("x.onnx", io.BytesIO(data), len(data), {}, Budget())))
    _only_refusals(lambda: list(audit_config("x.yaml", data, {}, Budget())))
    _only_refusals(lambda: list(audit_logging("x.conf", b"[handler_x]\n" + data)))


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?", fullmatch=True), st.binary(max_size=50), max_size=6))
def test_what_is_packed_is_read_by_us_and_by_others(contents: dict[str, bytes]) -> None:
    """Any files go through a zip and back unchanged, for this reader and for Python's."""
    import zlib

    packed = [
        Packed(f"heart/{name}", len(c), zlib.crc32(c), lambda c=c: io.BytesIO(c)) for name, c in contents.items()
    ]  # fmt: skip
    raw = b"".join(zip_bytes(packed))
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            f"heart/{n}": c for n, c in contents.items()
        }
    files = ZipFiles.of(io.BytesIO(raw), "heart.zip")
    if not files.problems:  # a file that is a folder of another as well, say
        assert {path: _read(files, path) for path in files.sizes} == contents


def test_memory_stays_bounded_for_an_honest_looking_giant(tmp_path: Path) -> None:
    """A sparse file of eight gigabytes is no reason to read it."""
    giant = tmp_path / "giant.zip"
    with giant.open("wb") as file:
        file.truncate(8 * 2**30)
    import tracemalloc

    from volseg.bundle.inspect import inspect_bundle

    tracemalloc.start()
    with pytest.raises(VolsegError, match="end record"):
        inspect_bundle(giant)
    assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    tracemalloc.stop()
