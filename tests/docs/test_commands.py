"""What the README and the documentation tell to type exists: verbs, options, benchmarks, files of the repository."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from volseg.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(p for p in sorted((ROOT / "docs").rglob("*.md")) if not {"_build", "_generated"} & {*p.parts}),
]
BLOCK = re.compile(r"^```(?:bash|console|text)\n(.*?)^```|((?:^    .*\n)+)", re.DOTALL | re.MULTILINE)


def commands(page: Path) -> Iterator[str]:
    """Each call of ``volseg`` in a page's blocks, whole lines, and those between backticks."""
    text = page.read_text()
    for fenced, indented in BLOCK.findall(text):
        for line in (fenced or indented).replace("\\\n", " ").splitlines():
            typed = re.match(r"\s*(?:\$ |srun |\w+=\S+ )*(volseg .*)", line)
            if typed:
                yield typed.group(1)
    yield from re.findall(r"(?<!`)`(volseg [^`\n]+)`(?!`)", text)


CALLS = [(page, call) for page in PAGES for call in commands(page)]


def words(call: str) -> list[str]:
    """The words of a call as a shell gives them; its variables are numbers here."""
    plain = re.sub(r"\$\{?\w+\}?", "0", call)
    return [word for word in shlex.split(plain, comments=True) if word not in ("&", "…")][1:]


def test_calls_are_found() -> None:
    """So that the test below cannot be empty."""
    assert len(CALLS) > 100


@pytest.mark.parametrize(("page", "call"), CALLS, ids=[f"{p.stem}: {c[:60]}" for p, c in CALLS])
def test_verbs_and_options_exist(page: Path, call: str) -> None:
    """The command line takes every call as it stands, or all but what the text leaves out."""
    command: Any = typer.main.get_command(app)
    given = words(call)
    name = "volseg"
    while hasattr(command, "commands") and given and not given[0].startswith("-"):
        name = given.pop(0)
        if not re.fullmatch(r"[a-z]+", name):
            return  # a sentence: volseg VERB
        assert name in command.commands, f"{page.name}: there is no {name}"
        command = command.commands[name]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for word in given:
        option = word.split("=")[0]
        if option.startswith("-") and not re.fullmatch(r"-[0-9.]+", option):
            assert option in {*known, "--help", "-h"}, f"{page.name}: {name} has no option {option}"


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_named_files_exist(page: Path) -> None:
    """Recipes, tests, figures' scripts and benchmarks that a page names are in the repository."""
    text = page.read_text()
    named = set(re.findall(r"(?<![\w./])((?:configs|docs/figures|tests|benchmarks)/[\w./-]*\w)", text))
    named -= {name for name in named if name.startswith("configs/") and not name.endswith(".yaml")}  # of a bundle
    named -= {"configs/recipe.yaml", "configs/mine.yaml", "benchmarks/results/NAME.json"}
    missing = {name for name in named if not (ROOT / name).exists()}
    for module in re.findall(r"-m benchmarks[ .](\w+)", text.replace("benchmarks NAME", "")):
        if not (ROOT / "benchmarks" / f"{module}.py").exists():
            missing.add(f"benchmarks/{module}.py")
    assert not missing
