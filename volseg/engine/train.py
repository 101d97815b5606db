"""Training, from a recipe and a folder of cases to a folder with weights."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from torch import Tensor, nn

from volseg.data.caching import Cache, MemoryCache, NoCache, make_cache
from volseg.data.cohort import Case, find_cases
from volseg.data.content import Content, changed_parts, contents_of, from_plain, to_plain
from volseg.data.folds import Split, make_folds, read_folds, write_folds
from volseg.engine import compose
from volseg.engine.averaging import Average
from volseg.engine.batches import EpochBatches, PatchLoader
from volseg.engine.cases import CaseReader, LearningCase
from volseg.engine.checkpoint import Checkpoints
from volseg.engine.compose import build
from volseg.engine.course import Course
from volseg.engine.log import Event, Listener, RunLog
from volseg.engine.patches import PatchDataset
from volseg.engine.pictures import Curves, Overlays
from volseg.engine.probe import Choice, candidates, choose, in_layout
from volseg.engine.run_folder import RunError, RunFolder
from volseg.engine.session import Session
from volseg.engine.step import TrainingStep, bare
from volseg.engine.stopping import Stop
from volseg.engine.together import Place, together
from volseg.engine.tracking import tensorboard, tracker
from volseg.engine.validation import CaseByCase, JudgeCase, JudgedCases, MeanDice, Scores, mean_dice, means
from volseg.errors import CohortError, UsageError
from volseg.inference.allocator import keep_large_blocks
from volseg.io.atomic import write_json
from volseg.recipe import Recipe

_DRAWN = 3  # validation cases whose pictures are drawn


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
    """

    folder: Path
    interrupted: str | None
    epoch: int
    best: float | None
    best_epoch: int
    test: Scores | None = None


