"""Makes the pictures of README and docs: results on a shipped clip, and the shipped study's figures.

    latentsync pictures [--output docs] [--study notebooks/study.parquet] [--shots FOLDER]

OUTPUT/result.png result.gif mouths.png guidance.png differences.png pareto.png steps.png
OUTPUT/explorer.png  of the browser tests' screenshots, where --shots has it
"""

import argparse
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from latentsync import LipsyncPipeline, media
from latentsync.errors import LatentSyncError, MediaError
from latentsync.lab.console import say
from latentsync.lab.figures import curves
from latentsync.lab.figures.mouths import mouths
from latentsync.lab.figures.sheets import strips
from latentsync.lab.figures.style import png_bytes
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.tables.tidy import read_source

CLIP, VOICE = "g-clara.mp4", "g-clara-weather.wav"
STEPS, GUIDANCE = 20, 1.8
GIF_S, GIF_HZ, GIF_PX = (0.4, 2.6), 12.5, 168
COLOURS, GIF_COLOURS = 256, 64  # of a picture: a third of the size and hardly seen
METRICS = ("sync_mini_confidence", "landmark_sync_peak", "lpips_alex_mouth")
SHOTS = ("explorer",)
SHOT_PX = 1000  # wide


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="latentsync pictures", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("docs"), help="default: %(default)s")
    parser.add_argument("--study", type=Path, default=Path("notebooks/study.parquet"), help="default: %(default)s")
    parser.add_argument("--shots", type=Path, help="a folder with screenshots of the browser tests")
    told = parser.parse_args(arguments)
    try:
        told.output.mkdir(parents=True, exist_ok=True)
        for name, figure in study_figures(told.study).items():
            write_figure(figure, told.output / f"{name}.png")
        result_pictures(told.output)
        for name in SHOTS:
            if told.shots is not None and (shot := told.shots / f"{name}.png").is_file():
                with Image.open(shot) as image:
                    height = round(image.height * SHOT_PX / image.width)
                    write_image(image.convert("RGB").resize((SHOT_PX, height), Image.LANCZOS), told.output / shot.name)
    except (LatentSyncError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def study_figures(study: Path) -> dict[str, Figure]:
    """The curves of a study, by name.

    Raises:
        MediaError, OptionError: there is no such table, or it has not what is drawn.
    """
    table = read_source(study, None)
    guidance = table.query("num_inference_steps == 20 and scheduler == 'ddim' and seed == 1247")
    steps = table.query("guidance_scale == 1.5 and scheduler == 'ddim' and seed == 1247")
    return {
        "guidance": curves.curves(guidance, "guidance_scale", METRICS, by="gender"),
        "differences": curves.differences(guidance, "guidance_scale", 1.5, METRICS),
        "pareto": curves.pareto(guidance, ["guidance_scale"]),
        "steps": curves.curves(steps, "num_inference_steps", ("sync_mini_confidence", "psnr_mouth", METRICS[2])),
    }


def result_pictures(output: Path) -> None:
    """Frames, mouths and a moving picture of a shipped clip with another sentence by the embedded model."""
    clip = SHIPPED_DIR / CLIP
    pipe = LipsyncPipeline.from_pretrained("mini")
    with tempfile.TemporaryDirectory() as folder:
        result, mask = Path(folder) / "result.mp4", Path(folder) / "mask.mp4"
        settings = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE}
        made = pipe(clip, SHIPPED_DIR / VOICE, result, mask, **settings)
        rows = {"source": clip, "what the model has to fill": mask, "result for another sentence": result}
        write_figure(strips(rows), output / "result.png")
        write_figure(mouths({"source": clip, "result for another sentence": result}, made), output / "mouths.png")
        write_gif([clip, result], output / "result.gif")


def write_figure(figure: Figure, path: Path) -> None:
    """Writes a figure as a small PNG."""
    with Image.open(BytesIO(png_bytes(figure))) as image:
        write_image(image.convert("RGB"), path)


def write_image(image: Image.Image, path: Path) -> None:
    """Writes a picture as a PNG of few colours."""
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    say(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def write_gif(videos: list[Path], path: Path) -> None:
    """Videos side by side as a moving picture, the same piece of each.

    Raises:
        MediaError: a video is shorter than the piece.
    """
    numbers = [round(s * media.VIDEO_RATE_HZ) for s in np.arange(*GIF_S, 1 / GIF_HZ)]
    columns = [list(media.read_frames_in_order(video, numbers, media.VIDEO_RATE_HZ)) for video in videos]
    if any(len(frames) < len(numbers) for frames in columns):
        raise MediaError(f"{path} shows {GIF_S[1]} s; give videos of that length")
    size = GIF_PX, GIF_PX
    frames = [
        Image.fromarray(np.hstack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in row]))
        for row in zip(*columns, strict=True)
    ]
    first, *others = [frame.quantize(GIF_COLOURS, dither=Image.Dither.NONE) for frame in frames]
    first.save(path, save_all=True, append_images=others, duration=round(1000 / GIF_HZ), loop=0, optimize=True)
    say(f"{path}: {path.stat().st_size / 1000:.0f} kB")
