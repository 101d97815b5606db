"""Heart function from label images, and agreement over a cohort."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from volseg.errors import LabelError, UsageError
from volseg.labels import Labels
from volseg.metrics import PhaseVolumes, Ventricle, cardiac_function, find_phases, measure_agreement, phase_volumes

LABELS = Labels.of({"right ventricle": 1, "myocardium": 2, "left ventricle": 3})
SPACING = (1.25, 1.25, 10.0)


def heart(cavity):
    """A label image of a left cavity of this radius in a wall, a right one beside it."""
    rows, columns, _ = np.indices((60, 80, 8))
    left = (rows - 30) ** 2 + (columns - 25) ** 2
    right = np.abs(rows - 30) + np.abs(columns - 60) < cavity
    return np.select([left < cavity**2, left < 24**2, right], [3, 2, 1]).astype(np.uint8)


def test_from_masks():
    """Volumes are voxels times voxel volume; the rest follows from the formulas."""
    diastole, systole = heart(20), heart(14)
    voxel = math.prod(SPACING)
    found = cardiac_function(phase_volumes(diastole, voxel, LABELS), phase_volumes(systole, voxel, LABELS))
    edv, esv = (np.sum(mask == 3) * 15.625 / 1000 for mask in (diastole, systole))
    assert found.left.edv_ml == pytest.approx(edv)
    assert found.left.sv_ml == pytest.approx(edv - esv)
    assert found.left.ef_percent == pytest.approx(100 * (1 - esv / edv))
    assert found.left.ef_percent == pytest.approx(100 * (1 - 14**2 / 20**2), abs=1)
    assert found.right.edv_ml == pytest.approx(np.sum(diastole == 1) * 15.625 / 1000)
    assert found.mass_g == pytest.approx(1.05 * np.sum(diastole == 2) * 15.625 / 1000)
    assert set(found.to_dict()) == {
        f"{side}_{what}" for side in ("lv", "rv") for what in ("edv_ml", "esv_ml", "sv_ml", "ef_percent")
    } | {"myocardial_mass_g"}


def test_no_ventricle():
    """Without a cavity at the end of diastole there is no ejection fraction."""
    assert math.isnan(Ventricle(0.0, 0.0).ef_percent)
    assert Ventricle(100.0, 0.0).ef_percent == 100


def test_phases():
    """The ends of diastole and systole are found by the left cavity alone."""
    cine = [PhaseVolumes(ml, 200 - ml, 90) for ml in (100, 130, 90, 55, 60)]
    assert find_phases(cine) == (1, 3)
    for frames in ([], cine[:1], [cine[0]] * 3):
        with pytest.raises(UsageError, match="cannot be told apart"):
            find_phases(frames)


def test_label_names():
    """Structures are found by name; an unknown name and an undeclared value are told."""
    mask = np.array([7, 7, 5], dtype=np.uint8)
    labels = Labels.of({"LV": 7, "RV": 5, "MYO": 6})
    volumes = phase_volumes(mask, 1000, labels, left="LV", right="RV", myocardium="MYO")
    assert volumes == PhaseVolumes(2.0, 1.0, 0.0)
    with pytest.raises(LabelError, match="left ventricle"):
        phase_volumes(mask, 1000, labels)
    with pytest.raises(LabelError, match="label values 5, 7"):
        phase_volumes(mask, 1000, LABELS)
    with pytest.raises(UsageError, match="mm³"):
        phase_volumes(mask, 0, labels)


def test_agreement_by_hand():
    """Differences of 2, -1 and 2: bias 1, deviation the root of 3."""
    found = measure_agreement([62, 54, 42], [60, 55, 40])
    assert (found.n, found.missing, found.bias) == (3, 0, 1)
    assert found.absolute == pytest.approx(5 / 3)
    assert found.deviation == pytest.approx(math.sqrt(3))
    assert (found.lower, found.upper) == pytest.approx((1 - 1.96 * 3**0.5, 1 + 1.96 * 3**0.5))


@given(
    st.lists(st.tuples(*[st.floats(0, 200)] * 2), min_size=3, max_size=30, unique_by=(lambda p: p[0], lambda p: p[1]))
)
def test_agreement_scipy(pairs):
    """Correlation, bias and deviation are scipy's and Python's."""
    measured, true = map(np.array, zip(*pairs, strict=True))
    if min(np.ptp(measured), np.ptp(true)) < 1e-3:  # scipy warns of nearly constant input
        return
    found = measure_agreement(measured.tolist(), true.tolist())
    assert found.correlation == pytest.approx(stats.pearsonr(measured, true).statistic, abs=1e-9)
    assert found.bias == pytest.approx(np.mean(measured) - np.mean(true), abs=1e-9)
    assert found.deviation == pytest.approx(statistics.stdev((measured - true).tolist()), abs=1e-9)


def test_agreement_of_few():
    """Missing measurements are counted, and figures that few pairs do not support are NaN."""
    found = measure_agreement([50.0, math.nan, math.nan], [55.0, 60.0, 50.0])
    assert (found.n, found.missing, found.bias) == (1, 2, -5)
    assert math.isnan(found.deviation)
    assert math.isnan(found.correlation)
    assert math.isnan(measure_agreement([1, 1, 1], [1, 2, 3]).correlation)
    assert math.isnan(measure_agreement([], []).bias)
    with pytest.raises(UsageError, match="2 measurements for 1"):
        measure_agreement([1, 2], [1])
