"""Every option of the library, each defined in one place: a field of a frozen dataclass, with its metadata.

Everything else follows from a field's metadata: its check, the pipeline's keyword, its part in a record's identity, its
columns, labels and words in tables, figures and reports, and its part in estimates of time. This module does not use
Hydra, and importing it is cheap.

`None` leaves an option open. `LipsyncPipeline.resolve` fills it in once, from the gender's preset, the model or the
device. The filled-in value is printed, recorded and hashed.
"""

import inspect
import math
import textwrap
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any, TypeVar

from latentsync.constants import VIDEO_RATE_HZ
from latentsync.errors import OptionError, closest_name, did_you_mean
from latentsync.option import OptionInfo, is_number, option, section_infos
from latentsync.plugins import SCHEDULERS_GROUP

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
SPEAKER_GENDERS = ("female", "male")
GENDERS = (*SPEAKER_GENDERS, "neutral")  # of a clip: "neutral" if the speaker's gender is unknown
MASKS = ("mask", "mask2", "mask3", "mask4")
RNGS = ("own", "reference")
LENGTHS = ("sound", "clip", "shortest", "reference")
GEOMETRIES = ("float32", "float16", "lanczos")
ROUNDINGS = ("nearest", "truncate")
REFERENCES = ("same", "elsewhere")
SOUNDS = ("auto", "copy", "lossless")
AUTO = "auto"
FACES = ("largest", "left", "right", "centre")  # words of `face`; it may also be a number or a point
DEFAULT_FACE = "largest"
ATTENTION_BACKENDS = ("sdpa", "xformers")
DTYPES = ("float32", "bfloat16", "float16")
SCHEDULERS = ("ddim", "dpmpp_2m", "unipc", "student")
GUIDANCE_SCHEDULES = ("constant", "linear", "cosine", "interval")
AUDIO_SEGMENTS = ("reference", "overlap")
SILENCES = ("model", "rest", "source")
GUIDANCE_MASKS = ("uniform", "mouth")
GUIDANCE_KINDS = ("plain", "projected", "zero_star")
FPS = ("25", "source")
LOOPS = ("pingpong", "loop", "hold")

# About the sigmas (0.28, 5.42] that arXiv 2404.07724 found best for SD-XL, as shares of the noise of these models:
# 0.073..0.813 for the published schedule, 0.068..0.750 for the embedded model's.
GUIDANCE_INTERVAL = (0.07, 0.8)

DEFAULT_NUM_FRAMES = 8  # frames denoised together, if the model does not say
DEFAULT_SIZE_PX = 256  # side of the aligned crop, if the model does not say
MIN_DURATION_S = 0.2  # the shortest sound that lips can follow
MAX_SEED = 2**63 - 1
USUAL_STEPS = 20  # of a model that says nothing else
STUDENT_STEPS = 4  # the most steps of a student
MAX_STEPS = 999  # of 1000 training timesteps; the published schedule has an offset of 1, so 1000 is too many


def face_place(face: Any) -> str | int | tuple[float, float]:
    """What a choice of `VideoOptions.face` means: a word of FACES, a number from the left from 1, or a point x, y.

    Args:
        face: the choice as text, or a number, or a list of two numbers.

    Raises:
        OptionError: it is none of them.
    """
    text = ",".join(map(str, face)) if isinstance(face, list | tuple) else str(face)
    parts = [part.strip() for part in text.split(",")]
    if text in FACES:
        return text
    if len(parts) == 1 and parts[0].isdecimal() and int(text) >= 1:
        return int(text)
    with suppress(ValueError):
        x, y = map(float, parts)
        if 0 <= x < math.inf and 0 <= y < math.inf:
            return x, y
    near = closest_name(text, FACES)
    hint = f" (did you mean {near}?)" if near else ""
    raise OptionError(
        f"face is {text!r}; it must be one of {', '.join(FACES)}, a number from 1 (1 is the leftmost face), or a point "
        f'"x,y" of at least 0 px that lies on the face{hint}'
    )


