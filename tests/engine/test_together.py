"""Two processes train together: one set of weights, every case validated once, stopped and resumed like one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from volseg.engine.device import device_named
from volseg.engine.run_folder import RunError
from volseg.engine.train import train
from volseg.errors import UsageError
from volseg.recipe import Recipe, dump_recipe

DRIVER = """
import sys
from volseg.engine.stopping import Stop
from volseg.engine.train import train
from volseg.recipe import load_recipe
class StopAt(Stop):
    left = int(sys.argv[4])
    @property
    def why(self):
        StopAt.left -= 1
        return "asked to" if StopAt.left < 0 else None
recipe, data, folder = sys.argv[1:4]
result = train(load_recipe(recipe), data, folder, device="cpu", resume=True, stop=StopAt())
print("result", result.interrupted, result.best, flush=True)
"""


def two(recipe: Recipe, data: Path, folder: Path, tmp_path: Path, stop_at: int = 10**9) -> list[str]:
    """Train with two processes as torchrun would start them; what each said last."""
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(2):
        env = {**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
        env |= {"LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        # only one of the two is asked to stop: the other must hear of it
        asked = str(stop_at if rank == 1 else 10**9)
        command = [sys.executable, "-c", DRIVER, str(tmp_path / "recipe.yaml"), str(data), str(folder), asked]
        children.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env))
    told = [child.communicate(timeout=300) for child in children]
    assert [child.returncode for child in children] == [0, 0], told
    return [out.strip().splitlines()[-1] for out, _ in told]


@pytest.mark.slow
def test_two_processes_train_one_network(tiny: Callable[..., Recipe], hearts: Path, tmp_path: Path) -> None:
    """Stopped in the middle because one of them was, and resumed, they end with the bits of an undisturbed pair."""
    recipe = tiny(training__batch=1, training__epochs=2, training__validate_every=1, optimiser__accumulate=2)
    whole = two(recipe, hearts, tmp_path / "whole", tmp_path)
    assert whole[0] == whole[1]
    assert whole[0].startswith("result None 0.")
    events = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    validated = [event for event in events if event["event"] == "validation"]
    assert [len(event["cases"]) for event in validated] == [4, 4]
    stopped = two(recipe, hearts, tmp_path / "run", tmp_path, stop_at=6)
    assert "another process" in stopped[0]
    assert "asked to" in stopped[1]
    two(recipe, hearts, tmp_path / "run", tmp_path)
    a, b = (load_file(tmp_path / name / "models" / "last.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    with pytest.raises(RunError, match="begun by 2 processes, not 1"):
        train(recipe, hearts, tmp_path / "run", device="cpu", resume=True)


def test_devices_are_named() -> None:
    """A misspelt or absent one is refused with what there is."""
    assert device_named("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="no device is called 'gpu'"):
        device_named("gpu")
    with pytest.raises(UsageError, match="there is no device cuda:99"):
        device_named("cuda:99")
    with pytest.raises(UsageError, match="cpu and cuda, not on meta"):
        device_named("meta")
