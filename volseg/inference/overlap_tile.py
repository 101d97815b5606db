"""Exact pieces behind MONAI's interface, in place of its sliding windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type
from torch import Tensor

from volseg.errors import NonFiniteError, UsageError
from volseg.inference.arithmetic import Precision
from volseg.inference.pieces import plain, stream_logits
from volseg.inference.probing import Reach
from volseg.inference.tiling import Padding
from volseg.inference.windows import Windows


class OverlapTileInferer(Inferer):  # type: ignore[misc]
    """The logits of one pass over the whole volume, in the memory of a part of it.

    It takes any of volseg's networks as it is. A network from elsewhere is measured with a few small passes, unless
    its ``margin`` and ``stride`` are given. The logits it returns have full size; they come on top of ``max_memory``.

    >>> from volseg.networks.unet import UNet
    >>> network = UNet(2, 1, 3, channels=(4, 8)).eval()
    >>> OverlapTileInferer()(torch.zeros(1, 1, 33, 20), network).shape
    torch.Size([1, 3, 33, 20])
    """

    def __init__(
        self,
        max_memory: str | int | None = None,
        tile: int | Sequence[int] | None = None,
        blend: bool | Windows = False,
        precision: Precision = "float32",
        margin: int | Sequence[int] | None = None,
        stride: int | Sequence[int] | None = None,
        padding: Padding = "same",
        remainder: int | Sequence[int] = 0,
        spatial_dims: int | None = None,
        slice_axis: int = -1,
    ) -> None:
        """Say what is allowed and, for a network from elsewhere, what is known.

        Args:
            max_memory: the peak above the loaded model, the input and the result: ``"2GiB"``, or bytes.
            tile: the size of tiles (for volseg's U-Nets of slabs), instead of what the memory suggests.
            blend: MONAI's overlapping windows instead, Gaussian ones unless said: approximate, for networks that
                see everything.
            precision: ``bf16`` or ``fp16`` compute faster; where the device lacks them it is float32.
            margin: how far the network sees; with ``stride``, for a network from elsewhere.
            stride: the product of its poolings.
            padding: ``valid`` if it loses its margin on each side.
            remainder: an unpadded network takes the sizes ``stride * k + remainder``.
            spatial_dims: of the network, where it has fewer than the volume.
            slice_axis: the volume's axis whose slices a 2-D network takes.
        """
        super().__init__()
        if (margin is None) != (stride is None):
            raise UsageError("margin and stride are given together, or neither")
        self.max_memory = max_memory
        self.tile = tile
        self.blend = blend
        self.precision = precision
        self.known = None if margin is None or stride is None else (margin, stride, padding, remainder)
        self.spatial_dims = spatial_dims
        self.slice_axis = slice_axis

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """The logits of (batch, channels, *spatial), on the inputs' device."""
        call = network
        if args or kwargs:

            def call(x: Tensor) -> Tensor:
                return network(x, *args, **kwargs)

        result: Tensor | None = None
        for index, volume in enumerate(plain(inputs)):
            for box, logits in stream_logits(
                volume,
                call,
                max_memory=self.max_memory,
                tile=self.tile,
                blend=self.blend,
                precision=self.precision,
                reach=self._reach(volume.ndim - 1),
                spatial_dims=self.spatial_dims,
                slice_axis=self.slice_axis,
            ):
                if not bool(torch.isfinite(logits.sum(dtype=torch.float64))):
                    raise NonFiniteError(
                        f"the network gave NaN or infinity between voxels {box.start} and {box.stop}",
                        mend="check the weights and the input, or compute in float32",
                    )
                if result is None:
                    shape = (len(inputs), logits.shape[0], *volume.shape[1:])
                    result = torch.empty(shape, dtype=logits.dtype, device=inputs.device)
                result[index][(slice(None), *box.slices)] = logits
        if result is None:
            raise UsageError("a batch of no volumes has no logits")
        return convert_to_dst_type(result, inputs, dtype=result.dtype)[0]  # type: ignore[no-any-return]

    def _reach(self, volume_dims: int) -> Reach | None:
        if self.known is None:
            return None
        dims = self.spatial_dims or volume_dims
        margin, stride, padding, remainder = self.known

        def each(value: int | Sequence[int]) -> tuple[int, ...]:
            return (value,) * dims if isinstance(value, int) else tuple(value)

        return Reach(each(margin), each(stride), padding, each(remainder))
