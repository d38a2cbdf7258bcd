"""StableSyncNet, the critic that LatentSync was trained with: do 16 frames of lips belong to this piece of speech?

Goal: two encoders map lips and speech into one space. The cosine of their embeddings lies in 0..1, since the last layer
is a ReLU; 1 is best, and above 0.5 counts as in sync. It is a measure and a loss. It does not replace the scores of
SyncNet v2.

Conventions: video at 25 frames a second. Pixel variants take the lower half of 16 aligned 256 px faces, RGB -1..1, with
the frames stacked on the channel axis. The latent variant takes 16 frames of whole latents. Sound is the Wav2Lip mel of
`speech_features`, 52 columns from the first frame on. Parameter names are those of the published checkpoints.

Source: arXiv 2412.09262, section 3.3, and its published configurations.
"""

import math
from pathlib import Path

import torch
from diffusers.models.attention import FeedForward
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize, pad, silu

from latentsync.errors import OptionError
from latentsync.unet.attention import Attention
from latentsync.weights.tensors import Place, load_built

NORM_GROUPS = 32
NORM_EPS = 1e-6
ATTENTION_HEADS = 8

Factor = int | tuple[int, int]  # of downsampling: both sides, or (height, width)

# The part `model` of configs/syncnet/syncnet_16_{pixel_attn,pixel,latent}.yaml.
_PIXEL_AUDIO = {  # (1, 80, 52)
    "in_channels": 1,
    "block_out_channels": [32, 64, 128, 256, 512, 1024, 2048],
    "downsample_factors": [[2, 1], 2, 2, 1, 2, 2, [2, 3]],
}
_PIXEL_VISUAL = {  # (48, 128, 256)
    "in_channels": 48,
    "block_out_channels": [64, 128, 256, 256, 512, 1024, 2048, 2048],
    "downsample_factors": [[1, 2], 2, 2, 2, 2, 2, 2, 2],
}
PIXEL_ATTN = {  # 401 M parameters; published as stable_syncnet.pt
    "audio_encoder": _PIXEL_AUDIO | {"attn_blocks": [0, 0, 0, 1, 1, 0, 0]},
    "visual_encoder": _PIXEL_VISUAL | {"attn_blocks": [0, 0, 0, 0, 1, 1, 0, 0]},
}
PIXEL = {"audio_encoder": _PIXEL_AUDIO, "visual_encoder": _PIXEL_VISUAL}  # 372 M
LATENT = {  # 66 M
    "audio_encoder": {  # (1, 80, 52)
        "in_channels": 1,
        "block_out_channels": [32, 64, 128, 256, 512, 1024],
        "downsample_factors": [[2, 1], 2, 2, 2, 2, [2, 3]],
    },
    "visual_encoder": {  # (64, 32, 32)
        "in_channels": 64,
        "block_out_channels": [64, 128, 256, 256, 512, 1024],
        "downsample_factors": [2, 2, 2, 1, 2, 2],
    },
}

_ENCODERS = ("audio_encoder", "visual_encoder")
_NEEDED = ("in_channels", "block_out_channels", "downsample_factors")
# Other keys of the original's encoder. Another activation or grouping would be another network. The original ignores
# the number of layers per block: every block has one.
_FIXED = {"act_fn": "silu", "norm_num_groups": NORM_GROUPS}
_UNUSED = ("layers_per_block",)


def encoder_options(config: dict, name: str) -> dict:
    """The arguments of `Encoder` from one part of a configuration in the original's schema.

    Args:
        config: `in_channels`, `block_out_channels`, `downsample_factors`; optional `attn_blocks` (none by default) and
            `dropout` (0 by default).
        name: of the part, for messages.

    Raises:
        OptionError: a key is missing or unknown, or the network cannot be built from a value.
    """
    if missing := [key for key in _NEEDED if key not in config]:
        raise OptionError(f"{name} has no {', '.join(missing)}; syncnet_16_pixel_attn.yaml shows what is needed")
    for key, value in config.items():
        if key in _FIXED and value != _FIXED[key]:
            raise OptionError(f"{name}.{key}={value!r} is not supported; the published models have {_FIXED[key]!r}")
        if key not in (*_NEEDED, *_FIXED, *_UNUSED, "attn_blocks", "dropout"):
            raise OptionError(f"{name} option {key!r} is unknown; take it out of the configuration")
    channels = list(config["block_out_channels"])
    options = {
        "in_channels": int(config["in_channels"]),
        "block_out_channels": channels,
        "downsample_factors": list(config["downsample_factors"]),
        "attn_blocks": list(config.get("attn_blocks") or [0] * len(channels)),
        "dropout": float(config.get("dropout", 0.0)),
    }
    _check_levels(options, name)
    return options


