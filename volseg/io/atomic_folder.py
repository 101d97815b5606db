"""Folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from volseg.errors import WriteError
from volseg.io.atomic import PREFIX, refusal


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder that takes the name of ``path`` when the block ends well; on failure nothing of it stays.

    A folder that has the name already is replaced: whoever calls this has seen to it that it may be.

    >>> place = Path(tempfile.mkdtemp()) / "report"
    >>> with atomic_folder(place) as folder:
    ...     _ = (folder / "index.html").write_text("whole")
    >>> [entry.name for entry in place.iterdir()]
    ['index.html']

    Raises:
        WriteError: if it could not be written whole; an older folder is left as it was.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=PREFIX, dir=path.parent))
    except OSError as error:
        raise refusal(error, path) from error
    staged, old = work / "new", work / "old"
    try:
        staged.mkdir()
        yield staged
        try:
            if path.exists():
                path.replace(old)
            staged.replace(path)
        except BaseException:  # an interruption between the two as well: what is still called old is deleted below
            if old.exists() and not path.exists():
                old.replace(path)
            raise
    except WriteError:
        raise
    except OSError as error:
        raise refusal(error, path) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
