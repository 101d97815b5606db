"""Training, from a recipe and a folder of cases to a folder with weights."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from safetensors.torch import load_file
from torch import Tensor

from volseg.data.aliases import refuse_aliases
from volseg.data.caching import MemoryCache, make_cache
from volseg.data.cohort import Case, find_cases
from volseg.data.content import Content
from volseg.data.folds import Split
from volseg.engine import compose
from volseg.engine.assembly import Assembly, assemble
from volseg.engine.beginning import Beginning
from volseg.engine.cases import CaseReader, LearningCase
from volseg.engine.checkpoint import Checkpoints
from volseg.engine.compose import build
from volseg.engine.course import Course
from volseg.engine.judge import Judge
from volseg.engine.log import Event, Listener, RunLog, quiet
from volseg.engine.pictures import Curves
from volseg.engine.run_folder import RunFolder
from volseg.engine.session import Session
from volseg.engine.starting import Start
from volseg.engine.step import bare
from volseg.engine.stopping import Interrupted, Stop
from volseg.engine.together import Place, together
from volseg.engine.tracking import tensorboard, tracker
from volseg.engine.validation import Scores, mean_dice, means
from volseg.errors import CohortError
from volseg.inference.allocator import keep_large_blocks
from volseg.inference.exhausted import within_memory
from volseg.io.atomic import write_json
from volseg.recipe import Recipe


@dataclass(frozen=True)
class TrainingResult:
    """What a training came to.

    Attributes:
        folder: of the run.
        interrupted: why it stopped before its end; none if it did not.
        epoch: the last one.
        best: the best validation's Dice.
        best_epoch: and its epoch.
        test: Dice of the test part, by case and structure, where there is one.
        signalled: whether it was a signal that stopped it.
    """

    folder: Path
    interrupted: str | None
    epoch: int
    best: float | None
    best_epoch: int
    test: Scores | None = None
    signalled: bool = False

    @property
    def is_of_use(self) -> bool:
        """Whether there is a network to go on with: a time limit is a wish for the best until then."""
        return not self.signalled and (self.interrupted is None or self.best is not None)


def train(
    recipe: Recipe,
    data: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    fold: int = 0,
    resume: bool = False,
    start: Start | None = None,
    device: str = "auto",
    deterministic: bool = False,
    stop: Stop | None = None,
    listeners: Sequence[Listener] = (),
) -> TrainingResult:
    """Train a network.

    Args:
        recipe: what, and how.
        data: the cases, in any layout that :func:`volseg.data.cohort.find_cases` knows.
        output: the run's folder; new, or with ``resume`` that of an interrupted run.
        fold: the fold that is validated and not learnt from.
        resume: go on where the run was interrupted; begin it if it never began.
        start: what the network starts from instead of random weights; a resumed run knows its own.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; under torchrun each process has its own.
        deterministic: on a GPU, only operations that give the same bits each time, where torch has them.
        stop: asked after every step; by default it listens to signals and to ``training.time_limit``.
        listeners: told what happens.

    Returns:
        How far it came. An interrupted run leaves a checkpoint, and ``resume`` ends with the same weights.
    """
    stop = stop or Stop(recipe.training.time_limit)
    with together(device) as place, _arithmetic(place, deterministic), stop.listening():
        keeps = place.device.type == "cpu" and keep_large_blocks()
        folder = RunFolder(Path(output))
        with folder.held() if place.first else nullcontext():
            return _Training(recipe, folder, place, fold, resume, start, stop, listeners, keeps).run(data)


class _Training:
    """One call of :func:`train`, in the order in which things happen."""

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        place: Place,
        fold: int,
        resume: bool,
        start: Start | None,
        stop: Stop,
        listeners: Sequence[Listener],
        keeps_memory: bool,
    ) -> None:
        self.keeps_memory = keeps_memory
        self.folder = folder
        self.place = place
        self.stop = stop
        self.outside = tuple(listeners) if place.first else ()
        self.beginning = Beginning(recipe, folder, place, fold=fold, resume=resume, start=start, tell=self._tell)
        self.recipe = self.beginning.recipe
        self.reader: CaseReader = build(compose.cases_part(recipe))

    def run(self, data: str | os.PathLike[str]) -> TrainingResult:
        try:
            return self._run(data)
        except Interrupted:  # before the first step: there is nothing to store yet
            return TrainingResult(self.folder.path, self.stop.why, 0, None, 0, signalled=self.stop.interrupted)

    def _run(self, data: str | os.PathLike[str]) -> TrainingResult:
        cohort = find_cases(data)
        for note in cohort.notes:
            self._tell({"event": "note", "text": note})
        split = self.beginning.split(cohort.labelled)
        cases = {case.name: case for case in cohort.labelled}
        divided = [cases[name] for name in split.sides]
        contents = self.beginning.contents(divided, self.stop)
        if self.recipe.folds.group_by == "patient":
            refuse_aliases(divided, contents, split)
        learning = self._learning([cases[name] for name in split.train], contents)
        judge = Judge(self.recipe, self.folder, self.place, self.reader, contents, self.stop)
        validated, tested = ([cases[name] for name in side] for side in (split.validation, split.test))
        if self.beginning.facts is None:
            judge.require_readable([*validated, *tested])
        log = RunLog(self.folder.path)
        listeners = self._listeners(log)
        parts = assemble(
            self.recipe,
            self.place,
            learning,
            chosen=self.beginning.chosen(),
            start=self.beginning.start,
            stop=self.stop,
            tell=self._tell,
        )
        session = parts.session
        self.beginning.remember(parts.choice, parts.timings, contents)
        self._introduce(listeners, split, parts)
        evaluator, metric = judge.of(session.network, validated) if validated else (None, None)
        course = Course(
            session,
            Checkpoints(self.folder.checkpoints, self.recipe.training.keep_checkpoints),
            parts.loader.batches,
            self.stop,
            resume=self.beginning.facts is not None,
            evaluator=evaluator,
            metric=metric,
            validate_every=self.recipe.training.validate_every,
            early_stop=self.recipe.training.early_stop,
            on_best=lambda: self._write("best", session),
            on_resume=log.back_to if self.place.first else None,
            listeners=listeners,
        )
        trainer = SupervisedTrainer(
            device=self.place.device,
            max_epochs=self.recipe.training.epochs,
            train_data_loader=parts.loader,
            network=session.network,
            optimizer=session.optimizer,
            loss_function=parts.loss,
            epoch_length=len(parts.loader),
            non_blocking=self.place.device.type == "cuda",
            prepare_batch=parts.prepare,
            iteration_update=session.step,
            train_handlers=[course],
            amp=False,
            decollate=False,
        )
        quiet(trainer)
        trainer.run()
        self._write("last", session)
        progress, why, test = session.progress, course.interrupted, None
        if why is None:
            test = self._tested(session, self._choose_weights(session), tested, judge, listeners)
            iteration = trainer.state.iteration  # a run that falls back to before it has not ended
            event: Event = {
                "event": "end",
                "iteration": iteration,
                "best": progress.best,
                "best_epoch": progress.best_epoch,
            }
            if tested and test is None:
                why = self.stop.why or "another process of the training was stopped"
                event = {"event": "interrupted", "why": why, "iteration": iteration}
            if why is not None or not log.ended:
                for listener in listeners:
                    listener(event)
        return TrainingResult(
            self.folder.path,
            why,
            trainer.state.epoch,
            progress.best,
            progress.best_epoch,
            test,
            signalled=why is not None and self.stop.interrupted,
        )

    def _learning(self, cases: Sequence[Case], contents: Mapping[str, Mapping[str, Content]]) -> list[LearningCase]:
        """The cases prepared."""
        kind = self.recipe.training.cache
        # patches come from all cases at once: without a cache each is read once, and held here
        cache = MemoryCache() if kind is None else make_cache(kind, self.folder.cache)
        device = self.place.device if kind == "device" else torch.device("cpu")
        found = []
        for number, case in enumerate(cases, start=1):
            self.stop.check()
            arrays = self.reader.learning(case, contents[case.name], cache)
            with within_memory(
                f"the cases do not fit the memory of {device}",
                where=case.name,
                mend="set training.cache to memory or disk",
            ):
                found.append(LearningCase.of(case.name, arrays, device))
            self._tell({"event": "prepared", "case": case.name, "number": number, "count": len(cases)})
        if not any(case.places for case in found):
            raise CohortError(
                "no training case holds any of the structures", mend="look at labels.values and at the label maps"
            )
        return found

    def _listeners(self, log: RunLog) -> tuple[Listener, ...]:
        if not self.place.first:
            return ()
        found: list[Listener] = [log, Curves(log)]
        board = tensorboard(self.folder.path)
        if board is not None:
            found.append(board)
        tracking = self.recipe.tracking
        if tracking is not None:
            found.append(
                tracker(
                    tracking.kind,
                    self.folder.path,
                    uri=tracking.uri,
                    experiment=tracking.experiment,
                    parameters=self.recipe.to_dict(),
                )
            )
        return (*found, *self.outside)

    def _introduce(self, listeners: Sequence[Listener], split: Split, parts: Assembly) -> None:
        event: Event = {
            "event": "start",
            "cases": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
            "parameters": sum(p.numel() for p in parts.session.network.parameters()),
            "device": str(self.place.device),
            "processes": self.place.world,
            "arithmetic": str(parts.choice),
            "probe": parts.timings,
            "threads": torch.get_num_threads(),
            "keeps memory": self.keeps_memory,
        }
        if self.beginning.facts is None:
            for listener in listeners:
                listener(event)

    def _write(self, name: str, session: Session) -> None:
        if self.place.first:
            start = self.recipe.bundle.started_from or ""
            self.folder.write_weights(name, _weights(session), recipe=self.recipe.digest(), started_from=start)

    def _choose_weights(self, session: Session) -> dict[str, Tensor]:
        """The weights of the best validation, or the last ones without any, left as ``models/model.pt`` too."""
        self.place.shared(None)  # the others read what the first process has written by now
        best = self.folder.models / "best.safetensors"
        chosen = load_file(best) if session.progress.best is not None else _weights(session)
        if self.place.first:
            self.folder.write_state(chosen)
        return chosen

    def _tested(
        self,
        session: Session,
        weights: Mapping[str, Tensor],
        cases: Sequence[Case],
        judge: Judge,
        listeners: Sequence[Listener],
    ) -> Scores | None:
        """Score the test part, once; none if there is no such part, or if the run was to stop meanwhile."""
        path = self.folder.path / "test.json"
        if not cases:
            return None
        if self.place.shared(path.exists()):
            found: Scores = json.loads(path.read_text())["cases"]
            return {name: {k: float("nan") if v is None else v for k, v in of.items()} for name, of in found.items()}
        network = bare(session.network)
        network.load_state_dict(weights)
        evaluator, metric = judge.of(network, cases)
        evaluator.run()
        if metric.stopped:
            return None
        scores = metric.scores
        told = {"dice": mean_dice(scores, metric.names), "labels": means(scores, metric.names), "cases": scores}
        if self.place.first:
            write_json(path, _without_nan(told))
            for listener in listeners:
                listener({"event": "test", "iteration": 0, **told})
        return scores

    def _tell(self, event: Event) -> None:
        for listener in self.outside:
            listener(event)


def _weights(session: Session) -> dict[str, Tensor]:
    average = session.step.average
    return bare(session.network).state_dict() if average is None else average.weights()


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and value != value else value


@contextmanager
def _arithmetic(place: Place, deterministic: bool) -> Iterator[None]:
    """Global settings of torch for the time of a training."""
    before = (
        torch.backends.cudnn.benchmark,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.get_num_threads(),
    )
    if place.device.type == "cuda":
        torch.backends.cudnn.benchmark = not deterministic
        if deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before[0]
        torch.use_deterministic_algorithms(before[1], warn_only=before[2])
        if torch.get_num_threads() != before[3]:
            torch.set_num_threads(before[3])
