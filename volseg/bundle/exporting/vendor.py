"""``volseg bundle export --vendor``: a MONAI bundle that runs where there is MONAI and no volseg."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from volseg import __version__
from volseg.bundle.exporting.sources import copied
from volseg.bundle.load import Bundle
from volseg.bundle.rendering.card import model_card
from volseg.bundle.rendering.configs import written
from volseg.bundle.rendering.licences import data_licence, weights_licence
from volseg.bundle.rendering.metadata import bundle_name, metadata
from volseg.bundle.rendering.parts import predicting_parts
from volseg.bundle.state_dict import as_state_dict
from volseg.bundle.storage.archive import Packed, zip_bytes
from volseg.bundle.storage.names import name_problem
from volseg.engine.compose import network_part
from volseg.errors import BundleError, UsageError
from volseg.io.atomic import atomic_write

_RUN = "volseg.bundle.exporting.standalone"
_NEEDED = {"pytorch-ignite": "0.5.2", "nibabel": "5.3.0", "fire": "0.7.0"}
_LOGGING = b"""[loggers]
keys=root
[handlers]
keys=lines
[formatters]
keys=plain
[logger_root]
level=WARNING
handlers=lines
[handler_lines]
class=StreamHandler
level=WARNING
formatter=plain
args=(sys.stdout,)
[formatter_plain]
format=%(message)s
"""


@dataclass(frozen=True)
class Vendored:
    """What was written.

    Attributes:
        path: the zip.
        package: the name of the code in it.
        modules: how many files of code.
    """

    path: Path
    package: str
    modules: int


def vendor_bundle(bundle: Bundle, out: str | os.PathLike[str]) -> Vendored:
    """Write ``NAME.zip``, which holds ``NAME/…``: weights, configuration, and copies of the code that they need.

    The code is a package of a name that no other bundle has: MONAI puts every bundle's folder on Python's path, and of
    two packages of one name the second bundle would run the first one's. The same bundle gives the same bytes.

    Raises:
        BundleError: if the bundle is an ensemble, or not for volumes.
        WriteError: if the zip cannot be written whole.
    """
    target = Path(out)
    name = target.name.removesuffix(".zip")
    if target.suffix != ".zip" or name_problem(name):
        raise UsageError("a vendored bundle is called NAME.zip", where=out)
    bundle.network()  # an ensemble is refused here
    recipe = bundle.recipe
    if recipe.image.spatial_dims != 3:
        raise BundleError("is for 2-D pictures, and a vendored bundle reads volumes in NIfTI", where=bundle.where)
    parts = _parts(bundle)
    targets = sorted(set(_targets(parts)))
    modules = {found.rpartition(".")[0] for found in targets if not found.startswith("volseg.labels.")}
    stem = bundle_name(recipe)
    code = copied({*modules, "volseg.labels", _RUN}, "PACKAGE")
    package = f"{stem}_{_digest(bundle, code)}"
    code = {
        path.replace("PACKAGE/", f"{package}/", 1): text.replace(b"from PACKAGE", f"from {package}".encode())
        for path, text in code.items()
    }
    code[f"{package}/__init__.py"] = (
        f'"""Parts of volseg {__version__} (Apache-2.0, https://www.apache.org/licenses/LICENSE-2.0), copied into this '
        'bundle under a\nname of its own: it runs without volseg, and beside any other bundle.\n"""\n'
    ).encode()
    files = {
        "LICENSE": weights_licence(recipe).encode(),
        "configs/inference.json": written(_config(_renamed(parts, package), recipe.in_channels)),
        "configs/logging.conf": _LOGGING,
        "configs/metadata.json": written(_metadata(bundle)),
        "docs/README.md": model_card(recipe, vendored=True).encode(),
        "docs/data_license.txt": data_licence(recipe).encode(),
        "models/model.pt": as_state_dict(bundle.weights),
        **code,
    }
    packed = (
        Packed(f"{name}/{path}", len(data), zlib.crc32(data), partial(BytesIO, data))
        for path, data in sorted(files.items())
    )
    with atomic_write(target) as file:
        for piece in zip_bytes(packed):
            file.write(piece)
    return Vendored(target, package, len(code))


def _parts(bundle: Bundle) -> dict[str, Any]:
    recipe = bundle.recipe
    parts = predicting_parts(recipe)
    inferer = parts["inferer"]
    return {
        "network_def": network_part(recipe),
        "predict": {
            "_target_": f"{_RUN}.Segment",
            **{name: parts[name] for name in ("preparation", "decision", "labels", "turns", "order")},
            "steps": {name: {**step, "_target_": f"{_RUN}.CleaningUp"} for name, step in parts["clean_up"].items()},
            **{name: inferer[name] for name in ("max_memory", "tile", "blend")},
        },
        "cases": {"_target_": f"{_RUN}.cases", "folder": "@dataset_dir", "channels": recipe.in_channels},
    }


def _config(parts: Mapping[str, Any], channels: int) -> dict[str, Any]:
    return {
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/data'",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": parts["network_def"],
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image", "reader": "NibabelReader", "image_only": True},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
            ],
        },
        "dataset": {"_target_": "Dataset", "data": parts["cases"], "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        # what the evaluator would use if it were not for "predict", which has windows and pieces of its own
        "inferer": {"_target_": "SimpleInferer"},
        "predict": parts["predict"],
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "output_dir": "@output_dir",
                    "output_postfix": "",
                    "output_dtype": "$torch.uint8" if _largest(parts) < 256 else "$torch.int32",
                    "resample": False,
                    "separate_folder": False,
                    "data_root_dir": "@dataset_dir" if channels == 1 else "",
                    "print_log": False,
                }
            ],
        },
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"model": "@network"},
            }
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "iteration_update": "@predict",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "run": ["$@evaluator.run()"],
        "inference": "%run",
    }


def _metadata(bundle: Bundle) -> dict[str, Any]:
    told = metadata(bundle.recipe)
    needed = {name: least for name, least in told["required_packages_version"].items() if name == "nibabel"}
    return told | {"required_packages_version": {**_NEEDED, **needed}}


def _largest(parts: Mapping[str, Any]) -> int:
    values: list[int] = parts["predict"]["decision"]["values"]
    return max(values)


def _targets(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        own = [value["_target_"]] if "_target_" in value else []
        return own + [found for item in value.values() for found in _targets(item)]
    return [found for item in value for found in _targets(item)] if isinstance(value, list) else []


def _renamed(value: Any, package: str) -> Any:
    if isinstance(value, Mapping):
        return {
            key: item.replace("volseg.", f"{package}.", 1) if key == "_target_" else _renamed(item, package)
            for key, item in value.items()
        }
    return [_renamed(item, package) for item in value] if isinstance(value, list) else value


def _digest(bundle: Bundle, code: Mapping[str, bytes]) -> str:
    """What tells this bundle's code from any other's."""
    found = hashlib.sha256((bundle.recipe.digest() + bundle.sha256).encode())
    for path, text in sorted(code.items()):
        found.update(path.encode() + b"\0" + text)
    return found.hexdigest()[:8]
