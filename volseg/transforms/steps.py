"""Changes of intensity one after the other, as a model from elsewhere was trained with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def in_steps(image: Tensor, steps: Sequence[Mapping[str, Any]]) -> Tensor:
    """A float32 channel-first image after each step, every channel on its own.

    The arithmetic is that of MONAI's ``ScaleIntensityRange``, ``ScaleIntensity`` and ``NormalizeIntensity``.

    Args:
        image: (channels, *spatial).
        steps: ``{"do": "range", "source": (a, b), "target": (c, d), "clip": bool}``, ``{"do": "minmax", "target": …}``
            or ``{"do": "zscore", "over": "all" | "nonzero"}``.

    >>> in_steps(torch.tensor([[-100.0, 0.0, 50.0, 900.0]]), [{"do": "range", "source": (0, 100), "clip": True}])
    tensor([[0.0000, 0.0000, 0.5000, 1.0000]])
    """
    for step in steps:
        image = torch.stack([_one(channel, step) for channel in image])
    return image


def _one(channel: Tensor, step: Mapping[str, Any]) -> Tensor:
    if step["do"] == "zscore":
        return _zscore(channel, nonzero=step.get("over", "all") == "nonzero")
    low, high = step.get("target", (0.0, 1.0))
    first, last = step["source"] if step["do"] == "range" else (float(channel.min()), float(channel.max()))
    if first == last:  # a constant image
        return channel.mul(float(low))
    scaled: Tensor = (channel - first) / (last - first) * (high - low) + low
    return scaled.clamp(low, high) if step.get("clip", False) else scaled


def _zscore(channel: Tensor, *, nonzero: bool) -> Tensor:
    counted = channel != 0 if nonzero else torch.ones_like(channel, dtype=torch.bool)
    values = channel[counted]
    if not len(values):
        return channel
    spread = float(values.double().std(correction=0))
    result = channel.clone()
    result[counted] = (values - float(values.double().mean())) / (spread or 1.0)
    return result
