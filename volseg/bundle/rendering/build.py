"""``volseg bundle build``: from a recipe to a bundle; the same recipe and weights give the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from volseg.bundle.ensemble import TRUST, member_name, member_names
from volseg.bundle.load import Bundle
from volseg.bundle.rendering.card import model_card
from volseg.bundle.rendering.configs import rendered_configs, written
from volseg.bundle.rendering.licences import data_licence, weights_licence
from volseg.bundle.rendering.metadata import bundle_name, metadata
from volseg.bundle.state_dict import as_state_dict, read_weights
from volseg.bundle.storage.manifest import MANIFEST, RECIPE, SAFETENSORS, STATE, make_manifest
from volseg.bundle.storage.zip_records import Problem
from volseg.bundle.verifying.golden import make_golden
from volseg.bundle.verifying.golden_files import GoldenFiles
from volseg.bundle.weights import as_safetensors, load_into, stored
from volseg.engine import compose
from volseg.engine.run_folder import told_of_weights
from volseg.errors import BundleError
from volseg.io.atomic import write_bytes
from volseg.prediction.trust import Trust
from volseg.recipe import Recipe, dump_recipe

RESULTS = "docs/results.json"
LOGGING = b"""# what a run tells: a line each, on stdout
[loggers]
keys=root,volseg

[handlers]
keys=lines

[formatters]
keys=plain

[logger_root]
level=WARNING
handlers=lines

[logger_volseg]
level=INFO
handlers=lines
qualname=volseg
propagate=0

[handler_lines]
class=StreamHandler
level=INFO
formatter=plain
args=(sys.stdout,)

