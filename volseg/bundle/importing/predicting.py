"""MONAI's inferers, and its transforms after the network, as the recipe's ``inference`` and what channels stand for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from volseg.bundle.importing.component import Component
from volseg.bundle.importing.config import Config
from volseg.bundle.importing.meanings import Part

_SAVED = (
    "output_dir", "output_ext", "output_postfix", "output_dtype", "separate_folder", "resample", "squeeze_end_dims",
    "meta_keys", "meta_key_postfix", "data_root_dir", "print_log", "folder_layout", "writer", "scale", "dtype",
)  # fmt: skip


@dataclass
class Decided:
    """What was understood of the transforms after the network.

    Attributes:
        kind: ``argmax`` or ``threshold``.
        probabilities: whether logits had become probabilities before they went back to the image's grid.
        back: how they went back: ``linear``, ``nearest``, or not at all.
        largest: the label values whose largest part alone is kept.
    """

    resampled: bool
    kind: str | None = None
    active: str | None = None
    probabilities: bool = False
    back: str | None = None
    largest: list[int] = field(default_factory=list)


def inference_section(inferer: Component, image_dims: int, dims: int, seen_whole: bool) -> dict[str, Any]:
    """The keys of ``inference``.

    Args:
        inferer: the component.
        image_dims: dimensions of the images.
        dims: of the network.
        seen_whole: whether the network's output depends on all of its input.

    Raises:
        BundleError: if it is not one of those that are known.
    """
    if inferer.name == "SimpleInferer":
        inferer.done()
        if seen_whole:
            raise inferer.refusal(None, "sees the image at once, and its instance or group norm all of it: no pieces")
        return {}
    sliced = inferer.name == "SliceInferer"
    if inferer.name != "SlidingWindowInferer" and not sliced:
        known = "SlidingWindowInferer, SliceInferer, SimpleInferer"
        raise inferer.refusal("_target_", f"{inferer.name} is not one of the inferers that are known: {known}")
    if sliced != (dims < image_dims):
        raise inferer.refusal("_target_", f"{inferer.name} does not suit a {dims}-D network")
    size = inferer.take("roi_size")
    size = size if isinstance(size, list) else [size] * dims
    if len(size) != dims or not all(type(n) is int and n > 0 for n in size):
        raise inferer.refusal("roi_size", f"is not one positive whole number for each of {dims} axes")
    if sliced and inferer.take("spatial_dim", 0) != image_dims - 1:
        raise inferer.refusal("spatial_dim", f"volseg's slices lie along the last axis, which is {image_dims - 1}")
    section = {
        "tile": size,
        "blend": inferer.only("mode", ("gaussian", "constant"), "constant"),
        "overlap": float(inferer.number("overlap", 0.25)),
        "outside": inferer.only("padding_mode", ("constant", "reflect", "replicate"), "constant"),
    }
    if inferer.number("cval", 0.0) != 0:
        raise inferer.refusal("cval", "is not 0")
    if inferer.number("sigma_scale", 0.125) != 0.125:
        raise inferer.refusal("sigma_scale", "is not 0.125")
    inferer.ignore("sw_batch_size", "sw_device", "device", "progress", "cache_roi_weight_map", "cpu_thresh")
    inferer.done()
    return section


def read_postprocessing(
    transforms: list[Component], where: Part, preprocessing: Part, key: str, resampled: bool, config: Config
) -> Decided:
    """What becomes of the network's output.

    Args:
        transforms: in their order.
        where: the component that holds them.
        preprocessing: what Invertd must invert.
        key: the image's name.
        resampled: whether the preprocessing changes the spacing.
        config: for errors.

    Raises:
        BundleError: for the first that is not understood.
    """
    done = Decided(resampled)
    for one in transforms:
        if one.disabled:
            continue
        if one.name in ("EnsureTyped", "CastToTyped", "ToTensord"):
            one.ignore("keys", "device", "track_meta", "data_type", "dtype", "allow_missing_keys")
        else:
            one.keys("pred")
            read = {
                "Activationsd": _activation,
                "AsDiscreted": _discrete,
                "SaveImaged": _saved,
                "KeepLargestConnectedComponentd": _largest,
            }.get(one.name)
            if one.name == "Invertd":
                _inverse(one, done, preprocessing, key)
            elif read is not None:
                read(one, done)
            else:
                raise one.refusal(
                    "_target_", f"{one.name} is not one of the transforms that are known after the network"
                )
            one.ignore("allow_missing_keys")
        one.done()
    if done.kind is None:
        raise config.refusal(where.path, "nothing turns the network's output into labels (AsDiscreted)")
    if resampled and done.back is None:
        raise config.refusal(where.path, "masks stay on the resampled grid: nothing inverts it (Invertd)")
    return done


def _activation(one: Component, done: Decided) -> None:
    softmax, sigmoid = one.flag("softmax", False), one.flag("sigmoid", False)
    if one.take("other", None) is not None or softmax == sigmoid or done.active or done.kind:
        raise one.refusal(None, "is not one softmax or sigmoid of the network's output")
    done.active = "softmax" if softmax else "sigmoid"
    done.probabilities = done.back is None


def _inverse(one: Component, done: Decided, preprocessing: Part, key: str) -> None:
    inverted = one.take("transform")
    if not isinstance(inverted, Part) or inverted.path != preprocessing.path:
        raise one.refusal("transform", "inverts something else than the preprocessing")
    if one.take("orig_keys", key) not in (key, [key]) or done.back is not None:
        raise one.refusal("orig_keys", "is not the image, once")
    done.back = "nearest" if one.flag("nearest_interp", True) else "linear"
    if done.resampled and done.kind is not None and done.back == "linear":
        raise one.refusal("nearest_interp", "labels are interpolated as if they were intensities")
    one.ignore("to_tensor", "device", "meta_keys", "meta_key_postfix", "orig_meta_keys")
    if one.take("post_func", None) is not None:
        raise one.refusal("post_func", "is a function")


def _discrete(one: Component, done: Decided) -> None:
    argmax, threshold = one.flag("argmax", False), one.take("threshold", None)
    if one.take("to_onehot", None) is not None or one.take("rounding", None) is not None:
        raise one.refusal(None, "gives another image than one of labels")
    if done.kind is not None or argmax == (threshold is not None):
        raise one.refusal(None, "is neither one argmax nor one threshold")
    if threshold is not None and (done.active != "sigmoid" or threshold != 0.5):
        raise one.refusal("threshold", "is known at 0.5, after a sigmoid")
    if argmax and done.active == "sigmoid":
        raise one.refusal("argmax", "is not known after a sigmoid")
    one.ignore("dim", "keepdim", "dtype")
    done.kind = "argmax" if argmax else "threshold"


def _largest(one: Component, done: Decided) -> None:
    labels = one.take("applied_labels", None)
    labels = [labels] if type(labels) is int else labels
    if not isinstance(labels, list) or not all(type(label) is int and label > 0 for label in labels):
        raise one.refusal("applied_labels", "is no list of labels")
    if done.kind != "argmax" or done.largest or (done.resampled and done.back is None):
        raise one.refusal(None, "is known once, of a mask of labels on the image's grid")
    if not one.flag("independent", True) or one.flag("is_onehot", False) or one.take("num_components", 1) != 1:
        raise one.refusal(None, "is known for each label by itself, and one part")
    if one.take("connectivity", None) not in (None, 3):
        raise one.refusal("connectivity", "parts are connected through faces, edges and corners")
    done.largest = labels


def _saved(one: Component, done: Decided) -> None:
    one.ignore(*_SAVED)
