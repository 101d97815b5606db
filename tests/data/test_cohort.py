"""Cohorts: every layout recognised, pairs made by name, nothing ambiguous let through."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import nibabel as nib
import numpy as np
import pytest

from volseg.data.cohort import Case, Cohort, find_cases, output_name, output_names
from volseg.data.phantom import write_cohort
from volseg.errors import CohortError, UsageError

Lay = Callable[..., Path]


def pairs(cohort: Cohort) -> dict[str, str | None]:
    """Every case's label by name, below the root."""
    return {c.name: None if c.label is None else c.label.relative_to(cohort.root).as_posix() for c in cohort}


# --- one flat folder, trees


def test_a_flat_folder_pairs_by_suffix(lay: Lay) -> None:
    """Label maps beside their images are found whatever the suffix, the ending or the case of letters."""
    ends = ["_gt", "_seg", "_label", "_labels", "_mask", "-seg", "_GT"]
    root = lay([f"p{k}{end}.nii.gz" for k, end in enumerate(ends)] + [f"p{k}.nrrd" for k in range(len(ends))])
    cohort = find_cases(root, labels="required")
    assert cohort.layout == "flat"
    assert pairs(cohort) == {f"p{k}": f"p{k}{end}.nii.gz" for k, end in enumerate(ends)}
    assert all(case.image.suffix == ".nrrd" for case in cohort)
    assert cohort.notes == ()


def test_cases_come_in_natural_order(lay: Lay) -> None:
    """Numbers in names count as numbers, and the order does not depend on the file system."""
    cohort = find_cases(lay(["s10.nii", "s9.nii", "s1.nii", "t/s2.nii", "a/s1.nii"]))
    assert [case.name for case in cohort] == ["s1", "s9", "s10", "a/s1", "t/s2"]


def test_a_tree_keeps_its_folders_in_the_names(lay: Lay) -> None:
    """p1/ct and p2/ct are two cases of two patients with two results."""
    cohort = find_cases(lay(["p1/ct.nii.gz", "p2/ct.nii.gz", "p2/ct_seg.nii.gz", "p2/pet.mha"]))
    assert cohort.layout == "tree"
    assert pairs(cohort) == {"p1/ct": None, "p2/ct": "p2/ct_seg.nii.gz", "p2/pet": None}
    assert [case.patient for case in cohort] == ["p1", "p2", "p2"]
    assert cohort.patients == ("p1", "p2")
    assert [p.as_posix() for p in output_names(cohort).values()] == ["p1/ct.nii.gz", "p2/ct.nii.gz", "p2/pet.nii.gz"]


def test_folders_that_sort_are_no_patients(lay: Lay) -> None:
    """train/ and val/ give the split, the folder below them or the file's name gives the patient."""
    cohort = find_cases(lay(["train/anna/ct.nii", "val/b_frame01.nii", "val/b_frame12.nii", "test/c.nii"]))
    assert [(c.split, c.patient) for c in cohort] == [
        ("test", "c"),
        ("train", "anna"),
        ("validation", "b"),
        ("validation", "b"),
    ]


def test_truths_and_cines_are_inputs_only_when_named(lay: Lay) -> None:
    """*_gt and *_4d in a folder are no inputs; named themselves they are."""
    root = lay(["a.nii", "a_gt.nii", "a_4d.nii"])
    cohort = find_cases(root, labels="none")
    assert pairs(cohort) == {"a": None}
    assert cohort.notes == ("1 whole cine (_4d) left out: name one to take it",)
    for name in ("a_gt", "a_4d"):
        single = find_cases(root / f"{name}.nii")
        assert [(case.name, case.images, case.label) for case in single] == [(name, (root / f"{name}.nii",), None)]


def test_looking_for_images_only_leaves_label_maps_out(lay: Lay) -> None:
    """With labels="none" two label maps of one image are no matter, and a mask without an image is an image."""
    root = lay(["a.nii", "a_seg.nii", "a_mask.nii", "b_mask.nii", "lost_gt.nii"])
    assert pairs(find_cases(root, labels="none")) == {"a": None, "b_mask": None}


