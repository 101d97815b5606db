from __future__ import annotations

import copy
import json
import pickle
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volseg.labels import Labels
from volseg.recipe import Recipe, dump_recipe
from volseg.recipe.yaml_text import parse_yaml

NAMES = st.text(alphabet=st.characters(categories=["L", "N", "Pd"]), min_size=1, max_size=12).filter(
    lambda name: name != "background"
) | st.sampled_from(["none", "1", "yes", "null", "1e3", "left ventricle"])
POSITIVE = st.floats(1e-6, 1e6)
SHARE = st.floats(0, 1)


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    """Valid recipes from all corners, as plain data."""
    axes = draw(st.sampled_from([2, 3]))
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    values = draw(st.lists(st.integers(1, 65535), min_size=len(names), max_size=len(names), unique=True))
    levels = draw(st.integers(2, 4))
    per_axis = st.lists(st.sampled_from([1, 3, 5]), min_size=axes, max_size=axes)
    network: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "kernel_sizes": st.sampled_from([1, 3]) | st.lists(per_axis, min_size=levels, max_size=levels),
                "norm": st.sampled_from([None, "batch", "instance"]),
                "dropout": st.floats(0, 0.99),
                "deep_supervision": st.booleans(),
            },
        )
    )
    return draw(
        st.fixed_dictionaries(
            {
                "labels": st.just({"values": dict(zip(names, values, strict=True))}),
                "image": st.fixed_dictionaries(
                    {"spatial_dims": st.just(axes)},
                    optional={
                        "spacing": st.lists(st.just("native") | st.floats(0.05, 50), min_size=axes, max_size=axes),
                        "channels": st.lists(NAMES, min_size=1, max_size=3, unique=True),
                        "axcodes": st.sampled_from([None, "LPS"] if axes == 3 else [None]),
                        "padding_values": st.lists(st.integers(-4000, 0), max_size=2),
                    },
                ),
                "network": st.just({**network, "channels": [8] * levels}),
                "training": st.fixed_dictionaries(
                    {"patch": st.just([32] * axes), "epochs": st.integers(5, 500)},
                    optional={
                        "foreground": SHARE,
                        "cache": st.sampled_from([None, "disk"]),
                        "time_limit": st.integers(1, 10**6).map(lambda n: f"{n}s"),
                        "channels_last": st.sampled_from(["auto", True, False]),
                    },
                ),
            },
            optional={
                "normalisation": st.none() | st.just({"kind": "percentile"}),
                "optimiser": st.fixed_dictionaries(
                    {"kind": st.sampled_from(["sgd", "adam", "adamw"])},
                    optional={"lr": POSITIVE, "ema": st.none() | st.floats(0.01, 0.99)},
                ),
                "weight_map": st.fixed_dictionaries({}, optional={"w0": POSITIVE, "sigma": POSITIVE}),
                "loss": st.fixed_dictionaries(
                    {}, optional={"weights": st.just({names[0]: 2}), "dice_weight": POSITIVE}
                ),
                "inference": st.fixed_dictionaries({}, optional={"max_memory": st.sampled_from(["2GiB", "1.5GB"])}),
                "postprocessing": st.dictionaries(
                    st.sampled_from(names), st.fixed_dictionaries({}, optional={"minimum_size": POSITIVE})
                ),
                "tracking": st.just({}),
                "bundle": st.fixed_dictionaries(
                    {}, optional={"description": st.text(st.characters(categories=["L", "P", "Zs"]), min_size=1)}
                ),
            },
        )
    )


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(recipes())
def test_a_recipe_survives_every_way_of_writing_it(data: dict[str, Any]) -> None:
    """Plain data, JSON, YAML with and without defaults, and pickles all give an equal recipe with the same digest."""
    recipe = Recipe.from_dict(data)
    ways = [
        Recipe.from_dict(recipe.to_dict()),
        Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))),
        Recipe.from_dict(parse_yaml(dump_recipe(recipe), "dumped")),
        Recipe.from_dict(parse_yaml(dump_recipe(recipe, given=True), "short")),
        pickle.loads(pickle.dumps(recipe)),
        copy.deepcopy(recipe),
        recipe.changed({}),
    ]
    for other in ways:
        assert other == recipe
        assert hash(other) == hash(recipe)
        assert other.digest() == recipe.digest()
        assert dump_recipe(other) == dump_recipe(recipe)


