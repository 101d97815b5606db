"""A volume in, a mask on its own grid out: preparation, network, decision, post-processing, each a step of its own.

The steps are apart so that a run over many cases can read and write some while the network is busy with another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from volseg.errors import MemoryLimitError
from volseg.geometry import Grid
from volseg.inference.arithmetic import Precision, possible
from volseg.inference.exhausted import VolumeTooLarge
from volseg.inference.memory import available, parse_bytes
from volseg.inference.pieces import device_of, needed_bytes, stream_logits
from volseg.inference.planner import libraries
from volseg.inference.postprocessing import Steps, postprocess
from volseg.inference.signs import Signs
from volseg.inference.stream import Decided, Decision, Piece, decide
from volseg.inference.tta import Turn, averaged, turned, watched
from volseg.inference.windows import Windows
from volseg.io.volume import Volume
from volseg.labels import Labels
from volseg.transforms.preparation import Preparation, Prepared
from volseg.transforms.regrid import Order


@dataclass(frozen=True, eq=False)
class Prediction:
    """A mask on the grid of the image it was made for.

    Attributes:
        labels: in the image's own axis order.
        grid: the image's grid.
        probabilities: (channels, *grid.shape) in steps of 1/255, where they were asked for.
        seconds: how long each step took.
    """

    labels: npt.NDArray[np.unsignedinteger]
    grid: Grid
    probabilities: npt.NDArray[np.uint8] | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)


class Predictor:
    """Trained networks and how their logits become a mask; ready for any number of volumes.

    Args:
        networks: one, or several whose probabilities are averaged; in evaluation mode, on the device they run on.
        preparation: how images are brought to what the networks were trained on.
        decision: how channels become label values.
        labels: what the values mean.
        turns: symmetries to average over, the identity among them; none for one plain pass.
        order: how logits get to the image's grid.
        steps: post-processing by structure or region.
        max_memory: the peak above the loaded networks and the input volume; none for what the machine has left.
        tile: the size of pieces, instead of what the memory suggests.
        blend: overlapping windows instead of exact pieces.
        precision: of the networks' arithmetic; float32 where the device lacks it.
        watched: whether signs of how far a mask can be trusted are counted while it is made.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        preparation: Preparation,
        decision: Decision,
        labels: Labels,
        *,
        turns: Sequence[Turn] = (),
        order: Order = "linear",
        steps: Mapping[str, Steps] | None = None,
        max_memory: str | int | None = None,
        tile: Sequence[int] | None = None,
        blend: bool | Windows = False,
        precision: Precision = "float32",
        watched: bool = False,
    ) -> None:
        self.preparation = preparation
        self.labels = labels
        self.order: Order = order
        self.steps = dict(steps or {})
        self.networks, self.turns = len(networks), len(turns) or 1
        self.members = [turned(network, turn) for network in networks for turn in turns] or list(networks)
        self.of_logits = decision
        self.decision = decision if len(self.members) == 1 else replace(decision, given="probabilities")
        self.max_memory = None if max_memory is None else parse_bytes(max_memory)
        self.tile = tile
        self.blend = blend
        self.precision = possible(precision, self._device)
        self.watched = watched

    def needs(self, grid: Grid, channels: int) -> int | None:
        """The bytes that the networks are expected to take for an image, above themselves and the image.

        None where nobody counts them: for overlapping windows.

        Args:
            grid: of the image as it is stored.
            channels: how many images a case has.

        Raises:
            MemoryLimitError: if that is more than ``max_memory``, whatever the way of working.
        """
        shape = (channels, *self.preparation.grids(grid)[1].shape)
        with self._told_of_all():
            return self._needs(shape, self._limit(shape))

    def prepare(self, channels: Sequence[Volume]) -> Prepared:
        """What the networks see of a case."""
        return self.preparation.image(channels)

    def decide(self, prepared: Prepared, *, keep_probabilities: bool = False) -> Decided:
        """The labels on the image's grid, its axes still turned as the networks see them."""
        signs = Signs(self.of_logits, self.labels, self.networks, self.turns) if self.watched else None
        with self._told_of_all():
            decided = decide(
                self._pieces(prepared, signs),
                prepared.grid.shape,
                self.decision,
                onto=prepared.turn.target.shape,
                order=self.order,
                back=prepared.back,
                keep_probabilities=keep_probabilities,
            )
        if signs is None:
            return decided
        return replace(decided, signs=signs.told(decided.labels, prepared.turn.target.voxel_volume))

    def finish(self, prepared: Prepared, decided: Decided) -> Prediction:
        """The mask as the image was stored."""
        back = prepared.turn.inverse()
        labels = back.apply(decided.labels)
        if self.steps:
            labels = postprocess(labels, self.steps, self.labels, back.target)
        shares = decided.probabilities
        return Prediction(
            np.ascontiguousarray(labels),
            back.target,
            None if shares is None else np.ascontiguousarray(back.apply(shares)),
        )

    def __call__(self, channels: Sequence[Volume], *, keep_probabilities: bool = False) -> Prediction:
        """The mask of one case."""
        started = perf_counter()
        prepared = self.prepare(channels)
        ready = perf_counter()
        decided = self.decide(prepared, keep_probabilities=keep_probabilities)
        done = perf_counter()
        prediction = self.finish(prepared, decided)
        seconds = {"prepare": ready - started, "network": done - ready, "finish": perf_counter() - done}
        return Prediction(prediction.labels, prediction.grid, prediction.probabilities, seconds)

    @property
    def settings(self) -> dict[str, Any]:
        """What masks depend on beside the bundle and the image; exact pieces give the same whatever their size."""
        blend = self.blend if isinstance(self.blend, bool) else asdict(self.blend)
        told = {"blend": blend, "precision": self.precision}
        return {**told, "tile": self.tile} if blend else told

    @property
    def _how(self) -> dict[str, Any]:
        """The options of :func:`stream_logits`, but for the memory."""
        return {
            "tile": self.tile,
            "blend": self.blend,
            "precision": self.precision,
        }

    @property
    def _device(self) -> torch.device:
        return device_of(self.members[0], torch.empty(0))

    @property
    def _once(self) -> int:
        """What is part of each member's need and taken once."""
        return libraries(self._device)

    def _needs(self, shape: Sequence[int], limit: int | None) -> int | None:
        # turned copies of a network take what it takes
        each = [needed_bytes(shape, one, max_memory=limit, **self._how) for one in self.members[:: self.turns]]
        return None if None in each else sum(filter(None, each)) * self.turns - (len(self.members) - 1) * self._once

    def _limit(self, shape: Sequence[int]) -> int | None:
        """What each member may take: they pass over the volume together.

        Of a limit it is its share. Without one members that do not fit side by side share what the machine has left
        now: each would take all of it, since it plans when those before it hold nothing yet.
        """
        if len(self.members) == 1:
            return self.max_memory
        left = available(self._device) if self.max_memory is None else self.max_memory
        share = (left - self._once) // len(self.members) + self._once
        if self.max_memory is not None:
            return share
        try:
            needed = self._needs(shape, None)
            if needed is None or needed <= left:
                return None
            self._needs(shape, share)
        except MemoryLimitError:
            return None  # what is foretold errs on the safe side: it may do after all
        return share

    @contextmanager
    def _told_of_all(self) -> Iterator[None]:
        """What one member cannot do with its share of the memory, told of all of it."""
        try:
            yield
        except VolumeTooLarge as error:
            allowed = error.allowed if self.max_memory is None else self.max_memory
            raise error.for_members(len(self.members), allowed, once=self._once) from error

    def _pieces(self, prepared: Prepared, signs: Signs | None) -> Iterator[Piece]:
        limit = self._limit(prepared.image.shape)
        streams = [stream_logits(prepared.image, member, max_memory=limit, **self._how) for member in self.members]
        see = None if signs is None else signs.see
        if len(streams) > 1:
            return averaged(streams, self.of_logits, see)
        return streams[0] if see is None else watched(streams[0], self.of_logits, see)
