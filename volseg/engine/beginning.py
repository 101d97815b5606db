"""What a run was begun with, written when it begins and kept to when it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from volseg.data.cohort import Case
from volseg.data.content import Content, changed_parts, contents_of, from_plain, to_plain
from volseg.data.folds import Split, make_folds, read_folds, write_folds
from volseg.engine.log import Listener
from volseg.engine.probe import Choice
from volseg.engine.run_folder import RunError, RunFolder
from volseg.engine.starting import Start, with_start
from volseg.engine.stopping import Stop
from volseg.engine.together import Place
from volseg.errors import CohortError, UsageError
from volseg.recipe import Recipe, load_recipe


class Beginning:
    """The split, the data, the first weights and the machine of a run.

    Args:
        recipe: of the run.
        folder: of the run.
        place: in which process this is.
        fold: the fold that is validated and not learnt from.
        resume: go on where the run was interrupted; begin it if it never began.
        start: what the network starts from instead of random weights; a run that goes on knows its own.
        tell: told what a user should know.

    Raises:
        UsageError: if there is a run already that is not to be resumed.
        RunError: if what is to go on is another run than the one that began.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        place: Place,
        *,
        fold: int,
        resume: bool,
        tell: Listener,
        start: Start | None = None,
    ) -> None:
        self.folder = folder
        self.place = place
        self.fold = fold
        begun = place.shared(folder.begun)
        if begun and not resume:
            raise UsageError(
                "holds a run already", where=folder.path, mend="--resume goes on with it; or name another folder"
            )
        #: what was written when the run began; none if it begins now
        self.facts: dict[str, Any] | None = place.shared(folder.facts()) if begun else None
        if self.facts is not None:
            folder.require_same(recipe)
            self._require_same_machine(self.facts, recipe, tell)
        #: what the network starts from; none is random weights. Kept before anything else is done: whatever stops the
        #: run, it goes on from the same
        self.start = folder.settle_start(start, begun=begun, resume=resume, write=place.first)
        #: the recipe, whose card says so
        self.recipe = with_start(recipe, self.start)
        if self.facts is not None and place.first:
            folder.update(self.recipe)
        if self.facts is None and self.start is not None:
            for text in self.start.notes:
                tell({"event": "note", "text": text})

    def split(self, cases: Sequence[Case]) -> Split:
        """Which cases are learnt from, validated and tested."""
        if not cases:
            raise CohortError("no case has a label map to learn from", mend="put label maps beside the images")
        folds = self.recipe.folds
        if self.facts is not None:
            splits = read_folds(self.folder.folds, cases, group_by=folds.group_by)
        else:
            splits = make_folds(
                cases, number=folds.number, seed=folds.seed, group_by=folds.group_by, stratify=folds.stratify
            )
            if self.place.first:
                write_folds(self.folder.folds, splits)
        if not 0 <= self.fold < len(splits):
            raise UsageError(f"there is no fold {self.fold}", mend=f"folds are 0 to {len(splits) - 1}")
        split = splits[self.fold]
        if not split.train:
            raise CohortError("no case is left to learn from", mend="give some cases the split 'train'")
        return split

    def contents(self, cases: Sequence[Case], stop: Stop) -> dict[str, dict[str, Content]]:
        """The fingerprints of the cases' files; those of a resumed run must not have changed."""

        def known(case: Case) -> dict[str, Content]:
            stop.check()
            return contents_of(case)

        if self.facts is None:
            found: dict[str, dict[str, Content]] = self.place.shared(
                {case.name: known(case) for case in cases} if self.place.first else None
            )
            return found
        before = from_plain(self.facts["data"])
        changed = self.place.shared(changed_parts(cases, before) if self.place.first else None)
        if changed:
            raise RunError(
                f"the data have changed since the run began: {'; '.join(changed[:5])}"
                + (f"; and {len(changed) - 5} more" if len(changed) > 5 else ""),
                where=self.folder.path,
                mend="begin a new run, or bring back the data as they were",
            )
        return before

    def chosen(self) -> tuple[Choice, Mapping[str, float]] | None:
        """The arithmetic that a run was begun with, and the timings it was chosen by; none if it begins now."""
        if self.facts is None:
            return None
        return Choice(self.facts["precision"], self.facts["channels_last"]), self.facts["probe"]

    def remember(
        self, choice: Choice, timings: Mapping[str, float], contents: Mapping[str, Mapping[str, Content]]
    ) -> None:
        """From now on the run is begun."""
        if self.facts is None and self.place.first:
            facts = {
                "fold": self.fold,
                "device": self.place.device.type,
                **choice.to_dict(),
                "probe": timings,
                "threads": torch.get_num_threads(),
                "world": self.place.world,
                "torch": str(torch.__version__),
                "data": to_plain(contents),
            }
            self.folder.remember(self.recipe, facts)

    def _require_same_machine(self, facts: Mapping[str, Any], recipe: Recipe, tell: Listener) -> None:
        if facts["world"] != self.place.world:
            raise RunError(
                f"the run was begun by {facts['world']} processes, not {self.place.world}", where=self.folder.path
            )
        if facts["fold"] != self.fold:
            raise RunError(
                f"the run is of fold {facts['fold']}, not {self.fold}", where=self.folder.path, mend="name that fold"
            )
        if facts["device"] == self.place.device.type == "cpu" and facts["threads"] != torch.get_num_threads():
            torch.set_num_threads(facts["threads"])  # sums over threads round differently with their number
        kept, cache = load_recipe(self.folder.recipe).training.cache, recipe.training.cache
        told = [
            ("device", facts["device"], self.place.device.type),
            ("torch", facts["torch"], str(torch.__version__)),
        ]
        if "device" in (kept, cache) and self.place.device.type != "cpu":  # patches are resampled where cases are kept
            told.append(("training.cache", str(kept).lower(), str(cache).lower()))
        for what, then, now in told:
            if then != now:
                text = f"the run was begun with {what} {then} and goes on with {now}: bits will differ"
                tell({"event": "note", "text": text})
