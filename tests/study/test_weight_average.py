"""The average of weights stands in for an ensemble only where it does as well."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from volseg.data.cohort import find_cases
from volseg.engine import compose
from volseg.io import Volume
from volseg.recipe import Recipe, load_recipe
from volseg.study.weight_average import average, average_of_files, compare_average


def weights(recipe: Recipe, seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {k: v.clone() for k, v in compose.build(compose.network_part(recipe)).state_dict().items()}


def test_numbers_are_averaged_and_counters_are_not() -> None:
    """A counter of batches has no half."""
    found = average(
        [{"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(3)}, {"w": torch.tensor([3.0, 0.0]), "n": torch.tensor(8)}]
    )
    assert found["w"].tolist() == [2.0, 1.0]
    assert found["n"].item() == 3


def test_equal_networks_average_to_themselves(tiny: Recipe, cells: Path, tmp_path: Path) -> None:
    """What changes nothing is as good."""
    for number in range(2):
        save_file(weights(tiny, 1), tmp_path / f"{number}.safetensors")
    paths = [tmp_path / "0.safetensors", tmp_path / "1.safetensors"]
    save_file(average_of_files(paths), tmp_path / "average.safetensors")
    found = compare_average(tmp_path / "average.safetensors", paths, tiny, find_cases(cells).labelled, device="cpu")
    assert found.as_good
    assert found.difference.mean == pytest.approx(0)
    assert found.difference.n == 8


def test_a_worse_average_is_found_out_soon(tiny: Recipe, cells: Path, tmp_path: Path) -> None:
    """Weights that mark everything against members that mark nothing wrong: a few cases are enough."""
    everything, nothing = weights(tiny, 1), weights(tiny, 1)
    last = [name for name in everything if name.endswith("bias")][-1]
    assert len(everything[last]) == 2
    everything[last], nothing[last] = torch.tensor([-50.0, 50.0]), torch.tensor([50.0, -50.0])
    save_file(everything, tmp_path / "member.safetensors")
    save_file(nothing, tmp_path / "average.safetensors")
    cases = find_cases(cells).labelled
    found = compare_average(
        tmp_path / "average.safetensors", [tmp_path / "member.safetensors"], tiny, cases, device="cpu"
    )
    assert not found.as_good
    assert found.difference.n == 3
    assert found.difference.mean < -0.1


def test_voxels_without_a_truth_do_not_count(micrographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where objects are told apart and a value says that nobody knows, networks that differ there alone are alike."""

    class Bundle:
        def __init__(self, recipe: Recipe, weights: list[Path]) -> None:
            self.cut = len(weights) == 1

        def predictor(self, **_: object) -> Bundle:
            return self

        def __call__(self, volumes: list[Volume]) -> SimpleNamespace:
            made = volumes[0].array > 100
            made[:, 24:] &= not self.cut  # where the third object lies
            return SimpleNamespace(labels=made)

    monkeypatch.setattr("volseg.study.weight_average.member_bundle", Bundle)
    cases, recipe = find_cases(micrographs / "data").labelled, load_recipe(micrographs / "recipe.yaml")
    weights = Path("average"), [Path("one"), Path("other")]
    assert compare_average(*weights, recipe, cases).difference.mean < -0.1
    assert compare_average(*weights, recipe.changed({"labels.ignore": 3}), cases).difference.mean == 0
