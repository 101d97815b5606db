"""``docs/README.md``: the model card."""

from __future__ import annotations

import json
from typing import Any

from volseg.bundle.rendering.licences import licence_told, licence_url
from volseg.bundle.rendering.metadata import bundle_name, sizes_in_words
from volseg.recipe import Recipe
from volseg.recipe.foreign import ForeignNetwork
from volseg.recipe.optimiser import SGD

_HUB = {
    "Apache-2.0",
    "MIT",
    "CC0-1.0",
    "CC-BY-4.0",
    "CC-BY-SA-4.0",
    "CC-BY-NC-4.0",
    "CC-BY-NC-SA-4.0",
}


def model_card(recipe: Recipe, results: dict[str, Any] | None = None, *, vendored: bool = False) -> str:
    """The model card, with the front matter that Hugging Face reads.

    Args:
        recipe: the recipe.
        results: what :func:`volseg.bundle.rendering.build.short_results` gives.
        vendored: whether the bundle brings its own code, and no recipe.
    """
    card, name = recipe.bundle, bundle_name(recipe)
    parts = [
        _front_matter(recipe, results),
        f"# {name}\n\n{card.description}",
        _use(recipe),
        _structures(recipe),
        _results(name, recipe, results),
        _training(recipe, results, vendored=vendored),
        _data(recipe),
        _running_vendored(name) if vendored else _running(name),
        f"## Licence\n\n{licence_told(recipe)} {card.copyright.rstrip('.')}.",
    ]
    if card.citations:
        parts.append("## To be cited\n\n" + "\n".join(f"- {' '.join(line.split())}" for line in card.citations))
    changes = card.changelog or {card.version: "first version"}
    parts.append("## Changes\n\n" + "\n".join(f"- {version}: {what}" for version, what in changes.items()))
    return "\n\n".join(parts) + "\n"


def _front_matter(recipe: Recipe, results: dict[str, Any] | None) -> str:
    card = recipe.bundle
    lines = ["---"]
    if card.license is None:
        lines.append("license: unknown")
    elif card.license in _HUB:
        lines.append(f"license: {card.license.lower()}")
    else:
        lines += ["license: other", f"license_name: {json.dumps(card.license.lower())}"]
        lines.append(f"license_link: {licence_url(card.license)}")
    lines += ["library_name: monai", "pipeline_tag: image-segmentation", "tags:"]
    tags = ["monai", "volseg", "medical", "image-segmentation", "u-net", recipe.image.modality.lower()]
    lines += [f"- {json.dumps(tag)}" for tag in tags]
    if results is not None:
        lines += [
            "metrics:",
            "- dice",
            "model-index:",
            f"- name: {bundle_name(recipe)}",
            "  results:",
            "  - task:",
            "      type: image-segmentation",
            "    dataset:",
            f"      name: {json.dumps(card.data_source or 'not stated')}",
            "      type: medical",
            "    metrics:",
            "    - type: dice",
            "      name: Dice, mean of structures",
            f"      value: {results['mean']['dice']:.4f}",
        ]
    return "\n".join([*lines, "---"])


def _use(recipe: Recipe) -> str:
    card = recipe.bundle
    limits = card.limits or "Images unlike those it was trained on: other scanners, protocols, ages, diseases."
    return (
        f"## What it is for\n\n{card.intended_use}\n\n"
        f"## Where it fails\n\n{limits} Look at every mask before anything depends on it."
    )


def _structures(recipe: Recipe) -> str:
    rows = ["| value | structure |", "| --- | --- |", "| 0 | background |"]
    rows += [f"| {label.value} | {label.name} |" for label in recipe.labels.structures]
    rows += [
        f"| {', '.join(str(recipe.labels[p].value) for p in parts)} | {region} (region) |"
        for region, parts in recipe.labels.regions.items()
    ]
    image = recipe.image
    grid = (
        "the image's own spacing"
        if isinstance(image.spacing, str)
        else ("x".join("native" if isinstance(mm, str) else f"{mm:g}" for mm in image.spacing) + " mm")
    )
    told = (
        f"{image.spatial_dims}-D images ({image.modality}; channels: {', '.join(image.channels)}), seen by a "
        f"{recipe.spatial_dims}-D network at {grid}. A mask has the grid of its image: its shape and its affine."
    )
    return "## Images and structures\n\n" + told + "\n\n" + "\n".join(rows)


def _results(name: str, recipe: Recipe, results: dict[str, Any] | None) -> str:
    if results is None:
        return "## Results\n\nNot measured yet."
    count = results["count"]
    # pictures from a microscope rarely say how large a pixel is
    unit = "pixels" if recipe.image.modality == "microscopy" and isinstance(recipe.image.spacing, str) else "mm"
    rows = [f"| structure | Dice (95 % interval) | HD95 {unit} (95 % interval) | n |", "| --- | --- | --- | --- |"]
    for structure, told in results["structures"].items():
        rows.append(
            f"| {structure} | {_interval(told.get('dice'), 4)} | {_interval(told.get('hd95'), 2)} "
            f"| {told['dice'].get('n', '')} |"
        )
    where = results.get("data", f"{count['cases']} cases of {count['patients']} patients that training never saw")
    return (
        f"## Results\n\nOn {where}: Dice {results['mean']['dice']:.4f}, the mean over cases, then over structures.\n\n"
        + "\n".join(rows)
        + "\n\n"
        + _reproduced(name, results)
    )


