"""Predicting every case of a cross-validation by the network that did not learn from it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from volseg.bundle.load import Bundle
from volseg.bundle.state_dict import read_weights
from volseg.bundle.weights import as_safetensors, halved
from volseg.data.cohort import Case
from volseg.engine.stopping import Stop
from volseg.errors import CohortError
from volseg.inference.signs import ALONE, TOGETHER
from volseg.io.formats import PICTURES, ending
from volseg.prediction import Request, plan, run
from volseg.prediction.summary import Record
from volseg.recipe import Recipe


@dataclass(frozen=True)
class Member:
    """A network of a cross-validation, and the cases that it never saw."""

    weights: Path
    unseen: tuple[str, ...]


def predict_unseen(
    members: Sequence[Member],
    recipe: Recipe,
    cases: Mapping[str, Case],
    data: Path,
    output: Path,
    *,
    device: str = "auto",
    stop: Stop,
    tell: Callable[[str], None],
) -> dict[str, Record] | None:
    """Masks as the networks decide them, nothing cleaned up, and the signs of trust that were seen on the way.

    Args:
        members: the networks and their cases.
        recipe: that they were trained with.
        cases: by name.
        data: the folder that they lie in.
        output: gets the masks and a summary for each member; what is there and of these weights stays.
        device: where.
        stop: asked after each case.
        tell: told of each case.

    Returns:
        The record of every case, or nothing where it was to stop.

    Raises:
        CohortError: if a case cannot be predicted.
    """
    form = "png" if all(ending(case.image) in PICTURES for case in cases.values()) else "nii.gz"
    found: dict[str, Record] = {}
    total = sum(len(member.unseen) for member in members)
    for number, member in enumerate(members):
        bundle = member_bundle(recipe, [member.weights])
        predictor = bundle.predictor(device=device, raw=True)
        # a case is predicted again where other signs were seen of it
        signs = [*ALONE, *TOGETHER]
        identity = {**bundle.identity, **predictor.settings, "raw": True, "signs": signs}
        # unseen cases of each member are a part of the whole, with a summary of its own
        request = Request(data, output, format=form, part=(number, len(members)))
        work = plan(request, identity, [cases[name] for name in member.unseen])
        found |= {record.case: record for record in (*work.finished, *work.failed)}
        for outcome in run(work, predictor, recipe):
            found[outcome.record.case] = outcome.record
            tell(f"predicted {len(found)}/{total} {outcome.record.case}")
            if stop.why is not None:
                return None
    for record in found.values():
        if record.error is not None:
            raise CohortError(record.error, mend="look at the case, and go on with --resume")
    return found


def member_bundle(recipe: Recipe, weights: Sequence[Path]) -> Bundle:
    """A bundle that was never written: these weights, as one would store them."""
    first, *others = (halved(read_weights(path), path) for path in weights)
    digest = hashlib.sha256(b"".join(as_safetensors(one) for one in (first, *others))).hexdigest()
    return Bundle(recipe.bundle.name or "model", str(weights[0]), recipe, first, digest, tuple(others))
