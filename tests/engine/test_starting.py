"""Trainings that start from trained weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from volseg.engine.compose import build, network_part
from volseg.engine.run_folder import RunError
from volseg.engine.starting import Start
from volseg.engine.stopping import Stop
from volseg.engine.train import train
from volseg.errors import UsageError
from volseg.recipe import Recipe

Make = Callable[..., Recipe]
PLAIN = {"augmentation__spatial": None}
PLANE = {"spatial_dims": 2, "channels": [4, 8, 8], "strides": 2, "kernel_sizes": 3}
STACK = {
    "spatial_dims": 3,
    "channels": [4, 8, 8],
    "strides": [[2, 2, 1], [2, 2, 1]],
    "kernel_sizes": [[3, 3, 1], 3, [3, 3, 5]],
}


def trained(recipe: Recipe, name: str = "before") -> Start:
    """Weights and statistics as a training might leave them."""
    network = build(network_part(recipe))
    generator = torch.Generator().manual_seed(1)
    for key, value in network.state_dict().items():
        if value.dtype.is_floating_point:
            value.copy_(torch.rand(value.shape, generator=generator) * (1.0 if "running_var" in key else 0.4) + 0.05)
    weights = {
        key: value.half() if value.dtype.is_floating_point else value for key, value in network.state_dict().items()
    }
    return Start(name, f"sha of {name}", recipe, weights)


def network_with(recipe: Recipe, weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    network: torch.nn.Module = build(network_part(recipe))
    network.load_state_dict(weights)
    return network.eval()


@pytest.mark.parametrize("upsample", ["transposed", "linear"])
@pytest.mark.parametrize("norm", ["batch", None])
def test_a_network_of_stacks_begins_as_that_of_slices(tiny: Make, upsample: str, norm: str | None) -> None:
    """Every slice of its output is what the 2-D network makes of that slice."""
    flat = tiny(network=PLANE | {"upsample": upsample, "norm": norm}, training__patch=[24, 24], **PLAIN)
    deep = tiny(network=STACK | {"upsample": upsample, "norm": norm})
    start = trained(flat)
    weights, afresh = start.fitted(deep)
    assert afresh == ()
    stack = torch.randn(1, 1, 16, 24, 5, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        whole = network_with(deep, weights)(stack)
        plane = network_with(flat, {k: v.float() for k, v in start.weights.items()})
        slices = torch.stack([plane(stack[..., i]) for i in range(5)], dim=-1)
    torch.testing.assert_close(whole, slices, rtol=1e-4, atol=1e-4 * float(slices.abs().max()))


@given(before=st.sampled_from([1, 3, 5]), after=st.sampled_from([1, 3, 5]))
@settings(max_examples=9)
def test_kernels_are_only_ever_widened_from_one_tap(tiny_recipe: Any, before: int, after: int) -> None:
    """Equal kernels stay, one tap becomes several that compute the same, anything else is refused."""
    of = {"channels": [4, 8], "strides": [[2, 2, 1]]}
    start = trained(tiny_recipe({"network": of | {"kernel_sizes": [[3, 3, before], 3]}}))
    wanted = tiny_recipe({"network": of | {"kernel_sizes": [[3, 3, after], 3]}})
    if before not in (1, after):
        with pytest.raises(
            UsageError, match=r"another network than the recipe's: they have encoder\.0\.\S+ as 4x1x3x3"
        ):
            start.fitted(wanted)
        return
    x = torch.randn(1, 1, 8, 8, 7, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        ours = network_with(wanted, start.fitted(wanted)[0])(x)
        theirs = network_with(start.recipe, {k: v.float() for k, v in start.weights.items()})(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def test_other_structures_are_learnt_anew(tiny: Make) -> None:
    """The layers that tell them apart are left to chance, those of deep supervision too; all others are taken."""
    one = {"values": {"left ventricle": 3}}
    start = trained(Recipe.from_dict({**tiny().to_dict(), "labels": one}))
    weights, afresh = start.fitted(tiny())
    assert afresh == ("head.weight", "head.bias")
    assert set(weights) == set(start.weights) - set(afresh)
    deep = tiny(network=STACK | {"deep_supervision": True})
    _, afresh = trained(tiny(network=STACK)).fitted(deep)
    assert afresh == ("deep_heads.0.weight", "deep_heads.0.bias")
    _, afresh = trained(deep).fitted(tiny(network=STACK))
    assert afresh == ()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"network.channels": [4, 6]}, "have bottom.units.0.conv.weight as 8x4x3x3x3, not 6x4x3x3x3"),
        ({"image.channels": ["a", "b"]}, "have encoder.0.units.0.conv.weight as 4x1x3x3x1, not 4x2x3x3x1"),
        ({"network.norm": None}, "have encoder.0.units.0.norm"),
        ({"network.residual": True}, "have no encoder.0.shortcut"),
    ],
)
def test_weights_of_another_network_are_refused(tiny: Make, changes: dict[str, Any], told: str) -> None:
    """With the first difference, and what to do."""
    with pytest.raises(UsageError) as caught:
        trained(tiny()).fitted(tiny(**{key.replace(".", "__"): value for key, value in changes.items()}))
    assert told in str(caught.value)
    assert "before" in str(caught.value)


def test_a_training_starts_from_them_and_is_resumed_to_the_bit(tiny: Make, hearts: Path, tmp_path: Path) -> None:
    """Stopped before its first checkpoint too; the run tells what it started from, and keeps to it."""
    recipe = tiny(training__epochs=2)
    start = trained(recipe)
    notes: list[str] = []

    def note(event: dict[str, Any]) -> None:
        if event["event"] == "note":
            notes.append(event["text"])

    train(recipe, hearts, tmp_path / "whole", start=start, listeners=[note])
    assert notes == ["starting from the weights of before: validation is fair only to cases that those never saw"]
    whole = load_file(tmp_path / "whole" / "models" / "last.safetensors")
    train(recipe, hearts, tmp_path / "random")
    random = load_file(tmp_path / "random" / "models" / "last.safetensors")
    assert not torch.equal(whole["bottom.units.0.conv.weight"], random["bottom.units.0.conv.weight"])

    class AfterTheProbe(Stop):
        """Stops when the first step is done."""

        @property
        def why(self) -> str | None:
            begun = (tmp_path / "part" / "run.json").exists()
            return "interrupted" if begun else None

    train(recipe, hearts, tmp_path / "part", start=start, stop=AfterTheProbe())
    for checkpoint in (tmp_path / "part" / "checkpoints").glob("*"):
        checkpoint.unlink()
    told = json.loads((tmp_path / "part" / "run.json").read_text())["start"]
    assert told == {"name": "before", "sha256": "sha of before"}
    other = Start("other", "another sha", recipe, start.weights)
    with pytest.raises(RunError, match="started from other weights, of before"):
        train(recipe, hearts, tmp_path / "part", resume=True, start=other)
    with pytest.raises(RunError, match="started from random weights"):
        train(recipe, hearts, tmp_path / "random", resume=True, start=start)
    train(recipe, hearts, tmp_path / "part", resume=True)
    part = load_file(tmp_path / "part" / "models" / "last.safetensors")
    assert all(torch.equal(part[name], whole[name]) for name in whole)


def test_a_licence_that_binds_is_told(tiny: Make, hearts: Path, tmp_path: Path) -> None:
    """What is learnt from weights is bound as they are."""
    notes: list[str] = []
    start = trained(tiny(bundle__license="CC-BY-NC-SA-4.0"))
    train(
        tiny(training__epochs=1, training__validate_every=1),
        hearts,
        tmp_path / "run",
        start=start,
        listeners=[lambda event: notes.append(event.get("text", ""))],
    )
    assert "those weights are under CC-BY-NC-SA-4.0; the bundle that is learnt from them says Apache-2.0" in notes
