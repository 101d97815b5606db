"""Remarks about cases: told in full once, counted in the end."""

from __future__ import annotations

import pytest

from volseg.cli import console
from volseg.cli.remarks import Remarks


@pytest.mark.parametrize(
    ("level", "said"),
    [
        (console.Level.QUIET, []),
        (console.Level.NORMAL, ["a: far away", "b: empty", "1 more case: far away"]),
        (console.Level.VERBOSE, ["a: far away", "b: empty", "c: far away", "1 more case: far away"]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_what_is_said_at_each_level(
    level: console.Level, said: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of a kind at once, every one with ``-v``."""
    monkeypatch.setattr(console.settings, "level", level)
    remarks = Remarks()
    for case, text in [("a", "far away"), ("b", "empty"), ("c", "far away")]:
        remarks.tell(case, text)
    remarks.tell_repeated()
    assert capsys.readouterr().err.splitlines() == said
