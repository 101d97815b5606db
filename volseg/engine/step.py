"""One training step: forward, loss, backward, and what keeps it honest."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from volseg.engine.averaging import Average
from volseg.errors import NonFiniteError
from volseg.inference.arithmetic import Precision, computing_in
from volseg.inference.exhausted import within_memory
from volseg.transforms.randomness import seed_sequence

# a scale this small means that every step overflowed: no number is left to learn from
_SCALE_COLLAPSED = 2.0**-10


class TrainingStep:
    """What MONAI's ``SupervisedTrainer`` does with a batch; given to it as ``iteration_update``.

    MONAI's own step knows mixed precision on CUDA alone; this one takes the device's own, clips and accumulates
    gradients, keeps an average of the weights, and stops at the first number that is none, naming its cases.
    Dropout and the like draw from a stream that depends on (seed, iteration) alone.
    """

    def __init__(
        self,
        *,
        precision: Precision = "float32",
        gradient_clip: float | None = None,
        accumulate: int = 1,
        seed: int = 0,
        scheduler: LRScheduler | None = None,
        average: Average | None = None,
    ) -> None:
        self.precision = precision
        self.gradient_clip = gradient_clip
        self.accumulate = accumulate
        self.seed = seed
        self.scheduler = scheduler
        self.average = average
        # created for every precision so that checkpoints have one shape; it does nothing unless enabled
        self.scaler = torch.amp.GradScaler(enabled=precision == "fp16")

    def __call__(self, trainer: Any, batch: dict[str, Any]) -> dict[str, Any]:
        """Train on one batch; gives ``{"loss": …}``."""
        state = trainer.state
        # one stream per device: dropout should not be the same on all of them
        own = seed_sequence(self.seed, 0, f"{state.iteration} on {state.rank}", "step")
        torch.manual_seed(int(own.generate_state(1, "u8")[0] >> 1))
        cases = batch.get("case", ())
        place = f"epoch {state.epoch}, step {state.iteration}"
        first, last = group(state.iteration, state.epoch_length, self.accumulate)
        with batch_in_memory(state.device, place):
            images, target, weight = trainer.prepare_batch(batch, state.device, trainer.non_blocking)
            trainer.network.train()
            with computing_in(self.precision, state.device):
                logits = trainer.inferer(images, trainer.network)
            loss = trainer.loss_function(logits, target, weight)
            if not bool(torch.isfinite(loss.detach())):
                cases = blamed(cases, images)
            require_finite(loss, "the loss", place, cases)
            self.scaler.scale(loss / (last - first + 1)).backward()
        if state.iteration == last:
            self._move_weights(trainer, place, cases)
        return {"loss": loss.detach()}

    def state_dict(self) -> dict[str, Any]:
        return {"scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])

    def _move_weights(self, trainer: Any, place: str, cases: Sequence[str]) -> None:
        optimizer, parameters = trainer.optimizer, trainer.network.parameters()
        self.scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(parameters, self.gradient_clip or float("inf"))
        if self.scaler.is_enabled():
            # overflow is this precision's daily bread: the scaler skips such a step and lowers the scale
            if self.scaler.get_scale() < _SCALE_COLLAPSED:
                raise NonFiniteError(
                    "the gradients overflow in fp16 whatever their scale",
                    where=place,
                    mend="train with precision bf16 or float32, or a lower optimiser.lr",
                )
        else:
            require_finite(norm, "the gradient", place, cases)
        before = self.scaler.get_scale()
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad(set_to_none=True)
        if self.scaler.get_scale() < before:
            return  # the step was skipped
        if self.scheduler is not None:
            self.scheduler.step()
        if self.average is not None:
            self.average.update(bare(trainer.network))


def batch_in_memory(device: torch.device, place: str | None = None) -> AbstractContextManager[None]:
    """Tell that a batch is too large as what it is, and which setting to change."""
    return within_memory(
        f"the batch does not fit the memory of {device}",
        where=place,
        mend="make training.batch or training.patch smaller, or raise optimiser.accumulate for a smaller batch",
    )


def group(iteration: int, epoch_length: int, accumulate: int) -> tuple[int, int]:
    """The iterations, counted from 1, whose gradients make one step of the optimiser together with this one's.

    The last batches of an epoch may be fewer than a step's worth: they are a step all the same.

    >>> [group(iteration, 5, 2) for iteration in (1, 4, 5, 6)]
    [(1, 2), (3, 4), (5, 5), (6, 7)]
    """
    epoch, within = divmod(iteration - 1, epoch_length)
    first = within // accumulate * accumulate
    last = min(first + accumulate, epoch_length) - 1
    return epoch * epoch_length + first + 1, epoch * epoch_length + last + 1


def bare(network: nn.Module) -> nn.Module:
    """The network itself, out of the wrapper that spreads it over devices."""
    return network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network


def blamed(cases: Sequence[str], images: Tensor) -> Sequence[str]:
    """The cases whose images hold NaN or infinity, if that is what is wrong; else all of them.

    >>> blamed(["a", "b"], torch.tensor([[1.0], [float("nan")]]))
    ['b']
    """
    sound = torch.isfinite(images.flatten(1)).all(dim=1).tolist()
    if all(sound) or len(sound) != len(cases):
        return cases
    return [case for case, whole in zip(cases, sound, strict=True) if not whole]


def require_finite(value: Tensor, what: str, place: str, cases: Sequence[str]) -> None:
    """Raise at the first NaN or infinity, naming the cases it came from."""
    if not bool(torch.isfinite(value)):
        named = ", ".join(map(str, cases)) or "unnamed"
        raise NonFiniteError(
            f"{what} is {float(value.detach())} ({'case' if len(cases) == 1 else 'cases'} {named})",
            where=place,
            mend="look at these cases with volseg check, or lower optimiser.lr",
        )
