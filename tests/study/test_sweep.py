"""Sweeps: the hopeless stopped, nothing done twice, failures told, a table and a bundle in the end."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from volseg.bundle.load import load_bundle
from volseg.engine.stopping import Stop
from volseg.errors import CohortError, RecipeError, UsageError
from volseg.evaluation.tables import interval_text
from volseg.recipe import Recipe
from volseg.study.arms import Arm, make_arms
from volseg.study.costs import Cost, cost
from volseg.study.history import History
from volseg.study.sweep import _Sweep, sweep
from volseg.study.sweep_file import Halving, SweepFile
from volseg.study.sweep_table import best_first, make_row
from volseg.study.trial import Pause, forget_outcome, pause_epoch
from volseg.study.workers import each_in_process, places


def rates(*values: float, **more: object) -> SweepFile:
    return SweepFile.model_validate({"grid": {"optimiser.lr": values}, **more})


def arms_of(file: SweepFile, recipe: Recipe) -> tuple[Arm, ...]:
    return make_arms(file, recipe, Path("sweep.yaml"))


@pytest.mark.slow
def test_from_recipes_to_a_bundle(tiny: Recipe, cells: Path, tmp_path: Path) -> None:
    """Two recipes, one stopped at half of its epochs; a failure is a row; resumed, nothing is trained again."""
    recipe = tiny.changed({"training.epochs": 2})
    file = rates(1e-2, 1e-5, halving={"at": (0.5,), "keep": 0.5})
    told: list[str] = []
    found = sweep(file, arms_of(file, recipe), cells, tmp_path / "out", device="cpu", tell=told.append)
    assert {row.state for row in found.rows} == {"done", "stopped early"}
    assert [row.epochs for row in sorted(found.rows, key=lambda row: row.state)] == [2, 1]
    assert found.bundle is not None
    best = next(row for row in found.rows if row.state == "done")
    assert load_bundle(found.bundle).recipe.optimiser.lr == best.arm.recipe.optimiser.lr
    assert all(row.memory is not None and row.memory > 2**20 for row in found.rows)
    table = list(csv.DictReader((tmp_path / "out" / "table.csv").read_text().splitlines()))
    assert [row["rank"] for row in table] == ["1", "2"]
    assert float(table[0]["dice"]) >= float(table[1]["dice"])
    stored = json.loads((tmp_path / "out" / "table.json").read_text())
    assert stored[0]["iou"]["mean"] < stored[0]["dice"]["mean"]
    assert (tmp_path / "out" / "curves.svg").read_text().count("lr=0.01") == 1

    with pytest.raises(UsageError, match="holds a sweep already"):
        sweep(file, arms_of(file, recipe), cells, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    again: list[str] = []
    same = sweep(file, arms_of(file, recipe), cells, tmp_path / "out", resume=True, device="cpu", tell=again.append)
    assert same.rows == found.rows
    assert not [line for line in again if "trainings" in line]
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_training_that_fails_is_a_row(tiny: Recipe, cells: Path, tmp_path: Path) -> None:
    """The others go on, in parallel too."""
    file = rates(1e-2, 1e30)
    found = sweep(file, arms_of(file, tiny), cells, tmp_path / "out", device="cpu", parallel=2)
    good, bad = found.rows
    assert (good.state, bad.state) == ("done", "failed")
    assert bad.error is not None
    assert "\n" not in bad.error
    assert found.bundle is not None


def test_the_hopeless_are_told_by_the_same_share(tiny: Recipe, tmp_path: Path, write_log: Callable[..., Path]) -> None:
    """Recipes of different lengths are compared at the same share of them, whatever came later."""
    file = SweepFile.model_validate({"grid": {"training.epochs": (4, 8)}, "halving": {"at": (0.5,), "keep": 0.5}})
    arms = arms_of(file, tiny)
    work = _Sweep(file, arms, tmp_path, tmp_path, ("cpu",), Stop(), lambda _line: None)
    short, long = (work.folders(arm)[0] for arm in arms)
    write_log(short, {1: 0.3, 2: 0.5})
    write_log(long, {1: 0.1, 2: 0.2, 3: 0.2, 4: 0.4, 8: 0.9}, finished=True)
    assert work._hopeful(arms, 0.5, 0.5) == [arms[0]]
    assert work.dropped == {arms[1].folder: 4}


def test_seeds_go_together(tiny: Recipe, tmp_path: Path, write_log: Callable[..., Path]) -> None:
    """A recipe is as good as the mean of its seeds; one without a validation is not kept."""
    file = rates(0.1, 0.2, 0.3, seeds=(0, 1))
    arms = arms_of(file, tiny.changed({"training.epochs": 4}))
    work = _Sweep(file, arms, tmp_path, tmp_path, ("cpu",), Stop(), lambda _line: None)
    for arm, values in zip(arms, ((0.9, 0.1), (0.6, 0.5), (0.9, None)), strict=True):
        for run, value in zip(work.folders(arm), values, strict=True):
            write_log(run, {} if value is None else {2: value})
    assert work._hopeful(arms, 0.5, 0.5) == [arms[1]]


def test_what_failed_does_not_go_on(tiny: Recipe, tmp_path: Path, write_log: Callable[..., Path]) -> None:
    """However well it did before, and whether it could tell or was killed."""
    file = rates(0.1, 0.2, 0.3)
    arms = arms_of(file, tiny.changed({"training.epochs": 4}))
    work = _Sweep(file, arms, tmp_path, tmp_path, ("cpu",), Stop(), lambda _line: None)
    first, second, third = (work.folders(arm)[0] for arm in arms)
    write_log(first, {1: 0.9})
    forget_outcome(first)
    write_log(second, {1: 0.4, 2: 0.5})
    write_log(third, {1: 0.8})
    (third / "trial.json").write_text('{"state": "failed", "error": "the loss is not finite"}')
    assert work._hopeful(arms, 0.5, 0.5) == [arms[1]]
    states = [make_row(arm, work.folders(arm), Cost(1, 2), {}, epoch=None).state for arm in arms]
    assert states == ["failed", "done", "failed"]


def test_a_killed_training_is_no_result(tmp_path: Path, tiny: Recipe, write_log: Callable[..., Path]) -> None:
    """Unless its log tells that it had come to its end."""
    arm = Arm("x", None, {}, tiny)
    for finished, state in ((False, "failed"), (True, "done")):
        run = write_log(tmp_path / str(finished), {1: 0.5}, finished=finished)
        forget_outcome(run)
        row = make_row(arm, [run], Cost(1, 2), {}, epoch=None)
        assert row.state == state
        assert ("ended from outside" in (row.error or "")) is not finished


def test_seeds_are_varied_in_one_place(tiny: Recipe) -> None:
    """Named for all recipes, or as one of the keys; without either a recipe keeps its own."""
    own = tiny.changed({"training.seed": 7})
    assert [arm.seeds for arm in arms_of(rates(0.1), own)] == [(7,)]
    assert [arm.seeds for arm in arms_of(rates(0.1, seeds=(1, 2)), own)] == [(1, 2)]
    varied = SweepFile.model_validate({"grid": {"training.seed": (3, 4)}})
    assert [arm.seeded(seed).training.seed for arm in arms_of(varied, own) for seed in arm.seeds] == [3, 4]
    with pytest.raises(RecipeError, match=r"training\.seed varies, and seeds are named too"):
        arms_of(varied.model_copy(update={"seeds": (0,)}), own)


def test_a_row_tells_dice_iou_and_seeds(tiny: Recipe, tmp_path: Path, write_log: Callable[..., Path]) -> None:
    """Means over cases with seeds averaged, intervals over patients, the best seed's run."""
    runs = [
        write_log(tmp_path / "0", {1: 0.5, 2: 0.7}, finished=True),
        write_log(tmp_path / "1", {1: 0.6, 2: 0.4}, finished=True),
    ]
    arm = Arm("x", None, {}, tiny)
    row = make_row(arm, runs, Cost(1, 2), {"a": "p", "b": "q"}, epoch=None)
    assert row.dice.mean == pytest.approx(0.65)
    assert (row.dice.n, row.dice.patients, row.seeds) == (2, 2, 2)
    overlaps = [0.75 / 1.25, 0.65 / 1.35, 0.65 / 1.35, 0.55 / 1.45]
    assert row.iou.mean == pytest.approx(np.mean(overlaps))
    assert row.spread == pytest.approx(np.std([0.7, 0.6], ddof=1))
    assert (row.best, row.state, row.seconds) == (runs[0], "done", 4.0)
    early = make_row(arm, runs, Cost(1, 2), {}, epoch=1)
    assert (early.state, early.dice.mean) == ("stopped early", pytest.approx(0.55))
    empty = make_row(arm, [tmp_path / "none"], Cost(1, 2), {}, epoch=None, interrupted=True)
    assert (empty.state, empty.best, interval_text(empty.dice, 2)) == ("interrupted", None, "-")
    assert best_first([empty, early, row]) == (row, early, empty)


