"""What the parts of a configuration do by themselves: cases of a folder, one at a time, and what each refuses."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.refusals import refusal
from volseg.bundle.finished import leave_bundle
from volseg.bundle.load import load_bundle
from volseg.bundle.predicting import Images, Masks, OneByOne, PredictCase, WeightsLoader
from volseg.bundle.storage.manifest import SAFETENSORS
from volseg.bundle.training import Cases, Training
from volseg.data.cohort import find_cases
from volseg.data.folds import make_folds
from volseg.engine import compose
from volseg.engine.train import TrainingResult
from volseg.errors import VolsegError
from volseg.inference.overlap_tile import OverlapTileInferer
from volseg.recipe import Recipe


def _told(use: Callable[[], object]) -> str:
    with pytest.raises(VolsegError) as caught:
        use()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def unlabelled(cohort: Path, tmp_path: Path) -> Path:
    shutil.copytree(cohort, tmp_path / "hearts")
    for file in [case.label for case in find_cases(cohort).labelled]:
        assert file is not None
        (tmp_path / "hearts" / file.relative_to(cohort)).unlink()
    return tmp_path / "hearts"


def test_images_of_a_folder(cohort: Path, unlabelled: Path) -> None:
    """All of them, those with a truth, those of a fold, those of one process among several."""
    every = find_cases(cohort, labels="none").cases
    assert [case.name for case in Images(str(cohort)).cases] == [case.name for case in every]
    assert [item["case"].name for item in OneByOne(Images(str(cohort)))] == [case.name for case in every]
    assert len(Images(str(cohort), truths=True)) == len(find_cases(cohort).labelled) == 4
    assert [len(Images(str(cohort), rank=rank, world=3)) for rank in range(3)] == [2, 1, 1]
    assert Images(str(cohort), rank=1, world=3).cases == tuple(every[1::3])
    for fold in range(2):
        held = make_folds(find_cases(cohort).labelled, number=2)[fold]
        found = Images(str(cohort), truths=True, fold=fold, folds={"number": 2}).cases
        assert {case.name for case in found} == {*held.validation, *held.test}
    outside = "there is no fold 2; folds are 0 to 1"
    assert _told(lambda: Images(str(cohort), truths=True, fold=2, folds={"number": 2}).cases) == outside
    for fold in (-1, True):
        assert f"there is no fold {fold};" in _told(
            lambda fold=fold: Images(str(cohort), fold=fold, folds={"number": 2}).cases
        )
    assert _told(lambda: Images(None).cases) == "no data are named; add --data_dir FOLDER"
    assert _told(lambda: Images(str(unlabelled), truths=True).cases) == (
        f"{unlabelled}: no image has a label map to be measured by; put them beside the images"
    )


def test_a_case_that_cannot_be_read_is_an_item(cohort: Path) -> None:
    """Its error comes in the place of its voxels, and goes through to the end."""
    images = Images(str(cohort), 2, (0.1, 100))
    item = images[0]
    name = images.cases[0].name
    assert str(item["error"]) == f"{name}: has 1 channels; the bundle takes 2"
    assert item["case"] is images.cases[0]
    volumes = Images(str(cohort), 1, (0.1, 100))[0]["volumes"]
    assert len(volumes) == 1
    assert "error" in Images(str(cohort), 1, (50, 100))[0]  # no voxel is that large


class _TooFew:
    """An inferer that loses a voxel along each axis."""

    def __call__(self, image: torch.Tensor, network: torch.nn.Module) -> torch.Tensor:
        return network(image)[..., :-1, :-1, :-1]


def test_a_case_is_predicted_by_any_inferer_that_keeps_its_size(trained: Path, cohort: Path) -> None:
    """Ours says how pieces are made; what gives fewer voxels, or takes slices along another axis, is refused."""
    bundle = load_bundle(trained)
    own = bundle.predictor(device="cpu", turns=[], raw=True)
    predict = PredictCase(own.preparation, own.decision, bundle.recipe.labels, order="linear")
    item = Images(str(cohort))[0]

    def of(inferer: Any) -> dict[str, Any]:
        return predict(SimpleNamespace(network=bundle.network(), inferer=inferer), item)

    shape, name = own.prepare(item["volumes"]).image.shape[1:], item["case"].name
    assert str(of(_TooFew())["error"]) == (
        f"{name}: _TooFew gave logits of {tuple(size - 1 for size in shape)} for {tuple(shape)} voxels; "
        "use volseg.inference.overlap_tile.OverlapTileInferer"
    )
    assert str(of(OverlapTileInferer(slice_axis=0))["error"]) == (
        f"{name}: slice_axis is 0, and networks of slices learn from those along the last axis; "
        "leave inferer#slice_axis out"
    )
    exact = of(OverlapTileInferer(spatial_dims=3))["prediction"].labels
    assert np.array_equal(exact, own(item["volumes"]).labels)
    failed = {"case": item["case"], "error": VolsegError("is bad")}
    assert predict(SimpleNamespace(network=None, inferer=None), failed) == failed


def test_weights_come_when_an_engine_starts(tiny: Recipe, trained: Path, tmp_path: Path) -> None:
    """Those of the network and of each member, or none and a line."""
    network = compose.build(compose.network_part(tiny))
    file = str(trained / SAFETENSORS)
    loader = WeightsLoader(file, network, [file])
    before = network.state_dict()["head.weight"].clone()
    loader()
    own, other = network.state_dict(), loader.members[0].state_dict()
    assert not torch.equal(own["head.weight"], before)
    assert all(torch.equal(own[name], other[name]) for name in own)
    assert refusal(lambda path: WeightsLoader(str(path), network)(), tmp_path / "w.pt") == (
        "there are no weights here; name a file of weights, or train the bundle first"
    )


def test_masks_have_a_place_before_a_run_begins(
    tiny: Recipe, trained: Path, cohort: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder that is named and is none of the data's; how many cases there are is told."""
    weights = WeightsLoader(str(trained / SAFETENSORS), compose.build(compose.network_part(tiny)))

    def judge(folder: Path | None) -> None:
        Masks(None if folder is None else str(folder), tiny.labels).judge(Images(str(cohort)), weights)

    assert _told(lambda: judge(None)) == "no output folder is named; add --output_dir FOLDER"
    (tmp_path / "file").write_text("x")
    assert _told(lambda: judge(tmp_path / "file")) == (
        f"{tmp_path / 'file'}: is a file, and a folder is needed; name another --output_dir"
    )
    caplog.set_level(logging.INFO, logger="volseg.bundle.predicting")
    judge(tmp_path / "masks")
    assert caplog.messages == [f"4 cases in {cohort}"]
    assert not (tmp_path / "masks").exists()


