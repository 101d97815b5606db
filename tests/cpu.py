"""A processor other than the one at hand."""

from __future__ import annotations

import pytest
import torch


def with_bfloat16(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    """PyTorch says that the processor has instructions for bfloat16, or has none; what it computes stays the same."""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: has)
