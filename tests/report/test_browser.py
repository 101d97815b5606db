"""The report in a real browser, from ``file://``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Open = Callable[..., Any]

# what the canvas of the large plane shows: how many of its pixels have a colour
_COLOURED = """(() => {
  const canvas = document.querySelector(".view.main canvas"), pixels = canvas.getContext("2d")
    .getImageData(0, 0, canvas.width, canvas.height).data;
  let count = 0;
  for (let k = 0; k < pixels.length; k += 4) count += Math.abs(pixels[k] - pixels[k + 2]) > 40;
  return count;
})()"""
_STATE = "({...document.getElementById('stage').dataset})"


@pytest.fixture
def viewer(report: Path, page: Open) -> Any:
    """The page of the worst case that has pictures."""
    tab = page(report.parent / "cases/2_b_onclick_alert_1_p3.html")
    tab.wait("document.getElementById('stage').dataset.plane !== undefined")
    return tab


def test_nothing_is_asked_for_and_nothing_complains(report: Path, page: Open) -> None:
    """Every page is one request of one file, without a word on the console."""
    for file in (report, *sorted((report.parent / "cases").iterdir())):
        tab = page(file)
        assert tab.complaints == []
        assert tab.requests == [file.as_uri()]


def test_the_policy_forbids_the_network(report: Path, page: Open) -> None:
    """Even a script on the page cannot reach out."""
    tab = page(report)
    assert tab.value("fetch('https://example.org').then(() => 'reached', () => 'refused')") == "refused"
    picture = """new Promise((done) => {
      const image = new Image();
      image.onload = () => done("reached");
      image.onerror = () => done("refused");
      image.src = "https://example.org/pixel.png";
    })"""
    assert tab.value(picture) == "refused"
    assert all("Content Security Policy" in told for told in tab.complaints)
    assert len(tab.complaints) >= 2


def test_the_table_sorts_by_any_column(report: Path, page: Open) -> None:
    """Up, then down; what has no figure stays at the end."""
    tab = page(report)
    order = "[...document.querySelectorAll('#cases tbody th')].map(cell => cell.dataset.value)"
    third = "<b onclick=alert(1)>p3"
    assert tab.value(order) == ["p9", third, "p2", "p1"]
    click = "[...document.querySelectorAll('#cases thead button')].find(b => b.textContent.includes('{}')).click()"
    tab.value(click.format("mean Dice"))
    assert tab.value(order) == [third, "p2", "p1", "p9"]
    tab.value(click.format("mean Dice"))
    assert tab.value(order) == ["p1", "p2", third, "p9"]
    tab.value(click.format("Case"))
    assert tab.value(order) == [third, "p1", "p2", "p9"]
    assert tab.value("document.querySelector('#cases [aria-sort]').textContent") == "Case"


def test_the_overlay_is_visible_and_can_be_hidden(viewer: Any) -> None:
    """Outlines are drawn in colour; fill and disagreement add to them, and without them the slice is grey."""
    outlines = viewer.value(_COLOURED)
    assert outlines > 500
    viewer.key("f")
    assert viewer.value(_COLOURED) > 3 * outlines
    viewer.key("f")
    viewer.key("d")
    assert viewer.value(_COLOURED) > outlines
    viewer.key("d")
    viewer.key("p")
    assert viewer.value(_COLOURED) == 0


def test_keys_scroll_choose_planes_and_set_the_window(viewer: Any) -> None:
    """All of the viewer can be had without a mouse."""
    before = viewer.value(_STATE)
    assert (before["plane"], before["truth"], before["prediction"]) == ("axial", "true", "true")
    viewer.key("ArrowUp")
    assert int(viewer.value(_STATE)["slice"]) == int(before["slice"]) - 1
    viewer.key("ArrowDown")
    viewer.key("ArrowDown")
    assert int(viewer.value(_STATE)["slice"]) == int(before["slice"]) + 1
    viewer.key("2")
    assert viewer.value(_STATE)["plane"] == "coronal"
    viewer.key("3")
    assert viewer.value(_STATE)["plane"] == "sagittal"
    viewer.key("t")
    viewer.key("[")
    after = viewer.value(_STATE)
    assert after["truth"] == "false"
    width = float(before["high"]) - float(before["low"])
    assert float(after["high"]) - float(after["low"]) == pytest.approx(0.9 * width)
    viewer.key("r")
    assert viewer.value(_STATE)["plane"] == "axial"
    assert viewer.complaints == []


def test_the_wheel_scrolls_and_a_click_moves_the_crosshair(viewer: Any) -> None:
    """With a mouse it is as in any viewer."""
    before = int(viewer.value(_STATE)["slice"])
    area = viewer.value("document.querySelector('.view.main canvas').getBoundingClientRect().toJSON()")
    x, y = area["x"] + area["width"] / 4, area["y"] + area["height"] / 4
    viewer.mouse("mouseWheel", x, y, deltaX=0, deltaY=120)
    viewer.wait(f"document.getElementById('stage').dataset.slice !== '{before}'")
    viewer.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
    viewer.mouse("mouseReleased", x, y, button="left", clickCount=1)
    # columns run to the left and rows to the back, as in the file: a quarter of 24 and of 20
    assert "voxel 6, 5, " in viewer.value("document.getElementById('c-readout').innerText")


def test_voxels_keep_their_true_proportions(viewer: Any) -> None:
    """24 x 20 x 8 voxels of 1 x 1 x 4 mm are 24 x 20 mm from above and 24 x 32 mm from the front."""
    shape = "[view.textContent, view.firstChild.clientWidth / view.firstChild.clientHeight]"
    sizes = viewer.value(f"[...document.querySelectorAll('.view')].map((view) => {shape})")
    assert dict(sizes) == {
        "axial": pytest.approx(24 / 20, rel=0.02),
        "coronal": pytest.approx(24 / 32, rel=0.02),
        "sagittal": pytest.approx(20 / 32, rel=0.02),
    }


def test_what_is_shown_is_what_was_packed(viewer: Any, cohort: Path) -> None:
    """The structure under the crosshair is the one in the file at the voxel that the page names."""
    from volseg.io import read_labels

    mask = read_labels(cohort / "p/<b onclick=alert(1)>p3.nii.gz").array
    for _ in range(4):
        viewer.key("ArrowDown")
        told = viewer.value("document.getElementById('c-readout').innerText").splitlines()
        voxel = tuple(int(part) for part in told[0].removeprefix("voxel ").split(","))
        name = {0: "none", 1: "muscle", 4: "<i>cavity"}[int(mask[voxel])]
        assert f"prediction {name}" in told


def test_keys_lead_from_case_to_case(viewer: Any) -> None:
    """The next case is the next better one."""
    viewer.key("n")
    viewer.wait("location.href.endsWith('3_p2.html') && document.readyState === 'complete'")
    viewer.key("i")
    viewer.wait("location.href.endsWith('index.html') && document.readyState === 'complete'")


def test_a_phone_scrolls_in_one_direction_only(report: Path, page: Open) -> None:
    """No page is wider than a small screen."""
    for file in (report, report.parent / "cases/2_b_onclick_alert_1_p3.html"):
        tab = page(file, width=360, height=740)
        assert tab.value("document.documentElement.scrollWidth") <= 360


def test_dark_pages_are_dark(report: Path, page: Open) -> None:
    """Who prefers dark pages gets them, plots included."""
    tab = page(report, scheme="dark")
    red, green, blue = tab.value("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)")
    assert max(red, green, blue) < 60
    ink = tab.value("getComputedStyle(document.querySelector('.plots svg text')).fill.match(/[0-9]+/g).map(Number)")
    assert min(ink) > 180


def test_without_scripts_pictures_and_figures_remain(report: Path, page: Open) -> None:
    """Thumbnails, slices and tables need no script."""
    tab = page(report.parent / "cases/2_b_onclick_alert_1_p3.html", script=False)
    assert tab.complaints == []
    assert b"IHDR" in tab.picture()
