"""Weights to start a training from: those of another bundle, fitted to the network that is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from volseg.engine import compose
from volseg.errors import UsageError
from volseg.networks.blocks import Convolution, TransposedConvolution
from volseg.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Start:
    """Trained weights.

    Attributes:
        name: of the bundle they come from.
        sha256: of their file.
        recipe: they were trained by.
        weights: the tensors.
    """

    name: str
    sha256: str
    recipe: Recipe
    weights: Mapping[str, Tensor]

    def fitted(self, recipe: Recipe) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """The weights as the recipe's network takes them, and what of that network they leave to chance.

        A network of more axes, or of longer kernels along an axis where these have one tap, computes in the beginning
        what these weights compute slice by slice. Layers that tell structures apart are left out where the structures
        are others.

        Raises:
            UsageError: if the weights are of another network.
        """
        with torch.device("meta"):
            network: nn.Module = compose.build(compose.network_part(recipe))
        heads = tuple(f"{name}." for name in getattr(network, "heads", ()))
        same = self.recipe.class_names == recipe.class_names
        kernels = {f"{name}.weight": layer for name, layer in network.named_modules() if _is_kernel(layer)}
        found: dict[str, Tensor] = {}
        afresh: list[str] = []
        for name, own in network.state_dict().items():
            given = self.weights.get(name)
            if name.startswith(heads) and (given is None or not same):
                afresh.append(name)
                continue
            if given is None:
                raise self._other(f"have no {name}")
            fitted = _widened(given, kernels[name]) if name in kernels else given
            if fitted is None or fitted.shape != own.shape:
                raise self._other(f"have {name} as {_size(given)}, not {_size(own)}")
            found[name] = fitted.to(own.dtype)
        foreign = next((n for n in self.weights if n not in found and not n.startswith(heads)), None)
        if foreign is not None:
            raise self._other(f"have {foreign}, which it does not")
        return found, tuple(afresh)

    def _other(self, difference: str) -> UsageError:
        return UsageError(
            f"the weights of {self.name} are of another network than the recipe's: they {difference}",
            mend=f"take over the keys of network in {self.name}'s recipe, and its number of image.channels",
        )


def _is_kernel(layer: nn.Module) -> bool:
    return isinstance(layer, Convolution | TransposedConvolution)


def _widened(given: Tensor, layer: nn.Module) -> Tensor | None:
    """A kernel with further taps along the axes where it has one; none where that is not possible.

    A convolution gets zeros around its tap, and sees no more than before. An up-convolution whose pieces do not overlap
    gives its one value to each of the positions that arise.
    """
    assert isinstance(layer, Convolution | TransposedConvolution)
    wanted = layer.weight.shape
    missing = len(wanted) - given.ndim
    given = given.reshape(*given.shape, *(1,) * max(0, missing))  # slices lie along the last axis
    if given.ndim != len(wanted) or given.shape[:2] != wanted[:2]:
        return None
    out = torch.zeros(wanted)
    within: list[slice] = [slice(None), slice(None)]
    for axis, (has, wants) in enumerate(zip(given.shape[2:], wanted[2:], strict=True)):
        if has == wants:
            within.append(slice(None))
        elif has != 1:
            return None
        elif isinstance(layer, TransposedConvolution):
            if layer.stride[axis] != wants:
                return None
            within.append(slice(None))
        else:
            within.append(slice(wants // 2, wants // 2 + 1))
    out[tuple(within)] = given.float()
    return out


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
