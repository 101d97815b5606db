"""The benchmarks page's tables and plots, drawn from ``benchmarks/results/*.json`` when the documentation is built.

Whatever a benchmark records appears: its work, its contenders, what was measured of each, the ratios, the machine. A
figure on that page can be nowhere but in a record.
"""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
mpl.rcParams["svg.hashsalt"] = "volseg"  # the same bytes each time

import matplotlib.pyplot as plt
from figures.growth import draw_growth

from benchmarks.__main__ import FRAME

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
OURS, PEER, GREY = "#0072B2", "#9AA5B1", "#888888"

# Which records belong under which heading, by the benchmark's name; what is not listed comes last.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "A volume through a network": ("inference", "growth", "memory", "resample", "folder"),
    "Files": ("read", "chaos_bitflip", "chaos_diskfull", "chaos_kill_writer"),
    "Training": ("elastic", "spatial", "weightmap", "train_step", "time_to_dice", "plan_memory", "chaos_train"),
    "Quality": ("trust", "em", "nuclei_parts"),
    "The command line": ("startup",),
    "The tests": ("mutants",),
}
FURTHER = "Further"
# What a ratio is; for all others the peer's figure over ours.
RATIOS: Mapping[str, str] = {
    "train_step": "the step with real data / the step on a constant batch",
    "plan_memory": "how far the prediction was off, as a share",
    "mutants": "the share that is killed",
    "chaos_bitflip": "ours : peer",
}
KEYS = ("work", "ours", "peer", "ratio", "machine", "versions", "date")

Rows = dict[str, dict[str, Any]]


def records() -> dict[str, dict[str, Any]]:
    """Every record by its name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}


def write_results(made: Path) -> None:
    """Write ``results.md`` and ``gpu.md``, which the benchmarks page includes, and the plots they show."""
    made.mkdir(parents=True, exist_ok=True)
    pages: dict[str, list[str]] = {"results": [], "gpu": []}
    heading = ""
    for group, name, record in _ordered(records()):
        page = pages["gpu" if "gpu" in record["machine"] else "results"]
        if page is pages["results"] and group != heading:
            heading = group
            page.append(f"## {group}\n")
        page.append(section(name, record, made))
    pages["gpu"] = pages["gpu"] or ["Nothing has been measured on a GPU yet.\n"]
    for name, parts in pages.items():
        _write(made / f"{name}.md", "\n".join(parts))


def _ordered(found: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    left = dict(found)
    for group, names in GROUPS.items():
        for wanted in names:
            for name in [name for name in left if name == wanted or name.startswith(wanted + "_")]:
                yield group, name, left.pop(name)
    for name, record in left.items():
        yield FURTHER, name, record


def section(name: str, record: Mapping[str, Any], made: Path) -> str:
    """One benchmark: what was done, the figures, a plot where contenders can be compared, and where it was measured."""
    ours, peers = contenders(record)
    words = [f"### {name.replace('_', ' ')}\n", f"{_about(name)}\n", f"*Work:* {record['work']}.\n"]
    plot = _saved(draw_growth(record, (OURS, PEER)), name, made) if name == "growth" else _plot(name, ours, peers, made)
    if plot:
        words.append(f"![{name}: what was measured, drawn]({plot})\n")
    words.append(_table({**ours, **peers}))
    if record["ratio"] is not None:
        words.append(f"*Ratio* ({RATIOS.get(_module(name), RATIOS.get(name, 'peer / volseg'))}):\n")
        words.append(_ratios(record["ratio"], without=ours))
    if more := {key: value for key, value in record.items() if key not in KEYS and not isinstance(value, (dict, list))}:
        words.append("; ".join(f"{key.replace('_', ' ')}: {shown(value, key)}" for key, value in more.items()) + "\n")
    words.append(f"*Measured* {record['date']} on {_machine(record['machine'])}; {_versions(record['versions'])}.\n")
    return "\n".join(words)


def contenders(record: Mapping[str, Any]) -> tuple[Rows, Rows]:
    """What was measured of each of ours, and of each peer: name -> measure -> value."""
    ours, peer, ratio = record["ours"], record["peer"], record["ratio"]
    if isinstance(peer, dict) and not isinstance(ours, (dict, list)):  # one figure each, the peers by name
        return {"volseg": {"": ours}}, {name: {"": value} for name, value in peer.items()}
    # a peer without a name of its own has it in the ratio
    name = next(iter(ratio)) if isinstance(ratio, dict) and len(ratio) == 1 else "peer"
    return _rows(ours, "volseg"), _rows(peer, name)


def _rows(value: Any, name: str) -> Rows:
    if value is None:
        return {}
    if isinstance(value, list):
        return {f"{name} {number}": dict(row) for number, row in enumerate(value, 1)}
    if not isinstance(value, dict):
        return {name: {"": value}}
    nested = {key: row for key, row in value.items() if isinstance(row, dict)}
    flat = {key: item for key, item in value.items() if not isinstance(item, (dict, list))}
    return {**({name: flat} if flat else {}), **nested}


def _table(rows: Rows) -> str:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    columns = [c for c in columns if c != "labels" or not all(isinstance(r.get(c), str) for r in rows.values())]
    lines = [[name, *(shown(row.get(column), column) for column in columns)] for name, row in rows.items()]
    return _markdown(["", *(_title(column) for column in columns)], lines)


def _ratios(ratio: Any, without: Rows) -> str:
    """The ratios; of ours against ours the table above tells."""
    if not isinstance(ratio, dict):
        return _markdown(["ratio"], [[shown(ratio)]])
    if not any(isinstance(value, dict) for value in ratio.values()):
        return _markdown(list(ratio), [[shown(value) for value in ratio.values()]])
    inner = list(dict.fromkeys(key for row in ratio.values() for key in row if key not in without))
    return _markdown(["", *ratio], [[key, *(shown(row.get(key)) for row in ratio.values())] for key in inner])


def _markdown(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") or " " for cell in row) + " |" for row in rows) + "\n"


def shown(value: Any, measure: str = "") -> str:
    """A figure as a person reads it.

    >>> shown(4.4123), shown(699650048, "peak"), shown(None), shown(True), shown(1000)
    ('4.41', '667 MiB', '', 'yes', '1000')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)) and measure == "peak":
        return f"{value / 2**20:.0f} MiB"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    if isinstance(value, list):
        return " x ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(item, key)}" for key, item in value.items())
    return str(value)