def test_a_single_file_finds_its_label(lay: Lay) -> None:
    """A file that is named itself is a case, with the label map beside it."""
    root = lay(["x.nii.gz", "x_seg.nii.gz", "y.nii.gz"])
    cohort = find_cases(root / "x.nii.gz")
    assert (cohort.layout, cohort.cases[0].label) == ("file", root / "x_seg.nii.gz")
    assert find_cases(root / "x.nii.gz", labels="none").cases[0].label is None
    assert find_cases(root / "y.nii.gz").cases[0].label is None


def test_a_single_file_with_two_labels_is_refused(lay: Lay) -> None:
    """Two label maps beside the named file are one too many; notes and folders of such names are none."""
    root = lay(["x.nii", "x_seg.nii", "x_mask.txt", "x_mask/y.nii"])
    assert find_cases(root / "x.nii").cases[0].label == root / "x_seg.nii"
    lay(["x_gt.nii.gz"])
    with pytest.raises(CohortError, match=r"2 label maps for x\.nii: x_gt\.nii\.gz, x_seg\.nii"):
        find_cases(root / "x.nii")


def test_pictures_among_volumes_are_no_cases(lay: Lay) -> None:
    """Figures and previews beside volumes are told and left out; a folder of pictures is one of images."""
    cohort = find_cases(lay(["a.nii", "a.png", "figures/b.tif"]))
    assert pairs(cohort) == {"a": None}
    assert cohort.notes == ("2 pictures among volumes left out: name the file or a folder of pictures",)
    assert pairs(find_cases(cohort.root / "figures")) == {"b": None}


def test_patients_are_told_by_names(lay: Lay) -> None:
    """Frames, visits and BIDS entities are parts of one patient."""
    names = ["p1_frame01", "p1_frame12", "sub-07_ses-1_T1w", "sub-07_ses-2_T1w", "q_ED", "q_ES", "z_visit2", "case_003"]
    cohort = find_cases(lay([f"{name}.nii" for name in names]))
    assert {c.name: c.patient for c in cohort} == dict(
        zip(names, ["p1", "p1", "sub-07", "sub-07", "q", "q", "z", "case_003"], strict=True)
    )


# --- what is ambiguous


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a.nii", "a.nii.gz"], "a.nii, a.nii.gz would share the result a; keep one of them, or rename one"),
        (["p/a.nii", "p/a.mha", "q/b.nii"], "p/a.mha, p/a.nii would share the result p/a;"),
        (["a.nii", "a_gt.nii", "a_seg.nii"], "2 label maps for the image a: a_gt.nii, a_seg.nii; keep one of them"),
        (["a.nii", "a_gt.nii", "a_gt.nii.gz"], "2 label maps for the image a: a_gt.nii, a_gt.nii.gz;"),
        (["a.nii", "b_gt.nii"], "1 label map without an image: b_gt.nii; rename them, or list the cases in a CSV"),
        (["a_t1.nii", "a_t2.nii", "a_seg.nii"], "1 label map without an image: a_seg.nii;"),
        (["images/a.png", "labels/b.png"], "1 label map in labels/ without an image: b.png;"),
        (["images/a.png", "labels/a.png", "labels/a_mask.png"], "2 label maps for the image a: labels/a.png"),
        (["images/a.png", "images/a.tif", "labels/a.png"], "a.png, a.tif would share the result a"),
        (["images/a.png", "labels/a.png", "instances/a.png"], "labels, instances may each hold the truth;"),
        (["README.txt"], "holds no image; 1 file not understood as images and left out (1 .txt); images are .nii.gz"),
        ([], "holds no image; images are .nii.gz"),
    ],
)
def test_ambiguity_is_refused_with_the_candidates(lay: Lay, names: list[str], said: str) -> None:
    """What cannot be told apart or paired is one line that names the files and the mend."""
    with pytest.raises(CohortError) as caught:
        find_cases(lay(names))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_many_collisions_are_counted(lay: Lay) -> None:
    """The first collision is shown, the others are counted."""
    with pytest.raises(CohortError, match=r"a\.nii, a\.nii\.gz would share the result a \(and 2 more names\)"):
        find_cases(lay([f"{name}{end}" for name in "abc" for end in (".nii", ".nii.gz")]))


