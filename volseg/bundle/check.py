"""``volseg bundle check``: whether a bundle is what its recipe renders, whole, and what MONAI expects of one.

Nothing that the bundle brings is executed: its files are held against what its recipe renders here, and MONAI's own
checks then run over that rendering.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from monai.bundle import ConfigWorkflow, verify_net_in_out
from torch import Tensor

from volseg.bundle.ensemble import TRUST, member_names
from volseg.bundle.rendering.build import RESULTS, render
from volseg.bundle.rendering.metadata import metadata_problems
from volseg.bundle.state_dict import parse_state_dict
from volseg.bundle.storage.compared import differing
from volseg.bundle.storage.files import BundleFiles, open_bundle, read_whole, told
from volseg.bundle.storage.json_text import read_json
from volseg.bundle.storage.manifest import MANIFEST, METADATA, RECIPE, SAFETENSORS, STATE, check_files
from volseg.bundle.verifying.golden_files import GoldenFiles
from volseg.bundle.verifying.held import hold_weights
from volseg.bundle.weights import LARGEST, parse_safetensors, precision_of
from volseg.errors import BundleError, VolsegError
from volseg.prediction.trust import Trust
from volseg.recipe import Recipe
from volseg.recipe.layers import Layer
from volseg.recipe.yaml_text import LARGEST as LARGEST_RECIPE
from volseg.recipe.yaml_text import read_yaml

# sizes of the kind "16*n" are tried with this n
_TRIED = 4


def check_bundle(path: str | os.PathLike[str], *, trained: bool = True) -> list[str]:
    """Everything that is wrong with a bundle, a line each; nothing for a good one.

    Args:
        path: its folder, or its zip.
        trained: whether it must have weights.
    """
    try:
        with open_bundle(path) as files:
            return _findings(files, trained)
    except VolsegError as error:
        return [str(error)]


def _findings(files: BundleFiles, trained: bool) -> list[str]:
    found = [told(problem) for problem in files.problems]
    found += _json_findings(files)
    try:
        recipe = _recipe(files)
    except VolsegError as error:
        return [*found, str(error)]
    weights: dict[str, Tensor] | None = None
    further: dict[str, Any] = {}
    if trained or SAFETENSORS in files.sizes or STATE in files.sizes:
        weights, more = _weights(files, recipe)
        found += more
        try:
            further = _further(files, recipe)
        except VolsegError as error:
            return [*found, str(error)]
    found += _differences(files, recipe, weights, further)
    try:
        check_files(files)
    except VolsegError as error:
        found.append(str(error))
    if not found:
        found += monai_findings(recipe, weights, further)
    return found


def _json_findings(files: BundleFiles) -> list[str]:
    found = []
    for name in files.sizes:
        if not name.endswith(".json") or not name.startswith("configs/"):
            continue
        try:
            content = read_json(read_whole(files, name), name)
        except VolsegError as error:
            found.append(str(error))
            continue
        if name == METADATA:
            found += [f"{name}: {problem}" for problem in metadata_problems(content)]
    return found


def _recipe(files: BundleFiles) -> Recipe:
    if RECIPE not in files.sizes:
        raise BundleError("missing", where=RECIPE, mend="volseg bundle build writes it")
    return Recipe.from_layers([Layer(RECIPE, read_yaml(read_whole(files, RECIPE, LARGEST_RECIPE), RECIPE))])


def _weights(files: BundleFiles, recipe: Recipe) -> tuple[dict[str, Tensor] | None, list[str]]:
    """The weights in both files, the same in each, strictly those of the recipe's network."""
    missing = [
        f"{name}: missing; build the bundle with --weights" for name in (SAFETENSORS, STATE) if name not in files.sizes
    ]
    if missing:
        return None, missing
    precision = precision_of(recipe)
    found = []
    try:
        weights = parse_safetensors(read_whole(files, SAFETENSORS, LARGEST), SAFETENSORS)
        hold_weights(recipe, weights, SAFETENSORS)
        state = parse_state_dict(read_whole(files, STATE, LARGEST), STATE)
    except VolsegError as error:
        return None, [str(error)]
    if set(state) != set(weights) or not all(_same(state[name], value) for name, value in weights.items()):
        found.append(f"{STATE}: not the weights in {SAFETENSORS}; build the bundle anew")
    full = [name for name, value in weights.items() if value.dtype.is_floating_point and value.dtype != precision]
    if full:
        called = "half" if precision == torch.float16 else "single"
        found.append(f"{SAFETENSORS}: {full[0]} is not in {called} precision; build the bundle anew")
        return None, found
    return weights, found


