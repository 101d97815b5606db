"""Work shared by the processes that torchrun started: joining them, and putting their results together."""

from __future__ import annotations

import os
from typing import TypeVar

import ignite.distributed as idist
import torch
import torch.distributed as dist

T = TypeVar("T")


def join() -> None:
    """Join the other processes, if there are any."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        idist.initialize("nccl" if torch.cuda.is_available() else "gloo")


def first() -> bool:
    """Whether this is the process that writes what all of them found.

    >>> first()
    True
    """
    return not dist.is_initialized() or dist.get_rank() == 0


def gathered(own: list[T]) -> list[T]:
    """Every process's items, in all of them.

    >>> gathered([1, 2])
    [1, 2]
    """
    if not dist.is_initialized():
        return own
    parts: list[list[T] | None] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, own)
    return [item for part in parts for item in part or ()]


def leave() -> None:
    """Part from the other processes."""
    if dist.is_initialized():
        dist.barrier()
        idist.finalize()
