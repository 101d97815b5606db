"""What ``volseg predict --dry-run`` prints: every case, and what all of them together will take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from volseg.cli import console
from volseg.cli.remarks import Remarks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from volseg.prediction import Plan

_COLUMNS = ("case", "image", "spacing mm", "memory", "mask", "state")


def tell_plan(work: Plan, *, as_json: bool = False) -> None:
    """Print a plan on stdout and its sums on stderr."""
    from volseg.prediction.plan import free_bytes
    from volseg.recipe.units import readable_bytes

    cases = list(_cases(work))
    if as_json:
        console.result_json(cases)
    else:
        console.result_table(_COLUMNS, [_row(case) for case in cases])
    remarks = Remarks()
    for job in work.jobs:
        for hint in job.expected.hints if job.expected else ():
            remarks.tell(job.case.name, hint)
    remarks.tell_repeated()
    expected = [job.expected for job in work.jobs if job.expected is not None]
    counts = [f"{len(work.jobs)} to do", f"{len(work.finished)} done before", f"{len(work.failed)} cannot be done"]
    console.say(", ".join(count for count in counts if not count.startswith("0 ")) or "nothing to do")
    if any(one.memory for one in expected):
        most = max(one.memory or 0 for one in expected)
        console.say(f"the network takes at most {readable_bytes(most)} of memory above itself and an image")
    unpacked = readable_bytes(sum(one.mask_bytes for one in expected))
    if expected:
        free = readable_bytes(free_bytes(work.request.output))
        console.say(f"the masks take {unpacked} before they are packed; {free} are free: {work.request.output}")


def _cases(work: Plan) -> Iterator[dict[str, Any]]:
    output = work.request.output
    for job in work.jobs:
        expected = job.expected
        yield {
            "case": job.case.name,
            "shape": expected and expected.shape,
            "spacing": expected and expected.spacing,
            "memory": expected and expected.memory,
            "mask": str(output / job.mask),
            "state": "to do",
            "hints": expected.hints if expected else (),
            "error": None,
        }
    for record in (*work.finished, *work.failed):
        done = record.verdict == "done"
        yield {
            "case": record.case,
            "shape": record.shape or None,
            "spacing": record.spacing or None,
            "memory": None,
            "mask": str(output / record.mask) if record.mask else None,
            "state": "done before" if done else "cannot be done",
            "hints": record.hints,
            "error": record.error,
        }


def _row(case: dict[str, Any]) -> list[str]:
    from volseg.recipe.units import readable_bytes

    return [
        case["case"],
        " x ".join(map(str, case["shape"] or ())) or "-",
        " x ".join(f"{size:.4g}" for size in case["spacing"] or ()) or "-",
        readable_bytes(case["memory"]) if case["memory"] else "-",
        case["mask"] or "-",
        case["state"],
    ]
