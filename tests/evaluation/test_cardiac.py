"""Hearts of known volume: figures worked out by hand, both ends of the beat, and the agreement with the truth."""

from __future__ import annotations

import csv
import io
import json
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from volseg.data.phantom import patient
from volseg.errors import CohortError, LabelError, UsageError
from volseg.evaluation.bland_altman import bland_altman_svg
from volseg.evaluation.cardiac import QUANTITIES, cardiac_csv, cardiac_json, measure_hearts
from volseg.evaluation.hearts import Roles
from volseg.geometry import Grid
from volseg.io import write_labels, write_volume
from volseg.labels import Labels

# a voxel of 2 x 2 x 25 mm is 0.1 ml
GRID = Grid.from_spacing((10, 10, 10), (2.0, 2.0, 25.0))
Stack = Callable[..., None]


@pytest.fixture
def stack() -> Stack:
    """Write a mask with so many voxels of the right ventricle, the myocardium and the left ventricle."""

    def write(path: Path, right: int, muscle: int, left: int, values: tuple[int, int, int] = (1, 2, 3)) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        flat = np.zeros(1000, np.uint8)
        flat[: right + muscle + left] = np.repeat(values, (right, muscle, left))
        write_labels(path, flat.reshape(GRID.shape), GRID)

    return write


def by_hand(stack: Stack, folder: Path, name: str, *, wrong: int = 0) -> None:
    """A heart whose left ventricle goes from 20 to 8 ml, the right one from 15 to 9, with 30 ml of muscle."""
    stack(folder / name / f"{name}_frame02.nii.gz", 150, 300, 200 + wrong)
    stack(folder / name / f"{name}_frame09.nii.gz", 90, 310, 80)


def test_figures_by_hand(tmp_path: Path, stack: Stack) -> None:
    """EDV, ESV, SV, EF of both ventricles and the mass at ED, from counted voxels; the ends are told by Info.cfg."""
    by_hand(stack, tmp_path, "p1")
    (tmp_path / "p1/Info.cfg").write_text("ED: 2\nES: 9\nGroup: NOR\n")
    study = measure_hearts(tmp_path)
    (heart,) = study.hearts
    assert heart.predicted is not None
    assert (heart.patient, heart.group, heart.notes) == ("p1", "NOR", ())
    assert (heart.predicted.diastole, heart.predicted.systole) == ("p1_frame02", "p1_frame09")
    assert heart.predicted.function.to_dict() == pytest.approx(
        {
            "lv_edv_ml": 20.0,
            "lv_esv_ml": 8.0,
            "lv_sv_ml": 12.0,
            "lv_ef_percent": 60.0,
            "rv_edv_ml": 15.0,
            "rv_esv_ml": 9.0,
            "rv_sv_ml": 6.0,
            "rv_ef_percent": 40.0,
            "myocardial_mass_g": 31.5,
        }
    )
    assert not study.agreement


def test_info_is_believed_over_the_order_of_frames(tmp_path: Path, stack: Stack) -> None:
    """ED is not always the first frame; a left ventricle that is larger at ES is told, not mended."""
    by_hand(stack, tmp_path, "p1")
    (tmp_path / "p1/Info.cfg").write_text("ED: 9\nES: 2\n")
    (heart,) = measure_hearts(tmp_path).hearts
    assert heart.predicted is not None
    assert heart.predicted.function.left.edv_ml == pytest.approx(8.0)
    assert "prediction: the left ventricle is not smaller at ES than at ED" in heart.notes


def test_info_beside_the_truths_serves_the_predictions(tmp_path: Path, stack: Stack) -> None:
    """A folder of masks alone needs no Info.cfg of its own: the truths', or that of another folder, will do."""
    by_hand(stack, tmp_path / "p", "p1", wrong=10)
    for frame in ("frame02", "frame09"):
        stack(tmp_path / f"g/p1/p1_{frame}_gt.nii.gz", 150, 300, 200 if frame == "frame02" else 80)
        write_volume(tmp_path / f"g/p1/p1_{frame}.nii.gz", np.zeros(GRID.shape, np.int16), GRID)
    (tmp_path / "g/p1/Info.cfg").write_text("ED: 2\nES: 9\n")
    (heart,) = measure_hearts(tmp_path / "p", tmp_path / "g").hearts
    assert heart.predicted is not None
    assert heart.true is not None
    assert (heart.predicted.phases, heart.predicted.function.left.edv_ml) == ("told", pytest.approx(21.0))
    assert heart.true.function.left.edv_ml == pytest.approx(20.0)
    (alone,) = measure_hearts(tmp_path / "p", info=tmp_path / "g").hearts
    assert alone.predicted == heart.predicted


