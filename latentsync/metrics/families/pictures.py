"""Measures of pictures: similarity to the clip, edge and sharpness of the generated region, seams, outside changes."""

from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from latentsync.constants import VIDEO_RATE_HZ
from latentsync.faces.masks import mouth_mask
from latentsync.metrics import blending, perceptual, reconstruction, temporal
from latentsync.metrics.definitions import Entry, entry
from latentsync.metrics.families.base import Batch, Family, Subject, mean_entry, rounded
from latentsync.shapes import Crop, Crops

NO_FACE = "no frame shows a face"
RESIDUAL_EVERY = 5  # frames
WHISPER_FRAMES = int(30 * VIDEO_RATE_HZ)  # of a segment that Whisper encodes at once


class Pictures(Family):
    """Compares crops with the clip's, in frames with a face."""

    needs = frozenset({"crops", "source_crops"})

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.mask = mouth_mask(subject.mask, subject.size_px)
        self.hole = self.mask[0] < 0.5
        self.left_out = 0

    def add(self, batch: Batch) -> None:
        seen = torch.from_numpy(batch.has_face)
        self.left_out += int((~seen).sum())
        if seen.any():
            self.compare(batch.crops[seen], batch.source_crops[seen])

    def compare(self, crops: Crops, source: Crops) -> None:
        """Sees the crops of the next frames with a face."""
        raise NotImplementedError


