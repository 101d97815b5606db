"""The measures of a cohort, and what each is at its best."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One measure: its key in tables, what people call it, its unit, its best value."""

    key: str
    title: str
    unit: str
    #: None where neither more nor less is better
    best: float | None


MEASURES = (
    Measure("dice", "Dice", "", 1.0),
    Measure("iou", "IoU", "", 1.0),
    Measure("surface_dice", "surface Dice", "", 1.0),
    Measure("hd95", "HD95", "mm", 0.0),
    Measure("hd", "HD", "mm", 0.0),
    Measure("assd", "ASSD", "mm", 0.0),
    Measure("absolute_difference_ml", "volume error", "ml", 0.0),
    Measure("difference_ml", "volume bias", "ml", None),
)
