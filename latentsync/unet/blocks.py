"""The blocks of the audio-conditioned 3-D UNet. They know shapes only, but no files, schedules or faces.

Hidden states are `b c f h w`. Convolutions are 2-D, with the frames folded into the batch. In residual blocks GroupNorm
takes its statistics over all frames of a window; in spatial transformers and motion modules it takes them per frame.
Parameter names are those of the published checkpoints. In inference on a CPU hidden states lie in memory with their
channels last, so that `b c f h w` folds into frames `(b f) c h w` and tokens `(b f) (h w) c` without a copy.
"""

import math

import torch
from diffusers.models.attention import FeedForward
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, linear, pad, silu

from latentsync.unet.attention import Attention
from latentsync.unet.audio import AudioStates
from latentsync.unet.savings import CHANNELS_A_POSITION, ROWS_AT_ONCE, Saving, channels_last

SPATIAL_NORM_EPS = 1e-6
MOTION_NORM_GROUPS = 32  # fixed in the original, independent of norm_num_groups


class FrameConv(nn.Conv2d, Saving):
    """A 2-D convolution of every frame of `b c f h w`."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        frames = hidden_states.shape[2]
        folded = rearrange(hidden_states, "b c f h w -> (b f) c h w")
        if self.saves("channels_last", folded):
            channels_last(self.weight)
        if self._is_small(folded) and self.saves("matrix_convolutions", folded):
            folded = self._as_matrix_product(folded)
        else:
            folded = super().forward(folded)
        return rearrange(folded, "(b f) c h w -> b c f h w", f=frames)

    def _is_small(self, images: Tensor) -> bool:
        is_plain = self.kernel_size == (3, 3) and self.stride == self.padding == (1, 1)
        return is_plain and images.shape[-2] * images.shape[-1] * CHANNELS_A_POSITION <= self.out_channels

    def _as_matrix_product(self, images: Tensor) -> Tensor:
        """The convolution as the product of all 3x3 patches with the weight; the result has its channels last."""
        height, width = images.shape[-2:]
        padded = pad(images.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        patches = torch.cat([padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)], dim=-1)
        rows = linear(patches, self.weight.permute(0, 2, 3, 1).flatten(1), self.bias)
        return rows.permute(0, 3, 1, 2)


def _sum(saving: Saving, hidden_states: Tensor, change: Tensor) -> Tensor:
    """hidden_states + change; in place of the change, which nothing else refers to, where that is allowed."""
    return change.add_(hidden_states) if saving.saves("in_place", change) else hidden_states + change


def _normed_silu(saving: Saving, norm: nn.GroupNorm, hidden_states: Tensor) -> Tensor:
    return silu(norm(hidden_states), inplace=saving.saves("in_place", hidden_states))


class Downsample3D(nn.Module):
    """Halves the height and the width."""

    def __init__(self, channels: int, padding: int) -> None:
        super().__init__()
        self.conv = FrameConv(channels, channels, 3, stride=2, padding=padding)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.conv(hidden_states)


class Upsample3D(nn.Module):
    """Doubles the height and the width, or resizes to the size of the next skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = FrameConv(channels, channels, 3, padding=1)

    def forward(self, hidden_states: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        frames, height, width = hidden_states.shape[2:]
        folded = rearrange(hidden_states, "b c f h w -> (b f) c h w")
        larger = interpolate(folded, size=size or (2 * height, 2 * width), mode="nearest")
        return self.conv(rearrange(larger, "(b f) c h w -> b c f h w", f=frames))


class ResnetBlock3D(nn.Module, Saving):
    """Two convolutions with the timestep embedding added between them, and a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, temb_channels: int, groups: int, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels, eps=eps)
        self.conv1 = FrameConv(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(temb_channels, out_channels)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps=eps)
        self.conv2 = FrameConv(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = FrameConv(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, hidden_states: Tensor, temb: Tensor) -> Tensor:
        residual = hidden_states if self.conv_shortcut is None else self.conv_shortcut(hidden_states)
        hidden_states = self.conv1(_normed_silu(self, self.norm1, hidden_states))
        time = self.time_emb_proj(silu(temb))[: len(hidden_states), :, None, None, None]  # fewer before guidance parts
        hidden_states = _sum(self, time, hidden_states)
        return _sum(self, residual, self.conv2(_normed_silu(self, self.norm2, hidden_states)))


class GatedFeedForward(FeedForward, Saving):
    """A feed-forward with a GELU gate (GEGLU, arXiv 2002.05202)."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, activation_fn="geglu")

    def forward(self, tokens: Tensor) -> Tensor:
        if not self.saves("row_blocks", tokens):
            return super().forward(tokens)
        rows = tokens.flatten(0, -2)
        out = torch.empty_like(rows)
        for some, target in zip(rows.split(ROWS_AT_ONCE), out.split(ROWS_AT_ONCE), strict=True):
            target.copy_(self._of_rows(some))
        return out.view_as(tokens)

    def _of_rows(self, rows: Tensor) -> Tensor:
        widen, narrow = self.net[0].proj, self.net[2]
        parts = zip(widen.weight.chunk(2), widen.bias.chunk(2), strict=True)
        values, gates = (linear(rows, weight, bias) for weight, bias in parts)
        return narrow(values.mul_(gelu(gates)))


class BasicTransformerBlock(nn.Module, Saving):
    """Self-attention within a frame, cross-attention to the frame's audio window, feed-forward."""

    def __init__(self, dim: int, heads: int, audio_dim: int | None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, heads)
        if audio_dim is not None:
            self.norm2 = nn.LayerNorm(dim)
            self.attn2 = Attention(dim, heads, audio_dim)
        else:
            self.norm2 = self.attn2 = None
        self.ff = GatedFeedForward(dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, audio: AudioStates | None) -> Tensor:
        tokens = _sum(self, tokens, self.attn1(self.norm1(tokens)))
        if self.attn2 is not None and audio is not None:
            tokens = self._heard(audio.in_full(tokens), audio)
        return _sum(self, tokens, self.ff(self.norm3(tokens)))

    def _heard(self, tokens: Tensor, audio: AudioStates) -> Tensor:
        """The tokens after cross-attention. It has no bias before its output, so that of zero audio is that bias."""
        silent = audio.num_silent
        if not silent or not self.saves("silent_audio", tokens):
            return _sum(self, tokens, self.attn2.attend_to(self.norm2(tokens), audio.keys_and_values(self.attn2)))
        heard = tokens[silent:]
        change = self.attn2.attend_to(self.norm2(heard), audio.keys_and_values(self.attn2, voiced_only=True))
        return torch.cat([tokens[:silent] + self.attn2.to_out[0].bias, change.add_(heard)])


class Transformer3DModel(nn.Module, Saving):
    """A spatial transformer over the positions of each frame."""

    def __init__(self, channels: int, heads: int, audio_dim: int | None, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=SPATIAL_NORM_EPS)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList([BasicTransformerBlock(channels, heads, audio_dim)])
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, hidden_states: Tensor, audio: AudioStates | None) -> Tensor:
        """(b, c, f, h, w) -> (b, c, f, h, w); of a shared start both parts of guidance, (2 b, c, f, h, w)."""
        frames, height = hidden_states.shape[2:4]
        folded = rearrange(hidden_states, "b c f h w -> (b f) c h w")
        normed = self.norm(folded)
        if self.saves("channels_last", normed):
            channels_last(self.proj_in.weight), channels_last(self.proj_out.weight)
        tokens = rearrange(self.proj_in(normed), "n c h w -> n (h w) c")
        for block in self.transformer_blocks:
            tokens = block(tokens, audio)
        if len(tokens) > len(folded):
            folded = audio.in_full(folded)
        out = _sum(self, folded, self.proj_out(rearrange(tokens, "n (h w) c -> n c h w", h=height)))
        return rearrange(out, "(b f) c h w -> b c f h w", f=frames)


