"""Plans: whatever the data, the recipe is valid, its network takes its patch, and it fits the memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volseg.data.fingerprint import Fingerprint
from volseg.data.fingerprint_case import CaseFingerprint
from volseg.data.fingerprint_structure import Objects
from volseg.errors import CohortError, MemoryLimitError, UsageError
from volseg.planning.learning import object_diameter
from volseg.planning.memory import step_memory
from volseg.planning.planner import Means, Plan, plan
from volseg.recipe import load_recipe

GiB = 1 << 30
Case = Callable[..., CaseFingerprint]
CohortOf = Callable[..., Fingerprint]


def holds(made: Plan, memory: int, tmp_path: Path) -> None:
    """What is true of every plan."""
    file = tmp_path / "planned.yaml"
    file.write_text(made.to_yaml())
    recipe = load_recipe(file)
    assert recipe == made.recipe
    recipe.shape.check(recipe.training.patch)
    assert step_memory(recipe).peak <= memory
    assert made.predicted <= memory
    assert all(choice.reason for choice in made.choices)
    assert recipe.training.validate_every <= recipe.training.epochs


SIDE = st.sampled_from([1, 2, 3, 5, 9, 17, 40, 64, 129, 300, 800])
MM = st.sampled_from([0.03, 0.1, 0.33, 0.9, 1.0, 1.7, 5.0, 10.0, 30.0])


@given(
    shape=st.tuples(SIDE, SIDE, SIDE),
    spacing=st.tuples(MM, MM, MM),
    classes=st.integers(1, 6),
    sizes=st.floats(0.001, 0.9),
    modality=st.sampled_from(["CT", "MR", "other"]),
    channels=st.integers(1, 3),
    budget=st.sampled_from([None, 20.0, 600.0, 36000.0]),
    memory=st.sampled_from([GiB // 4, GiB, 8 * GiB]),
    dims=st.sampled_from([None, 2, 3]),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_volume_gets_a_valid_recipe(
    case: Case,
    cohort_of: CohortOf,
    measure: Any,
    tmp_path: Path,
    shape: Any,
    spacing: Any,
    classes: int,
    sizes: float,
    modality: str,
    channels: int,
    budget: Any,
    memory: int,
    dims: Any,
) -> None:
    """Thin, huge, tiny and anisotropic volumes, one class or many, one of them in a single case."""
    structures = [{"value": v, "at": v / (classes + 1), "size": sizes} for v in range(1, classes + 1)]
    cases = [
        case("a", shape, spacing, structures, channels=channels),
        case("b", shape, spacing, structures[:1], channels=channels),
        case("c", shape, spacing, structures[:1], channels=channels),
    ]
    made = plan(cohort_of(cases, modality), Means(memory, budget), measure, dims=dims)
    holds(made, memory, tmp_path)


@given(
    side=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    parts=st.integers(1, 50),
    instances=st.booleans(),
    picture=st.booleans(),
    memory=st.sampled_from([GiB // 4, 4 * GiB]),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_picture_gets_a_valid_recipe(
    case: Case,
    cohort_of: CohortOf,
    measure: Any,
    tmp_path: Path,
    side: Any,
    parts: int,
    instances: bool,
    picture: bool,
    memory: int,
) -> None:
    """Pictures of any size, of objects or of one structure."""
    objects = Objects(parts, 12.0, 0.3) if instances else None
    made_of = [{"value": 1, "components": parts}]
    cases = [case(n, side, (1.0, 1.0), made_of, picture=picture, objects=objects) for n in ("a", "b")]
    made = plan(cohort_of(cases, "microscopy" if picture else "other"), Means(memory, 300.0), measure)
    holds(made, memory, tmp_path)
    assert made.recipe.labelling.instances == instances


def test_thick_slices_are_left_alone(case: Case, cohort_of: CohortOf, measure: Any) -> None:
    """A stack keeps its own slices, is worked on slice by slice, and with 3-D the finest kernels stay in the slice."""
    cases = [case(n, (200, 220, 10), (1.5, 1.5, 8.0)) for n in "abc"]
    flat = plan(cohort_of(cases), Means(4 * GiB), measure).recipe
    assert flat.image.spacing == (1.5, 1.5, "native")
    assert flat.spatial_dims == 2
    deep = plan(cohort_of(cases), Means(4 * GiB), measure, dims=3).recipe
    assert deep.spatial_dims == 3
    assert deep.shape.kernel_sizes[0] == (3, 3, 1)  # type: ignore[attr-defined]
    assert deep.shape.strides[0] == (2, 2, 1)  # type: ignore[attr-defined]
    assert deep.training.patch[2] >= 10


def test_slices_lie_along_the_last_axis(case: Case, cohort_of: CohortOf, measure: Any) -> None:
    """Sagittal slices, thick from right to left, are turned until the network slices them."""
    cases = [case(n, (12, 200, 220), (8.0, 1.5, 1.5)) for n in "ab"]
    recipe = plan(cohort_of(cases), Means(4 * GiB), measure).recipe
    assert recipe.image.axcodes == "ASR"
    assert recipe.image.spacing == (1.5, 1.5, "native")


def test_small_images_are_taken_about_whole(case: Case, cohort_of: CohortOf, measure: Any) -> None:
    """A patch of a crop of a few centimetres is the size nearest to it that can be halved from level to level."""
    cases = [case(n, (35, 51, 36), structures=[{"value": 1, "size": 0.6}]) for n in "ab"]
    assert plan(cohort_of(cases), Means(4 * GiB), measure).recipe.training.patch == (32, 48, 32)


@pytest.mark.parametrize(("shape", "voxels"), [((200, 200), 314.16), ((200, 200, 200), 4188.8)])
def test_objects_are_as_wide_as_a_disc_or_a_ball(
    case: Case, cohort_of: CohortOf, shape: tuple[int, ...], voxels: float
) -> None:
    """Parts of so many voxels are twenty across, in two dimensions as in three."""
    parts = {"value": 1, "components": 10, "size": (10 * voxels) ** (1 / len(shape)) / 200}
    found = cohort_of([case(name, shape, (1.0,) * len(shape), [parts]) for name in "ab"])
    assert object_diameter(found) == pytest.approx(20, abs=0.01)


def test_a_shorter_budget_gives_a_smaller_network(case: Case, cohort_of: CohortOf, measure: Any) -> None:
    """And each budget is filled, and not exceeded."""
    found = cohort_of([case(n, (64, 64, 64)) for n in "abcde"])
    widths = []
    for budget in (60.0, 900.0, 36000.0):
        made = plan(found, Means(8 * GiB, budget), measure)
        training = made.recipe.training
        assert training.time_limit == budget
        assert 0.6 * budget < training.epochs * (training.steps_per_epoch or 0) * made.cost.step < budget
        widths.append(made.recipe.network.channels[0])  # type: ignore[union-attr]
    assert widths[0] < widths[1] < widths[2]


def test_less_memory_gives_a_smaller_step(case: Case, cohort_of: CohortOf, measure: Any) -> None:
    """And none at all is one clear line."""
    found = cohort_of([case(n, (200, 200, 200)) for n in "ab"])
    large, small = (plan(found, Means(m), measure) for m in (16 * GiB, GiB // 2))
    assert small.predicted < GiB // 2 < large.predicted
    with pytest.raises(MemoryLimitError, match="give more with --memory"):
        plan(found, Means(50 << 20), measure)


def test_what_runs_out_of_memory_is_not_planned(case: Case, cohort_of: CohortOf, measure: Any) -> None:
    """A rehearsal that dies, or takes more than is there, is followed by a smaller one."""
    found = cohort_of([case(n, (64, 64, 64)) for n in "ab"])
    tried = []

    def dies_at_first(recipe: Any) -> Any:
        tried.append(recipe)
        return None if len(tried) == 1 else measure(recipe)

    made = plan(found, Means(8 * GiB), dies_at_first)
    assert step_memory(made.recipe).peak < step_memory(tried[0]).peak


def test_a_rare_class_weighs_more(case: Case, cohort_of: CohortOf, measure: Any) -> None:
    """A structure in one case of ten gets a weight above 1, and the reason names it."""
    both = [{"value": 1}, {"value": 2, "at": 0.2}]
    cases = [case("a", structures=both), *(case(f"b{k}", structures=both[:1]) for k in range(9))]
    made = plan(cohort_of(cases), Means(4 * GiB), measure)
    assert made.recipe.loss.weights["label 2"] > 1
    assert "label 2 is in 1 of 10 cases" in made.choices.reasons["loss.weights"]


def test_hounsfield_units_are_clipped_by_the_foreground(case: Case, cohort_of: CohortOf, measure: Any) -> None:
    """CT is clipped to the foreground's percentiles, MR is not."""
    cases = [case(n) for n in "ab"]
    ct = plan(cohort_of(cases, "CT"), Means(4 * GiB), measure).recipe
    assert ct.normalisation is not None
    assert (ct.normalisation.kind, ct.normalisation.clip) == ("ct", (31.0, 229.0))  # type: ignore[union-attr]
    assert ct.augmentation.intensity is not None
    assert ct.augmentation.intensity.gamma is None
    mr = plan(cohort_of(cases), Means(4 * GiB), measure).recipe
    assert mr.normalisation is not None
    assert mr.normalisation.kind == "zscore"


