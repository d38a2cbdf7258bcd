"""Make the pictures and tables of README, docs and experiments.

    latentsync pictures [results studies notebooks shots options] [--output docs] [--studies experiments]
                        [--notebooks notebooks] [--shots FOLDER]

results    OUTPUT/result.png result.gif mouths.png
studies    STUDIES/NAME/*.png, and the results in STUDIES/NAME/README.md, from STUDIES/NAME/table.parquet
notebooks  OUTPUT/notebooks/*.md with their pictures; takes minutes
shots      OUTPUT/explorer.png, from the browser tests' screenshots in --shots
options    OUTPUT/options.md, from the metadata of the options
"""

import tempfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.lab.console import ArgumentParser, command, say

if TYPE_CHECKING:
    from latentsync.lab.pages.studies import Results

CLIP, VOICE = "g-clara.mp4", "g-clara-weather.wav"
MODEL, GUIDANCE = "mini-256", 1.0  # above 1 its mouths get darker
SHOTS = {"explorer_1280": "explorer"}  # the screenshot's name, and that of the picture
SHOT_PX = 1000  # width
NOTEBOOKS = ("00_quickstart", "01_inside_the_pipeline", "02_guidance_sweep", "05_metrics_under_test")
OF_RECORDS = ("guidance", "guidance_kinds", "steps", "gender_presets")  # studies whose table comes from a sweep


MAKERS: dict[str, Callable[[Namespace], None]] = {
    "results": lambda args: result_pictures(args.output),
    "studies": lambda args: study_pages(args.studies),
    "notebooks": lambda args: executed_notebooks(args.notebooks, args.output / "notebooks"),
    "shots": lambda args: screenshots(args.shots, args.output),
    "options": lambda args: options_reference(args.output),
}


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync pictures", description=__doc__)
    parser.add_argument("what", nargs="*", help=f"some of {', '.join(MAKERS)}; default: all")
    parser.add_argument("--output", type=Path, default=Path("docs"), help="default: %(default)s")
    parser.add_argument("--studies", type=Path, default=Path("experiments"), help="default: %(default)s")
    parser.add_argument("--notebooks", type=Path, default=Path("notebooks"), help="default: %(default)s")
    parser.add_argument("--shots", type=Path, help="a folder with screenshots of the browser tests")
    return parser


def parse(arguments: list[str] | None) -> Namespace:
    """The arguments, checked."""
    args = parser().parse_args(arguments)
    if unknown := sorted(set(args.what) - set(MAKERS)):
        parser().error(f"unknown: {', '.join(unknown)}; choose some of {', '.join(MAKERS)}")
    return args


@command()
def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    args = parse(arguments)
    for name in args.what or MAKERS:
        MAKERS[name](args)


def study_results(studies: Path, name: str) -> "Results":
    """The results on a study's page, computed from its table.

    Raises:
        MediaError, OptionError: there is no such table, or it lacks columns or rows that the page needs.
    """
    from latentsync.lab.evaluation.sensitivity import effects, judged
    from latentsync.lab.pages.studies import STUDIES, TABLE_FILE
    from latentsync.lab.tables.tidy import read_source, read_table

    path = studies / name / TABLE_FILE
    table = read_source(path, None) if name in OF_RECORDS else read_table(path)
    return STUDIES[name](effects(table[table["metric"].map(judged)]) if name == "measures" else table)


def study_pages(studies: Path) -> None:
    """Writes the figures and the results of every study."""
    from latentsync.lab.figures.pictures import write_figure
    from latentsync.lab.pages.studies import PAGE_FILE, STUDIES, write_results

    for name in STUDIES:
        results = study_results(studies, name)
        for figure_name, figure in results.figures.items():
            write_figure(figure, studies / name / f"{figure_name}.png")
        write_results(studies / name / PAGE_FILE, results.text)


def executed_notebooks(notebooks: Path, output: Path) -> None:
    """Runs the notebooks that the docs show, and writes them as Markdown."""
    from latentsync.lab.pages.executed import execute, write_executed

    for name in NOTEBOOKS:
        source, target = notebooks / f"{name}.ipynb", output / f"{name}.md"
        write_executed(execute(source), source, target, NOTEBOOKS)
        size = sum(path.stat().st_size for path in [target, *target.parent.glob(f"{name}_files/*")])
        say(f"{target}: {size / 1000:.0f} kB with its pictures")


def screenshots(shots: Path | None, output: Path) -> None:
    """Writes smaller copies of the browser tests' screenshots, where the folder has them."""
    from PIL import Image

    from latentsync.lab.figures.pictures import write_image

    for name, picture in SHOTS.items():
        if shots is not None and (shot := shots / f"{name}.png").is_file():
            with Image.open(shot) as image:
                height = round(image.height * SHOT_PX / image.width)
                write_image(image.convert("RGB").resize((SHOT_PX, height), Image.LANCZOS), output / f"{picture}.png")


def options_reference(output: Path) -> None:
    """Writes the page of all options."""
    from latentsync.files import write_text
    from latentsync.lab.options.reference import options_page

    write_text(output / "options.md", options_page())


def result_pictures(output: Path) -> None:
    """Frames, mouths and an animated picture: a shipped clip to which a shipped model gives another sentence."""
    from latentsync import LipsyncPipeline
    from latentsync.lab.figures.mouths import mouths
    from latentsync.lab.figures.pictures import write_figure, write_gif
    from latentsync.lab.figures.sheets import strips
    from latentsync.lab.options.pairs import SHIPPED_DIR

    clip = SHIPPED_DIR / CLIP
    pipe = LipsyncPipeline.from_pretrained(MODEL)
    with tempfile.TemporaryDirectory() as folder:
        result, mask = Path(folder) / "result.mp4", Path(folder) / "mask.mp4"
        lipsync = pipe(clip, SHIPPED_DIR / VOICE, result, mask, guidance_scale=GUIDANCE)
        rows = {"source": clip, "what the model has to fill": mask, "result for another sentence": result}
        write_figure(strips(rows), output / "result.png")
        write_figure(mouths({"source": clip, "result for another sentence": result}, lipsync), output / "mouths.png")
        write_gif([clip, result], output / "result.gif")
