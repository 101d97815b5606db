"""Bad and odd inputs from end to end: ``volseg predict`` gives a mask or one line, and loses nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG2MPML, RLELossless

from volseg.geometry import Grid
from volseg.io import read_labels, write_volume

GRID = Grid.from_spacing((12, 10, 8), (1.0, 1.0, 2.0))
SECRETS = ("Mustermann", "Erika", "SECRET")
SECONDARY_CAPTURE, SR, RTSTRUCT, SEG = (
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.88.11",
    "1.2.840.10008.5.1.4.1.1.481.3",
    "1.2.840.10008.5.1.4.1.1.66.4",
)


def scan(path: Path, grid: Grid = GRID, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, np.random.default_rng(seed).normal(size=grid.shape).astype(np.float32), grid)
    return path


def files(folder: Path) -> list[str]:
    """What was written, temporaries included, the summary and the label tables left out."""
    found = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if not name.startswith(("summary", "labels.")))


def test_18_a_2d_image_is_refused_with_the_bundle_that_takes_it(nifti: Any, image: Any, through_predict: Any) -> None:
    """The line says what the image is, what the bundle takes, and which bundle takes the image."""
    ran = through_predict(nifti(array=image[..., 0]))
    assert ran.code == 3
    assert ran.errors == {
        "case": "case.nii.gz: is 2-D, and the bundle takes 3-D images;"
        " a bundle whose recipe says image.spatial_dims: 2 takes it"
    }


@pytest.mark.parametrize("words", [(), ("--tile", "64,64,64"), ("--blend",)])
def test_21_smaller_than_the_tile_is_accepted(predict: Any, tmp_path: Path, words: tuple[str, ...]) -> None:
    """A volume smaller than any tile gets its mask on its own grid."""
    grid = Grid.from_spacing((5, 7, 3), (1, 1, 2))
    ran = predict(scan(tmp_path / "small.nii.gz", grid), tmp_path / "out", *words)
    assert (ran.code, ran.masks) == (0, ["small.nii.gz"])
    assert read_labels(tmp_path / "out" / "small.nii.gz").grid == grid


def test_50_a_network_that_overflows_fails_the_case(
    predict: Any, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Infinite logits are no mask: every case fails with the reason, none is written."""
    from volseg.bundle import load

    real = load.load_into

    def huge(network: torch.nn.Module, *given: Any) -> torch.nn.Module:
        network = real(network, *given)
        with torch.no_grad():
            list(network.parameters())[-1].fill_(float("inf"))
        return network

    monkeypatch.setattr(load, "load_into", huge)
    scan(tmp_path / "in" / "a.nii.gz")
    ran = predict(tmp_path / "in", tmp_path / "out")
    assert ran.code == 3
    assert ran.errors["a"].startswith("a: the network gave NaN or infinity between voxels")
    assert files(tmp_path / "out") == []


def test_66_two_inputs_for_one_mask_are_an_error_before_the_run(predict: Any, tmp_path: Path) -> None:
    """``a.nii`` beside ``a.nii.gz``: nothing is written."""
    scan(tmp_path / "in" / "a.nii")
    scan(tmp_path / "in" / "a.nii.gz")
    ran = predict(tmp_path / "in", tmp_path / "out")
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 1
    assert "a.nii" in ran.err
    assert not (tmp_path / "out").exists()


def test_67_the_tree_is_mirrored(predict: Any, tmp_path: Path) -> None:
    """``p1/ct`` and ``p2/ct`` give two masks, each of its own image."""
    for name in ("p1", "p2"):
        scan(tmp_path / "in" / name / "ct.nii.gz", seed=int(name[1]))
    ran = predict(tmp_path / "in", tmp_path / "out")
    assert (ran.code, ran.masks) == (0, ["p1/ct.nii.gz", "p2/ct.nii.gz"])
    one, two = (read_labels(tmp_path / "out" / mask).array for mask in ran.masks)
    assert not np.array_equal(one, two)


