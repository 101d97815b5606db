"""A small bundle as a folder, with a recipe, weights, configs of MONAI's and a card."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

METADATA: dict[str, Any] = {
    "schema": "https://example.org/meta_schema_20240725.json",
    "version": "0.2.0",
    "changelog": {"0.2.0": "first to be shared"},
    "monai_version": "1.6.1",
    "pytorch_version": "2.13.0",
    "numpy_version": "2.2.0",
    "required_packages_version": {"volseg": "0.1.0"},
    "task": "Heart segmentation",
    "description": "Segments a heart.",
    "authors": "A. Nother",
    "copyright": "A. Nother",
    "data_source": "phantoms",
    "network_data_format": {
        "inputs": {"image": {"type": "image", "num_channels": 1, "spatial_shape": [32, 32, 32]}},
        "outputs": {"pred": {"type": "image", "channel_def": {"0": "background", "1": "heart"}}},
    },
}
RECIPE = """
labels: {values: {heart: 1}}
image: {spatial_dims: 3, spacing: [1.5, 1.5, 3]}
training: {patch: [32, 32, 32]}
bundle: {name: heart, authors: A. Nother, license: Apache-2.0, data_source: phantoms, data_license: CC0-1.0}
"""
CARD = """---
license: apache-2.0
library_name: monai
tags: [segmentation]
---
# A heart
"""
INFERENCE: dict[str, Any] = {
    "imports": ["$import glob"],
    "bundle_root": ".",
    "network_def": {"_target_": "volseg.networks.unet.UNet", "spatial_dims": 3},
    "datalist": "$sorted(glob.glob(@bundle_root + '/*.nii.gz'))",
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 32]},
}


def safetensors(
    tensors: dict[str, list[int]] | None = None, header: bytes | None = None, data: bytes | None = None
) -> bytes:
    """Float32 zeros in the format's own layout; ``header`` and ``data`` stand in for the right ones."""
    made: dict[str, Any] = {}
    at = 0
    for name, shape in (tensors or {"conv.weight": [2, 3]}).items():
        size = 4
        for length in shape:
            size *= length
        made[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    told = json.dumps(made).encode() if header is None else header
    return struct.pack("<Q", len(told)) + told + (bytes(at) if data is None else data)


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Write a bundle's folder; keyword-less mappings of path to content add to it or, with none, take away."""

    def make(changes: dict[str, bytes | str | dict[str, Any] | None] | None = None, name: str = "heart") -> Path:
        folder = tmp_path / "made" / name
        files: dict[str, bytes | str | dict[str, Any] | None] = {
            "LICENSE": "Apache-2.0\n",
            "configs/metadata.json": METADATA,
            "configs/inference.json": INFERENCE,
            "configs/recipe.yaml": RECIPE,
            "docs/README.md": CARD,
            "models/model.safetensors": safetensors(),
            **(changes or {}),
        }
        for path, content in files.items():
            if content is None:
                continue
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, dict):
                content = json.dumps(content, indent=2)
            place.write_bytes(content.encode() if isinstance(content, str) else content)
        return folder

    return make
