"""The settings of training a UNet, both stages."""

from dataclasses import dataclass

from latentsync.config import MASKS
from latentsync.errors import OptionError
from latentsync.metrics.perceptual import LPIPS_NETS
from latentsync.training.settings import check_choice

TRAINED = {"attentions": ("motion_modules.", "attentions."), "all": ("",)}  # parts of parameters' names
LPIPS_ROWS = ("lower", "hole")


@dataclass(frozen=True)
class UNetSettings:
    """The settings of training a UNet.

    Attributes:
        stage: 1 learns to denoise; 2 adds the losses in pixels.
        num_frames: of a window.
        mask: which of the original's mouth masks.
        audio_dropout: share of the windows without sound, for guidance.
        noise_alpha: how much of the noise the frames share, see `losses.mixed_noise`; 1 is the original's.
        timestep_bias: see `losses.drawn_timesteps`. Above 1 there are more noisy timesteps, which decide the colour and
            place of the mouth; 1 is uniform, as in the original.
        hole_weight: how much more the latents in the mask's hole count; 1 is the original's.
        mouth_weight: how much more again those around the mouth count, a sixth of the face; 1 is the original's.
        lpips_weight, temporal_weight, sync_weight: of stage 2's losses. In the original LPIPS has 0.1 and SyncNet 0.05.
            The temporal loss replaces its TREPA, see `losses.temporal_difference`.
        pixel_weight: of the absolute error of the decoded faces in the mask's hole, in stage 2; the original has none.
        lpips_net: "alex", or "vgg" as in the original.
        lpips_rows: the rows of the face that LPIPS sees: its "lower" half, as in the original, or from the top of the
            mask's "hole" on, since a sixth of the hole lies above that half.
        pixel_windows: how many windows of a batch are decoded for stage 2's losses in pixels, which take longer than
            the rest of a step; 0 is all of them, as in the original.
        pixel_timesteps_below: those losses use only windows with a timestep below this one, since the estimated clean
            latents of a very noisy window are blurred; 1000 is all of them, as in the original.
        trained: what stage 2 trains: "attentions" and motion modules, as in the original, or "all": the convolutions,
            too, which draw the detail that LPIPS sees.
        held_out_share: of the identities, for validation.
        flip, colour_jitter: augmentation, see `windows.WindowSet`.
        latent_copies: number of augmented copies of each clip. Their faces are encoded once and stored beside the
            clips. 0 encodes faces at each step, with a new augmentation.
        validation_steps: DDIM steps of the windows that validation generates.
    """

    stage: int = 1
    num_frames: int = 16
    mask: str = "mask"
    audio_dropout: float = 0.1
    noise_alpha: float = 1.0
    timestep_bias: float = 1.0
    hole_weight: float = 1.0
    mouth_weight: float = 1.0
    lpips_weight: float = 0.1
    temporal_weight: float = 1.0
    sync_weight: float = 0.05
    pixel_weight: float = 0.0
    lpips_net: str = "alex"
    lpips_rows: str = "lower"
    pixel_windows: int = 0
    pixel_timesteps_below: int = 1000
    trained: str = "attentions"
    held_out_share: float = 0.1
    flip: bool = True
    colour_jitter: float = 0.1
    latent_copies: int = 0
    validation_steps: int = 10

    def __post_init__(self) -> None:
        if self.stage not in (1, 2):
            raise OptionError(f"task.stage is {self.stage}; it must be 1 or 2")
        check_choice("trained", self.trained, TRAINED)
        check_choice("mask", self.mask, MASKS)
        if not 0 <= self.audio_dropout < 1:
            raise OptionError(f"task.audio_dropout is {self.audio_dropout}; it must be in 0..1 (0.1 is usual)")
        check_choice("lpips_net", self.lpips_net, LPIPS_NETS)
        check_choice("lpips_rows", self.lpips_rows, LPIPS_ROWS)
        if self.pixel_timesteps_below < 1:
            raise OptionError(f"task.pixel_timesteps_below is {self.pixel_timesteps_below}; it must be at least 1")
        for name in ("noise_alpha", "lpips_weight", "temporal_weight", "sync_weight", "pixel_weight",
                     "pixel_windows", "latent_copies"):  # fmt: skip
            if getattr(self, name) < 0:
                raise OptionError(f"task.{name} is {getattr(self, name)}; it must be at least 0")
        if not self.timestep_bias > 0:
            raise OptionError(f"task.timestep_bias is {self.timestep_bias}; it must be above 0 (1 is the original's)")
        for name in ("hole_weight", "mouth_weight"):
            if not getattr(self, name) > 0:
                raise OptionError(f"task.{name} is {getattr(self, name)}; it must be above 0 (1 is the original's)")