class PositionalEncoding(nn.Module):
    """Sinusoidal positions of the frames in a window; sine and cosine interleaved."""

    def __init__(self, dim: int, max_len: int) -> None:
        super().__init__()
        position = torch.arange(max_len)[:, None]
        frequency = torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
        pe = torch.zeros(1, max_len, dim)
        pe[0, :, 0::2] = torch.sin(position * frequency)
        pe[0, :, 1::2] = torch.cos(position * frequency)
        self.register_buffer("pe", pe)

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.pe[:, : tokens.shape[1]].to(tokens.dtype)


class TemporalAttention(Attention):
    """Attention over the frames at each position; the values contain the frame's position too."""

    def __init__(self, dim: int, heads: int, max_len: int) -> None:
        super().__init__(dim, heads)
        self.pos_encoder = PositionalEncoding(dim, max_len)

    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(self.pos_encoder(tokens))


class TemporalTransformerBlock(nn.Module, Saving):
    """Several temporal self-attentions in sequence, then feed-forward; tokens are (b*h*w, f, c)."""

    def __init__(self, dim: int, heads: int, attentions: int, max_len: int) -> None:
        super().__init__()
        self.attention_blocks = nn.ModuleList(TemporalAttention(dim, heads, max_len) for _ in range(attentions))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(attentions))
        self.ff = GatedFeedForward(dim)
        self.ff_norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        for attention, norm in zip(self.attention_blocks, self.norms, strict=True):
            tokens = _sum(self, tokens, attention(norm(tokens)))
        return _sum(self, tokens, self.ff(self.ff_norm(tokens)))


