from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from volseg.errors import RecipeError
from volseg.recipe import Recipe, load_recipe

Load = Callable[..., Recipe]


def test_overlays_stack_in_their_order(load: Load) -> None:
    """A later overlay wins over an earlier one, and a setting over both."""
    one, two = "training: {epochs: 5, batch: 7}", "training.epochs: 6"
    assert load(one).training.epochs == 5
    assert load(one, two).training.epochs == 6
    assert load(two, one).training.epochs == 5
    assert load(one, two, sets=("training.epochs=8",)).training.epochs == 8
    assert load(one, two).training.batch == 7


def test_an_overlay_leaves_the_rest_alone(load: Load) -> None:
    """Keys beside a changed one keep what the recipe says."""
    base, changed = load().to_dict(), load("augmentation.spatial.elastic: {std: 3}").to_dict()
    elastic = changed["augmentation"]["spatial"].pop("elastic")
    assert elastic["std"] == 3
    assert elastic["grid"] == 3
    assert base["augmentation"]["spatial"].pop("elastic") is None
    assert changed == base


def test_what_was_seen_can_be_forgotten(load: Load) -> None:
    """For data that are not those of the recipe one begins with: nothing of its ranges is left to hint by."""
    seen = "image.seen: {spacing: [[1, 2], [1, 2], [5, 9]], volumes: {rv: [1, 2]}}"
    assert load(seen).image.seen.spacing is not None
    for forgotten in (load(seen, sets=("image.seen=null",)), load(seen, "image.seen: null")):
        assert forgotten.image.seen == load().image.seen
        assert Recipe.from_dict(forgotten.to_dict()) == forgotten
    assert load(seen, "image.seen: null", sets=("image.seen.volumes.rv=[3, 4]",)).image.seen.spacing is None


def test_nested_and_dotted_keys_mean_the_same(load: Load) -> None:
    """``optimiser.lr`` at the top and ``lr`` below ``optimiser`` are one key, in a file and in ``--set``."""
    nested = load("optimiser: {kind: sgd, lr: 0.1}")
    assert nested == load("optimiser.kind: sgd\noptimiser.lr: 0.1")
    assert nested == load(sets=("optimiser.kind=sgd", "optimiser.lr=1e-1"))
    assert nested == load("optimiser.lr: 0.1\noptimiser: {kind: sgd}")


@pytest.mark.parametrize(
    "text", ["training.epochs: 3\ntraining: {epochs: 4}", "training: {epochs: 4}\ntraining.epochs: 3"]
)
def test_one_key_said_twice_in_a_file_is_refused(load: Load, text: str) -> None:
    """A dotted key and its nested twin in one file are a mistake, not a matter of order."""
    with pytest.raises(RecipeError) as caught:
        load(text)
    assert str(caught.value) == "one.yaml: training.epochs: set twice"


def test_lists_are_replaced_whole(load: Load) -> None:
    """An overlay's list stands alone; it is not merged with the one below."""
    assert load("network.channels: [8, 16]").network_arguments()["channels"] == (8, 16)


def test_none_takes_a_section_away(load: Load) -> None:
    """``none`` and YAML's null switch off what may be absent."""
    with_map = "weight_map: {w0: 5}"
    assert load(with_map, "weight_map: none").weight_map is None
    assert load(with_map, "weight_map: null").weight_map is None
    intensity = load("augmentation.intensity.gamma: none").augmentation.intensity
    assert intensity is not None
    assert intensity.gamma is None
    assert load("network.norm: none").network_arguments()["norm"] is None


def test_another_kind_drops_the_keys_of_the_old_one_only(load: Load) -> None:
    """Switching the optimiser keeps the learning rate and drops the momentum; the network likewise."""
    sgd = "optimiser: {kind: sgd, momentum: 0.5, lr: 0.25, weight_decay: 0}"
    adam = load(sgd, sets=("optimiser.kind=adam",)).optimiser
    assert (adam.kind, adam.lr, adam.weight_decay) == ("adam", 0.25, 0)
    assert not hasattr(adam, "momentum")
    assert load("network.channels: [8, 16, 32]", sets=("network.kind=fcn",)).network.kind == "fcn"
    same = load("optimiser.betas: [0.5, 0.5]", sets=("optimiser.kind=adam",)).to_dict()["optimiser"]
    assert same["betas"] == [0.5, 0.5]


SETTINGS = [
    ("training.epochs=abc", "--set training.epochs=abc: expected a whole number of at least 1, not 'abc'"),
    ("training.epochz=1", "--set training.epochz=1: unknown key; did you mean 'epochs'?"),
    ("trainin.epochs=1", "--set trainin.epochs=1: trainin: unknown key; did you mean 'training'?"),
    ("training.patch=[64, 64]", "--set training.patch=[64, 64]: [64, 64] is 2-D and the network 3-D "
     "(network.spatial_dims)"),
    ("training.patch=[64, x, 64]", "--set training.patch=[64, x, 64]: training.patch[1]: expected a whole number from "
     "1 to 16384, not 'x'"),
    ("training.epochs", "--set training.epochs: expected KEY=VALUE, such as training.epochs=20"),
    ("=20", "--set =20: expected KEY=VALUE, such as training.epochs=20"),
    ("training..epochs=20", "--set training..epochs=20: 'training..epochs' is no key"),
    ("training.epochs=[", "--set training.epochs=[: line 1: not valid YAML: expected the node content, but found "
     "'<stream end>'"),
    ("training.epochs=", "--set training.epochs=: expected a whole number of at least 1, not none"),
    ("training.epochs=\n7\x07", "--set training.epochs=\\n7\\x07: line 2: the character '\\x07' has no place here"),
    ("network={kind: fcn, variant: 4s}", "--set network={kind: fcn, variant: 4s}: network.variant: expected '32s', "
     "'16s' or '8s', not '4s'"),
]  # fmt: skip


