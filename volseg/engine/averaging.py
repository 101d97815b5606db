"""A running average of the weights: steadier than the last step's, and often better."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """An exponential average of a network's weights and statistics.

    The decay grows with the steps up to ``decay``, so that the random start is forgotten.
    """

    def __init__(self, network: nn.Module, decay: float = 0.999) -> None:
        self.decay = decay
        self.steps = 0
        self._weights = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take the network's present weights into the average."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in network.state_dict().items():
            mine = self._weights[name]
            if mine.dtype.is_floating_point:
                mine.lerp_(value.to(mine.dtype), 1 - decay)
            else:
                mine.copy_(value)  # counters are not averaged

    @contextmanager
    def worn_by(self, network: nn.Module) -> Iterator[None]:
        """The network with averaged weights, for a while; its own come back whatever happens."""
        own = {name: value.detach().clone() for name, value in network.state_dict().items()}
        network.load_state_dict(self._weights)
        try:
            yield
        finally:
            network.load_state_dict(own)

    def tensors(self) -> list[Tensor]:
        """The averaged weights themselves."""
        return list(self._weights.values())

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights, a copy."""
        return {name: value.clone() for name, value in self._weights.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "weights": self.weights()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.steps = int(state["steps"])
        for name, value in state["weights"].items():
            self._weights[name].copy_(value)