def test_missing_label_maps_are_said_or_refused(lay: Lay) -> None:
    """Images without a truth among images with one are noted, refused where every label is needed."""
    root = lay(["a.nii", "a_gt.nii", "b.nii", "c.nii"])
    assert find_cases(root).notes == ("2 images without a label map: b, c",)
    with pytest.raises(CohortError, match="2 images without a label map: b, c; add the label maps"):
        find_cases(root, labels="required")
    assert find_cases(root, labels="none").notes == ()


def test_no_labels_at_all_need_no_note(lay: Lay) -> None:
    """A folder of images alone is a folder to segment."""
    assert find_cases(lay(["a.nii", "b.nii"])).notes == ()
    with pytest.raises(CohortError, match="2 images without a label map"):
        find_cases(lay([]), labels="required")


@pytest.mark.parametrize(
    ("path", "said"), [("nowhere", "does not exist"), ("x" * 300, "cannot be opened: File name too long")]
)
def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path, path: str, said: str) -> None:
    """A path that is not there, or cannot be, is one line."""
    with pytest.raises(CohortError, match=said):
        find_cases(tmp_path / path)


def test_a_wish_that_is_none_is_refused(tmp_path: Path) -> None:
    """Labels are optional, required or none."""
    with pytest.raises(UsageError, match="optional, required or none"):
        find_cases(tmp_path, labels="maybe")  # type: ignore[arg-type]


# --- names


@pytest.mark.parametrize("name", ["a b", "Süß-日本", "line\nbreak", "v1.2.final", "tab\there", "-o", "a'b\"c", "%s{}"])
def test_odd_names_are_names(lay: Lay, name: str) -> None:
    """Spaces, unicode, newlines, dots and quotes are accepted, and results are called alike."""
    root = lay([f"{name}.nii.gz", f"{name}_gt.nii.gz"])
    cohort = find_cases(root, labels="required")
    assert pairs(cohort) == {name: f"{name}_gt.nii.gz"}
    assert output_name(cohort.cases[0]) == PurePosixPath(f"{name}.nii.gz")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such a name themselves")
def test_bytes_that_are_no_text_are_a_name(lay: Lay) -> None:
    """A name that is no UTF-8 is accepted, and printable in an error."""
    root = lay([])
    for end in (b".nii", b".nii.gz"):
        (root / os.fsdecode(b"caf\xe9" + end)).touch()
    with pytest.raises(CohortError) as caught:
        find_cases(root)
    assert "caf\\udce9.nii, caf\\udce9.nii.gz" in str(caught.value).encode("utf-8").decode()


def test_an_error_about_a_newline_is_one_line(lay: Lay) -> None:
    """Control characters of names are shown as escapes."""
    with pytest.raises(CohortError) as caught:
        find_cases(lay(["a\nb.nii", "a\nb.nii.gz"]))
    assert "a\\nb.nii, a\\nb.nii.gz would share the result a\\nb" in str(caught.value)


def test_leavings_of_operating_systems_are_not_there(lay: Lay) -> None:
    """._x, .DS_Store, __MACOSX, Thumbs.db and partial files of killed runs are skipped without a word."""
    root = lay(
        [
            *(
                "a.nii",
                "._a.nii",
                ".DS_Store",
                "__MACOSX/a.nii",
                "Thumbs.db",
                ".volseg-partial-1f.nii.gz",
                ".git/x.nii",
            ),
            *("summary.json", "summary-0-of-2.json", "labels.ctbl", "labels.itksnap.txt"),
        ]
    )
    cohort = find_cases(root)
    assert pairs(cohort) == {"a": None}
    assert cohort.notes == ()


def test_files_not_understood_are_counted(lay: Lay) -> None:
    """What is no image is told by number and kind."""
    root = lay(["a.nii", "a.json", "b.json", "p/notes.txt", "LICENSE"])
    assert find_cases(root).notes == ("4 files not understood as images and left out (2 .json, 1 .txt, 1 no ending)",)


def test_a_broken_link_stays_a_case(lay: Lay) -> None:
    """A link to nothing is not lost: it is a case that fails by itself when it is read."""
    root = lay(["a.nii"])
    (root / "b.nii").symlink_to(root / "gone.nii")
    assert [case.name for case in find_cases(root)] == ["a", "b"]
    assert [case.name for case in find_cases(root / "b.nii")] == ["b"]


