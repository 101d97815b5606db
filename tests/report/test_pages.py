"""What stands in a report, whoever opens it and with whatever."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from volseg.errors import CohortError, UsageError, VolumeError
from volseg.evaluation import evaluate, evaluation_json
from volseg.evaluation.resampling import resample_labels
from volseg.geometry import Grid
from volseg.io import read_volume, write_volume
from volseg.report.told import read_summary

Make = Callable[..., Path]


class _Read(HTMLParser):
    """The tags of a page with their attributes, and its text outside of scripts and styles."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside = ""
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [found for name, found in self.tags if name == tag]


def _pages(index: Path) -> list[Path]:
    return [index, *sorted((index.parent / "cases").iterdir())]


def test_the_worst_case_stands_first_and_failed_ones_before_it(report: Path) -> None:
    """The order is that of the evaluation, with what could not be predicted on top."""
    links = [found["href"] for found in _Read(report).all("a") if found.get("tabindex") == "-1"]
    assert links == ["cases/1_p9.html", "cases/2_b_onclick_alert_1_p3.html", "cases/3_p2.html", "cases/4_p1.html"]


def test_the_summary_holds_means_with_intervals(report: Path) -> None:
    """Structures and regions have their figures; the bundle is named."""
    text = " ".join(_Read(report).text.split())
    assert "Predicted by net & co · 4 cases · 3 patients with a truth" in text
    assert re.search(r"1muscle 0\.\d{3} 0\.\d{3} to 1\.000", text)
    assert "all & more" in text
    assert "muscle is in 2 <parts>" in text
    assert "p9.nii.gz: damaged <here>" in text


def test_names_are_text_and_nothing_else(report: Path) -> None:
    """A case, a structure, a hint or an error that looks like a tag is shown as it is written."""
    for page in _pages(report):
        read = _Read(page)
        assert not [tag for tag, found in read.tags if tag in ("b", "i") and "onclick" in found]
        assert not [tag for tag, _ in read.tags if tag in ("parts", "here")]
    assert "<b onclick=alert(1)>p3" in _Read(report).text


def test_no_page_refers_to_anything_but_its_fellows(report: Path) -> None:
    """No address has a scheme but data, every link leads to a page that is there, and a policy forbids more."""
    for page in _pages(report):
        read = _Read(page)
        policy = next(found["content"] for found in read.all("meta") if "http-equiv" in found)
        assert policy is not None
        assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-")
        for _, found in read.tags:
            assert "src" not in found or str(found["src"]).startswith("data:")
            link = found.get("href") or found.get("xlink:href") or "data:"
            assert link.startswith(("data:", "#")) or (page.parent / link).resolve().is_file()
        words = re.sub(r"http://www\.w3\.org/\S+|data:[\w/]+;base64,[\w+/=]+", "", page.read_text(encoding="utf-8"))
        assert "://" not in words


def test_pages_are_small_and_name_no_folder_above(report: Path, cohort: Path) -> None:
    """No page is near 2 MB, and none says where the data lay."""
    for page in _pages(report):
        assert page.stat().st_size < 2_000_000
        assert str(cohort) not in page.read_text(encoding="utf-8")


