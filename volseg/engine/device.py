"""The device that a network trains or predicts on."""

from __future__ import annotations

import torch

from volseg.errors import UsageError


def device_named(name: str) -> torch.device:
    """The device of that name; ``auto`` is the first GPU, or the CPU where there is none.

    >>> device_named("cpu")
    device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"no device is called {name!r}", mend="auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise UsageError(
                f"there is no device {name}", mend="use auto or cpu" if not count else f"there are {count}"
            )
        return torch.device("cuda", device.index or 0)
    if device.type != "cpu":
        raise UsageError(f"networks run on cpu and cuda, not on {device.type}")
    return device
