"""The way of working that suits a network, a volume and the memory, and what it is expected to take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from logging import getLogger
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from volseg.errors import MemoryLimitError, UsageError
from volseg.inference import allocator, halo, whole
from volseg.inference.arithmetic import DTYPES, Precision, computing_in
from volseg.inference.exhausted import is_out_of_memory
from volseg.inference.layers import Levels
from volseg.inference.planner import plan_rows
from volseg.inference.probing import Reach, SeesEverything, probe
from volseg.inference.rowwise import rowwise
from volseg.inference.tiling import Box, next_size
from volseg.inference.windows import Windows
from volseg.networks.unet import UNet
from volseg.shapes import NetworkShape

_log = getLogger(__name__)

Network = Callable[[Tensor], Tensor]
_WINDOW = 96
_MEASURED: WeakKeyDictionary[nn.Module, dict[int, Reach]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Way:
    """One way of working over a batch of images; nothing is computed before either is called.

    Attributes:
        logits: the pieces.
        needs: the bytes above the loaded network and the images; none where nobody counts them.
    """

    logits: Callable[[], Iterator[tuple[Box, Tensor]]]
    needs: Callable[[], int | None]


@dataclass(frozen=True, eq=False)
class Ways:
    """All that the choice of a way depends on, but for the images themselves.

    Attributes:
        network: as it is called.
        module: the network itself, out of its wrappers.
        device: where it runs.
        dims: spatial dimensions of the network.
        budget: bytes; none for what the machine has left.
        sizes: of tiles, where they were asked for.
        blend: overlapping windows instead of exact pieces.
        precision: of the computation.
        reach: what a network from elsewhere sees, where it is known.
        axis: that slabs of a U-Net follow; none for the longest.
    """

    network: Network
    module: object
    device: torch.device
    dims: int
    budget: int | None = None
    sizes: tuple[int, ...] | None = None
    blend: bool | Windows = False
    precision: Precision = "float32"
    reach: Reach | None = None
    axis: int | None = None

    def of(self, images: Tensor) -> Way:
        """The way that suits (batch, channels, *spatial)."""
        if self.blend:
            return Way(lambda: self._blended(images), lambda: None)
        if isinstance(self.module, UNet):
            return self._of_unet(images, self.module)
        try:
            found = self.reach or _known(self.module) or self._measured(images)
        except SeesEverything as error:
            return self._only_whole(images, error)
        where, budget, tile = self.device, self.budget, self.sizes
        return Way(
            lambda: halo.halo(images, self._run, found, device=where, budget=budget, tile=tile),
            lambda: halo.needs(images, self._run, found, device=where, budget=budget, tile=tile),
        )

    @property
    def _run(self) -> Callable[[Tensor], Tensor]:
        return halo.runner(self.network, self.device, self.precision)

    @cached_property
    def _layers(self) -> Levels:
        assert isinstance(self.module, UNet)
        channels_last = self.device.type == "cpu" or self.precision != "float32"
        return Levels.of(self.module, DTYPES[self.precision], channels_last=channels_last)

    def _of_unet(self, images: Tensor, module: UNet) -> Way:
        """One pass where statistics of the whole volume are needed and it fits, else row by row."""
        axis = self.axis if self.axis is not None else _forced_axis(images, self.sizes)
        rows = None if self.sizes is None else self.sizes[axis or 0]
        size = module.shape.input_size(tuple(images.shape[2:]))

        def by_rows() -> Iterator[tuple[Box, Tensor]]:
            return rowwise(images, self._layers, budget=self.budget, rows=rows, axis=axis)

        def needs() -> int:
            batch = images.shape[0]
            return plan_rows(self._layers, size, budget=self.budget, axis=axis, rows=rows, batch=batch).bytes

        once = module.norm == "instance" and self.sizes is None
        if not once or not whole.fits(self._run, images, size, self.device, self.budget):
            return Way(by_rows, needs)

        def at_once() -> Iterator[tuple[Box, Tensor]]:
            try:
                return iter([whole.whole_pass(self._run, images, module.shape.lost, size)])
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                allocator.give_back()
                _log.warning("memory ran out in one pass; going on in slabs")
            return by_rows()

        return Way(at_once, lambda: whole.needs(self._run, images, size, self.device))

    def _only_whole(self, images: Tensor, why: SeesEverything) -> Way:
        """One pass over the volume mirrored up to a size the network takes; refused where it does not fit."""
        strides = whole.strides_taken(self._run, images)
        if strides is None:
            raise why
        size = [next_size(n, stride) for n, stride in zip(images.shape[2:], strides, strict=True)]
        if not whole.fits(self._run, images, size, self.device, self.budget):
            raise MemoryLimitError(
                f"the network sees all of its input, and one pass over {'x'.join(map(str, size))} voxels does not fit",
                mend="allow more memory, or use blend",
            ) from why
        return Way(
            lambda: iter([whole.whole_pass(self._run, images, (0,) * len(size), size)]),
            lambda: whole.needs(self._run, images, size, self.device),
        )

    def _blended(self, images: Tensor) -> Iterator[tuple[Box, Tensor]]:
        from monai.inferers import SlidingWindowInferer

        windows = self.blend if isinstance(self.blend, Windows) else Windows()
        inferer = SlidingWindowInferer(
            roi_size=self.sizes or (_WINDOW,) * (images.ndim - 2),
            sw_batch_size=1,
            overlap=windows.overlap,
            mode=windows.mode,
            padding_mode=windows.outside,
            sw_device=self.device,
        )
        with torch.inference_mode(), computing_in(self.precision, self.device):
            logits = inferer(images, self.network)
        yield Box.whole(images.shape[2:]), logits.float()

    def _measured(self, images: Tensor) -> Reach:
        """A network is measured once, however many volumes it sees."""
        like = images.to(self.device)
        if not isinstance(self.module, nn.Module):
            return probe(self.network, like, self.dims)
        known = _MEASURED.setdefault(self.module, {})
        if self.dims not in known:
            known[self.dims] = probe(self.network, like, self.dims)
        return known[self.dims]


def _known(module: object) -> Reach | None:
    shape = getattr(module, "shape", None)
    return Reach.of(shape) if isinstance(shape, NetworkShape) else None


def _forced_axis(images: Tensor, sizes: Sequence[int] | None) -> int | None:
    """Where a tile was asked for: the axis it cuts into most pieces."""
    if sizes is None:
        return None
    count = [-(-n // t) for n, t in zip(images.shape[2:], sizes, strict=True)]
    return count.index(max(count))


def per_axis(tile: int | Sequence[int], dims: int) -> tuple[int, ...]:
    """A tile's size along each axis."""
    sizes = (tile,) * dims if isinstance(tile, int) else tuple(int(t) for t in tile)
    if len(sizes) != dims or min(sizes) < 1:
        raise UsageError(f"tile {tile} does not suit a {dims}-D network", mend="one number, or one per axis")
    return sizes