[formatter_plain]
format=%(message)s
"""


def build_bundle(
    recipe: Recipe,
    folder: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    results: str | os.PathLike[str] | None = None,
    members: Sequence[str | os.PathLike[str]] = (),
    trust: Trust | None = None,
) -> Path:
    """Write a recipe's bundle; weights and what is known of them stay unless other weights are given.

    Args:
        recipe: the recipe.
        folder: of the bundle.
        weights: ``.safetensors``, ``.pt``, or a checkpoint of a training.
        results: an evaluation of these weights, the JSON that ``volseg evaluate`` writes.
        members: weights of the further members of an ensemble.
        trust: the trust score of these weights.

    Raises:
        BundleError: if the weights are not of the recipe's network, or something else lies in the folder.
    """
    target = Path(folder).absolute()
    _require_place(target)
    held, further = None, []
    if weights is not None:
        held, *further = (stored(read_weights(Path(path)), recipe, path) for path in (weights, *members))
        told_of = told_of_weights(Path(weights)) if Path(weights).suffix == ".safetensors" else {}
        start = told_of.get("started_from")
        if start is not None:  # whatever the recipe says: these weights know
            recipe = recipe.changed({"bundle.started_from": start or None})
    elif (target / SAFETENSORS).is_file():
        held = read_weights(target / SAFETENSORS)
        further = [read_weights(target / name) for name in member_names(_rendered_before(target))]
        if trust is None and (target / TRUST).is_file():
            trust = Trust.from_bytes((target / TRUST).read_bytes(), target / TRUST)
    told = None
    if results is not None:
        told = short_results(_read_json(Path(results)), results)
    elif (target / RESULTS).is_file() and weights is None:
        told = _read_json(target / RESULTS)
    golden = None if held is None else _golden(recipe, held, further, target)
    files = render(recipe, weights=held, results=told, golden=golden, members=further, trust=trust)
    for name in _rendered_before(target) - set(files):
        (target / name).unlink()
    for name, data in files.items():
        place = target / name
        if not (place.is_file() and place.read_bytes() == data):
            place.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(place, data)
    return target


def render(
    recipe: Recipe,
    *,
    weights: Mapping[str, Tensor] | None = None,
    results: dict[str, Any] | None = None,
    golden: Mapping[str, bytes] | None = None,
    members: Sequence[Mapping[str, Tensor]] = (),
    trust: Trust | None = None,
) -> dict[str, bytes]:
    """Every file of a recipe's bundle, by its path in it.

    Args:
        recipe: the recipe.
        weights: in half precision.
        results: see :func:`short_results`.
        golden: the acceptance case of these weights, see :func:`volseg.bundle.verifying.golden.make_golden`.
        members: weights of the further members of an ensemble, in half precision.
        trust: the trust score of these weights.

    Raises:
        BundleError: if the weights are not of the recipe's network.
    """
    files: dict[str, bytes] = {"configs/metadata.json": written(metadata(recipe, results))}
    files |= rendered_configs(recipe, len(members))
    files[RECIPE] = dump_recipe(recipe).encode()
    files["configs/logging.conf"] = LOGGING
    files["LICENSE"] = weights_licence(recipe).encode()
    files["docs/data_license.txt"] = data_licence(recipe).encode()
    files["docs/README.md"] = model_card(recipe, results).encode()
    if results is not None:
        files[RESULTS] = written(results)
    if weights is not None:
        load_into(compose.build(compose.network_part(recipe)), weights, "the weights")
        files[STATE] = as_state_dict(weights)
        files[SAFETENSORS] = as_safetensors(weights)
        for number, member in enumerate(members, start=1):
            load_into(compose.build(compose.network_part(recipe)), member, f"member {number}")
            files[member_name(number)] = as_safetensors(member)
        if trust is not None:
            files[TRUST] = trust.to_bytes()
    files |= golden or {}
    files = dict(sorted(files.items()))
    files[MANIFEST] = make_manifest(_InMemory(bundle_name(recipe), files)).to_bytes()
    return files


def short_results(found: Any, where: object) -> dict[str, Any]:
    """What a model card needs of an evaluation.

    Raises:
        BundleError: if it is none.
    """
    try:
        structures = {
            str(name): {measure: dict(told[measure]) for measure in ("dice", "hd95", "assd") if measure in told}
            for name, told in found["structures"].items()
        }
        short = {
            "count": {"cases": int(found["count"]["scored"]), "patients": int(found["count"]["patients"])},
            "mean": {"dice": float(found["mean"]["dice"])},
            "structures": structures,
        }
        for told in structures.values():
            float(told["dice"]["mean"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            "is no evaluation", where=where, mend="give the JSON that volseg evaluate, or evaluating, writes"
        ) from error
    for key, kind in (("fold", int), ("out_of_fold", bool)):  # which cases they are
        if type(found.get(key)) is kind:
            short[key] = found[key]
    for key in ("training", "data"):  # words about how and on what, where somebody wrote them into the file
        if isinstance(found.get(key), str):
            short[key] = found[key]
    return short


@dataclass(frozen=True)
class _InMemory:
    """Rendered files as the manifest reads them."""

    name: str
    files: Mapping[str, bytes]
    problems: tuple[Problem, ...] = ()

    @property
    def where(self) -> str:
        return self.name

    @property
    def sizes(self) -> Mapping[str, int]:
        return {name: len(data) for name, data in sorted(self.files.items())}

    def open(self, path: str) -> BinaryIO:
        return io.BytesIO(self.files[path])


def _require_place(target: Path) -> None:
    """A new folder, an empty one, or a bundle: nobody's other files are touched."""
    if not target.exists():
        return
    if not target.is_dir():
        raise BundleError("is a file, and a bundle is a folder", where=target)
    if any(target.iterdir()) and not (target / "configs" / "metadata.json").is_file():
        raise BundleError("holds something else", where=target, mend="name a new folder")


def _golden(
    recipe: Recipe, weights: Mapping[str, Tensor], members: Sequence[Mapping[str, Tensor]], target: Path
) -> dict[str, bytes]:
    """The acceptance case: the one in the folder, where it is of this recipe and these weights, or a new one."""
    raw, paths = as_safetensors(weights), GoldenFiles.among(_rendered_before(target))
    before = {RECIPE: dump_recipe(recipe).encode(), SAFETENSORS: raw}
    before |= {member_name(number): as_safetensors(member) for number, member in enumerate(members, start=1)}
    same = len(members) == len(member_names(_rendered_before(target)))
    if (
        paths
        and same
        and all((target / name).is_file() and (target / name).read_bytes() == data for name, data in before.items())
    ):
        return {name: (target / name).read_bytes() for name in (*paths.images, paths.mask)}
    digest = hashlib.sha256(raw).hexdigest()
    further = tuple(dict(member) for member in members)
    return make_golden(Bundle(bundle_name(recipe), str(target), recipe, dict(weights), digest, further))


def _rendered_before(target: Path) -> set[str]:
    """Overlays, results, members, trust scores and acceptance cases that an earlier rendering left."""
    patterns = ("configs/overlays/*.json", "golden/*.nii", "models/member_*.safetensors", TRUST, RESULTS)
    return {path.relative_to(target).as_posix() for pattern in patterns for path in target.glob(pattern)}


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError("cannot be read as JSON", where=path) from error
