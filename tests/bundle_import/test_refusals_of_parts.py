"""Networks, transforms, inferers and what holds them: an argument that would change a mask unseen is refused."""

from __future__ import annotations

import re
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
    ({"network_def__channels": None}, "network_def: UNet has no channels"),
    ({"network_def__strides": 2}, "network_def::strides: channels and strides are lists"),
    ({"network_def__spatial_dims": 4}, "network_def::spatial_dims: is 4, and of UNet only 2, 3 is known"),
    ({"network_def__in_channels": "one"}, "network_def::in_channels: is no number of channels"),
    ({"network_def__out_channels": 0}, "network_def::out_channels: is no number of channels"),
    ({"network_def__kernel_size": 2.5}, "network_def::kernel_size: is no whole number, nor a list of them"),
    ({"network_def__norm": ["batch", {}, 3]}, "network_def::norm: is no layer: a name, or a name and its arguments"),
    ({"network_def__dropout": "half"}, "network_def::dropout: is no number"),
    ({"network_def__bias": "maybe"}, "network_def::bias: is neither true nor false"),
    ({"network_def___disabled_": "maybe"}, "network_def::_disabled_: is neither true nor false"),
    ({"network_def": {**DYNAMIC, "kernel_size": 3}}, "network_def::kernel_size: is no list"),
    ({"network_def": {**DYNAMIC, "dropout": "half"}}, "network_def::dropout: is no number"),
    ({"evaluator__network": 3}, "evaluator: is no network that is written out"),
]
PREPROCESSING: list[tuple[dict[str, Any], str]] = [
    (
        {f"{P}0__keys": ["image", "label"]},
        "preprocessing::transforms::0::keys: is ['image', 'label'], and not one image",
    ),
    ({f"{P}1__keys": "label"}, "preprocessing::transforms::1::keys: is 'label', and not 'image'"),
    ({f"{P}0": TYPE}, "preprocessing::transforms::0: comes before the image is loaded"),
    (
        {"preprocessing__transforms": [{"_target_": "LoadImaged", "keys": "image", "_disabled_": True}]},
        "no transform loads an image",
    ),
    (
        {f"{P}0__reader": "ITKReader", f"{P}2": TYPE},
        "preprocessing::transforms::0::reader: ITKReader without Orientationd: axes would lie "
        "otherwise than volseg reads",
    ),
    ({f"{P}0__dtype": "float16"}, "preprocessing::transforms::0::dtype: is not float32"),
    (
        {f"{P}1__channel_dim": 0},
        "preprocessing::transforms::1::channel_dim: images whose channels are an axis of the file are not taken",
    ),
    ({f"{P}2__axcodes": "RAX"}, "preprocessing::transforms::2::axcodes: is no orientation such as RAS"),
    ({f"{P}2__labels": [["L", "R"]]}, "preprocessing::transforms::2::labels: other letters for axes are not taken"),
    ({f"{P}2": SPACING, f"{P}3": TURN}, "preprocessing::transforms::3: turns axes after each got a spacing of its own"),
    ({f"{P}3__pixdim": [1, 1]}, "preprocessing::transforms::3::pixdim: is no spacing of three axes"),
    ({f"{P}3__pixdim": [1, 1, True]}, "preprocessing::transforms::3::pixdim: is no spacing of three axes"),
    ({f"{P}4": SPACING}, "preprocessing::transforms::4: changes the spacing a second time"),
    (
        {f"{P}3__mode": "nearest"},
        "preprocessing::transforms::3::mode: images are interpolated by 'nearest', and only bilinear is known",
    ),
    (
        {f"{P}3__padding_mode": "zeros"},
        "preprocessing::transforms::3::padding_mode: is 'zeros', and of Spacingd only border is known",
    ),
    ({f"{P}3__diagonal": True}, "preprocessing::transforms::3::diagonal: is not known"),
    (
        {f"{P}3__min_pixdim": 1},
        "preprocessing::transforms::3::min_pixdim: a spacing that depends on the image is not known",
    ),
    (
        {f"{P}4__b_min": None, f"{P}4__b_max": None},
        "preprocessing::transforms::4::clip: without b_min and b_max nothing says where",
    ),
    ({f"{P}4__a_min": 500}, "preprocessing::transforms::4::a_min: is no range that ascends"),
    ({f"{P}4__a_max": None}, "preprocessing::transforms::4: ScaleIntensityRanged has no a_max"),
    ({f"{P}4__a_min": "low"}, "preprocessing::transforms::4::a_min: is no number"),
    ({f"{P}4__b_min": "low"}, "preprocessing::transforms::4::b_min: is no number"),
    ({f"{P}2": RANGE}, "preprocessing::transforms::4: intensities are changed before and after the spacing"),
    ({f"{P}4": {**SCALE, "minv": 2}}, "preprocessing::transforms::4::factor: only two ends that ascend are known"),
    ({f"{P}4": {**SCALE, "factor": 0.5}}, "preprocessing::transforms::4::factor: only two ends that ascend are known"),
    (
        {f"{P}4": NORMAL, "network_def__in_channels": 2},
        "preprocessing::transforms::4::channel_wise: statistics over several channels together are not known",
    ),
    (
        {f"{P}4": {**NORMAL, "subtrahend": 3, "divisor": 0}},
        "preprocessing::transforms::4::divisor: is known only for all voxels, and above 0",
    ),
    (
        {f"{P}4": {**NORMAL, "subtrahend": 3, "divisor": 2, "nonzero": True}},
        "preprocessing::transforms::4::divisor: is known only for all voxels, and above 0",
    ),
    ({f"{P}4": {**NORMAL, "subtrahend": 3}}, "preprocessing::transforms::4::divisor: is no number"),
    (
        {f"{P}5__unheard": 1},
        "preprocessing::transforms::5::unheard: is an argument of EnsureTyped that is not understood",
    ),
    ({"preprocessing___target_": "OneOf"}, "preprocessing::_target_: OneOf is not Compose"),
    ({"preprocessing__transforms": None}, "preprocessing: has no transforms"),
    ({"preprocessing__transforms": 3}, "preprocessing::transforms: is no list that is written out"),
]
INFERERS: list[tuple[dict[str, Any], str]] = [
    (
        {"inferer": {"_target_": "SimpleInferer"}, "network_def__norm": "instance"},
        "inferer: sees the image at once, and its instance or group norm all of it: no pieces",
    ),
    (
        {"inferer": {"_target_": "SliceInferer", "roi_size": [16, 16]}},
        "inferer::_target_: SliceInferer does not suit a 3-D network",
    ),
    ({"network_def": FLAT}, "inferer::_target_: SlidingWindowInferer does not suit a 2-D network"),
    (
        {"network_def": FLAT, "inferer": {"_target_": "SliceInferer", "roi_size": 16}},
        "inferer::spatial_dim: volseg's slices lie along the last axis, which is 2",
    ),
    (
        {"inferer__mode": "median"},
        "inferer::mode: is 'median', and of SlidingWindowInferer only gaussian, constant is known",
    ),
    ({"inferer__overlap": "much"}, "inferer::overlap: is no number"),
    (
        {"inferer__padding_mode": "circular"},
        "inferer::padding_mode: is 'circular', and of SlidingWindowInferer only constant, reflect, replicate is known",
    ),
    ({"inferer__cval": 1}, "inferer::cval: is not 0"),
    ({"inferer__sigma_scale": 0.3}, "inferer::sigma_scale: is not 0.125"),
]
POSTPROCESSING: list[tuple[dict[str, Any], str]] = [
    ({f"{Q}0__sigmoid": True}, "postprocessing::transforms::0: is not one softmax or sigmoid of the network's output"),
    ({f"{Q}0__other": "x"}, "postprocessing::transforms::0: is not one softmax or sigmoid of the network's output"),
    (
        {f"{Q}1__transform": "@inferer"},
        "postprocessing::transforms::1::transform: inverts something else than the preprocessing",
    ),
    ({f"{Q}1__orig_keys": "label"}, "postprocessing::transforms::1::orig_keys: is not the image, once"),
    ({f"{Q}1__post_func": "x"}, "postprocessing::transforms::1::post_func: is a function"),
    (
        {f"{Q}1": DISCRETE, f"{Q}2": {**BACK, "nearest_interp": False}},
        "postprocessing::transforms::2::nearest_interp: labels are interpolated as if they were intensities",
    ),
    ({f"{Q}2__threshold": 0.5}, "postprocessing::transforms::2: is neither one argmax nor one threshold"),
    ({f"{Q}2__rounding": "torchrounding"}, "postprocessing::transforms::2: gives another image than one of labels"),
    (
        {f"{Q}0": SIGMOID, f"{Q}2": {**DISCRETE, "argmax": False, "threshold": 0.3}},
        "postprocessing::transforms::2::threshold: is known at 0.5, after a sigmoid",
    ),
    ({f"{Q}0": SIGMOID}, "postprocessing::transforms::2::argmax: is not known after a sigmoid"),
    (
        {f"{Q}2": {"_target_": "ToTensord", "keys": "pred"}},
        "postprocessing: nothing turns the network's output into labels (AsDiscreted)",
    ),
    (
        {f"{Q}2": {"_target_": "MeanEnsembled", "keys": "pred"}},
        "postprocessing::transforms::2::_target_: MeanEnsembled is not one of the transforms that "
        "are known after the network",
    ),
    ({f"{Q}1": LARGEST}, "postprocessing::transforms::1: is known once, of a mask of labels on the image's grid"),
    (
        {f"{Q}3": {**LARGEST, "applied_labels": "all"}},
        "postprocessing::transforms::3::applied_labels: is no list of labels",
    ),
    (
        {f"{Q}3": {**LARGEST, "num_components": 2}},
        "postprocessing::transforms::3: is known for each label by itself, and one part",
    ),
    (
        {f"{Q}3": {**LARGEST, "independent": False}},
        "postprocessing::transforms::3: is known for each label by itself, and one part",
    ),
    (
        {f"{Q}3": {**LARGEST, "connectivity": 1}},
        "postprocessing::transforms::3::connectivity: parts are connected through faces, edges and corners",
    ),
]
AROUND: list[tuple[dict[str, Any], str]] = [
    ({"evaluator": None, "run": [], "initialize": []}, "has no evaluator: nothing says how it predicts"),
    ({"evaluator___target_": "EnsembleEvaluator"}, "evaluator::_target_: EnsembleEvaluator is not SupervisedEvaluator"),
    ({"evaluator__unheard": 1}, "evaluator::unheard: is an argument of SupervisedEvaluator that is not understood"),
    (
        {"dataloader___target_": "monai.data.TestTimeAugmentation"},
        "dataloader::_target_: TestTimeAugmentation is no data loader that is known",
    ),
    ({"dataset___target_": "ZipDataset"}, "dataset::_target_: ZipDataset is no dataset that is known"),
    ({"dataset__data": [1]}, "dataset::data: is no list of cases that is known"),
    ({"handlers": [LOADER]}, "evaluator: several components load weights"),
    ({"checkpointloader__load_dict": {}}, "checkpointloader::load_dict: loads something else than one network"),
    (
        {"checkpointloader__load_dict": {"model": "@inferer"}},
        "checkpointloader::load_dict: loads something else than the network",
    ),
    ({"checkpointloader__strict_shape": False}, "checkpointloader::strict: leaves out weights that do not fit"),
    ({"network_def___desc_": "$1 + 2"}, "network_def::_desc_: is evaluated by MONAI"),
]
ALL = [*NETWORKS, *PREPROCESSING, *INFERERS, *POSTPROCESSING, *AROUND]


@pytest.mark.parametrize(("changes", "told"), ALL, ids=[told.split(": ")[0] for _, told in ALL])
def test_each_is_refused_with_its_place(
    changes: dict[str, Any], told: str, refused: Callable[[dict[str, Any]], str]
) -> None:
    """The configuration is named, and what in it is not understood."""
    said = refused(changes)
    assert re.fullmatch(r"configs/inference\.json: (line [1-9]\d*, )?(.*)", said)[2] == told  # type: ignore[index]


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
