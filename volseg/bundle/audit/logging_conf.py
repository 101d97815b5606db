"""What a ``logging.conf`` would do: Python evaluates the classes and arguments in it."""

from __future__ import annotations

import ast
import configparser
from collections.abc import Iterator

from volseg.bundle.audit.finding import Finding, Weight
from volseg.errors import BundleError

_SECTIONS = ("handler", "formatter", "logger")
# Python 3.12 and later evaluate a formatter's defaults as well
_EVALUATED = ("class", "args", "kwargs", "defaults")
SUFFIXES = (".conf", ".ini", ".cfg")
_LARGEST = 64 * 1024
_QUIET_HANDLERS = {"StreamHandler", "NullHandler", "logging.StreamHandler", "logging.NullHandler"}
_FILE_HANDLERS = {"FileHandler", "RotatingFileHandler", "TimedRotatingFileHandler", "WatchedFileHandler"}
_STREAMS = {"sys.stdout", "sys.stderr"}
_DOOR = "logging.config.fileConfig, called by python -m monai.bundle"


def is_logging_conf(path: str, raw: bytes) -> bool:
    """Whether a file is read by ``fileConfig`` by its name or its content."""
    return path.lower().endswith(SUFFIXES) or b"[handler" in raw or b"[formatter" in raw


def audit_logging(file: str, raw: bytes) -> Iterator[Finding]:
    """Findings in a logging configuration.

    Raises:
        BundleError: if it cannot be read.
    """
    if len(raw) > _LARGEST:
        raise BundleError("a configuration too large to be judged", where=file)
    try:
        text = raw.decode("utf-8")
        parser = configparser.RawConfigParser()
        parser.read_string(text)
    except (UnicodeDecodeError, configparser.Error, ValueError):
        raise BundleError("no configuration that could be judged", where=file) from None
    for section in parser.sections():
        if not section.lower().startswith(_SECTIONS):
            continue
        for key, value in parser.items(section):
            if key in _EVALUATED:
                weight, why, known = _judge(key, value, parser.get(section, "class", fallback=""))
                line = _line(text, key, value)
                yield Finding(file, "logging", weight, value, why, line, f"{section}::{key}", known, _DOOR)


def _judge(key: str, value: str, kind: str) -> tuple[Weight, str, bool]:
    if "%(" in value:
        return Weight.REFUSE, "is put together from other parts before Python evaluates it", False
    if key == "class":
        return _judge_class(value)
    try:
        tree = ast.parse(value.strip() or "()", mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Weight.REFUSE, "is evaluated by Python and cannot be judged", False
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and f"{getattr(node.value, 'id', '')}.{node.attr}" in _STREAMS:
            continue
        if isinstance(node, ast.Name) and node.id == "sys":
            continue
        if not isinstance(node, ast.Expression | ast.Constant | ast.Tuple | ast.List | ast.Dict | ast.Load):
            return Weight.REFUSE, "is evaluated by Python, and is more than plain values", False
    if kind.rpartition(".")[2] in _FILE_HANDLERS:
        return Weight.REFUSE, "opens this file for writing, wherever it is, as soon as the configuration is read", False
    return Weight.RUNS, "is evaluated by Python; plain values", True


def _judge_class(value: str) -> tuple[Weight, str, bool]:
    if value in _QUIET_HANDLERS or value in ("logging.Formatter", "Formatter"):
        return Weight.RUNS, "writes to the terminal", True
    if value.rpartition(".")[2] in _FILE_HANDLERS and value.replace(".", "").isidentifier():
        return Weight.RUNS, "writes to a file", False
    return Weight.REFUSE, "is evaluated by Python, and is no handler that writes to the terminal", False


def _line(text: str, key: str, value: str) -> int | None:
    first = value.split("\n", 1)[0]
    for number, line in enumerate(text.splitlines(), 1):
        if line.lower().lstrip().startswith(key) and first in line:
            return number
    return None