def test_a_damaged_series_is_named_without_the_folders_above(
    make: Make, tmp_path: Path, dicom_series: Callable[..., list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DICOM is read in a process of its own; what that one says of a slice is told from the given folder on."""
    slices = dicom_series("Erika/i/ct")
    image = read_volume(slices[0].parent)
    (tmp_path / "Erika/p").mkdir()
    write_volume(tmp_path / "Erika/p/ct.nii.gz", (image.array > 2000).astype(np.uint8), image.grid)
    slices[2].write_bytes(slices[2].read_bytes()[:-100])
    monkeypatch.chdir(tmp_path / "Erika")
    for page in _pages(make(tmp_path / "r", Path("i"), Path("p"))):
        text = page.read_text(encoding="utf-8")
        assert "ct/002.dcm: " in text
        assert "Erika" not in text


def test_the_same_cohort_gives_the_same_bytes(report: Path, cohort: Path, make: Make, tmp_path: Path) -> None:
    """Only the input counts, and a date that is given."""
    again = make(tmp_path / "again", cohort / "i", cohort / "p", cohort / "g")
    assert [p.read_bytes() for p in _pages(again)] == [p.read_bytes() for p in _pages(report)]
    dated = make(tmp_path / "dated", cohort / "i", cohort / "p", cohort / "g", date="21 November 2026")
    assert "· 21 November 2026" in _Read(dated).text


@pytest.mark.slow
def test_processes_make_no_difference(report: Path, cohort: Path, make: Make, tmp_path: Path) -> None:
    """However many draw, the report is the same to the byte."""
    again = make(tmp_path / "again", cohort / "i", cohort / "p", cohort / "g", processes=2)
    assert [p.read_bytes() for p in _pages(again)] == [p.read_bytes() for p in _pages(report)]


def test_figures_that_were_measured_before_are_taken_as_they_are(
    report: Path, cohort: Path, make: Make, tmp_path: Path
) -> None:
    """With the metrics of an evaluation the report is the same as if it measured."""
    from volseg.evaluation import evaluate, evaluation_json

    from_before = evaluation_json(evaluate(cohort / "p", cohort / "g", labels=read_summary(cohort / "p").labels))
    (tmp_path / "m.json").write_text(json.dumps(from_before))
    again = make(tmp_path / "r", cohort / "i", cohort / "p", cohort / "g", metrics=tmp_path / "m.json")
    assert again.read_bytes() == report.read_bytes()


def test_without_truths_there_are_volumes_flags_and_pictures(cohort: Path, make: Make, tmp_path: Path) -> None:
    """What is doubted most comes first, after what failed."""
    index = make(tmp_path / "r", cohort / "i", cohort / "p")
    read = _Read(index)
    links = [found["href"] for found in read.all("a") if found.get("tabindex") == "-1"]
    assert links == ["cases/1_p9.html", "cases/2_b_onclick_alert_1_p3.html", "cases/3_p2.html", "cases/4_p1.html"]
    assert "Dice" not in read.text
    assert "median volume, ml" in read.text
    assert len(read.all("img")) == 3
    page = _Read(index.parent / "cases/4_p1.html")
    assert {found.get("id") for found in page.all("script")} >= {"about", "image", "prediction"}
    assert "truth" not in {found.get("id") for found in page.all("script")}


def test_without_a_summary_every_value_is_a_structure(cohort: Path, make: Make, tmp_path: Path) -> None:
    """Masks from anywhere can be shown."""
    (tmp_path / "p").mkdir()
    shutil.copy(cohort / "p/p1.nii.gz", tmp_path / "p")
    index = make(tmp_path / "r", cohort / "i", tmp_path / "p")
    assert "label 4" in _Read(index).text


def test_a_truth_without_a_mask_fails_unless_told(cohort: Path, make: Make, tmp_path: Path) -> None:
    """A lost case stands on top with its image and its truth; with ``partial`` it is left out."""
    (tmp_path / "p").mkdir()
    shutil.copy(cohort / "p/p1.nii.gz", tmp_path / "p")
    whole = _Read(make(tmp_path / "whole", cohort / "i", tmp_path / "p", cohort / "g"))
    assert whole.text.count("has no prediction") == 2
    assert len(whole.all("img")) == 3
    part = _Read(make(tmp_path / "part", cohort / "i", tmp_path / "p", cohort / "g", partial=True))
    assert "has no prediction" not in part.text
    assert len(part.all("img")) == 1


def test_a_trust_score_has_a_column_and_comes_first(cohort: Path, make: Make, tmp_path: Path) -> None:
    """Where the summary predicts Dice, the least expected case is to be reviewed first."""
    shutil.copytree(cohort / "p", tmp_path / "p")
    told = json.loads((tmp_path / "p/summary.json").read_text())
    for entry, dice in zip(told["cases"][:3], (0.5, 0.9, 0.7), strict=True):
        entry["trust"] = {"muscle": {"dice": dice, "low": dice - 0.1, "high": dice + 0.05, "review": dice < 0.6}}
    (tmp_path / "p/summary.json").write_text(json.dumps(told))
    index = make(tmp_path / "r", cohort / "i", tmp_path / "p")
    read = _Read(index)
    links = [found["href"] for found in read.all("a") if found.get("tabindex") == "-1"]
    assert links[1] == "cases/2_p1.html"
    assert "expected Dice" in read.text
    assert read.text.count("review first") == 2  # how many there are, and which
    assert "0.40 to 0.55" in _Read(index.parent / "cases/2_p1.html").text


def test_a_mask_on_another_grid_fails_alone(cohort: Path, make: Make, tmp_path: Path) -> None:
    """It has its reason, no picture, and the others are shown."""
    shutil.copytree(cohort / "p", tmp_path / "p")
    write_volume(tmp_path / "p/p2.nii.gz", np.ones((3, 3, 3), np.uint8), Grid.from_spacing((3, 3, 3), (1, 1, 1)))
    index = make(tmp_path / "r", cohort / "i", tmp_path / "p")
    page = _Read(next((index.parent / "cases").glob("*_p2.html")))
    assert "p2.nii.gz: the label map's grid and that of p2.nii.gz differ in shape" in page.text
    assert not page.all("img")
    assert len(_Read(index).all("img")) == 2


def test_a_truth_on_another_grid_that_was_measured_is_left_out(cohort: Path, make: Make, tmp_path: Path) -> None:
    """Image and mask are drawn, with a note; without figures it is a failed case."""
    shutil.copytree(cohort / "g", tmp_path / "g")
    (truth,) = (path for path in (tmp_path / "g").rglob("*p2*") if path.is_file())
    volume = read_volume(truth)
    doubled = volume.grid.resampled([2 * mm for mm in volume.grid.spacing])
    write_volume(truth, resample_labels(volume.array, volume.grid, doubled), doubled)
    metrics = tmp_path / "metrics.json"
    metrics.write_text(json.dumps(evaluation_json(evaluate(cohort / "p", tmp_path / "g", resample=True))))
    given = (cohort / "i", cohort / "p", tmp_path / "g")
    for options, pictures in (({"metrics": metrics}, True), ({}, False)):
        index = make(tmp_path / f"r{pictures}", *given, **options)
        page = _Read(next((index.parent / "cases").glob("*_p2.html")))
        assert bool(page.all("img")) == pictures
        assert ("the truth lies on another grid: it was measured, and is not drawn" in page.text) == pictures


def test_pictures_in_two_dimensions_are_shown(make: Make, tmp_path: Path) -> None:
    """A 2-D image has one plane, and areas instead of volumes."""
    grid = Grid.from_spacing((30, 40), (1.0, 1.0))
    mask = np.zeros(grid.shape, np.uint8)
    mask[4:12, 20:36] = 1
    for place, array in (("i", mask * 90 + 20), ("p", mask), ("g", mask)):
        (tmp_path / place).mkdir()
        write_volume(tmp_path / place / "cell.png", array, grid)
    index = make(tmp_path / "r", tmp_path / "i", tmp_path / "p", tmp_path / "g")
    page = (index.parent / "cases/1_cell.html").read_text(encoding="utf-8")
    assert '"shape": [40, 30, 1]' in page  # columns first
    assert "predicted, cm²" in page
    assert page.count('<figure class="still">') == 1


def test_every_frame_of_a_cine_is_a_case(make: Make, tmp_path: Path) -> None:
    """Masks that name a frame are shown on that frame."""
    grid = Grid.from_spacing((10, 9, 4), (1, 1, 1))
    (tmp_path / "p").mkdir()
    cine = np.stack([np.full(grid.shape, 100 * (t + 1), np.int16) for t in range(3)], axis=-1)
    cine[0] = 0
    write_volume(tmp_path / "beat.nii.gz", cine, grid)
    for t in range(3):
        mask = np.zeros(grid.shape, np.uint8)
        mask[2 : 4 + t] = 1
        write_volume(tmp_path / "p" / f"beat_t{t:03d}.nii.gz", mask, grid)
    index = make(tmp_path / "r", tmp_path / "beat.nii.gz", tmp_path / "p")
    tables = [re.search(r'"table": (\[.*?\])', p.read_text(encoding="utf-8")) for p in _pages(index)[1:]]
    assert [json.loads(found[1])[-1] for found in tables if found] == [100.0, 200.0, 300.0]


def test_a_folder_with_other_things_is_left_alone(cohort: Path, make: Make, tmp_path: Path) -> None:
    """A report replaces a report and nothing else."""
    (tmp_path / "thesis.tex").write_text("the only copy")
    with pytest.raises(UsageError, match="holds other things than a report"):
        make(tmp_path, cohort / "i", cohort / "p")
    first = make(tmp_path / "r", cohort / "i", cohort / "p")
    (tmp_path / "r/cases/stale.html").write_text("of a case that is no more")
    assert make(tmp_path / "r", cohort / "i", cohort / "p") == first
    assert len(list((tmp_path / "r/cases").iterdir())) == 4


def test_what_goes_wrong_leaves_nothing(
    cohort: Path, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted report is no report, and an older one stays as it was."""
    import volseg.report.report as module

    index = make(tmp_path / "r", cohort / "i", cohort / "p")
    before = index.read_bytes()
    monkeypatch.setattr(module, "_index_page", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "r", cohort / "i", cohort / "p")
    assert index.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["r"]


@pytest.mark.parametrize("text", ["", "[]", '{"cases": [{}]}', '{"labels": {"values": {"a": 1, "b": 1}}, "cases": []}'])
def test_a_damaged_summary_is_one_line(cohort: Path, make: Make, tmp_path: Path, text: str) -> None:
    """It is not guessed what it may have meant."""
    shutil.copytree(cohort / "p", tmp_path / "p")
    (tmp_path / "p/summary.json").write_text(text)
    with pytest.raises(VolumeError, match=r"summary\.json: is no summary of a prediction.*; predict again"):
        make(tmp_path / "r", cohort / "i", tmp_path / "p")


@pytest.mark.parametrize("text", ["", "[]", '{"cases": []}'])
def test_metrics_of_something_else_are_one_line(cohort: Path, make: Make, tmp_path: Path, text: str) -> None:
    """A JSON file that volseg evaluate did not write is refused."""
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(VolumeError, match="holds no figures of volseg evaluate"):
        make(tmp_path / "r", cohort / "i", cohort / "p", metrics=tmp_path / "m.json")


def test_images_of_somebody_else_are_refused(cohort: Path, make: Make, tmp_path: Path) -> None:
    """A report needs at least one image with the name of a mask."""
    (tmp_path / "i").mkdir()
    shutil.copy(cohort / "i/p1.nii.gz", tmp_path / "i/other.nii.gz")
    with pytest.raises(CohortError, match=r"no image has the name of a mask: other here, .*p1, p2"):
        make(tmp_path / "r", tmp_path / "i", cohort / "p")