def _reproduced(name: str, results: dict[str, Any]) -> str:
    if results.get("out_of_fold"):
        return (
            "Each case was segmented by the network that had not seen it; this bundle has seen them all, and would "
            "flatter itself on them. Trained and measured again by\n\n"
            f"```bash\nvolseg train -b {name} -d /path/to/data -o run --fold all\n```"
        )
    fold = f"--fold {results['fold']}" if "fold" in results else ""
    return "Reproduced by\n\n" + _command("evaluating", "evaluate", name, fold)


def _interval(told: dict[str, Any] | None, digits: int) -> str:
    if not told or not isinstance(told.get("mean"), int | float):
        return "-"
    low, high = told.get("low"), told.get("high")
    mean = f"{told['mean']:.{digits}f}"
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return mean
    return f"{mean} ({low:.{digits}f} to {high:.{digits}f})"


def _training(recipe: Recipe, results: dict[str, Any] | None, *, vendored: bool) -> str:
    training, optimiser = recipe.training, recipe.optimiser
    size = "x".join(map(str, training.patch))
    kind = "SGD" if isinstance(optimiser, SGD) else optimiser.kind.replace("adam", "Adam").replace("Adamw", "AdamW")
    parameters = "By its makers, not by volseg; the settings of training in its recipe are for training it anew."
    start = recipe.bundle.started_from
    if start is not None or not isinstance(recipe.network, ForeignNetwork):
        parameters = (
            f"{training.epochs} epochs of batches of {training.batch} patches of {size}; {kind}, learning rate "
            f"{optimiser.lr:g}, {optimiser.schedule}; loss: {recipe.loss.kind.replace('_', ' and ')}. "
            f"{recipe.folds.number} folds by {recipe.folds.group_by}."
        )
    if results and results.get("out_of_fold"):
        parameters += " Each network never saw the cases of its own fold; together they have seen them all."
    elif results and "fold" in results:
        parameters += " The shipped weights never saw the cases that the results are told of."
    if start is not None:
        parameters += f" It started from the weights of {start}; what those had seen, their own card says."
    sizes = ", ".join(map(str, sizes_in_words(recipe)))
    network = f"The network takes sizes of ({sizes}); volseg and `OverlapTileInferer` take images of any size."
    every = "" if vendored else " `configs/recipe.yaml` has every setting."
    more = f"\n\n{results['training']}" if results and "training" in results else ""
    return f"## Training\n\n{parameters}{every}{more}\n\n{network}"


def _data(recipe: Recipe) -> str:
    card = recipe.bundle
    told = f"{card.data_source or 'Not stated'}; licence: {card.data_license or 'not stated'}."
    return f"## Data\n\n{told} None of the data are in this bundle."


def _running(name: str) -> str:
    return "\n\n".join(
        [
            "## How to run it",
            "Masks for a folder of images, one for each, through MONAI (`$B` is this bundle's folder):",
            _command("inference", "inference", name),
            "or through volseg, which reads only `configs/recipe.yaml` and `models/model.safetensors`, and executes "
            "nothing that a bundle brings:",
            f"```bash\nvolseg predict -i images/ -o masks/ -b {name}\n```",
            "Train it anew, on the same or other data (`configs/overlays/` has changes to add to the list of files, "
            "such as `gpu_amp.json`):",
            _command("training", "train", name),
        ]
    )


def _running_vendored(name: str) -> str:
    return "\n\n".join(
        [
            "## How to run it",
            "With MONAI, pytorch-ignite, nibabel and fire installed; the code it needs is in this bundle. Masks for a "
            "folder of NIfTI images, one for each (several channels: `CASE_0000.nii.gz`, `CASE_0001.nii.gz`, …):",
            f"```bash\nB=$PWD/{name}\npython -m monai.bundle run inference --config_file $B/configs/inference.json "
            "--bundle_root $B \\\n  --dataset_dir /path/to/images --output_dir $PWD/out\n```",
            "Images are read by MONAI's NibabelReader, which takes files that volseg refuses (damaged ones, headers "
            'that contradict themselves) and knows nothing of values that stand for "not measured".',
        ]
    )


def _command(run: str, config: str, name: str, more: str = "") -> str:
    tail = f" {more}" if more else ""
    return (
        f"```bash\nB=$PWD/{name} D=/path/to/data O=$PWD/out\n"
        f"python -m monai.bundle run {run} --config_file $B/configs/{config}.json --bundle_root $B \\\n"
        f"  --data_dir $D --output_dir $O{tail}\n```"
    )
