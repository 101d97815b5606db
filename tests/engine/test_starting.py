"""Trainings that start from trained weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from volseg.bundle.finished import leave_bundle
from volseg.bundle.rendering.build import build_bundle
from volseg.engine.compose import build, network_part
from volseg.engine.run_folder import RunError
from volseg.engine.starting import Start, fit_start
from volseg.engine.stopping import Stop
from volseg.engine.train import train
from volseg.errors import UsageError
from volseg.recipe import Recipe, load_recipe
from volseg.study.cross_validation import cross_validate

Make = Callable[..., Recipe]
NOTE = "starting from the weights of before: validation is fair only to cases that those never saw"
PLAIN = {"augmentation__spatial": None}
PLANE = {"spatial_dims": 2, "channels": [4, 8, 8], "strides": 2, "kernel_sizes": 3}
STACK = {
    "spatial_dims": 3,
    "channels": [4, 8, 8],
    "strides": [[2, 2, 1], [2, 2, 1]],
    "kernel_sizes": [[3, 3, 1], 3, [3, 3, 5]],
}


@dataclass(frozen=True)
class Trained:
    """Weights and statistics as a training might leave them."""

    recipe: Recipe
    weights: dict[str, torch.Tensor]

    @classmethod
    def of(cls, recipe: Recipe) -> Trained:
        network = build(network_part(recipe))
        generator = torch.Generator().manual_seed(1)
        for key, value in network.state_dict().items():
            if value.dtype.is_floating_point:
                drawn = torch.randn(value.shape, generator=generator)
                fan = value[0].numel() if value.ndim > 1 else 4
                value.copy_(drawn.abs() + 0.5 if "running_var" in key or ".norm.weight" in key else drawn / fan**0.5)
        state = network.state_dict()
        return cls(recipe, {key: v.half() if v.dtype.is_floating_point else v for key, v in state.items()})

    @property
    def network(self) -> torch.nn.Module:
        return network_with(self.recipe, {key: value.float() for key, value in self.weights.items()})

    def start(self, recipe: Recipe, name: str = "before") -> Start:
        return fit_start(name, f"sha of {name}", self.recipe, self.weights, recipe)


def network_with(recipe: Recipe, weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    network: torch.nn.Module = build(network_part(recipe))
    network.load_state_dict(weights)
    return network.eval()


@pytest.mark.parametrize("upsample", ["transposed", "linear"])
@pytest.mark.parametrize("norm", ["batch", None])
@pytest.mark.parametrize("residual", [True, False])
def test_a_network_of_stacks_begins_as_that_of_slices(
    tiny: Make, upsample: str, norm: str | None, residual: bool
) -> None:
    """Every slice of its output is what the 2-D network makes of that slice."""
    more = {"upsample": upsample, "norm": norm, "residual": residual}
    flat = Trained.of(tiny(network=PLANE | more, training__patch=[24, 24], **PLAIN))
    deep = tiny(network=STACK | more)
    start = flat.start(deep)
    assert start.notes == (NOTE,)
    whole, slices = both(deep, start, flat, 5)
    assert float((whole - slices).abs().max()) < 1e-4 * float(slices.std(dim=(0, 2, 3, 4)).min())


@pytest.mark.parametrize(
    ("norm", "strides", "told"),
    [
        ("instance", [[2, 2, 1], [2, 2, 1]], "instance norm over the stack"),
        ("batch", [[2, 2, 1], [2, 2, 2]], "strides across slices"),
    ],
)
def test_where_slices_are_mixed_it_is_told(tiny: Make, norm: str, strides: list[Any], told: str) -> None:
    """Then training does not begin with the masks of the 2-D network."""
    flat = Trained.of(tiny(network=PLANE | {"norm": norm}, training__patch=[24, 24], **PLAIN))
    deep = tiny(network=STACK | {"norm": norm, "strides": strides})
    start = flat.start(deep)
    assert start.notes[1] == f"it does not begin with the masks of before: {told} see more than a slice"
    whole, slices = both(deep, start, flat, 4)
    assert float((whole - slices).abs().max()) > 0.01 * float(slices.std(dim=(0, 2, 3, 4)).max())


def both(deep: Recipe, start: Start, flat: Trained, depth: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits of a network of stacks as it begins, and those of the network of slices."""
    x = torch.randn(1, 1, 16, 24, depth, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        whole = network_with(deep, dict(start.weights))(x)
        slices = torch.stack([flat.network(x[..., i]) for i in range(depth)], dim=-1)
    return whole, slices


@given(before=st.sampled_from([1, 3, 5]), after=st.sampled_from([1, 3, 5]))
@settings(max_examples=9)
def test_kernels_are_only_ever_widened_from_one_tap(tiny_recipe: Any, before: int, after: int) -> None:
    """Equal kernels stay, one tap becomes several that compute the same, anything else is refused."""
    of = {"channels": [4, 8], "strides": [[2, 2, 1]]}
    theirs = Trained.of(tiny_recipe({"network": of | {"kernel_sizes": [[3, 3, before], 3]}}))
    wanted = tiny_recipe({"network": of | {"kernel_sizes": [[3, 3, after], 3]}})
    if before not in (1, after):
        with pytest.raises(UsageError, match=r"another network than the recipe's: it has encoder\.0\.\S+ as 4x1x3x3"):
            theirs.start(wanted)
        return
    x = torch.randn(1, 1, 8, 8, 7, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        ours = network_with(wanted, dict(theirs.start(wanted).weights))(x)
        expected = theirs.network(x)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def with_labels(recipe: Recipe, **values: int) -> Recipe:
    return Recipe.from_dict({**recipe.to_dict(), "labels": {"values": values}})


def test_other_structures_are_learnt_anew(tiny: Make) -> None:
    """The layers that tell them apart are left to chance, those of deep supervision too; all others are taken."""
    one = Trained.of(with_labels(tiny(), ventricle=3))
    start = one.start(tiny())
    assert start.notes == (NOTE, "beginning at random: head.weight, head.bias")
    assert set(one.weights) - set(start.weights) == {"head.weight", "head.bias"}
    deep = tiny(network=STACK | {"deep_supervision": True})
    notes = Trained.of(tiny(network=STACK)).start(deep).notes
    assert notes == (NOTE, "beginning at random: deep_heads.0.weight, deep_heads.0.bias")
    assert Trained.of(deep).start(tiny(network=STACK)).notes == (NOTE,)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"network.channels": [4, 6]}, "it has network.channels [4, 8], not [4, 6]"),
        ({"image.channels": ["a", "b"]}, "it has encoder.0.units.0.conv.weight as 4x1x3x3x1, not 4x2x3x3x1"),
        ({"network.norm": None}, "it has network.norm batch, not None"),
        ({"network.activation": "elu"}, "it has network.activation relu, not elu"),
        ({"network.strides": [[1, 2, 1]]}, "it has other network.strides"),
    ],
)
def test_weights_of_another_network_are_refused(tiny: Make, changes: dict[str, Any], told: str) -> None:
    """With the first difference, and what to do."""
    with pytest.raises(UsageError) as caught:
        Trained.of(tiny()).start(tiny(**{key.replace(".", "__"): value for key, value in changes.items()}))
    assert told in str(caught.value)
    assert "the weights of before" in str(caught.value)


