"""The memory contract: 24 classes on 512x512x400 in 2 GiB, and the measured peak against what was allowed."""

from __future__ import annotations

import argparse

from benchmarks.frame import child, record

MiB = 1 << 20


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks memory", description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=[512, 512, 400])
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 24])
    parser.add_argument("--budgets", type=int, nargs="+", default=[2048, 4096], help="in MiB")
    parser.add_argument("--slices", type=int, nargs="+", default=[100, 400], help="volumes of so many slices as well")
    parser.add_argument("--peer", action="store_true", help="MONAI's windows on the same volume (takes its memory)")
    options = parser.parse_args(argv)
    ours = []
    cases = [(options.shape, c, b) for c in options.classes for b in options.budgets]
    cases += [([*options.shape[:2], s], max(options.classes), min(options.budgets)) for s in options.slices]
    kept = True
    for shape, classes, budget in dict.fromkeys((tuple(s), c, b) for s, c, b in cases):
        row = child(
            "benchmarks.inference",
            "measure",
            way="ours",
            size=0,
            repeats=1,
            shape=list(shape),
            classes=classes,
            max_memory=budget * MiB,
        )
        kept &= row["peak"] <= budget * MiB
        ours.append({"shape": list(shape), "classes": classes, "budget_MiB": budget, **row})
        print(f"{shape} {classes:3} classes: {row['peak'] / MiB:6.0f} of {budget} MiB, {row['seconds']:.1f} s")
    peer = None
    if options.peer:
        peer = child("benchmarks.inference", "measure", way="monai", size=0, repeats=1, shape=options.shape, classes=24)
        print(f"MONAI's windows: {peer['peak'] / MiB:.0f} MiB, {peer['seconds']:.1f} s")
    ratio = None if peer is None else round(peer["peak"] / max(r["peak"] for r in ours), 2)
    record("memory", work="peak resident memory above model and input", ours=ours, peer=peer, ratio=ratio, kept=kept)
    return 0 if kept else 1
