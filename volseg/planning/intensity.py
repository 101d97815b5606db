"""How intensities are made comparable, and which of their changes a scanner could have made."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from volseg.data.fingerprint import Fingerprint
from volseg.planning.choice import Choice

# above this share of exact zeros the background was cut away, and is no part of the image's statistics
_CUT_AWAY = 0.25


def intensity_choices(found: Fingerprint) -> Iterator[Choice]:
    """Normalisation and changes of intensity, by modality."""
    modality = found.modality.modality
    inside = found.foreground()
    if modality == "CT" and inside is not None and inside.std > 0:
        low, high, mean, std = (float(f"{v:.4g}") for v in (inside.low, inside.high, inside.mean, inside.std))
        if low < high:
            yield Choice(
                "normalisation",
                {"kind": "ct", "clip": [low, high], "mean": mean, "std": std},
                "Hounsfield units are absolute: 0.5 and 99.5 percentile, mean and deviation inside the structures",
            )
            yield Choice("augmentation.intensity.gamma", None, "Hounsfield units mean the same in every scanner")
            yield Choice("augmentation.intensity.brightness", None, "likewise")
            return
    if modality == "microscopy":
        yield Choice(
            "normalisation", {"kind": "percentile"}, "exposure differs from picture to picture: its own percentiles"
        )
        return
    zeros = median(case.channels[0].zeros for case in found.labelled)
    if zeros > _CUT_AWAY:
        yield Choice(
            "normalisation",
            {"kind": "zscore", "over": "nonzero"},
            f"{zeros:.0%} of the voxels are exactly 0: the background was cut away and counts in no statistic",
        )
    else:
        yield Choice("normalisation", {"kind": "zscore"}, f"{modality} has no absolute scale: image by image")
    if modality == "MR" and min(median(case.extent) for case in found.labelled) > 100:
        yield Choice("augmentation.intensity.bias_field", {}, "coils shade a field of view this large")
