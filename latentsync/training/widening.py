"""Widens a level of a UNet; new channels of the outermost one can carry a first estimate.

A level with hardly more channels than it has inputs cannot hand on the details of the reference image. New channels of
the outermost level bring them from the first convolution straight to the last: the reference in the mask's hole, and
the masked image around it. Everything else computes nearly what it did: wider layers keep their weights, new ones are
heard quietly, and where channels share a normalisation with new ones, its scale and shift are matched on examples.
(Growing a network without losing its function: Chen et al. 2016, Net2Net, arXiv 1511.05641.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from latentsync.checkpoints.model import arguments_of, cast
from latentsync.errors import OptionError
from latentsync.training.growth import QUIET, SIGNS
from latentsync.unet.blocks import MOTION_NORM_GROUPS
from latentsync.unet.model import UNet3DConditionModel

GATE = 8.0  # SiLU(-8) is nearly 0: what the mask moves down by this vanishes
LEAST_DEVIATION = 1e-3  # of a channel whose scale is matched


@dataclass(frozen=True)
class Examples:
    """Inputs of a UNet on which normalisations are matched; a few tens of windows are enough.

    Attributes:
        sample: noisy latents, mask, masked and reference latents.
        audio: a window of states for each frame.
    """

    sample: Float[Tensor, "b c f h w"]
    timesteps: Int[Tensor, " b"]
    audio: Float[Tensor, "b f t d"]


@torch.no_grad()
def with_copies(unet: UNet3DConditionModel, predicts: str, share: float, examples: Examples) -> UNet3DConditionModel:
    """A UNet whose outermost level is twice as wide; its estimate is that of the given one, in part replaced by copies.

    New weights are drawn from torch's global generator.

    Args:
        unet: predicts clean latents or v; its outermost level has no attention.
        predicts: a key of `growth.SIGNS`.
        share: of the copies in the first estimate, 0..1. What remains is the given network's.

    Raises:
        OptionError: the UNet is a student or predicts noise, its outermost level does not fit, or `share` is out of
            range.
    """
    _check_copies(unet, predicts, share)
    wide = _wider(unet, 0, 2 * unet.config.block_out_channels[0])
    _carry_copies(wide, SIGNS[predicts], share)
    _match_norms(wide, unet, examples)
    _let_copies_pass(wide, examples)
    return wide


@torch.no_grad()
def with_channels(unet: UNet3DConditionModel, level: int, channels: int, examples: Examples) -> UNet3DConditionModel:
    """A UNet of which an inner level is wider, and which computes nearly what it did.

    New weights are drawn from torch's global generator.

    Args:
        unet: any but a student.
        level: from 1, the second from outside; it has no attention.
        channels: of the wider level.

    Raises:
        OptionError: the UNet is a student, or the level cannot have that number of channels.
    """
    _check_level(unet, level)
    widths = unet.config.block_out_channels
    if level == 0:
        raise OptionError("level 0 is the outermost, which is widened with copies of the images; give 1 or more")
    if channels <= widths[level]:
        raise OptionError(f"channels is {channels}; level {level} has {widths[level]}, and needs more")
    if channels in widths[level - 1 : level + 2]:
        raise OptionError(
            f"channels is {channels}, as in a level beside it; blocks between levels of one width have no shortcut, "
            f"so what the present ones have learned would be lost; give {channels + MOTION_NORM_GROUPS}, say"
        )
    wide = _wider(unet, level, channels)
    _match_norms(wide, unet, examples)
    return wide


def _check_copies(unet: UNet3DConditionModel, predicts: str, share: float) -> None:
    _check_level(unet, 0)
    if predicts not in SIGNS:
        raise OptionError(f"the UNet predicts {predicts}; only {' and '.join(SIGNS)} can begin with a picture")
    if not 0 <= share <= 1:
        raise OptionError(f"share is {share}; it must be in 0..1 (0.3 is usual)")
    width, latents = unet.config.block_out_channels[0], unet.config.out_channels
    group = 2 * width // unet.config.norm_num_groups
    if width < 4 * latents or width % group or 2 * latents % group:
        raise OptionError(
            f"the outermost level has {width} channels in {unet.config.norm_num_groups} groups, and there are "
            f"{latents} latent channels; copies need 4 channels for each of them, in whole groups"
        )


def _check_level(unet: UNet3DConditionModel, level: int) -> None:
    if unet.guidance_limit is not None:
        raise OptionError("the model is a student of few steps; widen its teacher, and distil the result")
    levels = len(unet.config.block_out_channels)
    if not 0 <= level < levels:
        raise OptionError(f"level is {level}; the UNet has the levels 0 (the outermost) to {levels - 1}")
    if "CrossAttn" in unet.config.down_block_types[level]:
        raise OptionError(
            f"level {level} has attention, which cannot be widened; choose a level outside it, or grow the model by one"
        )


# --- weights ---


def _wider(unet: UNet3DConditionModel, level: int, channels: int) -> UNet3DConditionModel:
    """A UNet of which one level has `channels`. The new ones are drawn, and heard quietly."""
    arguments = arguments_of(unet)
    widths = list(arguments["block_out_channels"])
    widths[level] = channels
    wide = UNet3DConditionModel.from_config(arguments | {"block_out_channels": widths}).eval()
    before, weights = unet.state_dict(), wide.state_dict()
    for name, drawn in weights.items():
        if name not in before:  # a shortcut that the narrow block did not need; it passes on what there was
            drawn.zero_()
            if drawn.dim() > 1:
                rows, columns = (_places(levels, unet, wide) for levels in _axes(name, unet))
                drawn[rows, columns] = 1
        elif drawn.shape == before[name].shape:
            drawn.copy_(before[name])
        elif name.startswith("time_embedding."):
            _widen_time_embedding(name, drawn, before[name])
        else:
            _widen(name, drawn, before[name], *(_places(levels, unet, wide) for levels in _axes(name, unet)))
    wide.load_state_dict(weights)
    cast(wide, unet.device, unet.dtype)
    return wide


def _widen(name: str, drawn: Tensor, weight: Tensor, rows: Tensor, columns: Tensor) -> None:
    """Writes a layer's weights over the drawn ones of the wider layer, in place."""
    if len(drawn) == len(weight):
        rows = torch.arange(len(drawn))
    if weight.dim() == 1:
        if name.endswith("bias"):
            drawn.zero_()
        drawn[rows] = weight
        return
    if drawn.shape[1] == weight.shape[1]:
        columns = torch.arange(drawn.shape[1])
    elif ".time_emb_proj." in name:
        weight, columns = weight.repeat_interleave(2, 1) / 2, torch.arange(drawn.shape[1])
    is_new = torch.ones(drawn.shape[1], dtype=torch.bool)
    is_new[columns] = False
    drawn[:, is_new] *= QUIET
    drawn[rows[:, None], columns] = weight