def test_68_one_bad_file_of_ten(predict: Any, tmp_path: Path) -> None:
    """Nine masks, exit code 3, the reason in summary.json; run again, only the bad one is tried."""
    for number in range(10):
        scan(tmp_path / "in" / f"{number}.nii.gz", seed=number)
    bad = tmp_path / "in" / "4.nii.gz"
    bad.write_bytes(bad.read_bytes()[:-9])
    ran = predict(tmp_path / "in", tmp_path / "out")
    assert (ran.code, len(ran.masks), list(ran.errors)) == (3, 9, ["4"])
    assert "4.nii.gz: " in ran.errors["4"]
    again = predict(tmp_path / "in", tmp_path / "out")
    assert again.code == 3
    assert "9 of 10 cases are done, 9 of them before" in again.err
    assert again.err.count("predicting ") == 1


def test_69_what_operating_systems_leave_behind_is_skipped(predict: Any, tmp_path: Path) -> None:
    """Neither a case nor a word about it."""
    scan(tmp_path / "in" / "a.nii.gz")
    for name in ("._a.nii.gz", ".DS_Store"):
        (tmp_path / "in" / name).write_bytes(b"\0\5\x16\7")
    ran = predict(tmp_path / "in", tmp_path / "out")
    assert (ran.code, ran.masks) == (0, ["a.nii.gz"])
    assert "DS_Store" not in ran.err


def test_70_unusual_names_are_accepted(predict: Any, tmp_path: Path) -> None:
    """Spaces, letters of any script, line breaks and dots; a line stays a line."""
    names = ["with space", "Müller", "数据", "line\nbreak", "a.b.c", "-x", "[1]"]
    for name in names:
        scan(tmp_path / "in" / name / f"{name}.nii.gz")
    ran = predict(tmp_path / "in", tmp_path / "out")
    assert ran.code == 0
    assert ran.masks == sorted(f"{name}/{name}.nii.gz" for name in names)
    assert files(tmp_path / "out") == ran.masks
    assert "line\\nbreak" in ran.err


def test_71_a_broken_link_fails_alone(predict: Any, tmp_path: Path) -> None:
    """The others are done."""
    scan(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "in" / "b.nii.gz").symlink_to(tmp_path / "absent.nii.gz")
    ran = predict(tmp_path / "in", tmp_path / "out")
    assert (ran.code, ran.masks) == (3, ["a.nii.gz"])
    assert ran.errors == {"b": "b.nii.gz: is a link to a file that does not exist"}


def test_72_a_name_too_long_for_a_mask_is_known_before_the_run(predict: Any, tmp_path: Path) -> None:
    """An input's name may be legal where its mask's is not."""
    path = tmp_path / "in" / ("x" * 251 + ".nii")
    path.parent.mkdir()
    shutil.copy(scan(tmp_path / "short.nii"), path)
    ran = predict(tmp_path / "in", tmp_path / "out")
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_73_an_unreadable_file_fails_alone(predict: Any, tmp_path: Path) -> None:
    """The reason is the system's."""
    scan(tmp_path / "in" / "a.nii.gz")
    path = scan(tmp_path / "in" / "b.nii.gz")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    ran = predict(tmp_path / "in", tmp_path / "out")
    assert (ran.code, ran.masks) == (3, ["a.nii.gz"])
    assert ran.errors == {"b": "b.nii.gz: could not be read: permission denied"}


def test_74_a_read_only_output_is_known_before_the_run(predict: Any, tmp_path: Path, small_disk: Path) -> None:
    """One line, exit code 1, no case begun."""
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    ran = predict(scan(tmp_path / "a.nii.gz"), small_disk / "out")
    assert ran.code == 1
    assert ran.err == (
        f"error: {small_disk / 'out'}: cannot be written to (read-only file system); choose another folder\n"
    )


