"""The trust score: the Dice that a mask probably has, from the signs that were seen while it was made.

It is calibrated on cases that the networks never saw (:mod:`volseg.study.calibration`) and lies in a bundle as plain
JSON. Reading it executes nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from volseg.errors import BundleError, printable
from volseg.inference.signs import ALONE, TOGETHER, dice_of

FORMAT = "volseg trust 1"
_KEYS = {"format", "confidence", "structures", "assessment"}
# a sign far outside of what calibration saw says no more than one at its border
_FURTHEST = 4.0


@dataclass(frozen=True)
class Estimate:
    """What a structure's mask is probably worth.

    Attributes:
        dice: the predicted Dice.
        low, high: between which it lies with the confidence of the calibration.
        review: whether somebody should look at it.
    """

    dice: float
    low: float
    high: float
    review: bool

    def to_dict(self) -> dict[str, float | bool]:
        """Plain data."""
        return {
            "dice": round(self.dice, 4),
            "low": round(self.low, 4),
            "high": round(self.high, 4),
            "review": self.review,
        }


@dataclass(frozen=True)
class StructureTrust:
    """How the signs of one structure tell its Dice: a line through them, in logarithms of the error.

    Attributes:
        signs: their names.
        centre, scale: that make each comparable.
        slope: of each.
        intercept: the value where every sign is at its centre.
        low, high: what is added to the logarithm of the error at both ends of the interval; infinite where too few
            cases were there to say.
        review: a predicted Dice below this one is to be reviewed.
        cases, patients: how many it was calibrated on.
    """

    signs: tuple[str, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    slope: tuple[float, ...]
    intercept: float
    low: float
    high: float
    review: float
    cases: int
    patients: int

    def estimate(self, signs: Mapping[str, float]) -> Estimate | None:
        """What these signs say; none if one of them was not seen."""
        if not set(self.signs) <= set(signs):
            return None
        value = self.intercept
        for name, centre, scale, slope in zip(self.signs, self.centre, self.scale, self.slope, strict=True):
            value += slope * min(max((signs[name] - centre) / scale, -_FURTHEST), _FURTHEST)
        dice, low, high = (float(x) for x in dice_of([value, value + self.high, value + self.low]))
        return Estimate(dice, low, high, dice < self.review)


@dataclass(frozen=True)
class Trust:
    """The trust score of a bundle.

    Attributes:
        structures: by name; those with too few cases to calibrate are not there.
        confidence: of the intervals.
        assessment: how well it told the Dice of cases that it was not calibrated on.
    """

    structures: Mapping[str, StructureTrust]
    confidence: float
    assessment: Mapping[str, Any]

    def estimate(self, signs: Mapping[str, Mapping[str, float]]) -> dict[str, Estimate]:
        """What the signs of a mask say of each structure."""
        found = {name: one.estimate(signs[name]) for name, one in self.structures.items() if name in signs}
        return {name: estimate for name, estimate in found.items() if estimate is not None}

    def to_bytes(self) -> bytes:
        """The file's content; the same score gives the same bytes."""
        told = {
            "format": FORMAT,
            "confidence": self.confidence,
            "structures": {name: _finite(asdict(one)) for name, one in self.structures.items()},
            "assessment": dict(self.assessment),
        }
        return (json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, raw: bytes, where: object) -> Trust:
        """The score in a file's content.

        Raises:
            BundleError: if it is none.
        """
        try:
            data = json.loads(raw, parse_constant=_refuse)
            if data["format"] != FORMAT or set(data) != _KEYS or not isinstance(data["assessment"], dict):
                raise ValueError("of another form")
            confidence = _number(data["confidence"])
            structures = {str(name): _structure(told) for name, told in data["structures"].items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            why = printable(str(error))[:80]
            raise BundleError(
                f"is no trust score ({why})", where=where, mend="leave it out, or train it anew"
            ) from None
        return cls(structures, confidence, data["assessment"])


def tell(estimates: Mapping[str, Estimate], confidence: float) -> Iterator[str]:
    """A line for each structure that somebody should look at."""
    for name, found in estimates.items():
        if found.review:
            yield (
                f"{name} should be reviewed: its Dice is probably {found.dice:.2f}"
                f" ({confidence:.0%} between {found.low:.2f} and {found.high:.2f})"
            )


def _structure(told: Mapping[str, Any]) -> StructureTrust:
    names = {field.name for field in fields(StructureTrust)}
    if set(told) != names:
        raise ValueError("without what it must have" if names - set(told) else "with more than it may have")
    signs = tuple(str(name) for name in told["signs"])
    if not set(signs) <= {*ALONE, *TOGETHER}:
        raise ValueError("with signs that are not known")
    centre, scale, slope = (tuple(map(_number, told[key])) for key in ("centre", "scale", "slope"))
    if {len(centre), len(scale), len(slope)} != {len(signs)} or min(scale, default=1.0) <= 0:
        raise ValueError("its numbers do not fit its signs")
    return StructureTrust(
        signs,
        centre,
        scale,
        slope,
        _number(told["intercept"]),
        -math.inf if told["low"] is None else _number(told["low"]),
        math.inf if told["high"] is None else _number(told["high"]),
        _number(told["review"]),
        int(_number(told["cases"])),
        int(_number(told["patients"])),
    )


def _finite(told: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no infinity."""
    return {key: None if isinstance(value, float) and math.isinf(value) else value for key, value in told.items()}


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not np.isfinite(value):
        raise ValueError("with something that is no number")
    return float(value)


def _refuse(_word: str) -> float:
    raise ValueError("with something that is no number")