def test_a_training_pauses_at_its_validation() -> None:
    """Not before the epoch, and only where Dice was measured."""
    pause = Pause(3)
    for epoch, dice in ((1, 0.1), (2, 0.2), (3, None)):
        pause({"event": "epoch", "epoch": epoch, "dice": dice})
        assert pause.why is None
    pause({"event": "epoch", "epoch": 4, "dice": 0.3})
    assert pause.why == "it pauses here"
    assert not pause.interrupted


def test_half_of_a_log_line_is_no_harm(tmp_path: Path, write_log: Callable[..., Path]) -> None:
    """What a killed training left is read as far as it goes."""
    run = write_log(tmp_path / "r", {1: 0.5})
    with (run / "log.jsonl").open("a") as file:
        file.write('{"event": "valid')
    history = History.of(run)
    assert (history.epoch, history.finished, history.has_reached(1), history.has_reached(2)) == (1, False, True, False)


def test_cases_to_validate_on_are_needed(tiny: Recipe, cells: Path, tmp_path: Path) -> None:
    """Before anything is trained: a fold that is there, and cases in it."""
    file = rates(0.1, fold=2)
    with pytest.raises(UsageError, match="there is no fold 2"):
        sweep(file, arms_of(file, tiny), cells, tmp_path / "out")
    table = tmp_path / "cases.csv"
    images = sorted((cells / "images").iterdir())
    rows = [f"{image},{cells / 'instances' / image.name},train" for image in images]
    table.write_text("\n".join(["image,instances,split", *rows]))
    file = rates(0.1)
    with pytest.raises(CohortError, match="no case is left to validate on"):
        sweep(file, arms_of(file, tiny), table, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_signal_ends_a_sweep_before_the_next_training(tiny: Recipe, cells: Path, tmp_path: Path) -> None:
    """Nothing is begun any more, and the table says so."""
    stop = Stop()
    stop._signal = signal.SIGINT
    file = rates(1e-2)
    found = sweep(file, arms_of(file, tiny), cells, tmp_path / "out", stop=stop)
    assert found.interrupted == "stopped by SIGINT"
    assert [row.state for row in found.rows] == ["interrupted"]
    assert found.bundle is None


def note(job: Path, device: str) -> None:
    if job.name == "dies":
        signal.raise_signal(signal.SIGKILL)
    job.write_text(device)


@pytest.mark.slow
def test_a_process_that_dies_costs_only_itself(tmp_path: Path) -> None:
    """Each job comes back once, with or without its result."""
    jobs = [tmp_path / name for name in ("a", "dies", "b")]
    assert sorted(each_in_process(note, jobs, places("cpu", 2), Stop())) == sorted(jobs)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "cpu", "b": "cpu"}


