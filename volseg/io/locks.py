"""Locks on open files: they end with whoever holds them, a killed process too."""

from __future__ import annotations

import errno
from types import ModuleType

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # pragma: no cover - not on this system
    fcntl = None


def lock(file: int, *, inherited: bool = True) -> bool | None:
    """Lock an open file without waiting.

    Args:
        file: its descriptor; open for writing if the lock is not inherited.
        inherited: whether processes that this one forks hold the lock as well, and keep it when this one ends.

    Returns:
        Whether it is ours now and not another's; none where the system, or some network file system, has no locks.
    """
    if fcntl is None:  # pragma: no cover
        return None
    take = fcntl.flock if inherited else fcntl.lockf
    try:
        take(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EACCES, errno.EAGAIN) else None
    return True
