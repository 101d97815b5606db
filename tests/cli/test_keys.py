"""``volseg keys``: every key of a recipe, where nobody has built the documentation."""

from __future__ import annotations

import json
from typing import Any

from volseg.recipe import json_schema, recipe_keys


def test_every_key_is_told(volseg: Any) -> None:
    """With what it expects, what holds without it, and what it means."""
    lines = volseg("keys").stdout.splitlines()
    assert lines[0::2] == [line for line in lines if not line.startswith("    ")]
    assert [line.split(":")[0].split(" ")[0] for line in lines[0::2]] == [one.key for one in recipe_keys()]
    assert "training.epochs: a whole number of at least 1; else 100" in lines
    assert lines[lines.index("training.epochs: a whole number of at least 1; else 100") + 1] == "    epochs"


def test_one_key_with_those_below_it(volseg: Any) -> None:
    """By its whole name: ``loss`` is not ``loss_of_something``; kinds of a section are told apart."""
    told = volseg("keys", "optimiser").stdout
    assert {line.split(".")[0].split(":")[0] for line in told.splitlines()[0::2]} == {"optimiser"}
    assert "optimiser.momentum (kind sgd): " in told
    assert volseg("keys", "training.patch").stdout.startswith("training.patch: a list of whole numbers")
    assert len(volseg("keys", "training.patch").stdout.splitlines()) == 2


def test_a_key_that_is_none(volseg: Any) -> None:
    """With the nearest that is one."""
    ran = volseg("keys", "trainin.epochs")
    assert ran.returncode == 2
    assert ran.stderr == "error: no key of a recipe is called trainin.epochs; did you mean training.epochs?\n"
    assert "volseg keys" in volseg("keys", "xyz").stderr


def test_the_schema_for_editors(volseg: Any) -> None:
    """As data."""
    assert json.loads(volseg("keys", "--json").stdout) == json.loads(json.dumps(json_schema()))
