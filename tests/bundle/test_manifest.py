"""A manifest that cannot be relied on is refused by the first thing that is wrong with it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.refusals import refusal
from volseg.bundle.storage.files import open_bundle
from volseg.bundle.storage.limits import LIMITS
from volseg.bundle.storage.manifest import MANIFEST, Manifest, bundle_within, check_manifest, make_manifest
from volseg.errors import BundleError

SHA = "0" * 64
GOLDEN = {"images": ["golden/image.nii"], "mask": "golden/mask.nii", "tolerance": 0.005}
MADE = Manifest.from_bytes(
    Manifest("heart", {}, None, None, {"volseg": "0.1.0"}).to_bytes()
)  # read once, so that each refusal below is for what was changed
CASE = {"LICENSE": {"size": 1, "sha256": SHA}} | {
    path: {"size": 1, "sha256": SHA} for path in ("golden/image.nii", "golden/mask.nii")
}


def _without(data: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != key}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: [data], "is no manifest of volseg"),
        (lambda data: {**data, "format": "volseg bundle manifest 2"}, "is no manifest of volseg"),
        (lambda data: _without(data, "golden"), "the manifest's keys are not those it must have: 'golden'"),
        (lambda data: {**data, "zeal": 1}, "the manifest's keys are not those it must have: 'zeal'"),
        (lambda data: {**data, "name": "a/b"}, "the manifest is damaged"),
        (lambda data: {**data, "name": ".."}, "the manifest is damaged"),
        (lambda data: {**data, "name": 3}, "the manifest is damaged"),
        (lambda data: {**data, "recipe": SHA[1:]}, "the manifest is damaged"),
        (lambda data: {**data, "recipe": 0}, "the manifest is damaged"),
        (lambda data: {**data, "versions": {"volseg": 1}}, "the manifest is damaged"),
        (lambda data: {**data, "versions": {"volseg": "1" * 101}}, "the manifest is damaged"),
        (lambda data: {**data, "versions": {"other": "1"}}, "the manifest is damaged"),
        (lambda data: {**data, "versions": []}, "the manifest is damaged"),
        (lambda data: {**data, "files": []}, "the manifest is damaged"),
        (lambda data: {**data, "files": {"/x": {}}}, "the manifest lists '/x', which is an absolute path"),
        (lambda data: {**data, "files": {"x": []}}, "the manifest's line for x is damaged"),
        (lambda data: {**data, "files": {"x": {"size": 1}}}, "the manifest's line for x is damaged"),
        (lambda data: {**data, "files": {"x": {"size": -1, "sha256": SHA}}}, "the manifest's line for x is damaged"),
        (lambda data: {**data, "files": {"x": {"size": True, "sha256": SHA}}}, "the manifest's line for x is damaged"),
        (lambda data: {**data, "files": {"x": {"size": 1, "sha256": 0}}}, "the manifest's line for x is damaged"),
        (
            lambda data: {**data, "files": {"x": {"size": LIMITS.total + 1, "sha256": SHA}}},
            "the manifest's line for x is damaged",
        ),
        (lambda data: {**data, "files": {"x": {"size": 1, "sha256": "F" * 64}}}, "the manifest's hash of x is none"),
        (
            lambda data: {**data, "files": {"x": {"size": LIMITS.total, "sha256": SHA}}},
            "the manifest was changed after it was written (its own digest differs)",
        ),
        (lambda data: {**data, "golden": GOLDEN}, "the manifest's acceptance case is not among its files"),
        (
            lambda data: {**data, "files": CASE, "golden": {**GOLDEN, "mask": "LICENSE"}},
            "the manifest's acceptance case is not among its files",
        ),
        (
            lambda data: {**data, "files": CASE, "golden": _without(GOLDEN, "tolerance")},
            "the manifest's acceptance case is not among its files",
        ),
        *(
            (
                lambda data, much=much: {**data, "files": CASE, "golden": {**GOLDEN, "tolerance": much}},
                f"the manifest lets {much!a} of the labels differ; 0.02 is the most",
            )
            for much in (0.021, -0.001, 0, "all")
        ),
        (
            lambda data: {**data, "files": CASE, "golden": {**GOLDEN, "tolerance": 0.02}},
            "the manifest was changed after it was written (its own digest differs)",
        ),
    ],
)  # fmt: skip
def test_each_is_refused_in_a_line(change: Callable[[dict[str, Any]], Any], told: str) -> None:
    """Format, keys, each value, each file's line, the acceptance case, and then the digest of it all."""
    data = json.loads(MADE.to_bytes())
    with pytest.raises(BundleError) as caught:
        Manifest.from_bytes(json.dumps(change(data)).encode(), "m")
    assert str(caught.value) == f"m: {told}"


def test_versions_are_those_of_the_metadata(make_bundle: Callable[..., Path]) -> None:
    """And of volseg; what could not be told on a line is left out."""
    for given, kept in (("2.13.0", {"pytorch_version": "2.13.0"}), ("2\n13", {}), (2, {}), ("1" * 101, {})):
        bundle = make_bundle({"configs/metadata.json": {"pytorch_version": given, "task": "x"}}, name=str(kept))
        with open_bundle(bundle) as files:
            assert make_manifest(files).versions == {"volseg": "0.1.0", **kept}


def test_files_are_held_against_it_one_by_one(make_bundle: Callable[..., Path]) -> None:
    """How many are missing or too many, and a recipe that is another in its content."""
    bundle = make_bundle()
    with open_bundle(bundle) as files:
        made = make_manifest(files)
    assert refusal(check_manifest, bundle) == "has no manifest.json; `volseg bundle pack` writes one"

    def with_manifest(**changes: Any) -> str:
        (bundle / MANIFEST).write_bytes(dataclasses.replace(made, **changes).to_bytes())
        return refusal(check_manifest, bundle)

    assert with_manifest(recipe=SHA) == "the recipe is not the one the manifest names"
    record = made.files["LICENSE"]
    assert with_manifest(files={**made.files, "a": record}) == "a is missing"
    assert with_manifest(files={**made.files, "b": record, "a": record}) == "a is missing (and 1 more)"
    few = {path: of for path, of in made.files.items() if path.startswith("configs")}
    assert with_manifest(files=few) == "LICENSE is not in the manifest (and 2 more)"
    assert with_manifest(files={**made.files, "LICENSE": dataclasses.replace(record, size=12)}) == (
        "LICENSE has 11 bytes, the manifest says 12"
    )
    assert with_manifest(files={**made.files, "LICENSE": dataclasses.replace(record, sha256=SHA)}) == (
        "LICENSE is not the file that was packed (its SHA-256 differs)"
    )


def test_a_run_holds_a_bundle(make_bundle: Callable[..., Path]) -> None:
    """Whoever names the folder of a run is told of the bundle in it."""
    run = make_bundle(name="bundle").parent
    assert bundle_within(run, "else") == f"name the bundle in it: {run / 'bundle'}"
    assert bundle_within(run / "bundle", "else") == "else"
