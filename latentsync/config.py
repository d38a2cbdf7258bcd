"""Every option of the library as a frozen dataclass that refuses values out of range. Knows nothing of Hydra.

`None` means "left open": it is resolved once, by `resolve_*` below, from the gender's preset, the model's own
configuration or the device, and the resolved value is what is printed, recorded and hashed.
"""

import math
from dataclasses import dataclass, field, replace

from latentsync.errors import OptionError

SPEAKER_GENDERS = ("female", "male")
GENDERS = (*SPEAKER_GENDERS, "neutral")  # of a clip: "neutral" where the speaker's is unknown
MASKS = ("mask", "mask2", "mask3", "mask4")
RNGS = ("own", "reference")
LENGTHS = ("sound", "reference")
GEOMETRIES = ("float32", "float16", "lanczos")
ROUNDINGS = ("nearest", "truncate")
REFERENCES = ("same", "elsewhere")
ATTENTION_BACKENDS = ("sdpa", "xformers")
DTYPES = ("float32", "bfloat16", "float16")
SCHEDULERS = ("ddim", "dpmpp_2m", "unipc")
GUIDANCE_SCHEDULES = ("constant", "linear", "cosine", "interval")
GUIDANCE_MASKS = ("uniform", "mouth")

# About the sigmas (0.28, 5.42] that arXiv 2404.07724 found best for SD-XL, as shares of the noise of these models:
# 0.073..0.813 for the published schedule, 0.068..0.750 for the embedded model's
GUIDANCE_INTERVAL = (0.07, 0.8)

DEFAULT_NUM_FRAMES = 8  # frames denoised together, where a model does not say
DEFAULT_SIZE_PX = 256  # side of the aligned crop, where a model does not say
MAX_SEED = 2**63 - 1
MAX_STEPS = 999  # of 1000 training timesteps; the published schedule's offset of 1 leaves no room for one more


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise OptionError(message)


def _require_one_of(value: object, choices: tuple[str, ...], name: str) -> None:
    _require(value in choices, f"{name} {value!r} is unknown; choose one of {', '.join(choices)}")


