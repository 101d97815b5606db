"""JSON from a stranger is read once, in bounds, or refused in a line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volseg.bundle.storage.json_text import DEEPEST, Placed, read_json
from volseg.bundle.storage.limits import LIMITS
from volseg.errors import BundleError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_sound_json_is_what_it_is(value: object) -> None:
    """Whatever stands in its texts, brackets, quotes and backslashes among it."""
    assert read_json(json.dumps(value).encode(), "a.json") == value


def test_a_text_knows_its_place() -> None:
    """The offset of its opening quote."""
    (text,) = read_json(b'  ["a"]', "a.json")
    assert isinstance(text, Placed)
    assert text.offset == 3


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' stands twice"),
        (b"[" * (DEEPEST + 1), f"nested more than {DEEPEST} deep"),
        (b"[" + b"1," * 300_000 + b"1]", "more than 200000 pieces"),
        (b"[NaN]", "not valid JSON"),
        (b"\xff", "byte 0 is not UTF-8"),
        (b" " * (LIMITS.text + 1), "MiB of JSON"),
    ],
)
def test_what_is_no_plain_json_is_refused(raw: bytes, said: str) -> None:
    """Ambiguous, bottomless, endless, or no JSON at all."""
    with pytest.raises(BundleError, match=said):
        read_json(raw, "a.json")


@pytest.mark.parametrize("end", [b"", b"\\", b'"'])
def test_millions_of_quotes_are_looked_at_once(end: bytes) -> None:
    """A text of nothing but escaped quotes that never ends, or ends in the middle of an escape, or does end."""
    raw = b'["' + b'\\"' * ((LIMITS.text - 8) // 2) + end
    with pytest.raises(BundleError, match="not valid JSON"):
        read_json(raw, "a.json")
