"""What the help promises: examples that are understood, completion in shells, colours on terminals alone."""

from __future__ import annotations

import os
import pty
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from volseg.cli.app import app


def leaves(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every verb with its path."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, inner in command.commands.items():
        yield from leaves(inner, *path, name)


VERBS = dict(leaves(typer.main.get_command(app)))


@pytest.mark.parametrize("path", VERBS, ids=" ".join)
def test_each_example_is_a_call_that_the_verb_understands(path: tuple[str, ...]) -> None:
    """Below the help of every verb: its options are real, and those that must be given are."""
    said, *examples = VERBS[path].epilog.splitlines()
    assert said == "Examples:"
    assert examples
    for example in examples:
        words = shlex.split(example)
        assert tuple(words[: len(path) + 1]) == ("volseg", *path)
        VERBS[path].make_context(path[-1], words[len(path) + 1 :])  # raises what a person would be told


@pytest.mark.parametrize("path", VERBS, ids=" ".join)
def test_every_option_can_be_read_in_eighty_columns(path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name stands there whole, to be typed."""
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 80)
    help_text = CliRunner().invoke(app, [*path, "--help"]).stdout
    names = {name for param in VERBS[path].params for name in (*param.opts, *param.secondary_opts) if name[0] == "-"}
    words = set(help_text.split())
    assert names <= words
    assert "<bool>" not in words
    assert max(map(len, help_text.splitlines())) == 80


def complete(line: str) -> list[str]:
    """What bash would offer at the end of a line."""
    words = line.split(" ")
    env = os.environ | {"_VOLSEG_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    command = [sys.executable, "-m", "volseg.cli"]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("volseg ev", ["evaluate"]),
        ("volseg bundle un", ["unpack"]),
        ("volseg predict --max", ["--max-memory"]),
        ("volseg predict --tta fl", ["flips", "flips+rotations"]),
    ],
)
def test_shells_complete_verbs_options_and_choices(line: str, offered: list[str]) -> None:
    """As the script that ``--show-completion`` prints asks for them."""
    assert complete(line) == offered


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_takes_the_completion_that_is_installed(tmp_path: Path) -> None:
    """``--install-completion`` leaves a file that bash reads, and that completes ``volseg``."""
    python = shlex.quote(sys.executable)
    # a shell becomes its last command, and then there is none to be found: the last one is its own
    install = f"{python} -m volseg.cli --install-completion; {python} -m volseg.cli --show-completion; exit $?"
    env = os.environ | {"HOME": str(tmp_path)}
    shown = subprocess.run(["bash", "-c", install], env=env, capture_output=True, text=True, check=True, cwd=tmp_path)
    (written,) = [path for path in tmp_path.rglob("volseg.sh") if path.is_file()]
    assert written.read_text().strip() in shown.stdout
    asked = f"source {shlex.quote(str(written))}; complete -p volseg"
    listed = subprocess.run(["bash", "-c", asked], env=env, capture_output=True, text=True, check=True).stdout
    assert listed.endswith(" volseg\n")


def on_terminal(*words: str, **env: str) -> str:
    """What a command writes on a terminal."""
    ours, theirs = pty.openpty()
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    with subprocess.Popen(
        [sys.executable, "-m", "volseg.cli", *words],
        stdout=theirs,
        stderr=theirs,
        env=plain | {"TERM": "xterm-256color", "COLUMNS": "100"} | env,
    ):
        os.close(theirs)
        written = b""
        try:
            while piece := os.read(ours, 4096):
                written += piece
        except OSError:  # how Linux says that the other side was closed
            pass
    os.close(ours)
    return written.decode()


COLOUR = ("\x1b[1;3", "\x1b[3", "\x1b[2;3", "\x1b[9")


def test_colours_are_for_terminals_and_not_for_who_declines_them(volseg: Any) -> None:
    """The help has colours on a terminal, none under NO_COLOR, and piped not even bold letters."""
    assert any(code in on_terminal("--help") for code in COLOUR)
    declined = on_terminal("--help", NO_COLOR="1")
    assert "predict" in declined
    assert not any(code in declined for code in COLOUR)
    assert "\x1b" not in volseg("--help").stdout