def _check_levels(options: dict, name: str) -> None:
    channels, factors = options["block_out_channels"], options["downsample_factors"]
    for key in ("downsample_factors", "attn_blocks"):
        if len(options[key]) != len(channels) or not channels:
            raise OptionError(
                f"{name}.{key} is {options[key]}; one for each of block_out_channels {channels} is needed"
            )
    if odd := [width for width in channels if width % NORM_GROUPS]:
        raise OptionError(f"{name}.block_out_channels has {odd}; multiples of {NORM_GROUPS} are needed for its norms")
    for factor in factors:
        sides = [factor, factor] if isinstance(factor, int) else list(factor)
        if len(sides) != 2 or not all(isinstance(side, int) and side >= 1 for side in sides):
            raise OptionError(f"{name}.downsample_factors has {factor!r}; a whole number from 1 on, or two, is needed")


class ResnetBlock(nn.Module):
    """Two convolutions and a shortcut. If the factor is not 1, a convolution with that stride follows."""

    def __init__(self, in_channels: int, out_channels: int, factor: Factor, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(NORM_GROUPS, in_channels, eps=NORM_EPS)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(NORM_GROUPS, out_channels, eps=NORM_EPS)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None
        down, across = factor = (factor, factor) if isinstance(factor, int) else tuple(factor)
        # Left, right, top, bottom. With a stride of 1 both sides are padded, so that no row or column is lost.
        self.padding = (int(across == 1), 1, int(down == 1), 1)
        self.downsample_conv = nn.Conv2d(out_channels, out_channels, 3, stride=factor) if factor != (1, 1) else None

    def forward(self, hidden_states: Tensor) -> Tensor:
        residual = hidden_states if self.conv_shortcut is None else self.conv_shortcut(hidden_states)
        hidden_states = self.conv1(silu(self.norm1(hidden_states)))
        hidden_states = residual + self.conv2(self.dropout(silu(self.norm2(hidden_states))))
        if self.downsample_conv is None:
            return hidden_states
        return self.downsample_conv(pad(hidden_states, self.padding))


class BiasedAttention(Attention):
    """Self-attention whose queries, keys and values have a bias."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__(dim, heads)
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, dim) for _ in range(3))


class AttentionBlock(nn.Module):
    """A transformer over the positions of a picture, with a shortcut around it."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(NORM_GROUPS, channels, eps=NORM_EPS)
        self.conv_in = nn.Conv2d(channels, channels, 1)
        self.norm2 = nn.LayerNorm(channels)
        self.attn = BiasedAttention(channels, ATTENTION_HEADS)
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels, dropout=dropout, activation_fn="geglu")
        self.conv_out = nn.Conv2d(channels, channels, 1)

    def forward(self, hidden_states: Tensor) -> Tensor:
        height = hidden_states.shape[2]
        tokens = rearrange(self.conv_in(self.norm1(hidden_states)), "b c h w -> b (h w) c")
        tokens = tokens + self.attn(self.norm2(tokens))
        tokens = tokens + self.ff(self.norm3(tokens))
        return hidden_states + self.conv_out(rearrange(tokens, "b (h w) c -> b c h w", h=height))


class Encoder(nn.Module):
    """Reduces a picture to one position: (b, in_channels, h, w) -> (b, d, h', w'), all numbers at least 0."""

    def __init__(
        self,
        in_channels: int,
        block_out_channels: list[int],
        downsample_factors: list[Factor],
        attn_blocks: list[int],
        dropout: float,
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, block_out_channels[0], 3, padding=1)
        self.down_blocks = nn.ModuleList()
        before = block_out_channels[0]
        for channels, factor, has_attention in zip(block_out_channels, downsample_factors, attn_blocks, strict=True):
            self.down_blocks.append(ResnetBlock(before, channels, factor, dropout))
            if has_attention:
                self.down_blocks.append(AttentionBlock(channels, dropout))
            before = channels
        self.norm_out = nn.GroupNorm(NORM_GROUPS, before, eps=NORM_EPS)

    def forward(self, pictures: Tensor) -> Tensor:
        hidden_states = self.conv_in(pictures)
        for block in self.down_blocks:
            hidden_states = block(hidden_states)
        return torch.relu(self.norm_out(hidden_states))


