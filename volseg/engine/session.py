"""Everything that a training is at a moment, to be stored and taken up again to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

from volseg.engine.checkpoint import CheckpointError
from volseg.engine.step import TrainingStep, bare

_VERSION = 1


@dataclass
class Progress:
    """What was reached so far."""

    #: the last epoch whose end was dealt with, validation and all
    finished: int = 0
    #: the best validation so far, and its epoch
    best: float | None = None
    best_epoch: int = 0
    #: validations since the best
    without_progress: int = 0
    #: sum and number of the epoch's losses so far
    loss_sum: float = 0.0
    loss_count: int = 0
    #: seconds of training, over all sessions
    seconds: float = 0.0


class Session:
    """The parts of a training whose state must survive: network, optimiser, schedule, scaler, average, progress."""

    def __init__(self, network: nn.Module, optimizer: Optimizer, step: TrainingStep) -> None:
        self.network = network
        self.optimizer = optimizer
        self.step = step
        self.progress = Progress()

    def state_dict(self, iteration: int) -> dict[str, Any]:
        """The state after ``iteration``; gradients of an unfinished step are part of it."""
        network = bare(self.network)
        gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
        return {
            "version": _VERSION,
            "iteration": iteration,
            "network": network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.step.scheduler is None else self.step.scheduler.state_dict(),
            "step": self.step.state_dict(),
            "average": None if self.step.average is None else self.step.average.state_dict(),
            "gradients": gradients,
            "progress": asdict(self.progress),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> int:
        """Take up a state; gives its iteration.

        Raises:
            CheckpointError: if it is of another network or another training.
        """
        network = bare(self.network)
        try:
            if state["version"] != _VERSION:
                raise CheckpointError("a checkpoint of another version of volseg", mend="start the training anew")
            network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.step.scheduler is not None:
                self.step.scheduler.load_state_dict(state["scheduler"])
            self.step.load_state_dict(state["step"])
            if self.step.average is not None:
                self.step.average.load_state_dict(state["average"])
            for name, parameter in network.named_parameters():
                gradient = state["gradients"].get(name)
                parameter.grad = None if gradient is None else gradient.to(parameter.device)
            self.progress = Progress(**state["progress"])
            return int(state["iteration"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, CheckpointError):
                raise
            first = str(error).strip().splitlines()[0]
            raise CheckpointError(
                f"a checkpoint of another training ({first})", mend="resume with the recipe it was begun with"
            ) from error
