"""The header of safetensors: every claim in it is held against the file's size before a number is read."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import pytest
import torch
from safetensors.torch import save

from volseg.bundle.storage.manifest import METADATA, bundle_within
from volseg.bundle.storage.safetensors_header import LARGEST, read_safetensors_header
from volseg.errors import BundleError

GOOD = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def file_of(header: Any, data: int = 24) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(data)


def refusal(content: bytes) -> str:
    with pytest.raises(BundleError) as caught:
        read_safetensors_header(io.BytesIO(content), len(content), "w")
    return str(caught.value).removeprefix("w: ")


def test_what_the_library_writes_is_read() -> None:
    """Names, types, shapes, where the bytes are, and the text that came along."""
    tensors = {"b": torch.zeros(2, 3), "a": torch.ones(4, dtype=torch.float16), "c": torch.zeros(0, dtype=torch.int64)}
    content = save(tensors, metadata={"format": "pt"})
    header = read_safetensors_header(io.BytesIO(content), len(content), "w")
    assert {name: (told.dtype, told.shape) for name, told in header.tensors.items()} == {
        "a": ("F16", (4,)),
        "b": ("F32", (2, 3)),
        "c": ("I64", (0,)),
    }
    assert header.metadata == {"format": "pt"}
    assert header.parameters == 10
    assert header.length == len(content) - 24 - 8
    at = header.tensors["a"]
    assert (
        content[header.length + at.begin : header.length + at.end]
        == torch.ones(4, dtype=torch.float16).numpy().tobytes()
    )


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"1234567", "no safetensors file: it is shorter than a header"),
        (struct.pack("<Q", 9) + b"{}", "a safetensors header of 9 bytes in a file of 10"),
        (
            struct.pack("<Q", LARGEST + 1) + bytes(LARGEST + 9),
            f"a safetensors header of {LARGEST + 1} bytes in a file of {LARGEST + 17}",
        ),
        (file_of(b"[1]"), "the safetensors header is no plain table"),
        (file_of(b'{"a":' + b"[1]," * 65), "the safetensors header is no plain table"),
        (file_of(b'{"a":' + b"[ " * 8), "the safetensors header is nested too deep"),
        (file_of(b'{"a":'), "the safetensors header is not valid JSON"),
        (file_of(b'{"a":1,"a":1}'), "a name stands twice in the safetensors header"),
        (file_of({"__metadata__": {"a": 1}}), "the safetensors metadata are not plain texts"),
        (file_of({"__metadata__": "a"}), "the safetensors metadata are not plain texts"),
        (file_of({"a": GOOD}, 23), "its tensors end at byte 97, the file at 96"),
        (file_of({"a": GOOD}, 25), "its tensors end at byte 97, the file at 98"),
        (file_of({"a": {**GOOD, "data_offsets": [1, 25]}}, 25), "the tensor 'a' leaves bytes that belong to none"),
        (file_of({"a": GOOD, "b": GOOD}), "the tensor 'b' shares bytes with another"),
        (file_of({"a": {**GOOD, "shape": [2, 4]}}), "the tensor 'a' has another size than its shape"),
        (file_of({"ä" * 300: {**GOOD, "shape": [7]}}), f"the tensor {('ä' * 200)!a} has another size than its shape"),
    ],
    ids=lambda value: value.partition(" '\\")[0] if isinstance(value, str) else "",
)
def test_a_claim_that_does_not_hold_is_told(content: bytes, line: str) -> None:
    """Each in one line."""
    assert refusal(content) == line


@pytest.mark.parametrize(
    "told",
    [
        "F32",
        {**GOOD, "more": 1},
        {"dtype": "F32", "shape": [2, 3]},
        {**GOOD, "dtype": "F31"},
        {**GOOD, "dtype": 32},
        {**GOOD, "dtype": ["F32"]},
        {**GOOD, "shape": 6},
        {**GOOD, "shape": [2.0, 3]},
        {**GOOD, "shape": [True, 6]},
        {**GOOD, "shape": [-2, -3]},
        {**GOOD, "shape": [1] * 17},
        {**GOOD, "shape": [2**48, 0]},
        {**GOOD, "data_offsets": [0, 24, 24]},
        {**GOOD, "data_offsets": [24]},
    ],
)
def test_a_tensor_is_described_in_one_way(told: Any) -> None:
    """Anything else is no description: numbers that are none, further words, another count."""
    assert refusal(file_of({"a": told})) == "the tensor 'a' is not described as it must be"


def test_as_many_axes_as_are_allowed() -> None:
    """Sixteen, and sizes that only just fit."""
    content = file_of({"a": {**GOOD, "shape": [2, 3] + [1] * 14}})
    assert read_safetensors_header(io.BytesIO(content), len(content), "w").tensors["a"].shape == (2, 3) + (1,) * 14


def test_a_runs_folder_holds_a_bundle(tmp_path: Any) -> None:
    """Whoever names the run is told of it; whoever names something else is not."""
    assert bundle_within(tmp_path) is None
    assert bundle_within(tmp_path, "look again") == "look again"
    (tmp_path / "bundle" / METADATA).parent.mkdir(parents=True)
    (tmp_path / "bundle" / METADATA).write_text("{}")
    assert bundle_within(tmp_path, "look again") == f"name the bundle in it: {tmp_path / 'bundle'}"