def test_links_to_folders_are_followed_once(lay: Lay) -> None:
    """A linked folder belongs to the tree; a link that leads back up ends there."""
    root = lay(["p1/a.nii"])
    (root / "p1" / "up").symlink_to(root, target_is_directory=True)
    away = root.parent / "elsewhere"
    away.mkdir()
    (away / "b.nii").touch()
    (root / "p2").symlink_to(away, target_is_directory=True)
    assert [case.name for case in find_cases(root)] == ["p1/a", "p2/b"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_listed_is_not_lost(lay: Lay) -> None:
    """An unreadable folder in a tree is a case that fails by itself; the others are there."""
    root = lay(["p1/a.nii", "p2/b.nii"])
    (root / "p2").chmod(0)
    try:
        assert [case.name for case in find_cases(root)] == ["p1/a", "p2"]
    finally:
        (root / "p2").chmod(0o700)


def test_an_unreadable_folder_in_a_tree_fails_by_itself(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, wherever tests run as root: listing is made to fail."""
    root, scan = lay(["p1/a.png", "p2/b.png"]), os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "p2":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr("volseg.data.cohort.listing.os.scandir", refuse)
    cohort = find_cases(root)
    assert [(case.name, case.images) for case in cohort] == [("p1/a", (root / "p1/a.png",)), ("p2", (root / "p2",))]
    with pytest.raises(CohortError, match="cannot be listed: Permission denied"):
        find_cases(root / "p2")


def test_detached_voxels_are_no_cases(lay: Lay) -> None:
    """An .img with its .hdr is one volume, as are an .mhd and its .raw."""
    cohort = find_cases(lay(["a.hdr", "a.img", "b.mhd", "b.raw", "c.nhdr"]))
    assert [case.image.name for case in cohort] == ["a.hdr", "b.mhd", "c.nhdr"]
    assert cohort.notes == ()


# --- results


def test_results_that_would_collide_are_found() -> None:
    """Two cases with one result, and names that would be too long, are errors before anything runs."""
    twins = [Case("a", (Path("in/a.nii"),)), Case("b", (Path("in/b.nii"),), folder="x"), Case("x/b", (Path("c.nii"),))]
    with pytest.raises(CohortError, match=r"in/b\.nii, c\.nii would share the result x/b\.nii\.gz"):
        output_names(twins)
    long = Case("n" * 250, (Path("n.nrrd"),))
    assert output_name(long, ".mha").name == "n" * 250 + ".mha"
    with pytest.raises(CohortError, match="longer than 255 bytes; shorten the name"):
        output_names([long], ".nii.gz")


@pytest.mark.parametrize("name", ["../up", "a/../../b", "/etc/passwd"])
def test_no_name_leads_out_of_the_output(name: str) -> None:
    """A case's name cannot place its result elsewhere."""
    with pytest.raises(CohortError, match="lead out of the output folder"):
        output_name(Case(name, (Path("a.nii"),)))


def test_a_case_has_a_name_an_image_and_a_known_split() -> None:
    """Without them it is refused when it is made."""
    with pytest.raises(CohortError, match="needs a name and an image"):
        Case("a", ())
    with pytest.raises(CohortError, match="is none of train, validation, test"):
        Case("a", (Path("a.nii"),), split="tune")  # type: ignore[arg-type]


# --- ACDC


def acdc(lay: Lay, *, above: str = "", patients: int = 2) -> Path:
    root = lay([])
    for k in range(1, patients + 1):
        home = root / above / f"patient{k:03d}"
        home.mkdir(parents=True)
        for frame in ("frame01", "frame01_gt", "frame12", "frame12_gt", "4d"):
            (home / f"patient{k:03d}_{frame}.nii.gz").touch()
        (home / "Info.cfg").write_text("ED: 1\nES: 12\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n")
    return root


@pytest.mark.parametrize("above", ["", "training"])
def test_acdc_is_recognised(lay: Lay, above: str) -> None:
    """Both moments of each patient with group, moment and truth; results go to folders of their own."""
    cohort = find_cases(acdc(lay, above=above))
    assert cohort.layout == "ACDC"
    first = cohort["patient001_frame01"]
    assert (first.patient, first.group, first.moment, first.split) == ("patient001", "DCM", "ED", None)
    assert [case.moment for case in cohort] == ["ED", "ES"] * 2
    assert first.label is not None
    assert first.label.name == "patient001_frame01_gt.nii.gz"
    below = f"{above}/" if above else ""
    assert output_name(first).as_posix() == f"{below}patient001/patient001_frame01.nii.gz"
    assert cohort.notes == ("1 whole cine (_4d) left out: name one to take it (in each of 2 patients)",)


def test_one_acdc_patient_is_a_cohort(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    """A patient's folder alone is recognised, as is the working directory that is one."""
    root = acdc(lay)
    monkeypatch.chdir(root / "patient002")
    for path in (root / "patient002", Path()):
        cohort = find_cases(path)
        assert [(c.name, c.patient) for c in cohort] == [
            ("patient002_frame01", "patient002"),
            ("patient002_frame12", "patient002"),
        ]


def test_acdc_with_both_parts_tells_the_split(lay: Lay) -> None:
    """training/ and testing/ side by side are a split; folders of nobody are told."""
    root = acdc(lay, above="training")
    for frame in ("frame01", "frame09"):
        path = root / "testing" / "patient101" / f"patient101_{frame}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (root / "testing" / "drafts").mkdir()
    cohort = find_cases(root)
    assert [case.split for case in cohort] == ["test"] * 2 + ["train"] * 4
    assert cohort["patient101_frame01"].group is None
    assert "1 folder of no patient left out: drafts" in cohort.notes


# --- Decathlon and nnU-Net


def test_decathlon_is_recognised(lay: Lay, describe: Callable[[Path, object], None]) -> None:
    """The training list of dataset.json gives the pairs; the test list is counted."""
    root = lay([f"{part}/h_{k}.nii.gz" for part in ("imagesTr", "labelsTr") for k in (1, 2)])
    training = [{"image": f"./imagesTr/h_{k}.nii.gz", "label": f"./labelsTr/h_{k}.nii.gz"} for k in (1, 2)]
    describe(root, {"training": training, "test": ["./imagesTs/h_9.nii.gz"]})
    cohort = find_cases(root)
    assert (cohort.layout, pairs(cohort)) == ("Decathlon", {f"h_{k}": f"labelsTr/h_{k}.nii.gz" for k in (1, 2)})
    assert cohort.notes == ("1 test image without a truth left out",)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"training": [{"image": "imagesTr/x.nii.gz"}]}, "names 1 file that cannot be found: imagesTr/x.nii.gz; copy"),
        ({"training": [{"img": "x"}]}, "entry 1 of training names no image"),
        ("{", "cannot be read as JSON"),
        ("[]", "holds no JSON object"),
        ("[" * 100_000, "cannot be read as JSON"),
    ],
)
def test_a_wrong_dataset_json_is_refused(
    lay: Lay, describe: Callable[[Path, object], None], told: object, said: str
) -> None:
    """A description that does not describe what is there is one line."""
    root = lay(["imagesTr/h.nii.gz"])
    describe(root, told)
    with pytest.raises(CohortError, match=said):
        find_cases(root)


