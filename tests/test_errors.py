"""Errors: one line that says what, where and how to mend it, on either side of a process border."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from volseg import errors

FAMILY = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.VolsegError)]


@pytest.mark.parametrize("kind", FAMILY)
def test_an_error_crosses_a_process_border_whole(kind: type[errors.VolsegError]) -> None:
    """What, where and mend survive pickling, as they must from a worker process."""
    error = kind("is broken", where="a\nb.nii", mend="send it again")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error) == r"a\nb.nii: is broken; send it again"


def test_words_of_strangers_move_no_cursor() -> None:
    """Escape sequences are spelled out wherever they stand; lines that an error has of its own stay lines."""
    told = str(errors.VolsegError("first \x1b[2J\nsecond \r", where="a\x07", mend="\x9b0m"))
    assert told == "a\\x07: first \\x1b[2J\nsecond \\r; \\x9b0m"


def test_an_error_is_also_the_builtin_it_resembles() -> None:
    """Code that knows nothing of volseg catches ValueError, OSError, MemoryError, ImportError as ever."""
    assert issubclass(errors.VolumeError, ValueError)
    assert issubclass(errors.WriteError, OSError)
    assert issubclass(errors.MemoryLimitError, MemoryError)
    assert issubclass(errors.MissingExtra, ImportError)


@pytest.mark.parametrize("root", ["{}/erika/in", "erika/in", "erika/in/ct.nii", "erika/../erika/in"])
def test_a_file_is_told_by_its_place_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str) -> None:
    """Whether it or the folder was given in full, and of a file what lies beside it; elsewhere its name alone."""
    (tmp_path / "erika/in").mkdir(parents=True)
    (tmp_path / "erika/in/ct.nii").touch()
    monkeypatch.chdir(tmp_path)
    given = Path(root.format(tmp_path))
    folder = given.parent if given.suffix else given
    assert errors.below(folder / "p1/ct.nii", given) == "p1/ct.nii"
    assert errors.below((folder / "ct.nii").absolute(), given) == "ct.nii"
    assert errors.below(given, tmp_path / "out", given) == given.name
    assert errors.below("/erika/elsewhere/ct.nii", given) == "ct.nii"
    assert errors.below("p1/ct", given) == "p1/ct"


def test_the_nearest_word_is_near() -> None:
    """A slip of the finger is recognised, an unrelated word is not."""
    assert errors.nearest("chanels", ["channels", "padding"]) == "channels"
    assert errors.nearest("zzz", ["channels", "padding"]) is None
