"""MONAI's networks, from the closed list of :mod:`volseg.recipe.foreign`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai.networks.nets import BasicUNet, DynUNet, SegResNet, UNet
from torch import nn

from volseg.errors import UsageError

_CLASSES: Mapping[str, type[nn.Module]] = {
    "monai_unet": UNet,
    "monai_basic_unet": BasicUNet,
    "monai_dyn_unet": DynUNet,
    "monai_seg_res_net": SegResNet,
}
# what MONAI calls the layers there
_RENAMED: Mapping[str, Mapping[str, str]] = {"monai_dyn_unet": {"norm": "norm_name", "act": "act_name"}}


def monai_network(
    kind: str, *, norm: Mapping[str, Any], act: Mapping[str, Any], spatial_dims: int, **arguments: Any
) -> nn.Module:
    """One of MONAI's networks.

    Args:
        kind: which, as ``network.kind`` of a recipe.
        norm: ``{"name": "group", "num_groups": 8}``; arguments that are none are left to PyTorch.
        act: ``{"name": "relu", "inplace": True}``, likewise.
        spatial_dims: 2 or 3.
        arguments: the others, as MONAI calls them.

    Raises:
        UsageError: if MONAI refuses the arguments.

    >>> layers = {"norm": {"name": "batch"}, "act": {"name": "relu"}}
    >>> sizes = {"channels": [4, 8], "strides": [[2, 2]], "kernel_size": [3, 3], "up_kernel_size": [3, 3]}
    >>> network = monai_network("monai_unet", spatial_dims=2, in_channels=1, out_channels=2, **layers, **sizes)
    >>> type(network).__module__
    'monai.networks.nets.unet'
    """
    if kind not in _CLASSES:
        raise UsageError(f"no network is called {kind!r}", mend=", ".join(_CLASSES))
    names = _RENAMED.get(kind, {})
    layers = {names.get(name, name): _layer(layer) for name, layer in (("norm", norm), ("act", act))}
    try:
        network = _CLASSES[kind](spatial_dims=spatial_dims, **layers, **arguments)
    except (ValueError, TypeError, KeyError, AssertionError, IndexError, RuntimeError) as error:
        raise UsageError(f"MONAI refuses these arguments of {_CLASSES[kind].__name__}: {error}") from error
    # some know it by another name, or not at all
    setattr(network, "spatial_dims", spatial_dims)  # noqa: B010
    return network


def _layer(told: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return told["name"], {name: value for name, value in told.items() if name != "name" and value is not None}