def test_the_decathlon_without_its_json_is_two_folders(lay: Lay) -> None:
    """ImagesTr and labelsTr alone are paired by name."""
    cohort = find_cases(lay(["imagesTr/h_1.nii.gz", "labelsTr/h_1.nii.gz", "imagesTs/h_2.nii.gz"]))
    assert (cohort.layout, pairs(cohort)) == ("parallel folders", {"h_1": "labelsTr/h_1.nii.gz"})


def test_nnunet_is_recognised(lay: Lay, describe: Callable[[Path, object], None]) -> None:
    """Channels become one case, named without the channel's number."""
    names = [f"imagesTr/c_{k}_{c:04d}.nii.gz" for k in (1, 2) for c in (0, 1)]
    root = lay([*names, "labelsTr/c_1.nii.gz", "labelsTr/c_2.nii.gz", "imagesTs/c_3_0000.nii.gz"])
    describe(root, {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0}, "file_ending": ".nii.gz"})
    cohort = find_cases(root, labels="required")
    assert cohort.layout == "nnU-Net"
    assert pairs(cohort) == {"c_1": "labelsTr/c_1.nii.gz", "c_2": "labelsTr/c_2.nii.gz"}
    assert [path.name for path in cohort["c_2"].images] == ["c_2_0000.nii.gz", "c_2_0001.nii.gz"]
    assert cohort.notes == ("1 file of imagesTs left out: name the folder to take them",)
    assert pairs(find_cases(root / "imagesTs")) == {"c_3": None}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["c_1_0001.nii.gz", "c_1_0000.nii.gz", "c_2_0001.nii.gz"], "c_2 has the channels 0001, not the 2 channels"),
        (["c_1_0000.nii.gz", "extra.nii.gz"], "without a channel number such as _0000: extra.nii.gz"),
        (["c_1_0000.nii.gz", "c_1_0000.nii"], "would share the result c_1_0000"),
    ],
)
def test_nnunet_with_wrong_channels_is_refused(lay: Lay, names: list[str], said: str) -> None:
    """A case that lacks a channel is refused by name."""
    with pytest.raises(CohortError, match=said):
        find_cases(lay([f"imagesTr/{name}" for name in names]))


