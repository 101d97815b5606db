"""Simple points against counting components, and warping against what topology allows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.measure import euler_number

from volseg.errors import UsageError
from volseg.metrics.topology import simple, thin_background, warp


def components(mask, faces):
    """The labelled components of a mask."""
    return ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, 1 if faces else mask.ndim))


def topology(mask, foreground):
    """Numbers of foreground and background components (a frame of background around) and the Euler number."""
    padded, faces = np.pad(mask, 1), foreground == "faces"
    euler = euler_number(padded, connectivity=1 if faces else mask.ndim)
    return components(padded, faces)[1], components(~padded, not faces)[1], euler


def code_of(patch):
    """The code of a 3x3(x3) neighbourhood."""
    around = np.delete(patch.reshape(-1), patch.size // 2)
    return int(sum(int(bit) << k for k, bit in enumerate(around)))


@pytest.mark.parametrize("foreground", ["faces", "corners"])
def test_all_of_2d(foreground):
    """Of the 256 neighbourhoods in the plane 116 are simple: one component of each kind touches the point."""
    flags = simple(np.arange(256), 2, foreground)
    assert flags.sum() == 116
    for code in range(256):
        around = [code >> k & 1 for k in range(8)]
        patch = np.array([*around[:4], 0, *around[4:]], dtype=bool).reshape(3, 3)
        flipped = patch.copy()
        flipped[1, 1] = True
        faces = foreground == "faces"
        near = ndimage.generate_binary_structure(2, 1)
        ones = {n for n in components(patch, faces)[0][near if faces else np.ones((3, 3), bool)] if n}
        zeros = {n for n in components(~flipped, not faces)[0][np.ones((3, 3), bool) if faces else near] if n}
        assert flags[code] == (len(ones) == 1 and len(zeros) == 1)


def test_symmetry_of_2d():
    """Swapping foreground and background swaps the connectivities and keeps what is simple."""
    codes = np.arange(256)
    np.testing.assert_array_equal(simple(codes, 2, "faces"), simple(255 - codes, 2, "corners"))


@pytest.mark.parametrize("foreground", ["faces", "corners"])
@pytest.mark.parametrize("shape", [(7, 8), (5, 5, 5)])
def test_flips_keep_topology(shape, foreground):
    """In random masks flipping a simple point keeps components and Euler number; any other flip of 2-D changes them.

    (In 3-D a flip may merge two parts of one component and fill a tunnel elsewhere in the count, so only one
    direction can be told from the numbers.)
    """
    random = np.random.default_rng(2)
    checked = 0
    for density in (0.2, 0.5, 0.8) * 4:
        mask = random.random(shape) < density
        padded = np.pad(mask, 1)
        before = topology(mask, foreground)
        for place in itertools.islice(np.ndindex(*shape), 0, None, 3):
            patch = padded[tuple(slice(i, i + 3) for i in place)]
            is_simple = bool(simple(np.array([code_of(patch)]), len(shape), foreground)[0])
            flipped = mask.copy()
            flipped[place] ^= True
            same = topology(flipped, foreground) == before
            assert same or not is_simple
            assert len(shape) == 3 or same == is_simple
            checked += is_simple
    assert checked > 20


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(bool, (7, 8)), hnp.arrays(bool, (7, 8)), st.sampled_from(["faces", "corners"]))
def test_warp_keeps_topology(source, target, foreground):
    """A warped mask has the source's topology, and no simple point of it still differs from the target."""
    warped = warp(source, target, foreground)
    assert topology(warped, foreground) == topology(source, foreground)
    padded = np.pad(warped, 1)
    for place in zip(*np.nonzero(warped != target), strict=True):
        patch = padded[tuple(slice(i, i + 3) for i in place)]
        assert not simple(np.array([code_of(patch)]), 2, foreground)[0]
    assert np.sum(warped != target) <= np.sum(source != target)
    np.testing.assert_array_equal(warp(source, source, foreground), source)


def test_warp_3d():
    """In space as well: a moved ball is met, a hollow one is not filled, and topology holds for random masks."""
    places = np.indices((10, 11, 12))
    ball = sum((p - 5) ** 2 for p in places) < 9
    moved = np.roll(ball, (1, 2, 2), axis=(0, 1, 2))
    np.testing.assert_array_equal(warp(ball, moved), moved)
    hollow = ball.copy()
    hollow[5, 5, 5] = False
    assert np.sum(warp(hollow, ball) != ball) == 1
    random = np.random.default_rng(0)
    source, target = (ndimage.gaussian_filter(random.standard_normal((8, 8, 8)), 1) > 0 for _ in range(2))
    for foreground in ("faces", "corners"):
        assert topology(warp(source, target, foreground), foreground) == topology(source, foreground)


def reachable(source):
    """Every mask that simple flips lead to from a small one, by exhaustion."""
    start = source.tobytes()
    seen, edge = {start}, [start]
    while edge:
        mask = np.frombuffer(edge.pop(), dtype=bool).reshape(source.shape)
        padded = np.pad(mask, 1)
        for place in np.ndindex(*mask.shape):
            patch = padded[tuple(slice(i, i + 3) for i in place)]
            if simple(np.array([code_of(patch)]), mask.ndim)[0]:
                flipped = mask.copy()
                flipped[place] ^= True
                if flipped.tobytes() not in seen:
                    seen.add(flipped.tobytes())
                    edge.append(flipped.tobytes())
    return seen


def test_exhaustive():
    """On all targets of 3x3 the warped mask can be reached, and two times in three none that can is nearer."""
    source = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=bool)
    masks = reachable(source)
    away = {m: np.frombuffer(m, dtype=bool).reshape(3, 3) for m in masks}
    optimal = 0
    for bits in itertools.product([False, True], repeat=9):
        target = np.array(bits).reshape(3, 3)
        warped = warp(source, target)
        assert warped.tobytes() in masks
        nearest = min(int(np.sum(mask != target)) for mask in away.values())
        assert int(np.sum(warped != target)) >= nearest
        optimal += int(np.sum(warped != target)) == nearest
    assert optimal > 512 * 2 / 3  # a local optimum, as the definition asks


def test_thinning_keeps_cells_apart():
    """Walls five thick become closed lines of one pixel along their middle, and every cell is still there."""
    cells = np.zeros((33, 33), dtype=bool)
    for i, j in itertools.product((2, 19), repeat=2):
        cells[i : i + 12, j : j + 12] = True
    thin = thin_background(cells)
    assert components(thin, True)[1] == components(cells, True)[1] == 4
    assert (thin >= cells).all()
    assert np.sum(~thin) < 33 * 2 + 8
    assert np.abs(np.argwhere(~thin[8])[:, 0] - 16).max() <= 1
    np.testing.assert_array_equal(thin_background(thin), thin)


def test_mistakes():
    """Only 2-D and 3-D masks, connected one way or the other."""
    with pytest.raises(UsageError, match="2-D and 3-D"):
        warp(np.ones(3, dtype=bool), np.ones(3, dtype=bool))
    with pytest.raises(UsageError, match="'faces' or 'corners'"):
        warp(np.ones((3, 3), dtype=bool), np.ones((3, 3), dtype=bool), "edges")