def test_the_digest_is_of_the_meaning(short: dict[str, Any]) -> None:
    """Order of keys, the background's name, given defaults and 1 for 1.0 change nothing; any value does."""
    recipe = Recipe.from_dict(short)
    assert len(recipe.digest()) == 64
    turned = {key: short[key] for key in reversed(short)}
    turned["labels"] = {"values": {"lv": 3, "myo": 2, "rv": 1, "background": 0}}
    assert Recipe.from_dict({**turned, "loss": {"dice_weight": 1}}).digest() == recipe.digest()
    assert recipe.changed({"training.seed": 1}).digest() != recipe.digest()
    assert recipe.changed({"training.seed": 1}) != recipe
    assert recipe != "recipe"


def test_derived_values(short: dict[str, Any]) -> None:
    """Channels, classes and their values follow from the labels, in the order of the values."""
    short["labels"] = {"values": {"lv": 3, "rv": 1, "myo": 2}, "ignore": 9}
    recipe = Recipe.from_dict({**short, "image": {"spatial_dims": 3, "channels": ["T1", "T2"]}})
    assert (recipe.in_channels, recipe.out_channels, recipe.activation) == (2, 4, "softmax")
    assert recipe.class_names == ("background", "rv", "myo", "lv")
    assert recipe.class_values == ((0,), (1,), (2,), (3,))
    assert recipe.labels == Labels.of({"rv": 1, "myo": 2, "lv": 3}, ignore=9)
    assert recipe.image.axcodes == "RAS"
    assert recipe.network_arguments()["in_channels"] == 2
    assert recipe.shape.total_stride == (16, 16, 16)
    assert recipe.class_weights is None
    assert recipe.changed({"loss.weights": {"myo": 2}}).class_weights == (1.0, 1.0, 2.0, 1.0)


def test_regions_can_be_what_the_network_gives(short: dict[str, Any]) -> None:
    """With output 'regions' there is a channel for each, which may overlap, and none for the background."""
    short["labels"] = {
        "values": {"rv": 1, "myo": 2, "lv": 3},
        "regions": {"heart": ["rv", "myo", "lv"], "left": ["myo", "lv"], "cavity": ["lv"]},
        "output": "regions",
    }
    recipe = Recipe.from_dict(short)
    assert (recipe.out_channels, recipe.activation) == (3, "sigmoid")
    assert recipe.class_values == ((1, 2, 3), (2, 3), (3,))


def test_deep_supervision_halves_from_level_to_level(short: dict[str, Any]) -> None:
    """Without weights of its own every output counts half of the finer one; the sum is 1."""
    recipe = Recipe.from_dict(short)
    assert recipe.deep_supervision_weights is None
    deep = recipe.changed({"network.deep_supervision": True, "network.channels": [8, 8, 8]})
    assert deep.deep_supervision_weights == (2 / 3, 1 / 3)
    assert deep.changed({"loss.deep_supervision": [3, 1]}).deep_supervision_weights == (0.75, 0.25)


def test_dimensions_follow_the_images(short: dict[str, Any]) -> None:
    """A network without dimensions of its own has those of the images; 2-D images have no orientation."""
    assert Recipe.from_dict(short).spatial_dims == 3
    flat = Recipe.from_dict({**short, "image": {"spatial_dims": 2}, "training": {"patch": [64, 64]}})
    assert flat.spatial_dims == 2
    assert flat.image.axcodes is None
    assert Recipe.from_dict({**short, "image": {"spatial_dims": 3, "axcodes": None}}).image.axcodes is None


def test_comments_stand_above_their_keys(short: dict[str, Any]) -> None:
    """Reasons are written above the keys they are for, long ones wrapped, and change nothing."""
    recipe = Recipe.from_dict(short).changed({"optimiser": {"lr": 0.5}})
    reasons = {
        "training.patch": "fits into memory " * 12,
        "optimiser.lr": "was stable",
        "folds.number": "few cases",
        "labels.values.rv": "of\nthe data",
    }
    text = dump_recipe(recipe, given=True, comments=reasons)
    assert Recipe.from_dict(parse_yaml(text, "dumped")) == recipe
    assert "  # of the data\n  values: {rv: 1, myo: 2, lv: 3}\n" in text
    assert "# few cases\nlabels:\n" in text
    assert "# was stable\noptimiser: {lr: 0.5}\n" in text
    assert " ".join(text.replace("#", " ").split()).count("fits into memory") == 12
    assert max(map(len, text.splitlines())) <= 112


def test_a_change_of_kind_brings_its_defaults(short: dict[str, Any]) -> None:
    """Changing a recipe in Python does what an overlay does to the file."""
    recipe = Recipe.from_dict({**short, "optimiser": {"weight_decay": 0.5}})
    sgd = recipe.changed({"optimiser.kind": "sgd"})
    assert sgd == Recipe.from_dict({**short, "optimiser": {"kind": "sgd", "weight_decay": 0.5}})
    assert sgd.optimiser.lr == 0.01
    assert sgd.changed({"optimiser.kind": "adamw"}) == recipe