# --- parallel folders


@pytest.mark.parametrize("folder", ["labels", "masks", "Instances", "mask", "segmentations"])
def test_parallel_folders_pair_by_name(lay: Lay, folder: str) -> None:
    """The same name, or it with a label's suffix, in any of the folders that hold truths."""
    root = lay(["images/1.png", "images/2.png", "images/b/3.png", "images/4.png"])
    lay([f"{folder}/1.png", f"{folder}/2_mask.png", f"{folder}/b/3.tif", f"{folder}/4.png", "index.csv"])
    cohort = find_cases(root, labels="required")
    assert pairs(cohort) == {
        "1": f"{folder}/1.png",
        "2": f"{folder}/2_mask.png",
        "4": f"{folder}/4.png",
        "b/3": f"{folder}/b/3.tif",
    }
    assert all(case.instances == (folder == "Instances") for case in cohort)
    assert cohort.notes == ("1 file not understood as images and left out (1 .csv)",)


def test_an_image_folder_alone_pairs_within(lay: Lay) -> None:
    """Without a label folder, label maps may lie beside their images; truths and cines are left out and told."""
    root = lay(["images/a.nii", "images/a_seg.nii", "images/b.nii", "images/b_4d.nii"])
    cohort = find_cases(root)
    assert pairs(cohort) == {"a": "images/a_seg.nii", "b": None}
    assert "1 whole cine (_4d) left out: name one to take it" in cohort.notes
    lay(["labels/a.nii", "labels/a_seg.nii", "labels/b.nii"])
    assert pairs(find_cases(root)) == {"a": "labels/a.nii", "a_seg": "labels/a_seg.nii", "b": "labels/b.nii"}
    assert find_cases(root).notes == ("1 file (_4d, _gt) of images/ left out",)


def test_the_truth_can_be_chosen(lay: Lay) -> None:
    """Where two folders may hold the truth, naming one decides."""
    root = lay(["images/a.png", "labels/a.png", "instances/a.png"])
    assert pairs(find_cases(root, truth="instances")) == {"a": "instances/a.png"}
    assert pairs(find_cases(root, labels="none")) == {"a": None}
    with pytest.raises(CohortError, match="no label folder 'masks'; there are instances, labels"):
        find_cases(root, truth="masks")


def test_parallel_folders_below_a_split(lay: Lay) -> None:
    """train/images with train/labels, val/images with val/labels: the split is carried, names stay apart."""
    cohort = find_cases(lay([f"{s}/{part}/1.png" for s in ("train", "val") for part in ("images", "labels")]))
    assert pairs(cohort) == {"train/1": "train/labels/1.png", "val/1": "val/labels/1.png"}
    assert [case.split for case in cohort] == ["train", "validation"]


# --- DICOM


