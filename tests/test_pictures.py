"""What README, docs and experiments show is written small, and an executed notebook becomes a page."""

from base64 import b64encode
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from record_content import content

from latentsync.errors import OptionError
from latentsync.files import write_json
from latentsync.lab.commands.pictures import main, study_results
from latentsync.lab.figures.mouths import mouth_sheet
from latentsync.lab.figures.pictures import GIF_PX, write_figure, write_gif
from latentsync.lab.figures.shown import ShownFigure
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.pages.executed import MAX_PX, PLAYER, execute, write_executed
from latentsync.lab.records.store import Record

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_figures_are_written_small(tmp_path):
    for name, figure in study_results(ROOT / "experiments", "guidance").figures.items():
        write_figure(figure, tmp_path / f"{name}.png")
        assert 5_000 < (tmp_path / f"{name}.png").stat().st_size < 150_000


def test_what_is_not_known_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["study"])
    assert "study" in (error := capsys.readouterr().err) and "studies" in error


@pytest.mark.slow
def test_videos_move_side_by_side(tmp_path):
    clips = [SHIPPED_DIR / "g-clara.mp4", SHIPPED_DIR / "m-oskar.mp4"]
    write_gif(clips, tmp_path / "two.gif")
    with Image.open(tmp_path / "two.gif") as moving:
        assert moving.size == (2 * GIF_PX, GIF_PX) and moving.n_frames == 28
        first = np.asarray(moving.convert("RGB")).astype(int)
        moving.seek(14)
        assert np.abs(np.asarray(moving.convert("RGB")) - first).max() > 30


def test_mouths_of_several_clips_have_no_common_sheet(tmp_path):
    records = {}
    for name in "ab":
        write_json(tmp_path / name / "record.json", content(name, clip={"name": f"{name}.mp4", "sha256": name}))
        records[name] = Record(tmp_path / name)
    with pytest.raises(OptionError, match="2 clips; give records of one"):
        mouth_sheet(records, None)


# --- executed notebooks ---


def output(data: dict) -> nbformat.NotebookNode:
    return nbformat.v4.new_output("display_data", data)


def test_an_executed_notebook_becomes_a_page_with_small_pictures(tmp_path):
    figure = ShownFigure(figsize=(16, 4))
    figure.subplots().plot([1, 2])
    frame = pd.DataFrame(
        {("a", "x"): [1.5], ("a", "y"): [2.5], ("b|c", ""): ["-"]}, index=pd.Index(["row"], name="name")
    )
    outputs = [
        nbformat.v4.new_output("stream", name="stdout", text="printed\n"),
        nbformat.v4.new_output("stream", name="stderr", text="a progress bar"),
        output({"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "a widget"}),
        output({"image/png": b64encode(figure._repr_png_()).decode(), "text/plain": "a figure"}),
        output({"text/html": frame.style.to_html(), "text/plain": "a table"}),
        output({"text/html": '<iframe srcdoc="<video></video>"></iframe>', "text/plain": "a player"}),
    ]
    cells = [
        nbformat.v4.new_markdown_cell("[docs](../docs/a.md) [next](01.ipynb) [page](02.ipynb) [web](https://a.b/c)"),
        nbformat.v4.new_code_cell("made[0](x)", outputs=outputs),
    ]
    target = tmp_path / "docs" / "notebooks" / "00.md"
    write_executed(nbformat.v4.new_notebook(cells=cells), tmp_path / "notebooks" / "00.ipynb", target, ["02"])
    text = target.read_text()
    assert "[docs](../a.md) [next](../../notebooks/01.ipynb) [page](02.md) [web](https://a.b/c)" in text
    assert "made[0](x)" in text and "printed" in text and PLAYER in text
    assert not any(word in text for word in ("progress", "widget", "a figure", "<", "srcdoc"))
    assert "| row | 1.500000 | 2.500000 | - |" in text and "b\\|c" in text
    (picture,) = target.parent.glob("00_files/*.png")
    assert f"](00_files/{picture.name})" in text
    with Image.open(picture) as image:
        assert image.width == MAX_PX and picture.stat().st_size < 100_000


@pytest.mark.slow
def test_a_notebook_is_run_where_it_lies_and_its_error_is_told(tmp_path):
    (tmp_path / "told.txt").write_text("read")
    path = tmp_path / "00.ipynb"
    reading = nbformat.v4.new_code_cell("print(open('told.txt').read())")
    nbformat.write(nbformat.v4.new_notebook(cells=[reading]), path)
    (cell,) = execute(path).cells
    assert cell.outputs[0].text == "read\n"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")]), path)
    with pytest.raises(OptionError, match=r"00.ipynb.*ZeroDivisionError"):
        execute(path)