class StableSyncNet(nn.Module):
    """Embeddings of 16 frames and of their speech; these are in sync if their cosine is near 1.

    Args:
        config: the `model` part of a configuration in the original's schema: `audio_encoder` and `visual_encoder`, see
            `encoder_options`. `PIXEL_ATTN`, `PIXEL` and `LATENT` are the published ones.

    Raises:
        OptionError: the network cannot be built from a key or value.
    """

    def __init__(self, config: dict = PIXEL_ATTN) -> None:
        super().__init__()
        if sorted(config) != sorted(_ENCODERS):
            raise OptionError(f"the configuration has {sorted(config)}; exactly {' and '.join(_ENCODERS)} are needed")
        audio, visual = (encoder_options(config[name], name) for name in _ENCODERS)
        if audio["block_out_channels"][-1] != visual["block_out_channels"][-1]:
            raise OptionError(
                f"the audio embedding is {audio['block_out_channels'][-1]} wide and the visual one "
                f"{visual['block_out_channels'][-1]}; their last block_out_channels must be equal"
            )
        self.audio_encoder = Encoder(**audio)
        self.visual_encoder = Encoder(**visual)

    def forward(
        self, image_sequences: Float[Tensor, "b c h w"], audio_sequences: Float[Tensor, "b 1 80 52"]
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b d"]]:
        """L2-normalised embeddings of lips and of speech, each entry 0..1.

        Args:
            image_sequences: frames outer, channels inner: (b, 48, 128, 256) RGB -1..1, or (b, 64, 32, 32) latents.
            audio_sequences: mel -4..4.

        Raises:
            ValueError: the channels or the size of an input do not fit.
        """
        usual = "the published pixel model takes {}".format
        vision = embedding(self.visual_encoder, image_sequences, "image_sequences", usual("(b, 48, 128, 256)"))
        return vision, embedding(self.audio_encoder, audio_sequences, "audio_sequences", usual("(b, 1, 80, 52)"))


def picture_size(network: StableSyncNet) -> tuple[int, int]:
    """Height and width, px, of pictures that are reduced to one position: the products of the strides."""
    convolutions = [getattr(block, "downsample_conv", None) for block in network.visual_encoder.down_blocks]
    strides = [convolution.stride for convolution in convolutions if convolution is not None]
    return math.prod(down for down, _ in strides), math.prod(across for _, across in strides)


def lower_halves(network: StableSyncNet, faces: Float[Tensor, "b f 3 r r"]) -> Float[Tensor, "b f 3 h w"]:
    """The input of a pixel variant from windows of aligned faces in -1..1: their lower halves, in the network's size.

    As in the original, faces of another size are resized as a whole (bicubic) before they are halved.
    """
    height, width = picture_size(network)
    if faces.shape[-2:] != (2 * height, width):
        flat = interpolate(faces.flatten(0, 1), size=(2 * height, width), mode="bicubic")
        faces = flat.unflatten(0, faces.shape[:2])
    return faces[..., height:, :]


def on_channels(windows: Float[Tensor, "b f c h w"]) -> Float[Tensor, "b fc h w"]:
    """Windows of frames as input of the visual encoder: the frames are stacked on the channel axis."""
    return windows.flatten(1, 2)


def embedding(encoder: Encoder, pictures: Float[Tensor, "b c h w"], name: str, remedy: str) -> Float[Tensor, "b d"]:
    """One encoder's embeddings of its pictures, of length 1.

    Args:
        name, remedy: of the pictures, for messages.

    Raises:
        ValueError: their channels or size do not fit.
    """
    channels = encoder.conv_in.in_channels
    if pictures.ndim != 4 or pictures.shape[1] != channels:
        raise ValueError(f"{name} has shape {tuple(pictures.shape)}; (b, {channels}, height, width) is needed")
    encoded = encoder(pictures)
    if encoded.shape[2:] != (1, 1):
        raise ValueError(
            f"{name} of shape {tuple(pictures.shape)} ends in {encoded.shape[2]}x{encoded.shape[3]} positions and must "
            f"end in one; {remedy}"
        )
    return normalize(encoded.flatten(1), dim=1)


def load_stable_syncnet(path: str | Path, config: dict = PIXEL_ATTN, device: str = "cpu") -> StableSyncNet:
    """StableSyncNet with a published checkpoint's weights, in float32, ready for use.

    Raises:
        WeightsError: the file is absent or damaged, or does not fit the configuration.
        OptionError: the network cannot be built from a key or value.
    """
    return load_built(lambda: StableSyncNet(config), path, Place(device))
