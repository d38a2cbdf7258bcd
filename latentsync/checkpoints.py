"""Weight files -> UNet and VAE: recognises what a file holds and loads it exactly, or says what does not fit.

Knows the names of tensors in published files. Nothing is unpickled with code execution, and nothing is loaded in part:
missing, unexpected and wrongly shaped tensors are errors that name them.
"""

import pickle
import re
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from latentsync.errors import OptionError, WeightsError
from latentsync.unet import UNet3DConditionModel, published_config

StateDict = dict[str, Tensor]


@dataclass(frozen=True)
class Place:
    """Where the tensors of a file are to be, and in which precision."""

    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float32

    def put(self, tensor: Tensor) -> Tensor:
        """The tensor in this place; whole numbers keep their type."""
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else tensor.dtype)


NAMES_IN_MESSAGE = 5


def read_state_dict(path: str | Path) -> StateDict:
    """The tensors of a `.safetensors`, `.pt`, `.pth` or `.bin` file, memory-mapped where the format allows.

    A state dict inside `state_dict` or `model_state_dict` is unwrapped and a `module.` prefix taken off.

    Raises:
        WeightsError: no such file, or not a file of tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"there is no weight file at {path}; check the path")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = _torch_load(path)
    except (SafetensorError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise WeightsError(f"{path} is not a readable file of tensors ({reason}); fetch it again") from error
    for wrapper in ("state_dict", "model_state_dict"):
        if isinstance(content, dict) and wrapper in content:
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()) or not content:
        raise WeightsError(f"{path} holds no state dict; a dictionary of tensors is needed")
    return {name.removeprefix("module."): value for name, value in content.items()}


def _torch_load(path: Path):
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
        return torch.load(path, map_location="cpu", weights_only=True)  # files from before torch 1.6


def load_exactly(
    model: torch.nn.Module, state_dict: StateDict, source: str, place: Place | None = None
) -> torch.nn.Module:
    """Puts every tensor into its place; refuses the whole file when one is missing, left over or misshapen.

    Each tensor goes from the mapped file straight to the device and precision it will have, one after the other, so no
    second copy of the model is made.

    Args:
        model: on the meta device, or with values that are given up.
        source: the file, for messages.
        place: where the tensors go; float32 on the CPU by default.

    Returns:
        The model, ready for inference.

    Raises:
        WeightsError: names the tensors that do not fit.
    """
    expected = model.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    problems = [
        _listing("missing", sorted(shapes.keys() - state_dict.keys())),
        _listing("unexpected", sorted(state_dict.keys() - shapes.keys())),
        _listing(
            "of another shape",
            [
                f"{name} {tuple(state_dict[name].shape)} instead of {shape}"
                for name, shape in shapes.items()
                if name in state_dict and tuple(state_dict[name].shape) != shape
            ],
        ),
    ]
    problems = [problem for problem in problems if problem]
    if problems:
        raise WeightsError(f"{source} does not fit the network: {'; '.join(problems)}")
    place = place or Place()
    placed = {name: place.put(tensor) for name, tensor in state_dict.items()}
    torch.nn.Module.load_state_dict(model, placed, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def _listing(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - NAMES_IN_MESSAGE} more" if len(names) > NAMES_IN_MESSAGE else ""
    return f"{len(names)} {what} ({', '.join(names[:NAMES_IN_MESSAGE])}{more})"


# The UNet


@dataclass(frozen=True)
class UNetVariant:
    """What the names and shapes of a UNet checkpoint tell.

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
        WeightsError: it is no LatentSync UNet.
    """
    audio_key = re.compile(r"\.(attn2|audio_cross_attn\.attn)\.to_k\.weight$")
    audio_widths = {tensor.shape[1] for name, tensor in state_dict.items() if audio_key.search(name)}
    if "conv_in.weight" not in state_dict or len(audio_widths) != 1:
        raise WeightsError(
            f"{source} holds no LatentSync UNet (conv_in.weight or audio cross-attention is absent); "
            f"give a latentsync_unet.pt"
        )
    channels = []
    while (conv := f"down_blocks.{len(channels)}.resnets.0.conv1.weight") in state_dict:
        channels.append(state_dict[conv].shape[0])
    motion_down = any(name.startswith("down_blocks") and ".motion_modules." in name for name in state_dict)
    motion_up = any(name.startswith("up_blocks") and ".motion_modules." in name for name in state_dict)
    return UNetVariant(
        version="1.0" if any(".audio_cross_attn." in name for name in state_dict) else "1.5/1.6",
        motion_modules="all" if motion_down else "decoder" if motion_up else "none",
        cross_attention_dim=audio_widths.pop(),
        block_out_channels=tuple(channels),
        in_channels=state_dict["conv_in.weight"].shape[1],
    )


def rename_1_0(state_dict: StateDict) -> StateDict:
    """LatentSync 1.0's tensors under the names of 1.5 and 1.6: audio cross-attention is norm2 and attn2 there."""
    return {
        name.replace(".audio_cross_attn.norm.", ".norm2.").replace(".audio_cross_attn.attn.", ".attn2."): tensor
        for name, tensor in state_dict.items()
    }


