"""The folder of a run: what lies where, and what is remembered of how it began."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from volseg.engine.starting import Start
from volseg.errors import UsageError, VolsegError, WriteError
from volseg.io.atomic import atomic_write, refusal, write_bytes, write_json, write_text
from volseg.io.locks import lock
from volseg.recipe import Recipe, dump_recipe, load_recipe

# keys that a resumed run may change: none of them touches what is learnt, but for bits where cases are kept by a GPU
_FREE = (
    "training.time_limit",
    "training.workers",
    "training.cache",
    "training.keep_checkpoints",
    "tracking",
    "bundle",
    "postprocessing",
    "inference.max_memory",
    "inference.tile",
    "inference.tta",
)
# where a file of weights has what is told of them
_TOLD = "volseg"


class RunError(VolsegError, ValueError):
    """A run that cannot be gone on with."""


@dataclass(frozen=True)
class RunFolder:
    """``RUN/``: ``recipe.yaml``, ``folds.json``, ``run.json``, ``log.jsonl``, ``metrics.csv``, ``curves.png``,
    ``checkpoints/``, ``models/``, ``pictures/``, ``cache/``, and an empty ``lock``.
    """

    path: Path

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def folds(self) -> Path:
        return self.path / "folds.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def models(self) -> Path:
        return self.path / "models"

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    @property
    def begun(self) -> bool:
        """Whether a run was begun here."""
        return (self.path / "run.json").exists()

    def make(self) -> None:
        """Create it.

        Raises:
            UsageError: if something else lies there.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UsageError("is a file, not a folder for a run", where=self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(f"the folder cannot be made ({error.strerror})", where=self.path) from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have it for one training alone, until that ends or is killed; a file system without locks lets all in.

        Raises:
            RunError: if another process trains in it.
        """
        self.make()
        try:
            file = (self.path / "lock").open("a")
        except OSError as error:
            raise refusal(error, self.path) from error
        with file:
            # not inherited: workers that outlive a killed training do not keep it
            if lock(file.fileno(), inherited=False) is False:
                raise RunError(
                    "another training is at work here", where=self.path, mend="wait for it, or name another folder"
                )
            yield

    def remember(self, recipe: Recipe, facts: Mapping[str, Any]) -> None:
        """Write the recipe, and what else a resumed run must keep to; from then on the run is begun."""
        write_text(self.recipe, dump_recipe(recipe))
        write_json(self.path / "run.json", dict(facts))

    def update(self, recipe: Recipe) -> None:
        """Take over what a resumed run may change, so that its bundle has it."""
        text = dump_recipe(recipe)
        if self.recipe.read_text() != text:
            write_text(self.recipe, text)

    def facts(self) -> dict[str, Any]:
        """What :meth:`remember` wrote."""
        try:
            found: dict[str, Any] = json.loads((self.path / "run.json").read_text())
        except (OSError, ValueError) as error:
            raise RunError("is damaged", where=self.path / "run.json", mend="begin the run anew") from error
        return found

    def require_same(self, recipe: Recipe) -> None:
        """Refuse a recipe other than the one that the run was begun with, but for keys that change nothing learnt.

        Raises:
            RunError: naming the keys.
        """
        before, now = flat(load_recipe(self.recipe).to_dict()), flat(recipe.to_dict())
        changed = [
            key
            for key in sorted({*before, *now})
            if before.get(key) != now.get(key) and not any(key == f or key.startswith(f + ".") for f in _FREE)
        ]
        if changed:
            raise RunError(
                f"the recipe has changed since the run began: {', '.join(changed[:6])}"
                + (" …" if len(changed) > 6 else ""),
                where=self.path,
                mend="go on with the recipe in it, or begin a new run",
            )

    def settle_start(self, given: Start | None, *, begun: bool, resume: bool, write: bool = True) -> Start | None:
        """What a run starts from: as before if it goes on, else what is given, which is kept here from now on.

        Args:
            given: weights that were named; none were, or random ones are meant.
            begun: whether the run has begun.
            resume: whether it is to go on.
            write: whether this process writes.

        Raises:
            RunError: if a run that has begun started from something else.
        """
        kept = self._kept_start() if begun or resume else None
        if not begun:
            start = given or kept
            if write:
                self._keep_start(start)
            return start
        before = load_recipe(self.recipe).bundle.started_from
        if kept is None and before is not None:
            raise RunError("is missing", where=self._start, mend="bring it back, or begin the run anew")
        if given is not None and (kept is None or kept.sha256 != given.sha256):
            raise RunError(
                f"the run started from {'random weights' if before is None else f'other weights, of {before}'}",
                where=self.path,
                mend="go on without naming weights to start from, or begin a new run",
            )
        return kept

    @property
    def _start(self) -> Path:
        return self.models / "start.safetensors"

    def _keep_start(self, start: Start | None) -> None:
        if start is None:
            self._start.unlink(missing_ok=True)
        else:
            self.write_weights("start", start.weights, bundle=start.name, sha256=start.sha256)

    def _kept_start(self) -> Start | None:
        if not self._start.exists():
            return None
        try:
            told = told_of_weights(self._start)
            return Start(told["bundle"], told["sha256"], load_file(self._start))
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise RunError("is damaged", where=self._start, mend="bring it back, or begin the run anew") from error

    def write_weights(self, name: str, weights: Mapping[str, Tensor], **told: str) -> None:
        """Write weights as ``models/NAME.safetensors``, and in it what is told of them."""
        self.models.mkdir(parents=True, exist_ok=True)
        # under one key: safetensors writes several in an order of its own each time
        metadata = {_TOLD: json.dumps(told, sort_keys=True)}
        write_bytes(self.models / f"{name}.safetensors", save(plain_weights(weights), metadata=metadata))

    def write_state(self, weights: Mapping[str, Tensor]) -> None:
        """Write weights as ``models/model.pt``, the plain state dict that MONAI reads."""
        self.models.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.models / "model.pt") as file:
            torch.save(plain_weights(weights), file)


def told_of_weights(path: Path) -> dict[str, str]:
    """What a training told of the weights that it left in a safetensors file; nothing where it was none of ours."""
    with safe_open(path, "pt") as file:
        told: dict[str, str] = json.loads((file.metadata() or {}).get(_TOLD, "{}"))
    return told


def plain_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights on the CPU, in the plain layout, each with memory of its own."""
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in weights.items()}


def flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots.

    >>> flat({"a": {"b": 1}, "c": [2]})
    {'a.b': 1, 'c': [2]}
    """
    found: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
