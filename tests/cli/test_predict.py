"""``volseg predict`` before its first case: what is known beforehand, and what ``--dry-run`` tells of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from volseg.geometry import Grid
from volseg.io import write_volume
from volseg.prediction import Foresight, Request, plan

SHAPE = (12, 10, 8)


def scan(path: Path, shape: tuple[int, ...] = SHAPE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = Grid.from_spacing(shape, (1.0, 1.0, 2.0)[: len(shape)])
    write_volume(path, np.random.default_rng(0).normal(size=shape).astype(np.float32), grid)
    return path


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """One good scan, one whose header refuses itself, and one that only its voxels betray."""
    scan(tmp_path / "in" / "good.nii.gz")
    scan(tmp_path / "in" / "flat.nii.gz", SHAPE[:2])
    short = scan(tmp_path / "in" / "short.nii.gz")
    short.write_bytes(short.read_bytes()[:-20])
    return tmp_path / "in"


def test_what_headers_tell_is_known_before_the_first_case(tiny_bundle: Path, scans: Path, tmp_path: Path) -> None:
    """A plan holds what can be done, with its size, and the reason of what cannot; it writes nothing."""
    from volseg import load_bundle

    bundle = load_bundle(tiny_bundle)
    predictor = bundle.predictor(max_memory="1GiB")
    work = plan(Request(scans, tmp_path / "out"), {}, foresee=Foresight(bundle.recipe, predictor))
    assert [job.case.name for job in work.jobs] == ["good", "short"]
    assert all(job.expected.shape == SHAPE for job in work.jobs)
    assert all(0 < job.expected.memory <= 1 << 30 for job in work.jobs)
    assert [(record.case, record.error) for record in work.failed] == [
        (
            "flat",
            "flat.nii.gz: is 2-D, and the bundle takes 3-D images;"
            " a bundle whose recipe says image.spatial_dims: 2 takes it",
        )
    ]
    assert not (tmp_path / "out").exists()


def test_another_modality_is_known_before_the_first_case(
    dicom_series: Any, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CT bundle refuses an MR series by its headers: its voxels are never decoded."""
    from volseg import load_bundle
    from volseg.io.dicom import series

    dicom_series("in/mr")
    bundle = load_bundle(tiny_bundle)
    for_ct = bundle.recipe.changed({"image.modality": "CT"})
    monkeypatch.setattr(series, "read_series", lambda *_, **__: pytest.fail("the voxels were decoded"))
    foresee = Foresight(for_ct, bundle.predictor())
    work = plan(Request(tmp_path / "in", tmp_path / "out"), {}, foresee=foresee)
    assert [record.error for record in work.failed] == [
        "mr: is MR, and the bundle was trained on CT; choose a bundle for MR"
    ]


def test_too_little_memory_is_known_before_the_first_case(predict: Any, scans: Path, tmp_path: Path) -> None:
    """Each case says what it needs, and none is begun."""
    ran = predict(scans, tmp_path / "out", "--max-memory", "1MiB")
    assert ran.code == 3
    assert ran.errors["good"].startswith("good: a volume of 12x10x8 does not fit 1 MiB; allow at least ")
    assert "predicting" not in ran.err


def test_a_dry_run_tells_and_writes_nothing(predict: Any, scans: Path, tmp_path: Path) -> None:
    """Every case with its size, the network's memory and where its mask would be; what cannot be done; the sums."""
    ran = predict(scans, tmp_path / "out", "--dry-run")
    assert ran.code == 3
    lines = ran.out.splitlines()
    assert lines[0].split() == ["case", "image", "spacing", "mm", "memory", "mask", "state"]
    assert lines[1].startswith("good   12 x 10 x 8  1 x 1 x 2   ")
    assert lines[1].endswith(f"MiB  {tmp_path / 'out' / 'good.nii.gz'}   to do")
    assert lines[3].split() == ["flat", "-", "-", "-", "-", "cannot", "be", "done"]
    assert "warning: flat.nii.gz: is 2-D" in ran.err
    assert "2 to do, 1 cannot be done\n" in ran.err
    assert "the masks take 2 KiB before they are packed; " in ran.err
    assert not (tmp_path / "out").exists()
    predict(scans, tmp_path / "out")
    again = predict(scans, tmp_path / "out", "--dry-run", "--json")
    told = {case["case"]: case for case in json.loads(again.out)}
    assert {name: case["state"] for name, case in told.items()} == {
        "good": "done before",
        "short": "to do",
        "flat": "cannot be done",
    }
    assert told["good"]["shape"] == list(SHAPE)


