"""Weights as torch writes them: read by its reader that builds nothing but tensors, and written the same each time.

What runs a stranger's bundle reads safetensors and never comes here.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from volseg.bundle.storage.manifest import STATE
from volseg.bundle.weights import parse_safetensors, small
from volseg.errors import BundleError


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


def as_state_dict(weights: Mapping[str, Tensor]) -> bytes:
    """The bytes of a plain state dict, for MONAI; the same weights give the same bytes."""
    buffer = io.BytesIO()
    # in one order, wherever the weights came from
    torch.save({name: weights[name].clone() for name in sorted(weights)}, buffer)
    return small(buffer.getvalue(), STATE)
