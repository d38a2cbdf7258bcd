"""Writes the folder of a model whose UNet has a wider outermost level, see `latentsync.training.widening`."""

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import default_collate

from latentsync.lab.training.assemble import base_folder, stored_part, write_untrained
from latentsync.seeds import seeded_generator
from latentsync.training import unet as unet_training
from latentsync.training.widening import Examples, with_copies

WINDOWS = 24  # on which normalisations are matched
FRAMES = 2


def widen(
    model_dir: str | Path,
    output_dir: Path,
    data_dir: Path,
    share: float = 0.3,
    name: str | None = None,
    seed: int = 1247,
) -> None:
    """Writes the model; everything but the UNet is that of the given model.

    Args:
        model_dir: a shipped model by name, or a folder.
        output_dir: a new folder, or that of an earlier model, which is replaced.
        data_dir: aligned clips of the model's size; `WINDOWS` windows of them are used.
        share: of the copies in the first estimate, see `widening.with_copies`.
        name: of the model; None: its present name.
        seed: of new weights and of the windows' noise.

    Raises:
        WeightsError: there is no such model, or its weights are damaged.
        MediaError: the folder has no clips that can be used.
        OptionError: the model cannot be widened, or the folder is no place for it.
    """
    base = base_folder(model_dir, output_dir)
    task, windows, _ = unet_training.make({"num_frames": FRAMES}, data_dir, base, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        examples = _examples(task, windows, seeded_generator("widen", seed))
        unet = with_copies(task.unet, task.scheduler.config.prediction_type, share, examples)
    write_untrained(base, output_dir, {"unet": stored_part(unet)}, {} if name is None else {"name": name})


@torch.no_grad()
def _examples(task: unet_training.UNetTask, windows: unet_training.WindowSet, generator: torch.Generator) -> Examples:
    chosen = np.linspace(0, len(windows) - 1, min(WINDOWS, len(windows))).round().astype(int)
    batch = default_collate([windows[int(index)] for index in chosen])
    latents, condition = task.latents(batch, "frames", generator), task.condition(batch, generator)
    timesteps = torch.randint(task.scheduler.config.num_train_timesteps, (len(latents),), generator=generator)
    noisy = task.scheduler.add_noise(latents, torch.randn(latents.shape, generator=generator), timesteps)
    sample = torch.cat([noisy, condition.mask, condition.masked, condition.reference], dim=1)
    return Examples(sample, timesteps, condition.audio)
