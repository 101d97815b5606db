"""One volume through one network: our pieces, one pass, the windows of MONAI, TorchIO, nnU-Net; time and memory."""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.frame import attempt, computes, record

CHANNELS = (16, 32, 64, 128)
WINDOW = 96
PEERS = ("monai", "monai, allocator set", "monai, batch of 4", "monai, batch of 4, allocator set", "torchio", "nnunet")


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks inference", description=__doc__)
    parser.add_argument("--size", type=int, nargs="+", default=[192, 384], help="edge of the volume; 192 and 384")
    parser.add_argument("--repeats", type=int, help="the best of so many; 3, or 2 where each takes minutes")
    parser.add_argument("--only", nargs="*", help="parts of contenders' names")
    parser.add_argument("--without", nargs="*", default=[], help="parts of the names of contenders that are left out")
    options = parser.parse_args(argv)
    for size in options.size:
        table = compare(size, options.repeats or (3 if size <= 256 else 2), options.only, options.without)
        show(table)
        fastest = min((table[p]["seconds"] for p in PEERS if p in table), default=None)
        ratios = {}
        for name, row in table.items():
            if name.startswith("volseg"):
                ratios[name] = {
                    peer: round(table[peer]["seconds"] / row["seconds"], 2) for peer in table if peer != name
                }
                for peer, ratio in ratios[name].items():
                    print(f"{name} is {ratio} times as fast as {peer}")
        record(
            f"inference_{size}",
            work=f"3-D U-Net {CHANNELS}, batch norm, padded, float32 where not said; {size}^3 voxels",
            ours={k: v for k, v in table.items() if k.startswith("volseg")},
            peer={k: v for k, v in table.items() if not k.startswith("volseg")},
            ratio=ratios,
            packages=("torchio", "nnunetv2"),
            fastest_peer_seconds=fastest,
        )
    return 0


