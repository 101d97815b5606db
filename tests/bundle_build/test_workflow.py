"""The first step of a run, and what MONAI's own programs find in a bundle."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import monai.bundle
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from volseg.bundle.check import check_bundle
from volseg.bundle.rendering.configs import CONFIGS, OVERLAYS, config_named, overlay_config
from volseg.bundle.rendering.packages import require_packages
from volseg.bundle.state_dict import read_weights
from volseg.bundle.workflow import begin, cause_of, effective_recipe
from volseg.data.cohort import find_cases
from volseg.errors import BundleError, RecipeError, UsageError, VolsegError
from volseg.recipe import Recipe, load_recipe


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """MONAI logs what it is given."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def _workflow(bundle: Path, name: str, kind: str, **settings: Any) -> ConfigWorkflow:
    file = str(bundle / "configs" / f"{name}.json")
    return ConfigWorkflow(
        file, logging_file=False, workflow_type=kind, **{"bundle_root": str(bundle), "device": "cpu", **settings}
    )


def _error(bundle: Path, name: str, **settings: Any) -> VolsegError:
    with pytest.raises(RuntimeError) as raised:
        _workflow(bundle, name, "train" if name.endswith("train") else "infer", **settings).initialize()
    found = cause_of(raised.value)
    assert found is not None
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_properties(name: str, untrained: Path) -> None:
    """Every required property of MONAI's is there, and built, without data and without weights."""
    workflow = _workflow(untrained, name, "train" if name.endswith("train") else "infer")
    workflow.initialize()
    assert workflow.check_properties() == []
    assert isinstance(workflow.network_def, torch.nn.Module)
    if name.endswith("train"):
        assert workflow.max_epochs == 1
        assert workflow.trainer.recipe.bundle.name == "tiny"
    else:
        assert workflow.evaluator.inferer is workflow.inferer


def test_training_patches(untrained: Path, cohort: Path) -> None:
    """The dataset of the configuration gives patches of the folder that is named, the held-out fold left out."""
    workflow = _workflow(untrained, "train", "train", data_dir=str(cohort))
    workflow.initialize()
    patches = workflow.train_dataset
    assert len(patches) == 2
    assert patches[1]["image"].shape == (1, 16, 16, 4)
    assert torch.equal(patches[(0, 1, 0)]["image"], patches[1]["image"])
    names = {case.name for case in patches.cases.cases} | {case.name for case in workflow.val_dataset.cases}
    assert len(names) == 4


@pytest.mark.filterwarnings("ignore:No hash value provided")  # MONAI's, of the schema, which is a local file
def test_verify_metadata(untrained: Path, real_data: Path) -> None:
    """MONAI's own program finds the metadata valid."""
    schema = real_data / "monai" / "meta_schema_20240725.json"
    meta = json.loads((untrained / "configs" / "metadata.json").read_text())
    assert Path(meta["schema"]).name == schema.name
    monai.bundle.verify_metadata(meta_file=str(untrained / "configs" / "metadata.json"), filepath=str(schema))


def test_verify_net_in_out(untrained: Path) -> None:
    """MONAI's own program finds the network to be as the metadata say."""
    configs = untrained / "configs"
    monai.bundle.verify_net_in_out(
        net_id="network_def",
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / "inference.json"),
        device="cpu",
        n=4,
        any=4,
    )


@pytest.mark.filterwarnings("ignore:parsing config_file")  # MONAI's, of every configuration that it reads
def test_monai_loads(trained: Path) -> None:
    """``monai.bundle.load`` gives the network with its weights."""
    network = monai.bundle.load("tiny", bundle_dir=str(trained.parent), source="github", repo="a/b/c")
    weights = read_weights(trained / "models" / "model.pt")
    for name, value in network.state_dict().items():
        assert torch.equal(value, weights[name].to(value.dtype))


@pytest.mark.parametrize(
    ("name", "settings", "line"),
    [
        ("inference", {"tuns": 1}, "--tuns: there is no such setting; did you mean --turns?"),
        ("inference", {"inferer#tyle": [8]}, "--inferer#tyle: there is no such setting; did you mean --inferer#tile?"),
        ("train", {"train#trainer#max_epoch": 1}, "did you mean --train#trainer#max_epochs?"),
        ("train", {"loss": {"_target_": "DiceLoss"}}, "loss#_target_ is not what the recipe gives"),
        ("train", {"seed": -1}, "training.seed: expected a whole number"),
        ("train", {"batch_size": "four"}, "training.batch: expected a whole number of at least 1, not 'four'"),
    ],
)
def test_settings_that_are_none(name: str, settings: dict[str, Any], line: str, untrained: Path) -> None:
    """A setting that nothing reads, or that does not fit, ends the run before it begins."""
    assert line in str(_error(untrained, name, **settings))


def test_arguments_are_settings(untrained: Path) -> None:
    """An argument of a part may be given although the configuration does not write it."""
    workflow = _workflow(untrained, "inference", "infer", **{"inferer#spatial_dims": 3})
    workflow.initialize()
    assert workflow.inferer.spatial_dims == 3