def is_whole(value: object) -> bool:
    """Whether it is a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class Preset:
    """guidance_scale for each gender of speaker; `neutral` serves clips of no known gender."""

    name: str = "by_gender"
    female: float = 1.8
    male: float = 1.3
    neutral: float = 1.5

    def __post_init__(self) -> None:
        for gender in GENDERS:
            _check_guidance(getattr(self, gender), f"preset.{gender}")

    def guidance_scale(self, gender: str) -> float:
        _require_one_of(gender, GENDERS, "gender")
        return getattr(self, gender)


def _check_guidance(value: float, name: str) -> None:
    _require(
        math.isfinite(value) and value >= 0,
        f"{name} is {value}; it must be a finite number of at least 0 (1 is no guidance, the presets use 1.3 to 1.8)",
    )


@dataclass(frozen=True)
class SamplerOptions:
    """How the latents are denoised.

    Attributes:
        guidance_scale: classifier-free guidance; None takes the preset of the clip's gender. Guidance acts above 1.
        num_inference_steps: steps of the scheduler, 1..999.
        seed: of the noise and of VAE sampling, 0..2^63-1.
        num_frames: frames denoised together (a window); None takes the model's own.
        rng: "own" gives the noise and each use of the VAE a generator of its own, so that results depend on neither
            the device nor the grouping of windows; "reference" draws in the original's order from one generator.
        deepcache_interval: 1 runs the whole network at every step, n at every n-th only (DeepCache); the original's
            `--enable_deepcache` is 3.
        scheduler: the solver: "ddim" as the original; "dpmpp_2m" (DPM-Solver++, second order, arXiv 2211.01095) and
            "unipc" (second order, arXiv 2302.04867) come closer to the result of many steps at 20 and more.
        guidance_schedule: of guidance over the steps, see `denoise.guidance_scales`. "constant" as the original;
            "linear" and "cosine" rise from 1 to 2 * guidance_scale - 1, so that the mean over the steps is
            guidance_scale; "interval" is guidance_scale within guidance_interval and 1 elsewhere.
        guidance_interval: (low, high), shares of the noise, 0 (none left) .. 1 (nothing else): guidance acts where
            low < share <= high. Only "interval" looks at it.
        guidance_mask: "uniform" guides everywhere; "mouth" only what is to be generated, and what the mask keeps
            follows the prediction with audio.
    """

    guidance_scale: float | None = None
    num_inference_steps: int = 20
    seed: int = 1247
    num_frames: int | None = None
    rng: str = "own"
    deepcache_interval: int = 1
    scheduler: str = "ddim"
    guidance_schedule: str = "constant"
    guidance_interval: tuple[float, float] = GUIDANCE_INTERVAL
    guidance_mask: str = "uniform"

    def __post_init__(self) -> None:
        if self.guidance_scale is not None:
            _check_guidance(self.guidance_scale, "guidance_scale")
        steps = self.num_inference_steps
        _require(
            is_whole(steps) and 1 <= steps <= MAX_STEPS,
            f"num_inference_steps is {steps}; it must be a whole number from 1 to {MAX_STEPS} (20 is the usual choice)",
        )
        _require(
            is_whole(self.seed) and 0 <= self.seed <= MAX_SEED,
            f"seed is {self.seed}; it must be a whole number from 0 to 2^63-1 (1247 is the usual choice)",
        )
        frames = self.num_frames
        _require(
            frames is None or (is_whole(frames) and frames >= 1),
            f"num_frames is {frames}; it must be a whole number of at least 1, or null for the model's own",
        )
        _require_one_of(self.rng, RNGS, "rng")
        interval = self.deepcache_interval
        _require(
            is_whole(interval) and interval >= 1,
            f"deepcache_interval is {interval}; it must be a whole number of at least 1 (1 is off, the original has 3)",
        )
        _require_one_of(self.scheduler, SCHEDULERS, "scheduler")
        _require_one_of(self.guidance_schedule, GUIDANCE_SCHEDULES, "guidance_schedule")
        _require_one_of(self.guidance_mask, GUIDANCE_MASKS, "guidance_mask")
        ends = tuple(self.guidance_interval)
        _require(
            len(ends) == 2 and 0 <= ends[0] < ends[1] <= 1,
            f"guidance_interval is {list(ends)}; it must be two shares of the noise, low and high, with "
            f"0 <= low < high <= 1 ({list(GUIDANCE_INTERVAL)} is the usual choice)",
        )
        object.__setattr__(self, "guidance_interval", ends)


@dataclass(frozen=True)
class VideoOptions:
    """What the model sees of a video, and how the result is written.

    Attributes:
        width, height: of the aligned crop in px, multiples of 8 and equal; None takes the model's own.
        mask: which of the original's four mouth masks; None takes the model's own.
        crf: constant rate factor of the H.264 output, 0 (lossless) .. 51.
        length: "sound" makes the fewest frames that are not shorter than the sound; "reference" one or two more, as the
            original does.
        geometry: of the warps. "float32" is the best; "float16" moves faces as the original's 1.6 and late 1.5 do on a
            GPU; "lanczos" aligns and reads them as its 1.0 does.
        rounding: of levels. "nearest" is unbiased; "truncate" darkens by half a level each time, as the original.
        reference: which of the clip's frames shows the model the face. "same" is the frame to be filled, as in the
            original, which leaks the true mouth where a clip gets its own voice; "elsewhere" lies at least 1 s away, as
            in training, see `references.reference_order`. None leaves it open: "same" for the pipeline, and for an
            experiment's record "elsewhere" where the voice is the clip's own.
    """

    width: int | None = None
    height: int | None = None
    mask: str | None = None
    crf: int = 18
    length: str = "sound"
    geometry: str = "float32"
    rounding: str = "nearest"
    reference: str | None = None

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            size = getattr(self, name)
            _require(
                size is None or (is_whole(size) and size >= 64 and size % 8 == 0),
                f"{name} is {size}; it must be a multiple of 8 and at least 64 (256 is the usual choice)",
            )
        if None not in (self.width, self.height):
            _require(
                self.width == self.height,
                f"width {self.width} and height {self.height} differ; the aligned face is square, give one value",
            )
        if self.mask is not None:
            _require_one_of(self.mask, MASKS, "mask")
        _require_one_of(self.length, LENGTHS, "length")
        _require_one_of(self.geometry, GEOMETRIES, "geometry")
        _require_one_of(self.rounding, ROUNDINGS, "rounding")
        if self.reference is not None:
            _require_one_of(self.reference, REFERENCES, "reference")
        _require(
            is_whole(self.crf) and 0 <= self.crf <= 51,
            f"crf is {self.crf}; it must be a whole number from 0 (lossless) to 51 (18 is the usual choice)",
        )

    @property
    def size_px(self) -> int | None:
        return self.width if self.width is not None else self.height


@dataclass(frozen=True)
class RuntimeOptions:
    """Where and how fast; nothing here but `dtype` changes the result.

    Attributes:
        device: a torch device; None takes the GPU where there is one.
        dtype: float32, bfloat16 or float16; None takes what the device runs well.
        batch_size: windows denoised side by side; None chooses by device.
        batch_cells: settings of a sweep that differ in seed or guidance only and are denoised side by side.
    """

    device: str | None = None
    dtype: str | None = None
    batch_size: int | None = None
    batch_cells: int = 1

    def __post_init__(self) -> None:
        _require(
            self.dtype is None or self.dtype in DTYPES,
            f"dtype {self.dtype!r} is unknown; choose one of {', '.join(DTYPES)}, or null for the device's own",
        )
        _require(
            self.batch_size is None or (is_whole(self.batch_size) and self.batch_size >= 1),
            f"batch_size is {self.batch_size}; it must be a whole number of at least 1, or null",
        )
        _require(
            is_whole(self.batch_cells) and self.batch_cells >= 1,
            f"batch_cells is {self.batch_cells}; it must be a whole number of at least 1 (1: one cell at a time)",
        )


@dataclass(frozen=True)
class Options:
    """All options of one generation, as the pipeline takes them."""

    sampler: SamplerOptions = field(default_factory=SamplerOptions)
    video: VideoOptions = field(default_factory=VideoOptions)
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)


@dataclass(frozen=True)
class Resolved:
    """Every option of a generation with nothing left open; what is printed, recorded and hashed.

    `guidance_interval` is None where the schedule does not look at it.
    """

    guidance_scale: float
    num_inference_steps: int
    seed: int
    num_frames: int
    rng: str
    deepcache_interval: int
    size_px: int
    mask: str
    length: str
    geometry: str
    rounding: str
    reference: str
    crf: int
    dtype: str
    device: str
    batch_size: int
    scheduler: str
    guidance_schedule: str
    guidance_interval: tuple[float, float] | None
    guidance_mask: str


def resolve_guidance(sampler: SamplerOptions, preset: Preset, gender: str) -> SamplerOptions:
    """The sampler with its guidance_scale filled in: an explicit value wins over the gender's preset."""
    if sampler.guidance_scale is not None:
        return sampler
    return replace(sampler, guidance_scale=preset.guidance_scale(gender))
