"""Contenders run in processes of their own; one that cannot is told in a line and left out."""

from __future__ import annotations

import os
from typing import Any

import pytest

from benchmarks.frame import attempt, child


def test_a_contender_has_a_process_of_its_own() -> None:
    """Plain data go there and come back."""
    assert child("os", "getpid") != os.getpid()
    assert child("json", "loads", s="[3, 4]") == [3, 4]


def test_one_that_fails_is_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    """In its own words, without a traceback on the terminal; whoever needs that one finds it."""
    table: dict[str, dict[str, Any]] = {}
    assert not attempt(table, "somebody", "json", "loads", s="{")
    assert table == {}
    told = capfd.readouterr()
    assert told.out.startswith("somebody: not measured (Expecting property name")
    assert told.err == ""
    with pytest.raises(RuntimeError, match="Expecting property name") as caught:
        child("json", "loads", s="{")
    assert any("JSONDecodeError" in note for note in caught.value.__notes__)
