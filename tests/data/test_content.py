"""Contents: files that changed, came or went are named; a copied date is no change."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from volseg.data.cohort import Case
from volseg.data.content import changed_parts, contents_of, from_plain, to_plain
from volseg.errors import CohortError


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    """Three cases with their files."""
    made = []
    for name in "abc":
        image, label = tmp_path / f"{name}.nii", tmp_path / f"{name}_gt.nii"
        image.write_bytes(b"image " + name.encode())
        label.write_bytes(b"label " + name.encode())
        made.append(Case(name, (image,), label))
    return made


def test_nothing_changed(cases: list[Case]) -> None:
    """Also after a way through JSON, and when only the dates are others."""
    before = from_plain(json.loads(json.dumps(to_plain({case.name: contents_of(case) for case in cases}))))
    assert changed_parts(cases, before) == []
    os.utime(cases[0].image, (1, 1))
    assert changed_parts(cases, before) == []


def test_every_change_is_named(cases: list[Case]) -> None:
    """Other bytes of the same length, a case that went, one that came, and a label map that went."""
    before = {case.name: contents_of(case) for case in cases}
    cases[0].image.write_bytes(b"image A")
    bare = Case("b", cases[1].images)
    new = Case("d", cases[2].images)
    told = changed_parts([cases[0], bare, new], before)
    assert told == ["c is gone", "d is new", "a: a.nii has changed", "b has other files"]


def test_a_folder_is_all_of_its_files(tmp_path: Path) -> None:
    """A slice of a series that changes, changes the case."""
    series = tmp_path / "series"
    series.mkdir()
    for k in range(3):
        (series / f"{k}.dcm").write_bytes(bytes([k] * 8))
    case = Case("s", (series,))
    before = {"s": contents_of(case)}
    assert changed_parts([case], before) == []
    (series / "1.dcm").write_bytes(bytes([9] * 8))
    assert changed_parts([case], before) == ["s: series has changed"]


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    """The path and the reason."""
    with pytest.raises(CohortError, match=r"gone\.nii: cannot be read \(No such file"):
        contents_of(Case("x", (tmp_path / "gone.nii",)))
