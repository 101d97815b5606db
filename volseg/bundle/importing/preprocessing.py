"""MONAI's transforms before the network as the recipe's sections ``image`` and ``normalisation``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from volseg.bundle.importing.component import Component
from volseg.errors import BundleError

# which MONAI reads NIfTI with; ITK's reader turns the axes of the world, which a later Orientationd turns back
_READERS = (None, "nibabelreader", "itkreader")


@dataclass
class Prepared:
    """What was understood of the transforms so far.

    Attributes:
        channels: of the network's input.
        key: the image's name in the configuration.
        axcodes: the orientation.
        spacing: in millimetres, none where each image keeps its own.
        order: of interpolation.
        steps: changes of intensity.
        resampled: whether intensities are changed after the spacing.
    """

    channels: int
    key: str | None = None
    reader: str | None = None
    axcodes: str | None = None
    spacing: list[float | str] | None = None
    order: int = 1
    steps: list[dict[str, Any]] = field(default_factory=list)
    resampled: bool = False

    def sections(self) -> dict[str, Any]:
        """The recipe's keys."""
        image: dict[str, Any] = {"axcodes": self.axcodes, "resampling_order": self.order}
        if self.spacing is not None:
            image |= {"spacing": self.spacing, "voxels": "points"}
            image["normalised"] = "resampled" if self.resampled else "stored"
        return {"image": image, "normalisation": {"kind": "steps", "steps": self.steps} if self.steps else None}


def read_preprocessing(transforms: list[Component], channels: int) -> Prepared:
    """What the transforms do to an image.

    Raises:
        BundleError: for the first that is not understood.
    """
    done = Prepared(channels)
    for one in transforms:
        if one.disabled:
            continue
        read = _TRANSFORMS.get(one.name)
        if read is None:
            raise one.refusal("_target_", f"{one.name} is not one of the transforms that are known before the network")
        key = one.keys(done.key)
        if done.key is None and one.name != "LoadImaged":
            raise one.refusal(None, "comes before the image is loaded")
        done.key = key
        read(one, done)
        one.ignore("allow_missing_keys")
        one.done()
    if done.key is None:
        raise BundleError("no transform loads an image", where=transforms[0].config.file if transforms else None)
    if done.reader == "itkreader" and done.axcodes is None:
        raise transforms[0].refusal(
            "reader", "ITKReader without Orientationd: axes would lie otherwise than volseg reads"
        )
    return done


def _load(one: Component, done: Prepared) -> None:
    reader = one.take("reader", None)
    reader = reader.lower() if isinstance(reader, str) else reader
    if reader not in _READERS:
        raise one.refusal("reader", "is not MONAI's reader of NIfTI by nibabel or ITK")
    done.reader = reader
    one.flag("ensure_channel_first", False)
    one.ignore("image_only", "meta_keys", "meta_key_postfix", "simple_keys", "overwriting", "prune_meta_pattern")
    _float32(one)


def _channel_first(one: Component, done: Prepared) -> None:
    if one.take("channel_dim", None) not in (None, "no_channel"):
        raise one.refusal("channel_dim", "images whose channels are an axis of the file are not taken")
    one.ignore("strict_check", "meta_keys", "meta_key_postfix")


def _type(one: Component, done: Prepared) -> None:
    _float32(one)
    one.ignore("device", "track_meta", "data_type", "wrap_sequence")


