"""One training of a study, in a process of its own: its memory is its own, and so is whatever ends it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from volseg.engine.log import Event
from volseg.engine.run_folder import RunError
from volseg.engine.stopping import Stop
from volseg.engine.train import train
from volseg.errors import VolsegError
from volseg.io.atomic import write_json
from volseg.recipe import Recipe

_OUTCOME = "trial.json"
_LOST = "its process was ended from outside; perhaps there was not enough memory"


@dataclass(frozen=True)
class Trial:
    """A training to be done, or gone on with.

    Attributes:
        recipe: what is trained.
        data: on which cases.
        folder: of the run.
        fold: that is validated.
        until: the epoch after whose validation it pauses; none trains to the end.
        threads: of a CPU; none leaves it to torch.
    """

    recipe: Recipe
    data: Path
    folder: Path
    fold: int = 0
    until: int | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a training ended, the last time that it ran.

    Attributes:
        state: ``done``, ``paused``, ``stopped`` by a signal, ``out of time``, ``failed``, or ``lost`` if its process
            was ended before it could tell.
        error: the one line of what went wrong.
        memory: bytes at the worst moment: of the GPU, or resident in its process.
    """

    state: str
    error: str | None = None
    memory: int | None = None


class Pause(Stop):
    """Stops a training at a validation, and for everything that stops any other."""

    def __init__(self, until: int | None, time_limit: float | None = None) -> None:
        super().__init__(time_limit)
        self.until = until
        self.reached = False

    @property
    def why(self) -> str | None:
        """The reason to stop, in words; none to go on."""
        return super().why or ("it pauses here" if self.reached else None)

    def __call__(self, event: Event) -> None:
        """Hear what the training tells."""
        if self.until is not None and event["event"] == "epoch" and event["epoch"] >= self.until:
            self.reached = self.reached or event.get("dice") is not None


def run_trial(trial: Trial, device: str) -> None:
    """Train, and leave word of how it went in the run's folder; whatever is wrong is part of that."""
    import torch

    if trial.threads is not None:
        torch.set_num_threads(trial.threads)
    pause = Pause(trial.until, trial.recipe.training.time_limit)
    error = None
    try:
        result = train(
            trial.recipe,
            trial.data,
            trial.folder,
            fold=trial.fold,
            resume=True,
            device=device,
            stop=pause,
            listeners=[pause],
        )
        if result.interrupted is None:
            state = "done"
        else:
            state = "paused" if pause.reached else "stopped" if pause.interrupted else "out of time"
    except VolsegError as told:
        state, error = "failed", str(told)
    except MemoryError:
        state, error = "failed", "does not fit into memory"
    before = outcome_of(trial.folder)
    memory = max(filter(None, (before.memory if before else None, _memory(device))), default=None)
    _leave(trial.folder, Outcome(state, error, memory))


def outcome_of(folder: Path) -> Outcome | None:
    """How a training ended; none if it never did."""
    try:
        return Outcome(**json.loads((folder / _OUTCOME).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise RunError("is damaged", where=folder / _OUTCOME, mend="remove it, and go on with --resume") from error


def forget_outcome(folder: Path) -> None:
    """Before a training is begun or gone on with: what is found afterwards is of this time."""
    known = outcome_of(folder)
    _leave(folder, Outcome("lost", _LOST, known.memory if known else None))


def _leave(folder: Path, outcome: Outcome) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / _OUTCOME, asdict(outcome))


def pause_epoch(recipe: Recipe, share: float) -> int:
    """The epoch that ends a share of a recipe's epochs.

    >>> pause_epoch(Recipe.from_dict({
    ...     "labels.values": {"cell": 1}, "image.spatial_dims": 2,
    ...     "training": {"patch": [32, 32], "epochs": 10},
    ... }), 0.25)
    3
    """
    return max(1, math.ceil(share * recipe.training.epochs))


def _memory(device: str) -> int | None:
    import torch

    from volseg.engine.device import device_named

    place = device_named(device)
    if place.type == "cuda":
        return int(torch.cuda.max_memory_allocated(place))
    try:
        import resource
    except ImportError:  # not on this system
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