def face_text(face: Any) -> str:
    """A choice of `VideoOptions.face` in its one form: "left", "2", "320,240"; raises the error of `face_place`."""
    place = face_place(face)
    return ",".join(f"{number:g}" for number in place) if isinstance(place, tuple) else str(place)


def memory_text(memory: Any) -> str:
    """A choice of `RuntimeOptions.memory` in its one form: "auto", or a number of GB such as "6".

    Args:
        memory: the choice as text, with or without the unit, or a number.

    Raises:
        OptionError: it is neither, or not above 0.
    """
    text = str(memory).strip()
    if text == AUTO:
        return text
    with suppress(ValueError):
        gigabytes = float(text.upper().removesuffix("GB"))
        if 0 < gigabytes < math.inf and not isinstance(memory, bool):
            return f"{gigabytes:.12g}"
    raise OptionError(f"memory is {text!r}; it must be {AUTO}, or a number of GB above 0 such as 6")


def _check(section: object) -> None:
    kind: Any = type(section)  # mypy takes a class of unknown type for one that has no hash
    for info in section_infos(kind):
        info.check(getattr(section, info.name))


@dataclass(frozen=True)
class SamplerOptions:
    """How the latents are denoised."""

    guidance_scale: float | None = option(
        None,
        "classifier-free guidance; it acts above 1. Open: by the preset of the clip's gender (1.8, 1.3 or 1.5).",
        "guidance {}", "guidance", least=0, hint="1 is no guidance, the presets use 1.3 to 1.8", is_open=True,
        in_identity="always", source="Ho and Salimans, arXiv 2207.12598",
    )  # fmt: skip
    num_inference_steps: int | None = option(
        None, "steps of the scheduler. Open: the model's own, 20 for most.", "{} steps", "steps", whole=True, least=1,
        most=MAX_STEPS, hint="20 is the usual choice", unit="steps", source="the original's --inference_steps",
        is_open=True, absent=USUAL_STEPS, in_identity="always",
    )  # fmt: skip
    seed: int = option(
        1247, "seed of all random numbers: the noise and the VAE's samples.", "seed {}", whole=True, least=0,
        most=MAX_SEED, hint="1247 is the usual choice", source="the original's --seed", in_identity="always",
    )  # fmt: skip
    num_frames: int | None = option(
        None, "frames denoised together (a window). Open: the model's own.", "windows of {} frames", "window",
        whole=True, least=1, unit="frames", source="num_frames of the original's configurations", is_open=True,
        in_identity="always",
    )  # fmt: skip
    rng: str = option(
        "own",
        'how random numbers are drawn. "own" uses one generator for the noise and one for each use of the VAE, so '
        'results depend neither on the device nor on how windows are grouped; "reference" draws all numbers from one '
        "generator, in the original's order.",
        "rng {}", choices=RNGS, in_identity="always",
    )  # fmt: skip
    deepcache_interval: int = option(
        1,
        "1 runs the whole network at every step; n runs it at every n-th step only (DeepCache). The original's "
        "`--enable_deepcache` is 3.",
        "DeepCache {}", "DeepCache", whole=True, least=1, hint="1 is off, the original has 3",
        unit="steps", source="arXiv 2312.00858",
        in_identity="always", in_cost=True,
    )  # fmt: skip
    deepcache_order: int = option(
        0,
        "how DeepCache fills in the deep features of the steps between. 0 repeats those of the last whole step; 1 "
        "extrapolates them from the last two whole steps, linearly in the logarithm of signal to noise. With an "
        "interval of 1 it has no effect.",
        "DeepCache order {}", "DeepCache order", whole=True, least=0, most=1, hint="0 repeats, 1 extrapolates",
        source="0 arXiv 2312.00858, 1 after arXiv 2503.06923",
    )  # fmt: skip
    deepcache_final_steps: int = option(
        0,
        "how many of the last steps run the whole network although DeepCache would not. With an interval of 1 it has "
        "no effect.",
        "last {} steps whole", "whole last steps", whole=True, least=0, most=MAX_STEPS, hint="0 is the paper's",
        unit="steps", in_cost=True,
    )  # fmt: skip
    scheduler: str | None = option(
        None,
        'the solver. "ddim" is the original\'s; "dpmpp_2m" (DPM-Solver++, second order) and "unipc" (second order) '
        'come closer to the result of many steps, from 20 steps on. "student" is for models that were distilled to at '
        'most 4 steps, and the only one for them. Installed packages may add others. Open: "student" for such a model, '
        'else "ddim", or the scheduler that was assigned to the pipeline.',
        "{}", choices=SCHEDULERS, plugins=SCHEDULERS_GROUP, is_open=True, absent="ddim",
        source="ddim arXiv 2010.02502, dpmpp_2m arXiv 2211.01095, unipc arXiv 2302.04867, student arXiv 2210.03142",
    )  # fmt: skip
    guidance_schedule: str = option(
        "constant",
        'guidance over the steps. "constant" is the original\'s; "linear" and "cosine" rise from 1 to 2 * '
        "guidance_scale - 1, so that the mean is guidance_scale; "
        '"interval" guides within guidance_interval only.',
        "{} guidance", "schedule", choices=GUIDANCE_SCHEDULES,
        source="linear and cosine arXiv 2404.13040, interval arXiv 2404.07724",
    )  # fmt: skip
    guidance_interval: tuple[float, float] | None = option(
        GUIDANCE_INTERVAL,
        "(low, high), shares of the noise from 0 (none left) to 1 (nothing else): guidance acts where low < share <= "
        'high. Only the schedule "interval" uses it.',
        "guided in {}", "interval", unit="shares of the noise", source="arXiv 2404.07724", is_open=True, absent=None,
    )  # fmt: skip
    guidance_mask: str = option(
        "uniform",
        'where guidance acts. "uniform": everywhere; "mouth": only in the generated region. Elsewhere the prediction '
        "with audio is used without guidance.",
        "guidance in the {}", "guided", choices=GUIDANCE_MASKS,
    )  # fmt: skip
    guidance_every: int = option(
        1,
        "1 computes the prediction without audio at every guided step; k computes it at every k-th one only, and the "
        "guided steps between take the last difference between the predictions with and without audio.",
        "without audio every {} steps", "guidance every", whole=True, least=1, most=MAX_STEPS, hint="1 is off",
        unit="guided steps", source="arXiv 2410.19355",
    )  # fmt: skip
    guidance_kind: str = option(
        "plain",
        'how the predictions with and without audio are combined. "plain": classifier-free guidance; "projected": only '
        "the part of their difference that is orthogonal to the clean latents with audio; see guidance_parallel, "
        'guidance_norm and guidance_momentum; "zero_star": the prediction without audio is scaled to lie as near as it '
        "can to the one with audio, and the first guidance_zero_steps steps change nothing.",
        "{} guidance", "guidance kind", choices=GUIDANCE_KINDS,
        source="projected arXiv 2410.02416, zero_star arXiv 2503.18886",
    )  # fmt: skip
    guidance_parallel: float | None = option(
        0.0,
        'how much of the part along the clean latents is used. Only the kind "projected" uses it; 1 without limit and '
        "momentum is plain guidance.",
        "{} of the parallel part", "parallel part", least=0, most=1, hint="0 is the paper's, 1 is all of it",
        is_open=True, absent=None, source="eta of arXiv 2410.02416",
    )  # fmt: skip
    guidance_norm: float | None = option(
        0.06,
        "the largest root mean square of the difference between the clean latents with and without audio, over a "
        'window; a larger one is scaled down. 0 is no limit. Only the kind "projected" uses it.',
        "difference at most {}", "guidance norm", least=0, hint="0.06 is the paper's 15 for SDXL, 0 is no limit",
        is_open=True, absent=None, source="r of arXiv 2410.02416, which is a norm: r = guidance_norm * sqrt(elements)",
    )  # fmt: skip
    guidance_momentum: float | None = option(
        -0.5,
        "how much of the average of the steps before is added to the difference; negative takes back some of it. Only "
        'the kind "projected" uses it.',
        "momentum {}", "momentum", least=-1, most=1, hint="-0.5 is the paper's, 0 is off", is_open=True, absent=None,
        source="beta of arXiv 2410.02416",
    )  # fmt: skip
    guidance_zero_steps: int | None = option(
        1,
        'how many of the first steps leave the latents as they are. Only the kind "zero_star" uses it.',
        "{} steps at rest", "steps at rest", whole=True, least=0, most=MAX_STEPS, hint="1 is the paper's, 0 is off",
        unit="steps", is_open=True, absent=None, source="arXiv 2503.18886",
    )  # fmt: skip
    guidance_rescale: float = option(
        0.0,
        "how far the guided prediction is scaled back to the standard deviation of the one with audio, from 0 (not at "
        "all) to 1. It acts on every kind of guidance.",
        "rescaled {}", "guidance rescale", least=0, most=1, hint="0 is off, the paper has 0.7",
        source="phi of arXiv 2305.08891; guidance_rescale of diffusers",
    )  # fmt: skip
    window_overlap: int = option(
        0,
        "frames that neighbouring windows share, at most half a window. They are blended after each step, with a "
        "linear ramp. The original has 0. A window of f frames then adds f - window_overlap, so time grows.",
        "windows share {} frames", "overlap", whole=True, least=0, hint="0 is the original's",
    )  # fmt: skip

    def __post_init__(self) -> None:
        _check(self)
        self._check_steps()
        if self.guidance_interval is None:
            return
        ends = self.guidance_interval
        is_pair = isinstance(ends, list | tuple) and len(ends) == 2 and all(map(is_number, ends))
        if not (is_pair and 0 <= ends[0] < ends[1] <= 1):
            value = list(ends) if isinstance(ends, list | tuple) else ends
            raise OptionError(
                f"guidance_interval is {value}; it must be two shares of the noise, low and high, with "
                f"0 <= low < high <= 1 ({list(GUIDANCE_INTERVAL)} is the usual choice)"
            )
        object.__setattr__(self, "guidance_interval", tuple(ends))

    def _check_steps(self) -> None:
        if self.num_inference_steps is None:  # checked when the model has filled it in
            return
        if self.scheduler == "student" and self.num_inference_steps > STUDENT_STEPS:
            raise OptionError(
                f"num_inference_steps is {self.num_inference_steps}; the scheduler student makes 1 to {STUDENT_STEPS} "
                f"steps; set num_inference_steps={STUDENT_STEPS}"
            )
        if self.guidance_every > self.num_inference_steps:
            raise OptionError(
                f"guidance_every is {self.guidance_every}, but there are {self.num_inference_steps} steps; give "
                f"at most {self.num_inference_steps}, or 1 to compute the prediction without audio at every step"
            )
        if self.deepcache_final_steps > self.num_inference_steps:
            raise OptionError(
                f"deepcache_final_steps is {self.deepcache_final_steps}, but there are {self.num_inference_steps} "
                f"steps; give at most {self.num_inference_steps}, or deepcache_interval=1 to run all of them whole"
            )
        if (self.guidance_zero_steps or 0) > self.num_inference_steps and self.guidance_kind == "zero_star":
            raise OptionError(
                f"guidance_zero_steps is {self.guidance_zero_steps}, but there are {self.num_inference_steps} steps; "
                f"give at most {self.num_inference_steps}, or 0 to leave none of them at rest"
            )


