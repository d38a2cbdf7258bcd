"""The report of a sweep as one HTML file that opens from disk and needs no network."""

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import pandas as pd

from latentsync.errors import OptionError
from latentsync.files import write_bytes
from latentsync.lab.figures.style import UNTRAINED
from latentsync.lab.options.folders import sweep_folder
from latentsync.lab.pages import REPORT_FILE, VIDEO_CHOICES
from latentsync.lab.pages.bundle import page_file, script
from latentsync.lab.pages.contents import Page, gather
from latentsync.lab.pages.copies import PAGE_BYTES
from latentsync.lab.pages.means import value_text
from latentsync.lab.pages.media import embed_videos, link_videos
from latentsync.lab.pages.player import STYLES
from latentsync.lab.pages.tables import gather_tables, is_table
from latentsync.lab.records.labels import word_of
from latentsync.lab.records.sweeps import sweep_in
from latentsync.metrics.suspects import SUSPECT
from latentsync.names import printable

if TYPE_CHECKING:
    from latentsync.faces.landmarks import LandmarkDetector


def report(
    runs_dir: str | Path | Sequence[str | Path] = "runs",
    sweep: str | None = None,
    output: str | Path | None = None,
    videos: str = "embed",
    baseline: str | None = None,
    pairs: Sequence[str] = (),
    column: str | None = None,
) -> Path:
    """Writes the HTML page of a sweep, or of tables of measured videos, which opens from disk.

    It shows a few pairs of each setting with videos and mouths, links the others, and stays below 30 MB.

    Args:
        runs_dir: a runs folder; or a table of `latentsync measure` or `collect`, or several tables and runs folders,
            which count as one.
        sweep: its name; None takes the only one of the runs folder.
        output: the file; None: report.html in the sweep's folder, or the first table's name with .html beside it.
        videos: "embed" embeds videos until the page reaches 30 MB, and links the others; "link" links all.
        baseline: the setting that the others are compared with, as text; None takes the default one.
        pairs: names of the pairs that are shown with videos; by default the worst, the median and the best one of each
            setting by the first headline metric, and all of a small sweep.
        column: what a page of tables compares; None: the model.

    Returns:
        The file.

    Raises:
        OptionError: there is no such sweep, or several and none was named; it has neither records nor failures; the
            baseline is not one of its settings; a pair or `videos` is unknown; a table lacks a column; several runs
            folders and no table, or a column without a table, were given.
        MediaError: a table does not exist, or is damaged.
    """
    _require_choice(videos)
    sources = [Path(one) for one in ([runs_dir] if isinstance(runs_dir, str | Path) else runs_dir)]
    output, tables = None if output is None else Path(output), [one for one in sources if is_table(one)]
    if tables:
        page = gather_tables(sources, sweep, column or "model", baseline, pairs)
        return _written(page, tables[0].with_suffix(".html") if output is None else output, videos)
    if len(sources) != 1:
        raise OptionError(f"{' and '.join(map(str, sources))} are no tables; give one runs folder, or tables")
    if column is not None:
        raise OptionError(f"--column {column} needs a table; a sweep's page compares what the sweep varies")
    return write_report(sources[0], sweep_in(sources[0], sweep), output, videos, baseline, pairs=pairs)


@cache
def _template() -> jinja2.Template:
    """The page's template, which escapes every name."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters |= {
        "text": value_text,
        "word": word_of,
        "signed": lambda value: value_text(value) if pd.isna(value) else f"{value:+.4g}",
    }
    return environment.get_template("report.html.j2")


def rendered(page: Page) -> bytes:
    """The page as HTML in UTF-8; every name in it is escaped. Undecodable bytes of names become `%C0`.

    It is put together from encoded pieces: as text, a page with its videos would take several times its size.
    """
    return b"".join(printable(piece).encode() for piece in _pieces(page))


def _pieces(page: Page) -> Iterator[str]:
    css = "\n".join(page_file(name) for name in (*STYLES, "report.css"))
    js = script("report.js")
    return _template().generate(
        page=page,
        word_of=word_of,
        untrained=UNTRAINED,
        suspect=SUSPECT,
        css=css,
        js=js,
        data="" if page.all_records is None else _as_script(page.all_records),
        js_sha256=base64.b64encode(hashlib.sha256(js.encode()).digest()).decode(),
    )


def _as_script(content: dict) -> str:
    """JSON that no text in it can end."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def write_report(
    runs_dir: Path, sweep: str, output: Path | None = None, videos: str = "embed", baseline: str | None = None,
    detector: "LandmarkDetector | None" = None, max_bytes: int = PAGE_BYTES, pairs: Sequence[str] = (),
) -> Path:  # fmt: skip
    """Writes the page of a sweep.

    Args:
        output: the file; by default report.html in the sweep's folder.
        videos: "embed" embeds videos until the page reaches `max_bytes`, and links the others; "link" links all.
        baseline, detector, pairs: as for `gather`.

    Raises:
        OptionError: as for `gather`; or `videos` is unknown.
    """
    path = sweep_folder(runs_dir, sweep) / REPORT_FILE if output is None else output
    _require_choice(videos)
    return _written(gather(runs_dir, sweep, detector, baseline, pairs, path.parent), path, videos, max_bytes)


def _require_choice(videos: str) -> None:
    if videos not in VIDEO_CHOICES:
        raise OptionError(f"videos is {videos!r}; choose one of {', '.join(VIDEO_CHOICES)}")


def _written(page: Page, path: Path, videos: str, max_bytes: int = PAGE_BYTES) -> Path:
    """Writes a page with its videos, embedded or linked."""
    link_videos(page.pairs, path.parent)
    if videos == "embed":
        page.videos_note = embed_videos(page.pairs, max_bytes - len(rendered(page)))
    else:
        page.videos_note = "The page links to its videos. Keep it in its place, beside them."
    write_bytes(path, rendered(page))
    return path
