"""Whether a result still shows the person of the clip, to a face recogniser.

Goal: embeddings of the face in a result's frame and in the clip's. They are close if the recogniser sees the same
person in both. Only the mouth is generated, so they should be almost equal.

Conventions: frames RGB uint8; landmarks MediaPipe's 468 in px. An embedding has 128 numbers.

Measures: `identity_cosine` (cosine of the two embeddings, at most 1, higher is better), `identity_distance` (Euclidean,
from 0 on, lower is better; the network was trained to separate persons at 0.6).

Source: dlib's face recognition network v1 (Davis E. King, CC0), a ResNet on faces of 150 px that are aligned by the
eyes' corners and the nose. dlib itself runs it (the optional extra `identity`); its weights come from a carrier.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from latentsync.constants import LEFT_EYE_CORNERS, RIGHT_EYE_CORNERS
from latentsync.errors import OptionError
from latentsync.shapes import Frame

WEIGHTS = "dlib/face_recognition.dat"
# dlib's five points in MediaPipe's mesh: outer and inner corner of the eye on the picture's right, of that on its left,
# and the middle of the nose's lower edge.
POINTS = (*RIGHT_EYE_CORNERS, *LEFT_EYE_CORNERS, 2)
FACE_PX, PADDING = 150, 0.25

Embedding = Float[np.ndarray, "128"]


def load_recogniser(path: Path) -> Any:
    """dlib's network with the weights of a file.

    Raises:
        OptionError: dlib is not installed.
    """
    try:
        import dlib
    except ImportError as error:
        raise OptionError("dlib is not installed; `pip install latentsync-lab[identity]` brings it") from error
    return dlib.face_recognition_model_v1(str(path))


def embedding(network: Any, frame: Frame, landmarks: Float[np.ndarray, "468 2"]) -> Embedding:
    """The face's embedding.

    Raises:
        ValueError: the landmarks are not those of a face.
    """
    import dlib

    points = landmarks[list(POINTS)]
    if not np.isfinite(points).all():
        raise ValueError("the landmarks hold NaN, so the frame shows no face; leave it out")
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    corners = dlib.points([dlib.point(round(float(x)), round(float(y))) for x, y in points])
    shape = dlib.full_object_detection(dlib.rectangle(*(int(v) for v in (left, top, right, bottom))), corners)
    face = dlib.get_face_chip(np.ascontiguousarray(frame), shape, FACE_PX, PADDING)
    return np.array(network.compute_face_descriptor(face))


def cosine(a: Embedding, b: Embedding) -> float:
    """Of two embeddings."""
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
