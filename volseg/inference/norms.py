"""Norms as inference uses them: with statistics that are known, or that the volume itself must give first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_INSTANCE_NORM = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


@dataclass(frozen=True, eq=False)
class Scale:
    """A norm whose statistics are known: ``(x - mean) / sqrt(var + eps) * weight + bias`` per channel.

    ``mean`` and ``var`` have one number for each channel or, for images that differ, (images, channels).
    """

    mean: Tensor
    var: Tensor
    weight: Tensor | None
    bias: Tensor | None
    eps: float

    def apply(self, y: Tensor) -> None:
        """PyTorch's own kernel, so that the roundings are its own, in place (``y`` must be dense)."""
        if self.mean.ndim == 1:
            self._apply(y, self.mean, self.var)
            return
        for image, (mean, var) in enumerate(zip(self.mean, self.var, strict=True)):
            self._apply(y.narrow(0, image, 1), mean, var)

    def _apply(self, y: Tensor, mean: Tensor, var: Tensor) -> None:
        wide = y.to(mean.dtype)
        unused = wide.new_empty(0)
        torch.ops.aten.native_batch_norm.out(
            wide,
            self.weight,
            self.bias,
            mean,
            var,
            False,
            0.0,
            self.eps,
            out=wide,
            save_mean=unused,
            save_invstd=unused,
        )
        if wide is not y:
            y.copy_(wide)


@dataclass(frozen=True, eq=False)
class Instance:
    """A norm by the statistics of each image: of all of it, which a piece does not have."""

    weight: Tensor | None
    bias: Tensor | None
    eps: float

    def apply(self, y: Tensor) -> None:
        """Normalise, in place; ``y`` is the whole of each image."""
        self.measured([y]).apply(y)

    def measured(self, pieces: Iterable[Tensor]) -> Scale:
        """The norm with the statistics of images that come in pieces."""
        count = 0
        mean = spread = torch.zeros(())
        for piece in pieces:
            wide = piece.float()
            more = wide[0, 0].numel()
            var, middle = torch.var_mean(wide, dim=tuple(range(2, wide.ndim)), correction=0)
            var, middle = var.double(), middle.double()
            if not count:
                mean, spread = middle, var * more
            else:  # the squares about the common mean are those about each part's and what lies between the two
                between = middle - mean
                mean = mean + between * (more / (count + more))
                spread = spread + var * more + between.square() * (count * more / (count + more))
            count += more
            del piece, wide
        return Scale(mean.float(), (spread / count).float(), self.weight, self.bias, self.eps)


def norm_of(layer: nn.Module | None) -> Scale | Instance | None:
    """A layer of the network as inference uses it; nothing for no norm."""
    if isinstance(layer, _BATCH_NORM):
        assert layer.running_mean is not None
        assert layer.running_var is not None
        return Scale(layer.running_mean, layer.running_var, *_affine(layer), layer.eps)
    if isinstance(layer, _INSTANCE_NORM):
        return Instance(*_affine(layer), layer.eps)
    return None


def fold(weight: Tensor, bias: Tensor | None, scale: Scale) -> tuple[Tensor, Tensor]:
    """The convolution that gives what this one and the norm after it give; worked out in double precision."""
    factor = (scale.var.double() + scale.eps).rsqrt()
    if scale.weight is not None:
        factor = factor * scale.weight.double()
    shift = -scale.mean.double() if bias is None else bias.double() - scale.mean.double()
    shift = shift * factor
    if scale.bias is not None:
        shift = shift + scale.bias.double()
    return weight.double() * factor.view(-1, *(1,) * (weight.ndim - 1)), shift


def _affine(layer: nn.Module) -> tuple[Tensor | None, Tensor | None]:
    weight, bias = layer.weight, layer.bias
    assert not isinstance(weight, nn.Module)
    assert not isinstance(bias, nn.Module)
    return (None if weight is None else weight.detach(), None if bias is None else bias.detach())
