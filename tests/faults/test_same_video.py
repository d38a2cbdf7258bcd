"""Twelve encodes each of 20 sizes, in memory that holds something else each time."""

import pytest
from same_video import encoded_sha256, moving_noise

SIDES = (64, 130, 196, 256, 268, 300, 362, 394, 410, 450, 482, 512, 520, 524, 530, 576, 640, 698, 700, 704)
pytestmark = pytest.mark.faults


@pytest.mark.parametrize("side", SIDES)
def test_twelve_encodes_of_one_size_are_equal(tmp_path, side):
    frames = moving_noise(side, side // 4 * 2, 12)
    assert len({encoded_sha256(tmp_path, frames, 7 + 21 * turn) for turn in range(12)}) == 1
