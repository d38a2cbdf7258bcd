"""Short pieces of a clip and its voice: which frames, which sound, what size, and what is refused."""

import numpy as np
import pytest

from latentsync import media
from latentsync.errors import OptionError
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.media.excerpt import excerpt

CLIP = SHIPPED_DIR / "g-clara.mp4"


def test_a_piece_holds_the_frames_and_the_voice_of_its_time(tmp_path):
    piece = excerpt(CLIP, tmp_path, 1.0, 0.4, height_px=256)
    info = media.probe(piece)
    assert (info.num_frames, info.width, info.height, info.has_sound) == (10, 256, 256, True)
    frames = list(media.read_frames(CLIP, stop=36))
    first = next(media.read_frames(piece)).astype(int)
    errors = [abs(frame[::2, ::2].astype(int) - first).mean() for frame in frames]
    assert int(np.argmin(errors)) == 25
    voice, whole = (media.read_sound(path.with_suffix(".wav"), 16000) for path in (piece, CLIP))
    np.testing.assert_array_equal(voice, whole[16000:22400])


def test_a_silent_piece_has_its_voice_beside_it_only(tmp_path):
    piece = excerpt(CLIP, tmp_path, 0.0, 0.2, silent=True)
    assert not media.probe(piece).has_sound and piece.with_suffix(".wav").is_file()


def test_a_piece_beyond_the_end_is_refused(tmp_path):
    with pytest.raises(OptionError, match=r"from 3 to 13 s .* choose another start_s"):
        excerpt(CLIP, tmp_path, 3.0, 10.0)