def test_names_regions_and_the_ignored_value(case: Case, cohort_of: CohortOf, measure: Any) -> None:
    """What the data declare is in the recipe, and regions are learnt as regions."""
    three = [{"value": v, "at": v / 4} for v in (1, 2, 3)]
    regions = {"whole": (1, 2), "core": (2,)}
    found = cohort_of(
        [case(n, structures=three) for n in "ab"], labels={"label 1": 1, "label 2": 2}, regions=regions, ignore=3
    )
    recipe = plan(found, Means(4 * GiB), measure).recipe
    assert recipe.labelling.output == "regions"
    assert recipe.class_names == ("whole", "core")
    assert recipe.labelling.ignore == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([{}], "one labelled case"),
        ([{"patient": "p"}, {"patient": "p"}], "all 2 labelled cases are of one patient"),
        ([{"labelled": False, "structures": ()}] * 2, "no case has a label map"),
        ([{"structures": ()}] * 2, "all background"),
        ([{}, {"shape": (20, 20), "spacing": (1, 1)}], "some images are 2-D and some 3-D"),
        ([{}, {"channels": 2}], "cases have 1 and 2 channels"),
        ([{}, {"error": "x.nii.gz: cut short"}], "1 case cannot be read: x.nii.gz: cut short; mend or remove"),
        (
            [{}, *[{"error": "x.nii.gz: cut short"}] * 7],
            "7 cases cannot be read: .*: cut short; and .*, .*, .* …; mend or",
        ),
        (
            [{}, {"structures": [{"value": 255}]}],
            r"contradict each other: the one value they hold is 1 in 1 \(.*\), 255 in 1 \(",
        ),
        ([{}, {"objects": Objects(1, 9.0, 0.0)}], "some label maps tell objects apart"),
    ],
)
def test_what_cannot_be_planned_is_one_clear_line(
    case: Case, cohort_of: CohortOf, measure: Any, changes: list[dict[str, Any]], said: str
) -> None:
    """One case, one patient, no labels, contradictions, damage: refused, with the way to mend it."""
    cases = [case(f"c{k}", **change) for k, change in enumerate(changes)]
    with pytest.raises(CohortError, match=said) as error:
        plan(cohort_of(cases), Means(GiB), measure, where="data/")
    assert str(error.value).startswith("data/: ")
    assert "\n" not in str(error.value)


def test_undeclared_values_are_refused(case: Case, cohort_of: CohortOf, measure: Any) -> None:
    """A value that dataset.json does not name is told, with the case that holds it."""
    found = cohort_of([case("a"), case("b", structures=[{"value": 7}])], labels={"lung": 1})
    with pytest.raises(CohortError, match="label map of b holds the value 7"):
        plan(found, Means(GiB), measure)


def test_a_3d_network_needs_3d_images(case: Case, cohort_of: CohortOf, measure: Any) -> None:
    """Asked for, it is a usage error."""
    with pytest.raises(UsageError, match="the images are 2-D"):
        plan(cohort_of([case(n, (64, 64), (1, 1)) for n in "ab"]), Means(GiB), measure, dims=3)
