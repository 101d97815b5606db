"""Seamless inference within a memory contract.

``OverlapTileInferer`` stands in for MONAI's sliding windows; ``stream_logits`` gives the same logits piece by piece.
Both are loaded when they are first asked for, so that the arithmetic beside them needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from volseg.inference.overlap_tile import OverlapTileInferer
    from volseg.inference.pieces import stream_logits

__all__ = ["OverlapTileInferer", "stream_logits"]

_HOME = {"OverlapTileInferer": "volseg.inference.overlap_tile", "stream_logits": "volseg.inference.pieces"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
