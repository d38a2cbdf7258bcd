"""Pictures of videos: rows of mouths."""

import numpy as np
import pytest
import scipy.io.wavfile

from latentsync import LipsyncPipeline
from latentsync.lab.figures.mouths import mouth_of, mouths
from latentsync.lab.options.pairs import SHIPPED_DIR


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
