"""Evaluations: exact figures on masks made by hand, cohort figures, and cases that cannot be scored."""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from volseg.errors import CohortError, LabelError, UsageError
from volseg.evaluation import evaluate, evaluation_csv, evaluation_json, scoring
from volseg.evaluation.scoring import CaseResult, Scoring
from volseg.geometry import Grid
from volseg.io import read_labels, write_labels, write_volume
from volseg.labels import Labels
from volseg.metrics import EmptyPolicy, bootstrap_mean

INSIDE = slice(1, 3)
CUBE, SHIFTED = (INSIDE, INSIDE, INSIDE), (slice(2, 4), INSIDE, INSIDE)
DIAGONAL = math.sqrt(4**2 + 4**2 + 8**2)
Lay = Callable[..., Path]


def test_the_figures_of_a_shifted_cube_are_exact(lay: Lay) -> None:
    """A cube of 2x2x2 voxels moved by one voxel of 1 mm: every measure worked out by hand."""
    found = evaluate(lay("p", {"a.nii.gz": {1: SHIFTED}}), lay("g", {"a.nii.gz": {1: CUBE}}), tolerance=0.5)
    (score,) = found["a"].scores
    assert score.structure == "label 1"
    assert score.dice == 0.5
    assert score.iou == pytest.approx(1 / 3)
    assert (score.hd, score.hd95, score.assd, score.surface_dice) == (1.0, 1.0, 0.5, 0.5)
    assert (score.prediction_voxels, score.truth_voxels) == (8, 8)
    assert (score.truth_ml, score.difference_ml, score.difference_percent) == (0.016, 0.0, 0.0)
    assert found.complete


def test_a_missed_structure_is_the_worst_value_and_no_gap(lay: Lay) -> None:
    """Nothing predicted where something is: Dice 0, distances the field of view's diagonal, in the mean as such."""
    truths = lay("g", {"a.nii.gz": {1: CUBE}, "b.nii.gz": {1: CUBE}})
    found = evaluate(lay("p", {"a.nii.gz": {}, "b.nii.gz": {1: CUBE}}), truths)
    (missed,) = found["a"].scores
    assert (missed.dice, missed.surface_dice, missed.hd95) == (0.0, 0.0, pytest.approx(DIAGONAL))
    (summary,) = found.structures
    assert summary.means["dice"].mean == 0.5
    assert summary.means["hd95"].mean == pytest.approx(DIAGONAL / 2)
    assert (summary.missed, summary.invented, summary.means["dice"].not_applicable) == (1, 0, 0)


def test_an_invented_structure_is_the_worst_value_too(lay: Lay) -> None:
    """Something predicted where nothing is counts as Dice 0; where both are empty nothing applies, and is counted."""
    truths = lay("g", {"a.nii.gz": {1: CUBE}, "b.nii.gz": {}, "c.nii.gz": {}})
    found = evaluate(lay("p", {"a.nii.gz": {1: CUBE}, "b.nii.gz": {1: CUBE}, "c.nii.gz": {}}), truths)
    (summary,) = found.structures
    assert (summary.means["dice"].mean, summary.means["dice"].not_applicable, summary.invented) == (0.5, 1, 1)
    assert math.isnan(found["c"].scores[0].dice)
    perfect = evaluate(lay("p", {}), truths, policy=EmptyPolicy(both="perfect"))
    assert perfect.mean["dice"] == pytest.approx(2 / 3)


def test_the_mean_is_over_cases_then_over_structures(lay: Lay) -> None:
    """A structure that is in few cases weighs as much as one that is in all, as nnU-Net has it."""
    low = (slice(0, 1),) * 3
    truths = lay("g", {"a.nii.gz": {1: CUBE, 2: low}, "b.nii.gz": {1: CUBE}, "c.nii.gz": {1: CUBE}})
    made = lay("p", {"a.nii.gz": {1: CUBE}, "b.nii.gz": {1: CUBE}, "c.nii.gz": {1: CUBE}})
    found = evaluate(made, truths)
    assert found.mean["dice"] == 0.5  # label 1: 1, label 2: 0; the mean over the four figures would be 0.75


