"""Seamless inference within a memory contract.

``OverlapTileInferer`` stands in for MONAI's sliding windows; ``stream_logits`` gives the same logits piece by piece.
Both are loaded when they are first asked for, so that the arithmetic beside them needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from volseg.later import later

if TYPE_CHECKING:
    from volseg.inference.overlap_tile import OverlapTileInferer
    from volseg.inference.pieces import stream_logits

__all__ = ["OverlapTileInferer", "stream_logits"]

__getattr__ = later(
    __name__,
    {"OverlapTileInferer": "volseg.inference.overlap_tile", "stream_logits": "volseg.inference.pieces"},
)
