"""What is said of each hostile bundle, to the letter: a person decides by these words whether to open it.

``told.json`` holds them; a change of it is one to be read as its user would.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bundle.conftest import METADATA, files_of
from tests.bundle.test_expressions import HIDING, HONEST, UNCOMMON
from tests.bundle.test_malicious_configs import BUNDLES
from tests.bundle.test_malicious_files import FILES
from tests.bundle.test_malicious_zips import ZIPS
from tests.hostile import torch_archive
from volseg.bundle.audit.expressions import judge_expression
from volseg.bundle.audit.finding import Finding
from volseg.bundle.inspect import inspect_bundle
from volseg.bundle.packing import check_archive
from volseg.bundle.storage.files import open_bundle
from volseg.bundle.storage.manifest import make_manifest
from volseg.errors import BundleError

#: what bundles say of themselves: whole, without a recipe, by a card alone, with more than is read of a text
CLAIMS: dict[str, dict[str, object]] = {
    "a bundle of volseg": {"docs/results.json": "{}"},
    "a bundle of MONAI": {
        "configs/recipe.yaml": None,
        "configs/metadata.json": {
            **METADATA,
            "name": "a heart",
            "eval_metrics": {"mean_dice": 0.91234567, "hd95": [1, 2]},
            "intended_use": "  words\n of several lines ",
            "description": "d" * 700,
        },
        "models/model.ts": torch_archive(b"\x80\x02}.", code__torch__py=b"1"),
    },
    "a bundle in the hub's form": {
        "configs/recipe.yaml": None,
        "configs/metadata.json": None,
        "metadata.json": {"version": 2026.11, "authors": ["A", "B"], "network_data_format": "none"},
        "docs/README.md": None,
        "README.md": (
            "---\nlicense: mit\nresults: {dice: 0.9}\nmetrics: [dice, hd95]\n"
            "model-index: [8, {results: [7, {metrics: words}, {dataset: {name: hearts}, metrics: "
            "[{type: dice, value: 0.91}, {name: HD95, value: 3}]}]}]\n---\n# A card\n"
        ),
        "models/model.safetensors": None,
        "models/model.pt": torch_archive(b"\x80\x02}."),
    },
    "hardly a bundle": {
        "configs/metadata.json": None,
        "configs/recipe.yaml": "labels: [",
        "docs/README.md": "# no front matter",
        "models/model.safetensors": b"x",
        "manifest.json": "{}",
    },
}
TOLD = Path(__file__).parent / "told.json"
MakeBundle = Callable[..., Path]


def _lines(path: Path, but_for: set[Finding]) -> Iterator[str]:
    """The findings of a bundle that a harmless one does not have."""
    for found in inspect_bundle(path).audit.findings:
        if found not in but_for:
            common = ", common" if found.known else ""
            words = f"{found.kind} {found.text[:80]}: {found.why} [{found.door}]"
            yield f"{found.weight.value}{common}: {found.place}: {words}"


def _of_folders(make_bundle: MakeBundle, table: dict[str, tuple[dict[str, object], str, str]]) -> dict[str, list[str]]:
    harmless = set(inspect_bundle(make_bundle(name="harmless")).audit.findings)
    return {name: list(_lines(make_bundle(changes, name=name), harmless)) for name, (changes, _, _) in table.items()}


def _of_claims(make_bundle: MakeBundle, _: Path) -> dict[str, object]:
    told: dict[str, object] = {}
    for name, changes in CLAIMS.items():
        bundle = make_bundle(changes, name=name)
        found = inspect_bundle(bundle)
        notes = [note.replace(f"{bundle}: ", "") for note in found.about.notes]
        told[name] = {"about": found.about.to_dict() | {"notes": notes}, "doors": found.doors, "verdict": found.verdict}
    return told


def _of_zips(make_bundle: MakeBundle, folder: Path) -> dict[str, list[str]]:
    bundle = make_bundle()
    with open_bundle(bundle) as files:
        (bundle / "manifest.json").write_bytes(make_manifest(files).to_bytes())
    given = folder / "heart.zip"
    harmless = set(inspect_bundle(bundle).audit.findings)
    told = {}
    for name, (make, _) in ZIPS.items():
        given.write_bytes(make(files_of(bundle)))
        with pytest.raises(BundleError) as caught:
            check_archive(given)
        try:
            found = list(_lines(given, harmless))
        except BundleError as error:
            found = [f"no zip: {error}"]
        told[name] = [_anywhere(line, given) for line in (f"check: {caught.value}", *found)]
    return told


def _anywhere(line: str, given: Path) -> str:
    """A line without what is otherwise in another folder, or with another compressor."""
    return re.sub(r"unpacks \d+ bytes", "unpacks few bytes", line.replace(str(given), "heart.zip"))


def _of_expressions(*_: object) -> dict[str, str]:
    judged = {text: judge_expression(text) for text in (*HONEST, *UNCOMMON, *HIDING)}
    return {text[:80]: f"{it.weight.value}{', common' if it.known else ''}: {it.why}" for text, it in judged.items()}


@pytest.mark.parametrize(
    ("kind", "tell"),
    [
        ("configs", lambda make, _: _of_folders(make, BUNDLES)),
        ("files", lambda make, _: _of_folders(make, FILES)),
        ("zips", _of_zips),
        ("expressions", _of_expressions),
        ("claims", _of_claims),
    ],
)  # fmt: skip
def test_each_is_told_in_the_same_words(
    kind: str, tell: Callable[[MakeBundle, Path], dict[str, object]], make_bundle: MakeBundle, tmp_path: Path
) -> None:
    """Weight, place, words and reason of every finding, and what a bundle claims.

    Where they should change, what is named holds what belongs into the file.
    """
    told = json.loads(json.dumps(tell(make_bundle, tmp_path)))
    now = tmp_path / "told.json"
    now.write_text(json.dumps(told, indent=1) + "\n")
    assert told == json.loads(TOLD.read_text())[kind], f"{TOLD.name}: {kind} should be {now}"
