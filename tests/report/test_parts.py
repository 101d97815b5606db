"""The parts of a page by themselves: grey levels, scenes, packing, pictures, plots."""

from __future__ import annotations

import base64
import io
import math
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from volseg.geometry import Grid, orientations
from volseg.io import Volume, write_volume
from volseg.labels import Labels
from volseg.report.figures import bland_altman, box_plot
from volseg.report.levels import grey_levels, window
from volseg.report.packing import packed
from volseg.report.report import page_names
from volseg.report.scene import IGNORED, make_scene, reduction
from volseg.report.stills import still

LABELS = Labels.of({"ring": 2, "core": 7}, ignore=9)
MANY = 1 << 30


def _volume(array: np.ndarray, grid: Grid | None = None) -> Volume:
    return Volume(array, grid or Grid.from_spacing(array.shape, (1.0,) * array.ndim))


def test_grey_levels_are_finer_where_there_are_more_voxels() -> None:
    """In a CT the soft tissue, a tenth of the range, gets far more than a tenth of the levels."""
    random = np.random.default_rng(0)
    image = np.concatenate(
        [random.normal(-950, 20, 50_000), random.normal(40, 30, 40_000), random.uniform(-1000, 2000, 10_000)]
    )
    table, voxels = grey_levels(image)
    assert ((table > -60) & (table < 140)).sum() > 50
    inside = (image > table[0]) & (image < table[-1])
    assert np.abs(table[voxels] - image)[inside].max() < 30
    assert np.median(np.abs(table[voxels] - image)[(image > -20) & (image < 100)]) < 2


@given(st.lists(st.integers(-2000, 2000), min_size=1, max_size=200))
def test_few_values_are_kept_exactly(values: list[int]) -> None:
    """An image of at most 256 values loses nothing."""
    image = np.array(values, np.int16)
    table, voxels = grey_levels(image)
    assert (table[voxels] == image).all()
    low, high = window(table, voxels)
    assert low <= high


@pytest.mark.parametrize("axcodes", list(orientations(3)))
def test_every_orientation_is_shown_the_same(axcodes: str) -> None:
    """Columns run to the left, rows to the back, slices to the feet; and the index leads back into the file."""
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    turn = Grid((4, 5, 6), np.diag([-1.0, -2.0, -3.0, 1.0])).reoriented(axcodes)  # LPI itself
    scene = make_scene(_volume(turn.apply(array).copy(), turn.target), None, None, LABELS, most=MANY)
    assert (scene.table[scene.image] == array).all()
    assert scene.spacing == pytest.approx((1, 2, 3))
    assert scene.sides == ("L", "P", "I")
    file = turn.apply(array)
    for place in ((0, 0, 0), (3, 1, 5), (2, 4, 3)):
        index = tuple((scene.index @ [*place, 1]).round().astype(int))
        assert file[index] == array[place]


@given(st.tuples(*[st.integers(1, 300)] * 3), st.tuples(*[st.floats(0.3, 8.0)] * 3), st.integers(1, 100_000))
def test_reductions_fit_and_are_no_larger_than_they_must(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], most: int
) -> None:
    """What is left is at most what was asked for; what fits stays as it is."""
    factors = reduction(shape, spacing, most)
    assert math.prod(math.ceil(n / f) for n, f in zip(shape, factors, strict=True)) <= most
    assert (math.prod(shape) > most) or factors == (1, 1, 1)


def test_reduced_voxels_are_means_and_masks_are_samples() -> None:
    """An image is averaged over its blocks; a mask takes the voxel in the middle."""
    array = np.arange(8 * 8 * 2, dtype=np.float32).reshape(8, 8, 2)
    mask = np.where(array % 2 == 0, 2, 9).astype(np.uint8)
    grid = Grid((8, 8, 2), np.diag([-1.0, -1.0, -4.0, 1.0]))
    scene = make_scene(_volume(array, grid), _volume(mask, grid), None, LABELS, most=32)
    assert (scene.shape, scene.reduced, scene.spacing) == ((4, 4, 2), (2, 2, 1), (2.0, 2.0, 4.0))
    assert scene.table[scene.image][0, 0, 0] == array[:2, :2, 0].mean()
    assert scene.prediction is not None
    assert set(np.unique(scene.prediction)) == {1, IGNORED}
    assert (scene.index @ [1, 0, 1, 1]).tolist() == [2.5, 0.5, 1.0]


