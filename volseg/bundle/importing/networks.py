"""MONAI's networks as the recipe's section ``network``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from volseg.bundle.importing.component import Component

_NORMS = ("batch", "instance", "group")


def network_section(found: Component) -> dict[str, Any]:
    """The keys of ``network``, with ``in_channels`` and ``out_channels`` beside them.

    Raises:
        BundleError: if the network or one of its arguments is not on the list.
    """
    read = _READERS.get(found.name)
    if read is None:
        raise found.refusal(
            "_target_", f"{found.name} is not one of the networks that are known: {', '.join(_READERS)}"
        )
    section = read(found)
    found.done()
    return section


def _unet(found: Component) -> dict[str, Any]:
    dims = _dims(found, None)
    channels = found.take("channels")
    strides = found.take("strides")
    if not isinstance(strides, list) or not isinstance(channels, list):
        raise found.refusal("strides", "channels and strides are lists")
    return {
        "kind": "monai_unet",
        **_ends(found),
        "spatial_dims": dims,
        "channels": channels,
        # MONAI leaves those that are too many unused
        "strides": [_per_axis(found, "strides", stride, dims) for stride in strides[: len(channels) - 1]],
        "kernel_size": _per_axis(found, "kernel_size", found.take("kernel_size", 3), dims),
        "up_kernel_size": _per_axis(found, "up_kernel_size", found.take("up_kernel_size", 3), dims),
        "num_res_units": found.take("num_res_units", 0),
        "act": _layer(found, "act", "prelu"),
        "norm": _norm(found, "norm", "instance"),
        "dropout": float(found.number("dropout", 0.0)),
        "bias": found.flag("bias", True),
        "adn_ordering": found.take("adn_ordering", "NDA"),
    }


def _basic_unet(found: Component) -> dict[str, Any]:
    return {
        "kind": "monai_basic_unet",
        "spatial_dims": _dims(found, 3),
        **_ends(found, 1, 2),
        "features": found.take("features", [32, 32, 64, 128, 256, 32]),
        "act": _layer(found, "act", ["LeakyReLU", {"negative_slope": 0.1, "inplace": True}]),
        "norm": _norm(found, "norm", ["instance", {"affine": True}]),
        "bias": found.flag("bias", True),
        "dropout": float(found.number("dropout", 0.0)),
        "upsample": found.take("upsample", "deconv"),
    }


def _dyn_unet(found: Component) -> dict[str, Any]:
    dims = _dims(found, None)
    section: dict[str, Any] = {"kind": "monai_dyn_unet", "spatial_dims": dims, **_ends(found)}
    for name in ("kernel_size", "strides", "upsample_kernel_size"):
        levels = found.take(name)
        if not isinstance(levels, list):
            raise found.refusal(name, "is no list")
        section[name] = [_per_axis(found, name, level, dims) for level in levels]
    return section | {
        "filters": found.take("filters", None),
        "dropout": _share(found, "dropout"),
        "norm": _norm(found, "norm_name", ["instance", {"affine": True}]),
        "act": _layer(found, "act_name", ["leakyrelu", {"inplace": True, "negative_slope": 0.01}]),
        "deep_supervision": found.flag("deep_supervision", False),
        "deep_supr_num": found.take("deep_supr_num", 1),
        "res_block": found.flag("res_block", False),
        "trans_bias": found.flag("trans_bias", False),
    }


def _seg_res_net(found: Component) -> dict[str, Any]:
    section = {
        "kind": "monai_seg_res_net",
        "spatial_dims": _dims(found, 3),
        **_ends(found, 1, 2),
        "init_filters": found.take("init_filters", 8),
        "dropout_prob": _share(found, "dropout_prob"),
        "act": _layer(found, "act", ["relu", {"inplace": True}]),
        "use_conv_final": found.flag("use_conv_final", True),
        "blocks_down": found.take("blocks_down", [1, 2, 2, 4]),
        "blocks_up": found.take("blocks_up", [1, 1, 1]),
        "upsample_mode": found.take("upsample_mode", "nontrainable"),
    }
    old, groups = found.only("norm_name", ("", "group"), ""), found.take("num_groups", 8)
    norm = _norm(found, "norm", ["group", {"num_groups": 8}])
    return section | {"norm": {"name": "group", "num_groups": groups} if old else norm}


_READERS = {"UNet": _unet, "BasicUNet": _basic_unet, "DynUNet": _dyn_unet, "SegResNet": _seg_res_net}


def _dims(found: Component, default: int | None) -> int:
    dims: int = found.only("spatial_dims", (2, 3), default)
    return dims


def _ends(found: Component, *defaults: int) -> dict[str, int]:
    """The channels in and out, which a recipe takes from its images and labels."""
    ends = {}
    for at, name in enumerate(("in_channels", "out_channels")):
        count = found.take(name, *defaults[at : at + 1])
        if type(count) is not int or not 1 <= count <= 1024:
            raise found.refusal(name, "is no number of channels")
        ends[name] = count
    return ends


def _per_axis(found: Component, name: str, size: Any, dims: int) -> list[Any]:
    if isinstance(size, Sequence) and not isinstance(size, str):
        return list(size)
    if type(size) is not int:
        raise found.refusal(name, "is no whole number, nor a list of them")
    return [size] * dims


def _share(found: Component, name: str) -> float | None:
    value = found.take(name, None)
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise found.refusal(name, "is no number")


def _norm(found: Component, name: str, default: Any) -> dict[str, Any]:
    layer = _layer(found, name, default)
    if layer["name"] not in _NORMS:
        raise found.refusal(
            name, f"{layer['name']} is not one of the normalisations that are known: {', '.join(_NORMS)}"
        )
    return layer


def _layer(found: Component, name: str, default: Any) -> dict[str, Any]:
    """MONAI writes a layer as its name, or as its name and its arguments."""
    told = found.take(name, default)
    parts = told if isinstance(told, list) else [told]
    arguments = parts[1] if len(parts) == 2 else {}
    if len(parts) not in (1, 2) or not isinstance(parts[0], str) or not isinstance(arguments, Mapping):
        raise found.refusal(name, "is no layer: a name, or a name and its arguments")
    numbers = {key: float(value) if type(value) is int and key in _REAL else value for key, value in arguments.items()}
    return {"name": parts[0].lower(), **numbers}


_REAL = {"eps", "negative_slope", "init", "alpha"}
