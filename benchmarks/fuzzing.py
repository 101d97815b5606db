"""What the fuzzing of readers shares: a process for each target, its corpus, its limits, and what it came to."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path


def campaign(
    argv: Sequence[str],
    *,
    module: str,
    doc: str | None,
    targets: Sequence[str],
    seeds: Callable[[str], Sequence[bytes]],
    longest: int,
    memory_mib: int,
) -> int:
    """Fuzz one target, or all in turn; exit code 1 if anything was found.

    Args:
        argv: the command line.
        module: ``benchmarks.NAME``, whose ``work()`` is the fuzzing process and never returns.
        doc: shown by ``--help``.
        targets: what can be fuzzed.
        seeds: small sound inputs of a target, to begin with.
        longest: the longest input, in bytes.
        memory_mib: a reader that needs more for a file that short has been made to.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=doc)
    parser.add_argument("target", choices=[*targets, "all"])
    parser.add_argument("--minutes", type=float, default=20, help="for each target (default 20)")
    parser.add_argument("--corpus", type=Path, help="a folder for the inputs (default: a temporary one)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    failed = []
    with tempfile.TemporaryDirectory() as scratch:
        for target in targets if options.target == "all" else (options.target,):
            corpus = (options.corpus or Path(scratch)).absolute() / target
            corpus.mkdir(parents=True, exist_ok=True)
            for number, data in enumerate(seeds(target)):
                (corpus / f"seed{number}").write_bytes(data)
            command = [
                sys.executable, "-c", f"import {module} as fuzz; fuzz.work()", target, str(corpus),
                f"-max_total_time={int(60 * options.minutes)}", f"-max_len={longest}", f"-rss_limit_mb={memory_mib}",
                "-timeout=20", f"-seed={options.seed}", "-print_final_stats=1",
                f"-artifact_prefix={corpus.parent}/{target}-",
            ]  # fmt: skip
            done = subprocess.run(command, check=False, cwd=Path(__file__).parents[1])
            print(f"{target}: {'found something' if done.returncode else 'nothing found'}")
            failed += [target] * bool(done.returncode)
    if failed and options.corpus is None:
        print("run it again with --corpus to keep what was found")
    return 1 if failed else 0