def test_dicom_folders_are_cases(lay: Lay, dicom_file: Callable[[Path], None]) -> None:
    """Every folder with DICOM files is one candidate, whatever its files are called; stray files are counted."""
    root = lay(["a/notes.txt", "DICOMDIR"])
    for name in ("a/1/x.dcm", "a/1/y.dcm", "b/IM0001", "b/IM0002", "b/1.2.840.113"):
        dicom_file(root / name)
    cohort = find_cases(root)
    assert cohort.layout == "dicom"
    assert [(c.name, c.images, c.patient) for c in cohort] == [
        ("a/1", (root / "a/1",), "a"),
        ("b", (root / "b",), "b"),
    ]
    assert cohort.notes == ("1 file not understood as images and left out (1 .txt)",)
    assert find_cases(root / "b").cases[0].name == "b"


def test_a_dicom_folder_and_a_file_of_its_name_collide(lay: Lay, dicom_file: Callable[[Path], None]) -> None:
    """A series a/ and an image a.nii would share a result: refused."""
    root = lay(["a.nii"])
    dicom_file(root / "a" / "1.dcm")
    with pytest.raises(CohortError, match="would share the result a"):
        find_cases(root)


def test_dicom_images_with_label_maps(lay: Lay, dicom_file: Callable[[Path], None]) -> None:
    """Series in images/ pair with files in labels/."""
    root = lay(["labels/p1.nii.gz"])
    dicom_file(root / "images/p1/1.dcm")
    assert pairs(find_cases(root)) == {"p1": "labels/p1.nii.gz"}


# --- CSV


def table(root: Path, text: str) -> Path:
    (root / "cases.csv").write_bytes(text.encode("utf-8"))
    return root / "cases.csv"


def test_a_csv_lists_cases(lay: Lay) -> None:
    """Every column is carried; paths are relative to the CSV; other columns are told."""
    root = lay(["i/a.nii", "i/b.nii", "l/a.nii"])
    text = (
        "\ufeffImage,label,patient,group,split,age\r\ni/a.nii,l/a.nii,anna,NOR,Train,3\r\n\r\ni/b.nii,,ben,,val,4\r\n"
    )
    cohort = find_cases(table(root, text))
    first, second = cohort
    assert cohort.layout == "CSV"
    assert (first.image, first.label) == (root / "i/a.nii", root / "l/a.nii")
    assert (first.name, first.patient, first.group, first.split) == ("a", "anna", "NOR", "train")
    assert (second.name, second.patient, second.group, second.split) == ("b", "ben", None, "validation")
    assert cohort.notes == ("1 column of the CSV not used: age", "1 image without a label map: b")


def test_a_csv_gives_channels_frames_and_names(lay: Lay) -> None:
    """image_0 and image_1 are channels in their order, frame and name are taken, quotes and semicolons understood."""
    root = lay(["a.nii", "b.nii", "x;y.nii"])
    text = 'image_1;image_0;frame;name\nb.nii;a.nii;4;one\n"x;y.nii";a.nii;;two\n'
    first, second = find_cases(table(root, text))
    assert [path.name for path in first.images] == ["a.nii", "b.nii"]
    assert (first.name, first.frame) == ("one", 4)
    assert ([path.name for path in second.images], second.frame) == (["a.nii", "x;y.nii"], None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,label\nnone.nii,\n", r"1 file cannot be found: .*none\.nii \(line 2\); paths are relative"),
        ("imgae,label\na.nii,\n", "has no column image .*; rename 'imgae'"),
        ("path\na.nii\n", "has no column image .*the first line names the columns"),
        ("", "has no column image"),
        ("image,image\na.nii,a.nii\n", "names the column image twice"),
        ("image,label,instances\na.nii,,\n", "both a column label and a column instances"),
        ("image,split\na.nii,tune\n", "line 2: split 'tune' is none of train, validation, test"),
        ("image,frame\na.nii,-1\n", "line 2: frame '-1' is no number from 0 on"),
        ("image,label\na.nii\n", "line 2 has 1 fields, the head has 2"),
        ("image,label\n,a.nii\n", "line 2 names no image"),
        ('image\n"a.nii\n', "line .* is no CSV"),
        ("image\na.nii\nsub/../a.nii\n", "would be one case, a; rename one of them, or give a column name"),
        ("image,name\na.nii,../up\n", "lead out of the output folder"),
        ("image\n", "holds no image"),
    ],
)
def test_a_wrong_csv_is_refused(lay: Lay, text: str, said: str) -> None:
    """Every mistake is one line, with the line's number where there is one."""
    root = lay(["a.nii", "sub/x.nii"])
    with pytest.raises(CohortError, match=said) as caught:
        find_cases(table(root, text))
    assert "\n" not in str(caught.value)