def _widen_time_embedding(name: str, drawn: Tensor, weight: Tensor) -> None:
    """The time embedding is as wide as four outermost levels, which become twice as wide.

    Its numbers are doubled one by one, and whoever hears them halves them. Frequencies lie twice as densely; the old
    ones are every second of them.
    """
    rows = weight.repeat_interleave(2, 0)
    if weight.dim() == 1:
        drawn.copy_(rows)
    elif name == "time_embedding.linear_1.weight":
        frequencies = weight.new_zeros(*rows.shape, 2)
        frequencies[..., 0] = rows
        drawn.copy_(frequencies.flatten(1))
    else:
        drawn.copy_(rows.repeat_interleave(2, 1) / 2)


def _axes(name: str, unet: UNet3DConditionModel) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of which levels' channels the first and the second axis of a layer's weights consist, in their order.

    A block going up hears what comes from within, and then the output of the block going down beside it.
    """
    last = len(unet.config.block_out_channels) - 1
    part, *rest = name.split(".")
    if part not in ("down_blocks", "up_blocks"):
        level = last if part == "mid_block" else 0
        return (level,), (level,)
    index, kind, number, layer = int(rest[0]), rest[1], int(rest[2]), rest[3]
    own = index if part == "down_blocks" else last - index
    if kind != "resnets" or layer not in ("norm1", "conv1", "conv_shortcut"):
        return (own,), (own,)
    if part == "down_blocks":
        heard: tuple[int, ...] = (max(0, own - 1) if number == 0 else own,)
    else:
        within = min(own + 1, last) if number == 0 else own
        beside = own if number < unet.config.layers_per_block else max(0, own - 1)
        heard = (within, beside)
    return heard if layer == "norm1" else (own,), heard


def _places(levels: tuple[int, ...], narrow: UNet3DConditionModel, wide: UNet3DConditionModel) -> Tensor:
    """Where the narrow UNet's channels lie on an axis of the wide one: each level's new ones follow its old ones."""
    parts, start = [], 0
    for level in levels:
        parts.append(start + torch.arange(narrow.config.block_out_channels[level]))
        start += wide.config.block_out_channels[level]
    return torch.cat(parts)


def _carry_copies(unet: UNet3DConditionModel, sign: int, share: float) -> None:
    """Lets the new channels carry the gated copies, and the last convolution mix them in.

    Each latent channel passes with both signs, since SiLU(x) - SiLU(-x) = x. Where a copy is not wanted, the mask moves
    both far below zero, where SiLU vanishes.
    """
    width, latents = len(unet.conv_in.weight) // 2, len(unet.conv_out.weight)
    inputs = unet.conv_in.weight.shape[1]
    conv_in, conv_out = unet.conv_in.weight, unet.conv_out
    conv_in[width:] = 0
    conv_in[range(width, width + inputs), range(inputs), 1, 1] = 1
    nn.init.normal_(conv_in[width + inputs :], std=conv_in[0].numel() ** -0.5)
    block = unet.up_blocks[-1].resnets[-1]
    shortcut = block.conv_shortcut
    first_skip = shortcut.weight.shape[1] - width
    block.conv2.weight[width:] *= QUIET
    conv_out.weight *= 1 - share
    conv_out.bias *= 1 - share
    conv_out.weight[:, width:] = 0
    mask, masked, reference = latents, latents + 1, 2 * latents + 1  # places among the inputs
    row = width
    for first, gate, bias in ((reference, -GATE, 0.0), (masked, GATE, -GATE)):
        for latent in range(latents):
            for part in (1, -1):
                shortcut.weight[row] = 0
                shortcut.weight[row, first_skip + first + latent] = part
                shortcut.weight[row, first_skip + mask] = gate
                shortcut.bias[row] = bias
                conv_out.weight[latent, row, 1, 1] = part * sign * share
                row += 1


# --- normalisations ---


def _match_norms(wide: UNet3DConditionModel, narrow: UNet3DConditionModel, examples: Examples) -> None:
    """Sets scale and shift of each widened normalisation, from the first to the last.

    On the examples, old channels then have the mean and deviation that they had.
    """
    for name, (mean, deviation) in _moments(narrow.eval(), examples).items():
        norm = wide.get_submodule(name)
        if norm.num_channels == len(mean):
            continue
        places = _places(_axes(f"{name}.weight", narrow)[0], narrow, wide)
        now, spread = (moment[places] for moment in _moments(wide, examples)[name])
        gain = deviation / spread.clamp(min=LEAST_DEVIATION)
        norm.bias[places] = norm.bias[places] * gain + mean - now * gain
        norm.weight[places] *= gain


def _let_copies_pass(unet: UNet3DConditionModel, examples: Examples) -> None:
    """Undoes the last normalisation for the copies: scale and shift become those of their groups on the examples."""
    norm, width = unet.conv_norm_out, unet.config.block_out_channels[0] // 2
    copies = slice(width, width + 4 * unet.config.out_channels)
    for values, moment in zip((norm.bias, norm.weight), _group_moments(unet, norm, examples), strict=True):
        values[copies] = moment.repeat_interleave(norm.num_channels // norm.num_groups)[copies]


def _moments(unet: UNet3DConditionModel, examples: Examples) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and deviation of each channel that a group normalisation puts out, by name, in the order in which they run.

    They are computed at once, since an activation may take the output's place in memory.
    """
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def take(module: nn.Module, inputs: tuple[Tensor], output: Tensor, name: str) -> None:
        channels = output.transpose(0, 1).flatten(1)
        found[name] = channels.mean(1), channels.std(1)

    hooks = [
        module.register_forward_hook(partial(take, name=name))
        for name, module in unet.named_modules()
        if isinstance(module, nn.GroupNorm)
    ]
    _run(unet, hooks, examples)
    return found


def _group_moments(unet: UNet3DConditionModel, norm: nn.GroupNorm, examples: Examples) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each group that a normalisation is given, averaged over the windows."""
    found: list[Tensor] = []

    def take(module: nn.Module, inputs: tuple[Tensor]) -> None:
        groups = inputs[0].unflatten(1, (norm.num_groups, -1)).flatten(2)
        found.extend((groups.mean(-1).mean(0), groups.std(-1).mean(0)))

    _run(unet, [norm.register_forward_pre_hook(take)], examples)
    return found[0], found[1]


def _run(unet: UNet3DConditionModel, hooks: Sequence[RemovableHandle], examples: Examples) -> None:
    """One call with hooks, which are removed after it."""
    unet(examples.sample, examples.timesteps, examples.audio)
    for hook in hooks:
        hook.remove()
