from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volseg.errors import RecipeError
from volseg.recipe.yaml_text import DEEPEST, parse_yaml, read_yaml, write_yaml

SCALARS = [
    ("1e-4", 1e-4),
    ("1E5", 1e5),
    ("-.5", -0.5),
    ("1.", 1.0),
    ("010", 10),
    ("+3", 3),
    ("-7", -7),
    ("1_000", "1_000"),
    ("0x10", "0x10"),
    ("1:30", "1:30"),
    ("2026-01-01", "2026-01-01"),
    ("yes", "yes"),
    ("No", "No"),
    ("on", "on"),
    ("off", "off"),
    ("y", "y"),
    ("true", True),
    ("FALSE", False),
    ("'true'", "true"),
    ("'1'", "1"),
    ("null", None),
    ("~", None),
    ("", None),
    ("none", None),
    ("'none'", "none"),
    (".inf", math.inf),
    ("-.inf", -math.inf),
    ("nan", "nan"),
    ("1.2.3", "1.2.3"),
    ("<<", "<<"),
    ("=", "="),
    ("\u0663", "\u0663"),
    ("9" * 400, int("9" * 400)),
]


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_scalars_are_what_they_look_like(text: str, value: object) -> None:
    """Numbers with an exponent are numbers; words that YAML 1.1 took for booleans or dates are text."""
    found = parse_yaml(f"key: {text}", "r.yaml")["key"]
    assert found == value
    assert type(found) is type(value)


def test_words_are_keys_too() -> None:
    """A key such as on, no, none or true is text; no structure's name turns into a boolean."""
    assert list(parse_yaml("{on: 1, no: 2, none: 3, true: 4, ~: 5}", "r.yaml")) == ["on", "no", "none", "true", "~"]


REFUSED = [
    ("a: 1\nb: 2\na: 3", "line 3: the key 'a' stands twice"),
    ("a: {b: 1, b: 1}", "line 1: the key 'b' stands twice"),
    ("a: &x [1]\nb: *x", "line 1: anchors and aliases are not read; write the value out"),
    ("a: *x", "line 1: anchors and aliases are not read; write the value out"),
    (
        "a: !!python/object/apply:os.system [ls]",
        "line 1: the tag !!python/object/apply:os.system is not read; recipes hold plain values only",
    ),
    ("a: !x 1", "line 1: the tag !x is not read; recipes hold plain values only"),
    ("a: !!str 1", "line 1: the tag !!str is not read; recipes hold plain values only"),
    ("1: 2", "line 1: a key must be text; write '1' in quotes if it is a name"),
    ("? [a, b]\n: 2", "line 1: a key must be text"),
    ("[" * 100, f"line 1: nested more than {DEEPEST} deep"),
    ("[" * 100_000, f"line 1: nested more than {DEEPEST} deep"),
    ("{a: " * 100, f"line 1: nested more than {DEEPEST} deep"),
    ("- " * 100, f"line 1: nested more than {DEEPEST} deep"),
    ("? " * 1000, f"line 1: nested more than {DEEPEST} deep"),
    ("a: 1\n---\nb: 2", "line 2: not valid YAML: expected a single document in the stream but found another document"),
    ("a: b: c", "line 1: not valid YAML: mapping values are not allowed here"),
    ("a:\n\t- b", "line 2: not valid YAML: found character '\\t' that cannot start any token"),
    ("a: 'b", "line 1: not valid YAML: found unexpected end of stream"),
    ("a: [1, 2", "line 1: not valid YAML: expected ',' or ']', but got '<stream end>'"),
    ('a: "\\UFFFFFFFF"', "not valid YAML: a number or an escaped character is out of range"),
    ('a: "\\ud800"', "line 1: half a character (a lone surrogate)"),
    ("%YAML 3.0\n---\na: 1", "line 1: not valid YAML: found incompatible YAML document (version 1.* is required)"),
    ("a: \x00", "line 1: the character '\\x00' has no place here"),
    ("a: 1\nb: \x1b[31m", "line 2: the character '\\x1b' has no place here"),
]


@pytest.mark.parametrize(("text", "line"), REFUSED, ids=[text[:20].encode("unicode_escape") for text, _ in REFUSED])
def test_what_no_recipe_needs_is_refused_in_one_line(text: str, line: str) -> None:
    """Bombs, tags, duplicate keys and slips of YAML are one line with the number of theirs."""
    with pytest.raises(RecipeError) as caught:
        parse_yaml(text, "r.yaml")
    assert str(caught.value) == f"r.yaml: {line}"


def test_a_billion_laughs_are_not_heard() -> None:
    """Aliases that would unfold to 10^9 values are refused at the first of them."""
    bomb = "a: &a [x, x]\n" + "".join(f"{c}: &{c} [*{p}, *{p}]\n" for p, c in zip("abcdefg", "bcdefgh", strict=True))
    with pytest.raises(RecipeError, match="anchors and aliases"):
        parse_yaml(bomb, "r.yaml")


def test_a_byte_order_mark_is_harmless() -> None:
    """Editors that put a mark before UTF-8 text do not spoil the first key."""
    assert read_yaml(b"\xef\xbb\xbfa: 1\r\n", "r.yaml") == {"a": 1}


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_data_or_one_line(raw: bytes) -> None:
    """Nothing but a RecipeError of a single printable line comes out of reading."""
    told = ""
    try:
        read_yaml(raw, "r.yaml")
    except RecipeError as error:
        told = str(error)
    assert told.isprintable()


@given(st.text(alphabet="abc:-[]{}&*!|>'\"%@`#,? \n\t0.~<=", max_size=60))
def test_any_punctuation_is_data_or_one_line(text: str) -> None:
    """Neither does it out of text made of YAML's own signs."""
    with contextlib.suppress(RecipeError):
        write_yaml(parse_yaml(text, "r.yaml"))


WORDS = st.sampled_from(
    ["none", "yes", "1e-4", "1", "~", "", "a: b", "- a", "#", "null", "0x1", "1_0", " a ", "\u2028"]
)
TEXT = WORDS | st.text(
    alphabet=st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=20
).filter(lambda t: not set(t) & {"\ufffe", "\uffff", "\ufeff"})
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | TEXT,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(TEXT, below, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_what_is_written_is_read_back_equal(data: Any) -> None:
    """Writing quotes whatever reading would take for something else."""
    text = write_yaml({"data": data})
    assert parse_yaml(text, "r.yaml") == {"data": data}
    assert write_yaml(parse_yaml(text, "r.yaml")) == text