def bounding_box(region: Bool[Tensor, "h w"], least: int) -> tuple[slice, slice]:
    """Rows and columns of a region, extended to at least `least` px if the picture is large enough."""
    slices = []
    for axis, length in ((1, region.shape[0]), (0, region.shape[1])):
        places = torch.nonzero(region.any(dim=axis))
        first, last = int(places.min()), int(places.max()) + 1
        more = max(0, least - (last - first))
        first = max(0, min(first - more // 2, length - max(least, last - first)))
        slices.append(slice(first, min(length, max(last, first + least))))
    return tuple(slices)


class Lpips(Pictures):
    """LPIPS of whole crops and of the mouth."""

    name, against_lips = "lpips", True
    net: ClassVar[str] = "alex"
    kept: ClassVar[perceptual.KeptFeatures | None] = perceptual.KeptFeatures()  # of the clip, for its other results

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        rows, columns = bounding_box(self.hole, perceptual.SMALLEST_PX)
        self.parts = {"": (slice(None), slice(None)), "_mouth": (rows, columns)}
        self.distances: dict[str, list[np.ndarray]] = {part: [] for part in self.parts}

    def compare(self, crops: Crops, source: Crops) -> None:
        for part, (rows, columns) in self.parts.items():
            both = (side[..., rows, columns] for side in (crops, source))
            self.distances[part].append(perceptual.lpips_distance(*both, self.subject.device, self.net, self.kept))

    def entries(self) -> dict[str, Entry]:
        facts = {"network": f"LPIPS v0.1 {self.net}", "weights": perceptual.lpips_hash(self.net)}
        named = {
            f"{self.subject.prefix}lpips_{self.net}{part}": distances for part, distances in self.distances.items()
        }
        return {
            name: mean_entry(name, np.concatenate([*distances, []]), self.left_out, NO_FACE, **facts)
            for name, distances in named.items()
        }

    def curves(self) -> dict[str, list[float | None]]:
        return {f"{self.subject.prefix}lpips_{self.net}": rounded(np.concatenate([*self.distances[""], []]))}


class LpipsVgg(Lpips):
    """The same with VGG16."""

    name, net = "lpips_vgg", "vgg"
    kept = None  # they take ten times as much memory


class Reconstruction(Pictures):
    """PSNR and SSIM of whole crops and of the mouth."""

    name, against_lips = "reconstruction", True

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.errors = {"": np.zeros(2), "_mouth": np.zeros(2)}
        self.likeness: dict[str, list[Tensor]] = {"": [], "_mouth": []}

    def compare(self, crops: Crops, source: Crops) -> None:
        for part, region in (("", None), ("_mouth", self.hole)):
            self.errors[part] += reconstruction.squared_error(crops, source, region)
        for part, values in zip(self.likeness, reconstruction.ssim(crops, source, self.hole), strict=True):
            self.likeness[part].append(values)

    def entries(self) -> dict[str, Entry]:
        prefix, entries = self.subject.prefix, {}
        frames = sum(len(values) for values in self.likeness[""])
        for part, (squares, count) in self.errors.items():
            name, value, reason = f"{prefix}psnr{part}", None, NO_FACE
            if count and not squares:
                reason = "the pictures are identical, so PSNR is infinite"
            elif count:
                value = float(10 * np.log10(reconstruction.PEAK**2 * count / squares))
            entries[name] = entry(name, value, reason, used=frames, left_out=self.left_out)
        for part, values in self.likeness.items():
            name = f"{prefix}ssim{part}"
            entries[name] = mean_entry(name, torch.cat([*values, torch.empty(0)]).numpy(), self.left_out, NO_FACE)
        return entries


class Seam(Pictures):
    """The mask's edge in colour and gradient."""

    name = "seam"

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.differences: dict[str, list[Tensor]] = {"seam_colour": [], "seam_gradient": []}

    def compare(self, crops: Crops, source: Crops) -> None:
        self.differences["seam_colour"].append(blending.seam_colours(crops, source, self.mask))
        self.differences["seam_gradient"].append(blending.seam_gradients(crops, source, self.mask))

    def entries(self) -> dict[str, Entry]:
        joined = {name: torch.cat([*values, torch.empty(0)]).numpy() for name, values in self.differences.items()}
        return {name: mean_entry(name, values, self.left_out, NO_FACE) for name, values in joined.items()}


class Sharpness(Pictures):
    """The mouth's sharpness against the clip's."""

    name = "sharpness"

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.sums, self.frames = np.zeros(2), 0

    def compare(self, crops: Crops, source: Crops) -> None:
        self.sums += [float(blending.sharpness(part, self.hole).sum()) for part in (crops, source)]
        self.frames += len(crops)

    def entries(self) -> dict[str, Entry]:
        name, (result, given) = "mouth_sharpness_ratio", self.sums
        reason = NO_FACE if not self.frames else "the clip's mouth is of one colour, so no ratio has a meaning"
        counts = {"used": self.frames, "left_out": self.left_out}
        return {name: entry(name, result / given if given else None, reason, **counts)}


class Residual(Family):
    """What changed outside of the crops."""

    name = "residual"
    needs = frozenset({"frames", "source_frames"})

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.seen, self.differences = 0, []

    def add(self, batch: Batch) -> None:
        for i in range(-self.seen % RESIDUAL_EVERY, len(batch), RESIDUAL_EVERY):
            matrix = batch.matrices[i] if batch.has_face[i] else None
            pair = batch.frames[i], batch.source_frames[i]
            self.differences.append(blending.outside_difference(*pair, matrix, self.subject.size_px))
        self.seen += len(batch)

    def entries(self) -> dict[str, Entry]:
        reason = "the crop covers the whole frame" if self.differences else "there is no frame"
        return {"outside_residual": mean_entry("outside_residual", np.array(self.differences), 0, reason)}


class WindowBoundary(Family):
    """Jumps where the network's windows and Whisper's segments meet."""

    name = "window_boundary"
    needs = frozenset({"crops"})

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.differences: list[float] = []
        self.before: Crop | None = None

    def add(self, batch: Batch) -> None:
        crops = [crop if has_face else None for crop, has_face in zip(batch.crops, batch.has_face, strict=True)]
        self.differences += temporal.crop_differences([self.before, *crops])[1:].tolist()
        self.before = crops[-1]

    def entries(self) -> dict[str, Entry]:
        window, seen = self.subject.window, len(self.differences)
        entries = {}
        for name, period, least in (
            ("window_boundary_ratio", window, 2),
            ("whisper_boundary_ratio", WHISPER_FRAMES, WHISPER_FRAMES),
        ):
            value, reason = None, "there is no seam between frames with a face, or nothing moves"
            if period is None:
                reason = "the length of the network's windows is not known"
            elif period < 2:
                reason = "a window of one frame has a seam at every frame"
            elif seen <= least:
                reason = f"the video has {seen} frames; the first seam is at frame {period}"
            else:
                value = temporal.boundary_ratio(np.array(self.differences), period)
            detail = "" if period is None else f"a window has {period} frames"
            entries[name] = entry(name, value, reason, used=int(np.isfinite(self.differences).sum()), detail=detail)
        return entries

    def curves(self) -> dict[str, list[float | None]]:
        return {"crop_difference": rounded(np.array(self.differences), 2)}