def test_own_root(trained: Path, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ``bundle_root`` it is where the configuration lies, and not the working directory."""
    monkeypatch.chdir(tmp_path)
    file = str(trained / "configs" / "inference.json")
    out = str(tmp_path / "out")
    workflow = ConfigWorkflow(file, logging_file=False, workflow_type="infer", data_dir=str(cohort), output_dir=out)
    workflow.initialize()
    workflow.run()
    assert workflow.bundle_root == str(trained)
    assert len(masks := list((tmp_path / "out").rglob("*.nii.gz"))) == 4
    told = json.loads((tmp_path / "out" / "summary.json").read_text())["cases"]
    assert {tmp_path / "out" / one["mask"] for one in told} == set(masks)


def test_a_program_that_runs_a_bundle(untrained: Path, cohort: Path, tmp_path: Path) -> None:
    """Training leaves a bundle, evaluating it measures the held-out fold: in the process of whoever asks MONAI."""
    run, scores = tmp_path / "run", tmp_path / "scores"
    trained = _workflow(untrained, "train", "train", data_dir=str(cohort), output_dir=str(run), epochs=2, seed=5)
    trained.initialize()
    trained.run()
    recipe = load_recipe(run / "bundle" / "configs" / "recipe.yaml")
    assert (recipe.training.epochs, recipe.training.seed) == (2, 5)
    assert trained.trainer.result.epoch == 2
    assert check_bundle(run / "bundle") == []

    measured = _workflow(
        run / "bundle", "evaluate", "infer", data_dir=str(cohort), output_dir=str(scores), fold=1, turns=[]
    )
    measured.initialize()
    measured.run()
    metrics = json.loads((scores / "metrics.json").read_text())
    assert metrics["fold"] == 1
    assert metrics["count"] == {"cases": 2, "scored": 2, "failed": 0, "patients": 1}
    assert set(metrics["structures"]) == {"right ventricle", "myocardium", "left ventricle"}
    rows = (scores / "metrics.csv").read_text().splitlines()
    assert len(rows) > 2 * 3
    assert len(list(scores.rglob("*.nii.gz"))) == 2

    own = [case.name for case in find_cases(cohort).cases]
    again = {row.split(",")[0] for row in rows[1:]}
    assert again < set(own)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"output_dir": None}, "add --output_dir FOLDER"),
        ({"data_dir": None}, "add --data_dir FOLDER"),
        ({"output_dir": "around"}, "the data lie in the run's folder; name another --output_dir"),
        ({"resume": "perhaps"}, "--resume is true or false, not 'perhaps'"),
        ({"deterministic": 3}, "--deterministic is true or false, not 3"),
    ],
)
def test_a_training_that_cannot_begin(
    untrained: Path, cohort: Path, tmp_path: Path, settings: dict[str, Any], line: str
) -> None:
    """Is told before anything is read, whichever way it was asked for."""
    places = {"data_dir": str(cohort), "output_dir": str(tmp_path / "run")}
    given = {**places, **settings}
    if given["output_dir"] == "around":
        given["output_dir"] = str(cohort.parent)
    workflow = _workflow(untrained, "train", "train", **given)
    with pytest.raises((RuntimeError, VolsegError)) as caught:
        workflow.initialize()
        workflow.run()
    found = caught.value if isinstance(caught.value, VolsegError) else cause_of(caught.value)
    assert line in str(found)
    assert not (tmp_path / "run").exists()


def test_another_bundle(untrained: Path, trained: Path) -> None:
    """A configuration of one bundle with the root of another is refused."""
    error = _error(untrained, "inference", bundle_root=str(trained))
    assert str(error) == (
        f"the configuration is of {untrained}, and bundle_root is {trained}; add --bundle_root {untrained}"
    )


def test_replaced_object(untrained: Path) -> None:
    """A program that replaces a part of a training hears that the recipe has no say in it."""
    workflow = _workflow(untrained, "train", "train")
    workflow.initialize()
    workflow.network_def = torch.nn.Conv3d(1, 4, 1)
    with pytest.raises(RuntimeError) as raised:
        workflow.initialize()
    assert isinstance(cause_of(raised.value), UsageError | RecipeError)


def test_packages(untrained: Path) -> None:
    """A package that is missing or too old is named with the way to get it, volseg first."""
    with pytest.raises(BundleError) as raised:
        require_packages({"required_packages_version": {"nibabel": "99.0", "volseg": "99.0.0"}})
    assert str(raised.value) == (
        'this bundle needs volseg 99.0.0 or later, and 0.1.0 is installed; pip install "volseg>=99.0.0"'
    )
    with pytest.raises(BundleError, match=r"needs nowhere_to_be_found 1\.0 or later, and none is installed"):
        require_packages({"required_packages_version": {"nowhere_to_be_found": "1.0"}})
    with pytest.raises(BundleError, match="needs torch 99 or later"):
        begin("train", str(untrained), {"pytorch_version": "99"})


def test_by_parser_alone(untrained: Path) -> None:
    """A parser without a workflow, as some programs use it, makes the trainer with its settings."""
    parser = ConfigParser()
    parser.read_config(str(untrained / "configs" / "train.json"))
    parser.read_meta(str(untrained / "configs" / "metadata.json"))
    parser.update({"bundle_root": str(untrained), "epochs": 7})
    assert parser.get_parsed_content("train#trainer").recipe.training.epochs == 7


@pytest.mark.parametrize("name", OVERLAYS)
def test_overlays_reach_the_recipe(name: str, tiny: Recipe) -> None:
    """An overlay over the configuration is the same overlay over the recipe."""
    config = config_named(tiny, "train")
    for key, value in overlay_config(tiny, name).items():
        place, *inner = key.split("#")
        if inner:
            config[place] = {**config[place], inner[0]: value}
        else:
            config[place] = value
    config["training"] = config["run"]
    assert effective_recipe(tiny, config, "train") == tiny.changed(OVERLAYS[name])