def test_info_is_believed_in_the_layout_of_nnunet(tmp_path: Path, stack: Stack) -> None:
    """Truths in ``labelsTr/``, whose names tell the frames: Info.cfg from elsewhere finds both ends among them."""
    by_hand(stack, tmp_path / "p", "patient1")
    for frame, left in ((2, 200), (9, 80)):
        name = f"patient1_frame{frame:02d}"
        stack(tmp_path / "g/labelsTr" / f"{name}.nii.gz", 90, 310, left)
        stack(tmp_path / "g/imagesTr" / f"{name}_0000.nii.gz", 0, 0, 0)
    info = tmp_path / "acdc/patient1/Info.cfg"
    info.parent.mkdir(parents=True)
    info.write_text("ED: 2\nES: 9\n")
    (heart,) = measure_hearts(tmp_path / "p", tmp_path / "g", info=tmp_path / "acdc").hearts
    assert heart.error is None
    assert heart.true is not None
    assert (heart.true.diastole, heart.true.systole, heart.true.phases) == (
        "patient1_frame02",
        "patient1_frame09",
        "told",
    )


def test_the_ends_are_found_by_volume_in_a_cine(tmp_path: Path, stack: Stack) -> None:
    """Frames of a cine, a file each: the largest and the smallest left ventricle, with a note that says so."""
    for k, left in enumerate((180, 200, 120, 80, 150)):
        stack(tmp_path / f"p1_4d_t{k:03d}.nii.gz", left // 2, 300, left)
    (heart,) = measure_hearts(tmp_path).hearts
    assert heart.predicted is not None
    assert heart.patient == "p1"
    assert (heart.predicted.diastole, heart.predicted.systole) == ("p1_4d_t001", "p1_4d_t003")
    assert heart.predicted.function.left.ef_percent == pytest.approx(60.0)
    assert heart.notes == ("prediction: ED and ES found by the left ventricle's volume among 5 frames",)


def test_a_mask_of_four_dimensions_is_its_frames(tmp_path: Path) -> None:
    """One 4-D file of a predicted cine measures as its frames do; Info.cfg counts them from 1."""
    beat = np.zeros((*GRID.shape, 4), np.uint8)
    for k, left in enumerate((18, 20, 8, 14)):
        beat.reshape(-1, 4)[:left, k] = 3
        beat.reshape(-1, 4)[left : left + 30, k] = 2
    (tmp_path / "p1").mkdir()
    write_volume(tmp_path / "p1/p1_cine.nii.gz", beat, GRID)
    (heart,) = measure_hearts(tmp_path).hearts
    assert heart.predicted is not None
    assert (heart.predicted.diastole, heart.predicted.systole) == ("p1/p1_cine_t001", "p1/p1_cine_t002")
    (tmp_path / "p1/Info.cfg").write_text("ED: 1\nES: 3\n")
    (heart,) = measure_hearts(tmp_path).hearts
    assert heart.predicted is not None
    assert heart.predicted.function.left.edv_ml == pytest.approx(1.8)
    assert heart.predicted.phases == "told"


def test_names_may_tell_the_moment(tmp_path: Path, stack: Stack) -> None:
    """Files that end with _ED and _ES need no Info.cfg."""
    stack(tmp_path / "anna_ED.nii.gz", 100, 300, 150)
    stack(tmp_path / "anna_ES.nii.gz", 50, 300, 60)
    (heart,) = measure_hearts(tmp_path).hearts
    assert heart.predicted is not None
    assert (heart.patient, heart.predicted.phases) == ("anna", "told")
    assert heart.predicted.function.left.ef_percent == pytest.approx(60.0)


def test_roles_by_value_and_by_name(tmp_path: Path, stack: Stack) -> None:
    """Other tasks number the structures otherwise; a recipe's names will do, and more structures than three."""
    stack(tmp_path / "a_ED.nii.gz", 150, 300, 200, values=(5, 2, 1))
    stack(tmp_path / "a_ES.nii.gz", 90, 300, 80, values=(5, 2, 1))
    by_value = measure_hearts(tmp_path, roles=Roles.of("1", "5", "2")).hearts[0]
    labels = Labels.of({"LV": 1, "wall": 2, "RV": 5, "atrium": 4})
    by_name = measure_hearts(tmp_path, roles=Roles.of("LV", "5", "wall", labels)).hearts[0]
    assert by_value.predicted is not None
    assert by_value.predicted.function.right.edv_ml == pytest.approx(15.0)
    assert by_name.predicted == by_value.predicted
    (foreign,) = measure_hearts(tmp_path).failed
    assert foreign.error == "a: prediction a_ED.nii.gz: holds the label value 5, declared are 0, 1, 2, 3"
    with pytest.raises(LabelError, match="give a recipe"):
        Roles.of("LV", "1", "2")
    with pytest.raises(LabelError, match="did you mean 'wall'"):
        Roles.of("LV", "RV", "walls", labels)
    with pytest.raises(LabelError):
        Roles.of("1", "1", "2")


def test_one_bad_patient_stops_no_other(tmp_path: Path, stack: Stack) -> None:
    """A damaged mask, a lone frame, a missing frame, a missing prediction: each patient's line, the rest measured."""
    for name in ("p1", "p2", "p3", "p4"):
        by_hand(stack, tmp_path / "p", name)
    by_hand(stack, tmp_path / "g", "p9")
    by_hand(stack, tmp_path / "g", "p1")
    (tmp_path / "p/p2/p2_frame02.nii.gz").write_bytes(b"not a mask")
    (tmp_path / "p/p3/p3_frame02.nii.gz").unlink()
    (tmp_path / "p/p4/p4_frame02.nii.gz").unlink()
    (tmp_path / "p/p4/Info.cfg").write_text("ED: 2\nES: 9\n")
    study = measure_hearts(tmp_path / "p", tmp_path / "g")
    errors = {heart.patient: heart.error for heart in study.failed}
    assert list(errors) == ["p2", "p3", "p4", "p9"]
    assert errors["p2"].startswith("p2: prediction p2/p2_frame02.nii.gz: ")
    assert errors["p3"].startswith("p3: prediction: one mask only")
    assert errors["p4"] == "p4: prediction: no mask is ED (frame 2 by Info.cfg); segment that frame"
    assert errors["p9"] == "p9: has no prediction"
    assert [heart.patient for heart in study.compared] == ["p1"]
    assert str(tmp_path) not in json.dumps(cardiac_json(study))


def test_two_masks_of_one_moment_are_refused(tmp_path: Path, stack: Stack) -> None:
    """Which of them is meant cannot be known."""
    by_hand(stack, tmp_path, "p1")
    stack(tmp_path / "p1/p1_4d_t001.nii.gz", 1, 1, 1)
    (tmp_path / "p1/Info.cfg").write_text("ED: 2\nES: 9\n")
    (heart,) = measure_hearts(tmp_path).failed
    assert "are both ED; keep one of them" in heart.error


def test_an_empty_ventricle_has_no_ejection_fraction(tmp_path: Path, stack: Stack) -> None:
    """No right ventricle: its EF does not apply, is empty in the CSV, null in JSON, and missing in the agreement."""
    for side, right in (("p", 0), ("g", 100)):
        stack(tmp_path / side / "a_ED.nii.gz", right, 300, 200)
        stack(tmp_path / side / "a_ES.nii.gz", right // 2, 300, 80)
    study = measure_hearts(tmp_path / "p", tmp_path / "g")
    assert "prediction: there is no right ventricle at ED" in study.hearts[0].notes
    assert study.agreement["rv_ef_percent"].missing == 1
    (row,) = csv.DictReader(io.StringIO(cardiac_csv(study)))
    assert (row["rv_ef_percent"], row["true_rv_ef_percent"]) == ("", "50.0")
    assert cardiac_json(study)["hearts"][0]["predicted"]["rv_ef_percent"] is None
    assert b"RV EF (%), n = 0, 1 missing" in bland_altman_svg(study)


def test_agreement_by_hand(tmp_path: Path, stack: Stack) -> None:
    """EDVs that are 1, 2 and 3 ml too large: bias 2, limits 2 +- 1.96, correlation 1."""
    for k, true in enumerate((100, 200, 300), start=1):
        for side, more in (("g", 0), ("p", 10 * k)):
            stack(tmp_path / f"{side}/h{k}_ED.nii.gz", 90, 300, true + more)
            stack(tmp_path / f"{side}/h{k}_ES.nii.gz", 60, 300, 50)
    found = measure_hearts(tmp_path / "p", tmp_path / "g").agreement["lv_edv_ml"]
    assert (found.n, found.missing) == (3, 0)
    assert (found.bias, found.deviation, found.absolute) == pytest.approx((2.0, 1.0, 2.0))
    assert (found.lower, found.upper) == pytest.approx((0.04, 3.96))
    assert found.correlation == pytest.approx(1.0)


def test_the_plot_is_whole_and_the_same_twice(hearts: Path, predicted: Callable[..., Path]) -> None:
    """One panel for each quantity, groups by shape, text as text, nothing from outside; same bytes twice."""
    study = measure_hearts(predicted("p", lambda a: np.where(np.roll(a, 1, 0) == 1, 0, a).astype(np.uint8)), hearts)
    svg = bland_altman_svg(study)
    assert svg == bland_altman_svg(study)
    root = ElementTree.fromstring(svg)
    text = " ".join(element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text"))
    for quantity in QUANTITIES:
        assert f"{quantity.title} ({quantity.unit}), n = 3" in text
    for group in ("NOR", "DCM", "HCM"):
        assert group in text
    assert b"<image" not in svg
    assert b"patient0" not in svg  # no names of cases


def test_a_plot_needs_pairs(tmp_path: Path, stack: Stack) -> None:
    """Without a truth there is nothing to compare with."""
    by_hand(stack, tmp_path, "p1")
    with pytest.raises(UsageError, match="no patient has both"):
        bland_altman_svg(measure_hearts(tmp_path))


def test_phantoms_have_the_volumes_of_their_formula(hearts: Path) -> None:
    """The truths of phantom hearts measure within 3 % of what their formula gives, at the moments that it names."""
    volumes = json.loads((hearts / "phantom.json").read_text())["volumes"]
    study = measure_hearts(hearts)
    assert [heart.group for heart in study.hearts] == ["NOR", "DCM", "HCM"]
    for number, heart in enumerate(study.hearts):
        who = patient(3, number, size=88)
        told = volumes[heart.patient]
        ed, es = (told[f"{heart.patient}_frame{frame:02d}"] for frame in (who.diastole, who.systole))
        assert heart.predicted is not None
        function = heart.predicted.function
        assert function.left.edv_ml == pytest.approx(ed["3"], rel=0.03)
        assert function.left.esv_ml == pytest.approx(es["3"], rel=0.03)
        assert function.right.edv_ml == pytest.approx(ed["1"], rel=0.03)
        assert function.mass_g == pytest.approx(1.05 * ed["2"], rel=0.03)


def test_processes_change_nothing(hearts: Path) -> None:
    """Read in processes of their own the figures are the same."""
    assert cardiac_json(measure_hearts(hearts, hearts, processes=2)) == cardiac_json(measure_hearts(hearts, hearts))


def test_nobody_in_both_is_an_error(tmp_path: Path, stack: Stack) -> None:
    """Predictions of other patients than the truths' are the wrong folder."""
    by_hand(stack, tmp_path / "p", "p1")
    by_hand(stack, tmp_path / "g", "p2")
    with pytest.raises(CohortError, match="no patient is in both: p1 here, p2 in"):
        measure_hearts(tmp_path / "p", tmp_path / "g")


def test_spacings_are_judged_by_what_is_allowed(tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The heart of an embryo is measured where its voxels are meant to be that small."""
    monkeypatch.setitem(globals(), "GRID", Grid.from_spacing((10, 10, 10), (0.01, 0.01, 0.01)))
    by_hand(stack, tmp_path / "p", "mouse")
    (refused,) = measure_hearts(tmp_path / "p").failed
    assert "allow such spacings" in str(refused.error)
    assert measure_hearts(tmp_path / "p", spacing_range=(0.001, 1)).hearts[0].good


def test_a_slice_has_no_volume(tmp_path: Path) -> None:
    """2-D masks are refused, patient by patient."""
    for moment in ("ED", "ES"):
        write_labels(tmp_path / f"a_{moment}.png", np.ones((8, 8), np.uint8), Grid.from_spacing((8, 8), (1, 1)))
    (heart,) = measure_hearts(tmp_path).failed
    assert heart.error == "a: prediction a_ED.png: a 2-D mask has no volume; segment the whole stack"


def test_real_hearts_beat(real_data: Path) -> None:
    """Published ACDC truths against themselves: both ventricles eject, and the agreement is perfect."""
    study = measure_hearts(real_data / "acdc", real_data / "acdc")
    assert len(study.hearts) >= 10
    assert not study.failed
    for heart in study.hearts:
        assert heart.predicted is not None
        assert heart.predicted.phases == "told"
        function = heart.predicted.function
        assert 0 < function.left.esv_ml < function.left.edv_ml < 500
        assert 5 < function.left.ef_percent < 90
        assert 20 < function.mass_g < 500
    for found in study.agreement.values():
        assert (found.bias, found.deviation) == (0.0, 0.0)
        assert math.isclose(found.correlation, 1.0)
