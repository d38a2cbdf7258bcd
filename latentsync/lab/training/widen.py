"""Writes the folder of a model whose UNet has a wider level, see `latentsync.training.widening`."""

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import default_collate

from latentsync.checkpoints.model import load_folder
from latentsync.errors import OptionError
from latentsync.lab.training.assemble import base_folder, stored_part, write_untrained
from latentsync.seeds import seeded_generator
from latentsync.training.clips import find_clips
from latentsync.training.unet import UNetTask
from latentsync.training.unet_settings import UNetSettings
from latentsync.training.widening import Examples, with_channels, with_copies
from latentsync.training.windows import WindowSet

WINDOWS = 24  # on which normalisations are matched
FRAMES = 2


def widen(
    model_dir: str | Path,
    output_dir: Path,
    data_dir: Path,
    level: int = 0,
    channels: int | None = None,
    share: float = 0.3,
    name: str | None = None,
    seed: int = 1247,
) -> None:
    """Writes the model; everything but the UNet is that of the given model.

    Args:
        model_dir: a shipped model by name, or a folder.
        output_dir: a new folder, or that of an earlier model, which is replaced.
        data_dir: aligned clips of the model's size; `WINDOWS` windows of them are used.
        level: which is widened, from the outermost, 0.
        channels: of the wider level; None for level 0, which gets twice what it has.
        share: of the copies that level 0 brings into the first estimate, see `widening.with_copies`.
        name: of the model; None: its present name.
        seed: of new weights and of the windows' noise.

    Raises:
        WeightsError: there is no such model, or its weights are damaged.
        MediaError: the folder has no clips that can be used.
        OptionError: the model cannot be widened so, or the folder is no place for it.
    """
    if level == 0 and channels is not None:
        raise OptionError(f"channels is {channels}, but level 0 gets twice what it has; leave it out, or name a level")
    if level != 0 and channels is None:
        raise OptionError(f"level is {level}; give channels, too, which an inner level shall have")
    base = base_folder(model_dir, output_dir)
    parts = load_folder(base)
    task = UNetTask(parts["unet"], parts["vae"], parts["scheduler"], UNetSettings(num_frames=FRAMES))
    clips = find_clips(data_dir)
    clips = [clips[i] for i in _spread(len(clips))]
    windows = WindowSet(clips, FRAMES, parts["audio"].whisper, seed=seed, wanted=("frames", "reference"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        examples = _examples(task, windows, seeded_generator("widen", seed))
        if channels is None:
            unet = with_copies(task.unet, task.scheduler.config.prediction_type, share, examples)
        else:
            unet = with_channels(task.unet, level, channels, examples)
    write_untrained(base, output_dir, {"unet": stored_part(unet)}, {} if name is None else {"name": name})


def _spread(count: int) -> list[int]:
    """Up to WINDOWS places among `count`, evenly from the first to the last."""
    return [int(i) for i in np.linspace(0, count - 1, min(WINDOWS, count)).round()]


@torch.no_grad()
def _examples(task: UNetTask, windows: WindowSet, generator: torch.Generator) -> Examples:
    batch = default_collate([windows[i] for i in _spread(len(windows))])
    latents, condition = task.latents(batch, "frames", generator), task.condition(batch, generator)
    timesteps = torch.randint(task.scheduler.config.num_train_timesteps, (len(latents),), generator=generator)
    noisy = task.scheduler.add_noise(latents, torch.randn(latents.shape, generator=generator), timesteps)
    sample = torch.cat([noisy, condition.mask, condition.masked, condition.reference], dim=1)
    return Examples(sample, timesteps, condition.audio)