class _Yaml(yaml.SafeLoader):
    """YAML as OmegaConf reads it: 1e-5 is a number, too; the published configurations are written so."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.[\d_]+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def read_unet_config(path: str | Path) -> dict:
    """The whole of a model configuration in the original's schema (`model:`, `data:`, `run:` ...).

    What the `model` part leaves out has the published value.

    Raises:
        OptionError: no such file, or no `model` part in it.
    """
    path = Path(path)
    if not path.is_file():
        raise OptionError(
            f"there is no UNet configuration at {path}; the published ones look like conf/unet/second_stage.yaml"
        )
    try:
        config = yaml.load(path.read_text(), _Yaml)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise OptionError(f"{path} is not a readable YAML file ({str(error).splitlines()[0]}); check it") from error
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise OptionError(
            f"{path} has no `model:` part; the published configurations look like conf/unet/second_stage.yaml"
        )
    return config


def load_unet(checkpoint: str | Path, config: dict | None = None, place: Place | None = None) -> UNet3DConditionModel:
    """A UNet with a checkpoint's weights, checked against a configuration.

    Args:
        checkpoint: LatentSync 1.0, 1.5 or 1.6 `.pt`, or `.safetensors`.
        config: the `model` part of a configuration in the original's schema; None takes the published one that the
            file's tensors belong to.

    Raises:
        WeightsError: the file is no LatentSync UNet, or does not fit the configuration.
    """
    state_dict = read_state_dict(checkpoint)
    variant = detect_unet(state_dict, str(checkpoint))
    if variant.version == "1.0":
        state_dict = rename_1_0(state_dict)
    kwargs = variant.config() if config is None else published_config(config)
    _check_variant(variant, kwargs, str(checkpoint))
    with torch.device("meta"):
        unet = UNet3DConditionModel(**kwargs)
    return load_exactly(unet, state_dict, str(checkpoint), place)


def _check_variant(variant: UNetVariant, kwargs: dict, source: str) -> None:
    """Compares what the file is with what the configuration says, before tensors are compared one by one."""
    wanted_motion = "none"
    if kwargs.get("use_motion_module", True):
        wanted_motion = "decoder" if kwargs.get("motion_module_decoder_only", False) else "all"
    for name, found, wanted in (
        ("motion modules", variant.motion_modules, wanted_motion),
        ("cross_attention_dim", variant.cross_attention_dim, kwargs.get("cross_attention_dim", 384)),
        (
            "block_out_channels",
            list(variant.block_out_channels),
            list(kwargs.get("block_out_channels", (320, 640, 1280, 1280))),
        ),
        ("in_channels", variant.in_channels, kwargs.get("in_channels", 13)),
    ):
        if found != wanted:
            raise WeightsError(
                f"{source} is {variant}; the configuration says {name} {wanted} and the file has {found}; "
                f"give the configuration that belongs to the checkpoint"
            )


# The VAE

_VAE_ATTENTION_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def modern_vae_names(state_dict: StateDict) -> StateDict:
    """An AutoencoderKL's tensors under today's names; the hub's file of the SD-VAE has those of old diffusers."""
    old = re.compile(r"(?<=mid_block\.attentions\.0\.)(query|key|value|proj_attn)(?=\.)")
    return {old.sub(lambda found: _VAE_ATTENTION_NAMES[found[0]], name): tensor for name, tensor in state_dict.items()}