def test_75_a_full_disk_is_known_before_the_run(predict: Any, tmp_path: Path, small_disk: Path) -> None:
    """Too little space for any run is said at once."""
    ran = predict(scan(tmp_path / "a.nii.gz"), small_disk / "out")
    assert ran.code == 1
    assert ran.err == f"error: {small_disk / 'out'}: only 0 MiB are free there; free some space first\n"


def test_75_a_disk_that_fills_up_fails_the_case(
    predict: Any, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masks that fit are whole, the one that does not leaves nothing; with space again only it is done."""
    monkeypatch.setattr(sys.modules["volseg.prediction.plan"], "_LEAST_FREE", 0)
    scan(tmp_path / "in" / "a.nii.gz")
    scan(tmp_path / "in" / "b.nii.gz", Grid.from_spacing((120, 120, 90), (1, 1, 1)))
    ran = predict(tmp_path / "in", small_disk)
    assert (ran.code, ran.masks) == (3, ["a.nii.gz"])
    assert ran.errors == {
        "b": "b.nii.gz: could not be written: no space left on the device; free some space and run it again"
    }
    assert files(small_disk) == ["a.nii.gz"]
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    again = predict(tmp_path / "in", small_disk)
    assert (again.code, again.masks) == (0, ["a.nii.gz", "b.nii.gz"])
    assert "2 of 2 cases are done, 1 of them before" in again.err


def test_75_masks_that_cannot_fit_are_known_before_the_run(
    predict: Any, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unpacked masks have a known size: where there is no room for all of them, none is computed."""
    monkeypatch.setattr(sys.modules["volseg.prediction.plan"], "_LEAST_FREE", 0)
    for name in "abc":
        scan(tmp_path / "in" / f"{name}.nii.gz", Grid.from_spacing((80, 80, 60), (1, 1, 1)))
    ran = predict(tmp_path / "in", small_disk, "--format", "nii")
    assert ran.code == 1
    assert ran.err == (
        f"error: {small_disk}: 64 KiB are free there, and the masks take 1 MiB;"
        " free some space first, or --format nii.gz\n"
    )
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("inputs", ["{}/Erika/in", "Erika/in", "in", "."])
def test_77_patients_are_not_named(
    predict: Any, dicom_series: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: str
) -> None:
    """Neither headers nor folders above the input reach the terminal or the summary, whether a case fails or not."""
    good = dicom_series("Erika/in/good")[0].parent
    bad, cut = dicom_series("Erika/in/bad", slices=8), dicom_series("Erika/in/cut")
    bad[3].unlink()
    cut[2].write_bytes(cut[2].read_bytes()[:-100])
    monkeypatch.chdir({"in": tmp_path / "Erika", ".": good.parent}.get(inputs, tmp_path))
    ran = predict(inputs.format(tmp_path), tmp_path / "out")
    assert (ran.code, ran.masks, list(ran.errors)) == (3, ["good.nii.gz"], ["bad", "cut"])
    assert ran.errors["cut"].startswith("cut/002.dcm: ")
    told = ran.err + ran.out + (tmp_path / "out" / "summary.json").read_text()
    assert not [secret for secret in SECRETS if secret in told]
    shown = predict(good.parent, tmp_path / "out", "--show-names")
    assert f"{good.parent / 'bad'}: " in shown.errors["bad"]


@pytest.mark.slow
def test_78_a_huge_volume_streams_within_the_limit(volseg: Any, tiny_bundle: Path, tmp_path: Path) -> None:
    """Above the program, the input and what the network sees of it the limit holds; full logits would take far more."""
    limit, grid = 200 << 20, Grid.from_spacing((384, 384, 320), (1, 1, 1))
    (tmp_path / "in").mkdir()
    write_volume(tmp_path / "in" / "big.nii", np.zeros(grid.shape, np.int16) + np.arange(320, dtype=np.int16), grid)
    scan(tmp_path / "small.nii.gz")
    peaks = []
    for name in ("small.nii.gz", "in"):
        words = [
            "-i",
            tmp_path / name,
            "-o",
            tmp_path / f"out-{name}",
            "-b",
            tiny_bundle,
            "--max-memory",
            f"{limit >> 20}MiB",
        ]
        done = volseg("predict", *words, "--json", env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr
        peaks.append(json.loads(done.stdout)[0]["peak_memory"])
    voxels = int(np.prod(grid.shape))
    held = voxels * (2 + 4 + 1 + 1)  # the file's voxels, the network's, the mask turned back and as it was made
    assert 3 * 4 * voxels > 2.5 * limit
    assert peaks[1] < peaks[0] + held + limit


def missing_slice(series: Any, **_: Any) -> None:
    series("in/case", slices=8)[4].unlink()


def duplicate(series: Any, **_: Any) -> None:
    first = series("in/case")[0]
    shutil.copy(first, first.with_name("copy.dcm"))


def two_series(series: Any, **_: Any) -> None:
    series("in/case", names="a{}.dcm".format)
    series("in/case", names="b{}.dcm".format)


def localizer(series: Any, **_: Any) -> None:
    def across(ds: Any, k: int) -> None:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    series("in/case")
    series("in/case", slices=1, names="scout{}.dcm".format, edit=across)


def mixed_sizes(series: Any, **_: Any) -> None:
    def smaller(ds: Any, k: int) -> None:
        if k > 2:
            ds.Rows, ds.PixelData = 6, ds.PixelData[: len(ds.PixelData) // 2]

    series("in/case", edit=smaller)


def tilted(series: Any, **_: Any) -> None:
    def lean(ds: Any, k: int) -> None:
        x, y, z = (float(v) for v in ds.ImagePositionPatient)
        down = [float(v) for v in ds.ImageOrientationPatient[3:]]
        off = 2.5 * np.tan(np.deg2rad(15)) * k
        ds.ImagePositionPatient = [f"{v + off * d:.9f}"[:16] for v, d in zip((x, y, z), down, strict=True)]

    series("in/case", edit=lean)


def shuffled(series: Any, **_: Any) -> None:
    series("in/case", names=lambda k: f"{(7 * k + 3) % 5}.dcm")


def stray(series: Any, **_: Any) -> None:
    (series("in/case")[0].parent / "notes.txt").write_text("see the report")


def no_file(tmp_path: Path, **_: Any) -> None:
    (tmp_path / "in" / "case").mkdir(parents=True)


def frames_without_places(series: Any, **_: Any) -> None:
    def stacked(ds: Any, k: int) -> None:
        ds.NumberOfFrames, ds.PixelData = 3, ds.PixelData * 3
        del ds.ImagePositionPatient

    series("in/case", slices=1, edit=stacked)


def compressed(series: Any, **_: Any) -> None:
    series("in/case", edit=lambda ds, k: ds.compress(RLELossless, generate_instance_uid=False))


def movie(series: Any, **_: Any) -> None:
    file = series("in/case", slices=1)[0]
    ds = dcmread(file)
    ds.PixelData = encapsulate([ds.PixelData])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = MPEG2MPML
    ds.save_as(file, enforce_file_format=True)


def alone(sop_class: str) -> Callable[..., None]:
    def make(series: Any, **_: Any) -> None:
        series("in/case", slices=1, sop_class=sop_class)

    return make


def beside(sop_class: str) -> Callable[..., None]:
    def make(series: Any, **_: Any) -> None:
        series("in/case")
        series("in/case", slices=1, sop_class=sop_class, names="other{}.dcm".format)

    return make


ACCEPTED: dict[str, tuple[Callable[..., Any], str]] = {
    "52-duplicate": (duplicate, "1 duplicate slice dropped"),
    "54-localizer": (localizer, "1 localizer image left out"),
    "57-shuffled": (shuffled, ""),
    "58-stray": (stray, "1 file skipped: not DICOM"),
    "61-compressed": (compressed, ""),
    "62-secondary_capture": (beside(SECONDARY_CAPTURE), "1 file skipped: a secondary capture"),
    "63-report": (beside(SR), "1 file skipped: a structured report"),
    "64-contours": (beside(RTSTRUCT), "1 file skipped: "),
    "65-segmentation": (beside(SEG), "1 file skipped: "),
}
REFUSED: dict[str, tuple[Callable[..., Any], str]] = {
    "51-missing_slice": (missing_slice, r"1 slice is missing.* mm"),
    "53-two_series": (two_series, r"holds 2 series: .*; choose one with --series UID"),
    "55-mixed_sizes": (mixed_sizes, r"one series mixes matrix sizes: .*10x12x3.*10x6x2"),
    "56-tilted": (tilted, "tilt"),
    "60-frames_without_places": (frames_without_places, "frames"),
    "61-movie": (movie, "MPEG"),
    "62-secondary_capture_alone": (alone(SECONDARY_CAPTURE), "secondary capture"),
    "63-report_alone": (alone(SR), "structured report"),
    "64-contours_alone": (alone(RTSTRUCT), "structure set|RTSTRUCT"),
    "65-segmentation_alone": (alone(SEG), "segmentation"),
}


@pytest.mark.parametrize(("make", "note"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted_series(make: Any, note: str, predict: Any, dicom_series: Any, tmp_path: Path) -> None:
    """The series gets its mask on the grid of its five slices, and what was left out is told."""
    make(series=dicom_series, tmp_path=tmp_path)
    ran = predict(tmp_path / "in", tmp_path / "out")
    assert (ran.code, ran.masks) == (0, ["case.nii.gz"])
    assert note in ran.err
    assert read_labels(tmp_path / "out" / "case.nii.gz").grid.shape == (10, 12, 5)


@pytest.mark.parametrize(("make", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_series(make: Any, reason: str, predict: Any, dicom_series: Any, tmp_path: Path) -> None:
    """One line with the reason, exit code 3, and the scan beside it is done."""
    make(series=dicom_series, tmp_path=tmp_path)
    scan(tmp_path / "in" / "good.nii.gz")
    ran = predict(tmp_path / "in", tmp_path / "out")
    assert (ran.code, ran.masks, list(ran.errors)) == (3, ["good.nii.gz"], ["case"])
    assert ran.errors["case"].startswith(("case: ", "case/"))
    assert "\n" not in ran.errors["case"]
    assert re.search(reason, ran.errors["case"])
    assert not [secret for secret in SECRETS if secret in ran.err]


def test_53_a_series_can_be_chosen(predict: Any, dicom_series: Any, tmp_path: Path) -> None:
    """``--series`` takes the one that is named."""
    two_series(dicom_series)
    uid = str(dcmread(tmp_path / "in" / "case" / "b0.dcm").SeriesInstanceUID)
    ran = predict(tmp_path / "in", tmp_path / "out", "--series", uid)
    assert (ran.code, ran.masks) == (0, ["case.nii.gz"])


def test_59_an_empty_folder_is_an_error(predict: Any, tmp_path: Path) -> None:
    """One line, exit code 1."""
    no_file(tmp_path)
    ran = predict(tmp_path / "in", tmp_path / "out")
    assert ran.code == 1
    assert ran.err.startswith(f"error: {tmp_path / 'in'}: holds no image; ")
    assert len(ran.err.splitlines()) == 1


def test_another_modality_is_refused(dicom_series: Any, tmp_path: Path, tiny_bundle: Path) -> None:
    """A bundle for CT takes no MR series."""
    from dataclasses import replace

    from volseg import VolsegError, load_bundle

    bundle = load_bundle(tiny_bundle)
    for_ct = replace(bundle, recipe=bundle.recipe.changed({"image.modality": "CT"}))
    folder = dicom_series()[0].parent
    assert bundle.predict(folder).labels.shape == (10, 12, 5)
    with pytest.raises(VolsegError, match="is MR, and the bundle was trained on CT; choose a bundle for MR"):
        for_ct.predict(folder)
