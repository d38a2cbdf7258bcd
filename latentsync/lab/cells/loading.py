"""Loads the model of a configuration, once for each process, and describes the run that follows."""

from collections.abc import Iterator
from functools import lru_cache

from latentsync.device import precision_text
from latentsync.generation.stage_cache import StageCache
from latentsync.lab.cells.devices import own_device
from latentsync.lab.options.pairs import Pairing
from latentsync.lab.options.schema import ModelConfig, RunConfig
from latentsync.media.kinds import summary_lines
from latentsync.pipeline import LipsyncPipeline
from latentsync.presets import resolve_guidance
from latentsync.runtime import apply_runtime

CACHE_DIR = "cache"  # below runs_dir


@lru_cache(maxsize=1)
def load_pipeline(model: ModelConfig, device: str | None, dtype: str | None, attention: str) -> LipsyncPipeline:
    """The configured model. It stays in memory for the next cell of the same process."""
    place = {"device": device, "dtype": dtype, "attention": attention}
    if model.pretrained is not None:
        return LipsyncPipeline.from_pretrained(model.pretrained, **place)
    return LipsyncPipeline.from_checkpoint(
        model.inference_ckpt_path, model.unet_config_file, vae=model.vae, whisper=model.whisper, **place
    )


def pipeline_of(config: RunConfig) -> LipsyncPipeline:
    """The model of a configuration. It caches the intermediate results that cells share, below `runs_dir`.

    The runtime options hold for this process from then on; each worker calls this before it works.
    """
    runtime, max_bytes = config.options.runtime, int(config.cache.max_gb * 1e9)
    apply_runtime(runtime)
    pipeline = load_pipeline(config.model, runtime.device or own_device(), runtime.dtype, runtime.attention)
    folder = config.runs_dir / CACHE_DIR
    if max_bytes == 0:
        pipeline.cache = None
    elif pipeline.cache is None or (pipeline.cache.folder, pipeline.cache.max_bytes) != (folder, max_bytes):
        pipeline.cache = StageCache(folder, max_bytes)
    return pipeline


def header(config: RunConfig, pairing: Pairing, pipeline: LipsyncPipeline) -> Iterator[str]:
    """The lines that describe a run before it starts: model, device, precision, and the guidance of each gender."""
    settings, runtime = pipeline.settings, config.options.runtime
    label = "" if settings.trained else "  ** UNTRAINED: random weights, the videos only show that the program works **"
    size_px = config.options.video.size_px or settings.size_px
    num_frames = config.options.sampler.num_frames or settings.num_frames
    yield f"model      {settings.name}, crops of {size_px} px, windows of {num_frames} frames{label}"
    precision = precision_text(pipeline.unet.dtype, pipeline.device, "runtime.dtype", runtime.dtype is None)
    yield f"runs on    {pipeline.device} in {precision}"
    sampler, preset = config.options.sampler, config.preset
    for gender in sorted({pair.gender for pair in pairing.pairs}):
        scale = resolve_guidance(sampler, preset, gender).guidance_scale
        origin = f"preset {preset.name}" if sampler.guidance_scale is None else "given"
        number = sum(pair.gender == gender for pair in pairing.pairs)
        yield f"{gender:<10} {number} pair{'s' if number > 1 else ''}, guidance_scale {scale:g} ({origin})"
    for line in summary_lines(pairing.left_out):
        yield f"left out   {line}"
