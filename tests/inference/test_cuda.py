"""Inference on a CUDA device."""

from __future__ import annotations

import pytest
import torch

from volseg.inference.pieces import stream_logits

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(autouse=True)
def _exact():
    """No TensorFloat: the one pass and the slabs compute in float32."""
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


def test_slabs_on_the_device_give_the_one_pass(unet):
    """Logits of forced slabs differ from the device's own pass by float32's roundings, labels by ties alone."""
    network = unet(3, channels=(16, 32, 64)).cuda()
    x = torch.randn(1, 96, 64, 64, device="cuda")
    with torch.inference_mode():
        reference = network(x[None])[0]
    for rows in (4, 16, 96):
        logits = torch.cat([y for _, y in stream_logits(x, network, tile=(rows, 64, 64), axis=0)], dim=1)
        difference = (logits - reference).abs().max()
        assert difference <= 5e-6 * reference.abs().max()
        first, second = reference.topk(2, dim=0).values
        assert not ((logits.argmax(0) != reference.argmax(0)) & (first - second > 2 * difference)).any()


def test_a_quarter_of_the_devices_memory_suffices(unet):
    """With the process held to a quarter of what one pass takes the case completes, with the same labels."""
    network = unet(3, channels=(16, 32, 64)).cuda()
    x = torch.randn(1, 192, 128, 128, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    with torch.inference_mode():
        reference = network(x[None])[0]
    top = reference.topk(2, dim=0)
    labels, sure = top.indices[0].cpu(), (top.values[0] - top.values[1] > 1e-4).cpu()
    need = torch.cuda.max_memory_allocated()
    del reference, top
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(need / 4 / total)
    try:
        found = torch.cat([y.argmax(0).cpu() for _, y in stream_logits(x, network, tile=192, axis=0)])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert torch.equal(found[sure], labels[sure])
