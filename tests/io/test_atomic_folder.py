"""Folders that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from volseg.errors import WriteError
from volseg.io.atomic_folder import atomic_folder


def test_a_folder_replaces_an_older_one_whole(tmp_path: Path) -> None:
    """What the older one held is gone, and nothing else lies beside it."""
    (tmp_path / "r").mkdir()
    (tmp_path / "r/stale").write_text("old")
    with atomic_folder(tmp_path / "r") as folder:
        (folder / "new").write_text("new")
        assert (tmp_path / "r/stale").exists()
    assert [entry.name for entry in tmp_path.rglob("*")] == ["r", "new"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_a_failure_leaves_the_older_one(tmp_path: Path, kind: type[BaseException]) -> None:
    """Whatever stopped the work, nothing of it stays and nothing of before is lost."""
    (tmp_path / "r").mkdir()
    (tmp_path / "r/old").write_text("old")
    with pytest.raises(kind), atomic_folder(tmp_path / "r") as folder:
        (folder / "new").write_text("new")
        raise kind
    assert [entry.name for entry in tmp_path.rglob("*")] == ["r", "old"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, PermissionError])
def test_a_failure_between_the_two_renames_brings_the_older_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    """The older folder has made room already and gets its name back."""
    (tmp_path / "r").mkdir()
    (tmp_path / "r/old").write_text("old")
    rename = Path.replace

    def stopped(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise kind
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", stopped)
    with pytest.raises((KeyboardInterrupt, WriteError)), atomic_folder(tmp_path / "r"):
        pass
    assert [entry.name for entry in tmp_path.rglob("*")] == ["r", "old"]


def test_a_place_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    """A file in the way is told before any work."""
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="could not be written"), atomic_folder(tmp_path / "file" / "r"):
        pass
