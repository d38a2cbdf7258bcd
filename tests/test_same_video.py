"""The same frames and options give the same bytes: a record's id promises them."""

import os
from fractions import Fraction

import pytest
from same_video import encoded_sha256, memory_filled_with, moving_noise

OPTIONS = {"medium": {}, "veryfast": {"preset": "veryfast"}, "times": {"times_s": [Fraction(n, 30) for n in range(13)]}}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("size", [(268, 130), (524, 160)], ids=str)
def test_what_memory_held_before_does_not_reach_the_video(tmp_path, size, options):
    with memory_filled_with(1) as can_fill:
        if not can_fill:
            pytest.skip("the C library cannot fill new memory")
    frames = moving_noise(*size, 12)
    assert len({encoded_sha256(tmp_path, frames, byte, **options) for byte in (1, 170)}) == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot give a process fewer cores")
def test_the_number_of_cores_does_not_reach_the_video(tmp_path):
    frames, cores = moving_noise(256, 256, 12), os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("there is one core only")
    with_all = encoded_sha256(tmp_path, frames, 0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        assert encoded_sha256(tmp_path, frames, 0) == with_all
    finally:
        os.sched_setaffinity(0, cores)