def train(
    recipe: Recipe,
    data: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    fold: int = 0,
    resume: bool = False,
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
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; under torchrun each process has its own.
        deterministic: on a GPU, only operations that give the same bits each time, where torch has them.
        stop: asked after every step; by default it listens to signals and to ``training.time_limit``.
        listeners: told what happens.

    Returns:
        How far it came. An interrupted run leaves a checkpoint, and ``resume`` ends with the same weights.
    """
    stop = stop or Stop(recipe.training.time_limit)
    with together(device) as place, _arithmetic(place, deterministic), stop.listening():
        if place.device.type == "cpu":
            keep_large_blocks()
        return _Training(recipe, RunFolder(Path(output)), place, fold, resume, stop, listeners).run(data)


class _Training:
    """One call of :func:`train`, in the order in which things happen."""

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        place: Place,
        fold: int,
        resume: bool,
        stop: Stop,
        listeners: Sequence[Listener],
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self.place = place
        self.fold = fold
        self.stop = stop
        self.outside = tuple(listeners) if place.first else ()
        if place.first:
            folder.make()
        begun = place.shared(folder.begun)
        if begun and not resume:
            raise UsageError(
                "holds a run already", where=folder.path, mend="--resume goes on with it; or name another folder"
            )
        self.facts: dict[str, Any] | None = place.shared(folder.facts()) if begun else None
        if self.facts is not None:
            folder.require_same(recipe)
            self._require_same_machine(self.facts)
        self.reader: CaseReader = build(compose.cases_part(recipe))

    def run(self, data: str | os.PathLike[str]) -> TrainingResult:
        cohort = find_cases(data)
        for note in cohort.notes:
            self._tell({"event": "note", "text": note})
        split = self._split(cohort.labelled)
        cases = {case.name: case for case in cohort.labelled}
        contents = self._contents([cases[name] for name in (*split.train, *split.validation, *split.test)])
        learning = self._learning([cases[name] for name in split.train], contents)
        if learning is None:
            return TrainingResult(self.folder.path, self.stop.why, 0, None, 0)
        session, loader, loss = self._assemble(learning)
        self._begin(contents)
        log = RunLog(self.folder.path)
        listeners = self._listeners(log)
        self._introduce(listeners, split, session)
        evaluator, metric = self._evaluator(session, [cases[name] for name in split.validation], contents)
        course = Course(
            session,
            Checkpoints(self.folder.checkpoints, self.recipe.training.keep_checkpoints),
            loader.batches,
            self.stop,
            resume=self.facts is not None,
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
            train_data_loader=loader,
            network=session.network,
            optimizer=session.optimizer,
            loss_function=loss,
            epoch_length=len(loader),
            non_blocking=self.place.device.type == "cuda",
            prepare_batch=self.prepare,
            iteration_update=session.step,
            train_handlers=[course],
            amp=False,
            decollate=False,
        )
        _quiet(trainer)
        trainer.run()
        self._write("last", session)
        progress = session.progress
        if course.interrupted is not None:
            return TrainingResult(
                self.folder.path, course.interrupted, trainer.state.epoch, progress.best, progress.best_epoch
            )
        test = self._finish(session, [cases[name] for name in split.test], contents, listeners)
        return TrainingResult(self.folder.path, None, trainer.state.epoch, progress.best, progress.best_epoch, test)

    def _split(self, cases: Sequence[Case]) -> Split:
        if not cases:
            raise CohortError("no case has a label map to learn from", mend="put label maps beside the images")
        folds = self.recipe.folds
        if self.facts is not None:
            splits = read_folds(self.folder.folds, cases, group_by=folds.group_by)
        else:
            splits = make_folds(
                cases, number=folds.number, seed=folds.seed, group_by=folds.group_by, stratify=folds.stratify
            )
            if self.place.first:
                write_folds(self.folder.folds, splits)
        if not 0 <= self.fold < len(splits):
            raise UsageError(f"there is no fold {self.fold}", mend=f"folds are 0 to {len(splits) - 1}")
        split = splits[self.fold]
        if not split.train:
            raise CohortError("no case is left to learn from", mend="give some cases the split 'train'")
        return split

    def _contents(self, cases: Sequence[Case]) -> dict[str, dict[str, Content]]:
        if self.facts is None:
            found: dict[str, dict[str, Content]] = self.place.shared(
                {case.name: contents_of(case) for case in cases} if self.place.first else None
            )
            return found
        before = from_plain(self.facts["data"])
        changed = self.place.shared(changed_parts(cases, before) if self.place.first else None)
        if changed:
            raise RunError(
                f"the data have changed since the run began: {'; '.join(changed[:5])}"
                + (f"; and {len(changed) - 5} more" if len(changed) > 5 else ""),
                where=self.folder.path,
                mend="begin a new run, or bring back the data as they were",
            )
        return before

    def _learning(
        self, cases: Sequence[Case], contents: Mapping[str, Mapping[str, Content]]
    ) -> list[LearningCase] | None:
        """The cases prepared; none if the run was to stop meanwhile."""
        kind = self.recipe.training.cache
        # patches come from all cases at once: without a cache each is read once, and held here
        cache = MemoryCache() if kind is None else make_cache(kind, self.folder.cache)
        device = self.place.device if kind == "device" else torch.device("cpu")
        found = []
        for number, case in enumerate(cases, start=1):
            if self.stop.why is not None:
                return None
            arrays = self.reader.learning(case, contents[case.name], cache)
            found.append(LearningCase.of(case.name, arrays, device))
            self._tell({"event": "prepared", "case": case.name, "number": number, "count": len(cases)}, log=False)
        if not any(case.places for case in found):
            raise CohortError(
                "no training case holds any of the structures", mend="look at labels.values and at the label maps"
            )
        return found

    def _assemble(self, learning: Sequence[LearningCase]) -> tuple[Session, PatchLoader, nn.Module]:
        recipe, place = self.recipe, self.place
        torch.manual_seed(recipe.training.seed)
        network: nn.Module = build(compose.network_part(recipe)).to(place.device)
        loss: nn.Module = build(compose.loss_part(recipe)).to(place.device)
        self.choice = self._choice(network, loss)
        network = in_layout(network, self.choice.channels_last)
        steps = compose.steps_per_epoch(recipe, len(learning), place.world)
        if recipe.optimiser.accumulate > steps:
            self._tell({"event": "note", "text": f"optimiser.accumulate: an epoch has only {steps} batches"})
        average = None if recipe.optimiser.ema is None else Average(network, recipe.optimiser.ema)
        optimizer = build(compose.optimiser_part(recipe), network=network)
        step = TrainingStep(
            precision=self.choice.precision,
            gradient_clip=recipe.optimiser.gradient_clip,
            accumulate=recipe.optimiser.accumulate,
            seed=recipe.training.seed,
            scheduler=build(compose.schedule_part(recipe, steps), optimizer=optimizer),
            average=average,
        )
        deep = recipe.deep_supervision_weights
        spread = place.spread(
            network, synchronise_norms=recipe.training.sync_batch_norm, all_used=deep is None or all(deep)
        )
        dataset: PatchDataset = build(compose.patches_part(recipe), cases=learning)
        batches = EpochBatches(
            len(learning),
            recipe.training.batch,
            steps,
            recipe.training.epochs,
            seed=recipe.training.seed,
            rank=place.rank,
            world=place.world,
        )
        cuda = place.device.type == "cuda"
        workers = 0 if recipe.training.cache == "device" else recipe.training.workers
        if workers is None:  # beside a CPU that computes there is no core to spare
            workers = min(8, max(1, (os.cpu_count() or 1) // (2 * place.world))) if cuda else 0
        loader = PatchLoader(dataset, batches, workers=workers, ahead=cuda and recipe.training.cache != "device")
        self.prepare = build(compose.batch_part(recipe), channels_last=self.choice.channels_last)
        return Session(spread, optimizer, step), loader, loss

    def _choice(self, network: nn.Module, loss: nn.Module) -> Choice:
        training = self.recipe.training
        if self.facts is not None:
            self.timings = self.facts["probe"]
            return Choice(self.facts["precision"], self.facts["channels_last"])
        choices = candidates(training.precision, training.channels_last, self.place.device)
        shape = (training.batch, self.recipe.in_channels, *training.patch)
        found = choose(network, loss, shape, choices, self.place.device) if self.place.first else None
        choice, self.timings = self.place.shared(found)
        return Choice(choice.precision, choice.channels_last)

    def _begin(self, contents: Mapping[str, Mapping[str, Content]]) -> None:
        if self.facts is None and self.place.first:
            facts = {
                "fold": self.fold,
                "device": self.place.device.type,
                **self.choice.to_dict(),
                "probe": self.timings,
                "threads": torch.get_num_threads(),
                "world": self.place.world,
                "torch": str(torch.__version__),
                "data": to_plain(contents),
            }
            self.folder.remember(self.recipe, facts)

    def _require_same_machine(self, facts: Mapping[str, Any]) -> None:
        if facts["world"] != self.place.world:
            raise RunError(
                f"the run was begun by {facts['world']} processes, not {self.place.world}", where=self.folder.path
            )
        if facts["fold"] != self.fold:
            raise RunError(
                f"the run is of fold {facts['fold']}, not {self.fold}", where=self.folder.path, mend="name that fold"
            )
        if facts["device"] == self.place.device.type == "cpu" and facts["threads"] != torch.get_num_threads():
            torch.set_num_threads(facts["threads"])  # sums over threads round differently with their number
        for what, then, now in (
            ("device", facts["device"], self.place.device.type),
            ("torch", facts["torch"], str(torch.__version__)),
        ):
            if then != now:
                text = f"the run was begun with {what} {then} and goes on with {now}: bits will differ"
                self._tell({"event": "note", "text": text})

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

    def _introduce(self, listeners: Sequence[Listener], split: Split, session: Session) -> None:
        event: Event = {
            "event": "start",
            "cases": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
            "parameters": sum(p.numel() for p in session.network.parameters()),
            "device": str(self.place.device),
            "processes": self.place.world,
            "arithmetic": str(self.choice),
            "probe": self.timings,
            "threads": torch.get_num_threads(),
        }
        if self.facts is None:
            for listener in listeners:
                listener(event)

    def _evaluator(
        self, session: Session, cases: Sequence[Case], contents: Mapping[str, Mapping[str, Content]]
    ) -> tuple[Any, MeanDice | None]:
        if not cases:
            return None, None
        recipe = self.recipe
        precision = recipe.inference.precision
        if precision == "fp16" and self.place.device.type != "cuda":
            precision = "float32"
        judge = JudgeCase(
            build(compose.decision_part(recipe)),
            recipe.labels,
            order={0: "nearest", 1: "linear", 3: "cubic"}[recipe.inference.resampling_order],  # type: ignore[arg-type]
            precision=precision,
            max_memory=recipe.inference.max_memory,
            stop=self.stop,
        )
        drawn = Overlays(self.folder.path, recipe.labels, [case.name for case in cases[:_DRAWN]])
        metric = MeanDice(recipe.labels.names, seen=drawn)
        kind = recipe.training.cache
        cache: Cache = (
            NoCache() if kind is None else make_cache("memory" if kind == "device" else kind, self.folder.cache)
        )
        dataset = JudgedCases(cases, self.reader, cache, contents)
        evaluator = SupervisedEvaluator(
            device=self.place.device,
            val_data_loader=CaseByCase(dataset, self.place.rank, self.place.world),
            network=bare(session.network),
            iteration_update=judge,
            key_val_metric={"dice": metric},
            amp=False,
            decollate=False,
        )
        _quiet(evaluator)
        return evaluator, metric

    def _write(self, name: str, session: Session) -> None:
        if self.place.first:
            self.folder.write_weights(name, _weights(session), recipe=self.recipe.digest())

    def _finish(
        self,
        session: Session,
        test: Sequence[Case],
        contents: Mapping[str, Mapping[str, Content]],
        listeners: Sequence[Listener],
    ) -> Scores | None:
        """Leave the chosen weights, and score the test part once."""
        from safetensors.torch import load_file

        self.place.shared(None)  # the others read what the first process has written by now
        best = self.folder.models / "best.safetensors"
        chosen = load_file(best) if session.progress.best is not None else _weights(session)
        if self.place.first:
            self.folder.write_state(chosen)
        scores: Scores | None = None
        if test:
            network = bare(session.network)
            network.load_state_dict(chosen)
            evaluator, metric = self._evaluator(session, test, contents)
            assert metric is not None
            evaluator.run()
            scores = metric.scores
            if metric.stopped:
                return None
            told = {"dice": mean_dice(scores, metric.names), "labels": means(scores, metric.names), "cases": scores}
            if self.place.first:
                write_json(self.folder.path / "test.json", _without_nan(told))
                for listener in listeners:
                    listener({"event": "test", "iteration": 0, **told})
        for listener in listeners:
            listener({"event": "end", "best": session.progress.best, "best_epoch": session.progress.best_epoch})
        return scores

    def _tell(self, event: Event, *, log: bool = True) -> None:
        for listener in self.outside:
            listener(event)


def _weights(session: Session) -> dict[str, Tensor]:
    average = session.step.average
    return bare(session.network).state_dict() if average is None else average.weights()


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and value != value else value


def _quiet(engine: Any) -> None:
    """Errors are told once, by whoever started the training, and not by the engine on their way."""
    engine.logger = logging.getLogger("volseg.engine.run")
    engine.logger.addHandler(logging.NullHandler())
    engine.logger.propagate = False


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