def test_costs_are_those_of_the_network(tiny: Recipe) -> None:
    """Parameters counted, and operations of the first convolution by hand."""
    from volseg.engine import compose

    network = compose.build(compose.network_part(tiny))
    found = cost(tiny)
    assert found.parameters == sum(p.numel() for p in network.parameters())
    assert found.operations > 2 * 9 * 4 * 32 * 32
    doubled = cost(tiny.changed({"training.patch": [64, 64]}))
    assert doubled.operations == 4 * found.operations


def test_pauses_are_shares_of_the_epochs(tiny: Recipe) -> None:
    """Rounded up, and never before the first epoch."""
    of = {share: pause_epoch(tiny.changed({"training.epochs": 7}), share) for share in (0.01, 0.5, 0.99)}
    assert of == {0.01: 1, 0.5: 4, 0.99: 7}
    assert Halving().at == (0.25, 0.5)


def test_the_verb(tiny: Recipe, tmp_path: Path) -> None:
    """The recipes with their costs before anything is trained; a mistake is told with its place."""
    from typer.testing import CliRunner

    from volseg.cli.app import app
    from volseg.recipe import dump_recipe

    (tmp_path / "base.yaml").write_text(dump_recipe(tiny))
    (tmp_path / "sweep.yaml").write_text("recipe: base.yaml\ngrid: {optimiser.lr: [1e-2, 1e-3]}\n")
    words = ["sweep", *map(str, (tmp_path / "sweep.yaml", "-d", tmp_path, "-o", tmp_path / "out")), "--dry-run"]
    dry = CliRunner().invoke(app, words)
    assert dry.exit_code == 0
    assert [line.split()[:2] for line in dry.stdout.splitlines()[1:]] == [["lr=0.01", "1,714"], ["lr=0.001", "1,714"]]
    costs = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert [(row["recipe"], row["parameters"]) for row in costs] == [("lr=0.01", 1714), ("lr=0.001", 1714)]
    wrong = CliRunner().invoke(app, [*words, "--set", "training.epohcs=3"])
    assert isinstance(wrong.exception, RecipeError)
    assert "did you mean 'epochs'?" in str(wrong.exception)
    assert not (tmp_path / "out").exists()
