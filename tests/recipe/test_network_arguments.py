from __future__ import annotations

from pathlib import Path

import pytest
import torch

from volseg.networks import FCN, UNet
from volseg.recipe import load_recipe

CONFIGS = Path(__file__).parents[2] / "configs"
KINDS = {"unet": UNet, "fcn": FCN}
# weights are shipped in half precision, in files of at most 10 MB
LARGEST = 5_000_000


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
@pytest.mark.parametrize("kind", ["unet", "fcn"])
def test_the_network_a_recipe_asks_for_is_the_one_it_reasons_about(name: str, kind: str) -> None:
    """The arguments build the network, whose sizes are those that the recipe's patch was judged by."""
    flat = load_recipe(CONFIGS / f"{name}.yaml").spatial_dims == 2
    fitting = () if kind == "unet" else (f"training.patch={[64] * (2 if flat else 3)}",)
    recipe = load_recipe(CONFIGS / f"{name}.yaml", sets=(f"network.kind={kind}", *fitting))
    with torch.device("meta"):
        network = KINDS[kind](**recipe.network_arguments())
    assert network.shape.axes == recipe.shape.axes
    assert kind == "fcn" or sum(weight.numel() for weight in network.parameters()) < LARGEST
