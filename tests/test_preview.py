"""What a sweep's cells look like, before they are run."""

import numpy as np
import pytest

from latentsync import media
from latentsync.constants import SOUND_RATE_HZ
from latentsync.faces.masks import pixels_to_crops
from latentsync.lab.cells.cell import options_for
from latentsync.lab.cells.loading import pipeline_of
from latentsync.lab.options.pairs import pairs_of
from latentsync.lab.records.store import RecordStore
from latentsync.lab.sweeps import request
from latentsync.lab.sweeps.preview import PREVIEW_FILE, labels_of, loudest_window, preview, preview_window


def test_the_loudest_window_begins_where_the_pipelines_do():
    voice = np.zeros(16000, np.float32)
    voice[9000:9100] = 1.0  # frame 14
    assert loudest_window(voice, 25, 8) == (8, 16)
    voice[15900:] = 2.0  # the last window, which is a short one
    assert loudest_window(voice, 25, 8) == (24, 25)


def test_a_cell_is_called_what_tells_it_from_the_others():
    cells = [["data=shipped", f"sampler.seed={seed}", "size=debug"] for seed in (1, 2)]
    assert labels_of(cells) == ["seed=1", "seed=2"]
    assert labels_of(cells[:1]) == ["data=shipped, seed=1, size=debug"]


@pytest.mark.slow
def test_a_sheet_shows_each_cell_and_makes_no_record(clips, untrained, tmp_path, capsys):
    overrides = [
        "-m", "data=folder", f"data.input_dir={clips}", f"runs_dir={tmp_path}", f"model.pretrained={untrained}",
        "name=test", "sampler.num_inference_steps=1", "sampler.seed=1,2", "preview=true",
    ]  # fmt: skip
    sweep_request = request.read(overrides)
    assert preview(sweep_request) == 0
    assert "2 cells, one window each" in capsys.readouterr().out
    assert (tmp_path / "sweeps/test" / PREVIEW_FILE).is_file() and not RecordStore(tmp_path).all()

    run = sweep_request.runs[0]
    pipeline, (pair,) = pipeline_of(run), pairs_of(run.data).pairs
    options = pipeline.resolve(options_for(pair, run))
    window = preview_window(pipeline, pair, options)
    prepared = pipeline.prepare(pair.clip, pair.voice, options)
    whole = list(pipeline.generate(prepared, options))
    voice = np.asarray(media.read_sound(pair.voice, SOUND_RATE_HZ))
    first, stop = loudest_window(voice, len(whole), options.sampler.num_frames)
    crops = [frame.crop.permute(1, 2, 0).numpy() for frame in whole[first:stop]]
    np.testing.assert_array_equal(window.clip, crops)
    assert window.result.shape == window.clip.shape and not np.array_equal(window.result, window.clip)
    assert first == 0  # where the noise is the record's own
    frame = pixels_to_crops(whole[0].generated.float()).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(window.result[0], frame)
