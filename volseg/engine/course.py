"""The course of a training: what happens after every step, at every epoch's end, and when it is interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from math import isnan
from typing import Any

import torch
import torch.distributed as dist
from ignite.engine import Engine, Events

from volseg.engine.batches import EpochBatches
from volseg.engine.checkpoint import Checkpoints
from volseg.engine.log import Event, Listener
from volseg.engine.session import Session
from volseg.engine.step import bare
from volseg.engine.stopping import Stop
from volseg.engine.validation import MeanDice, Scores, mean_dice, means

# what a run leaves out of early stopping: less than this is no progress, it is noise of the last digit
_PROGRESS = 1e-6


class Course:
    """A handler for MONAI's trainer: checkpoints, validation, best weights, early stop, events.

    A checkpoint is written at every epoch's end, once all that belongs to it is done, and at once when the run should
    stop. Whatever is cut off in between happens again, in the same way, when the training is taken up.

    Args:
        session: what is stored.
        checkpoints: where.
        batches: told where to begin.
        stop: asked after every step and every case.
        resume: whether to take up the newest checkpoint, if there is one.
        evaluator: MONAI's evaluator, with ``metric`` as its key metric; none for no validation.
        metric: of the evaluator.
        validate_every: epochs between validations; the last epoch is always validated.
        early_stop: validations without progress after which training ends.
        on_best: called when a validation was the best so far.
        on_resume: called with the iteration that is taken up.
        listeners: told what happens.
    """

    def __init__(
        self,
        session: Session,
        checkpoints: Checkpoints,
        batches: EpochBatches,
        stop: Stop,
        *,
        resume: bool = False,
        evaluator: Any = None,
        metric: MeanDice | None = None,
        validate_every: int = 5,
        early_stop: int | None = None,
        on_best: Callable[[], None] | None = None,
        on_resume: Callable[[int], None] | None = None,
        listeners: Iterable[Listener] = (),
    ) -> None:
        self.session = session
        self.checkpoints = checkpoints
        self.batches = batches
        self.stop = stop
        self.resume = resume
        self.evaluator = evaluator
        self.metric = metric
        self.validate_every = validate_every
        self.early_stop = early_stop
        self.on_best = on_best
        self.on_resume = on_resume
        self.listeners = tuple(listeners)
        #: why the run was interrupted, if it was
        self.interrupted: str | None = None
        #: the scores of the last validation
        self.scores: Scores = {}
        self._mark = self._session_began = time.monotonic()
        self._first = 0

    def attach(self, trainer: Engine) -> None:
        """Take part in a training."""
        trainer.add_event_handler(Events.STARTED, self.begin)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self.after_step)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self.after_epoch)

    def begin(self, trainer: Any) -> None:
        """Take up the newest checkpoint that holds."""
        state, told = (None, []) if not self.resume else self.checkpoints.load(trainer.state.device)
        for line in told:
            self._tell({"event": "note", "text": line})
        iteration = 0
        if state is not None:
            iteration = self.session.load_state_dict(state)
            trainer.state.iteration, trainer.state.epoch = iteration, iteration // trainer.state.epoch_length
        if self.resume and self.on_resume is not None:
            self.on_resume(iteration)
        if state is not None:
            self._tell({"event": "resumed", "iteration": iteration, "epoch": trainer.state.epoch})
        self.batches.start = iteration
        self._mark, self._session_began, self._first = time.monotonic(), time.monotonic(), iteration
        if iteration and iteration == trainer.state.epoch * trainer.state.epoch_length:
            if self.session.progress.finished < trainer.state.epoch:
                self.after_epoch(trainer)  # it was stopped after the epoch's last step, before its end was dealt with
            elif self._exhausted():
                trainer.terminate()

    def after_step(self, trainer: Any) -> None:
        """Note the loss; leave in good order if asked to."""
        progress = self.session.progress
        progress.loss_sum += float(trainer.state.output["loss"])
        progress.loss_count += 1
        self._tell(
            {
                "event": "step",
                "iteration": trainer.state.iteration,
                "iterations": trainer.state.max_epochs * trainer.state.epoch_length,
            }
        )
        if anywhere(self.stop.why is not None, trainer.state.device):
            self._interrupt(trainer)

    def after_epoch(self, trainer: Any) -> None:
        """Validate when it is time, tell, store."""
        epoch, progress = trainer.state.epoch, self.session.progress
        loss = progress.loss_sum / max(1, progress.loss_count)
        event: Event = {
            "event": "epoch",
            "epoch": epoch,
            "iteration": trainer.state.iteration,
            "loss": loss,
            "lr": self.session.optimizer.param_groups[0]["lr"],
        }
        due = epoch % self.validate_every == 0 or epoch == trainer.state.max_epochs
        details: Event | None = None
        if self.evaluator is not None and self.metric is not None and due:
            if not self._validate(epoch):
                self._interrupt(trainer)
                return
            dice = mean_dice(self.scores, self.metric.names)
            event |= {"dice": dice, "labels": means(self.scores, self.metric.names)}
            details = {"event": "validation", "epoch": epoch, "iteration": trainer.state.iteration}
            details |= {"dice": dice, "cases": self.scores}
            self._judge(dice, epoch)
        self._clock()
        progress.finished, progress.loss_sum, progress.loss_count = epoch, 0.0, 0
        event |= {
            "seconds": round(progress.seconds, 3),
            "left": self._left(trainer),
            "epochs": trainer.state.max_epochs,
        }
        event |= {"best": progress.best, "best_epoch": progress.best_epoch}
        self._tell(event)
        if details is not None:
            self._tell(details)
        self._save(trainer.state.iteration)
        if self._exhausted():
            self._tell({"event": "early stop", "epoch": epoch, "iteration": trainer.state.iteration})
            trainer.terminate()

    def _validate(self, epoch: int) -> bool:
        network = bare(self.session.network)
        average = self.session.step.average
        same_everywhere(network.state_dict().values())
        if average is not None:
            same_everywhere(average.tensors())
        with nullcontext() if average is None else average.worn_by(network):
            self.evaluator.run(global_epoch=epoch)
        network.train()
        assert self.metric is not None
        self.scores = self.metric.scores
        return not self.metric.stopped

    def _judge(self, dice: float, epoch: int) -> None:
        progress = self.session.progress
        if not isnan(dice) and (progress.best is None or dice > progress.best + _PROGRESS):
            progress.best, progress.best_epoch, progress.without_progress = dice, epoch, 0
            if self.on_best is not None:
                self.on_best()
        else:
            progress.without_progress += 1

    def _exhausted(self) -> bool:
        return self.early_stop is not None and self.session.progress.without_progress >= self.early_stop

    def _interrupt(self, trainer: Any) -> None:
        self.interrupted = self.stop.why or "another process of the training was stopped"
        self._clock()
        self._save(trainer.state.iteration)
        self._tell({"event": "interrupted", "why": self.interrupted, "iteration": trainer.state.iteration})
        trainer.terminate(skip_completed=True)

    def _save(self, iteration: int) -> None:
        if rank() == 0:
            self.checkpoints.save(self.session.state_dict(iteration), iteration)

    def _clock(self) -> None:
        now = time.monotonic()
        self.session.progress.seconds += now - self._mark
        self._mark = now

    def _left(self, trainer: Any) -> float | None:
        """Seconds to the last epoch, if the rest goes as this session did."""
        done = trainer.state.iteration - self._first
        if not done:
            return None
        ahead = int(trainer.state.max_epochs * trainer.state.epoch_length - trainer.state.iteration)
        return float(round((time.monotonic() - self._session_began) / done * ahead, 1))

    def _tell(self, event: Event) -> None:
        if rank() == 0:
            for listener in self.listeners:
                listener(event)


def rank() -> int:
    """The number of this process among those that train together."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def anywhere(flag: bool, device: torch.device) -> bool:
    """Whether the flag is up in any of the processes that train together; all get the same answer."""
    if not (dist.is_available() and dist.is_initialized()):
        return flag
    up = torch.tensor([int(flag)], device=device)
    dist.all_reduce(up, op=dist.ReduceOp.MAX)
    return bool(up.item())


def same_everywhere(tensors: Iterable[torch.Tensor]) -> None:
    """The first process's values in all of them: statistics of norms differ between devices until told."""
    if dist.is_available() and dist.is_initialized():
        for tensor in tensors:
            held = tensor.contiguous()
            dist.broadcast(held, src=0)
            if held is not tensor:
                tensor.copy_(held)
