"""Evaluations: predictions held against truths over a cohort, and what cardiologists read from them."""

from volseg.evaluation.cardiac import CardiacStudy, HeartResult, cardiac_csv, cardiac_json, measure_hearts
from volseg.evaluation.evaluation import Evaluation, PairedComparison, evaluate, evaluate_pairs
from volseg.evaluation.hearts import Roles
from volseg.evaluation.masks import Mask, Masks, find_masks
from volseg.evaluation.measures import MEASURES, Measure
from volseg.evaluation.pairing import Pair, Pairs, pair_cases, pair_masks
from volseg.evaluation.scoring import CaseResult, Score
from volseg.evaluation.summary import StructureSummary
from volseg.evaluation.tables import evaluation_csv, evaluation_json

__all__ = [
    "MEASURES",
    "CardiacStudy",
    "CaseResult",
    "Evaluation",
    "HeartResult",
    "Mask",
    "Masks",
    "Measure",
    "Pair",
    "PairedComparison",
    "Pairs",
    "Roles",
    "Score",
    "StructureSummary",
    "cardiac_csv",
    "cardiac_json",
    "evaluate",
    "evaluate_pairs",
    "evaluation_csv",
    "evaluation_json",
    "find_masks",
    "measure_hearts",
    "pair_cases",
    "pair_masks",
]
