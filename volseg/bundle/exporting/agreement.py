"""Whether an exported network is the one it was exported from: held against it on inputs of several sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from volseg.bundle.load import Bundle
from volseg.bundle.verifying.golden_phantoms import phantoms
from volseg.errors import BundleError
from volseg.inference.stream import Decision
from volseg.io.volume import Volume
from volseg.shapes import NetworkShape

TOLERANCE = 1e-4
LABELS = 0.9999


@dataclass(frozen=True)
class Agreement:
    """How far an exported network is from its original.

    Attributes:
        inputs: how many were tried.
        largest: the largest difference of logits, as a share of the largest logit of its input (or of 1).
        labels: the smallest share of equal labels.
    """

    inputs: int
    largest: float
    labels: float


def hold(
    network: nn.Module,
    exported: Callable[[Tensor], Tensor],
    inputs: list[Tensor],
    decision: Decision,
    where: object,
) -> Agreement:
    """Compare logits and labels on every input.

    Raises:
        BundleError: if they differ by more than ``1e-4``, or in more than one label of ten thousand.
    """
    largest, labels = 0.0, 1.0
    for image in inputs:
        with torch.inference_mode():
            own, other = network(image)[0], exported(image)[0]
        scale = max(1.0, float(own.abs().max()))
        largest = max(largest, float((own - other).abs().max()) / scale)
        labels = min(labels, float(np.mean(decision.decide(own) == decision.decide(other))))
    if not largest <= TOLERANCE or labels < LABELS:
        raise BundleError(
            f"the exported network is another: logits differ by {largest:.1e}, {labels:.4%} of labels are equal",
            where=where,
            mend="the file was not kept; tell us, with the recipe",
        )
    return Agreement(len(inputs), largest, labels)


def inputs_of(bundle: Bundle, shape: NetworkShape) -> list[Tensor]:
    """A random input, a phantom as the bundle prepares it, and other sizes of both."""
    recipe = bundle.recipe
    generator = torch.Generator().manual_seed(0)
    sizes = list(_sizes(shape))
    random = [torch.randn(1, recipe.in_channels, *size, generator=generator) for size in sizes]
    return random + [_phantom(bundle, size) for size in sizes]


def _sizes(shape: NetworkShape) -> Iterator[tuple[int, ...]]:
    """A small valid size, and one that is longer along each axis by another number of strides."""
    least = shape.next_valid(tuple(max(16, axis.smallest, 2 * axis.stride) for axis in shape.axes))
    yield least
    yield shape.next_valid(
        tuple(n + (i + 1) * s for i, (n, s) in enumerate(zip(least, shape.total_stride, strict=True)))
    )


def _phantom(bundle: Bundle, size: tuple[int, ...]) -> Tensor:
    """A phantom's voxels as the bundle prepares them, cut or mirrored to a size."""
    channels, grid = next(phantoms(bundle.recipe))
    found = bundle.predictor(device="cpu").prepare([Volume(voxels, grid) for voxels in channels]).image
    if found.ndim - 1 > len(size):
        found = found[..., found.shape[-1] // 2]
    for axis, wanted in enumerate(size, start=1):
        there = found.shape[axis]
        index = torch.arange(wanted) % (2 * there)
        found = found.index_select(axis, torch.where(index < there, index, 2 * there - 1 - index))
    return found[None]