def test_worst_cases_come_first(lay: Lay) -> None:
    """Failed cases, then the lowest Dice; a case with nothing to find comes last."""
    truths = {"good.nii.gz": {1: CUBE}, "bad.nii.gz": {1: CUBE}, "empty.nii.gz": {}, "gone.nii.gz": {1: CUBE}}
    made = {"good.nii.gz": {1: CUBE}, "bad.nii.gz": {1: SHIFTED}, "empty.nii.gz": {}}
    found = evaluate(lay("p", made), lay("g", truths))
    assert [case.case for case in found.worst_first()] == ["gone", "bad", "good", "empty"]
    assert [case["case"] for case in evaluation_json(found)["cases"]] == ["gone", "bad", "good", "empty"]


def test_a_truth_without_a_prediction_fails_unless_the_rest_is_asked_for(lay: Lay) -> None:
    """It is a failed case by default; ``partial`` leaves it out and names it."""
    truths = lay("g", {"a.nii.gz": {1: CUBE}, "b.nii.gz": {1: CUBE}})
    made = lay("p", {"a.nii.gz": {1: CUBE}, "c.nii.gz": {1: CUBE}})
    found = evaluate(made, truths)
    assert [case.error for case in found.failed] == ["b: has no prediction"]
    assert not found.complete
    assert found.extra == ("c",)
    assert found.notes == ("1 truth without a prediction: b", "1 prediction without a truth: c")
    some = evaluate(made, truths, partial=True)
    assert (some.complete, some.unasked, len(some.cases)) == (True, ("b",), 1)


def test_one_bad_case_stops_no_other(lay: Lay) -> None:
    """Damaged files on either side and a foreign label each have their line, with no folder above the data."""
    boxes = {f"{name}.nii.gz": {1: CUBE} for name in "abcd"}
    truths, made = lay("g", boxes), lay("p", {**boxes, "c.nii.gz": {7: CUBE}})
    for file in (made / "a.nii.gz", truths / "b.nii.gz"):
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    found = evaluate(made, truths)
    assert [case.case for case in found.scored] == ["d"]
    assert found.mean["dice"] == 1.0
    errors = {case.case: case.error for case in found.failed}
    assert errors["a"].startswith("prediction a.nii.gz: ")
    assert errors["b"].startswith("truth b.nii.gz: ")
    assert errors["c"] == "prediction c.nii.gz: holds the label value 7, declared are 0, 1"
    assert str(made.parent) not in json.dumps(evaluation_json(found))


@pytest.mark.parametrize("labels", [None, Labels.of({"cube": 1})])
def test_spacings_are_judged_by_what_is_allowed(lay: Lay, labels: Labels | None) -> None:
    """Voxels of a micrometre are refused as a wrong unit, and scored where they are meant."""
    fine = Grid.from_spacing((4, 4, 4), (0.001,) * 3)
    truths, made = lay("g", {"a.nii.gz": {1: CUBE}}, fine), lay("p", {"a.nii.gz": {1: SHIFTED}}, fine)
    with pytest.raises(LabelError, match=r"outside .* mm") if labels is None else nullcontext():
        (refused,) = evaluate(made, truths, labels=labels).failed
        assert "allow such spacings" in refused.error
    found = evaluate(made, truths, labels=labels, spacing_range=(1e-6, 1000))
    assert found["a"].scores[0].dice == 0.5


