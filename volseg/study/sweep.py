"""A sweep: trainings of one recipe with some keys changed, the hopeless stopped early, a table of what each gave."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from volseg.bundle.rendering.build import build_bundle
from volseg.data.cohort import Case, find_cases
from volseg.data.folds import make_folds
from volseg.engine.run_folder import RunFolder
from volseg.engine.stopping import Stop
from volseg.errors import BundleError, CohortError, UsageError
from volseg.io.atomic import write_bytes, write_json, write_text
from volseg.recipe import Recipe, load_recipe
from volseg.study.arms import Arm
from volseg.study.costs import cost
from volseg.study.history import History, require_same_run
from volseg.study.sweep_curves import sweep_svg
from volseg.study.sweep_file import SweepFile
from volseg.study.sweep_table import Row, best_first, make_row, sweep_csv, sweep_json
from volseg.study.trial import Trial, forget_outcome, outcome_of, pause_epoch, run_trial
from volseg.study.workers import each_in_process, places

Tell = Callable[[str], None]


@dataclass(frozen=True)
class SweepResult:
    """What a sweep came to.

    Attributes:
        folder: with ``table.csv``, ``table.json``, ``curves.svg``, ``runs/`` and ``bundle/``.
        rows: the table, the best first.
        bundle: of the best recipe that was trained to its end; none if there is none.
        interrupted: why it stopped before its end; none if it did not.
    """

    folder: Path
    rows: tuple[Row, ...]
    bundle: Path | None
    interrupted: str | None


def sweep(
    file: SweepFile,
    arms: Sequence[Arm],
    data: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    resume: bool = False,
    device: str = "auto",
    parallel: int | None = None,
    stop: Stop | None = None,
    tell: Tell = lambda _line: None,
) -> SweepResult:
    """Train every recipe, and hold them against each other.

    Args:
        file: the sweep.
        arms: its recipes, as :func:`volseg.study.arms.make_arms` gives them.
        data: the cases.
        output: the sweep's folder; new, or with ``resume`` that of an earlier one.
        resume: go on: what is finished is not done again, what was interrupted is gone on with exactly.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        parallel: trainings at the same time; by default one on each GPU.
        stop: asked before each training; by default it listens to signals.
        tell: told in a line what happens.

    Returns:
        The table and the best bundle. A training that fails is a row of the table; the others go on.
    """
    folder = Path(output)
    if (folder / "runs").exists() and not resume:
        raise UsageError("holds a sweep already", where=folder, mend="--resume goes on with it; or name another folder")
    stop = stop or Stop()
    with stop.listening():
        return _Sweep(file, tuple(arms), Path(data), folder, places(device, parallel), stop, tell).run()


class _Sweep:
    """One call of :func:`sweep`."""

    def __init__(
        self,
        file: SweepFile,
        arms: tuple[Arm, ...],
        data: Path,
        folder: Path,
        devices: tuple[str, ...],
        stop: Stop,
        tell: Tell,
    ) -> None:
        self.file = file
        self.arms = arms
        self.data = data
        self.folder = folder
        self.devices = devices
        self.stop = stop
        self.tell = tell
        self.recipes: dict[str, dict[int, Recipe]] = {
            arm.folder: {seed: arm.seeded(seed) for seed in arm.seeds} for arm in arms
        }
        #: the epoch after which an arm was found hopeless
        self.dropped: dict[str, int] = {}

    def run(self) -> SweepResult:
        cohort = find_cases(self.data)
        for note in cohort.notes:
            self.tell(note)
        self._require_validation(cohort.labelled)
        cases = {case.name: case for case in cohort.labelled}
        self._require_same(cases)
        self.folder.mkdir(parents=True, exist_ok=True)
        alive = list(self.arms)
        halving = self.file.halving
        for share in (*(halving.at if halving else ()), None):
            self._train(alive, share)
            if self.stop.why is not None:
                break
            if share is not None and halving is not None:
                alive = self._hopeful(alive, share, halving.keep)
        return self._conclude({case.name: case.patient for case in cohort.labelled})

    def folders(self, arm: Arm) -> list[Path]:
        """The runs of an arm."""
        return [self.folder / "runs" / arm.folder / f"seed{seed}" for seed in arm.seeds]

    def _train(self, arms: Sequence[Arm], share: float | None) -> None:
        """Bring every run of these arms to a share of its epochs, or to its end."""
        jobs: list[Trial] = []
        threads = None
        if len(self.devices) > 1 and self.devices[0] == "cpu":
            threads = max(1, (os.cpu_count() or 1) // len(self.devices))
        for arm in arms:
            until = None if share is None else pause_epoch(arm.recipe, share)
            for seed, run in zip(arm.seeds, self.folders(arm), strict=True):
                if not _settled(run, until):
                    recipe = self.recipes[arm.folder][seed]
                    jobs.append(Trial(recipe, self.data, run, self.file.fold, until, threads))
        for job in jobs:
            forget_outcome(job.folder)
        named = {run: arm.name for arm in arms for run in self.folders(arm)}
        what = "to the end" if share is None else f"to {share:.0%} of the epochs"
        if jobs:
            self.tell(f"{len(jobs)} trainings {what}")
        for done, job in enumerate(each_in_process(run_trial, jobs, self.devices, self.stop), start=1):
            outcome, best = outcome_of(job.folder), History.of(job.folder).best()
            assert outcome is not None  # left above, whatever came of the process
            state = outcome.error or outcome.state
            dice = "" if best is None else f", best Dice {best['dice']:.4f} in epoch {best['epoch']}"
            self.tell(f"{done}/{len(jobs)} {named[job.folder]} {job.folder.name}: {state}{dice}")

    def _hopeful(self, arms: Sequence[Arm], share: float, keep: float) -> list[Arm]:
        """The arms that go on: the best share of those that did not fail."""
        scores: dict[str, float] = {}
        for arm in arms:
            until = pause_epoch(arm.recipe, share)
            if not all(_settled(run, until) for run in self.folders(arm)):
                continue  # it failed, and what it reached before is no sign of what it would come to
            bests = [History.of(run).best(until) for run in self.folders(arm)]
            known = [float(best["dice"]) for best in bests if best is not None]
            if len(known) == len(bests):
                scores[arm.folder] = sum(known) / len(known)
        count = math.ceil(keep * len(scores))
        kept = sorted(scores, key=lambda name: -scores[name])[:count]
        for arm in arms:
            if arm.folder in scores and arm.folder not in kept:
                self.dropped[arm.folder] = pause_epoch(arm.recipe, share)
                self.tell(f"{arm.name}: stopped early with Dice {scores[arm.folder]:.4f}")
        return [arm for arm in arms if arm.folder in kept]

    def _require_validation(self, cases: Sequence[Case]) -> None:
        """A sweep holds recipes against each other on validation cases: there must be some, in every division."""
        if not cases:
            raise CohortError("no case has a label map to learn from", mend="put label maps beside the images")
        for folds in {arm.recipe.folds for arm in self.arms}:
            splits = make_folds(
                cases, number=folds.number, seed=folds.seed, group_by=folds.group_by, stratify=folds.stratify
            )
            if self.file.fold >= len(splits):
                raise UsageError(f"there is no fold {self.file.fold}", mend=f"folds are 0 to {len(splits) - 1}")
            if not splits[self.file.fold].validation:
                raise CohortError("no case is left to validate on", mend="give some cases the split 'validation'")

    def _require_same(self, cases: Mapping[str, Case]) -> None:
        for arm in self.arms:
            for seed, run in zip(arm.seeds, self.folders(arm), strict=True):
                if RunFolder(run).begun:
                    require_same_run(RunFolder(run), self.recipes[arm.folder][seed], cases)

    def _conclude(self, patients: Mapping[str, str]) -> SweepResult:
        rows = best_first(
            [
                make_row(
                    arm,
                    self.folders(arm),
                    cost(arm.recipe),
                    patients,
                    epoch=self.dropped.get(arm.folder),
                    interrupted=self.stop.why is not None,
                )
                for arm in self.arms
            ]
        )
        write_text(self.folder / "table.csv", sweep_csv(rows))
        write_json(self.folder / "table.json", sweep_json(rows, self.folder))
        histories = [[History.of(run) for run in self.folders(row.arm)] for row in rows]
        write_bytes(self.folder / "curves.svg", sweep_svg(rows, histories, self.file.shown))
        best = next((row for row in rows if row.state == "done" and row.best is not None), None)
        bundle = None
        if best is not None and best.best is not None and self.stop.why is None:
            run = RunFolder(best.best)
            try:
                weights = run.models / "best.safetensors"
                bundle = build_bundle(load_recipe(run.recipe), self.folder / "bundle", weights=weights)
            except BundleError as error:  # the table is what was asked for; weights may be too large for a bundle
                self.tell(f"no bundle of the best recipe: {error}")
        return SweepResult(self.folder, rows, bundle, self.stop.why)


def _settled(run: Path, until: int | None) -> bool:
    """Whether a training has nothing left to do up to an epoch, or to its end."""
    outcome = outcome_of(run)
    return (outcome is not None and outcome.state == "out of time") or History.of(run).has_reached(until)
