from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from volseg.errors import RecipeError
from volseg.recipe import Recipe, load_recipe

# what is laid over the short recipe, and exactly what its author sees
KINDS = "'unet', 'fcn', 'monai_unet', 'monai_basic_unet', 'monai_dyn_unet' or 'monai_seg_res_net'"

MISTAKES = [
    ("training.epochz: 9", "training.epochz: unknown key; did you mean 'epochs'?"),
    ("training: {batchsize: 9}", "training.batchsize: unknown key; did you mean 'batch'?"),
    ("optimizer: {lr: 1}", "optimizer: unknown key; did you mean 'optimiser'?"),
    ("epochs: 9", "epochs: unknown key; did you mean 'training.epochs'?"),
    ("network: {kernal: 3}", "network.kernal: unknown key; did you mean 'kernel_sizes'?"),
    ("<<: {a: 1}", "<<: unknown key; known are labels, image, normalisation, network, augmentation, weight_map, loss, "
     "optimiser, training, inference, postprocessing, folds, tracking, bundle"),
    ("network: {<unet>: 1}", "network.<unet>: unknown key; known are kind, spatial_dims, channels, kernel_sizes, "
     "strides, padding, norm, activation, dropout, residual, upsample, deep_supervision"),
    ("folds: {'[key]': 1}", "folds.[key]: unknown key; known are number, seed, group_by, stratify"),
    ("folds: {q: 1}", "folds.q: unknown key; known are number, seed, group_by, stratify"),
    (
        "augmentation: {spatial.rotation: 3}",
        "augmentation.'spatial.rotation': unknown key; a key with dots stands only at the top level",
    ),
    (
        "augmentation: {intensity: {noise: {std: [0, 1], sd: 1}}}",
        "augmentation.intensity.noise.sd: unknown key; did you mean 'std'?",
    ),
    ("training.epochs: abc", "training.epochs: expected a whole number of at least 1, not 'abc'"),
    ("training.epochs: 0", "training.epochs: expected a whole number of at least 1, not 0"),
    ("training.epochs: 2.5", "training.epochs: expected a whole number of at least 1, not 2.5"),
    ("training.epochs: true", "training.epochs: expected a whole number of at least 1, not true"),
    ("training.epochs: none", "training.epochs: expected a whole number of at least 1, not none"),
    ("training.epochs: [3]", "training.epochs: expected a whole number of at least 1, not [3]"),
    ("training.foreground: 1.5", "training.foreground: expected a number from 0 to 1, not 1.5"),
    (
        "training.precision: fp32",
        "training.precision: expected 'auto', 'float32', 'bf16' or 'fp16', not 'fp32'; did you mean 'float32'?",
    ),
    (
        "training.channels_last: yes",
        "training.channels_last: expected 'auto', true or false, not 'yes'; did you mean true?",
    ),
    ("folds.stratify: off", "folds.stratify: expected true or false, not 'off'; did you mean false?"),
    (
        "training.time_limit: 30",
        "training.time_limit: expected none or a length of time with its unit, such as 30min or 1h30min, not 30",
    ),
    (
        "inference.max_memory: 100kB",
        "inference.max_memory: expected none or a size of at least 1MiB with its unit, such as 2GiB, not '100kB'",
    ),
    (
        "training.time_limit: soon",
        "training.time_limit: expected none or a length of time with its unit, such as 30min or 1h30min, not 'soon'",
    ),
    (
        "inference.max_memory: 2 gigs",
        "inference.max_memory: expected none or a size of at least 1MiB with its unit, such as 2GiB, not '2 gigs'",
    ),
    (
        "network.norm: batchnorm",
        "network.norm: expected none, 'batch' or 'instance', not 'batchnorm'; did you mean 'batch'?",
    ),
    ("network.kind: unett", f"network.kind: expected {KINDS}, not 'unett'; did you mean 'unet'?"),
    ("network.kind: 3", f"network.kind: expected {KINDS}, not 3"),
    ("network: unet", "network: expected a mapping of keys, not 'unet'; did you mean {kind: unet}?"),
    (
        "network: {kind: fcn, channels: [8, 16]}",
        "network.channels: unknown key; it belongs to kind 'unet' or 'monai_unet'",
    ),
    ("weight_map: 10", "weight_map: expected none or a mapping of keys, not 10"),
    ("optimiser.lr: -1", "optimiser.lr: expected a number above 0, not -1"),
    ("optimiser.lr: .nan", "optimiser.lr: expected a number above 0, not nan"),
    ("optimiser.ema: 1", "optimiser.ema: expected none or a number above 0 and below 1, not 1"),
    ("optimiser: {kind: sgd, betas: [0.9, 0.99]}", "optimiser.betas: unknown key; it belongs to kind "
     "'adam' or 'adamw'"),
    ("training.patch: 64", "training.patch: expected a list of whole numbers, one per axis, not 64"),
    ("training.patch: [64, 64, x]", "training.patch[2]: expected a whole number from 1 to 16384, not 'x'"),
    (
        "network.strides: [2, 2, [2, x, 2], 2]",
        "network.strides[2][1]: expected a whole number from 1 to 64, not 'x'",
    ),
    (
        "network.strides: two",
        "network.strides: expected a whole number from 1 to 64, or a list with one per level (or, per level, a list "
        "with one per axis), not 'two'",
    ),
    ("image.axcodes: RAX", "image.axcodes: expected none or three letters, one each of L/R, P/A and S/I, such as RAS, "
     "not 'RAX'"),
    ("image.spacing: [1, 1, x]", "image.spacing[2]: expected millimetres or 'native', not 'x'"),
    ("image.modality: mr", "image.modality: expected 'CT', 'MR', 'PET', 'US', 'XR', 'microscopy' or 'other', "
     "not 'mr'; did you mean 'MR'?"),
    ("image.resampling_order: 1.0", "image.resampling_order: expected 1 or 3, not 1.0"),
    ("image.allowed_spacing: [3, 1]", "image.allowed_spacing: expected two positive numbers, the smaller first, "
     "not [3, 1]"),
    ("augmentation.flips: [1, 1]", "augmentation.flips: expected a list of different axes (0, 1, 2), not [1, 1]"),
    ("augmentation.right_angles: [[0]]", "augmentation.right_angles[0]: expected two different axes, such as [0, 1], "
     "not [0]"),
    ("labels.values.a.b: 4", "labels.values.a: expected a whole number from 0 to 65535, not {b: 4}"),
    ("labels.values: {'a.b': 4}", "labels.values.'a.b': cannot be a name; expected a name without dots"),
    ("labels.colours: {rv: red}", "labels.colours.rv: expected a colour such as '#E69F00', not 'red'"),
    ("bundle.version: 1.0", "bundle.version: expected three numbers such as '0.1.0', not 1.0"),
    ("bundle.authors: 5", "bundle.authors: expected one line of text, not 5; write it in quotes"),
    ("tracking: mlflow", "tracking: expected none or a mapping of keys, not 'mlflow'; did you mean {kind: mlflow}?"),
    ("normalisation: {kind: ct, clip: [0, 1], mean: 0, std: 0}", "normalisation.std: expected a number above 0, not 0"),
    ("normalisation: {kind: ct, clip: [0, 1], mean: 0}", "normalisation.std: missing; standard deviation of the "
     "cohort's foreground"),
    ("training.seed: 123456789012345678901", "training.seed: expected a whole number of at least 0 and below "
     "4294967296, not 123456789012345678901"),
    ("bundle.name: '" + "ab " * 40 + "'", "bundle.name: expected none or a name of small letters, digits and "
     "underscores, not 'ab ab ab ab ab ab ab ab ab ab ab ab ab ab ab ab ab ab ab a…"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line"), MISTAKES, ids=[text[:50] for text, _ in MISTAKES])
def test_a_mistake_is_exactly_one_line(load: Callable[..., Recipe], text: str, line: str) -> None:
    """The author of a malformed key sees its file, its full name, its value, what was expected and what is near."""
    with pytest.raises(RecipeError) as caught:
        load(text)
    assert str(caught.value) == f"one.yaml: {line}"


CONTRADICTIONS = [
    ("network.spatial_dims: 2", "recipe.yaml: training.patch: [64, 64, 32] is 3-D and the network 2-D "
     "(network.spatial_dims)"),
    ("image: {spatial_dims: 2}\ntraining.patch: [64, 64]\nnetwork.spatial_dims: 3",
     "one.yaml: network.spatial_dims: a 3-D network cannot work on 2-D images; image.spatial_dims is 2"),
    ("training.patch: [64, 60, 32]", "one.yaml: training.patch: [64, 60, 32] does not fit the network: axis 1 takes "
     "16k, not 60; nearest [64, 64, 32]"),
    ("training.patch: [64, 64, 8]", "one.yaml: training.patch: [64, 64, 8] cannot bear the network's strides: along "
     "axis 2 they multiply to 16, more than 8; nearest [64, 64, 16]"),
    ("network.strides: 64", "recipe.yaml: training.patch: [64, 64, 32] cannot bear the network's strides: along axis 2 "
     "they multiply to 16777216, more than 4096, the most there is"),
    ("network: {kind: fcn}\ntraining.patch: [64, 64, 48]", "one.yaml: training.patch: [64, 64, 48] does not fit the "
     "network: axis 2 takes 32k, not 48; nearest [64, 64, 64]"),
    ("network: {spatial_dims: 2, padding: valid}\ntraining.patch: [570, 572]", "one.yaml: training.patch: [570, 572] "
     "does not fit the network: axis 0 takes 16k + 12 from 188, not 570; nearest [572, 572]"),
    ("inference.tile: [100, 96, 32]", "one.yaml: inference.tile: [100, 96, 32] does not fit the network: axis 0 takes "
     "16k, not 100; nearest [96, 96, 32]"),
    ("training: {patch: [16, 16, 16], batch: 1}", "one.yaml: training.patch: [16, 16, 16] leaves a single voxel at the "
     "bottom of the network, which network.norm 'batch' cannot normalise; take a larger patch or fewer strides"),
    ("network.strides: [2, 2]", "one.yaml: network.strides: [2, 2] has 2 entries where 4 are needed, one fewer than "
     "network.channels"),
    ("network.kernel_sizes: [3, 3, 3, 3]", "one.yaml: network.kernel_sizes: [3, 3, 3, 3] has 4 entries where 5 are "
     "needed, as many as network.channels"),
    ("network.kernel_sizes: [3, 3, [3, 3], 3, 3]", "one.yaml: network.kernel_sizes[2]: [3, 3] has 2 entries where 3 "
     "are needed, one per axis (network.spatial_dims)"),
    ("network.kernel_sizes: 4", "one.yaml: network.kernel_sizes: 4 is even; convolutions are odd, so that they have a "
     "middle"),
    ("image.spacing: [1, 1]", "one.yaml: image.spacing: [1.0, 1.0] has 2 entries where 3 are needed, one per axis "
     "(image.spatial_dims)"),
    ("image.spacing: [1, 1, 60]", "one.yaml: image.spacing[2]: 60.0 lies outside of image.allowed_spacing, "
     "[0.05, 50.0]"),
    ("image: {spatial_dims: 2, axcodes: RAS}\ntraining.patch: [64, 64]", "one.yaml: image.axcodes: 'RAS' orients 3-D "
     "images, and image.spatial_dims is 2"),
    ("image.channels: [T1, T1]", "one.yaml: image.channels: ['T1', 'T1'] names a channel twice"),
    ("image.seen.volumes: {heart: [1, 2]}", "one.yaml: image.seen.volumes.heart: no such label; declared are rv, myo, "
     "lv"),
    ("labels.values.rv: 0", "one.yaml: labels.values.rv: 0 is the background's value; structures start at 1"),
    ("labels.values.la: 3", "recipe.yaml: labels.values.lv: 3 is the value of 'la' already"),
    ("labels.ignore: 3", "one.yaml: labels.ignore: 3 is the value of 'lv'"),
    ("labels.regions: {heart: [rv, mio]}", "one.yaml: labels.regions.heart[1]: 'mio' is no label; did you mean 'myo'?"),
    ("labels.regions: {rv: [rv, myo]}", "one.yaml: labels.regions.rv: is the name of a label already"),
    ("labels: {output: regions, regions: {heart: [rv, myo, lv]}}", "one.yaml: labels.output: 'regions' needs one "
     "region for each label, that label first in it; the first ones are ['rv']"),
    ("labels.instances: true", "one.yaml: labels.instances: tells the objects of one structure apart, and there are 3"),
    ("labels.codes: {lvv: [SCT, '1', x]}", "one.yaml: labels.codes.lvv: no such label; did you mean 'lv'?"),
    ("postprocessing: {lvv: {largest_component: true}}", "one.yaml: postprocessing.lvv: no such label or region; did "
     "you mean 'lv'?"),
    ("loss.weights: {bakground: 0.5}", "one.yaml: loss.weights.bakground: no such label; did you mean 'background'?"),
    ("loss.weights: {background: 0, rv: 0, myo: 0, lv: 0}", "one.yaml: loss.weights: every class weighs 0"),
    ("loss: {kind: dice, energy_weight: 2}", "one.yaml: loss.energy_weight: only 'dice_energy' has terms to weigh, and "
     "loss.kind is 'dice'"),
    ("loss: {kind: energy, batch: true}", "one.yaml: loss.batch: is for Dice and IoU, and loss.kind is 'energy'"),
    ("loss.deep_supervision: [1, 1]", "one.yaml: loss.deep_supervision: the network has no such outputs; set "
     "network.deep_supervision: true"),
    ("loss.deep_supervision: [1, 1]\nnetwork.deep_supervision: true", "one.yaml: loss.deep_supervision: [1.0, 1.0] has "
     "2 entries where 4 are needed, one fewer than network.channels"),
    ("weight_map: {}\nloss.kind: dice", "one.yaml: weight_map: only the energy takes a weight map, and loss.kind is "
     "'dice'"),
    ("weight_map.class_balance: [1, 2]", "one.yaml: weight_map.class_balance: [1.0, 2.0] has 2 entries where 4 are "
     "needed: background, rv, myo, lv"),
    ("weight_map.separate_instances: true", "one.yaml: weight_map.separate_instances: needs masks that tell objects "
     "apart; set labels.instances: true"),
    ("inference.tta: flips", "one.yaml: inference.tta: 'flips' needs flips, and augmentation.flips allows none"),
    ("inference.tta: flips+rotations\naugmentation.flips: [0]", "one.yaml: inference.tta: 'flips+rotations' needs "
     "turns, and augmentation.right_angles allows none"),
    ("augmentation.right_angles: [[0, 2]]", "one.yaml: augmentation.right_angles: a turn in the plane [0, 2] needs a "
     "square, and training.patch is [64, 64, 32]"),
    ("augmentation.right_angles: [[0, 1]]\nimage.spacing: [1, 2, 3]", "one.yaml: augmentation.right_angles: a turn in "
     "the plane [0, 1] needs one spacing, and image.spacing is [1.0, 2.0] there"),
    ("network.spatial_dims: 2\ntraining.patch: [64, 64]\naugmentation.flips: [2]", "one.yaml: augmentation.flips: a "
     "2-D network has no axis 2"),
    ("augmentation.spatial.rotation: [10, 20]", "one.yaml: augmentation.spatial.rotation: [10.0, 20.0] has 2 entries "
     "where 3 are needed, one per axis (network.spatial_dims)"),
    ("augmentation.spatial.elastic: {grid: 3, spacing: 32}", "one.yaml: augmentation.spatial.elastic.spacing: either "
     "spacing or grid, not both"),
    ("normalisation: {kind: ct, clip: [0, 1], mean: 0, std: 1}", "one.yaml: normalisation.kind: 'ct' is for Hounsfield "
     "units, and image.modality is 'other'"),
    ("optimiser: {kind: sgd, momentum: 0}", "one.yaml: optimiser.nesterov: needs momentum, and optimiser.momentum is "
     "0"),
    ("optimiser.warmup: 20", "one.yaml: optimiser.warmup: 20 leaves nothing of training.epochs, 20"),
    ("optimiser.accumulate: 8\ntraining.steps_per_epoch: 4", "one.yaml: optimiser.accumulate: 8 batches are more than "
     "training.steps_per_epoch, 4"),
    ("training.validate_every: 50", "one.yaml: training.validate_every: 50 is never reached: training.epochs is 20"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "lines"), CONTRADICTIONS, ids=[text[:50] for text, _ in CONTRADICTIONS])
def test_a_contradiction_names_the_key_to_change(load: Callable[..., Recipe], text: str, lines: str) -> None:
    """Keys that are right alone and wrong together give one line each, with the values of both."""
    with pytest.raises(RecipeError) as caught:
        load(text)
    assert str(caught.value) == lines


def test_all_mistakes_are_shown_up_to_eight(load: Callable[..., Recipe]) -> None:
    """Ten mistakes give eight lines and the number of those left out."""
    with pytest.raises(RecipeError) as caught:
        load("training: {" + ", ".join(f"zz{i}: 1" for i in range(10)) + "}")
    lines = str(caught.value).splitlines()
    assert len(lines) == 9
    assert all(line.startswith(f"one.yaml: training.zz{i}: unknown key") for i, line in enumerate(lines[:-1]))
    assert lines[-1] == "… and 2 more"


def test_a_missing_key_says_what_it_is_for(written: Path) -> None:
    """An absent required key is named with its meaning."""
    Path("recipe.yaml").write_text("labels.values: {a: 1}\nimage: {}\ntraining: {epochs: 3}\n", encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe("recipe.yaml")
    assert str(caught.value) == textwrap.dedent("""\
        recipe.yaml: image.spatial_dims: missing; dimensions of the images
        recipe.yaml: training.patch: missing; size of a training patch entering the network, one number per axis""")


def test_python_data_are_checked_like_files(short: dict[str, Any]) -> None:
    """Keys that are no text, and objects that YAML cannot hold, are mistakes like others."""
    with pytest.raises(RecipeError) as caught:
        Recipe.from_dict({**short, "bundle": {3: 4, "authors": object}}, where="call")
    first, second = sorted(str(caught.value).splitlines())
    assert first == "call: bundle.authors: expected one line of text, not <class 'object'>"
    assert second == "call: bundle[3]: a key must be text"
    with pytest.raises(RecipeError, match=r"^call: expected a mapping of keys, not 5$"):
        Recipe.from_dict(5, where="call")  # type: ignore[arg-type]


JUNK: list[Any] = [None, True, -1, 0, 10**18, 0.5, math.inf, math.nan, "x", "none\n", [], [[]], [1, "a"], {}, {"x": {}}]


def _places(data: dict[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in data.items():
        yield (*at, key)
        if isinstance(value, dict):
            yield from _places(value, (*at, key))


@pytest.mark.parametrize("kind", ["unet", "fcn"])
def test_no_value_anywhere_gives_more_than_lines(short: dict[str, Any], kind: str) -> None:
    """Whatever stands at a key, the recipe is valid or its mistakes are single lines that name a key."""
    rich = {"network.kind": kind, "weight_map": {}, "tracking": {}, "augmentation.spatial": {"elastic": {}},
            "postprocessing": {"rv": {}}, "inference.tile": [64, 64, 64], "training.patch": [64, 64, 64]}  # fmt: skip
    full = Recipe.from_dict(short).changed(rich).to_dict()
    refused = 0
    for place in _places(full):
        for junk in JUNK:
            data = dict(full)
            inner = data
            for key in place[:-1]:
                inner[key] = dict(inner[key])
                inner = inner[key]
            inner[place[-1]] = junk
            try:
                Recipe.from_dict(data)
            except RecipeError as error:
                refused += 1
                for line in str(error).splitlines():
                    assert line.startswith(("recipe: ", "… and ")), (place, junk, line)
                    assert len(line) < 400
                    assert "pydantic" not in line
                    assert "Input should" not in line
    assert refused > 500