@pytest.fixture
def narrow(tiny_bundle: Path, tmp_path: Path) -> Path:
    """The tiny bundle, as if it had seen nothing like the scans of these tests."""
    from volseg import load_bundle
    from volseg.bundle.rendering.build import build_bundle

    seen = {"spacing": [[0.9, 1.1], [0.9, 1.1], [3, 4]], "field_of_view": [[5, 20], [5, 20], [100, 200]]}
    recipe = load_bundle(tiny_bundle).recipe.changed({"image.seen": seen})
    (weights,) = (tiny_bundle / "models").glob("*.pt")
    return build_bundle(recipe, tmp_path / "narrow", weights=weights)


@pytest.mark.parametrize("how", [[], ["--dry-run"]], ids=["run", "dry run"])
def test_the_same_hint_is_told_once_and_counted(predict: Any, narrow: Path, tmp_path: Path, how: list[str]) -> None:
    """Whatever the number of cases it holds for; ``-v`` has a line for each."""
    for name in "abc":
        scan(tmp_path / "in" / f"{name}.nii.gz")
    hint = "spacing of 2 mm along axis 2 (foot-head), in training it was 3 to 4"
    told = predict(tmp_path / "in", tmp_path / "out", "-b", narrow, *how).err
    assert [line for line in told.splitlines() if hint in line] == [f"a: {hint}", f"2 more cases: {hint}"]


def test_a_dry_run_tells_what_is_unlike_the_training(predict: Any, narrow: Path, tmp_path: Path) -> None:
    """As far as headers tell, in the words of the run itself: before a night is spent on it."""
    scan(tmp_path / "in" / "a.nii.gz")
    told = (
        "a: spacing of 2 mm along axis 2 (foot-head), in training it was 3 to 4\n"
        "a: field of view of 16 mm along axis 2 (foot-head), in training it was 100 to 200\n"
    )
    ran = predict(tmp_path / "in", tmp_path / "out", "--dry-run", "-b", narrow)
    assert told in ran.err
    assert ran.code == 0
    (case,) = json.loads(predict(tmp_path / "in", tmp_path / "out", "--dry-run", "--json", "-b", narrow).out)
    assert case["hints"] == [line.removeprefix("a: ") for line in told.splitlines()]
    assert told in predict(tmp_path / "in", tmp_path / "out", "-b", narrow).err
    assert "in training" not in predict(tmp_path / "in", tmp_path / "other", "--dry-run").err


def test_finished_cases_are_left_or_done_again(predict: Any, tmp_path: Path) -> None:
    """``--resume`` is what happens anyway; ``--overwrite`` does every case anew."""
    scan(tmp_path / "in" / "a.nii.gz")
    predict(tmp_path / "in", tmp_path / "out")
    assert "1 of 1 cases are done, 1 of them before" in predict(tmp_path / "in", tmp_path / "out", "--resume").err
    assert "predicting 1/1 a" in predict(tmp_path / "in", tmp_path / "out", "--overwrite").err


def test_wide_letters_keep_the_columns(predict: Any, tmp_path: Path) -> None:
    """Letters that take two places on a terminal are counted as two."""
    for name in ("heart", "心臓"):
        scan(tmp_path / "in" / f"{name}.nii.gz")
    lines = predict(tmp_path / "in", tmp_path / "out", "--dry-run").out.splitlines()
    assert lines[1].index("12 x 10 x 8") == len("heart  ")
    assert lines[2].index("12 x 10 x 8") == len("心臓") + len("   ")
