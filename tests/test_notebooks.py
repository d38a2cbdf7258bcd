"""Notebooks take other parameters from outside, as papermill gives them to a run without a person."""

import math
from pathlib import Path

import papermill

from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.media import probe_sound

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def test_papermill_runs_the_quickstart_with_another_person(tmp_path):
    files = {"clip": "m-oskar.mp4", "voice": "m-oskar.wav", "other_voice": "m-oskar-weather.wav"}
    parameters = {name: str(SHIPPED_DIR / file) for name, file in files.items()} | {"num_inference_steps": 1}
    frames, of_default = (
        math.ceil(probe_sound(SHIPPED_DIR / name).duration_s * 25) for name in ("m-oskar.wav", "g-clara.wav")
    )
    assert frames != of_default
    ran = papermill.execute_notebook(
        NOTEBOOKS / "00_quickstart.ipynb",
        tmp_path / "ran.ipynb",
        parameters=parameters,
        cwd=NOTEBOOKS.parent,
        kernel_name="python3",
        progress_bar=False,
    )
    printed = "".join(output.get("text", "") for cell in ran.cells for output in cell.get("outputs", []))
    assert f"{frames} frames at 25 Hz" in printed
