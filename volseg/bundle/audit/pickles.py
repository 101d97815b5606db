"""Which names a pickle would call, read off its opcodes; it is never loaded."""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from volseg.bundle.audit.budget import Budget
from volseg.bundle.audit.finding import Finding, Weight
from volseg.bundle.audit.python_names import judge_name
from volseg.errors import BundleError

_SEVERAL = 8
#: bytes in one argument; weights keep their numbers outside of the pickle
_LARGEST = 16 << 20
#: the number in front of torch files from before the zip format, whose fifth pickle is followed by raw numbers
_OLD_TORCH, _OLD_TORCH_PICKLES = 0x1950A86A20F9469CFC6C, 5
_TEXTS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING"}
_NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"}
_STORAGES = {
    f"torch.{kind}Storage"
    for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool", "ComplexFloat")
}
#: what ``torch.load(weights_only=True)`` builds plain tensors from
TENSOR_NAMES = _STORAGES | {
    "collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_parameter", "torch.storage.UntypedStorage", "torch.storage.TypedStorage", "torch.Size",
    "torch.serialization._get_layout",
}  # fmt: skip
_PLAIN_BUILTINS = {
    "set",
    "frozenset",
    "list",
    "dict",
    "tuple",
    "int",
    "float",
    "bool",
    "str",
    "bytes",
    "bytearray",
    "complex",
}
_PLAIN_LIBRARY = {"collections", "datetime", "pathlib", "enum", "random"}
_REBUILDERS = {"torch", "numpy", "collections", "monai"}
_DOOR = "pickle.load, and torch.load(weights_only=False)"


@dataclass(frozen=True)
class PickleNames:
    """The names that pickles in a file would import, in their order; ``hidden`` where some cannot be told."""

    names: tuple[str, ...]
    hidden: str | None = None


def audit_pickle(file: str, stream: BinaryIO, budget: Budget, *, inside: str = "") -> Iterator[Finding]:
    """Findings in a pickle: one that calls nothing but a tensor's parts is data."""
    place = f"{file}/{inside}" if inside else file
    found = pickle_names(stream, budget)
    for name in found.names:
        if name in TENSOR_NAMES:
            continue
        weight, why = _judge(name)
        yield Finding(place, "pickle", weight, name, why, door=_DOOR)
    if found.hidden:
        yield Finding(place, "pickle", Weight.REFUSE, found.hidden, "a pickle that cannot be judged", door=_DOOR)
    elif all(name in TENSOR_NAMES for name in found.names):
        yield Finding(
            place,
            "pickle",
            Weight.DATA,
            ", ".join(found.names) or "plain values",
            "a pickle of plain tensors",
            known=True,
        )


def pickle_names(stream: BinaryIO, budget: Budget) -> PickleNames:
    """The names in the pickles of ``stream``, read as opcodes.

    Raises:
        BundleError: if that is too much work.
    """
    names: dict[str, None] = {}
    opcodes = _Bounded(stream)
    pickles = 0
    old_torch = False
    while pickles < (_OLD_TORCH_PICKLES if old_torch else _SEVERAL):
        machine = _Machine()
        try:
            for opcode, argument, _ in pickletools.genops(opcodes):  # type: ignore[arg-type]  # these two methods are all it asks for
                machine.step(opcode, argument)
                budget.spend(1)
        except BundleError:
            raise
        except (
            Exception
        ) as error:  # pickletools raises whatever its readers meet: ValueError, UnicodeError, IndexError …
            # behind the first pickle as well: a loader that goes on meets what stands in front of the damage
            told = str(error) if isinstance(error, _Hidden) else "damaged or cut short"
            return PickleNames(tuple(names | machine.names), told)
        names |= machine.names
        old_torch = old_torch or (not pickles and machine.result == _OLD_TORCH)
        pickles += 1
        if not stream.read(1):
            break
        stream.seek(-1, 1)
    else:
        if not old_torch:
            return PickleNames(tuple(names), f"more than {_SEVERAL} pickles, one behind the other")
    return PickleNames(tuple(names))


class _Hidden(Exception):
    """A name that opcodes alone do not tell."""


class _Bounded:
    """A stream that gives one opcode's argument at a time, and none that is larger than weights have."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        if size > _LARGEST:
            raise _Hidden(f"an argument of {size} bytes")
        return self._stream.read(size)

    def readline(self) -> bytes:
        line = self._stream.readline(_LARGEST + 1)
        if len(line) > _LARGEST:
            raise _Hidden(f"a line of more than {_LARGEST} bytes")
        return line


_MARK = object()


class _Machine:
    """The pickle machine with everything but texts left out."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.names: dict[str, None] = {}
        #: what loading would give, where that is a number or a text
        self.result: Any = None

    def step(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        name = opcode.name
        if name in _TEXTS:
            self.stack.append(argument)
        elif name in ("GLOBAL", "INST"):
            self._call(*argument.split(" ", 1))
            self._generic(opcode)
        elif name == "STACK_GLOBAL":
            attribute, module = self._pop(), self._pop()
            if not (isinstance(module, str) and isinstance(attribute, str)):
                raise _Hidden("a name that is put together while it is loaded")
            self._call(module, attribute)
            self.stack.append(None)
        elif name.startswith("EXT"):
            raise _Hidden("a name from the registry of extensions")
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1] if self.stack else None
        elif name.endswith("PUT"):
            self.memo[int(argument)] = self.stack[-1] if self.stack else None
        elif name.endswith("GET"):
            self.stack.append(self.memo.get(int(argument)))
        elif name == "DUP":
            self.stack.append(self.stack[-1] if self.stack else None)
        elif name == "POP_MARK":
            self._to_mark()
        elif name == "STOP":
            self.result = self._pop()
        elif name in _NUMBERS:
            self.stack.append(argument)
        else:
            self._generic(opcode)

    def _call(self, module: str, attribute: str) -> None:
        module = "builtins" if module == "__builtin__" else module  # what old protocols call it
        if module != "builtins" or attribute not in _PLAIN_BUILTINS:
            self.names[f"{module}.{attribute}"] = None

    def _generic(self, opcode: pickletools.OpcodeInfo) -> None:
        before = opcode.stack_before
        if pickletools.markobject in before:
            self._to_mark()
            for _ in range(before.index(pickletools.markobject)):
                self._pop()
        else:
            for _ in before:
                self._pop()
        self.stack += [_MARK if what is pickletools.markobject else None for what in opcode.stack_after]

    def _to_mark(self) -> None:
        while self.stack and self.stack.pop() is not _MARK:
            pass

    def _pop(self) -> Any:
        return self.stack.pop() if self.stack else None


def _judge(name: str) -> tuple[Weight, str]:
    judged = judge_name(name)
    module = name.partition(".")[0]
    if judged.weight is not Weight.REFUSE and module not in sys.builtin_module_names:
        if module in sys.stdlib_module_names and module not in _PLAIN_LIBRARY:
            return Weight.REFUSE, f"loading it calls Python's {module}, which no weights need"
        return Weight.RUNS, f"loading it calls code of {module!r}"
    # a leading underscore is how libraries name what rebuilds their own objects
    if module in _REBUILDERS and "insides" in judged.why:
        return Weight.RUNS, f"loading it calls {module}'s own code"
    return Weight.REFUSE, f"loading it calls this, which {judged.why}"
