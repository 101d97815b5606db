"""Cross-validation: a network for each fold, every case predicted by one that never saw it, and one bundle of all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save

from volseg.bundle.rendering.build import build_bundle
from volseg.data.aliases import refuse_aliases
from volseg.data.cohort import Case, find_cases
from volseg.data.folds import Split, make_folds, read_folds, write_folds
from volseg.engine.log import Listener
from volseg.engine.run_folder import RunError, RunFolder
from volseg.engine.starting import Start, with_start
from volseg.engine.stopping import Part, Stop
from volseg.engine.together import Place, together
from volseg.engine.train import train
from volseg.errors import CohortError, UsageError
from volseg.evaluation import Evaluation, evaluate_pairs, evaluation_csv, evaluation_json, pair_cases
from volseg.evaluation.strict_json import plain
from volseg.inference.postprocessing import postprocess
from volseg.io import read_labels, write_labels
from volseg.io.atomic import write_bytes, write_json, write_text
from volseg.prediction.summary import Record
from volseg.recipe import Recipe, dump_recipe
from volseg.study.calibration import Calibration, Seen, calibrate
from volseg.study.calibration_figure import calibration_svg
from volseg.study.clean_up import CleanUp, steps_of, try_all
from volseg.study.history import History, require_same_run
from volseg.study.out_of_fold import Member, predict_unseen
from volseg.study.weight_average import Comparison, average_of_files, compare_average

Tell = Callable[[str], None]


@dataclass(frozen=True)
class CrossValidation:
    """What a cross-validation came to.

    Attributes:
        folder: with ``fold0/`` …, ``out_of_fold/``, ``metrics.json``, ``calibration.svg``, ``bundle/``.
        interrupted: why it stopped before its end; none if it did not.
        evaluation: of all cases, each predicted by the network that never saw it.
        clean_up: what is done to each structure.
        trust: the trust score, and how well it tells.
        average: the average of weights beside the ensemble.
        bundle: of all networks.
    """

    folder: Path
    interrupted: str | None = None
    evaluation: Evaluation | None = None
    clean_up: Mapping[str, CleanUp] | None = None
    trust: Calibration | None = None
    average: Comparison | None = None
    bundle: Path | None = None


def cross_validate(
    recipe: Recipe,
    data: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    resume: bool = False,
    start: Start | None = None,
    device: str = "auto",
    deterministic: bool = False,
    stop: Stop | None = None,
    listeners: Sequence[Listener] = (),
    tell: Tell = lambda _line: None,
) -> CrossValidation:
    """Train a network for each fold and learn from all of them.

    Args:
        recipe: what is trained; ``folds`` says how cases are divided.
        data: the cases.
        output: a new folder, or with ``resume`` that of an earlier call.
        resume: go on: a finished fold is not trained again, an interrupted one is gone on with exactly.
        start: what every fold's network starts from instead of random weights; it must never have seen the cases.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        deterministic: on a GPU, only operations that give the same bits each time, where torch has them.
        stop: asked after every step and every case; by default it listens to signals. Beside it each training has
            ``training.time_limit`` for itself.
        listeners: told what each training tells.
        tell: told in a line what happens beside.

    Raises:
        CohortError: if the cases cannot be divided so that nobody is on two sides.
    """
    stop = stop or Stop()
    work = _CrossValidation(recipe, Path(data), Path(output), start, device, stop, tell)
    with stop.listening(), together(device) as place:
        work.begin(resume, place)
        for fold in range(len(work.splits)):
            interrupted = work.train(fold, deterministic, listeners)
            if interrupted is not None:
                return CrossValidation(work.folder, interrupted)
        # one of torchrun's processes does the rest for all
        return work.learn() if place.first else CrossValidation(work.folder)


class _CrossValidation:
    """One call of :func:`cross_validate`."""

    splits: tuple[Split, ...]

    def __init__(
        self, recipe: Recipe, data: Path, folder: Path, start: Start | None, device: str, stop: Stop, tell: Tell
    ) -> None:
        self.recipe = recipe
        self.data = data
        self.folder = folder
        self.start = start
        self.device = device
        self.stop = stop
        self.tell = tell
        self.cohort = find_cases(data)
        self.cases: dict[str, Case] = {case.name: case for case in self.cohort.labelled}

    def begin(self, resume: bool, place: Place) -> None:
        """Divide the cases, or find them divided as before."""
        for note in self.cohort.notes:
            self.tell(note)
        if not self.cases:
            raise CohortError("no case has a label map to learn from", mend="put label maps beside the images")
        root, folds, cases = RunFolder(self.folder), self.recipe.folds, tuple(self.cases.values())
        if root.begun:
            raise UsageError("holds a training of one fold", where=self.folder, mend="name another folder")
        self.splits = make_folds(
            cases, number=folds.number, seed=folds.seed, group_by=folds.group_by, stratify=folds.stratify
        )
        if len(self.splits) < 2:
            raise CohortError(
                "the cases say themselves what to learn from: there is one division and nothing to cross",
                where=self.data,
                mend="train with --fold 0, or leave the split out",
            )
        if folds.group_by == "patient":
            refuse_aliases(cases)
        begun = place.shared(root.folds.exists())
        if begun and not resume:
            raise UsageError(
                "holds a cross-validation already",
                where=self.folder,
                mend="--resume goes on with it; or another folder",
            )
        self.start = root.settle_start(self.start, begun=begun, resume=resume, write=place.first)
        self.recipe = with_start(self.recipe, self.start)
        if not begun:
            if place.first:
                root.make()
                write_text(root.recipe, dump_recipe(self.recipe))
                write_folds(root.folds, self.splits)
            return
        root.require_same(self.recipe)
        if read_folds(root.folds, cases, group_by=folds.group_by) != self.splits:
            raise RunError(
                "the cases have changed since the folds were made",
                where=self.folder,
                mend="begin anew in another folder, or bring back the data as they were",
            )
        if place.first:
            root.update(self.recipe)

    def train(self, fold: int, deterministic: bool, listeners: Sequence[Listener]) -> str | None:
        """Train one fold, unless it is finished; tells why it cannot be gone on without it."""
        run = self.run(fold)
        if History.of(run).finished:
            require_same_run(RunFolder(run), self.recipe, self.cases)
            self.tell(f"fold {fold}: finished before")
            return None
        self.tell(f"fold {fold} of {len(self.splits)}")
        result = train(
            self.recipe,
            self.data,
            run,
            fold=fold,
            resume=True,
            start=self.start,
            device=self.device,
            deterministic=deterministic,
            stop=Part(self.stop, self.recipe.training.time_limit),
            listeners=listeners,
        )
        if result.interrupted is None:
            return None
        # weights of the last epoch are used, so that none need have been validated
        if self.stop.why is None and not result.signalled and result.epoch > 0:
            self.tell(f"fold {fold}: {result.interrupted} in epoch {result.epoch}; its network is taken as it is")
            return None
        return result.interrupted

    def run(self, fold: int) -> Path:
        """The folder of a fold's training."""
        return self.folder / f"fold{fold}"

    def learn(self) -> CrossValidation:
        """Predict every case, choose what is done to masks, measure, calibrate, and build the bundle."""
        weights = [self.run(fold) / "models" / "last.safetensors" for fold in range(len(self.splits))]
        members = [Member(path, split.validation) for path, split in zip(weights, self.splits, strict=True)]
        raw = self.folder / "raw_out_of_fold"
        records = predict_unseen(
            members, self.recipe, self.cases, self.data, raw, device=self.device, stop=self.stop, tell=self.tell
        )
        if records is None or self.stop.why is not None:
            return CrossValidation(self.folder, self.stop.why)
        clean_up, evaluation = self._measured(records, raw)
        trust = self._calibrated(records, evaluation)
        averaged = self.folder / "models" / "average.safetensors"
        averaged.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(averaged, save(average_of_files(weights)))
        average = compare_average(averaged, weights, self.recipe, list(self.cases.values()), device=self.device)
        first, *others = [averaged] if average.as_good else weights
        steps = {name: one.model_dump(mode="json") for name, one in steps_of(clean_up).items()}
        bundle = build_bundle(
            self.recipe.changed({"postprocessing": steps}),
            self.folder / "bundle",
            weights=first,
            members=others,
            trust=trust.trust if trust.trust.structures else None,
            results=self.folder / "metrics.json",
        )
        found = CrossValidation(self.folder, None, evaluation, clean_up, trust, average, bundle)
        write_json(self.folder / "cross_validation.json", _told(found, len(self.splits)))
        return found

    def _measured(self, records: Mapping[str, Record], raw: Path) -> tuple[dict[str, CleanUp], Evaluation]:
        """What is done to masks, and the measures of masks to which each fold's share is done as the others chose."""
        cases = list(self.cases.values())
        made = {name: raw / str(record.mask) for name, record in records.items()}
        trials = try_all(pair_cases(cases, made, raw, self.data).found, self.recipe)
        output = self.folder / "out_of_fold"
        labels, allowed = self.recipe.labels, self.recipe.image.spacing_range
        masks: dict[str, Path] = {}
        for split in self.splits:
            steps = steps_of(trials.choose(without=split.validation))
            for name in split.validation:
                stored = read_labels(made[name], labels, spacing_range=allowed)
                masks[name] = output / str(records[name].mask)
                masks[name].parent.mkdir(parents=True, exist_ok=True)
                cleaned = postprocess(stored.array, steps, labels, stored.grid)
                write_labels(masks[name], cleaned, stored.grid, labels, like=stored)
        evaluation = evaluate_pairs(
            pair_cases(cases, masks, output, self.data),
            labels=labels,
            instances=self.recipe.labelling.instances,
            spacing_range=allowed,
        )
        how = f"{len(self.splits)} folds; each case was predicted by the network that never saw its patient"
        write_json(self.folder / "metrics.json", {**evaluation_json(evaluation), "data": how, "out_of_fold": True})
        write_text(self.folder / "metrics.csv", evaluation_csv(evaluation))
        for failed in evaluation.failed:
            raise CohortError(str(failed.error))
        return trials.choose(), evaluation

    def _calibrated(self, records: Mapping[str, Record], evaluation: Evaluation) -> Calibration:
        seen = [
            Seen(case.case, case.patient, score.structure, records[case.case].signs[score.structure], score.dice)
            for case in evaluation.scored
            for score in case.scores
            if score.structure in records[case.case].signs
        ]
        found = calibrate(seen)
        if found.told:
            write_bytes(self.folder / "calibration.svg", calibration_svg(found))
        return found


def _told(found: CrossValidation, folds: int) -> dict[str, Any]:
    """The result as JSON has it."""
    assert found.evaluation is not None
    assert found.trust is not None
    assert found.average is not None
    told = {
        "folds": folds,
        "dice": {s.structure: asdict(s.means["dice"]) for s in found.evaluation.structures},
        "mean_dice": found.evaluation.mean["dice"],
        "postprocessing": {
            name: {"steps": one.steps.model_dump(mode="json"), "gain": one.gain, "gain_low": one.low}
            for name, one in (found.clean_up or {}).items()
        },
        "trust": dict(found.trust.trust.assessment),
        "average_less_ensemble": asdict(found.average.difference),
        "networks": 1 if found.average.as_good else folds,
    }
    return dict(plain(told))
