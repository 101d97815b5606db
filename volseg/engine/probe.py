"""Which arithmetic and memory layout are fastest here: tried on a constant batch, told, and kept for the whole run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from volseg.engine.preparing import laid_out
from volseg.engine.step import batch_in_memory
from volseg.engine.thin_maps import thin_maps
from volseg.errors import MemoryLimitError, UsageError
from volseg.inference.arithmetic import Precision, computing_in, native

Wanted = Literal["auto"] | Precision
# a choice must be faster by this share to be worth leaving single precision in the plain layout
_WORTH = 0.97


@dataclass(frozen=True)
class Choice:
    """The arithmetic and the layout of a run; once chosen, resumed runs keep it, or their bits would differ."""

    precision: Precision
    channels_last: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.precision}, {'channels last' if self.channels_last else 'channels first'}"


def candidates(precision: Wanted, channels_last: bool | Literal["auto"], device: torch.device) -> list[Choice]:
    """What a recipe leaves to choose from, the plainest first.

    What the device has no instructions for is taken only where the recipe asks for it: one step can last minutes there.

    >>> [str(c) for c in candidates("bf16", "auto", torch.device("cpu"))]
    ['bf16, channels first', 'bf16, channels last']
    """
    if precision == "fp16" and device.type != "cuda":
        raise UsageError(f"fp16 needs a CUDA device, not {device.type}", mend="set training.precision to bf16 or auto")
    kinds = [kind for kind in native(device) if kind != "fp16"] if precision == "auto" else [precision]
    layouts = [False, True] if channels_last == "auto" else [channels_last]
    return [Choice(kind, layout) for kind in kinds for layout in layouts]


def choose(
    network: nn.Module,
    loss: nn.Module,
    shape: Sequence[int],
    choices: Sequence[Choice],
    device: torch.device,
    *,
    repeats: int = 3,
    between: Callable[[], None] = lambda: None,
) -> tuple[Choice, dict[str, float]]:
    """The fastest of the choices for batches of ``shape``, and the seconds of a step with each.

    The network that is given is not touched, nor is any random stream. What does not fit the memory is no choice.
    ``between`` is called before every step, and may raise.

    Raises:
        MemoryLimitError: if a batch does not fit the memory whatever the arithmetic.
        UsageError: if the arithmetic that was asked for would train this network wrongly.
    """
    choices = _sound(choices, network, shape, device)
    if len(choices) == 1:
        return choices[0], {}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        images = torch.randn(*shape, device=device)
        target = torch.zeros(shape[0], 1, *shape[2:], dtype=torch.uint8, device=device)
        target[:, :, : shape[2] // 2] = 1
        contenders = _that_fit(network, loss, images, target, choices, between)
        for _ in range(repeats):  # in turn, so that a busy moment hits all alike
            for contender in contenders:
                between()
                contender.time()
    seconds = {str(c.choice): c.best for c in contenders}
    fastest = min(contenders, key=lambda c: c.best)
    plain = contenders[0]
    chosen = fastest if fastest.best < _WORTH * plain.best else plain
    return chosen.choice, {name: round(value, 5) for name, value in seconds.items()}


def _that_fit(
    network: nn.Module,
    loss: nn.Module,
    images: Tensor,
    target: Tensor,
    choices: Sequence[Choice],
    between: Callable[[], None],
) -> list[_Contender]:
    """The choices whose first step, which builds kernels, found memory enough."""
    found: list[_Contender] = []
    failure: MemoryLimitError | None = None
    for choice in choices:
        between()
        try:
            with batch_in_memory(images.device):
                contender = _Contender(deepcopy(network), loss, images, target, choice)
                contender.step()
            found.append(contender)
        except MemoryLimitError as error:
            failure = error
    if not found and failure is not None:
        raise failure
    return found


def _sound(
    choices: Sequence[Choice], network: nn.Module, shape: Sequence[int], device: torch.device
) -> Sequence[Choice]:
    """Without bfloat16 where its gradients would be wrong."""
    half = [choice for choice in choices if choice.precision == "bf16"]
    if device.type != "cpu" or not half or not (thin := thin_maps(network, shape)):
        return choices
    if len(half) == len(choices):
        raise UsageError(
            f"on a CPU bfloat16 gives {thin[0]} a wrong gradient: patches of {'x'.join(map(str, shape[2:]))} leave it "
            "fewer planes along the first axis than its kernel has",
            mend="set training.precision to auto or float32, or make training.patch larger along its first axis",
        )
    return [choice for choice in choices if choice not in half]


class _Contender:
    def __init__(self, network: nn.Module, loss: nn.Module, images: Tensor, target: Tensor, choice: Choice) -> None:
        self.choice = choice
        self.network = in_layout(network, choice.channels_last).train()
        self.loss = loss
        self.images = laid_out(images, choice.channels_last)
        self.target = target
        self.best = float("inf")

    def step(self) -> None:
        device = self.images.device
        with computing_in(self.choice.precision, device):
            logits = self.network(self.images)
        self.loss(logits, self.target).backward()
        self.network.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def time(self) -> None:
        began = time.perf_counter()
        self.step()
        self.best = min(self.best, time.perf_counter() - began)


def in_layout(network: nn.Module, channels_last: bool) -> nn.Module:
    """The network with its weights in the layout; convolutions of 2-D and 3-D have one each."""
    if channels_last:
        for parameter in network.parameters():
            if parameter.ndim in (4, 5):
                layout = torch.channels_last if parameter.ndim == 4 else torch.channels_last_3d
                parameter.data = parameter.data.contiguous(memory_format=layout)
    return network
