"""Measures over time on faces and crops whose trembling and seams are known."""

import math

import numpy as np
import pytest
import torch

from latentsync.constants import RIGHT_EYE_CORNERS
from latentsync.metrics.temporal import (
    CHIN,
    boundary_ratio,
    crop_differences,
    landmark_jitter,
    landmark_jitter_ratio,
)

EYES_PX = 50


def faces(frames: int, trembling_px: float) -> np.ndarray:
    """A face that moves sideways at constant speed while its chin goes up and down from frame to frame."""
    points = np.zeros((frames, 468, 3))
    points[:, list(RIGHT_EYE_CORNERS), 0] = EYES_PX
    points[..., 0] += 2 * np.arange(frames)[:, None]
    points[:, CHIN, 1] += trembling_px * (-1.0) ** np.arange(frames)[:, None]
    return points


def test_jitter_is_the_second_difference_and_motion_at_constant_speed_is_none():
    assert landmark_jitter(faces(30, 0)) == pytest.approx(0, abs=1e-9)
    assert landmark_jitter(faces(30, 0.5)) == pytest.approx(1000 * 4 * 0.5 / EYES_PX)
    assert landmark_jitter_ratio(faces(30, 0.5), faces(30, 0.5)) == pytest.approx(1)
    assert landmark_jitter_ratio(faces(30, 1.5), faces(40, 0.5)[..., :2]) == pytest.approx(3)
    assert landmark_jitter_ratio(faces(30, 0.5), faces(30, 0)) is None  # a picture that stands still


def test_frames_without_a_face_are_left_out_of_jitter():
    points = faces(30, 0.5)
    points[10] = np.nan
    points[11, CHIN, 1] += 99  # beside it: in no triple but those with frames 10 and 12
    points[11:13] = np.nan
    assert landmark_jitter(points) == pytest.approx(1000 * 4 * 0.5 / EYES_PX)
    points[::3] = np.nan
    assert landmark_jitter(points) is None
    with pytest.raises(ValueError, match="it must be"):
        landmark_jitter(points[0])
    points[0] = np.inf
    with pytest.raises(ValueError, match="nothing infinite"):
        landmark_jitter(points)


def crops(levels: list[int | None]) -> list[torch.Tensor | None]:
    return [None if level is None else torch.full((3, 8, 8), level, dtype=torch.uint8) for level in levels]


def test_a_jump_at_the_seams_is_told_from_even_motion():
    even = crop_differences(iter(crops([2 * i for i in range(20)])))
    assert math.isnan(even[0]) and even[1:].tolist() == [2.0] * 19
    assert boundary_ratio(even, 4) == pytest.approx(1)
    jumping = crop_differences(crops([2 * i + 10 * (i // 4) for i in range(20)]))
    assert boundary_ratio(jumping, 4) == pytest.approx((2 + 10) / 2)
    assert crop_differences(crops([200, 3]))[1] == 197  # levels of 8 bits do not wrap
    assert boundary_ratio(even[:4], 8) is None and boundary_ratio(np.zeros(20), 4) is None
    with pytest.raises(ValueError, match="period is 1"):
        boundary_ratio(even, 1)


def test_seams_beside_a_frame_without_a_face_do_not_count():
    levels = [2 * i for i in range(20)]
    levels[8] = None
    differences = crop_differences(crops(levels))
    assert np.flatnonzero(np.isnan(differences)).tolist() == [0, 8, 9]
    assert boundary_ratio(differences, 4) == pytest.approx(1)
