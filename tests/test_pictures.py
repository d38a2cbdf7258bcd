"""The shipped study is whole and small, and the pictures of README and docs are made of it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentsync.errors import MediaError, OptionError
from latentsync.files import write_json
from latentsync.lab.commands.pictures import GIF_PX, study_figures, write_figure, write_gif
from latentsync.lab.figures.mouths import mouth_sheet
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.records.store import Record
from latentsync.lab.tables.tidy import read_table

STUDY = Path(__file__).resolve().parents[1] / "notebooks" / "study.parquet"


def test_the_shipped_study_is_small_and_every_cell_has_every_clip():
    assert STUDY.stat().st_size < 300_000
    table = read_table(STUDY)
    assert table["trained"].all() and not table.duplicated(["record", "metric"]).any()
    cells = ["guidance_scale", "num_inference_steps", "seed", "scheduler"]
    assert (table.groupby(cells)["clip"].nunique() == table["clip"].nunique()).all()


def test_its_figures_are_written_small(tmp_path):
    made = study_figures(STUDY)
    assert list(made) == ["guidance", "differences", "pareto", "steps"]
    for name, figure in made.items():
        write_figure(figure, tmp_path / f"{name}.png")
        assert 5_000 < (tmp_path / f"{name}.png").stat().st_size < 150_000
    with pytest.raises(MediaError, match="no table"):
        study_figures(tmp_path / "none.parquet")


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
        write_json(tmp_path / name / "record.json", {"pair": {"clip": {"sha256": name}}})
        records[name] = Record(tmp_path / name)
    with pytest.raises(OptionError, match="of 2 clips"):
        mouth_sheet(records, None)