@pytest.mark.parametrize(("setting", "line"), SETTINGS, ids=[setting for setting, _ in SETTINGS])
def test_a_wrong_setting_is_named_as_typed(load: Load, setting: str, line: str) -> None:
    """An error of ``--set`` repeats the setting, so that the one among many is found."""
    with pytest.raises(RecipeError) as caught:
        load(sets=("training.batch=3", setting))
    assert str(caught.value) == line


def test_one_overlay_or_setting_needs_no_list(written: Path) -> None:
    """A path or setting given alone is one, and not a list of its letters."""
    Path("one.yaml").write_text("training.epochs: 5", encoding="utf-8")
    assert load_recipe("recipe.yaml", "one.yaml", "training.batch=9").to_dict() == (
        load_recipe(Path("recipe.yaml"), [Path("one.yaml")], ["training.batch=9"]).to_dict()
    )


def test_a_setting_is_yaml(load: Load) -> None:
    """Numbers, lists, mappings and none are what they are in a file; the first = ends the key."""
    recipe = load(
        sets=("training.patch=[32, 32, 32]", "optimiser.lr=1e-4", "weight_map={w0: 3}", "training.cache=none",
              "bundle.task=a=b")
    )  # fmt: skip
    assert recipe.training.patch == (32, 32, 32)
    assert recipe.optimiser.lr == 1e-4
    assert recipe.weight_map is not None
    assert recipe.training.cache is None
    assert recipe.bundle.task == "a=b"


def test_each_mistake_names_the_file_it_stands_in(load: Load) -> None:
    """A mistake in the recipe, in either overlay and in a setting are told apart."""
    Path("recipe.yaml").write_text(
        "labels.values: {a: 1}\nimage: {spatial_dims: 3}\ntraining: {patch: [64, 64, 32], batch: x}\n", encoding="utf-8"
    )
    with pytest.raises(RecipeError) as caught:
        load("training: {epochs: x}", "training: {seed: x, workers: x}", sets=("training.workers=y",))
    sources = [line.split(": ")[0] for line in str(caught.value).splitlines()]
    assert sources == ["recipe.yaml", "one.yaml", "two.yaml", "--set training.workers=y"]


FILES = [
    ("absent.yaml", None, "absent.yaml: no such file"),
    ("recipes.yaml", None, "recipes.yaml: no such file; did you mean 'recipe.yaml'?"),
    ("nowhere/recipe.yaml", None, "nowhere/recipe.yaml: no such file"),
    (".", None, ".: not a file"),
    ("a\0b.yaml", None, "a\\x00b.yaml: no such file"),
    ("empty.yaml", b"", "empty.yaml: empty; a recipe is a mapping of keys"),
    ("list.yaml", b"- 1\n- 2\n", "list.yaml: expected a mapping of keys, not [1, 2]"),
    ("huge.yaml", b"a: 1\n" * 100_000, "huge.yaml: more than 128 KiB, which no recipe needs"),
    ("latin.yaml", "labels: {M\u00fcller: 1}".encode("latin-1"), "latin.yaml: byte 10 is not UTF-8; save it as UTF-8 "
     "text"),
    ("utf16.yaml", "a: 1".encode("utf-16"), "utf16.yaml: byte 0 is not UTF-8; save it as UTF-8 text"),
    ("binary.yaml", b"a: 1\nb: \0\0", "binary.yaml: line 2: the character '\\x00' has no place here"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "line"), FILES, ids=[line[:40] for _, _, line in FILES])
def test_a_file_that_is_no_recipe_is_one_line(written: Path, name: str, content: bytes | None, line: str) -> None:
    """Missing, empty, huge, binary: the file is named and what is wrong with it."""
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load_recipe(name)
    assert str(caught.value) == line


def test_changed_gives_a_new_checked_recipe(short: dict[str, Any]) -> None:
    """A recipe is never altered; a change that does not hold together is refused under its own name."""
    recipe = Recipe.from_dict(short)
    assert recipe.changed({"training": {"epochs": 9}}).training.epochs == 9
    assert recipe.training.epochs == 20
    with pytest.raises(RecipeError, match=r"^sweep: training\.epochs: expected"):
        recipe.changed({"training.epochs": -1}, where="sweep")
    with pytest.raises(ValueError, match="frozen"):
        recipe.training.epochs = 3
    with pytest.raises(TypeError, match="frozen"):
        recipe.labelling.values["new"] = 4
