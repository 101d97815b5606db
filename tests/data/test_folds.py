"""Folds: nobody on both sides, groups spread, the same for any order, and files that are held against the data."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volseg.data.cohort import Case
from volseg.data.folds import Split, check_leaks, make_folds, read_folds, write_folds
from volseg.errors import CohortError


def case(name: str, patient: str = "", group: str | None = None, split: str | None = None) -> Case:
    return Case(name, (Path(f"{name}.nii.gz"),), patient=patient, group=group, split=split)  # type: ignore[arg-type]


def cohort(patients: int, scans: int = 2, groups: int = 3) -> list[Case]:
    return [case(f"p{p:03d}_{s}", f"p{p:03d}", f"group {p % groups}") for p in range(patients) for s in range(scans)]


@given(st.integers(5, 40), st.integers(1, 3), st.integers(1, 4), st.integers(2, 5), st.integers(0, 9))
def test_no_patient_is_on_both_sides(patients: int, scans: int, groups: int, number: int, seed: int) -> None:
    """Every case is validated in exactly one fold, with all of its patient's cases."""
    cases = cohort(patients, scans, groups)
    folds = make_folds(cases, number=number, seed=seed)
    held_out = [name for fold in folds for name in fold.validation]
    assert sorted(held_out) == sorted(c.name for c in cases)
    for fold in folds:
        train, validation = ({name.split("_")[0] for name in side} for side in (fold.train, fold.validation))
        assert not train & validation
        assert len(fold.train) + len(fold.validation) == len(cases)


@given(st.integers(10, 40), st.integers(1, 5), st.integers(0, 5))
def test_groups_are_spread_evenly(patients: int, groups: int, seed: int) -> None:
    """In no fold a group has two patients more than in another, and neither have the folds themselves."""
    folds = make_folds(cohort(patients, 1, groups), number=5, seed=seed)
    sizes = [len(fold.validation) for fold in folds]
    assert max(sizes) - min(sizes) <= 1
    per_fold = [Counter(int(name[1:4]) % groups for name in fold.validation) for fold in folds]
    for group in range(groups):
        found = [counted[group] for counted in per_fold]
        assert max(found) - min(found) <= 1


def test_the_order_of_the_cases_changes_nothing() -> None:
    """The division depends on names and the seed alone."""
    cases = [*cohort(11), *(case(f"p{p:03d}_later", f"p{p:03d}", "group 1") for p in range(11))]
    assert make_folds(cases, seed=3) == make_folds(cases[::-1], seed=3)
    assert make_folds(cases, seed=3) != make_folds(cases, seed=4)


def test_too_few_patients_are_refused() -> None:
    """Three patients make no five folds, however many scans they have."""
    with pytest.raises(CohortError, match=r"3 patients cannot be divided into 5 folds.*folds\.number"):
        make_folds(cohort(3, 9))


def test_cases_may_part_where_somebody_asks_for_it() -> None:
    """Grouped by case, three patients with nine scans each make five folds."""
    folds = make_folds(cohort(3, 9), group_by="case")
    assert [len(fold.validation) for fold in folds] in ([6, 6, 5, 5, 5], sorted([6, 6, 5, 5, 5]))


def test_a_given_split_is_taken_as_it_is() -> None:
    """Where the cases say their part, one split comes out, test cases and all."""
    cases = [case("a", split="train"), case("c", split="test"), case("b", split="validation")]
    assert make_folds(cases) == (Split(("a",), ("b",), ("c",)),)
    with pytest.raises(CohortError, match="'d' names no split"):
        make_folds([*cases, case("d")])


def test_a_given_split_that_tears_a_patient_is_refused() -> None:
    """Also when it was a person who wrote it."""
    cases = [case("a", "anna", split="train"), case("b", "anna", split="test")]
    with pytest.raises(CohortError, match="'anna' in test and train"):
        make_folds(cases)


def test_folds_survive_their_file(tmp_path: Path) -> None:
    """What was written is what is read."""
    cases = cohort(10)
    folds = make_folds(cases, seed=1)
    write_folds(tmp_path / "folds.json", folds)
    assert read_folds(tmp_path / "folds.json", cases) == folds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no file of folds"),
        ('{"folds": 3}', "is no file of folds"),
        ('{"folds": [{"train": ["a"], "valid": ["b"]}]}', "is no file of folds"),
        ('{"folds": [{"train": ["a"], "validation": ["a"]}]}', "'a' is on two sides"),
        ('{"folds": [{"train": ["a"], "validation": ["z"]}]}', "names case 'z', which is not in the data"),
        ('{"folds": [{"train": ["a"], "validation": ["b"]}]}', "1 patient is on both sides.*'anna'"),
    ],
)
def test_files_that_do_not_hold_are_refused(tmp_path: Path, text: str, message: str) -> None:
    """Each with one line that says why."""
    (tmp_path / "folds.json").write_text(text)
    with pytest.raises(CohortError, match=message) as caught:
        read_folds(tmp_path / "folds.json", [case("a", "anna"), case("b", "anna")])
    assert "\n" not in str(caught.value)


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    """So that other tools can read it."""
    write_folds(tmp_path / "f.json", (Split(("a",), ("b",)),))
    assert json.loads((tmp_path / "f.json").read_text()) == {
        "folds": [{"train": ["a"], "validation": ["b"], "test": []}]
    }


def test_a_leak_names_the_patient() -> None:
    """With both sides."""
    with pytest.raises(CohortError, match="'p1' in train and validation"):
        check_leaks(Split(("a",), ("b",)), [case("a", "p1"), case("b", "p1")])
