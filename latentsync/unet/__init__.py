"""The audio-conditioned 3-D UNet."""

from latentsync.unet.model import UNet3DConditionModel

__all__ = ["UNet3DConditionModel"]
