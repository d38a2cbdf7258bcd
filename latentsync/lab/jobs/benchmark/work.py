"""What one call costs: seconds, memory, and the operations and bytes that it takes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

FIRST_OF_ATTENTION = 3  # arguments: queries, keys, values
CLEAR_PEAK = "5"  # what Linux takes for "begin the peak anew" in /proc/self/clear_refs


class WorkCount(TorchDispatchMode):
    """Counts the operations of matrix products, convolutions and attention, and the bytes of all tensors in and out.

    Attributes:
        flops: a multiplication and an addition are two.
        bytes: read and written, if nothing stays in a cache between two operations.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.bytes = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        result = operation(*args, **kwargs)
        packet = operation._overloadpacket
        if packet in flop_registry:
            self.flops += flop_registry[packet](*args, **kwargs, out_val=result)
        elif packet is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu:
            self.flops += sdpa_flop_count(*(one.shape for one in args[:FIRST_OF_ATTENTION]))
        if not operation.is_view:
            tensors = (leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor))
            self.bytes += sum(leaf.numel() * leaf.element_size() for leaf in tensors)
        return result


@dataclass(frozen=True)
class Cost:
    """Of one call.

    Attributes:
        seconds: by the clock.
        cpu_seconds: of all threads of the process.
        peak_bytes: the most memory that the process held meanwhile, or that its tensors held on a GPU; None where the
            system does not say.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int | None


def cost_of(call: Callable[[], object], device: torch.device) -> Cost:
    """Runs a call once, without gradients, and waits for the device."""
    _clear_peak(device)
    _finish(device)
    start, cpu_start = time.perf_counter(), time.process_time()
    with torch.no_grad():
        call()
    _finish(device)
    return Cost(time.perf_counter() - start, time.process_time() - cpu_start, _peak_bytes(device))


def work_of(call: Callable[[], object]) -> WorkCount:
    """Runs a call once, without gradients, and counts."""
    with torch.no_grad(), WorkCount() as count:
        call()
    return count


def busy_share(call: Callable[[], object], device: torch.device) -> float | None:
    """The share of a call's time in which a GPU computes; None on other devices."""
    if device.type != "cuda":
        return None
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        seconds = cost_of(call, device).seconds
    return min(1.0, sum(event.self_device_time_total for event in profiled.key_averages()) / 1e6 / seconds)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _clear_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif (switch := Path("/proc/self/clear_refs")).exists():
        try:
            switch.write_text(CLEAR_PEAK)
        except OSError:  # where the system forbids it, the peak is that since the process began
            return


def _peak_bytes(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
