from __future__ import annotations

from typing import Any

import pytest
import torch

from volseg.engine import compose
from volseg.engine.foreign import monai_network
from volseg.errors import RecipeError, UsageError
from volseg.recipe import Recipe

KEYS = {"labels.values": {"spleen": 1}, "image.spatial_dims": 3, "training.patch": [32, 32, 32]}
NETWORKS: dict[str, dict[str, Any]] = {
    "monai_unet": {
        "channels": [4, 8, 8],
        "strides": [[2, 2, 2], [2, 2, 1]],
        "kernel_size": [3, 3, 3],
        "up_kernel_size": [3, 3, 3],
        "num_res_units": 2,
        "norm": {"name": "batch"},
    },
    "monai_basic_unet": {"features": [4, 4, 8, 8, 8, 4]},
    "monai_dyn_unet": {
        "kernel_size": [[3, 3, 3]] * 3,
        "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 1]],
        "upsample_kernel_size": [[2, 2, 2], [2, 2, 1]],
        "filters": [4, 8, 8],
        "res_block": True,
    },
    "monai_seg_res_net": {"init_filters": 8, "blocks_down": [1, 1, 1], "blocks_up": [1, 1]},
}
STRIDES = {
    "monai_unet": (4, 4, 2),
    "monai_basic_unet": (16,) * 3,
    "monai_dyn_unet": (4, 4, 2),
    "monai_seg_res_net": (4,) * 3,
}


@pytest.mark.parametrize("kind", sorted(NETWORKS))
def test_a_foreign_network_is_built_and_takes_the_sizes_it_reasons_about(kind: str) -> None:
    """Each kind of MONAI's networks takes the smallest size that the recipe calls valid, and keeps it."""
    recipe = Recipe.from_dict({**KEYS, "network": {"kind": kind, **NETWORKS[kind]}})
    assert recipe.shape.total_stride == STRIDES[kind]
    network = compose.build(compose.network_part(recipe)).eval()
    size = tuple(max(2 * stride, 16) for stride in STRIDES[kind])
    assert recipe.shape.is_valid(size)
    with torch.no_grad():
        assert network(torch.zeros(1, 1, *size)).shape == (1, 2, *size)
    assert Recipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("kind", "changes", "told"),
    [
        ("monai_unet", {"strides": [[2, 2, 2]]}, "network.strides: 1 entries where 2 are needed"),
        ("monai_unet", {"kernel_size": [3, 3]}, "network.kernel_size: 2 numbers where 3 are needed"),
        ("monai_dyn_unet", {"filters": [4, 8]}, "network.filters: 2 entries where 3 are needed"),
        ("monai_seg_res_net", {"blocks_up": [1]}, "network.blocks_up: 1 entries where 2 are needed"),
        ("monai_seg_res_net", {"_target_": "os.system"}, "network._target_: unknown key"),
        ("monai_basic_unet", {"act": {"name": "os.system"}}, "network.act.name: expected"),
        ("monai_unet", {"adn_ordering": "NDAX"}, "network.adn_ordering"),
    ],
)
def test_arguments_that_do_not_go_together_are_told_by_key(kind: str, changes: dict[str, Any], told: str) -> None:
    """A foreign network's arguments are closed and checked like every other key."""
    with pytest.raises(RecipeError) as caught:
        Recipe.from_dict({**KEYS, "network": {"kind": kind, **NETWORKS[kind], **changes}})
    assert told in str(caught.value)


def test_what_monai_refuses_is_an_error_of_the_user() -> None:
    """Arguments that only MONAI knows to be wrong end in a line."""
    layers = {"norm": {"name": "group", "num_groups": 3}, "act": {"name": "relu"}}
    with pytest.raises(UsageError, match="MONAI refuses these arguments of SegResNet"):
        monai_network("monai_seg_res_net", spatial_dims=3, in_channels=1, out_channels=2, **layers)
    with pytest.raises(UsageError, match=r"no network is called 'os\.system'"):
        monai_network("os.system", spatial_dims=3, **layers)
