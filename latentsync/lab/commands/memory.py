"""How much memory a model takes at a resolution, a window and a precision, reckoned from shapes: nothing is computed.

latentsync memory --unet_config_path stage2_512 --width 256 512 --num_frames 8 16 --dtype bfloat16 float32

The UNet and the SD-VAE are built and run on tensors that have shapes and no numbers; what is alive at once is added up.
"""

import argparse
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

import torch
from diffusers import AutoencoderKL
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from latentsync.checkpoints.model import SD_VAE
from latentsync.checkpoints.unet import read_unet_config
from latentsync.config import DTYPES, SamplerOptions, VideoOptions
from latentsync.constants import LATENT_PX
from latentsync.device import named_dtype
from latentsync.errors import LatentSyncError
from latentsync.generation.denoise import is_guided
from latentsync.generation.latents import frames_at_once
from latentsync.lab.options.schema import ModelConfig
from latentsync.unet.model import UNet3DConditionModel

GIB = 2**30
AUDIO_STATES = 50  # of a video frame, by Whisper tiny


@dataclass(frozen=True)
class Memory:
    """Bytes of the weights, and the most that one call holds beside them."""

    weights: int
    unet_call: int
    vae_call: int

    @property
    def peak(self) -> int:
        """What UNet and VAE need together: they take turns, and their weights stay."""
        return self.weights + max(self.unet_call, self.vae_call)


class _LiveBytes(TorchDispatchMode):
    """Counts the storages that operations make, until they are freed."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[int] = set()
        self.now = self.peak = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        inputs = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if torch.is_tensor(leaf)}
        for leaf in tree_leaves(made):
            if torch.is_tensor(leaf) and leaf.untyped_storage()._cdata not in inputs | self._seen:
                self._count(leaf.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._seen.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._freed, key, size)

    def _freed(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size


def peak_bytes(call: Callable[[], object]) -> int:
    """The most bytes that a call holds in tensors it made itself; tensors may be fake ones."""
    with torch.no_grad(), _LiveBytes() as live:
        call()
    return live.peak


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def published_memory(config: dict, size_px: int, num_frames: int, dtype: torch.dtype, guided: bool = True) -> Memory:
    """What a UNet of the configuration and the SD-VAE need for one window.

    Args:
        config: the `model:` part of a published configuration.
        size_px: side of the aligned crop, a multiple of 8.
        guided: whether the UNet sees the window twice, with and without audio.
    """
    batch, side, at_once = 1 + guided, size_px // LATENT_PX, min(num_frames, frames_at_once(size_px))
    with FakeTensorMode(), _default_dtype(dtype):
        unet, vae = UNet3DConditionModel.from_config(config), AutoencoderKL.from_config(SD_VAE)
        sample = torch.zeros(batch, unet.config.in_channels, num_frames, side, side)
        audio = torch.zeros(batch, num_frames, AUDIO_STATES, unet.config.cross_attention_dim)
        pixels, latents = (torch.zeros(at_once, *shape) for shape in ((3, size_px, size_px), (4, side, side)))
        weights = sum(p.nbytes for network in (unet, vae) for p in network.state_dict().values())
        return Memory(
            weights,
            peak_bytes(lambda: unet(sample, 0, audio)),
            max(peak_bytes(lambda: vae.encode(pixels)), peak_bytes(lambda: vae.decode(latents))),
        )


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="latentsync memory", description="Reckon the memory of a published model from shapes."
    )
    parser.add_argument("--unet_config_path", default="stage2_512", help="a name of conf/unet, or a file")
    parser.add_argument("--width", type=int, nargs="+", default=[256, 512], help="of the aligned crop, in px")
    parser.add_argument("--num_frames", type=int, nargs="+", default=[8, 16], help="of a window")
    parser.add_argument("--dtype", nargs="+", default=["bfloat16", "float32"], choices=DTYPES)
    parser.add_argument("--guidance_scale", type=float, default=1.5, help="at 1 a step takes half of the batch")
    told = parser.parse_args(arguments)
    try:
        model = ModelConfig(pretrained=None, inference_ckpt_path="any", unet_config_path=told.unet_config_path)
        config = read_unet_config(model.unet_config_file)["model"]
        print("dtype      width  num_frames  weights  UNet call  VAE call  together (GiB)")
        for dtype, width, num_frames in product(told.dtype, told.width, told.num_frames):
            VideoOptions(width=width), SamplerOptions(num_frames=num_frames)
            found = published_memory(config, width, num_frames, named_dtype(dtype), is_guided(told.guidance_scale))
            sizes = (size / GIB for size in (found.weights, found.unet_call, found.vae_call, found.peak))
            print("{:<9} {:>6} {:>11} {:>8.2f} {:>10.2f} {:>9.2f} {:>9.2f}".format(dtype, width, num_frames, *sizes))
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
