"""What a config of MONAI's would run, place by place."""

from __future__ import annotations

import re
import sys
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from volseg.bundle.audit.budget import Budget
from volseg.bundle.audit.expressions import judge_expression
from volseg.bundle.audit.finding import MONAI_DOOR, Finding, Weight
from volseg.bundle.audit.python_names import Judged, judge_name
from volseg.bundle.audit.yaml_places import read_yaml_places
from volseg.bundle.storage.json_text import Placed, read_json, walk
from volseg.bundle.storage.names import name_problem

SUFFIXES = (".json", ".yaml", ".yml")
#: steps that a value takes
_JSON_VALUE, _YAML_VALUE = 5, 30
_MACRO_PATH = re.compile(r"(.*?\.(?:json|yaml|yml))(?:::(.*))?$", re.IGNORECASE | re.DOTALL)
_QUIET = {"_disabled_": "even to decide whether a component is left out", "_desc_": "although it is a description"}
#: what keeps a file from running its own code, in so many words: a 0, a text or a reference may be anything
_SAFE_SWITCHES = {"weights_only": True, "allow_pickle": False, "trust_remote_code": False}
#: what MONAI's LoadImage and SaveImage take by name, from wherever it leads
_LOCATED = {"reader", "writer"}
_RELATIVE = re.compile("[@%]::")
_NAME = re.compile(r"[A-Za-z_]\w*(?:\.\w+)+", re.ASCII)
#: ends of files, whose names look like names of Python's
_FILES = {"json", "yaml", "yml", "txt", "md", "csv", "tsv", "pt", "pth", "ts", "onnx", "nii", "gz", "npy", "npz", "png"}


def audit_config(file: str, raw: bytes, there: Mapping[str, int], budget: Budget) -> Iterator[Finding]:
    """Findings in a JSON or YAML file.

    Args:
        file: its path in the bundle.
        raw: its bytes.
        there: the files of the bundle, which macros may name.
        budget: the work that may be done.

    Raises:
        BundleError: if it cannot be read, or that is too much work.
    """
    is_json = file.lower().endswith(".json")
    data = read_json(raw, file) if is_json else read_yaml_places(raw, file)
    text = raw.decode("utf-8-sig")
    breaks = [found.start() for found in re.finditer("\n", text)]
    for path, value in walk(data):
        budget.spend(_JSON_VALUE if is_json else _YAML_VALUE)
        # MONAI takes `#` and `::` in a key for a step inwards, and a `+` in front for "add to what is there"
        steps = [part for key in path for part in re.split("::|#", str(key).removeprefix("+"))]
        for kind, words, judged in _judge(steps, value, data, file, there):
            line = bisect_left(breaks, value.offset) + 1 if isinstance(value, Placed) else None
            yield Finding(
                file, kind, judged.weight, words, judged.why, line, "::".join(steps), judged.known, MONAI_DOOR
            )


def _judge(
    steps: Sequence[str], value: Any, data: Any, file: str, there: Mapping[str, int]
) -> Iterator[tuple[str, str, Judged]]:
    key = steps[-1] if steps else ""
    if key == "_target_":
        yield "target", str(value), _judge_target(value, data)
    elif key == "_mode_" and value not in ("default", "callable"):
        yield "mode", str(value), Judged(Weight.REFUSE, "starts Python's debugger, or what nobody can tell beforehand")
    elif key == "_debug_" and value:
        yield "mode", str(value), Judged(Weight.REFUSE, "starts Python's debugger")
    elif key == "auto_map":
        yield "import", str(value), Judged(Weight.RUNS, "names code of the repository for `trust_remote_code`")
    elif key in _SAFE_SWITCHES and value is not _SAFE_SWITCHES[key]:
        yield "switch", f"{key}: {value}", Judged(Weight.RUNS, "lets a file's own code run when it is loaded")
    elif key == "url" and steps[0] == "large_files":
        yield (
            "fetch",
            str(value),
            Judged(Weight.RUNS, "MONAI's download_large_files puts what is there into the bundle"),
        )
    if isinstance(value, str):
        yield from _judge_text(steps, value, file, there)


