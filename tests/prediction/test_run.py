"""A run over a folder: right masks, no case lost, none done twice, everything told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from volseg.data.phantom import write_cohort
from volseg.errors import UsageError, WriteError
from volseg.geometry import Grid
from volseg.inference.predictor import Predictor
from volseg.io import Volume, read_labels, read_volume
from volseg.prediction import Request, plan, run
from volseg.prediction.hints import of_image, of_mask
from volseg.prediction.summary import read_records
from volseg.recipe import Recipe

IDENTITY = {"bundle": "abc"}


def masks(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.nii.gz"))}


def go(scans: Path, out: Path, predictor: Predictor, recipe: Recipe, **more: object) -> list:
    return list(run(plan(Request(scans, out, **more), IDENTITY), predictor, recipe))


def test_every_scan_gets_its_mask_on_its_own_grid(
    scans: Path, tmp_path: Path, predictor: Predictor, recipe: Recipe
) -> None:
    """The tree is mirrored, the affine equal to the bit, the mask what its rule says; the damaged scan alone fails."""
    outcomes = go(scans, tmp_path / "out", predictor, recipe)
    assert [o.done for o in outcomes] == [1, 2, 3, 4, 5]
    by_name = {o.record.case: o.record for o in outcomes}
    assert {name for name, r in by_name.items() if r.verdict == "failed"} == {"p1/scan 3"}
    assert "truncated" in by_name["p1/scan 3"].error
    for name, record in by_name.items():
        if record.verdict == "failed":
            continue
        image, mask = read_volume(scans / f"{name}.nii.gz"), read_labels(tmp_path / "out" / record.mask)
        assert mask.grid == image.grid
        assert mask.array.dtype == np.uint8
        np.testing.assert_array_equal(mask.array, image.array > image.array.mean())
        assert record.volumes["bright"] == pytest.approx(mask.array.sum() * 2 / 1000)
    assert not (tmp_path / "out" / "p1" / "scan 3.nii.gz").exists()


def test_the_summary_is_whole_after_every_case(
    scans: Path, tmp_path: Path, predictor: Predictor, recipe: Recipe
) -> None:
    """Whenever the run is cut, summary.json names exactly the cases told so far."""
    out = tmp_path / "out"
    for outcome in run(plan(Request(scans, out), IDENTITY), predictor, recipe):
        summary = json.loads((out / "summary.json").read_text())
        assert len(summary["cases"]) == outcome.done
        assert summary["identity"] == IDENTITY
    assert (summary["done"], summary["failed"]) == (4, 1)
    assert (out / "labels.ctbl").read_text().splitlines() == ["0 background 0 0 0 0", "1 bright 230 159 0 255"]
    assert (out / "labels.itksnap.txt").exists()


def test_a_second_run_does_nothing_twice(scans: Path, tmp_path: Path, predictor: Predictor, recipe: Recipe) -> None:
    """Finished cases are known by their content; only the failed one is tried again."""
    out = tmp_path / "out"
    go(scans, out, predictor, recipe)
    again = plan(Request(scans, out), IDENTITY)
    assert len(again.finished) == 4
    assert [job.case.name for job in again.jobs] == ["p1/scan 3"]


@pytest.mark.parametrize("change", ["image", "no mask", "bundle", "settings", "no summary", "overwrite"])
def test_whatever_changed_is_done_again(
    scans: Path, tmp_path: Path, predictor: Predictor, recipe: Recipe, change: str
) -> None:
    """Another image under the same name, a mask removed since, another bundle, other settings: not finished."""
    out, identity, more = tmp_path / "out", dict(IDENTITY), {}
    go(scans, out, predictor, recipe)
    redone = 5
    if change == "image":
        (scans / "p0" / "scan 0.nii.gz").write_bytes((scans / "p0" / "scan 2.nii.gz").read_bytes())
        redone = 2
    elif change == "no mask":
        (out / "p0" / "scan 0.nii.gz").unlink()
        redone = 2
    elif change == "bundle":
        identity["bundle"] = "other"
    elif change == "settings":
        more["reading"] = {"fill_nan": 0.0}
    elif change == "no summary":
        (out / "summary.json").write_text("{")
    else:
        more["overwrite"] = True
    work = plan(Request(scans, out, **more), identity)
    assert len(work.jobs) == redone
    replaced = {"image": 1, "bundle": 4, "settings": 4}.get(change, 0)
    assert sum("replaced" in note for note in work.notes) == (replaced > 0)
    assert replaced == 0 or work.notes[-1].startswith(f"{replaced} mask")


def test_a_mask_that_somebody_changed_is_left(
    scans: Path, tmp_path: Path, predictor: Predictor, recipe: Recipe
) -> None:
    """A correction by hand is worth more than what a run would put there; to another bundle it is no result."""
    out, other = tmp_path / "out", {**IDENTITY, "bundle": "other"}
    go(scans, out, predictor, recipe)
    corrected = out / "p0" / "scan 0.nii.gz"
    corrected.write_bytes(b"corrected by hand")
    for identity, done in ((IDENTITY, True), (other, False), (other, False), (IDENTITY, True)):
        work = plan(Request(scans, out), identity)
        assert ("p0/scan 0" in [record.case for record in work.finished]) == done
        assert any(note.startswith("1 mask changed") and "p0/scan 0" in note for note in work.notes) == done
        refused = [record.error for record in work.failed]
        assert (
            refused == []
            if done
            else ["p0/scan 0.nii.gz: was changed since it was predicted; move it; --overwrite replaces it"]
        )
        list(run(work, predictor, recipe))
        assert corrected.read_bytes() == b"corrected by hand"
    list(run(plan(Request(scans, out, overwrite=True), IDENTITY), predictor, recipe))
    assert read_labels(corrected).array.any()


@pytest.mark.parametrize("cut", [False, True])
def test_a_case_that_fails_now_has_no_mask_any_more(
    scans: Path, tmp_path: Path, predictor: Predictor, recipe: Recipe, cut: bool
) -> None:
    """A mask of an image that is damaged since would pass for its own, also after a run that ended before the case."""
    out = tmp_path / "out"
    go(scans, out, predictor, recipe)
    for number, case in enumerate(("p0/scan 0", "p0/scan 2")):
        image = scans / f"{case}.nii.gz"
        image.write_bytes(image.read_bytes()[: 100 + number])
    if cut:
        next(run(plan(Request(scans, out), IDENTITY), predictor, recipe))
    (out / "p0" / "scan 2.nii.gz").write_bytes(b"somebody's own")
    go(scans, out, predictor, recipe)
    told = read_records(out / "summary.json").values()
    assert {one.case for one in told if one.verdict == "failed"} == {"p0/scan 0", "p0/scan 2", "p1/scan 3"}
    assert not (out / "p0" / "scan 0.nii.gz").exists()
    assert (out / "p0" / "scan 2.nii.gz").read_bytes() == b"somebody's own"


def test_masks_are_not_segmented(scans: Path, tmp_path: Path, predictor: Predictor, recipe: Recipe) -> None:
    """An output folder inside the input folder: what lies there is no image of the next run."""
    out = scans / "masks"
    go(scans, out, predictor, recipe)
    again = plan(Request(scans, out), IDENTITY)
    assert len(again.finished) == 4
    assert [job.case.name for job in again.jobs] == ["p1/scan 3"]
    assert again.notes[-1] == "4 images in the output folder left out"


def test_a_cut_run_ends_with_the_masks_of_an_uncut_one(
    scans: Path, tmp_path: Path, predictor: Predictor, recipe: Recipe
) -> None:
    """Stopped after any case and run again, every mask is byte for byte that of an undisturbed run."""
    go(scans, tmp_path / "whole", predictor, recipe)
    expected = masks(tmp_path / "whole")
    for stop in range(1, 5):
        out = tmp_path / f"cut{stop}"
        outcomes = run(plan(Request(scans, out), IDENTITY), predictor, recipe)
        for _ in range(stop):
            next(outcomes)
        outcomes.close()
        go(scans, out, predictor, recipe)
        assert masks(out) == expected


def test_parts_share_the_cases_out(scans: Path, tmp_path: Path, predictor: Predictor, recipe: Recipe) -> None:
    """Every case is in exactly one part, and parts write their own summaries."""
    out = tmp_path / "out"
    names = [o.record.case for part in range(3) for o in go(scans, out, predictor, recipe, part=(part, 3))]
    assert sorted(names) == sorted(
        case.name for case in [j.case for j in plan(Request(scans, tmp_path / "x"), {}).jobs]
    )
    assert {p.name for p in out.glob("summary*")} == {f"summary-{k}-of-3.json" for k in range(3)}


def test_what_cannot_work_is_known_beforehand(scans: Path, tmp_path: Path) -> None:
    """An output that is a file, masks over their images, formats and parts that do not exist."""
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be written to"):
        plan(Request(scans, tmp_path / "file"), IDENTITY)
    with pytest.raises(WriteError, match="the mask would overwrite its image"):
        plan(Request(scans, scans), IDENTITY)
    with pytest.raises(UsageError, match="no format is called 'nifti'"):
        Request(scans, tmp_path, format="nifti")
    with pytest.raises(UsageError, match="part 3 of 3 does not exist"):
        Request(scans, tmp_path, part=(3, 3))


@pytest.mark.parametrize("given", ["in full", "from above", "from inside", "a file"])
def test_an_error_that_nobody_foresaw_names_no_folder_above(
    scans: Path, tmp_path: Path, predictor: Predictor, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """Whatever a library says of a file: the folders above the input may be names of patients."""

    def broken(path: Path, **_: object) -> None:
        raise RuntimeError(f"cannot cope with {path}")

    monkeypatch.setattr(sys.modules["volseg.prediction.run"], "read_volume", broken)
    monkeypatch.chdir(scans if given == "from inside" else tmp_path)
    places = {
        "in full": (scans, "p0/"),
        "from above": (Path(scans.name), "p0/"),
        "from inside": (Path(), "p0/"),
        "a file": (Path(scans.name) / "p0" / "scan 0.nii.gz", ""),
    }
    inputs, place = places[given]
    error = go(inputs, tmp_path / "out", predictor, recipe)[0].record.error
    assert error == f"{place}scan 0: failed with RuntimeError: cannot cope with {place}scan 0.nii.gz"


def test_hints_tell_what_is_unlike_the_training(
    scans: Path, tmp_path: Path, predictor: Predictor, recipe: Recipe
) -> None:
    """Another spacing, an implausible volume, an empty structure: told with the record, not hidden."""
    narrow = recipe.changed({"image.seen": {"spacing": [[3, 4], [0.5, 2], [0.5, 3]], "volumes": {"bright": [5, 9]}}})
    record = go(scans, tmp_path / "out", predictor, narrow)[0].record
    assert "spacing of 1 mm along axis 0 (left-right), in training it was 3 to 4" in record.hints
    assert any(hint.startswith("bright measures") and "in training it was 5 to 9" in hint for hint in record.hints)


@pytest.mark.parametrize(("codes", "hinted"), [("RAS", False), ("LPS", False), ("SAR", False), ("RAS sagittal", True)])
def test_slices_across_another_axis_are_told(recipe: Recipe, codes: str, hinted: bool) -> None:
    """Axial slices were learnt from: however they are stored nothing is said, sagittal ones are told."""
    spacing = (9.0, 1.1, 1.2) if hinted else (1.1, 1.2, 9.0)
    grid = Grid.from_spacing((12, 10, 8), spacing).reoriented(codes[:3]).target
    learnt = recipe.changed({"image.seen": {"spacing": [[0.9, 2], [0.9, 2], [5, 10]]}})
    told = list(of_image(Volume(np.zeros(grid.shape, np.float32), grid), learnt.image))
    assert ("slices are sagittal, in training they were axial" in told) == hinted
    assert hinted or told == []


@pytest.mark.parametrize(
    ("ndim", "instances", "hinted"),
    [(3, False, True), (3, True, False), (2, False, False)],
    ids=["a body", "objects", "a picture"],
)
def test_a_body_in_two_parts_is_told(ndim: int, instances: bool, hinted: bool) -> None:
    """Not a crumb beside it; and not objects, which are many, nor pictures, which cut a body anywhere."""
    keys = {"labels.values": {"bright": 1}, "labels.instances": instances}
    chosen = Recipe.from_dict({**keys, "image.spatial_dims": ndim, "training.patch": [16] * ndim})
    mask = np.zeros((20,) * ndim, np.uint8)
    mask[2:8, 2:8] = 1
    mask[12, 12] = 1
    grid = Grid.from_spacing(mask.shape, (1.0,) * ndim)
    assert list(of_mask(mask, grid, chosen)) == []
    mask[12:18, 12:18] = 1
    assert list(of_mask(mask, grid, chosen)) == (["bright is in 2 parts"] if hinted else [])


def test_probabilities_are_written_when_asked(
    scans: Path, tmp_path: Path, predictor: Predictor, recipe: Recipe
) -> None:
    """Beside the mask, a byte per channel, on the same grid."""
    go(scans, tmp_path / "out", predictor, recipe, keep_probabilities=True)
    import nibabel as nib

    shares = np.asarray(nib.load(tmp_path / "out" / "p0" / "scan 0_probabilities.nii.gz").dataobj)
    assert shares.shape == (9, 10, 6, 2)
    assert np.abs(shares.sum(axis=-1).astype(int) - 255).max() <= 1
    mask = read_labels(tmp_path / "out" / "p0" / "scan 0.nii.gz").array
    np.testing.assert_array_equal(
        mask[np.abs(shares[..., 1].astype(int) - 127) > 1],
        (shares[..., 1] > 127)[np.abs(shares[..., 1].astype(int) - 127) > 1],
    )


def test_the_command_loads_neither_monai_nor_ignite(tmp_path: Path) -> None:
    """They take seconds to import, as long as several scans take to segment."""
    images = write_cohort(tmp_path / "hearts", "heart", 1, seed=0, size=88)
    bundle = Path(__file__).parents[2] / "bundles" / "acdc_unet2d"
    words = ["volseg", "-q", "predict", "-i", str(images), "-o", str(tmp_path / "masks"), "-b", str(bundle)]
    code = f"""
import sys
from volseg.cli.app import main
sys.argv = {words!r}
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
assert not {{"monai", "ignite"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert list((tmp_path / "masks").rglob("*.nii.gz"))
