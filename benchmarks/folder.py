"""A folder of cardiac MR volumes to a folder of masks: ``volseg predict`` and MONAI's bundle runner, same weights.

The peer is a plain MONAI bundle: LoadImaged, Orientationd, Spacingd, NormalizeIntensityd, SlidingWindowInferer with
overlap 0.5 and Gaussian blending, Softmax, Invertd, AsDiscreted, SaveImaged. It is measured as it comes, and with the
allocator set as volseg sets it. Headers are mended once, for both. Without trained weights only the speed is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.frame import KEEP_MEMORY, record

ROOT = Path(__file__).parents[1]


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks folder", description=__doc__)
    parser.add_argument("--data", type=Path, help="ACDC's training folder; $VOLSEG_TEST_DATA/acdc/training")
    parser.add_argument(
        "--bundle", type=Path, default=ROOT / "bundles" / "acdc_unet3d", help="its weights may be missing"
    )
    parser.add_argument("-n", type=int, default=40, help="how many volumes")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1, help="processes that load for the peer")
    parser.add_argument("--only", nargs="*", help="parts of contenders' names")
    parser.add_argument("--repeats", type=int, default=2, help="rounds of all contenders; the best of each counts")
    options = parser.parse_args(argv)
    if options.data is None and "VOLSEG_TEST_DATA" not in os.environ:
        parser.error("--data names the folder of ACDC's training patients")
    data = options.data or Path(os.environ["VOLSEG_TEST_DATA"], "acdc", "training")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        count = stage(data, work, options.n)
        bundle, trained = with_weights(options.bundle, work)
        peer = plain_bundle(bundle, work, options.workers)
        ours = [sys.executable, "-m", "volseg.cli", "predict", "-i", work / "images", "-b", bundle]
        theirs = [sys.executable, "-m", "monai.bundle", "run", "inference", "--config_file", peer]
        ways: dict[str, tuple[list[Any], Mapping[str, str]]] = {
            "volseg": ([*ours, "--tta", "none", "-o"], {}),
            "volseg, the recipe's own averaging": ([*ours, "-o"], {}),
            "monai": ([*theirs, "--output_dir"], {}),
            "monai, allocator set": ([*theirs, "--output_dir"], KEEP_MEMORY),
        }
        table: dict[str, dict[str, Any]] = {}
        for turn in range(options.repeats):  # in turn, so that a busy moment hits all alike
            for number, (name, (command, env)) in enumerate(ways.items()):
                if options.only and not any(part in name for part in options.only):
                    continue
                masks = work / f"masks-{turn}-{number}"
                row = measure([*map(str, command), str(masks)], {**env, "OMP_NUM_THREADS": str(options.threads)}, count)
                row["dice"] = dice(masks, work / "truths") if trained else None
                table[name] = max(table.get(name, row), row, key=lambda row: row["cases_per_minute"])
                print(
                    f"{name:36} {row['cases_per_minute']:7.1f} cases/min {row['peak_GiB']:6.2f} GiB  Dice {row['dice']}"
                )
    speed = {name: row["cases_per_minute"] for name, row in table.items()}
    ratio = {
        peer_name: round(speed["volseg"] / speed[peer_name], 2)
        for peer_name in speed
        if peer_name.startswith("monai") and "volseg" in speed
    }
    record(
        "folder",
        work=f"{count} ACDC volumes, {options.threads} threads, {options.bundle.name}, whole process from start to end,"
        f" the best of {options.repeats}; most patients were learnt from, so Dice compares the contenders alone",
        ours={name: row for name, row in table.items() if name.startswith("volseg")},
        peer={name: row for name, row in table.items() if name.startswith("monai")},
        ratio=ratio,
        packages=("nibabel", "pytorch-ignite"),
        weights="trained" if trained else "random: they measure the speed alone",
    )
    return 0


def stage(data: Path, work: Path, count: int) -> int:
    """Images and truths of the first cases, their geometry written into every header field: readers then agree."""
    from volseg.data.cohort import find_cases
    from volseg.io import read_labels, read_volume, write_labels, write_volume

    cases = find_cases(data).labelled[:count]
    for name in ("images", "truths"):
        (work / name).mkdir()
    for case in cases:
        image = read_volume(case.image)
        write_volume(work / "images" / f"{case.name}.nii.gz", image.array, image.grid)
        truth = read_labels(case.label or case.image)
        write_labels(work / "truths" / f"{case.name}.nii.gz", truth.array, image.grid)
    return len(cases)


def with_weights(bundle: Path, work: Path) -> tuple[Path, bool]:
    """The bundle, and whether it is trained; where it has no weights, one like it with random ones."""
    import torch

    from volseg.bundle.rendering.build import build_bundle
    from volseg.engine import compose
    from volseg.recipe import load_recipe

    if (bundle / "models" / "model.safetensors").exists() or bundle.is_file():
        return bundle, True
    recipe = load_recipe(bundle / "configs" / "recipe.yaml")
    torch.manual_seed(0)
    torch.save(compose.build(compose.network_part(recipe)).state_dict(), work / "random.pt")
    return build_bundle(recipe, work / bundle.name, weights=work / "random.pt"), False


def plain_bundle(bundle: Path, work: Path, workers: int) -> Path:
    """What a MONAI user would write for this network: a configuration for ``monai.bundle run inference``."""
    import torch

    from volseg.bundle.load import load_bundle
    from volseg.engine import compose

    loaded = load_bundle(bundle)
    recipe = loaded.recipe
    weights = work / "plain.pt"
    torch.save(loaded.network().state_dict(), weights)
    spacing = [-1.0 if mm == "native" else float(mm) for mm in recipe.image.spacing]
    slices = recipe.spatial_dims < recipe.image.spatial_dims
    window = {
        "_target_": "SliceInferer" if slices else "SlidingWindowInferer",
        "roi_size": list(recipe.training.patch),
        "sw_batch_size": 8 if slices else 1,
        "overlap": 0.5,
        "mode": "gaussian",
        **({"spatial_dim": 2} if slices else {}),
    }
    before = [
        {"_target_": "LoadImaged", "keys": "image", "reader": "NibabelReader"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": recipe.image.axcodes, "labels": None},
        {"_target_": "Spacingd", "keys": "image", "pixdim": spacing, "mode": "bilinear"},
        {"_target_": "NormalizeIntensityd", "keys": "image"},
        {"_target_": "EnsureTyped", "keys": "image"},
    ]
    after = [
        {"_target_": "Activationsd", "keys": "pred", "softmax": True},
        {
            "_target_": "Invertd",
            "keys": "pred",
            "transform": "@preprocessing",
            "orig_keys": "image",
            "nearest_interp": False,
            "to_tensor": True,
        },
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        {
            "_target_": "SaveImaged",
            "keys": "pred",
            "output_dir": "@output_dir",
            "output_postfix": "",
            "output_dtype": "$numpy.uint8",
            "separate_folder": False,
            "resample": False,
            "print_log": False,
        },
    ]
    config = {
        "imports": ["$import glob", "$import numpy", "$import torch"],
        "output_dir": None,
        "network": compose.network_part(recipe),
        "preprocessing": {"_target_": "Compose", "transforms": before},
        "postprocessing": {"_target_": "Compose", "transforms": after},
        "dataset": {
            "_target_": "Dataset",
            "data": f"$[{{'image': p}} for p in sorted(glob.glob({str(work / 'images' / '*.nii.gz')!r}))]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": workers},
        "inferer": window,
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "$torch.device('cpu')",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
        "inference": [
            f"$@network.load_state_dict(torch.load({str(weights)!r}, weights_only=True))",
            "$@evaluator.run()",
        ],
    }
    path = work / "plain.json"
    path.write_text(json.dumps(config, indent=1))
    return path


def measure(command: list[str], env: Mapping[str, str], count: int) -> dict[str, Any]:
    """Run a command to its end: wall and processor time, and the largest resident size of its process."""
    began = time.perf_counter()
    pid = os.posix_spawn(command[0], command, {**os.environ, **env})
    _, status, used = os.wait4(pid, 0)
    seconds = time.perf_counter() - began
    if status:
        raise SystemExit(f"{' '.join(command[:6])} … ended with {os.waitstatus_to_exitcode(status)}")
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "cases_per_minute": round(60 * count / seconds, 2),
        "peak_GiB": round(used.ru_maxrss / 2**20, 3),
    }


def dice(masks: Path, truths: Path) -> float:
    """The mean Dice of all cases and structures."""
    from volseg.evaluation import evaluate

    found = evaluate(masks, truths)
    if found.failed:
        raise SystemExit(f"{len(found.failed)} masks could not be scored, such as {found.failed[0].error}")
    return round(mean(found.dice(case) for case in found.cases), 4)
