"""Trainings killed, stopped and spoilt at random: the weights must not notice, and errors must say what is wrong.

``python -m benchmarks.chaos kill-train -n 50`` kills a training with SIGKILL at 50 random moments and compares
the final weights, bit by bit, with those of a training left alone. ``corrupt-checkpoint`` damages the newest
checkpoint, ``sigterm`` asks the process to leave and times it, ``nan-case`` puts a NaN into one case.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.frame import record

_RUN = """
import sys
from volseg.engine.train import train
from volseg.errors import VolsegError
from volseg.recipe import load_recipe
recipe, data, folder = sys.argv[1:]
try:
    result = train(load_recipe(recipe), data, folder, device="cpu", resume=True,
                   listeners=[lambda event: print("event", event["event"], flush=True)])
except VolsegError as error:
    print("error", error, flush=True)
    sys.exit(1)
print("end", result.interrupted, flush=True)
"""


# what a probe would choose for each run by itself: bits are only promised where it is the same
_FIXED = {"training.precision": "float32", "training.channels_last": False}
KINDS = ("kill-train", "corrupt-checkpoint", "sigterm", "nan-case")


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("what", choices=KINDS)
    parser.add_argument("-n", type=int, default=10, help="how many times")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(argv)
    random.seed(chosen.seed)
    with tempfile.TemporaryDirectory() as folder:
        work = _Work(Path(folder))
        failures, told = {
            "kill-train": kills,
            "corrupt-checkpoint": corruptions,
            "sigterm": terminations,
            "nan-case": nan_cases,
        }[chosen.what](work, chosen.n)
    print(f"{chosen.what}: {chosen.n - failures} of {chosen.n} as they should be; {told}")
    record(
        f"chaos_train_{chosen.what.replace('-', '_')}",
        work=f"{chosen.n} times {chosen.what} on a small training",
        ours={"good": chosen.n - failures, "failed": failures, **told},
        peer=None,
        ratio=None,
    )
    return int(failures > 0)


class _Work:
    """A cohort of phantoms, a recipe, and the weights of a training that nothing disturbed."""

    def __init__(self, folder: Path) -> None:
        from volseg.data.phantom import write_cohort
        from volseg.recipe import Recipe, dump_recipe

        self.folder = folder
        self.data = write_cohort(folder / "data", "heart", 4, seed=1, size=88)
        recipe = Recipe.from_dict(
            {
                "labels.values": {"right ventricle": 1, "myocardium": 2, "left ventricle": 3},
                "image": {"spatial_dims": 3, "modality": "MR", "spacing": [3.0, 3.0, "native"]},
                "network": {
                    "channels": [6, 12],
                    "strides": [[2, 2, 1]],
                    "kernel_sizes": [[3, 3, 1], 3],
                    "dropout": 0.2,
                },
                "augmentation": {"spatial": {"rotation": [0, 0, 20], "elastic": {"grid": [3, 3, 2], "std": [1, 1, 0]}}},
                "optimiser": {"ema": 0.9, "accumulate": 2},
                "training": {"patch": [32, 32, 8], "epochs": 6, "steps_per_epoch": 7, "validate_every": 2},
                "folds.number": 2,
            }
        )
        self.recipe = folder / "recipe.yaml"
        self.recipe.write_text(dump_recipe(recipe.changed(_FIXED)))
        began = time.monotonic()
        self.finish(folder / "whole")
        self.seconds = time.monotonic() - began
        self.expected = weights(folder / "whole")
        log = (folder / "whole" / "log.jsonl").read_text().splitlines()
        #: how long the training itself took, without starting the process and preparing the cases
        self.training = max(json.loads(line).get("seconds", 0.0) for line in log)

    def start(self, run: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _RUN, str(self.recipe), str(self.data), str(run)]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)

    def finish(self, run: Path) -> str:
        return self.start(run).communicate(timeout=3600)[0]


def kills(work: _Work, n: int) -> tuple[int, dict[str, Any]]:
    """``n`` kills at random moments, over as many trainings as it takes; each must end with the expected bits."""
    killed = failures = trainings = 0
    while killed < n:
        run = work.folder / f"killed-{trainings}"
        trainings += 1
        for _ in range(min(5, n - killed)):
            child = work.start(run)
            try:
                started = work.seconds - work.training
                child.wait(timeout=started + random.uniform(-0.1, 0.6) * work.training)
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
                child.wait()
                killed += 1
            else:
                break  # it came to its end before its time: the next training is killed instead
        work.finish(run)
        same = weights(run) == work.expected
        failures += not same
        print(f"training {trainings}: {killed} kills so far, weights {'identical' if same else 'DIFFER'}", flush=True)
    return failures, {"kills": killed, "trainings": trainings}


def corruptions(work: _Work, n: int) -> tuple[int, dict[str, Any]]:
    """A training killed, its newest checkpoint damaged at a random byte: it falls back and ends with the same bits."""
    failures = fallen_back = 0
    for number in range(n):
        run = work.folder / f"corrupt-{number}"
        index = run / "checkpoints" / "index.json"
        child = work.start(run)
        while child.poll() is None and (not index.exists() or len(json.loads(index.read_text())) < 2):
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        child.wait()
        newest = run / "checkpoints" / json.loads(index.read_text())[-1]["name"]
        data = bytearray(newest.read_bytes())
        if number % 3 == 0:
            newest.write_bytes(data[: random.randrange(len(data))])
        else:
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
            newest.write_bytes(data)
        work.finish(run)
        fallen_back += "is damaged" in (run / "log.jsonl").read_text()
        failures += weights(run) != work.expected
    return failures, {"fallen_back": fallen_back}


def terminations(work: _Work, n: int) -> tuple[int, dict[str, Any]]:
    """SIGTERM at a random moment of the training: it leaves within 30 s, and goes on to the same bits."""
    failures, interrupted, slowest = 0, 0, 0.0
    for number in range(n):
        run = work.folder / f"terminated-{number}"
        child = work.start(run)
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith("event prepared"):
                break
        time.sleep(random.uniform(0, 0.9) * work.training)
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        left = child.communicate()[0]
        took = time.monotonic() - began
        slowest = max(slowest, took)
        interrupted += "end stopped by SIGTERM" in left
        work.finish(run)
        good = took < 30 and "Traceback" not in left and weights(run) == work.expected
        failures += not good
    return failures, {"slowest_exit_s": round(slowest, 2), "interrupted_in_time": interrupted}


def nan_cases(work: _Work, n: int) -> tuple[int, dict[str, Any]]:
    """One voxel of one training case is NaN: the run ends with a line that names the file, before any step."""
    import shutil

    import numpy as np

    from volseg.io import read_volume, write_volume

    failures = 0
    train = json.loads((work.folder / "whole" / "folds.json").read_text())["folds"][0]["train"]
    original = work.data
    for number in range(n):
        work.data = shutil.copytree(original, work.folder / f"nan-data-{number}")
        victim = next(work.data.rglob(f"{random.choice(train)}.nii.gz"))
        volume = read_volume(victim)
        array = np.array(volume.array, dtype=np.float32)
        array.flat[random.randrange(array.size)] = np.nan
        write_volume(victim, array, volume.grid)
        told = work.finish(work.folder / f"nan-{number}").strip().splitlines()[-1]
        good = told.startswith("error ") and victim.name in told and "1 NaN voxel" in told
        failures += not good
        print(told, flush=True)
    work.data = original
    return failures, {}


def weights(run: Path) -> bytes:
    """The final weights, as the bytes of their file."""
    return (run / "models" / "last.safetensors").read_bytes()
