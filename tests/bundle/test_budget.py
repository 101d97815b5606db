"""Each file of a bundle is bounded, and so is the work of all of them: thousands of files take no hours."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest

from volseg.bundle.audit import Verdict
from volseg.bundle.audit.budget import Budget
from volseg.bundle.inspect import inspect_bundle
from volseg.errors import BundleError

_PICKLE = b"\x80\x02" + b"N0" * 5_000 + b"N."


def _archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", _PICKLE)
    return buffer.getvalue()


def _header() -> bytes:
    header = json.dumps({f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(1000)}).encode()
    return struct.pack("<Q", len(header)) + header


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("models/{}.pkl", _PICKLE),
        ("models/{}.pt", _archive()),
        ("models/{}.safetensors", _header()),
        ("models/{}.onnx", b"\x08\x01" * 10_000),
        ("configs/{}.json", json.dumps(["$1"] * 100).encode()),
        ("configs/{}.json", json.dumps([1] * 2_000).encode()),
        ("configs/{}.yaml", b"a: [" + b"1," * 350 + b"]\n"),
    ],
    ids=["pickles", "archives", "headers", "onnx", "expressions", "values", "yaml"],
)
def test_the_work_of_all_files_is_bounded(make_bundle: Callable[..., Path], name: str, content: bytes) -> None:
    """One such file is judged; of many no more are than there is work for, and that is told once."""
    with patch("volseg.bundle.audit.audit.Budget", lambda: Budget(50_000)):
        one = inspect_bundle(make_bundle({name.format(0): content}, name="one")).audit
        many = inspect_bundle(make_bundle({name.format(i): content for i in range(40)}, name="many")).audit
    assert one.verdict is not Verdict.REFUSE, one.first
    refused = [f for f in many.findings if f.weight.value == "refuse"]
    assert [f.text for f in refused] == ["more than can be judged: the rest was not read"]


def test_a_budget_that_is_spent_ends_the_work() -> None:
    """The last step that there is room for may be taken, and none behind it."""
    budget = Budget(2)
    budget.spend(2)
    assert not budget.spent
    with pytest.raises(BundleError, match="more than can be judged"):
        budget.spend(1)
    assert budget.spent
