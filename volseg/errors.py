"""Every error a user can cause.

An error says what is wrong, where, and how to mend it, in one line (two at most). The command line prints
exactly ``str(error)``; a traceback appears only with ``--debug``.
"""

from __future__ import annotations

from pathlib import Path


class VolsegError(Exception):
    """A mistake a user can make or meet, told in the user's words.

    >>> print(VolsegError("3 of 9 slices are missing", where="scan/", mend="export the series again"))
    scan/: 3 of 9 slices are missing; export the series again
    """

    def __init__(self, what: str, *, where: object = None, mend: str | None = None) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.mend = mend
        super().__init__(what, self.where, mend)

    def __str__(self) -> str:
        place = f"{printable(self.where)}: " if self.where else ""
        told = place + self.what + (f"; {self.mend}" if self.mend else "")
        # a recipe's mistakes have a line each; what else a stranger's words hold is not for a terminal
        return "\n".join(map(printable, told.split("\n")))

    def __reduce__(self) -> tuple[object, ...]:
        # errors cross process borders (data workers), keyword arguments and all
        return (_rebuild, (type(self), self.what, self.where, self.mend))


class UsageError(VolsegError, ValueError):
    """A call or command that cannot mean anything."""


class RecipeError(VolsegError, ValueError):
    """A recipe, overlay or ``--set`` that does not hold together."""


class SizeError(VolsegError, ValueError):
    """An input size that a network cannot take."""


class VolumeError(VolsegError, ValueError):
    """A file that cannot be read, or cannot be trusted."""


class GridMismatch(VolsegError, ValueError):
    """Two grids that should be one."""


class LabelError(VolsegError, ValueError):
    """A label value or name that was not declared."""


class WriteError(VolsegError, OSError):
    """A result that could not be written whole; nothing of it is left behind."""


class CohortError(VolsegError, ValueError):
    """A data folder whose cases cannot be told apart or paired."""


class BundleError(VolsegError, ValueError):
    """A bundle that is damaged, not what its manifest says, or not to be trusted."""


class MemoryLimitError(VolsegError, MemoryError):
    """Work that does not fit the memory it was given."""


class NonFiniteError(VolsegError, ArithmeticError):
    """A network or a loss that gave NaN or infinity."""


class MissingExtra(VolsegError, ImportError):
    """An optional package that is not installed.

    >>> print(MissingExtra.of("mlflow", extra="mlflow", purpose="tracking runs with MLflow"))
    tracking runs with MLflow needs mlflow; pip install ".[mlflow]" in the folder of volseg's source
    """

    @classmethod
    def of(cls, package: str, *, extra: str, purpose: str) -> MissingExtra:
        return cls(f"{purpose} needs {package}", mend=f"""pip install ".[{extra}]" in the folder of volseg's source""")


def below(path: object, *roots: Path) -> str:
    """A file as it may be told: by its place below whichever of ``roots`` it lies in.

    Folders above what a person gave may be called after patients. A file that was given stands for its folder; of a
    file that lies nowhere below, and that is named in full, the name alone is told.

    >>> below("erika/in/ct/3.dcm", Path("erika/in"))
    'ct/3.dcm'
    """
    file = Path(str(path))
    for root in roots:
        folder = root.parent if root.is_file() else root
        for given in (folder, folder.absolute()):
            if file.is_relative_to(given):
                place = file.relative_to(given)
                return place.as_posix() if place.parts else root.name or str(root)
    return file.name if file.is_absolute() else str(path)


def printable(text: str) -> str:
    """``text`` on one line: control characters (a newline in a file name, say) as escapes.

    >>> printable("a\\nb")
    'a\\\\nb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def nearest(word: str, known: list[str]) -> str | None:
    """The known spelling nearest to ``word``, if one is near.

    >>> nearest("epochz", ["epochs", "batch"])
    'epochs'
    """
    from difflib import get_close_matches

    found = get_close_matches(word, known, n=1, cutoff=0.6)
    return found[0] if found else None


def _rebuild(kind: type[VolsegError], what: str, where: str | None, mend: str | None) -> VolsegError:
    return kind(what, where=where, mend=mend)
