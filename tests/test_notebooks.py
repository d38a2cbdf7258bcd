"""Notebooks take parameters from outside, and what they teach holds."""

import math
import re
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
from papermill.execute import parameterize_notebook
from papermill.iorw import load_notebook_node

from latentsync.lab.analysis.comparisons import compare_all
from latentsync.lab.analysis.conclusions import conclusion, power_frame
from latentsync.lab.evaluation.sensitivity import UNDAMAGED, WholeClip, changes
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.options.schema import MetricsConfig
from latentsync.lab.pages.studies import TABLE_FILE
from latentsync.lab.tables.tidy import read_source
from latentsync.media import probe_sound
from latentsync.media.excerpt import excerpt, excerpt_voice
from latentsync.metrics.definitions import definition_of

pytestmark = pytest.mark.slow

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
EXPERIMENTS = NOTEBOOKS.with_name("experiments")


def run(name: str, folder: Path, checks: str = "", **parameters: object) -> str:
    """Runs a notebook with parameters, then the checks after its last cell; returns all that it printed."""
    notebook = parameterize_notebook(load_notebook_node(str(NOTEBOOKS / f"{name}.ipynb")), parameters)
    notebook.cells.append(nbformat.v4.new_code_cell(checks, metadata={"tags": []}))
    nbformat.write(notebook, folder / "given.ipynb")
    ran = papermill.execute_notebook(
        folder / "given.ipynb", folder / "ran.ipynb", cwd=NOTEBOOKS, kernel_name="python3", progress_bar=False
    )
    return "".join(output.get("text", "") for cell in ran.cells for output in cell.get("outputs", []))


def test_the_quickstart_takes_another_person_and_model_and_its_lips_follow_the_voice(tmp_path):
    clip = excerpt(SHIPPED_DIR / "m-oskar.mp4", tmp_path, 0.4, 2.0)
    other = excerpt_voice(SHIPPED_DIR / "m-oskar-weather.wav", tmp_path / "weather.wav", 0.4, 2.0)
    given = {"model": "mini", "clip": str(clip), "voice": str(clip.with_suffix(".wav")), "other_voice": str(other)}
    frames = 50
    assert frames != math.ceil(probe_sound(SHIPPED_DIR / "g-clara.wav").duration_s * 25)  # of the default
    checks = """
import numpy as np
from latentsync.media import probe
assert not all(map(np.array_equal, result.read_frames(), other.read_frames())), "the voice changes nothing"
assert probe(result.video_path).has_sound
assert set(metrics) >= {"lpips_alex_mouth", "sync_mini_confidence", "sync_mini_confidence_real", "landmark_sync_peak"}
assert metrics["lip_gap_correlation"]["value"] > 0.5  # with the lips of a clip that says the same
"""
    assert f"{frames} frames at 25 Hz" in run("00_quickstart", tmp_path, checks, num_inference_steps=1, **given)


def test_frames_made_by_hand_are_those_of_the_pipeline(tmp_path):
    checks = """
assert audio.shape == (num_frames, 50, 384) and unet_input.shape[1] == 13
assert list(trajectory) == list(range(num_inference_steps))
assert torch.equal(pasted[:, :, mask[0] == 1], pixels[:, :, mask[0] == 1])
assert all((f == r).all(-1).mean() > 0.5 for f, r in zip(frames, result, strict=True))
"""
    printed = run("01_inside_the_pipeline", tmp_path, checks, window=1, num_inference_steps=2)
    # float32's rounding moves a pixel by thousandths of a level, so that it may be rounded to the next one
    assert re.search(r"8 frames differ by [01] of 255 levels at most", printed)


def test_only_measures_of_sync_hear_a_wrong_voice(tmp_path):
    """The lesson of 05, on the clips that it takes."""
    clips = [SHIPPED_DIR / "g-clara.mp4", SHIPPED_DIR / "m-oskar.mp4"]
    whole = WholeClip(*(excerpt(clip, tmp_path, 0.2, 1.6, 128, silent=True) for clip in clips))
    wanted = MetricsConfig.of(["reconstruction", "seam", "sync_mini", "landmark_sync"])
    steps = [(UNDAMAGED, 0.0), ("wrong voice", 1.0)]
    table = changes(pd.concat([whole.values(wanted, step) for step in steps], ignore_index=True))
    heard = {definition_of(metric).family for metric in table.loc[table["worse"] != 0, "metric"]}
    assert heard == {"sync_mini", "landmark_sync"} and {"psnr", "seam_colour"} <= set(table["metric"])


@pytest.mark.parametrize("name", ["guidance", "steps", "gender_presets"])
def test_a_conclusion_says_better_or_worse_only_where_holm_allows_it(name):
    """What 02 to 04 print, on the tables that they read."""
    table = read_source(EXPERIMENTS / name / TABLE_FILE, None).query("scheduler == 'ddim' and seed == 1247")
    column, baseline = ("num_inference_steps", 20) if name == "steps" else ("guidance_scale", 1.5)
    comparisons = compare_all(table, ["sync_mini_confidence", "lpips_alex_mouth"], column, baseline)
    for row in comparisons.itertuples():
        says_a_direction = bool(re.search(r"\b(better|worse)\b", conclusion(row)))
        assert says_a_direction == (row.p_holm <= 0.05), row
    power = power_frame(table, ["sync_mini_confidence", "lpips_alex_mouth"], column, baseline)
    assert power["difference"].tolist() == pytest.approx(comparisons["difference"].tolist())
    assert (power["detectable"] > 0).all() and (power["clips"] == 18).all()
