"""Networks, transforms, inferers and what holds them: an argument that would change a mask unseen is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

P, Q = "preprocessing__transforms__", "postprocessing__transforms__"
TYPE = {"_target_": "EnsureTyped", "keys": "image"}
SPACING = {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 2.1]}
TURN = {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"}
RANGE = {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 0, "a_max": 9, "b_min": 0, "b_max": 1}
SCALE = {"_target_": "ScaleIntensityd", "keys": "image"}
NORMAL = {"_target_": "NormalizeIntensityd", "keys": "image"}
SIGMOID = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}
DISCRETE = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
BACK = {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"}
LARGEST = {"_target_": "KeepLargestConnectedComponentd", "keys": "pred", "applied_labels": [1]}
FLAT = {"_target_": "UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 3, "channels": [4, 8], "strides": [2]}
DYNAMIC = {"_target_": "DynUNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "kernel_size": [3, 3],
           "strides": [1, 2], "upsample_kernel_size": [2]}  # fmt: skip
LOADER = {"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/a.pt'", "load_dict": {"m": "@network"}}

NETWORKS: list[tuple[dict[str, Any], str]] = [
    ({"network_def__channels": None}, "UNet has no channels"),
    ({"network_def__strides": 2}, "channels and strides are lists"),
    ({"network_def__spatial_dims": 4}, "is 4, and of UNet only 2, 3 is known"),
    ({"network_def__in_channels": "one"}, "network_def::in_channels: is no number of channels"),
    ({"network_def__out_channels": 0}, "network_def::out_channels: is no number of channels"),
    ({"network_def__kernel_size": 2.5}, "is no whole number, nor a list of them"),
    ({"network_def__norm": ["batch", {}, 3]}, "is no layer"),
    ({"network_def__dropout": "half"}, "network_def::dropout: is no number"),
    ({"network_def__bias": "maybe"}, "network_def::bias: is neither true nor false"),
    ({"network_def___disabled_": "maybe"}, "network_def::_disabled_: is neither true nor false"),
    ({"network_def": {**DYNAMIC, "kernel_size": 3}}, "network_def::kernel_size: is no list"),
    ({"network_def": {**DYNAMIC, "dropout": "half"}}, "network_def::dropout: is no number"),
    ({"evaluator__network": 3}, "is no network that is written out"),
]
PREPROCESSING: list[tuple[dict[str, Any], str]] = [
    ({f"{P}0__keys": ["image", "label"]}, "and not one image"),
    ({f"{P}1__keys": "label"}, "is 'label', and not 'image'"),
    ({f"{P}0": TYPE}, "comes before the image is loaded"),
    ({"preprocessing__transforms": [{"_target_": "LoadImaged", "keys": "image", "_disabled_": True}]},
     "no transform loads an image"),
    ({f"{P}0__reader": "ITKReader", f"{P}2": TYPE}, "ITKReader without Orientationd"),
    ({f"{P}0__dtype": "float16"}, "dtype: is not float32"),
    ({f"{P}1__channel_dim": 0}, "channels are an axis of the file"),
    ({f"{P}2__axcodes": "RAX"}, "is no orientation such as RAS"),
    ({f"{P}2__labels": [["L", "R"]]}, "other letters for axes"),
    ({f"{P}2": SPACING, f"{P}3": TURN}, "turns axes after each got a spacing of its own"),
    ({f"{P}3__pixdim": [1, 1]}, "is no spacing of three axes"),
    ({f"{P}3__pixdim": [1, 1, True]}, "is no spacing of three axes"),
    ({f"{P}4": SPACING}, "changes the spacing a second time"),
    ({f"{P}3__mode": "nearest"}, "interpolated by 'nearest'"),
    ({f"{P}3__padding_mode": "zeros"}, "is 'zeros', and of Spacingd only border is known"),
    ({f"{P}3__diagonal": True}, "diagonal: is not known"),
    ({f"{P}3__min_pixdim": 1}, "depends on the image"),
    ({f"{P}4__b_min": None, f"{P}4__b_max": None}, "without b_min and b_max nothing says where"),
    ({f"{P}4__a_min": 500}, "is no range that ascends"),
    ({f"{P}4__a_max": None}, "ScaleIntensityRanged has no a_max"),
    ({f"{P}4__a_min": "low"}, "a_min: is no number"),
    ({f"{P}4__b_min": "low"}, "b_min: is no number"),
    ({f"{P}2": RANGE}, "intensities are changed before and after the spacing"),
    ({f"{P}4": {**SCALE, "minv": 2}}, "only two ends that ascend"),
    ({f"{P}4": {**SCALE, "factor": 0.5}}, "only two ends that ascend"),
    ({f"{P}4": NORMAL, "network_def__in_channels": 2}, "statistics over several channels"),
    ({f"{P}4": {**NORMAL, "subtrahend": 3, "divisor": 0}}, "only for all voxels, and above 0"),
    ({f"{P}4": {**NORMAL, "subtrahend": 3, "divisor": 2, "nonzero": True}}, "only for all voxels, and above 0"),
    ({f"{P}4": {**NORMAL, "subtrahend": 3}}, "divisor: is no number"),
    ({f"{P}5__unheard": 1}, "is an argument of EnsureTyped that is not understood"),
    ({"preprocessing___target_": "OneOf"}, "OneOf is not Compose"),
    ({"preprocessing__transforms": None}, "preprocessing: has no transforms"),
    ({"preprocessing__transforms": 3}, "is no list that is written out"),
]  # fmt: skip
INFERERS: list[tuple[dict[str, Any], str]] = [
    ({"inferer": {"_target_": "SimpleInferer"}, "network_def__norm": "instance"}, "instance or group norm all of it"),
    ({"inferer": {"_target_": "SliceInferer", "roi_size": [16, 16]}}, "does not suit a 3-D network"),
    ({"network_def": FLAT}, "does not suit a 2-D network"),
    ({"network_def": FLAT, "inferer": {"_target_": "SliceInferer", "roi_size": 16}}, "lie along the last axis"),
    ({"inferer__mode": "median"}, "inferer::mode: is 'median'"),
    ({"inferer__overlap": "much"}, "inferer::overlap: is no number"),
    ({"inferer__padding_mode": "circular"}, "inferer::padding_mode: is 'circular'"),
    ({"inferer__cval": 1}, "inferer::cval: is not 0"),
    ({"inferer__sigma_scale": 0.3}, "is not 0.125"),
]
POSTPROCESSING: list[tuple[dict[str, Any], str]] = [
    ({f"{Q}0__sigmoid": True}, "is not one softmax or sigmoid"),
    ({f"{Q}0__other": "x"}, "is not one softmax or sigmoid"),
    ({f"{Q}1__transform": "@inferer"}, "inverts something else than the preprocessing"),
    ({f"{Q}1__orig_keys": "label"}, "is not the image, once"),
    ({f"{Q}1__post_func": "x"}, "post_func: is a function"),
    ({f"{Q}1": DISCRETE, f"{Q}2": {**BACK, "nearest_interp": False}}, "interpolated as if they were intensities"),
    ({f"{Q}2__threshold": 0.5}, "is neither one argmax nor one threshold"),
    ({f"{Q}2__rounding": "torchrounding"}, "gives another image than one of labels"),
    ({f"{Q}0": SIGMOID, f"{Q}2": {**DISCRETE, "argmax": False, "threshold": 0.3}}, "is known at 0.5, after a sigmoid"),
    ({f"{Q}0": SIGMOID}, "argmax: is not known after a sigmoid"),
    ({f"{Q}2": {"_target_": "ToTensord", "keys": "pred"}}, "nothing turns the network's output into labels"),
    ({f"{Q}2": {"_target_": "MeanEnsembled", "keys": "pred"}}, "not one of the transforms that are known after"),
    ({f"{Q}1": LARGEST}, "is known once, of a mask of labels"),
    ({f"{Q}3": {**LARGEST, "applied_labels": "all"}}, "is no list of labels"),
    ({f"{Q}3": {**LARGEST, "num_components": 2}}, "for each label by itself, and one part"),
    ({f"{Q}3": {**LARGEST, "independent": False}}, "for each label by itself, and one part"),
    ({f"{Q}3": {**LARGEST, "connectivity": 1}}, "through faces, edges and corners"),
]
AROUND: list[tuple[dict[str, Any], str]] = [
    ({"evaluator": None, "run": [], "initialize": []}, "has no evaluator: nothing says how it predicts"),
    ({"evaluator___target_": "EnsembleEvaluator"}, "EnsembleEvaluator is not SupervisedEvaluator"),
    ({"evaluator__unheard": 1}, "is an argument of SupervisedEvaluator that is not understood"),
    ({"dataloader___target_": "monai.data.TestTimeAugmentation"}, "is no data loader that is known"),
    ({"dataset___target_": "ZipDataset"}, "ZipDataset is no dataset that is known"),
    ({"dataset__data": [1]}, "is no list of cases that is known"),
    ({"handlers": [LOADER]}, "several components load weights"),
    ({"checkpointloader__load_dict": {}}, "loads something else than one network"),
    ({"checkpointloader__load_dict": {"model": "@inferer"}}, "loads something else than the network"),
    ({"checkpointloader__strict_shape": False}, "leaves out weights that do not fit"),
    ({"network_def___desc_": "$1 + 2"}, "_desc_: is evaluated by MONAI"),
]
ALL = [*NETWORKS, *PREPROCESSING, *INFERERS, *POSTPROCESSING, *AROUND]


@pytest.mark.parametrize(("changes", "told"), ALL, ids=[f"{number}: {told}" for number, (_, told) in enumerate(ALL)])
def test_each_is_refused_with_its_place(
    changes: dict[str, Any], told: str, refused: Callable[[dict[str, Any]], str]
) -> None:
    """The configuration is named, and what in it is not understood."""
    said = refused(changes)
    assert told in said
    assert said.startswith("configs/inference.json: ")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {f"{Q}0": SIGMOID, f"{Q}2": {**DISCRETE, "argmax": False, "threshold": 0.5}},
            "its 3 channels may overlap, and a mask of volseg's holds one label for each voxel",
        ),
        ({"network_def__out_channels": 1}, "its network has one channel, and argmax needs two"),
    ],
)
def test_channels_that_are_no_labels_are_refused(
    changes: dict[str, Any], told: str, refused: Callable[[dict[str, Any]], str]
) -> None:
    """What the channels stand for is asked of the bundle as a whole."""
    assert refused(changes).endswith(told)
