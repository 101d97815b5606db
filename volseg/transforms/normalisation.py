"""Making intensities comparable, image by image or by what the cohort was like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from volseg.errors import UsageError, VolumeError
from volseg.transforms.steps import in_steps

# below this share of the largest magnitude a spread is rounding noise, and dividing by it would invent an image
_FLAT = 1e-6


def normalise(
    image: Tensor, settings: Mapping[str, Any], padding: Sequence[float] = (), *, where: object = None
) -> Tensor:
    """A float32 channel-first image with normalised intensities; each channel on its own.

    Args:
        image: (channels, *spatial).
        settings: ``{"kind": "zscore", "over": "all" | "nonzero"}``, ``{"kind": "ct", "clip": (low, high), "mean": m,
            "std": s}``, ``{"kind": "percentile", "range": (low, high), "clip": bool}``, or ``{"kind": "steps",
            "steps": […]}`` (see :mod:`volseg.transforms.steps`) or ``{"kind": "none"}``.
        padding: values that stand for "not measured": left out of statistics, and 0 (for ``ct`` the lower bound)
            in the result.
        where: the file, for errors.

    >>> normalise(torch.tensor([[1.0, 2.0, 3.0, -2000.0]]), {"kind": "zscore"}, padding=[-2000.0])
    tensor([[-1.2247,  0.0000,  1.2247,  0.0000]])
    """
    image = image.to(torch.float32, copy=True)
    kind = settings.get("kind", "zscore")
    if kind == "none":
        return image
    if kind == "steps":
        return in_steps(image, settings["steps"])
    measured = _measured(image, padding)
    if kind == "ct":
        low, high = settings["clip"]
        if measured is not None:
            image.masked_fill_(~measured, low)
        return image.clamp_(low, high).sub_(settings["mean"]).div_(settings["std"])
    if kind == "zscore" and settings.get("over", "all") == "nonzero":
        measured = image != 0 if measured is None else measured & (image != 0)
    if kind not in ("zscore", "percentile"):
        raise UsageError(f"no normalisation is called {kind!r}", mend="zscore, ct, percentile, steps or none")
    for index, channel in enumerate(image):
        valid = None if measured is None else measured[index]
        _scale(channel, channel if valid is None else channel[valid], settings, where)
        if valid is not None:
            channel.masked_fill_(~valid, 0.0)
    return image


def _measured(image: Tensor, padding: Sequence[float]) -> Tensor | None:
    measured = None
    for value in padding:
        kept = image != value
        measured = kept if measured is None else measured & kept
    return measured


def _scale(channel: Tensor, values: Tensor, settings: Mapping[str, Any], where: object) -> None:
    if values.numel() == 0:
        raise VolumeError("no voxel is left to take statistics of: all are padding or zero", where=where)
    if settings.get("kind", "zscore") == "zscore":
        centre, spread = float(values.double().mean()), float(values.double().std(correction=0))
    else:
        low, high = (_quantile(values, q / 100) for q in settings.get("range", (0.5, 99.5)))
        centre, spread = low, high - low
    if spread <= _FLAT * max(1e-30, float(values.abs().max())):
        channel.zero_()  # a constant image: nothing to see, but nothing to blow up either
        return
    channel.sub_(centre).div_(spread)
    if settings.get("kind") == "percentile" and settings.get("clip", True):
        channel.clamp_(0, 1)


def _quantile(values: Tensor, q: float) -> float:
    """Linear between order statistics, as numpy's; torch's own refuses more than 16 million values."""
    flat = values.flatten()
    place = q * (len(flat) - 1)
    below = int(place)
    lower = float(flat.kthvalue(below + 1).values)
    upper = float(flat.kthvalue(min(below + 2, len(flat))).values)
    return lower + (upper - lower) * (place - below)
