"""Cohorts: the cases of a folder, a tree or a CSV, paired with their truths and never confused."""

from volseg.data.cohort.case import Case, Cohort, Split
from volseg.data.cohort.find import find_cases
from volseg.data.cohort.outputs import output_name, output_names

__all__ = ["Case", "Cohort", "Split", "find_cases", "output_name", "output_names"]
