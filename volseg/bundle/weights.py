"""Weights: read from any of the files that hold them, held strictly against a network, stored in half precision."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from volseg.errors import BundleError

#: the largest file of weights a bundle may hold
LARGEST = 10 * 2**20


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a ``.safetensors`` or ``.pt`` file; nothing in it is ever executed.

    A checkpoint of a training gives its averaged weights, or the network's own where there is no average.

    Raises:
        BundleError: if there is none.
    """
    if not path.is_file():
        raise BundleError(
            "there are no weights here", where=path, mend="name a file of weights, or train the bundle first"
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot be read ({error.strerror})", where=path) from error
    return parse_safetensors(data, path) if path.suffix == ".safetensors" else parse_state_dict(data, path)


def parse_state_dict(data: bytes, where: object) -> dict[str, Tensor]:
    """The tensors in the bytes of a ``.pt`` file, by torch's reader that builds nothing but tensors.

    Raises:
        BundleError: if it is no state dict.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd pickle is refused or read: torch's doubts help nobody
            found: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make torch's reader raise whatever they happen to hit
        first = (str(error).strip().splitlines() or ["unreadable"])[0]
        raise BundleError(f"is no file of weights ({first[:120]})", where=where) from error
    if isinstance(found, Mapping) and {"network", "iteration"} <= set(found):
        average = found.get("average")
        found = average["weights"] if isinstance(average, Mapping) else found["network"]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise BundleError("is no plain state dict", where=where)
    return dict(found)


def parse_safetensors(data: bytes, where: object) -> dict[str, Tensor]:
    """The tensors in a safetensors file's bytes.

    Raises:
        BundleError: if it is none.
    """
    try:
        return dict(load_safetensors(data))
    except (SafetensorError, ValueError, KeyError) as error:
        raise BundleError(f"is no safetensors file ({str(error)[:120]})", where=where) from error


def load_into(network: nn.Module, weights: Mapping[str, Tensor], where: object) -> nn.Module:
    """The network with these weights, every one of them and no other.

    Raises:
        BundleError: if names, shapes or values do not fit.
    """
    own = network.state_dict()
    missing, foreign = [n for n in own if n not in weights], [n for n in weights if n not in own]
    if missing or foreign:
        told = [
            f"{len(names)} {what} ({names[0]})"
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
        if value.dtype.is_floating_point and not bool(torch.isfinite(value).all()):
            raise BundleError(f"the weight {name} holds NaN or infinity", where=where)
    network.load_state_dict(dict(weights), strict=True)
    return network


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


def as_state_dict(weights: Mapping[str, Tensor]) -> bytes:
    """The bytes of a plain state dict, for MONAI; the same weights give the same bytes."""
    buffer = io.BytesIO()
    # in one order, wherever the weights came from
    torch.save({name: weights[name].clone() for name in sorted(weights)}, buffer)
    return _small(buffer.getvalue(), "models/model.pt")


def as_safetensors(weights: Mapping[str, Tensor]) -> bytes:
    """The bytes of a safetensors file; the same weights give the same bytes."""
    return _small(save_safetensors(dict(weights)), "models/model.safetensors")


def _small(data: bytes, name: str) -> bytes:
    if len(data) > LARGEST:
        raise BundleError(
            f"{name} would have {len(data) / 2**20:.1f} MiB, and a bundle's weights have at most {LARGEST // 2**20}",
            mend="choose fewer network.channels",
        )
    return data
