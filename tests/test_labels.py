"""Labels: names, values, colours, regions, and what a foreign value gets."""

from __future__ import annotations

import numpy as np
import pytest

from volseg.errors import LabelError
from volseg.labels import Labels, smallest_unsigned

HEART = {"background": 0, "right ventricle": 1, "myocardium": 2, "left ventricle": 3}


def test_background_is_implied_and_order_kept() -> None:
    """The background may be named and is no structure; values and names keep their order."""
    labels = Labels.of(HEART)
    assert labels.names == ("right ventricle", "myocardium", "left ventricle")
    assert labels.values == (1, 2, 3)
    assert len({s.colour for s in labels.structures}) == 3


def test_labels_survive_storage() -> None:
    """Everything comes back from the stored form."""
    labels = Labels.of(
        HEART,
        ignore=255,
        regions={"heart": ["myocardium", "left ventricle"]},
        colours={"myocardium": "#123456"},
        codes={"myocardium": ("SCT", "74281007", "Myocardium")},
    )
    assert Labels.from_dict(labels.to_dict()) == labels


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": {"a": 1, "b": 1}}, "label value 1 stands twice"),
        ({"values": {"a": 0}}, "label value 0 stands twice; background is always 0"),
        ({"values": {"a": 1}, "ignore": 1}, "label value 1 stands twice"),
        ({"values": {"a": -1}}, "must not be negative"),
        ({"values": {"a": 1}, "regions": {"a": ["a"]}}, "label name a stands twice"),
        ({"values": {"liver": 1}, "regions": {"r": ["livre"]}}, "'livre', which is no label; did you mean 'liver'?"),
    ],
)
def test_contradictory_labels_are_refused(arguments: dict[str, object], message: str) -> None:
    """Labels that contradict themselves raise when they are made."""
    with pytest.raises(LabelError, match=message.replace("?", r"\?")):
        Labels.of(**arguments)


def test_a_foreign_value_is_named_with_its_file() -> None:
    """The values nobody declared are listed, beside those that were, with the place."""
    labels = Labels.of(HEART, ignore=255)
    labels.check([0, 1, 2, 3, 255])
    with pytest.raises(LabelError) as raised:
        labels.check(np.array([0, 7, 5]), where="case_1.nii.gz")
    assert str(raised.value) == "case_1.nii.gz: holds the label values 5, 7, declared are 0, 1, 2, 3, 255"


def test_a_region_is_the_union_of_its_structures() -> None:
    """The mask of a region holds the voxels of all its structures, and no others."""
    labels = Labels.of(HEART, regions={"left heart": ["myocardium", "left ventricle"]})
    array = np.array([0, 1, 2, 3])
    assert labels.mask(array, "left heart").tolist() == [False, False, True, True]
    assert labels.mask(array, "right ventricle").tolist() == [False, True, False, False]
    with pytest.raises(LabelError, match="did you mean 'myocardium'"):
        labels.mask(array, "myocadium")


@pytest.mark.parametrize(
    ("largest", "kind"), [(0, "u1"), (255, "u1"), (256, "u2"), (65535, "u2"), (65536, "u4"), (2**32, "u8")]
)
def test_the_smallest_type_that_holds_the_labels(largest: int, kind: str) -> None:
    """The mask's type is as narrow as its largest value allows."""
    assert smallest_unsigned(largest) == np.dtype(kind)
    assert Labels.of({"only": largest} if largest else {}).dtype == np.dtype(kind)