def _judge_text(
    steps: Sequence[str], value: str, file: str, there: Mapping[str, int]
) -> Iterator[tuple[str, str, Judged]]:
    key = steps[-1] if steps else ""
    code = value.startswith(("$", "%"))
    if code and _RELATIVE.search(value.replace("#", "::")) and not all(re.fullmatch(r"\w*", step) for step in steps):
        why = "MONAI completes it by the keys that it lies under, which hold more than letters"
        yield "expression", value, Judged(Weight.REFUSE, why)
    elif value.startswith("$"):
        judged = judge_expression(value)
        if key in _QUIET and judged.weight is not Weight.REFUSE:
            judged = Judged(judged.weight, f"is evaluated by MONAI, {_QUIET[key]}", False)
        yield "import" if "import" in value and key.isdigit() else "expression", value, judged
    elif value.startswith("%"):
        yield from _judge_macro(value, file, there)
    elif _LOCATED & {next((step for step in reversed(steps) if not step.isdigit()), "")}:
        if not _is_own_reader(value):
            judged = judge_name(value)
            yield "target", value, Judged(judged.weight, f"is called by its name: {judged.why}", judged.known)
    elif key != "_target_" and _NAME.fullmatch(value) and value.rpartition(".")[2].lower() not in _FILES:
        root = value.partition(".")[0]
        if root in sys.stdlib_module_names and (judged := judge_name(value)).weight is Weight.REFUSE:
            yield "target", value, Judged(Weight.REFUSE, f"a name that a reference makes a target: {judged.why}")


def _is_own_reader(value: str) -> bool:
    """Whether it is one of MONAI's, by its short name, in letters of any size; or a reference, judged where it leads.

    >>> _is_own_reader("NibabelReader"), _is_own_reader("itkwriter"), _is_own_reader("os.system")
    (True, True, False)
    """
    return value.startswith("@") or (
        value.isascii() and value.isalpha() and value.lower().endswith(("reader", "writer"))
    )


def _judge_target(value: Any, data: Any) -> Judged:
    if not isinstance(value, str):
        return Judged(Weight.REFUSE, "is computed from something else than a name")
    if value.startswith("$"):
        return Judged(Weight.RUNS, "calls what an expression gives")
    if value.startswith(("@", "%")):
        named = _looked_up(value[1:], data)
        if isinstance(named, str) and not named.startswith(("$", "@", "%")):
            judged = judge_name(named)
            return Judged(judged.weight, f"a reference to {named!a}: {judged.why}")
        if isinstance(named, dict) and "_target_" in named:
            return Judged(Weight.RUNS, "calls what another component gives")
        return Judged(Weight.REFUSE, "is computed from references, and cannot be told beforehand")
    return judge_name(value)


def _looked_up(reference: str, data: Any) -> Any:
    for step in re.split("::|#", reference):
        if isinstance(data, dict):
            data = data.get(step)
        elif isinstance(data, list) and step.isdigit() and len(step) < 9 and int(step) < len(data):
            data = data[int(step)]
        else:
            return None
    return data


def _judge_macro(value: str, file: str, there: Mapping[str, int]) -> Iterator[tuple[str, str, Judged]]:
    found = _MACRO_PATH.match(value[1:].replace("#", "::"))
    if found is None:
        return  # a place in the same config, which is judged where it stands
    path = found[1].removeprefix("./")
    here = str(PurePosixPath(file).parent / path)
    if name_problem(path) or (path not in there and here not in there):
        yield "macro", value, Judged(Weight.REFUSE, "takes a part of the config from a file outside of the bundle")
    else:
        yield "macro", value, Judged(Weight.DATA, "takes a part of the config from another file of it", known=True)
