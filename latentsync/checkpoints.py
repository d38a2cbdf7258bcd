"""Weight files -> networks: recognises what a file holds and loads it exactly, or says what does not fit.

Knows the names of tensors in published files. Nothing is unpickled with code execution, and nothing is loaded in part:
missing, unexpected and wrongly shaped tensors are errors that name them.
"""

import pickle
import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from latentsync import weights
from latentsync.errors import OptionError, WeightsError
from latentsync.unet import UNet3DConditionModel, published_config
from latentsync.whisper import WhisperStates

StateDict = dict[str, Tensor]

NAMES_IN_MESSAGE = 5
WHISPER_FILES = {
    "tiny.en": "whisper/tiny.en.ctranslate2.bin",
    "tiny": "whisper/tiny.pt",
    "small": "whisper/small.pt",
}
WHISPER_HEAD_WIDTH = 64


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


def load_exactly(model: torch.nn.Module, state_dict: StateDict, source: str) -> None:
    """Loads every tensor into its place; refuses the whole file when one is missing, left over or misshapen.

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
    torch.nn.Module.load_state_dict(model, state_dict, strict=True, assign=True)


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


def read_unet_config(path: str | Path) -> dict:
    """The whole of a model configuration in the original's schema (`model:`, `data:`, `run:` ...).

    Raises:
        OptionError: no such file, or no `model` part in it.
    """
    path = Path(path)
    if not path.is_file():
        raise OptionError(
            f"there is no UNet configuration at {path}; the published ones look like conf/unet/second_stage.yaml"
        )
    try:
        config = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise OptionError(f"{path} is not a readable YAML file ({str(error).splitlines()[0]}); check it") from error
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise OptionError(
            f"{path} has no `model:` part; the published configurations look like conf/unet/second_stage.yaml"
        )
    return config


def load_unet(checkpoint: str | Path, config: dict, dtype: torch.dtype = torch.float32) -> UNet3DConditionModel:
    """A UNet with a checkpoint's weights, checked against a configuration.

    Args:
        checkpoint: LatentSync 1.0, 1.5 or 1.6 `.pt`, or `.safetensors`.
        config: the `model` part of a configuration in the original's schema.

    Raises:
        WeightsError: the file is no LatentSync UNet, or does not fit the configuration.
    """
    state_dict = read_state_dict(checkpoint)
    variant = detect_unet(state_dict, str(checkpoint))
    if variant.version == "1.0":
        state_dict = rename_1_0(state_dict)
    kwargs = published_config(config)
    _check_variant(variant, kwargs, str(checkpoint))
    with torch.device("meta"):
        unet = UNet3DConditionModel(**kwargs)
    load_exactly(unet, {name: tensor.to(dtype) for name, tensor in state_dict.items()}, str(checkpoint))
    return unet.eval().requires_grad_(False)


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


# Whisper

_OPENAI_TO_TRANSFORMERS = (
    (r"^encoder\.", ""),
    (r"^blocks\.", "layers."),
    (r"\.attn\.query\.", ".self_attn.q_proj."),
    (r"\.attn\.key\.", ".self_attn.k_proj."),
    (r"\.attn\.value\.", ".self_attn.v_proj."),
    (r"\.attn\.out\.", ".self_attn.out_proj."),
    (r"\.attn_ln\.", ".self_attn_layer_norm."),
    (r"\.mlp\.0\.", ".fc1."),
    (r"\.mlp\.2\.", ".fc2."),
    (r"\.mlp_ln\.", ".final_layer_norm."),
    (r"^ln_post\.", "layer_norm."),
    (r"^positional_embedding$", "embed_positions.weight"),
)


def whisper_from_openai(state_dict: StateDict) -> StateDict:
    """The encoder's tensors of an OpenAI checkpoint under transformers' names."""
    renamed = {}
    for name, tensor in state_dict.items():
        if name.startswith("encoder."):
            for pattern, replacement in _OPENAI_TO_TRANSFORMERS:
                name = re.sub(pattern, replacement, name)
            renamed[name] = tensor
    return renamed


def whisper_from_transformers(state_dict: StateDict) -> StateDict:
    """The encoder's tensors of a Hugging Face Whisper checkpoint (`model.encoder.*` or `encoder.*`)."""
    prefix = re.compile(r"^(model\.)?encoder\.")
    return {prefix.sub("", name): tensor for name, tensor in state_dict.items() if prefix.match(name)}


_CTRANSLATE2_LAYER = (
    ("self_attention/layer_norm", "self_attn_layer_norm"),
    ("self_attention/linear_1", "self_attn.out_proj"),
    ("ffn/layer_norm", "final_layer_norm"),
    ("ffn/linear_0", "fc1"),
    ("ffn/linear_1", "fc2"),
)