def test_a_first_look_goes_to_the_worst_slice() -> None:
    """Where prediction and truth differ most, voxels without a truth apart; in the middle of what is segmented."""
    truth = np.zeros((20, 20, 6), np.uint8)
    truth[4:10, 6:12, 1:5] = 2
    truth[:, :, 5] = 9
    made = truth.copy()
    made[4:10, 6:9, 2] = 0
    made[:, :, 5] = 0
    grid = Grid((20, 20, 6), np.diag([-1.0, -1.0, -5.0, 1.0]))
    scene = make_scene(
        _volume(truth.astype(np.int16), grid), _volume(made, grid), _volume(truth, grid), LABELS, most=MANY
    )
    assert scene.planes[0] == 2
    assert scene.look_at == (6, 8, 2)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.randoms(use_true_random=False))
def test_packed_voxels_come_back(x: int, y: int, z: int, random: object) -> None:
    """What the viewer undoes is what was done: base64, deflate, differences modulo 256."""
    voxels = np.random.default_rng(x * 81 + y * 9 + z).integers(0, 256, (x, y, z)).astype(np.uint8)
    told = np.frombuffer(zlib.decompress(base64.b64decode(packed(voxels))), np.uint8)
    assert (np.cumsum(told, dtype=np.uint8).reshape((x, y, z), order="F") == voxels).all()


def test_noise_of_any_size_fits_a_page(make: Callable[..., Path], tmp_path: Path) -> None:
    """Nothing deflates worse than noise: it is shown smaller, its page says so, and figures are of the full size."""
    noise = np.random.default_rng(0).integers(0, 4000, (200, 190, 54)).astype(np.int16)
    grid = Grid.from_spacing(noise.shape, (1.0, 1.0, 1.0))
    mask = np.zeros(noise.shape, np.uint8)
    mask[50:100, 50:100, 10:30] = 1
    for place, array in (("i", noise), ("p", mask)):
        (tmp_path / place).mkdir()
        write_volume(tmp_path / place / "a.nii.gz", array, grid)
    index = make(tmp_path / "r", tmp_path / "i", tmp_path / "p")
    page = index.parent / "cases/1_a.html"
    assert 1_200_000 < page.stat().st_size < 2_000_000
    text = page.read_text(encoding="utf-8")
    assert "shown smaller than it is, 200x190x27 of 200x190x54 voxels" in text
    assert ">50.00<" in text


def test_stills_show_outlines_in_true_proportions() -> None:
    """A picture has the colours of its structures, white dashes for the truth, and the shape that millimetres give."""
    mask = np.zeros((30, 30, 10), np.uint8)
    mask[8:20, 8:20, 2:8] = 2
    grid = Grid((30, 30, 10), np.diag([-1.0, -1.0, -6.0, 1.0]))
    grey = np.full(mask.shape, 50, np.int16)
    grey[0] = 0
    scene = make_scene(_volume(grey, grid), _volume(mask, grid), _volume(np.roll(mask, 3, 0), grid), LABELS, most=MANY)
    for axis, size in ((2, (200, 200)), (0, (100, 200))):
        found = still(scene, LABELS, axis, 200)
        assert (found.width, found.height) == size
        colours = Image.open(io.BytesIO(base64.b64decode(found.png))).convert("RGB").getcolors(1 << 20)
        assert {(230, 159, 0), (255, 255, 255)} <= {colour for _, colour in colours or []}


def test_plots_take_the_ink_of_the_page_and_lead_to_their_cases() -> None:
    """No colour of black, no rules for other drawings, a link for each point, names escaped."""
    drawn = box_plot(
        "Dice", {"a <b> $x$": [0.5, math.nan, 0.7, math.inf]}, {"a <b> $x$": ["1.html", "2.html", "3.html", "4.html"]}
    )
    assert "a &lt;b&gt; $x$" in drawn
    assert [link for link in ("1", "2", "3", "4") if f'"{link}.html"' in drawn] == ["1", "3"]
    assert "currentColor" in drawn
    assert "<style" not in drawn
    assert "#010203" not in drawn
    assert drawn == box_plot(
        "Dice", {"a <b> $x$": [0.5, math.nan, 0.7, math.inf]}, {"a <b> $x$": ["1.html", "2.html", "3.html", "4.html"]}
    )
    agreement = bland_altman("core", "ml", [10.0, 12.0, 15.0], [11.0, 11.0, 15.0], ["1.html", "2.html", "3.html"])
    assert all(f">{line}<" in agreement for line in ("bias", "0.00", "+1.96 SD", "1.96", "−1.96 SD", "−1.96"))
    assert "n = 3" in agreement


def test_page_names_suit_any_file_system() -> None:
    """They differ in their numbers, whatever the cases are called."""
    names = page_names(["p/1", "P/1", "con", "..", "ä" * 300, 'a<>:"|?*b'])
    assert names == ["1_p_1.html", "2_P_1.html", "3_con.html", "4_.html", "5_.html", "6_a_b.html"]
