"""Measures of segmentations: numpy in, frozen results out, no torch."""

from volseg.metrics.agreement import Agreement, measure_agreement
from volseg.metrics.cardiac import (
    CardiacFunction,
    PhaseVolumes,
    Ventricle,
    cardiac_function,
    find_phases,
    phase_volumes,
)
from volseg.metrics.case import StructureScore, score_case
from volseg.metrics.em import EmErrors, em_errors, pixel_error, rand_error, rand_score, warping_error
from volseg.metrics.empty import EmptyPolicy
from volseg.metrics.instances import average_precision, detections, overlap_table, relabel, seg_score
from volseg.metrics.overlap import Overlap, count_overlap, count_overlaps
from volseg.metrics.statistics import Comparison, Interval, bootstrap_mean, compare
from volseg.metrics.surface import SurfaceDistances, surface_distances
from volseg.metrics.volume import VolumePair

__all__ = [
    "Agreement",
    "CardiacFunction",
    "Comparison",
    "EmErrors",
    "EmptyPolicy",
    "Interval",
    "Overlap",
    "PhaseVolumes",
    "StructureScore",
    "SurfaceDistances",
    "Ventricle",
    "VolumePair",
    "average_precision",
    "bootstrap_mean",
    "cardiac_function",
    "compare",
    "count_overlap",
    "count_overlaps",
    "detections",
    "em_errors",
    "find_phases",
    "measure_agreement",
    "overlap_table",
    "phase_volumes",
    "pixel_error",
    "rand_error",
    "rand_score",
    "relabel",
    "score_case",
    "seg_score",
    "surface_distances",
    "warping_error",
]
