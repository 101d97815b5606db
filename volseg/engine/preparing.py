"""What a batch goes through on the device before the network sees it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from volseg.engine.threads import threads_for
from volseg.transforms.rand_intensity import Intensities, change_batch
from volseg.transforms.randomness import generator


class PrepareBatch:
    """Moves a batch to the device and changes its intensities there; given to MONAI's trainer as ``prepare_batch``.

    What each sample goes through is drawn from its own stream, (seed, epoch, case, patch), so that neither the batch
    around it nor an interruption changes it.

    Args:
        changes: arguments of :class:`~volseg.transforms.rand_intensity.Intensities`; none for no changes.
        brightness: (least, largest) factor of all intensities.
        brightness_prob: how often there is one.
        seed: the seed.
        channels_last: the memory layout.
    """

    def __init__(
        self,
        changes: Mapping[str, Any] | None = None,
        *,
        brightness: Sequence[float] = (1.0, 1.0),
        brightness_prob: float = 0.0,
        seed: int = 0,
        channels_last: bool = False,
    ) -> None:
        self.changes = Intensities(**changes) if changes else None
        self.brightness = (float(brightness[0]), float(brightness[1]))
        self.brightness_prob = brightness_prob
        self.seed = seed
        self.channels_last = channels_last

    def __call__(
        self, batch: Mapping[str, Any], device: torch.device | str | None = None, non_blocking: bool = False, **_: Any
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Images, targets, and weights if there are any."""
        images = batch["image"].to(device=device, non_blocking=non_blocking)
        target = batch["label"].to(device=device, non_blocking=non_blocking)
        weight = batch.get("weight")
        if weight is not None:
            weight = weight.to(device=device, non_blocking=non_blocking)
        if self.changes is not None or self.brightness_prob > 0:
            with threads_for(math.prod(images.shape[2:])):
                images = self._changed(images, batch)
        return laid_out(images, self.channels_last), target, weight

    def _changed(self, images: Tensor, batch: Mapping[str, Any]) -> Tensor:
        streams = [
            generator(self.seed, int(epoch), case, f"intensity {slot}")
            for epoch, case, slot in zip(batch["epoch"], batch["case"], batch["slot"], strict=True)
        ]
        factors = [float(r.uniform(*self.brightness)) if r.uniform() < self.brightness_prob else 1.0 for r in streams]
        if any(factor != 1.0 for factor in factors):
            column = torch.tensor(factors, dtype=images.dtype).to(images.device, non_blocking=True)
            images = images * column.view(-1, *(1,) * (images.ndim - 1))
        if self.changes is not None:
            images = change_batch(images, [self.changes.draw(r, images.ndim - 2) for r in streams])
        return images


def laid_out(tensor: Tensor, channels_last: bool) -> Tensor:
    """A batch in the memory layout asked for."""
    if not channels_last:
        return tensor.contiguous()
    layout = torch.channels_last if tensor.ndim == 4 else torch.channels_last_3d
    return tensor.contiguous(memory_format=layout)