class TemporalTransformer3DModel(nn.Module):
    """A transformer over the frames of each position (AnimateDiff, arXiv 2307.04725)."""

    def __init__(self, channels: int, heads: int, blocks: int, attentions: int, max_len: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(MOTION_NORM_GROUPS, channels, eps=SPATIAL_NORM_EPS)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(
            TemporalTransformerBlock(channels, heads, attentions, max_len) for _ in range(blocks)
        )
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, hidden_states: Tensor) -> Tensor:
        frames, height, width = hidden_states.shape[2:]
        normed = self.norm(rearrange(hidden_states, "b c f h w -> (b f) c h w"))
        tokens = self.proj_in(rearrange(normed, "(b f) c h w -> (b h w) f c", f=frames))
        for block in self.transformer_blocks:
            tokens = block(tokens)
        out = rearrange(self.proj_out(tokens), "(b h w) f c -> b c f h w", h=height, w=width)
        return hidden_states + out  # takes the layout of the first


class MotionModule(nn.Module):
    """The wrapper that gives the temporal transformer its published name."""

    def __init__(self, channels: int, kwargs: dict) -> None:
        super().__init__()
        self.temporal_transformer = TemporalTransformer3DModel(
            channels,
            heads=kwargs["num_attention_heads"],
            blocks=kwargs["num_transformer_block"],
            attentions=len(kwargs["attention_block_types"]),
            max_len=kwargs["temporal_position_encoding_max_len"],
        )
        if kwargs.get("zero_initialize", True):
            nn.init.zeros_(self.temporal_transformer.proj_out.weight)
            nn.init.zeros_(self.temporal_transformer.proj_out.bias)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.temporal_transformer(hidden_states)