def _title(measure: str) -> str:
    return {"": "seconds", "peak": "peak memory", "cpu_seconds": "processor seconds"}.get(
        measure, measure.replace("_", " ")
    )


def _plot(name: str, ours: Rows, peers: Rows, made: Path) -> str | None:
    """Bars of the first measure that all contenders have; none where there is nothing to compare."""
    rows = {**ours, **peers}
    first = next(iter(next(iter(rows.values()), {})), None)
    if first not in ("", "seconds") or len(rows) < 2 or any(not _number(row.get(first)) for row in rows.values()):
        return None
    figure, ax = plt.subplots(figsize=(7, 0.5 + 0.3 * len(rows)), layout="constrained")
    values = [row[first] for row in rows.values()]
    bars = ax.barh(list(rows), values, color=[OURS if name in ours else PEER for name in rows], height=0.7)
    ax.bar_label(bars, labels=[shown(value) for value in values], padding=3, fontsize=9, color=GREY)
    ax.invert_yaxis()
    ax.set_xlim(right=max(values) * 1.12)
    ax.set_xlabel("seconds", color=GREY)
    ax.tick_params(colors=GREY)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    return _saved(figure, name, made)


def _saved(figure: plt.Figure, name: str, made: Path) -> str:
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    plt.close(figure)
    _write(made / f"{name}.svg", drawn.getvalue())
    return f"{name}.svg"


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _module(name: str) -> str:
    """The benchmark that wrote a record: the longest name of a module that the record's begins with."""
    modules = [path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem not in FRAME]
    fitting = [module for module in modules if name == module or name.startswith(module + "_")]
    return max(fitting, key=len, default=name)


def _about(name: str) -> str:
    """The benchmark's own first line, and how to repeat it."""
    module = _module(name)
    path = ROOT / "benchmarks" / f"{module}.py"
    if not path.exists():
        return ""
    said = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].replace("\n", " ")
    return f"{said} `python -m benchmarks {module}`"


def _machine(machine: Mapping[str, Any]) -> str:
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_GiB']} GiB"
    return f"{machine['gpu']} ({where})" if "gpu" in machine else where


def _versions(versions: Mapping[str, str]) -> str:
    there = ", ".join(f"{name} {version}" for name, version in versions.items() if version != "absent")
    absent = [name for name, version in versions.items() if version == "absent"]
    return there + (f"; {', '.join(absent)} was not installed and is not measured" if absent else "")


def _write(path: Path, text: str) -> None:
    # untouched when unchanged, so that an incremental build stays incremental
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