def _orientation(one: Component, done: Prepared) -> None:
    codes = one.take("axcodes", None)
    if not isinstance(codes, str) or sorted("LRPASI".find(code) // 2 for code in codes) != [0, 1, 2]:
        raise one.refusal("axcodes", "is no orientation such as RAS")
    if one.take("labels", None) is not None:
        raise one.refusal("labels", "other letters for axes are not taken")
    if done.spacing is not None and len({*done.spacing}) > 1:
        raise one.refusal(None, "turns axes after each got a spacing of its own")
    one.flag("as_closest_canonical", False)
    one.ignore("lazy")
    done.axcodes = codes


def _spacing(one: Component, done: Prepared) -> None:
    wanted = one.take("pixdim")
    wanted = wanted if isinstance(wanted, list) else [wanted] * 3
    if len(wanted) != 3 or not all(isinstance(mm, int | float) and not isinstance(mm, bool) for mm in wanted):
        raise one.refusal("pixdim", "is no spacing of three axes")
    if done.spacing is not None:
        raise one.refusal(None, "changes the spacing a second time")
    mode = one.take("mode", "bilinear")
    mode = mode[0] if isinstance(mode, list) and len(mode) == 1 else mode
    if mode not in ("bilinear", 1):
        raise one.refusal("mode", f"images are interpolated by {mode!r}, and only bilinear is known")
    one.only("padding_mode", ("border",), "border")
    for name in ("diagonal", "scale_extent", "align_corners", "recompute_affine"):
        if one.flag(name, False):
            raise one.refusal(name, "is not known")
    if one.take("min_pixdim", None) is not None or one.take("max_pixdim", None) is not None:
        raise one.refusal("min_pixdim", "a spacing that depends on the image is not known")
    one.ignore("dtype", "ensure_same_shape", "lazy")  # the dtype is that of the arithmetic: the result is float32
    done.spacing = [float(mm) if mm > 0 else "native" for mm in wanted]
    done.resampled = not done.steps


def _range(one: Component, done: Prepared) -> None:
    low, high = one.number("a_min"), one.number("a_max")
    target = [one.take("b_min", None), one.take("b_max", None)]
    ends = [0.0, 1.0] if target == [None, None] else [_number(one, "b_min", end) for end in target]
    clip = one.flag("clip", False)
    if clip and target == [None, None]:
        raise one.refusal("clip", "without b_min and b_max nothing says where")
    if not low < high or not ends[0] <= ends[1]:
        raise one.refusal("a_min", "is no range that ascends")
    _step(one, done, {"do": "range", "source": [float(low), float(high)], "target": ends, "clip": clip})
    _float32(one)


def _scale(one: Component, done: Prepared) -> None:
    ends = [_number(one, "minv", one.take("minv", 0.0)), _number(one, "maxv", one.take("maxv", 1.0))]
    if one.take("factor", None) is not None or not ends[0] <= ends[1]:
        raise one.refusal("factor", "only two ends that ascend are known")
    _each_channel(one, done)
    _step(one, done, {"do": "minmax", "target": ends})
    _float32(one)


def _normalise(one: Component, done: Prepared) -> None:
    nonzero = one.flag("nonzero", False)
    centre, spread = one.take("subtrahend", None), one.take("divisor", None)
    if centre is None and spread is None:
        _each_channel(one, done)
        _step(one, done, {"do": "zscore", "over": "nonzero" if nonzero else "all"})
    else:
        one.flag("channel_wise", False)
        low, width = _number(one, "subtrahend", centre), _number(one, "divisor", spread)
        if nonzero or width <= 0:
            raise one.refusal("divisor", "is known only for all voxels, and above 0")
        _step(one, done, {"do": "range", "source": [low, low + width], "target": [0.0, 1.0]})
    _float32(one)


_TRANSFORMS: Mapping[str, Callable[[Component, Prepared], None]] = {
    "LoadImaged": _load,
    "EnsureChannelFirstd": _channel_first,
    "EnsureTyped": _type,
    "CastToTyped": _type,
    "ToTensord": _type,
    "Orientationd": _orientation,
    "Spacingd": _spacing,
    "ScaleIntensityRanged": _range,
    "ScaleIntensityd": _scale,
    "NormalizeIntensityd": _normalise,
}


def _step(one: Component, done: Prepared, step: dict[str, Any]) -> None:
    if done.spacing is not None and not done.resampled:
        raise one.refusal(None, "intensities are changed before and after the spacing")
    done.steps.append(step)


def _each_channel(one: Component, done: Prepared) -> None:
    if not one.flag("channel_wise", False) and done.channels > 1:
        raise one.refusal("channel_wise", "statistics over several channels together are not known")


def _number(one: Component, name: str, value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise one.refusal(name, "is no number")


def _float32(one: Component) -> None:
    if one.take("dtype", None) not in (None, "float32", "torch.float32", "numpy.float32", "np.float32"):
        raise one.refusal("dtype", "is not float32")