class _Level(nn.Module):
    """Runs resnets, attentions and motion modules, with or without gradient checkpointing."""

    gradient_checkpointing = False  # diffusers' `enable_gradient_checkpointing` sets it, and the function

    def _run(self, part: nn.Module, *inputs: Tensor | None) -> Tensor:
        """The part's output; with gradient checkpointing the backward pass computes it again, as in the original."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return self._gradient_checkpointing_func(part, *inputs)
        return part(*inputs)

    def _layer(self, resnet: nn.Module, attention: nn.Module | None, motion: nn.Module | None, x, temb, audio):
        hidden_states = self._run(resnet, x, temb)
        if attention is not None:
            hidden_states = self._run(attention, hidden_states, audio)
        return hidden_states if motion is None else self._run(motion, hidden_states)


class _LayeredBlock(_Level):
    """Layers of a resnet, an optional attention and an optional motion module; base of `DownBlock` and `UpBlock`."""

    def __init__(
        self,
        channels: list[tuple[int, int]],
        temb_channels: int,
        groups: int,
        eps: float,
        heads: int | None,
        audio_dim: int | None,
        motion_kwargs: dict | None,
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock3D(i, o, temb_channels, groups, eps) for i, o in channels)
        if heads is not None:
            self.attentions = nn.ModuleList(Transformer3DModel(o, heads, audio_dim, groups) for _, o in channels)
        else:
            self.attentions = [None] * len(channels)
        if motion_kwargs is not None:
            self.motion_modules = nn.ModuleList(MotionModule(o, motion_kwargs) for _, o in channels)
        else:
            self.motion_modules = [None] * len(channels)

    def layers(self) -> list[tuple[nn.Module, nn.Module | None, nn.Module | None]]:
        return list(zip(self.resnets, self.attentions, self.motion_modules, strict=True))


class DownBlock(_LayeredBlock):
    """One level of the way down. The outputs of every layer and of the downsampler are skip connections."""

    def __init__(self, in_channels, out_channels, layers, padding, downsample: bool, **kwargs) -> None:
        super().__init__([(in_channels if i == 0 else out_channels, out_channels) for i in range(layers)], **kwargs)
        self.downsamplers = nn.ModuleList([Downsample3D(out_channels, padding)]) if downsample else []

    def forward(self, hidden_states: Tensor, temb: Tensor, audio: AudioStates | None) -> tuple[Tensor, list[Tensor]]:
        skips = []
        for resnet, attention, motion in self.layers():
            hidden_states = self._layer(resnet, attention, motion, hidden_states, temb, audio)
            skips.append(hidden_states)
        for downsampler in self.downsamplers:
            hidden_states = downsampler(hidden_states)
            skips.append(hidden_states)
        return hidden_states, skips


class UpBlock(_LayeredBlock):
    """One level of the way up. Each layer takes one skip connection from the end of the list."""

    def __init__(self, in_channels, out_channels, skip_channels: list[int], upsample: bool, **kwargs) -> None:
        channels = [
            ((in_channels if i == 0 else out_channels) + skip, out_channels) for i, skip in enumerate(skip_channels)
        ]
        super().__init__(channels, **kwargs)
        self.upsamplers = nn.ModuleList([Upsample3D(out_channels)]) if upsample else []

    def forward(self, hidden_states: Tensor, skips: list[Tensor], temb: Tensor, audio: AudioStates | None) -> Tensor:
        hidden_states = self.all_but_last_layer(hidden_states, skips, temb, audio)
        hidden_states = self.last_layer(hidden_states, skips.pop(), temb, audio)
        for upsampler in self.upsamplers:
            hidden_states = upsampler(hidden_states, size=tuple(skips[-1].shape[-2:]))
        return hidden_states

    def all_but_last_layer(self, hidden_states: Tensor, skips: list[Tensor], temb: Tensor, audio) -> Tensor:
        for layer in self.layers()[:-1]:
            hidden_states = self._layer(*layer, _beside(hidden_states, skips.pop(), audio), temb, audio)
        return hidden_states

    def last_layer(self, hidden_states: Tensor, skip: Tensor, temb: Tensor, audio: AudioStates | None) -> Tensor:
        return self._layer(*self.layers()[-1], _beside(hidden_states, skip, audio), temb, audio)


def _beside(hidden_states: Tensor, skip: Tensor, audio: AudioStates | None) -> Tensor:
    """The hidden states with the skip connection, which may come from before guidance parted them."""
    if len(skip) < len(hidden_states):
        skip = audio.in_full(skip)
    return torch.cat([hidden_states, skip], dim=1)


class MidBlock(_Level):
    """The lowest level: resnet, attention, motion module (if configured), resnet."""

    def __init__(self, channels, temb_channels, groups, eps, heads, audio_dim, motion_kwargs) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock3D(channels, channels, temb_channels, groups, eps) for _ in range(2))
        self.attentions = nn.ModuleList([Transformer3DModel(channels, heads, audio_dim, groups)])
        self.motion_modules = nn.ModuleList([MotionModule(channels, motion_kwargs)]) if motion_kwargs else [None]

    def forward(self, hidden_states: Tensor, temb: Tensor, audio: AudioStates | None) -> Tensor:
        first, second = self.resnets
        hidden_states = self._layer(first, self.attentions[0], self.motion_modules[0], hidden_states, temb, audio)
        return self._run(second, hidden_states, temb)
