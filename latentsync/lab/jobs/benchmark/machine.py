"""The machine under a benchmark: what it is, how fast it can be, and what else ran on it."""

import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, linear

from latentsync import __version__
from latentsync.lab.jobs.benchmark.work import cost_of
from latentsync.lab.jobs.doctor import memory_bytes, usable_cores

FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "bf16", "sve")
GEMM_SIDES = (2048, 4096)  # of square matrices
CONVOLUTIONS = ((320, 32), (640, 16), (1280, 8))  # channels and side of 32 images, as in the full-size UNet
IMAGES = 32
COPIED_BYTES = 2**28
PEAKS = ("gemm", "convolution")


def environment(device: torch.device) -> dict[str, Any]:
    """Processor, memory, versions and device, as JSON keeps them."""
    processor, flags = _processor()
    return {
        "processor": processor,
        "flags": [flag for flag in FLAGS if flag in flags],
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(memory_bytes() / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "latentsync": __version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def _processor() -> tuple[str, set[str]]:
    """Its name and its flags, as Linux shows them; elsewhere what Python knows."""
    path = Path("/proc/cpuinfo")
    pairs = [line.partition(":")[::2] for line in path.read_text().splitlines()] if path.exists() else []
    facts = {key.strip(): value.strip() for key, value in pairs}
    flags = facts.get("flags") or facts.get("Features") or ""
    return facts.get("model name") or platform.processor() or platform.machine(), set(flags.split())


def peak_calls(
    device: torch.device, dtypes: list[torch.dtype]
) -> Iterator[tuple[str, str, torch.dtype, Callable[[], Tensor], int]]:
    """The calls whose speed is the machine's peak.

    Yields:
        "gemm", "convolution" or "copy"; the shape; the precision; the call; its operations, or bytes of a copy.
    """
    for dtype in dtypes:
        for side in GEMM_SIDES:
            rows, weight = (torch.ones(side, side, device=device, dtype=dtype) for _ in range(2))
            yield "gemm", f"{side}^3", dtype, lambda rows=rows, weight=weight: linear(rows, weight), 2 * side**3
        for channels, side in CONVOLUTIONS:
            images = torch.ones(IMAGES, channels, side, side, device=device, dtype=dtype)
            weight = torch.ones(channels, channels, 3, 3, device=device, dtype=dtype)
            images, weight = (one.to(memory_format=torch.channels_last) for one in (images, weight))
            flops = 2 * IMAGES * side**2 * channels**2 * 9
            shape = f"{IMAGES}x{channels}x{side}x{side}"
            yield "convolution", shape, dtype, lambda a=images, b=weight: conv2d(a, b, padding=1), flops
    source = torch.ones(COPIED_BYTES, device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    yield "copy", f"{COPIED_BYTES >> 20} MiB", torch.uint8, lambda: target.copy_(source), 2 * COPIED_BYTES


def measure_peaks(device: torch.device, dtypes: list[torch.dtype], repeats: int = 3) -> list[dict[str, Any]]:
    """The speed of each of `peak_calls` in one round, the best of a few repeats, in 1e9 operations (bytes) a second."""
    rates = []
    for kind, shape, dtype, call, work in peak_calls(device, dtypes):
        cost_of(call, device)
        seconds = min(cost_of(call, device).seconds for _ in range(repeats))
        rates.append({"kind": kind, "shape": shape, "dtype": str(dtype).removeprefix("torch."), "rate": work / seconds})
    return rates


class OtherJobs:
    """How busy other processes keep the cores, from its making to `share`. Linux only."""

    def __init__(self) -> None:
        self._at, self._start = time.perf_counter(), self._busy_seconds()

    def share(self) -> float | None:
        """The share of all cores that other processes took; None where the system does not say."""
        now = self._busy_seconds()
        if self._start is None or now is None:
            return None
        elapsed = (time.perf_counter() - self._at) * (os.cpu_count() or 1)
        return min(1.0, max(0.0, (now - self._start) / elapsed))

    @staticmethod
    def _busy_seconds() -> float | None:
        """Seconds of work of all cores, without this process's."""
        path = Path("/proc/stat")
        if not path.exists():
            return None
        user, nice, system, _, _, irq, soft = map(int, path.read_text().split()[1:8])
        return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK") - time.process_time()
