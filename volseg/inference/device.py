"""Which device a person means, and whether it is there."""

from __future__ import annotations

import torch

from volseg.errors import UsageError


def chosen_device(name: str = "auto") -> torch.device:
    """The device of that name; ``auto`` is the first GPU, or the CPU where there is none.

    >>> chosen_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"no device is called {name!r}", mend="auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise UsageError(
            f"there is no {name}: {found} CUDA device{'s' * (found != 1)} found", mend="volseg doctor tells more"
        )
    return device