@pytest.mark.parametrize("labels", [None, Labels.of({"cube": 1})])
def test_headers_of_truths_are_taken_for_what_is_said(lay: Lay, labels: Labels | None) -> None:
    """A truth without orientation is scored where somebody says that it is right-anterior-superior."""
    grid = Grid.from_spacing((4, 4, 4), (1.0,) * 3)
    truths, made = lay("g", {"a.nii.gz": {1: CUBE}}, grid), lay("p", {"a.nii.gz": {1: CUBE}}, grid)
    whole = nib.load(truths / "a.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(whole.dataobj), None), truths / "a.nii.gz")
    with pytest.raises(LabelError) if labels is None else nullcontext():
        (refused,) = evaluate(made, truths, labels=labels).failed
        assert "does not say where left and right are" in str(refused.error)
    assert evaluate(made, truths, labels=labels, reading={"assume_ras": True})["a"].scores[0].dice == 1


def test_another_grid_is_refused_or_resampled_when_asked(lay: Lay, tmp_path: Path) -> None:
    """A prediction of half the resolution is a failed case with the mend; with ``resample`` it is scored and said."""
    fine = Grid.from_spacing((8, 8, 8), (1.0, 1.0, 1.0))
    truths = lay("g", {"a.nii.gz": {1: (slice(2, 6),) * 3}}, fine)
    coarse = fine.resampled((2.0, 2.0, 2.0))
    made = lay("p", {"a.nii.gz": {1: (INSIDE,) * 3}}, coarse)
    refused = evaluate(made, truths)
    (case,) = refused.failed
    assert case.error == (
        "prediction a.nii.gz: prediction's grid and truth's differ in shape: (4, 4, 4) and (8, 8, 8); "
        "volseg evaluate --resample brings the prediction onto the truth's grid"
    )
    found = evaluate(made, truths, resample=True)
    assert found["a"].scores[0].dice == 1.0
    assert found["a"].notes == ("prediction resampled onto the truth's grid from 4x4x4 voxels of 2x2x2 mm",)


def test_a_slice_is_no_volume_even_resampled(lay: Lay) -> None:
    """What cannot be brought onto the truth's grid is that case's line, and with no case left nothing has a mean."""
    flat = Grid.from_spacing((4, 4), (1.0, 1.0))
    truths = lay("g", {"a.nii.gz": {1: CUBE}})
    found = evaluate(lay("p", {"a.nii.gz": {1: CUBE[:2]}}, flat), truths, resample=True, compare=truths)
    assert [case.error for case in found.failed] == ["a: a 2-D label map cannot be brought onto a 3-D grid"]
    assert math.isnan(found.mean["dice"])
    assert found.comparison is not None
    assert found.comparison.left_out == ("a",)
    told = json.loads(json.dumps(evaluation_json(found), allow_nan=False))
    assert told["structures"]["label 1"]["dice"]["n"] == 0
    assert told["comparison"]["first_less_second"]["label 1"]["dice"]["p_value"] is None


def test_values_come_from_the_whole_cohort(lay: Lay) -> None:
    """A structure that one truth only holds is scored in every case, so that inventing it elsewhere costs."""
    low = (slice(0, 1),) * 3
    truths = lay("g", {"a.nii.gz": {1: CUBE, 5: low}, "b.nii.gz": {1: CUBE}})
    found = evaluate(lay("p", {"a.nii.gz": {1: CUBE, 5: low}, "b.nii.gz": {1: CUBE, 5: low}}), truths)
    assert found.labels.names == ("label 1", "label 5")
    assert found["b"]["label 5"].dice == 0.0
    assert found["b"]["label 5"].invented


def test_regions_and_the_ignore_value_are_the_recipes(lay: Lay) -> None:
    """A region is scored as the union of its structures; voxels without truth do not count."""
    labels = Labels.of({"left": 1, "right": 2}, ignore=9, regions={"both": ["left", "right"]})
    boxes = {1: (slice(0, 2), slice(None), slice(None)), 2: (slice(2, 3), slice(None), slice(None))}
    truths = lay("g", {"a.nii.gz": {**boxes, 9: (slice(3, 4), slice(None), slice(None))}})
    made = lay("p", {"a.nii.gz": {2: (slice(0, 4), slice(None), slice(None))}})
    found = evaluate(made, truths, labels=labels)
    assert [score.structure for score in found["a"].scores] == ["left", "right", "both"]
    assert found["a"]["both"].dice == 1.0
    assert found["a"]["right"].dice == pytest.approx(2 * 16 / (48 + 16))
    assert found.mean["dice"] == pytest.approx(0.25)  # regions are no structures of their own


def test_instance_maps_are_scored_as_their_structure(tmp_path: Path) -> None:
    """Objects told apart in the truth are one structure for Dice; a prediction may tell them apart or not."""
    truth = np.zeros((20, 20), np.uint16)
    truth[2:6, 2:6], truth[10:14, 10:14] = 300, 301
    grid = Grid.from_spacing(truth.shape, (1.0, 1.0))
    for folder in ("data/images", "data/instances", "p"):
        (tmp_path / folder).mkdir(parents=True)
    write_volume(tmp_path / "data/images/a.png", np.arange(400, dtype=np.uint8).reshape(20, 20), grid)
    write_labels(tmp_path / "data/instances/a.png", truth, grid)
    write_labels(tmp_path / "p/a.png", truth > 0, grid)
    found = evaluate(tmp_path / "p", tmp_path / "data")
    assert found["a"].scores[0].dice == 1.0
    assert math.isnan(found["a"].scores[0].truth_ml)
    with pytest.raises(LabelError, match="instance maps, and 2 structures"):
        evaluate(tmp_path / "p", tmp_path / "data", labels=Labels.of({"a": 1, "b": 2}))


def test_images_in_place_of_truths_are_refused(lay: Lay, tmp_path: Path) -> None:
    """Hundreds of values are no structures: the folder was the wrong one."""
    (tmp_path / "g").mkdir()
    grid = Grid.from_spacing((10, 10, 10), (1, 1, 1))
    write_volume(tmp_path / "g/a.nii.gz", np.arange(1000, dtype=np.int16).reshape(grid.shape), grid)
    with pytest.raises(LabelError, match="999 different values: these look like images"):
        evaluate(lay("p", {"a.nii.gz": {1: CUBE}}), tmp_path / "g")


def test_nothing_in_common_is_an_error(lay: Lay) -> None:
    """When no name of a prediction is a truth's, both sides are shown."""
    with pytest.raises(CohortError, match="no prediction has the name of a truth: a here, b in"):
        evaluate(lay("p", {"a.nii.gz": {1: CUBE}}), lay("g", {"b.nii.gz": {1: CUBE}}))


@pytest.mark.parametrize("tolerance", [-1.0, math.nan, math.inf])
def test_a_tolerance_is_a_length(lay: Lay, tolerance: float) -> None:
    """A tolerance that is no length is refused before anything is read."""
    with pytest.raises(UsageError, match="tolerance"):
        evaluate(lay("p", {"a.nii.gz": {}}), lay("g", {"a.nii.gz": {}}), tolerance=tolerance)


def test_perfect_predictions_are_perfect(hearts: Path, predicted: Callable[..., Path]) -> None:
    """Phantom hearts against themselves: Dice 1, distance 0, in the layout of the challenge."""
    found = evaluate(predicted("p", lambda array: array), hearts)
    assert len(found.scored) == 6
    for key, value in found.mean.items():
        assert value == (1.0 if key in ("dice", "iou", "surface_dice") else 0.0)


def test_intervals_are_over_patients(hearts: Path, predicted: Callable[..., Path]) -> None:
    """The two moments of a heart are one patient's: the interval is that of three patients, not of six cases."""
    found = evaluate(predicted("p"), hearts)
    interval = found.structures[0].means["dice"]
    assert (interval.n, interval.patients) == (6, 3)
    values, patients = zip(*((case.scores[0].dice, case.patient) for case in found.cases), strict=True)
    assert interval == bootstrap_mean(values, patients)


def test_two_predictions_are_compared_pair_by_pair(hearts: Path, predicted: Callable[..., Path]) -> None:
    """The prediction that is off by less is better in every structure, with the sign that says so."""
    near, far = predicted("near"), predicted("far", lambda array: np.roll(array, 3, axis=0))
    comparison = evaluate(near, hearts, compare=far).comparison
    assert comparison is not None
    assert (len(comparison.cases), comparison.left_out) == (6, ())
    for measured in comparison.structures.values():
        assert measured["dice"].difference.low > 0
        assert measured["hd95"].difference.high < 0
        assert measured["dice"].p_value == 0.25  # three patients, all of one sign: 2 / 2**3
    assert comparison.first["dice"] > comparison.second["dice"]
    same = evaluate(near, hearts, compare=near).comparison
    assert same is not None
    assert {c["dice"].p_value for c in same.structures.values()} == {1.0}


def test_a_case_that_one_prediction_failed_is_compared_in_neither(lay: Lay) -> None:
    """The comparison is of cases that both have, and says which those are not."""
    truths = lay("g", {f"{n}.nii.gz": {1: CUBE} for n in "abc"})
    one = lay("one", {f"{n}.nii.gz": {1: CUBE} for n in "abc"})
    two = lay("two", {"a.nii.gz": {1: SHIFTED}, "b.nii.gz": {4: CUBE}})
    found = evaluate(one, truths, compare=two)
    assert found.comparison is not None
    assert (found.comparison.cases, found.comparison.left_out) == (("a",), ("b", "c"))
    assert set(found.comparison.errors) == {"b", "c"}
    assert not found.failed
    assert not found.complete
    assert found.comparison.structures["label 1"]["dice"].difference.mean == 0.5


def test_infinite_distances_are_not_compared(lay: Lay) -> None:
    """They have no mean difference: refused before the work."""
    folder = lay("g", {"a.nii.gz": {1: CUBE}})
    with pytest.raises(UsageError, match="infinite"):
        evaluate(folder, folder, compare=folder, policy=EmptyPolicy(missed="infinite"))


def test_json_is_strict(lay: Lay) -> None:
    """NaN is null and infinity is a text, so that any reader of JSON takes it."""
    truths = lay("g", {"a.nii.gz": {1: CUBE}, "b.nii.gz": {}})
    found = evaluate(lay("p", {"a.nii.gz": {}, "b.nii.gz": {}}), truths, policy=EmptyPolicy(missed="infinite"))
    text = json.dumps(evaluation_json(found), allow_nan=False)
    told = json.loads(text)
    assert told["structures"]["label 1"]["hd95"]["mean"] == "Infinity"
    assert {case["case"]: case["mean_dice"] for case in told["cases"]} == {"a": 0.0, "b": None}


def test_csv_has_a_row_for_each_case_and_structure(lay: Lay) -> None:
    """Failed cases have a row too, and what does not apply is empty."""
    truths = lay("g", {"a.nii.gz": {1: CUBE}, "b.nii.gz": {}, "c.nii.gz": {1: CUBE}})
    head, *rows = evaluation_csv(evaluate(lay("p", {"a.nii.gz": {1: CUBE}, "b.nii.gz": {}}), truths)).splitlines()
    assert head.startswith("case,patient,structure,dice,iou,hd,hd95,assd,surface_dice,")
    assert rows[0].startswith("a,a,label 1,1.0,1.0,0.0,0.0,0.0,1.0,8,8,")
    assert rows[1].startswith("b,b,label 1,,,,,,,0,0,")
    assert rows[2] == "c,c" + "," * (head.count(",") - 1) + "c: has no prediction"


def test_the_order_of_files_changes_nothing(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same text whatever order the file system lists in, and whatever number of processes works."""
    boxes = {f"p{k}_frame{f}.nii.gz": {1: SHIFTED if (k + f) % 3 else CUBE} for k in range(1, 12) for f in (1, 2)}
    truths, made = lay("g", {name: {1: CUBE} for name in boxes}), lay("p", boxes)
    expected = json.dumps(evaluation_json(evaluate(made, truths)))
    scandir = os.scandir

    class Shuffled:
        def __init__(self, folder: Path) -> None:
            with scandir(folder) as entries:
                self.entries = list(entries)
            random.Random(1).shuffle(self.entries)

        def __enter__(self) -> object:
            return iter(self.entries)

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr("volseg.data.cohort.listing.os.scandir", Shuffled)
    assert json.dumps(evaluation_json(evaluate(made, truths))) == expected


def dying(pair: object) -> CaseResult:
    if pair.name == "b":
        os._exit(9)
    return CaseResult(pair.name, "x")


def test_processes_change_nothing_and_a_crash_costs_one_case(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scored in processes the figures are the same; a case that ends its process is that case's failure."""
    names = {f"{n}.nii.gz": {1: CUBE} for n in "abc"}
    truths, made = lay("g", names), lay("p", {n: {1: SHIFTED} for n in names})
    assert evaluation_json(evaluate(made, truths, processes=2)) == evaluation_json(evaluate(made, truths))
    whole = Scoring.__call__

    def crashing(self: Scoring, pair: object) -> CaseResult:
        return dying(pair) if pair.name == "b" else whole(self, pair)

    monkeypatch.setattr(scoring.Scoring, "__call__", crashing)
    fork = __import__("multiprocessing").get_context("fork")
    monkeypatch.setattr("volseg.data.apart.get_context", lambda _: fork)
    found = evaluate(made, truths, labels=Labels.of({"cube": 1}), processes=1)
    assert [case.error for case in found.failed] == ["b: scoring it ended the process; leave it out"]
    assert [case.case for case in found.scored] == ["a", "c"]


def test_real_truths_against_themselves(real_data: Path) -> None:
    """Published ACDC truths, held against themselves: Dice 1 in every structure of every case."""
    folder = real_data / "acdc"
    patients = sorted(p for p in (folder / "training").iterdir() if p.is_dir())[:3]
    for patient in patients:
        found = evaluate(patient, patient)
        assert len(found.scored) == 2
        assert not found.failed
        assert found.mean["dice"] == found.mean["surface_dice"] == 1.0
        assert {case.patient for case in found.cases} == {patient.name}
        truth = next(patient.glob("*_gt.nii.gz"))
        assert found[truth.name.removesuffix("_gt.nii.gz")].scores[0].truth_voxels == np.count_nonzero(
            read_labels(truth).array == 1
        )
