"""What inference saves against the original's algorithm without changing a result, each as a switch.

Savings act where no gradient is needed, on a network in `eval()`. So training runs the plain algorithm. Tensors keep
their names, shapes and values; only their layout in memory changes.
"""

import ctypes
import platform
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

CHANNELS_A_POSITION = 16  # with fewer for each position of a frame, a convolution beats a matrix product on a CPU
ROWS_AT_ONCE = 2048  # of tokens in the feed-forward: their hidden states stay in the processor's cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's <malloc.h>
KEPT_BYTES = 2**30  # freed blocks up to this size stay with the process
USUALLY_KEPT_BYTES = 2**25  # the same without `memory_kept`: where glibc's own threshold ends up


@dataclass(frozen=True)
class Savings:
    """Each is equal to the plain algorithm within rounding.

    Attributes:
        channels_last: on a CPU convolutions read and write channels last, so that positions are tokens without a copy.
        matrix_convolutions: on a CPU convolutions of small frames with many channels are one matrix product.
        joint_projections: queries, keys and values are made by one matrix product.
        row_blocks: on a CPU the feed-forward runs over blocks of rows that fit the cache.
        audio_once: the audio's keys and values are made once for all steps of a window.
        silent_audio: without audio, keys and values are zero, so cross-attention is its output's bias.
        shared_start: both parts of guidance share the layers before the first cross-attention.
        in_place: sums and activations replace what they are made of.
        crops_together: the VAE encodes masked and reference images in the same calls.
        memory_kept: on a CPU the process keeps large blocks of memory that it frees; see `keep_freed_memory`.
    """

    channels_last: bool = True
    matrix_convolutions: bool = True
    joint_projections: bool = True
    row_blocks: bool = True
    audio_once: bool = True
    silent_audio: bool = True
    shared_start: bool = True
    in_place: bool = True
    crops_together: bool = True
    memory_kept: bool = True

    @classmethod
    def none(cls) -> "Savings":
        """The original's algorithm."""
        return cls(**{field.name: False for field in fields(cls)})


CPU_ONLY = {"channels_last", "matrix_convolutions", "row_blocks"}


class Saving:
    """A part of a network that knows savings; a base beside `nn.Module`."""

    training: bool

    savings = Savings()

    def saves(self, name: str, like: Tensor) -> bool:
        """Whether a saving acts now, on tensors like this one."""
        if self.training or torch.is_grad_enabled() or (name in CPU_ONLY and like.device.type != "cpu"):
            return False
        return getattr(self.savings, name)


def set_savings(network: nn.Module, savings: Savings) -> None:
    """Chooses the savings of all parts of a network."""
    for module in network.modules():
        if isinstance(module, Saving):
            module.savings = savings
    lay_out_plainly(network)


# Layouts of weights


def channels_last(weight: nn.Parameter) -> Tensor:
    """The weight, which from now on lies in memory with its channels last."""
    if not weight.is_contiguous(memory_format=torch.channels_last):
        weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return weight


def joined(weights: list[nn.Parameter]) -> Tensor:
    """The weights below one another as one matrix, whose parts they are from now on.

    Nothing else refers to that matrix. If a weight has got another place since, for example on another device, the
    matrix is made again.
    """
    first = weights[0]
    if not _are_adjacent(weights):
        whole = torch.cat([weight.data for weight in weights])
        for weight, part in zip(weights, whole.split([len(weight) for weight in weights]), strict=True):
            weight.data = part
    return first.as_strided((sum(map(len, weights)), first.shape[1]), (first.shape[1], 1))


def _are_adjacent(weights: list[nn.Parameter]) -> bool:
    storages = {weight.untyped_storage()._cdata for weight in weights}
    end = weights[0].storage_offset()
    for weight in weights:
        if weight.storage_offset() != end or not weight.is_contiguous():
            return False
        end += weight.numel()
    return len(storages) == 1


def lay_out_plainly(network: nn.Module) -> None:
    """Undoes `channels_last` and `joined`: every weight lies by itself, row by row."""
    for weight in network.parameters():
        is_part = weight.untyped_storage().nbytes() != weight.nbytes
        if is_part and not weight.is_meta:
            weight.data = weight.data.clone(memory_format=torch.contiguous_format)
        elif not weight.is_contiguous():
            weight.data = weight.data.contiguous()


# Memory


def keep_freed_memory(kept: bool = True) -> None:
    """Lets the process keep large blocks that it frees, in place of getting fresh pages from the system each time.

    Without it, writing a large new tensor takes 2 to 3 times as long on a CPU. Acts where the C library is glibc.

    Args:
        kept: False returns to glibc's habit, and gives free blocks back to the system now.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    library, size = ctypes.CDLL(None), KEPT_BYTES if kept else USUALLY_KEPT_BYTES
    library.mallopt(M_MMAP_THRESHOLD, size)
    library.mallopt(M_TRIM_THRESHOLD, 2 * size - 1)
    if not kept:
        library.malloc_trim(0)
