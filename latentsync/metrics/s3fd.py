"""S3FD, the face detector of SyncNet v2's published protocol: boxes of the faces in one frame.

Goal: the same boxes as for published scores, if the published weights are available. `face_tracks` takes any other
detector as well.

Conventions: a frame is RGB 0..255 and is scaled to a quarter of its size. A box is left, top, right, bottom in px of
the frame itself, with (0, 0) at the outer corner of the top left pixel. It may reach beyond the frame. The original
swaps the picture to BGR, subtracts the means (104, 117, 123) and swaps it back. So the network sees RGB minus
(123, 117, 104), each mean on its own colour. Parameter names are those of the published file.

Source: Zhang et al., "S3FD: Single Shot Scale-invariant Face Detector" (ICCV 2017), with the anchors, thresholds and
decoding of Liu et al., "SSD" (ECCV 2016), as the repository of SyncNet v2 (`syncnet_python`) runs it.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize, relu
from torchvision.ops import nms

from latentsync.errors import MediaError
from latentsync.shapes import Frame
from latentsync.weights.tensors import Place, load_built

SCALE = 0.25  # of the frame, as the network sees it
MEANS = (123.0, 117.0, 104.0)  # RGB
LEAST_SIDE_PX = 28  # of the scaled frame; below it nothing is left after the last pool

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels and convolutions of VGG16
CEIL_POOL = 2  # the stage whose pool keeps an odd last row and column
WIDTHS = (256, 512, 512, 1024, 512, 256)  # channels of the six maps that have heads
STRIDES_PX = (4, 8, 16, 32, 64, 128)  # of the six maps, in the scaled frame
ANCHORS_PX = (16, 32, 64, 128, 256, 512)  # sides of their square anchors
VARIANCES = (0.1, 0.2)  # of a box's centre and size, in units of its anchor

CANDIDATE_SCORE = 0.05  # only boxes above this score are candidates
CANDIDATES = 5000  # at most, those of the highest scores
CANDIDATE_OVERLAP = 0.3  # boxes that overlap more are one face
SURVIVORS = 750
FACE_SCORE = 0.9  # a box above this score is a face
FACE_OVERLAP = 0.1

PROTOCOL = f"S3FD at {SCALE} of the frame's size, score above {FACE_SCORE}, overlap of at most {FACE_OVERLAP}"


# The network


class L2Norm(nn.Module):
    """Scales the channels at each place to length 1, then multiplies each channel by a learned factor."""

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), scale))

    def forward(self, hidden_states: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return self.weight[:, None, None] * normalize(hidden_states, dim=1, eps=1e-10)


def _backbone() -> nn.Sequential:
    """VGG16 with its fully connected layers as convolutions: (b, 3, h, w) -> (b, 1024, ~h/32, ~w/32)."""
    layers: list[nn.Module] = []
    before = 3
    for stage, (channels, depth) in enumerate(STAGES):
        for _ in range(depth):
            layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU(inplace=True)]
            before = channels
        layers.append(nn.MaxPool2d(2, ceil_mode=stage == CEIL_POOL))
    layers += [nn.Conv2d(before, 1024, 3, padding=6, dilation=6), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(1024, 1024, 1), nn.ReLU(inplace=True))


class S3FD(nn.Module):
    """Six maps of a picture, from fine to coarse, with one square anchor at each place."""

    def __init__(self) -> None:
        super().__init__()
        self.vgg = _backbone()
        self.L2Norm3_3 = L2Norm(256, 10.0)
        self.L2Norm4_3 = L2Norm(512, 8.0)
        self.L2Norm5_3 = L2Norm(512, 5.0)
        self.extras = nn.ModuleList(
            [
                nn.Conv2d(1024, 256, 1),
                nn.Conv2d(256, 512, 3, stride=2, padding=1),
                nn.Conv2d(512, 128, 1),
                nn.Conv2d(128, 256, 3, stride=2, padding=1),
            ]
        )
        self.loc = nn.ModuleList(nn.Conv2d(width, 4, 3, padding=1) for width in WIDTHS)
        self.conf = nn.ModuleList(nn.Conv2d(width, 4 if i == 0 else 2, 3, padding=1) for i, width in enumerate(WIDTHS))

    def forward(self, pictures: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b n 4"], Float[Tensor, "b n"]]:
        """A box and its score for every anchor, map after map and row after row.

        Args:
            pictures: RGB 0..255 minus `MEANS`, each side at least 28 px.

        Returns:
            Boxes in px of the pictures, and scores 0..1.
        """
        boxes, scores = [], []
        for level, hidden_states in enumerate(self._maps(pictures)):
            places = anchors(*hidden_states.shape[2:], level).to(pictures)
            boxes.append(decode(self.loc[level](hidden_states).flatten(2).mT, places))
            scores.append(face_scores(self.conf[level](hidden_states)).flatten(1))
        return torch.cat(boxes, dim=1), torch.cat(scores, dim=1)

    def _maps(self, pictures: Tensor) -> list[Tensor]:
        conv3 = self.vgg[:16](pictures)
        conv4 = self.vgg[16:23](conv3)
        conv5 = self.vgg[23:30](conv4)
        conv7 = self.vgg[30:](conv5)
        extra1 = relu(self.extras[1](relu(self.extras[0](conv7))))
        extra2 = relu(self.extras[3](relu(self.extras[2](extra1))))
        return [self.L2Norm3_3(conv3), self.L2Norm4_3(conv4), self.L2Norm5_3(conv5), conv7, extra1, extra2]


def load_s3fd(path: str | Path, device: str = "cpu") -> S3FD:
    """S3FD with the published weights (`sfd_face.pth` or a copy of its tensors), ready for use.

    Raises:
        WeightsError: the file is absent or damaged, or holds another network.
    """
    return load_built(S3FD, path, Place(device))


# From the heads' outputs to boxes


def anchors(height: int, width: int, level: int) -> Float[Tensor, "hw 3"]:
    """Centre x, y and side of the anchors of a map of height x width places, px of the picture, row after row."""
    stride = STRIDES_PX[level]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x * stride, y * stride, torch.full_like(x, ANCHORS_PX[level])], dim=-1).flatten(0, 1)


def decode(offsets: Float[Tensor, "*b n 4"], places: Float[Tensor, "n 3"]) -> Float[Tensor, "*b n 4"]:
    """Boxes in px from anchors (x, y, side) and offsets.

    Each unit of the first two offsets moves the anchor by 0.1 of its side. Each unit of the other two makes it wider or
    higher by a factor of exp(0.2).
    """
    centres, sides = places[:, :2], places[:, 2:]
    centres = centres + VARIANCES[0] * offsets[..., :2] * sides
    halves = sides * torch.exp(VARIANCES[1] * offsets[..., 2:]) / 2
    return torch.cat([centres - halves, centres + halves], dim=-1)


def face_scores(logits: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h w"]:
    """Probability of a face, 0..1, against the likeliest of c - 1 kinds of background, which are the first channels."""
    background, face = logits[:, :-1].amax(dim=1), logits[:, -1]
    return torch.stack([background, face], dim=1).softmax(dim=1)[:, 1]


def survivors(boxes: Float[Tensor, "n 4"], scores: Float[Tensor, " n"]) -> Int[Tensor, " m"]:
    """Which boxes remain when overlapping ones are removed, highest score first; at most 750."""
    surest = scores.argsort(descending=True, stable=True)[:CANDIDATES]
    surest = surest[scores[surest] > CANDIDATE_SCORE]
    return surest[nms(boxes[surest], scores[surest], CANDIDATE_OVERLAP)][:SURVIVORS]


# A frame


@torch.inference_mode()
def faces_of(network: S3FD, frame: Frame, scale: float = SCALE) -> Float[np.ndarray, "n 5"]:
    """The faces in a frame, highest score first.

    Args:
        network: on any device.
        scale: of the frame, as the network sees it.

    Returns:
        Left, top, right, bottom in px of the frame, and the score, 0.9..1. (0, 5) if there is no face.

    Raises:
        MediaError: the scaled frame is narrower or lower than 28 px.
        ValueError: the frame has another shape or type, or the scale is not positive.
    """
    picture = _picture(frame, scale)
    boxes, scores = (output[0].cpu() for output in network(picture.to(next(network.parameters()).device)))
    order = survivors(boxes, scores)
    order = order[scores[order] > FACE_SCORE]
    order = order[nms(boxes[order], scores[order], FACE_OVERLAP)]
    # The scaled frame has whole px, so the inverse factor is not exactly 1 / scale.
    across, down = frame.shape[1] / picture.shape[3], frame.shape[0] / picture.shape[2]
    corners = boxes[order] * torch.tensor([across, down, across, down])
    return torch.cat([corners, scores[order, None]], dim=1).double().numpy()


def _picture(frame: Frame, scale: float) -> Float[Tensor, "1 3 h w"]:
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ValueError(f"the frame has shape {frame.shape} and type {frame.dtype}; (h, w, 3) of uint8 is needed")
    if not scale > 0:
        raise ValueError(f"scale is {scale}; it must be above 0 ({SCALE} is the protocol's)")
    height, width = (round(side * scale) for side in frame.shape[:2])
    if min(height, width) < LEAST_SIDE_PX:
        raise MediaError(
            f"a frame of {frame.shape[1]}x{frame.shape[0]} px is {width}x{height} px at scale {scale:g}, and the face "
            f"detector needs at least {LEAST_SIDE_PX}x{LEAST_SIDE_PX}; give a larger video"
        )
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    levels = small.astype(np.float32) - np.array(MEANS, np.float32)
    return torch.from_numpy(levels.transpose(2, 0, 1).copy())[None]
