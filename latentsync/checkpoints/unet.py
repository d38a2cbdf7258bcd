"""Tensor files -> UNet and VAE: recognises the network in a file and loads it exactly, or reports what does not fit.

Knows the names of tensors in published files, and the original's configurations.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from latentsync.errors import OptionError, WeightsError
from latentsync.unet.model import UNet3DConditionModel, published_config
from latentsync.weights.tensors import Place, StateDict, load_exactly, read_state_dict, renamed

# The UNet


@dataclass(frozen=True)
class UNetVariant:
    """The variant of a UNet checkpoint, read from the names and shapes of its tensors.

    Attributes:
        version: "1.0" (without motion modules, its own names) or "1.5/1.6" (one layout).
        motion_modules: "none", "decoder" (`stage2_efficient`) or "all".
        cross_attention_dim: 384 for Whisper tiny, 768 for small.
        block_out_channels, in_channels: of the network.
    """

    version: str
    motion_modules: str
    cross_attention_dim: int
    block_out_channels: tuple[int, ...]
    in_channels: int

    def config(self) -> dict:
        """The published configuration of this variant."""
        return {
            "use_motion_module": self.motion_modules != "none",
            "motion_module_decoder_only": self.motion_modules == "decoder",
            "cross_attention_dim": self.cross_attention_dim,
        }

    def __str__(self) -> str:
        return (
            f"LatentSync {self.version}, motion modules: {self.motion_modules}, "
            f"cross_attention_dim {self.cross_attention_dim}, channels {list(self.block_out_channels)}"
        )


def detect_unet(state_dict: StateDict, source: str) -> UNetVariant:
    """The variant of LatentSync's UNet that a state dict holds.

    Raises:
        WeightsError: it is not a LatentSync UNet.
    """
    audio_key = re.compile(r"\.(attn2|audio_cross_attn\.attn)\.to_k\.weight$")
    audio_widths = {tensor.shape[-1] for name, tensor in state_dict.items() if audio_key.search(name) and tensor.ndim}
    conv_in = state_dict.get("conv_in.weight")
    if conv_in is None or conv_in.ndim != 4 or len(audio_widths) != 1:
        raise WeightsError(
            f"{source} holds no LatentSync UNet (conv_in.weight or audio cross-attention is absent or misshapen); "
            f"give a latentsync_unet.pt"
        )
    channels = []
    while (conv := state_dict.get(f"down_blocks.{len(channels)}.resnets.0.conv1.weight")) is not None and conv.ndim:
        channels.append(conv.shape[0])
    motion_down = any(name.startswith("down_blocks") and ".motion_modules." in name for name in state_dict)
    motion_up = any(name.startswith("up_blocks") and ".motion_modules." in name for name in state_dict)
    return UNetVariant(
        version="1.0" if any(".audio_cross_attn." in name for name in state_dict) else "1.5/1.6",
        motion_modules="all" if motion_down else "decoder" if motion_up else "none",
        cross_attention_dim=audio_widths.pop(),
        block_out_channels=tuple(channels),
        in_channels=conv_in.shape[1],
    )


def rename_1_0(state_dict: StateDict, source: str = "the checkpoint") -> StateDict:
    """LatentSync 1.0's tensors under the names of 1.5 and 1.6, where norm2 and attn2 are the audio cross-attention."""

    def rename(name: str) -> str:
        return name.replace(".audio_cross_attn.norm.", ".norm2.").replace(".audio_cross_attn.attn.", ".attn2.")

    return renamed(state_dict, rename, source)


class _Yaml(yaml.SafeLoader):
    """Reads numbers in YAML as OmegaConf does: 1e-5 is a number, too. Published configurations use such numbers."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.[\d_]+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def read_unet_config(path: str | Path) -> dict:
    """A whole model configuration in the original's schema (`model:`, `data:`, `run:` ...).

    Options that are missing in the `model` part get the published value.

    Raises:
        OptionError: there is no such file, or it has no `model` part.
    """
    path = Path(path)
    if not path.is_file():
        raise OptionError(
            f"there is no UNet configuration at {path}; the published ones look like conf/unet/second_stage.yaml"
        )
    try:
        config = yaml.load(path.read_text(), _Yaml)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise OptionError(f"{path} is not a readable YAML file ({str(error).splitlines()[0]}); check it") from error
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise OptionError(
            f"{path} has no `model:` part; the published configurations look like conf/unet/second_stage.yaml"
        )
    return config


def recognise_unet(checkpoint: str | Path) -> UNetVariant:
    """The variant of the UNet in a file, from the names and shapes of its tensors; their numbers are not read.

    Raises:
        WeightsError: the file is not a LatentSync UNet.
    """
    return detect_unet(read_state_dict(checkpoint), str(checkpoint))


def load_unet(checkpoint: str | Path, config: dict | None = None, place: Place | None = None) -> UNet3DConditionModel:
    """A UNet with a checkpoint's weights, checked against a configuration.

    Args:
        checkpoint: LatentSync 1.0, 1.5 or 1.6 `.pt`, or `.safetensors`.
        config: the `model` part of a configuration in the original's schema; None takes the published one that fits
            the file's tensors.

    Raises:
        WeightsError: the file is not a LatentSync UNet, or does not fit the configuration.
    """
    state_dict = read_state_dict(checkpoint)
    variant = detect_unet(state_dict, str(checkpoint))
    if variant.version == "1.0":
        state_dict = rename_1_0(state_dict, str(checkpoint))
    kwargs = variant.config() if config is None else published_config(config)
    _check_variant(variant, kwargs, str(checkpoint))
    with torch.device("meta"):
        unet = UNet3DConditionModel(**kwargs)
    return load_exactly(unet, state_dict, str(checkpoint), place)


def _check_variant(variant: UNetVariant, kwargs: dict, source: str) -> None:
    """Compares the file's variant with the configuration, before tensors are compared one by one."""
    wanted_motion = "none"
    if kwargs.get("use_motion_module", True):
        wanted_motion = "decoder" if kwargs.get("motion_module_decoder_only", False) else "all"
    for name, value, wanted in (
        ("motion modules", variant.motion_modules, wanted_motion),
        ("cross_attention_dim", variant.cross_attention_dim, kwargs.get("cross_attention_dim", 384)),
        (
            "block_out_channels",
            list(variant.block_out_channels),
            list(kwargs.get("block_out_channels", (320, 640, 1280, 1280))),
        ),
        ("in_channels", variant.in_channels, kwargs.get("in_channels", 13)),
    ):
        if value != wanted:
            raise WeightsError(
                f"{source} is {variant}; the configuration says {name} {wanted} and the file has {value}; "
                f"give the configuration that belongs to the checkpoint"
            )


# The VAE

_VAE_ATTENTION_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def modern_vae_names(state_dict: StateDict, source: str = "the checkpoint") -> StateDict:
    """An AutoencoderKL's tensors under today's names; the hub's file of the SD-VAE has old names of diffusers."""
    old = re.compile(r"(?<=mid_block\.attentions\.0\.)(query|key|value|proj_attn)(?=\.)")
    return renamed(state_dict, lambda name: old.sub(lambda match: _VAE_ATTENTION_NAMES[match[0]], name), source)
