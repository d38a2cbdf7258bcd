"""The report of a sweep as one HTML file that opens from disk and needs no network."""

import base64
import hashlib
from pathlib import Path

import jinja2
import pandas as pd

from latentsync.errors import OptionError
from latentsync.faces.landmarks import LandmarkDetector
from latentsync.files import write_text
from latentsync.lab.figures.style import UNTRAINED
from latentsync.lab.options.schema import sweep_folder
from latentsync.lab.pages.contents import WORDS, Page, gather, shown
from latentsync.lab.pages.media import PAGE_BYTES, embed_videos, link_videos
from latentsync.lab.pages.player import PAGES_DIR, SCRIPT, STYLES, page_file

REPORT_FILE = "report.html"
VIDEO_CHOICES = ("embed", "link")


def rendered(page: Page) -> str:
    """The page as HTML; every name in it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGES_DIR), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters |= {"shown": shown, "signed": lambda value: shown(value) if pd.isna(value) else f"{value:+.4g}"}
    css = "\n".join(page_file(name) for name in (*STYLES, "report.css"))
    js = "\n".join(page_file(name) for name in (SCRIPT, "report.js"))
    return environment.get_template("report.html.j2").render(
        page=page,
        words=WORDS,
        untrained=UNTRAINED,
        css=css,
        js=js,
        js_sha256=base64.b64encode(hashlib.sha256(js.encode()).digest()).decode(),
    )


def write_report(
    runs_dir: Path, sweep: str, output: Path | None = None, videos: str = "embed", baseline: str | None = None,
    detector: LandmarkDetector | None = None, max_bytes: int = PAGE_BYTES,
) -> Path:  # fmt: skip
    """Writes the page of a sweep.

    Args:
        output: the file; by default report.html in the sweep's folder.
        videos: "embed" puts as many into the page as keep it below `max_bytes`, and links the others; "link" links all.
        baseline, detector: as `gather`.

    Raises:
        OptionError: as `gather`; or `videos` is neither.
    """
    if videos not in VIDEO_CHOICES:
        raise OptionError(f"videos is {videos!r}; choose one of {', '.join(VIDEO_CHOICES)}")
    page = gather(runs_dir, sweep, detector, baseline)
    path = sweep_folder(runs_dir, sweep) / REPORT_FILE if output is None else output
    link_videos(page.pairs, path.parent)
    if videos == "embed":
        page.videos_note = embed_videos(page.pairs, max_bytes - len(rendered(page).encode()))
    else:
        page.videos_note = "The videos are not in this page but linked: keep it where it is beside them."
    write_text(path, rendered(page))
    return path