@dataclass(frozen=True)
class VideoOptions:
    """What the model sees of a video, and how the result is written."""

    width: int | None = option(
        None, "side of the aligned crop. Open: the model's own.", "{} px", "size (px)", whole=True, least=64,
        multiple=8, hint="256 is the usual choice", unit="px", source="resolution of the original's configurations",
        is_open=True, in_identity="always", in_cost=True,
    )  # fmt: skip
    height: int | None = option(
        None, "equal to width; the aligned crop is square.", "{} px", "size (px)", whole=True, least=64, multiple=8,
        hint="256 is the usual choice", unit="px", is_open=True,
    )  # fmt: skip
    mask: str | None = option(
        None,
        "which of the original's four mouth masks. Open: the model's own.",
        "{}",
        choices=MASKS,
        source="mask_image_path of the original's configurations",
        is_open=True,
        in_identity="always",
    )
    crf: int = option(
        18, "constant rate factor of the H.264 output: 0 is lossless.", "crf {}", whole=True, least=0, most=51,
        hint="18 is the usual choice", in_identity="always",
    )  # fmt: skip
    length: str = option(
        "sound",
        'how long the result is. "sound" makes just enough frames to cover the sound; "clip" is as long as the clip: '
        'after the sound it plays on as it is; "shortest" ends with the shorter of both; "reference" makes one or two '
        "frames more than the sound needs, as the original does.",
        "length by {}", choices=LENGTHS, in_identity="always",
    )  # fmt: skip
    geometry: str = option(
        "float32",
        'arithmetic of the warps. "float32" is the best; "float16" moves faces slightly, as the original\'s 1.6 and '
        'late 1.5 do on a GPU; "lanczos" aligns and reads faces as its 1.0 does.',
        "{} geometry", choices=GEOMETRIES, in_identity="always",
    )  # fmt: skip
    rounding: str = option(
        "nearest",
        'rounding of pixel levels. "nearest" has no bias; "truncate" darkens by half a level each time, as in the '
        "original.",
        "rounding {}", choices=ROUNDINGS, in_identity="always",
    )  # fmt: skip
    reference: str | None = option(
        None,
        'which frame of the clip shows the model the face. "same" is the frame to be filled, as in the original; it '
        'leaks the true mouth if a clip gets its own voice. "elsewhere" lies at least 1 s away, as in training. '
        'Open: "same" for the pipeline; for a record, "elsewhere" if the voice is the clip\'s own.',
        "reference {}", choices=REFERENCES, is_open=True, absent="same", by_pair=True,
    )  # fmt: skip
    sound: str = option(
        "auto",
        'how the voice is stored in the result. "auto" copies AAC-LC and encodes all else as AAC of the same rate and '
        'channels, which phones and editors play; "copy" copies every sound that players of MP4 know; "lossless" '
        "copies AAC and MP3 and stores all else as FLAC, which many phones do not play.",
        "{} sound", choices=SOUNDS, absent="lossless",
    )  # fmt: skip
    face: Any = option(  # noqa: RUF009 (text, a number or a list; kept as text)
        DEFAULT_FACE,
        "which face of a clip that shows several people. One of largest, left, right, centre; or a number, counted "
        'from the left, from 1; or a point "x,y" in px of the clip that lies on the face. It is chosen again in each '
        "shot. The pairs of a list may have their own (column face).",
        "face {}", by_pair=True,
    )  # fmt: skip
    min_face_share: float = option(
        0.1,
        "the least share of the result's frames that must show the chosen face; the others are the clip's, unchanged. "
        "A pair below it is refused.",
        "faces in {} of the frames", least=0, most=1, hint="0 takes any clip with a face", in_identity="never",
        is_recorded=False,
    )  # fmt: skip
    fps: str = option(
        "25",
        'frames per second. "25" reads the clip at the rate of training. "source" makes a mouth for every frame of the '
        "clip, with the sound at the frame's own time, and keeps the clip's times, also those of a variable rate. It "
        "takes as many times longer as there are more frames: 2.4 times for 60 frames/s.",
        "fps {}", choices=FPS,
    )  # fmt: skip
    loop: str = option(
        "pingpong",
        'how a clip goes on if the sound is longer. "pingpong": backward and forward, as in the original; "loop": from '
        'its start again; "hold": its last frame stays.',
        "loop {}", choices=LOOPS,
    )  # fmt: skip
    voice_track: int | None = option(
        None,
        "which sound track of the voice's file is the voice, counted from 0. Open: the default one, as in players.",
        "sound track {}", whole=True, least=0, hint="most files have one track", is_open=True, absent=None,
        by_pair=True,
    )  # fmt: skip
    audio_segments: str = option(
        "reference",
        'how Whisper reads a voice of more than 30 s. "reference" cuts it into segments of 30 s, as the original does; '
        '"overlap" lets segments share 4 s, and goes from one to the next within 2 s.',
        "{} segments", "segments", choices=AUDIO_SEGMENTS,
    )  # fmt: skip
    silence: str = option(
        "model",
        "the mouth in stretches of at least 0.3 s in which a detector hears no speech. \"model\" is what the model "
        'makes of the sound, as in the original; "rest" is a resting mouth, which the model makes of digital silence '
        'and of the frame with the smallest lip gap (it runs twice there); "source" is the clip\'s own. The mouth goes '
        "over within 3 frames.",
        "{} in silence", "silence", choices=SILENCES, in_cost=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        if is_number(self.fps):
            object.__setattr__(self, "fps", f"{self.fps:g}")
        _check(self)
        object.__setattr__(self, "face", face_text(self.face))
        if None not in (self.width, self.height) and self.width != self.height:
            raise OptionError(
                f"width {self.width} and height {self.height} differ; the aligned face is square, give one value"
            )

    @property
    def size_px(self) -> int | None:
        """The side of the aligned crop; None if it is open."""
        return self.width if self.width is not None else self.height

    @property
    def rate_hz(self) -> float | None:
        """The rate at which the clip is read; None: its own frames."""
        return None if self.fps == "source" else VIDEO_RATE_HZ


@dataclass(frozen=True)
class RuntimeOptions:
    """Where and how fast the networks run; only `dtype` and `attention` change the result."""

    device: str | None = option(
        None, "a torch device. Open: the GPU, if there is one.", "on {}", is_open=True, in_identity="never"
    )
    dtype: str | None = option(
        None, "the networks' precision. Open: what the device runs well.", "{}", choices=DTYPES, is_open=True,
        in_identity="always", in_cost=True,
    )  # fmt: skip
    attention: str = option(
        "sdpa", 'the attention backend: "sdpa" is torch\'s own, "xformers" needs an NVIDIA GPU.', "{}",
        choices=ATTENTION_BACKENDS, in_identity="beside", in_cost=True,
    )  # fmt: skip
    batch_size: int | None = option(
        None, "windows denoised side by side. Open: by device.", "batches of {}", whole=True, least=1,
        unit="windows", is_open=True, in_identity="never",
    )  # fmt: skip
    batch_cells: int = option(
        1, "how many settings of a sweep are denoised side by side; they may differ in seed and guidance only.",
        "{} cells at once", whole=True, least=1, hint="1: one cell at a time", unit="cells", in_identity="never",
        is_recorded=False,
    )  # fmt: skip
    memory: str = option(
        "auto",
        'the memory that the networks may take: "auto" is what is free, or a number of GB such as 6. It decides how '
        "much they compute at a time, which changes only the speed. Frames and the program itself (about 1 GB) come on "
        "top. Where the memory runs out nevertheless, they go on with the smallest portions.",
        "memory {}", hint="auto, or a number of GB such as 6", in_identity="never", is_recorded=False,
    )  # fmt: skip
    durable: bool = option(
        True, "whether files are forced to the disk (fsync) before they get their names; false is for slow shares.",
        "durable {}", in_identity="never", is_recorded=False,
    )  # fmt: skip
    isolate_decoding: bool = option(
        False,
        "true tries each new file in a child process with limits, so that a crash of a decoder costs the file's pairs "
        "only. For files of strangers; each file is decoded once more.",
        "isolated decoding {}", in_identity="never", is_recorded=False,
    )  # fmt: skip

    def __post_init__(self) -> None:
        _check(self)
        object.__setattr__(self, "memory", memory_text(self.memory))

    @property
    def memory_bytes(self) -> int | None:
        """The memory that the networks may take; None: what is free."""
        return None if self.memory == AUTO else round(float(self.memory) * 1e9)


SECTIONS = {"sampler": SamplerOptions, "video": VideoOptions, "runtime": RuntimeOptions}


@dataclass(frozen=True)
class Options:
    """All options of one generation. `LipsyncPipeline.resolve` fills in those that are open."""

    sampler: SamplerOptions = field(default_factory=SamplerOptions)
    video: VideoOptions = field(default_factory=VideoOptions)
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)

    @classmethod
    def of(cls, **named: Any) -> "Options":
        """Options by name, of any section.

        Raises:
            OptionError: a name is unknown (the message gives the closest one), or a value is out of range.
        """
        return cls().changed(**named)

    def changed(self, **named: Any) -> "Options":
        """These options with other values, by name; raises the errors of `of`."""
        sections = {name: {one.name for one in fields(kind)} for name, kind in SECTIONS.items()}
        known = sorted(set().union(*sections.values()))
        for name in named:
            if name not in known:
                raise OptionError(f"the option {name} is unknown; {did_you_mean(name, known, 0.5)}")
        return Options(**{
            name: replace(getattr(self, name), **{key: value for key, value in named.items() if key in names})
            for name, names in sections.items()
        })  # fmt: skip

    def but_seed_and_guidance(self) -> "Options":
        """The options with a fixed seed and guidance. Settings for which these are equal may be denoised together."""
        return self.changed(seed=0, guidance_scale=1.0)

    def flat(self) -> dict[str, Any]:
        """The options that records keep, by name; `size_px` stands for width and height."""
        named = {name: value for section in SECTIONS for name, value in vars(getattr(self, section)).items()}
        named["size_px"] = self.video.size_px
        return {name: named[name] for name in recorded_infos()}


