"""Finding masks in every layout, and pairing predictions with truths by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from volseg.errors import CohortError
from volseg.evaluation import find_masks, pair_masks


@pytest.fixture
def touch(tmp_path: Path) -> Callable[..., Path]:
    """Create empty files: to be found, a mask needs a name only."""

    def build(folder: str, names: Iterable[str]) -> Path:
        for name in names:
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).touch()
        return tmp_path / folder

    return build


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a.nii.gz", "b.nii.gz"], ["a", "b"]),
        (["a.nii.gz", "a_gt.nii.gz", "b_gt.nii.gz"], ["a", "b"]),
        (["p1/ct_seg.nii.gz", "p1/ct.nii.gz", "p2/ct_seg.nii.gz"], ["p1/ct", "p2/ct"]),
        (["labels/a.nii.gz", "labels/b.nii.gz"], ["a", "b"]),
        (["images/a.nii.gz", "images/b.nii.gz", "labels/b.nii.gz"], ["b"]),
        (["imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"], ["a"]),
        (["c10.nii.gz", "c9.nii.gz", "._c9.nii.gz", "summary.json"], ["c9", "c10"]),
        (
            ["training/patient001/patient001_frame01_gt.nii.gz", "training/patient001/patient001_4d.nii.gz"],
            ["patient001_frame01"],
        ),
    ],
)
def test_masks_are_found_in_every_layout(touch: Callable[..., Path], files: list[str], names: list[str]) -> None:
    """Label maps by their case's name: beside images, in a folder of their own, alone, in natural order."""
    assert [mask.name for mask in find_masks(touch("data", files)).masks] == names


def test_info_tells_moments_and_groups(touch: Callable[..., Path]) -> None:
    """In ACDC's layout the patient is the folder, and Info.cfg names the frames."""
    names = [f"patient007/patient007_frame{k:02d}_gt.nii.gz" for k in (4, 11)]
    root = touch("data", names)
    (root / "patient007/Info.cfg").write_text("ED: 4\nES: 11\nGroup: RV\n")
    found = find_masks(root).masks
    assert [(m.patient, m.number, m.moment, m.group) for m in found] == [
        ("patient007", 4, "ED", "RV"),
        ("patient007", 11, "ES", "RV"),
    ]


@pytest.mark.parametrize(
    ("pattern", "more"),
    [
        ("{}_gt.nii.gz", []),
        ("labels/{}.nii.gz", ["images/{}.nii.gz"]),
        ("labelsTr/{}.nii.gz", ["imagesTr/{}_0000.nii.gz"]),
        ("labelsTr/{}.nii.gz", ["imagesTr/{}.nii.gz", "dataset.json"]),
        ("y/{}.nii.gz", ["x/{}.nii.gz", "cases.csv"]),
    ],
    ids=["suffix", "folders", "nnU-Net", "Decathlon", "CSV"],
)
def test_names_tell_frames_and_moments_in_every_layout(
    touch: Callable[..., Path], pattern: str, more: list[str]
) -> None:
    """Which frame of the beat, or which end of it, as far as the case's name ends with it."""
    names = ["anna_ED", "anna_frame12", "bo_scan"]
    root = touch("data", [file.format(name) for file in (pattern, *more) for name in names])
    if "dataset.json" in more:
        pairs = [{"image": f"imagesTr/{name}.nii.gz", "label": f"labelsTr/{name}.nii.gz"} for name in names]
        (root / "dataset.json").write_text(json.dumps({"training": pairs}))
    if "cases.csv" in more:
        root /= "cases.csv"
        root.write_text("\n".join(["image,label", *(f"x/{name}.nii.gz,y/{name}.nii.gz" for name in names)]))
    assert [(m.name, m.number, m.moment) for m in find_masks(root).masks] == [
        ("anna_ED", None, "ED"),
        ("anna_frame12", 12, None),
        ("bo_scan", None, None),
    ]


def test_a_csv_tells_the_frames_of_masks(touch: Callable[..., Path]) -> None:
    """Of a mask of a whole cine the frame that its row names; a label map of its own has no other."""
    root = touch("data", ["cine.nii.gz", "early.nii.gz"])
    (root / "cases.csv").write_text("name,image,frame\na,cine.nii.gz,0\nb,cine.nii.gz,8\n")
    (root / "pairs.csv").write_text("name,image,frame,label\na,cine.nii.gz,8,early.nii.gz\n")
    assert [(m.number, m.frame) for m in find_masks(root / "cases.csv").masks] == [(1, 0), (9, 8)]
    assert [(m.number, m.frame) for m in find_masks(root / "pairs.csv").masks] == [(9, None)]


def test_two_masks_of_one_case_are_refused(touch: Callable[..., Path]) -> None:
    """Neither is chosen."""
    with pytest.raises(CohortError, match="would be one case, a"):
        find_masks(touch("data", ["a_gt.nii.gz", "a_seg.nii.gz"]))


def test_images_without_masks_are_refused(touch: Callable[..., Path]) -> None:
    """A folder of images with an empty folder of labels holds no truth."""
    root = touch("data", ["images/a.nii.gz"])
    (root / "labels").mkdir()
    with pytest.raises(CohortError, match="images but no label maps"):
        find_masks(root)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """With what would have been understood."""
    with pytest.raises(CohortError, match="holds no label map"):
        find_masks(tmp_path)


def test_a_csv_names_the_masks(touch: Callable[..., Path]) -> None:
    """Where names tell nothing, a table does."""
    root = touch("data", ["x.nii.gz", "y.nii.gz", "yy.nii.gz"])
    (root / "cases.csv").write_text(
        "name,image,label,patient\nfirst,x.nii.gz,y.nii.gz,anna\nsecond,x.nii.gz,yy.nii.gz,bo\n"
    )
    assert [(m.name, m.path.name, m.patient) for m in find_masks(root / "cases.csv").masks] == [
        ("first", "y.nii.gz", "anna"),
        ("second", "yy.nii.gz", "bo"),
    ]


def test_a_flat_folder_pairs_with_a_tree_by_the_files_own_name(touch: Callable[..., Path]) -> None:
    """Folders may be left out on one side where no other case has the name."""
    pairs = pair_masks(touch("p", ["ct1.nii.gz"]), touch("g", ["site/anna/ct1_gt.nii.gz", "site/bo/ct2_gt.nii.gz"]))
    assert [(pair.prediction.name, pair.truth.name) for pair in pairs.found] == [("ct1", "site/anna/ct1")]
    assert [mask.name for mask in pairs.missing] == ["site/bo/ct2"]


def test_one_patients_prediction_is_never_held_against_anothers_truth(touch: Callable[..., Path]) -> None:
    """Equal file names in different folders are different cases, also where each is alone; so is an ambiguous name."""
    with pytest.raises(CohortError, match="no prediction"):
        pair_masks(touch("p", ["anna/ct.nii.gz"]), touch("g", ["bo/ct_gt.nii.gz"]))
    with pytest.raises(CohortError, match="no prediction"):
        pair_masks(touch("q", ["ct.nii.gz"]), touch("h", ["anna/ct_gt.nii.gz", "bo/ct_gt.nii.gz"]))


def test_two_files_are_a_pair_whatever_they_are_called(touch: Callable[..., Path]) -> None:
    """Who names both files means both."""
    root = touch("data", ["mine.nii.gz", "theirs.nii.gz"])
    (pair,) = pair_masks(root / "mine.nii.gz", root / "theirs.nii.gz").found
    assert (pair.prediction.path.name, pair.truth.path.name) == ("mine.nii.gz", "theirs.nii.gz")
