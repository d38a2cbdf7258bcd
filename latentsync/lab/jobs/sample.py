"""Small clips, and a small sweep over them, for trying things without data of one's own."""

import subprocess
import sys
from pathlib import Path

from latentsync.errors import OptionError
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.media.excerpt import excerpt
from latentsync.processes import child_environment

CLIPS = ("g-clara.mp4", "m-oskar.mp4")  # one of each gender, shipped with the project
SWEEP = "small"
SETTINGS = ("sampler.guidance_scale=1.0,2.0", "sampler.num_inference_steps=4", "metrics=quick", "tracker=none")


def sample_clips(
    folder: Path, start_s: float = 0.4, duration_s: float = 1.2, height_px: int | None = None
) -> list[Path]:
    """Writes a short piece of a shipped clip of each gender, and its voice. The folder is created if missing.

    Returns:
        The files of the videos.

    Raises:
        OptionError: the shipped clips are shorter than requested.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [excerpt(SHIPPED_DIR / name, folder, start_s, duration_s, height_px) for name in CLIPS]


def sample_sweep(folder: Path) -> Path:
    """Runs a sweep over two guidance scales on two clips of 1.6 s, in a separate process.

    It takes less than a minute on 2 cores.

    Returns:
        The runs folder; the sweep's name is `SWEEP`.

    Raises:
        OptionError: the sweep failed.
    """
    clips, runs = folder / "clips", folder / "runs"
    sample_clips(clips, start_s=0.5, duration_s=1.6, height_px=256)
    place = ["data=folder", f"data.input_dir={clips}", f"runs_dir={runs}", f"name={SWEEP}"]
    done = subprocess.run(  # noqa: S603 - this program, without a shell
        [sys.executable, "-m", "latentsync", "run", "-m", *place, *SETTINGS], check=False, env=child_environment()
    )
    if done.returncode != 0:
        raise OptionError(f"the small sweep in {folder} ended with status {done.returncode}; its output says why")
    return runs