def takes_options(**defaults: Any) -> Callable[[Decorated], Decorated]:
    """Decorates a function with `**options`: its signature and docstring then list every option of `Options`.

    An option that is a parameter of the function already is left out.

    Args:
        defaults: the function's own defaults, by option, where they differ from those of `Options`.
    """

    def decorate(function: Decorated) -> Decorated:
        signature = inspect.signature(function)
        parameters = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        lines = [inspect.cleandoc(function.__doc__ or ""), "", "Options:"]
        wrapper = textwrap.TextWrapper(110, " " * 8, " " * 12, break_long_words=False, break_on_hyphens=False)
        for kind in SECTIONS.values():
            lines.append(f"    {(kind.__doc__ or kind.__name__).rstrip('.')}:")
            types = {one.name: one.type for one in fields(kind)}
            for info in section_infos(kind):
                if info.name not in signature.parameters:
                    facts = {"default": defaults.get(info.name, info.default), "annotation": types[info.name]}
                    parameters.append(inspect.Parameter(info.name, inspect.Parameter.KEYWORD_ONLY, **facts))
                    lines.append(wrapper.fill(info.described(facts["default"])))
        function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        function.__doc__ = "\n".join(lines)
        return function

    return decorate


@cache
def recorded_infos() -> Mapping[str, OptionInfo]:
    """The options that records and tables keep, by name and in order; `size_px` stands for width and height."""
    infos = [info for kind in SECTIONS.values() for info in section_infos(kind) if info.is_recorded]
    named = {info.name: info for info in infos if info.name != "height"}
    return {("size_px" if name == "width" else name): info for name, info in named.items()}


def recorded_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a record. An option that is newer than the record has the value that was in effect before it."""
    return {name: options.get(name, info.record_default) for name, info in recorded_infos().items()}