def whisper_from_ctranslate2(variables: dict[str, np.ndarray]) -> StateDict:
    """The encoder's tensors of a CTranslate2 model under transformers' names; q, k and v are stacked in it."""
    suffixes = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
    renamed: dict[str, np.ndarray] = {"embed_positions.weight": variables["encoder/position_encodings/encodings"]}
    pairs = [(f"encoder/conv{i}", f"conv{i}") for i in (1, 2)] + [("encoder/layer_norm", "layer_norm")]
    layers = sum(
        name.startswith("encoder/layer_") and name.endswith("linear_0/weight") and "ffn" in name for name in variables
    )
    for i in range(layers):
        pairs += [(f"encoder/layer_{i}/{theirs}", f"layers.{i}.{ours}") for theirs, ours in _CTRANSLATE2_LAYER]
        for kind in ("weight", "bias"):
            stacked = variables[f"encoder/layer_{i}/self_attention/linear_0/{kind}"]
            for part, values in zip(("q_proj", "k_proj", "v_proj"), np.split(stacked, 3), strict=True):
                if (part, kind) != ("k_proj", "bias"):  # Whisper's keys have no bias; the stored one is zero
                    renamed[f"layers.{i}.self_attn.{part}.{kind}"] = values
    for theirs, ours in pairs:
        for suffix, kind in suffixes.items():
            if f"{theirs}/{suffix}" in variables:
                renamed[f"{ours}.{kind}"] = variables[f"{theirs}/{suffix}"]
    return {name: torch.from_numpy(values.astype(np.float32)) for name, values in renamed.items()}


def read_ctranslate2(path: Path) -> dict[str, np.ndarray]:
    """The variables of a CTranslate2 `model.bin` (binary version 6), little-endian.

    Layout: version u32, specification name, revision u32, count u32, then per variable its name, rank u8, sizes u32,
    type u8, byte count u32, bytes; a name is its length u16 and that many bytes with a closing zero.

    Raises:
        WeightsError: another version, or a damaged file.
    """
    types = (np.float32, np.int8, np.int16, np.int32, np.float16)
    data = path.read_bytes()
    position = 0

    def take(form: str) -> int:
        nonlocal position
        (value,) = struct.unpack_from(f"<{form}", data, position)
        position += struct.calcsize(f"<{form}")
        return value

    def take_name() -> str:
        nonlocal position
        length = take("H")
        position += length
        return data[position - length : position - 1].decode()

    try:
        if (version := take("I")) != 6:
            raise WeightsError(f"{path} has CTranslate2 version {version}; version 6 is known")
        take_name(), take("I")
        variables = {}
        for _ in range(take("I")):
            name = take_name()
            sizes = [take("I") for _ in range(take("B"))]
            dtype, length = np.dtype(types[take("B")]), take("I")
            variables[name] = np.frombuffer(data, dtype, length // dtype.itemsize, position).reshape(sizes)
            position += length
    except (struct.error, IndexError, ValueError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path} is damaged ({error}); delete it and fetch it again") from error
    return variables


def whisper_name_for(cross_attention_dim: int) -> str:
    """The multilingual Whisper that a published UNet of that audio width was trained with.

    Raises:
        OptionError: neither 384 nor 768.
    """
    names = {384: "tiny", 768: "small"}
    if cross_attention_dim not in names:
        raise OptionError(f"cross_attention_dim is {cross_attention_dim}; 384 (Whisper tiny) and 768 (small) are known")
    return names[cross_attention_dim]


def load_whisper(source: str | Path) -> WhisperStates:
    """Whisper's encoder by name ("tiny.en", "tiny", "small") or from a file of OpenAI, Hugging Face or CTranslate2.

    Raises:
        WeightsError: not on this machine and not to be fetched, or not a Whisper.
    """
    path = weights.locate(WHISPER_FILES[source]) if source in WHISPER_FILES else Path(source)
    if path.suffix == ".bin" and path.is_file() and not _is_torch_file(path):
        state_dict = whisper_from_ctranslate2(read_ctranslate2(path))
    else:
        content = read_state_dict(path)
        is_openai = any(name.startswith("encoder.blocks.") for name in content)
        state_dict = whisper_from_openai(content) if is_openai else whisper_from_transformers(content)
    if "conv1.weight" not in state_dict:
        raise WeightsError(f"{path} holds no Whisper encoder (conv1 is absent); give Whisper tiny or small")
    width = state_dict["conv1.weight"].shape[0]
    layers = len({name.split(".")[1] for name in state_dict if name.startswith("layers.")})
    states = WhisperStates.from_dims(width, max(width // WHISPER_HEAD_WIDTH, 1), layers)
    load_exactly(states.encoder, {name: tensor.float() for name, tensor in state_dict.items()}, str(path))
    return states.eval().requires_grad_(False)


def _is_torch_file(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02")
