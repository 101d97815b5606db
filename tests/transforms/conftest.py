"""Small images and labels that the transforms' tests share."""

from __future__ import annotations

import numpy as np
import pytest
import torch


@pytest.fixture(params=[(24, 20), (14, 12, 10)], ids=["2d", "3d"])
def shape(request):
    return request.param


@pytest.fixture
def case(shape):
    """A smooth image whose label is where it is bright, so that alignment can be seen."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt(sum((x - 0.15 * i) ** 2 for i, x in enumerate(axes)))
    image = np.exp(-3 * radius**2) + 0.05 * np.sin(6 * axes[0])
    label = np.digitize(image, [0.3, 0.6]).astype(np.uint8)
    return {"image": torch.as_tensor(image[None], dtype=torch.float32), "label": torch.as_tensor(label[None])}
