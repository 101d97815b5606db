"""The arithmetic that a device computes with instructions of its own.

Without them PyTorch still computes, but unfolds each convolution's input in memory and multiplies one number at a time.
Measured with PyTorch 2.13 on a CPU that has AVX2 alone: a training step in bfloat16 took nine to ninety times as long
as in float32, and a prediction nearly twice the memory it was allowed.
"""

from __future__ import annotations

from typing import Literal

import torch

from volseg.errors import UsageError

# the recipe's words: said again, for an exported bundle brings this module along and not the recipe
Precision = Literal["float32", "bf16", "fp16"]
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def native(device: torch.device) -> tuple[Precision, ...]:
    """What the device computes itself; single precision always.

    >>> "fp16" in native(torch.device("cpu"))
    False
    """
    if device.type == "cuda":
        own = torch.cuda.is_bf16_supported(including_emulation=False)
        return ("float32", "bf16", "fp16") if own else ("float32", "fp16")
    with_library = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    bf16 = with_library and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return ("float32", "bf16") if bf16 else ("float32",)


def possible(wanted: Precision, device: torch.device) -> Precision:
    """The arithmetic that is wanted where the device computes it itself, and single precision elsewhere.

    >>> possible("fp16", torch.device("cpu"))
    'float32'

    Raises:
        UsageError: if there is none of that name.
    """
    if wanted not in DTYPES:
        raise UsageError(f"precision is {', '.join(DTYPES)}, not {wanted!r}")
    return wanted if wanted in native(device) else "float32"


def computing_in(precision: Precision, device: torch.device) -> torch.autocast:
    """The context in which a network computes in an arithmetic."""
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "float32")