def _further(files: BundleFiles, recipe: Recipe) -> dict[str, Any]:
    """The members of an ensemble and the trust score, as :func:`volseg.bundle.rendering.build.render` takes them."""
    members = []
    for name in member_names(files.sizes):
        members.append(parse_safetensors(read_whole(files, name, LARGEST), name))
        hold_weights(recipe, members[-1], name)
    trust = Trust.from_bytes(read_whole(files, TRUST), TRUST) if TRUST in files.sizes else None
    return {"members": members, "trust": trust}


def _differences(
    files: BundleFiles, recipe: Recipe, weights: Mapping[str, Tensor] | None, further: Mapping[str, Any]
) -> list[str]:
    """What is not as the recipe renders it."""
    found = []
    results: Any = None
    if RESULTS in files.sizes:
        try:
            results = read_json(read_whole(files, RESULTS), RESULTS)
        except VolsegError as error:
            found.append(str(error))
    golden = GoldenFiles.among(files.sizes)
    if weights is not None and golden is None:
        found.append("golden: there is no acceptance case; build the bundle anew")
    try:
        rendered = render(recipe, weights=weights, results=results, **further)
    except (VolsegError, KeyError, TypeError, ValueError, AttributeError) as error:
        return [*found, f"cannot be rendered: {error}"]
    # the tensors of the one were compared; the other is held against the files that are here
    for name, missing in differing(files, rendered, but=(STATE, MANIFEST)):
        found.append(f"{name}: {'missing' if missing else 'not what the recipe renders; build the bundle anew'}")
    ours = ("configs/overlays/", "models/")
    stale = [name for name in files.sizes if name.startswith(ours) and name not in rendered]
    return found + [f"{name}: no recipe renders it" for name in stale]


def monai_findings(
    recipe: Recipe, weights: Mapping[str, Tensor] | None = None, further: Mapping[str, Any] | None = None
) -> list[str]:
    """What MONAI's own checks find in a recipe's bundle."""
    found = []
    with TemporaryDirectory(prefix="volseg-check-") as folder, _quiet():
        root = Path(folder).resolve()
        for name, data in render(recipe, weights=weights, **(further or {})).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
        for name, kind in (
            ("train", "train"),
            ("multi_gpu_train", "train"),
            ("inference", "infer"),
            ("evaluate", "infer"),
            ("multi_gpu_evaluate", "infer"),
        ):
            found += _workflow_findings(root, name, kind)
        found += _network_findings(root)
    return found


def _workflow_findings(root: Path, name: str, kind: str) -> list[str]:
    where = f"configs/{name}.json"
    try:
        workflow = ConfigWorkflow(
            str(root / "configs" / f"{name}.json"),
            logging_file=False,
            workflow_type=kind,
            bundle_root=str(root),
            device="cpu",
        )
        workflow.initialize()
        wrong = workflow.check_properties()
    except Exception as error:  # whatever MONAI raises is a finding about this file
        return [f"{where}: {_first_cause(error)}"]
    return [f"{where}: MONAI's property {name} is missing or has another id" for name in wrong or ()]


def _network_findings(root: Path) -> list[str]:
    try:
        verify_net_in_out(
            net_id="network_def",
            meta_file=str(root / METADATA),
            config_file=str(root / "configs" / "inference.json"),
            device="cpu",
            n=_TRIED,
            any=_TRIED,
        )
    except Exception as error:  # whatever MONAI raises is a finding about the metadata
        return [f"{METADATA}: network_data_format is not the network's: {_first_cause(error)}"]
    return []


def _first_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


@contextmanager
def _quiet() -> Iterator[None]:
    """MONAI tells its checks through the log; here what they find is returned."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
