"""A recipe whose training takes a moment, a cohort for it, and its bundle."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

with warnings.catch_warnings():
    # ignite reaches torch.distributed.optim, which decorates functions with what torch itself deprecates
    warnings.filterwarnings("ignore", message=r"`torch\.jit", category=DeprecationWarning)
    import ignite.engine  # noqa: F401

from volseg.bundle.rendering.build import build_bundle
from volseg.data.phantom import write_cohort
from volseg.engine import compose
from volseg.recipe import Recipe

TINY = {
    "labels.values": {"right ventricle": 1, "myocardium": 2, "left ventricle": 3},
    "image": {"spatial_dims": 3, "modality": "MR", "spacing": [4, 4, "native"]},
    "network": {"channels": [4, 8], "kernel_sizes": [[3, 3, 1], 3], "strides": [[2, 2, 1]]},
    "augmentation.flips": [0],
    "training": {
        "patch": [16, 16, 4],
        "batch": 2,
        "epochs": 1,
        "steps_per_epoch": 2,
        "precision": "float32",
        "channels_last": False,
        "workers": 0,
        "validate_every": 1,
    },
    "inference.tta": "flips",
    "folds.number": 2,
    "postprocessing": {"left ventricle": {"largest_component": True}},
    "bundle": {"name": "tiny", "authors": "somebody", "version": "0.2.0"},
}


@dataclass(frozen=True)
class Ran:
    """How a program ended."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> list[str]:
        """What it told of an error, MONAI's own warning about configurations left out."""
        return [line for line in self.err.splitlines() if line.startswith("error: ") or "Traceback" in line]


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    return Recipe.from_dict(TINY)


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort") / "hearts", "heart", 2, seed=0, size=88)


@pytest.fixture(scope="session")
def weights_file(tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights: enough for everything but good masks."""
    torch.manual_seed(3)
    network = compose.build(compose.network_part(tiny))
    file = tmp_path_factory.mktemp("weights") / "random.pt"
    torch.save(network.state_dict(), file)
    return file


@pytest.fixture(scope="session")
def untrained(tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bundle(tiny, tmp_path_factory.mktemp("untrained") / "tiny")


@pytest.fixture(scope="session")
def trained(tiny: Recipe, weights_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bundle(tiny, tmp_path_factory.mktemp("trained") / "tiny", weights=weights_file)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Path]:
    """A working directory in which nothing may appear."""
    folder = tmp_path / "empty"
    folder.mkdir()
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def run_bundle(empty: Path) -> Callable[..., Ran]:
    """``python -m monai.bundle run``, from an empty working directory."""

    def run(run_id: str, config: str, bundle: Path, *more: str | Path, first: tuple[str, ...] = ()) -> Ran:
        command = [sys.executable, *(first or ("-m",)), "monai.bundle", "run", run_id]
        file = config if config.startswith("[") else str(bundle / "configs" / f"{config}.json")
        command += ["--config_file", file, "--bundle_root", str(bundle), *map(str, more)]
        # fire pages what it prints where it can, and would wait for a key
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PAGER": "cat"}
        done = subprocess.run(
            command, cwd=empty, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run
