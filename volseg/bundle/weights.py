"""Weights as plain numbers: read from safetensors, held strictly against a network, stored in half precision.

Those of a network from elsewhere stay in single precision: its maker's masks are the measure.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from volseg.bundle.storage.limits import GIB
from volseg.bundle.storage.manifest import SAFETENSORS
from volseg.errors import BundleError, printable
from volseg.recipe import Recipe
from volseg.recipe.foreign import ForeignNetwork

#: how weights of a network from elsewhere are stored
_FOREIGN = torch.float32
_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
#: the largest file of weights that is written or read
LARGEST = GIB


def parse_safetensors(data: bytes, where: object) -> dict[str, Tensor]:
    """The tensors in a safetensors file's bytes.

    Raises:
        BundleError: if it is none.
    """
    try:
        return dict(sorted(load_safetensors(data).items()))  # the library gives them in another order each time
    except (SafetensorError, ValueError, KeyError) as error:
        raise BundleError(f"is no safetensors file ({str(error)[:120]})", where=where) from error


def load_into(network: nn.Module, weights: Mapping[str, Tensor], where: object) -> nn.Module:
    """The network with these weights, every one of them and no other.

    Raises:
        BundleError: if names, shapes or values do not fit.
    """
    require_fit(network, weights, where)
    network.load_state_dict(dict(weights), strict=True)
    return network


def require_fit(network: nn.Module, weights: Mapping[str, Tensor], where: object) -> None:
    """Hold weights against a network, which may be one without memory of its own (on the device ``meta``).

    Raises:
        BundleError: if names, shapes or values do not fit.
    """
    own = network.state_dict()
    missing, foreign = [n for n in own if n not in weights], [n for n in weights if n not in own]
    if missing or foreign:
        told = [
            f"{len(names)} {what} ({printable(names[0][:100])})"
            for names, what in ((missing, "missing"), (foreign, "too many"))
            if names
        ]
        raise BundleError(f"these weights are not of this network: {', '.join(told)}", where=where)
    for name, value in weights.items():
        if value.shape != own[name].shape:
            raise BundleError(
                f"these weights are not of this network: {name} is {tuple(value.shape)}, not {tuple(own[name].shape)}",
                where=where,
            )
        kinds = _FLOATS if own[name].dtype.is_floating_point else {own[name].dtype}
        if value.dtype not in kinds:
            raise BundleError(f"the weight {name} is of the type {value.dtype}, which no network here has", where=where)
        if value.dtype.is_floating_point and not bool(torch.isfinite(value).all()):
            raise BundleError(f"the weight {name} holds NaN or infinity", where=where)


def stored(weights: Mapping[str, Tensor], recipe: Recipe, where: object = None) -> dict[str, Tensor]:
    """The same weights in the precision that a bundle stores.

    Raises:
        BundleError: if a value is too large for it.
    """
    if precision_of(recipe) == torch.float16:
        return halved(weights, where)
    return {
        name: (value.to(_FOREIGN) if value.dtype.is_floating_point else value).detach().cpu().contiguous().clone()
        for name, value in weights.items()
    }


def precision_of(recipe: Recipe) -> torch.dtype:
    """The precision that a recipe's weights are stored in."""
    return _FOREIGN if isinstance(recipe.network, ForeignNetwork) else torch.float16


def halved(weights: Mapping[str, Tensor], where: object = None) -> dict[str, Tensor]:
    """The same weights in half precision; counters stay as they are.

    Raises:
        BundleError: if a value is too large for it.
    """
    half = {
        name: (value.half() if value.dtype.is_floating_point else value).detach().cpu().contiguous().clone()
        for name, value in weights.items()
    }
    for name, value in half.items():
        if value.dtype.is_floating_point and not bool(torch.isfinite(value).all()):
            raise BundleError(f"the weight {name} does not fit half precision", where=where)
    return half


def as_safetensors(weights: Mapping[str, Tensor]) -> bytes:
    """The bytes of a safetensors file; the same weights give the same bytes."""
    return small(save_safetensors(dict(weights)), SAFETENSORS)


def small(data: bytes, name: str) -> bytes:
    """The bytes of a file of weights, if a bundle may hold that many.

    Raises:
        BundleError: if it may not.
    """
    if len(data) > LARGEST:
        raise BundleError(
            f"{name} would have {len(data) / 2**20:.1f} MiB, and a bundle's weights have at most {LARGEST / 2**20:g}",
            mend="choose fewer network.channels",
        )
    return data