def test_a_network_whose_head_is_not_known_keeps_its_structures(tiny: Make) -> None:
    """Of a network from elsewhere nobody knows which layer tells structures apart."""
    data = tiny().to_dict()
    data["network"] = {"kind": "monai_basic_unet", "spatial_dims": 3, "features": [8, 8, 8, 8, 8, 8]}
    data["training"]["patch"] = [32, 32, 32]
    recipe = Recipe.from_dict(data)
    theirs = Trained.of(recipe)
    assert theirs.start(recipe).notes == (NOTE,)
    with pytest.raises(UsageError, match="tells other structures apart"):
        theirs.start(with_labels(recipe, a=1, b=2, c=3))


def test_a_training_starts_from_them_and_is_resumed_to_the_bit(tiny: Make, hearts: Path, tmp_path: Path) -> None:
    """Stopped before its cases are prepared or before its first checkpoint, it goes on from the same weights."""
    recipe = tiny(training__epochs=2)
    start = Trained.of(recipe).start(recipe)
    notes: list[str] = []

    def note(event: dict[str, Any]) -> None:
        if event["event"] == "note":
            notes.append(event["text"])

    train(recipe, hearts, tmp_path / "whole", start=start, listeners=[note])
    assert notes == [NOTE]
    whole = load_file(tmp_path / "whole" / "models" / "last.safetensors")
    train(recipe, hearts, tmp_path / "random")
    random = load_file(tmp_path / "random" / "models" / "last.safetensors")
    assert not torch.equal(whole["bottom.units.0.conv.weight"], random["bottom.units.0.conv.weight"])

    for name, file in (("early", "models/start.safetensors"), ("late", "run.json")):
        run = tmp_path / name
        train(recipe, hearts, run, start=start, stop=Once(run / file))
        assert (run / "run.json").exists() == (name == "late")
        for checkpoint in (run / "checkpoints").glob("*"):
            checkpoint.unlink()
        train(recipe, hearts, run, resume=True)
        resumed = load_file(run / "models" / "last.safetensors")
        assert all(torch.equal(resumed[key], whole[key]) for key in whole)
        assert load_recipe(run / "recipe.yaml").bundle.started_from == "before (sha256 sha of before)"

    other = Trained.of(recipe).start(recipe, "other")
    with pytest.raises(RunError, match=r"started from other weights, of before \(sha256"):
        train(recipe, hearts, tmp_path / "late", resume=True, start=other)
    with pytest.raises(RunError, match="started from random weights"):
        train(recipe, hearts, tmp_path / "random", resume=True, start=start)
    (tmp_path / "late" / "models" / "start.safetensors").unlink()
    with pytest.raises(RunError, match=r"start\.safetensors: is missing"):
        train(recipe, hearts, tmp_path / "late", resume=True)


