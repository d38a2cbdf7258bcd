"""Changes an autoencoder's latents and leaves its pictures as they are: their scale, and their number of channels."""

import math
from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL

from latentsync.checkpoints.model import arguments_of, cast
from latentsync.errors import MediaError, OptionError
from latentsync.faces.masks import crops_to_pixels
from latentsync.training.clips import AlignedClip

UNIT_CLIPS, UNIT_FACES = 256, 2  # clips, and faces of each, that `bring_to_unit` measures
SURE_LOG_VARIANCE = -6.0  # of channels that carry nothing yet: a deviation of 0.05


@torch.no_grad()
def bring_to_unit(vae: AutoencoderKL, clips: Sequence[AlignedClip]) -> None:
    """Gives every channel of the latents mean 0 and deviation 1 over some faces of the clips; decoded faces stay.

    With one scaling factor for all channels, a UNet's noise hides weak channels and hardly touches strong ones. Here
    each channel gets an affine map, which is merged into the 1x1 convolutions beside the latents, and the scaling
    factor becomes 1. A UNet that was trained on the earlier latents no longer fits.

    Args:
        vae: changed in place.
        clips: where to measure: a few faces of each of at most 256 clips, spread evenly.

    Raises:
        OptionError: the VAE has no such convolutions, or a channel is the same everywhere.
        MediaError: there is no clip.
    """
    if vae.quant_conv is None or vae.post_quant_conv is None:
        raise OptionError("the VAE has no quant_conv or no post_quant_conv; its latents keep their scaling factor")
    if not clips:
        raise MediaError("there are no clips for measuring latents; give a folder that latentsync prepare wrote")
    chosen = clips[:: math.ceil(len(clips) / UNIT_CLIPS)]
    places = [[round((i + 0.5) * clip.num_frames / UNIT_FACES - 0.5) for i in range(UNIT_FACES)] for clip in chosen]
    means = []
    for clip, wanted in zip(chosen, places, strict=True):
        faces = torch.cat([clip.frames(place, place + 1) for place in wanted])
        means.append(vae.encode(crops_to_pixels(faces).to(vae.device)).latent_dist.mean)
    deviation, mean = torch.std_mean(torch.cat(means), dim=(0, 2, 3))
    if not (deviation > 0).all():
        raise OptionError(f"latents have channels of deviations {deviation.tolist()}; each must be above 0")
    before, after, channels = vae.quant_conv, vae.post_quant_conv, len(mean)
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight *= deviation[:, None, None]
    before.weight[:channels] /= deviation[:, None, None, None]
    before.bias[:channels] = (before.bias[:channels] - mean) / deviation
    before.bias[channels:] -= 2 * deviation.log()
    vae.register_to_config(scaling_factor=1.0, shift_factor=0.0)


@torch.no_grad()
def with_more_latents(vae: AutoencoderKL, channels: int) -> AutoencoderKL:
    """A copy of the autoencoder with more latent channels, which reproduces pictures as before until it is trained.

    The encoder's weights of the new channels are drawn from torch's global generator, and the decoder's are zero. So
    training begins with what the small latents reach, and the new channels learn what these lack.

    Args:
        channels: of the copy's latents, more than the autoencoder has.

    Raises:
        OptionError: there are not more channels, or the VAE has no convolutions beside its latents.
    """
    had = vae.config.latent_channels
    if channels <= had:
        raise OptionError(f"latent_channels is {channels}; the autoencoder has {had}, give more")
    if vae.quant_conv is None or vae.post_quant_conv is None:
        raise OptionError("the VAE has no quant_conv or no post_quant_conv; its latents keep their channels")
    wide = AutoencoderKL.from_config(arguments_of(vae) | {"latent_channels": channels})
    old, new = vae.state_dict(), wide.state_dict()
    changed = {key for key in old if old[key].shape != new[key].shape}
    new.update({key: value for key, value in old.items() if key not in changed})
    rows = [*range(had), *range(channels, channels + had)]  # means, then logarithms of variances
    for kind in ("weight", "bias"):
        new[f"encoder.conv_out.{kind}"][rows] = old[f"encoder.conv_out.{kind}"]
        new[f"encoder.conv_out.{kind}"][channels + had :] = SURE_LOG_VARIANCE if kind == "bias" else 0.0
    for name, kept in (("quant_conv", rows), ("post_quant_conv", [*range(had)])):
        new[f"{name}.weight"].copy_(torch.eye(len(new[f"{name}.bias"]))[..., None, None])
        new[f"{name}.bias"].zero_()
        new[f"{name}.bias"][kept] = old[f"{name}.bias"]
        new[f"{name}.weight"][torch.tensor(kept)[:, None], kept] = old[f"{name}.weight"]
    new["decoder.conv_in.weight"].zero_()
    new["decoder.conv_in.weight"][:, :had] = old["decoder.conv_in.weight"]
    wide.load_state_dict(new)
    cast(wide, vae.device, vae.dtype)
    return wide
