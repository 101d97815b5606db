"""Small bundles with random weights, and a Python that has MONAI and no volseg."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
import torch

with warnings.catch_warnings():
    # ignite reaches torch.distributed.optim, which decorates functions with what torch itself deprecates
    warnings.filterwarnings("ignore", message=r"`torch\.jit", category=DeprecationWarning)
    import ignite.engine  # noqa: F401

from volseg.bundle.rendering.build import build_bundle
from volseg.engine import compose
from volseg.recipe import Recipe

TINY: dict[str, Any] = {
    "labels.values": {"right ventricle": 1, "myocardium": 2, "left ventricle": 3},
    "image": {"spatial_dims": 3, "modality": "MR", "spacing": [1.8, 1.8, "native"]},
    "network": {"channels": [4, 8], "kernel_sizes": [[3, 3, 1], 3], "strides": [[2, 2, 1]]},
    "augmentation.flips": [0],
    "training": {"patch": [16, 16, 4], "batch": 2},
    "inference.tta": "flips",
    "postprocessing": {"left ventricle": {"largest_component": True, "fill_holes": True}},
    "bundle": {"name": "tiny", "authors": "somebody"},
}
#: what a laboratory with MONAI has, and what these need
HAVE = ("monai", "nibabel", "pytorch-ignite", "fire", "setuptools")


@pytest.fixture
def trained(tmp_path: Path) -> Callable[..., Path]:
    """Build a bundle with random weights; keys of its recipe change it."""

    def build(**changes: Any) -> Path:
        recipe = Recipe.from_dict(TINY).changed({key.replace("__", "."): value for key, value in changes.items()})
        torch.manual_seed(3)
        network = compose.build(compose.network_part(recipe))
        weights = tmp_path / "random.pt"
        torch.save(network.state_dict(), weights)
        return build_bundle(recipe, tmp_path / "trained", weights=weights)

    return build


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment in which MONAI, nibabel, ignite and what they need can be imported."""
    root = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(root / "venv")], check=True)
    packages = next((root / "venv" / "lib").glob("python3*")) / "site-packages"
    for found in _needed(HAVE).values():
        for file in found.files or ():
            top = Path(file).parts[0]
            here = Path(str(found.locate_file(top)))
            if top not in ("..", "__pycache__") and here.exists() and not (packages / top).exists():
                (packages / top).symlink_to(here)
    return root / "venv" / "bin" / "python"


def _needed(names: tuple[str, ...]) -> dict[str, Distribution]:
    found: dict[str, Distribution] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # for another system or Python
            continue
        required = found[name].requires or []
        waiting += [re.split(r"[^\w.-]", one, maxsplit=1)[0] for one in required if "extra ==" not in one]
    return found