def test_a_csv_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are one line."""
    (tmp_path / "cases.csv").write_bytes(b"image\n\xff\xfe\n")
    with pytest.raises(CohortError, match="cannot be read as UTF-8 text"):
        find_cases(tmp_path / "cases.csv")


# --- frames


def test_frames_become_cases(tmp_path: Path) -> None:
    """A time series gives one case per frame when asked, a volume stays one; a number chooses one frame."""
    for name, shape in (("cine_4d", (4, 4, 3, 5)), ("still", (4, 4, 3))):
        nib.save(
            nib.Nifti1Image(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), np.eye(4)),
            tmp_path / f"{name}.nii",
        )
    each = find_cases(tmp_path / "cine_4d.nii", frames="all")
    assert [(c.name, c.frame, c.patient) for c in each] == [(f"cine_4d_t{k:03d}", k, "cine") for k in range(5)]
    assert len(set(output_names(each).values())) == 5
    assert [(c.name, c.frame) for c in find_cases(tmp_path / "still.nii", frames="all")] == [("still", None)]
    assert [(c.name, c.frame) for c in find_cases(tmp_path / "cine_4d.nii", frames=2)] == [("cine_4d", 2)]
    (tmp_path / "bad.nii").write_bytes(b"no image")
    assert [c.name for c in find_cases(tmp_path, frames="all")] == ["bad", "still"]
    with pytest.raises(CohortError, match="frames count from 0"):
        find_cases(tmp_path / "still.nii", frames=-1)


# --- phantoms and real data


@pytest.mark.parametrize(
    ("kind", "n", "layout"), [("heart", 2, "ACDC"), ("cells", 2, "parallel folders"), ("ct", 1, "parallel folders")]
)
def test_phantom_cohorts_are_cohorts(tmp_path: Path, kind: str, n: int, layout: str) -> None:
    """What the phantoms write is recognised, fully labelled, and without a note."""
    cohort = find_cases(write_cohort(tmp_path / "p", kind, n, size=96), labels="required")
    assert cohort.layout == layout
    assert len(cohort) == n * (2 if kind == "heart" else 1)
    assert len(cohort.patients) == n
    assert cohort.notes == ()
    assert all(case.instances == (kind == "cells") for case in cohort)


@pytest.mark.parametrize(
    ("folder", "layout", "cases", "patients"),
    [
        ("acdc", "ACDC", 160, 80),
        ("hippocampus", "parallel folders", 200, 200),
        ("nuclei", "parallel folders", 334, 334),
        ("em", "parallel folders", 20, 20),
    ],
)
def test_real_cohorts_are_recognised(real_data: Path, folder: str, layout: str, cases: int, patients: int) -> None:
    """Public data sets are found whole, every case with its truth."""
    cohort = find_cases(real_data / folder, labels="required")
    assert (cohort.layout, len(cohort), len(cohort.patients)) == (layout, cases, patients)
    assert all(case.label is not None and case.label != case.image for case in cohort)


def test_real_acdc_groups_are_told(real_data: Path) -> None:
    """Sixteen patients of each group, one end-diastole and one end-systole each."""
    cohort = find_cases(real_data / "acdc")
    groups = {group: {c.patient for c in cohort if c.group == group} for group in ("DCM", "HCM", "MINF", "NOR", "RV")}
    assert [len(members) for members in groups.values()] == [16] * 5
    assert [case.moment for case in cohort].count("ED") == [case.moment for case in cohort].count("ES") == 80


def test_real_dicom_is_recognised(real_data: Path) -> None:
    """A series of slices is one case, with the stray text file counted."""
    cohort = find_cases(real_data / "dicom" / "t1w_64_slices")
    assert (cohort.layout, [case.name for case in cohort]) == ("dicom", ["t1w_64_slices"])
    assert cohort.cases[0].image.is_dir()
