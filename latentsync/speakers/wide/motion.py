"""How wide people move: turned away by up to 35 degrees, tilted, near or far, still or lively."""

import numpy as np

from latentsync.speakers.clip import Series, drift, held, within
from latentsync.speakers.painter import Pose
from latentsync.speakers.visemes import FPS

SEED = 72
LIMITS = (22.0, 35.0, 18.0, 22.0, 12.0, 0.10)  # roll, yaw, pitch in degrees, x and y in mm, share of the scale
RESTS = (6.0, 14.0, 6.0, 6.0, 3.0, 0.02)  # deviations of where the head is on the mean
SWAYS = (1.6, 3.6, 1.8, 2.6, 1.4, 0.008)
AXIS_TO_FACE_MM = 28.0  # by which a turned face leaves the middle, and the camera follows it


def wide_motion(seed: int, count: int, loud: Series) -> list[Pose]:
    """A pose for each of `count` frames, within `LIMITS`."""
    draw = np.random.default_rng([seed, SEED])
    times = np.arange(count) / FPS
    turned, sway = draw.choice([0.25, 1.0, 2.2], p=(0.35, 0.4, 0.25)), draw.uniform(0.3, 1.8)
    nod = np.convolve(np.pad(loud, 4, mode="edge"), np.hanning(11)[1:-1] / np.hanning(11).sum(), "valid")
    tracks = []
    for index, own in enumerate(draw.spawn(len(LIMITS))):
        rest = turned * RESTS[index] * float(own.standard_normal())
        track = rest + sway * drift(own, times, SWAYS[index], 0.12, 0.7)
        track = track + 0.35 * sway * held(own, count, LIMITS[index])
        if index == 2:
            track = track + own.uniform(0, 4) * (nod - nod.mean())
        tracks.append(within(track, LIMITS[index]))
    roll, yaw, pitch, x_mm, y_mm, nearer = tracks
    x_mm = x_mm - AXIS_TO_FACE_MM * np.sin(np.deg2rad(yaw))
    y_mm = y_mm - AXIS_TO_FACE_MM * np.sin(np.deg2rad(pitch)) * 0.6
    rows = np.round(np.stack([roll, yaw, pitch, x_mm, y_mm, 1 + nearer], axis=1), 5)
    return [Pose(*map(float, row)) for row in rows]
