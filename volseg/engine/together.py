"""Training on several devices: who this process is among those that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ignite.distributed as idist
import torch
import torch.distributed as dist
from torch import nn

from volseg.engine.device import device_named


@dataclass(frozen=True)
class Place:
    """Where one process trains: its device, its number, and how many there are."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def shared(self, value: Any) -> Any:
        """The first process's value, in all of them."""
        if self.world == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0, device=self.device if self.device.type == "cuda" else None)
        return held[0]

    def spread(self, network: nn.Module, *, synchronise_norms: bool = False, all_used: bool = True) -> nn.Module:
        """The network, its gradients averaged over all processes."""
        if self.world == 1:
            return network
        if synchronise_norms and self.device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=devices, find_unused_parameters=not all_used)


@contextmanager
def together(device: str = "auto") -> Iterator[Place]:
    """Join the processes that torchrun started, if it did; leave them in the end."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Place(device_named(device))
        return
    chosen = device_named(device)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    joined = dist.is_initialized()
    if not joined:
        idist.initialize("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Place(chosen, dist.get_rank(), dist.get_world_size())
    finally:
        if not joined:
            idist.finalize()