def compare(
    size: int, repeats: int, only: Sequence[str] | None = None, without: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """Every contender in a process of its own."""
    ways: dict[str, dict[str, Any]] = {
        "volseg": {"way": "ours"},
        "volseg, a third of one pass": {"way": "ours", "share": 3},
        "volseg, a sixth of one pass": {"way": "ours", "share": 6},
        "volseg, bfloat16": {"way": "ours", "precision": "bf16"},
        "one pass": {"way": "whole"},
        "one pass, allocator set": {"way": "whole", "keep": True},
        "one pass, allocator set, channels last": {"way": "whole", "keep": True, "channels_last": True},
        "monai": {"way": "monai"},
        "monai, allocator set": {"way": "monai", "keep": True},
        "monai, batch of 4": {"way": "monai", "batch": 4},
        "monai, batch of 4, allocator set": {"way": "monai", "keep": True, "batch": 4},
        "torchio": {"way": "torchio"},
        "nnunet": {"way": "nnunet"},
    }
    best_pass: int | None = None
    table: dict[str, dict[str, Any]] = {}
    order = sorted(ways, key=lambda name: not name.startswith("one pass"))
    for name in order:
        if (only and not any(part in name for part in only)) or any(part in name for part in without):
            continue
        if not computes(ways[name].get("precision", "float32"), "cpu"):
            print(f"{name}: not measured, the processor has no instructions for it")
            continue
        if name in ("torchio", "nnunet") and find_spec(_PACKAGES[name]) is None:
            print(f"{name}: not measured, {_PACKAGES[name]} is not installed")
            continue
        arguments = dict(ways[name])
        share = arguments.pop("share", None)
        if share is not None:
            if best_pass is None:
                continue
            arguments["max_memory"] = best_pass // share
        if not attempt(table, name, "benchmarks.inference", "measure", size=size, repeats=repeats, **arguments):
            continue
        if name.startswith("one pass"):
            best_pass = min(best_pass or table[name]["peak"], table[name]["peak"])
    return table


def measure(
    way: str,
    size: int,
    repeats: int,
    keep: bool = False,
    channels_last: bool = False,
    batch: int = 1,
    precision: str = "float32",
    max_memory: int | None = None,
    classes: int = 3,
    shape: list[int] | None = None,
) -> dict[str, Any]:
    """Best time and peak resident memory above the loaded model and input, of one contender in this process."""
    import torch

    from volseg.inference import allocator

    if keep:
        allocator.keep_large_blocks()
    network = make_network(classes)
    torch.manual_seed(1)
    volume = torch.randn(1, 1, *(shape or [size] * 3))
    work = _WAYS[way](network, volume, batch=batch, channels_last=channels_last, precision=precision, budget=max_memory)
    base = reset_peak()
    seconds, processor, digest = [], [], ""
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        labels = work()
        seconds.append(time.perf_counter() - wall)
        processor.append(time.process_time() - cpu)
        digest = hashlib.sha256(labels.numpy().tobytes()).hexdigest()[:12]
    return {
        "seconds": round(min(seconds), 3),
        "cpu_seconds": round(min(processor), 3),
        "peak": peak() - base,
        "labels": digest,
    }


def make_network(classes: int) -> Any:
    import torch

    from volseg.networks.unet import UNet

    torch.manual_seed(0)
    return UNet(3, 1, classes, channels=CHANNELS).eval()


def reset_peak() -> int:
    """Forget the peak so far; the resident size now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> int:
    return _status("VmHWM")


def show(table: dict[str, dict[str, Any]]) -> None:
    for name, row in table.items():
        print(f"{name:42} {row['seconds']:9.2f} s {row['cpu_seconds']:9.2f} s cpu {row['peak'] / 2**30:7.2f} GiB")


def _status(key: str) -> int:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(key))
    return int(line.split()[1]) * 1024


def _ours(network: Any, volume: Any, *, precision: str, budget: int | None, **_: Any) -> Callable[[], Any]:
    import torch

    from volseg.inference.pieces import stream_logits
    from volseg.inference.stream import Decision, decide

    decision = Decision(tuple(range(network.out_channels)))

    def work() -> Any:
        pieces = stream_logits(volume[0], network, max_memory=budget, precision=precision)  # type: ignore[arg-type]
        return torch.from_numpy(decide(pieces, volume.shape[2:], decision).labels)

    return work


def _whole(network: Any, volume: Any, *, channels_last: bool, **_: Any) -> Callable[[], Any]:
    import torch

    layout = torch.channels_last_3d if channels_last else torch.contiguous_format
    network = network.to(memory_format=layout)

    def work() -> Any:
        with torch.inference_mode():
            return network(volume.contiguous(memory_format=layout)).argmax(1).to(torch.uint8)[0]

    return work


def _monai(network: Any, volume: Any, *, batch: int, **_: Any) -> Callable[[], Any]:
    import torch
    from monai.inferers import SlidingWindowInferer

    inferer = SlidingWindowInferer((WINDOW,) * 3, sw_batch_size=batch, overlap=0.5, mode="gaussian")

    def work() -> Any:
        with torch.inference_mode():
            return inferer(volume, network).argmax(1).to(torch.uint8)[0]

    return work


def _torchio(network: Any, volume: Any, *, batch: int, **_: Any) -> Callable[[], Any]:
    import torch
    import torchio

    def work() -> Any:
        subject = torchio.Subject(image=torchio.ScalarImage(tensor=volume[0]))
        sampler = torchio.inference.GridSampler(subject, WINDOW, WINDOW // 2)
        aggregator = torchio.inference.GridAggregator(sampler, overlap_mode="hann")
        with torch.inference_mode():
            for patches in torchio.SubjectsLoader(sampler, batch_size=batch):
                aggregator.add_batch(network(patches["image"][torchio.DATA]), patches[torchio.LOCATION])
        return aggregator.get_output_tensor().argmax(0).to(torch.uint8)

    return work


def _nnunet(network: Any, volume: Any, **_: Any) -> Callable[[], Any]:
    """nnU-Net's predictor with its default step of half a window, Gaussian weights and no mirroring."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        tile_step_size=0.5,
        use_gaussian=True,
        use_mirroring=False,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predictor.network = network

    class Windows:
        patch_size = (WINDOW,) * 3

    class Labels:
        num_segmentation_heads = network.out_channels

    predictor.configuration_manager, predictor.label_manager = Windows(), Labels()

    def work() -> Any:
        logits = predictor.predict_sliding_window_return_logits(volume[0])
        return logits.argmax(0).to(torch.uint8).cpu()

    return work


_PACKAGES = {"torchio": "torchio", "nnunet": "nnunetv2"}
_WAYS: dict[str, Callable[..., Callable[[], Any]]] = {
    "ours": _ours,
    "whole": _whole,
    "monai": _monai,
    "torchio": _torchio,
    "nnunet": _nnunet,
}
