"""Pictures of videos: rows of mouths."""

import numpy as np
import pytest
import scipy.io.wavfile
from matplotlib.text import Text
from written_sweep import write_many

from latentsync import LipsyncPipeline, media
from latentsync.lab.figures.mouths import mouth_of, mouths
from latentsync.lab.figures.sheets import THUMB_PX, contact_sheet
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.records.store import RecordStore


@pytest.mark.slow
def test_mouths_of_a_result_that_is_shorter_than_its_clip(tmp_path):
    """References from elsewhere know more of the clip than the result has frames."""
    rate_hz, samples = scipy.io.wavfile.read(SHIPPED_DIR / "g-clara.wav")
    scipy.io.wavfile.write(tmp_path / "voice.wav", rate_hz, samples[: rate_hz // 2])
    pipe = LipsyncPipeline.from_pretrained("mini", device="cpu")
    clip = SHIPPED_DIR / "g-clara.mp4"
    output = pipe(clip, tmp_path / "voice.wav", num_inference_steps=1, guidance_scale=1.0, reference="elsewhere")
    assert (output.num_frames, len(output.faces) > 25) == (13, True)
    figure = mouths({"source": clip, "result": output.video_path}, output)
    size_px = output.options.video.size_px
    one = mouth_of(np.zeros((size_px, size_px, 3)))
    shapes = [axis.images[0].get_array().shape for axis in figure.axes]
    assert shapes == [(one.shape[0], 7 * one.shape[1], 3)] * 2


def test_a_contact_sheet_shows_a_frame_and_large_mouths_below_whole_labels(tmp_path):
    with media.VideoWriter(tmp_path / "short.mp4", 512, 512) as writer:
        for frame in media.read_frames_in_order(SHIPPED_DIR / "g-clara.mp4", range(8)):
            writer.write(frame)
    write_many(tmp_path, "sweep", tmp_path / "short.mp4", clips=2, settings=1)
    figure = contact_sheet(RecordStore(tmp_path).all())
    figure.draw_without_rendering()
    for axis in figure.axes:
        picture = axis.images[0].get_array()
        assert picture.shape == (THUMB_PX, THUMB_PX + 6 * 2 * 100, 3)  # of 8 frames, six lie within the ends
        (label,) = (text for text in axis.findobj(Text) if "voice" in text.get_text())
        assert "own voice" in label.get_text() and "\n" not in label.get_text()
        edges = label.get_window_extent()
        assert edges.x0 >= 0 and edges.x1 <= figure.bbox.x1 and edges.y1 <= figure.bbox.y1