class Once(Stop):
    """Stops as soon as a file is there."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    @property
    def why(self) -> str | None:
        return "interrupted" if self.file.exists() else None


def test_a_card_never_tells_of_another_trainings_start(tiny: Make, hearts: Path, tmp_path: Path) -> None:
    """A recipe that names what its own bundle started from is trained from random weights; the bundle says so."""
    recipe = tiny(bundle__started_from="old (sha256 0)", training__epochs=1, training__validate_every=1)
    train(recipe, hearts, tmp_path / "run")
    assert "of old" not in (leave_bundle(tmp_path / "run") / "docs" / "README.md").read_text()
    weights = tmp_path / "run" / "models" / "best.safetensors"
    built = build_bundle(recipe, tmp_path / "built", weights=weights)
    assert "of old" not in (built / "docs" / "README.md").read_text()


def test_folds_start_alike(tiny: Make, hearts: Path, tmp_path: Path) -> None:
    """A cross-validation keeps what it starts from too, from before its first fold on."""
    recipe = tiny(training__epochs=1, training__validate_every=1)
    folder = tmp_path / "crossed"
    trained = Trained.of(recipe)
    cross_validate(recipe, hearts, folder, start=trained.start(recipe), stop=Once(folder / "folds.json"))
    with pytest.raises(RunError, match="started from other weights"):
        cross_validate(recipe, hearts, folder, start=trained.start(recipe, "other"), resume=True)
    found = cross_validate(recipe, hearts, folder, resume=True)
    for fold in (0, 1):
        told = load_recipe(folder / f"fold{fold}" / "recipe.yaml").bundle.started_from
        assert told == "before (sha256 sha of before)"
    assert found.bundle is not None
    assert "weights of before" in (found.bundle / "docs" / "README.md").read_text()


def test_a_licence_that_binds_is_told(tiny: Make) -> None:
    """What is learnt from weights is bound as they are."""
    notes = Trained.of(tiny(bundle__license="CC-BY-NC-SA-4.0")).start(tiny()).notes
    told = "the weights of before are under CC-BY-NC-SA-4.0; the bundle that is learnt from them says nothing"
    assert notes == (NOTE, told)