def test_a_training_has_cases_and_a_place(tiny: Recipe, cohort: Path, unlabelled: Path, tmp_path: Path) -> None:
    """A fold that is there, label maps, and another folder than the data's."""
    cases = Cases(str(cohort), "train", 2, {"number": 2}, None)  # type: ignore[arg-type]
    assert _told(lambda: cases.cases) == "there is no fold 2; folds are 0 to 1"
    learnt = [Cases(str(cohort), part, 1, {"number": 2}, None).cases for part in ("train", "validation")]  # type: ignore[arg-type]
    assert [len(part) for part in learnt] == [2, 2]
    assert _told(Training(tiny, 1, str(unlabelled), str(tmp_path / "run")).judge) == (
        f"{unlabelled}: no case has a label map to learn from; put them beside the images"
    )
    for output in (cohort, cohort.parent):
        assert _told(Training(tiny, 1, str(cohort), str(output)).judge) == (
            f"{output}: the data lie in the run's folder; name another --output_dir"
        )
    Training(tiny, 1, str(cohort), str(cohort / "run")).judge()


def test_a_training_that_was_interrupted(tiny: Recipe, cohort: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """With nothing to use says how to go on; with a best network it leaves its bundle, in the first process."""
    training = Training(tiny, 1, str(cohort), str(tmp_path / "run"))
    result = TrainingResult(tmp_path / "run", "interrupted", 3, None, None, {}, True)
    monkeypatch.setattr("volseg.bundle.training.train", lambda *_, **__: result)
    assert _told(training.run) == f"{tmp_path / 'run'}: interrupted in epoch 3; add --resume true to go on"
    assert training.result is result
    monkeypatch.setenv("RANK", "1")
    assert training.leave_bundle() is None
    monkeypatch.setenv("RANK", "0")
    (tmp_path / "run").mkdir()
    assert _told(training.leave_bundle) == f"{tmp_path / 'run'}: the run has no weights; train first"
    assert refusal(leave_bundle, tmp_path / "run") == "the run has no weights; train first"
