"""Executes a notebook and writes it as Markdown with small pictures, for readers who have installed nothing.

Tables become Markdown tables, players of videos become a line of text, and links keep their targets.
"""

import os
import re
from base64 import b64decode, b64encode
from collections.abc import Collection
from copy import deepcopy
from io import BytesIO
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup, Tag
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import MarkdownExporter
from nbformat import NotebookNode
from PIL import Image

from latentsync.errors import OptionError
from latentsync.files import remove, whole_folder, write_bytes, write_text
from latentsync.lab.figures.pictures import small_png

MAX_PX = 1000  # largest width of a picture
CELL_S = 600  # longest time of a cell
PLAYER = "*(a player of the videos: run the notebook to watch them)*"
LINK = re.compile(r"(\]\()([^)\s#:]+)(?=[)#])")  # a Markdown link to a file


def execute(path: Path) -> NotebookNode:
    """Runs a notebook in its own folder and returns it with its outputs. The file does not change.

    Raises:
        OptionError: a cell failed; the message has its error.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=CELL_S, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    )
    try:
        return client.execute()
    except CellExecutionError as error:
        raise OptionError(f"{path} stopped: {error.ename}: {error.evalue}; run it to see where") from error


def write_executed(notebook: NotebookNode, source: Path, target: Path, pages: Collection[str] = ()) -> None:
    """Writes an executed notebook as TARGET.md, and its pictures into TARGET_files/.

    Args:
        source: the notebook's file; its links are relative to it.
        target: the Markdown file.
        pages: names (without suffix) of notebooks whose pages are beside the target; links go to these pages.
    """
    notebook = deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [page_output for output in cell.outputs if (page_output := _page_output(output)) is not None]
        else:
            cell.source = LINK.sub(lambda link: link[1] + _moved(link[2], source, target, pages), cell.source)
    text, resources = MarkdownExporter().from_notebook_node(notebook, {"output_files_dir": f"{target.stem}_files"})
    pictures = target.parent / f"{target.stem}_files"
    if resources["outputs"]:
        with whole_folder(pictures) as part:
            for name, data in resources["outputs"].items():
                write_bytes(part / Path(name).name, data)
    else:
        remove(pictures)
    text = re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)).replace("![png](", "![output](")
    note = f"*Made by `make pictures` from [{source.name}]({_moved(source.name, source, target)}): do not edit.*\n"
    write_text(target, f"{note}\n{text.strip()}\n")


def _moved(link: str, source: Path, target: Path, pages: Collection[str] = ()) -> str:
    """A link of the notebook, rewritten for the page."""
    if link.endswith(".ipynb") and Path(link).stem in pages:
        return f"{Path(link).stem}.md"
    return Path(os.path.relpath(source.parent / link, target.parent)).as_posix()


def _page_output(output: NotebookNode) -> NotebookNode | None:
    """The output for the page; None for progress bars, warnings and widgets."""
    if output.output_type == "stream":
        return output if output.name == "stdout" else None
    data = output.get("data", {})
    if "application/vnd.jupyter.widget-view+json" in data:
        return None
    if "image/png" in data:
        output.data = NotebookNode({"image/png": _small(data["image/png"])})
    elif "text/html" in data:
        output.data = NotebookNode({"text/markdown": _markdown(data["text/html"])})
    return output


def _small(picture: str) -> str:
    """A PNG in base64, reduced in size."""
    with Image.open(BytesIO(b64decode(picture))) as image:
        image = image.convert("RGB")
        image.thumbnail((MAX_PX, 10 * MAX_PX), Image.LANCZOS)
        return b64encode(small_png(image)).decode()


def _markdown(html: str) -> str:
    """The tables in HTML as Markdown. Other HTML counts as a player."""
    tables = BeautifulSoup(html, "html.parser").find_all("table")
    return "\n\n".join(map(_table, tables)) if tables else PLAYER


def _table(table: Tag) -> str:
    """A table of pandas as Markdown. Spanning cells are repeated, and the rows of the header are joined."""
    grid: dict[tuple[int, int], str] = {}
    lines = table.find_all("tr")
    number = sum(all(cell.name == "th" for cell in line.find_all(["th", "td"])) for line in lines)
    for y, line in enumerate(lines):
        x = 0
        for cell in line.find_all(["th", "td"]):
            while (y, x) in grid:
                x += 1
            for down in range(int(cell.get("rowspan", 1))):
                for across in range(int(cell.get("colspan", 1))):
                    grid[y + down, x + across] = cell.get_text(strip=True).replace("|", "\\|")
            x += int(cell.get("colspan", 1))
    width = 1 + max(x for _, x in grid)
    rows = [[grid.get((y, x), "") for x in range(width)] for y in range(len(lines))]
    head = [" ".join(dict.fromkeys(filter(None, column))) for column in zip(*rows[:number], strict=True)]
    body = [f"| {' | '.join(row)} |" for row in [["---"] * width, *rows[number:]]]
    return "\n".join([f"| {' | '.join(head)} |", *body])
