"""Cached parts of a pair, which several settings share: faces, Whisper states and the VAE's posteriors.

With a `StageCache` they are stored on disk. The faces of the last clips are stored in memory as well.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from latentsync import media
from latentsync.audio.whisper import SEGMENT_STATES
from latentsync.checkpoints.model import arguments_of
from latentsync.config import Options
from latentsync.faces.crops import warping_of
from latentsync.faces.landmarks import LANDMARK_REFINEMENTS
from latentsync.faces.masks import crops_to_pixels, masked_images
from latentsync.faces.track import AlignedFaces, align
from latentsync.files import stamp_of
from latentsync.generation.latents import Posterior
from latentsync.generation.networks import LipsyncNetworks
from latentsync.generation.references import References
from latentsync.generation.results import PreparedPair, ProgressCallback
from latentsync.generation.stage_cache import StageCache, input_sha256, stage_key
from latentsync.media.container import check_file
from latentsync.media.departures import clip_departures, read_with, voice_departures
from latentsync.media.prefetch import ahead
from latentsync.shapes import Frame, Mask, Pixels

ALIGNMENTS_KEPT = 16  # clips


def counted(frames: Iterator[Frame], stage: str, total: int, on_progress: ProgressCallback | None) -> Iterator[Frame]:
    """The frames as they are; `on_progress` is called as (stage, done, total) after each."""
    for done, frame in enumerate(frames, start=1):
        yield frame
        if on_progress is not None:
            on_progress(stage, done, total)


class PairCache:
    """Stores the parts of a pair that several settings share.

    Attributes:
        disk: stores them for later processes. None stores only the faces of the last clips, in memory.
    """

    def __init__(self) -> None:
        self.disk: StageCache | None = None
        self._faces: dict[tuple, AlignedFaces] = {}

    # Whisper states

    def states(
        self,
        networks: LipsyncNetworks,
        voice: Path,
        start: int,
        compute: Callable[[], Tensor],
        track: int | None = None,
    ) -> Tensor:
        """The Whisper states of a voice's segment of 30 s.

        Args:
            start: its first state.
            compute: makes the states if they are not stored.
            track: the voice's sound track, see `config.VideoOptions`.
        """
        if self.disk is None:
            return compute()
        depends_on = {
            "voice": input_sha256(voice),
            **read_with(voice_departures(voice, track)),
            **({} if track is None else {"track": track}),
            **({"segment": start // SEGMENT_STATES} if start % SEGMENT_STATES == 0 else {"start": start}),
            "whisper": networks.weight_hashes["whisper"],
            "heads": networks.audio.whisper.heads,
            "device": networks.device.type,
        }
        key = stage_key("whisper states", depends_on, "media", "audio")
        return self.disk.get(key, lambda: {"states": compute()})["states"]

    # Faces

    def faces_key(self, networks: LipsyncNetworks, clip: Path, num_frames: int, options: Options) -> str | None:
        """The key of the faces in a clip's first frames.

        None without a cache on disk. Also None with the user's own detector, since nothing identifies it.
        """
        if self.disk is None or networks.has_own_detector:
            return None
        depends_on = {
            "clip": input_sha256(clip),
            **read_with(clip_departures(clip)),
            "frames": num_frames,
            "refinements": LANDMARK_REFINEMENTS,
            "size_px": options.video.size_px,
            "geometry": options.video.geometry,
            "face": options.video.face,
        }
        if options.video.rate_hz is None:
            depends_on["fps"] = options.video.fps
        return stage_key("faces", depends_on, "media", "faces")

    def faces(
        self,
        networks: LipsyncNetworks,
        clip: Path,
        num_frames: int,
        options: Options,
        on_progress: ProgressCallback | None = None,
    ) -> AlignedFaces:
        """The affines of the chosen face in a clip's first frames.

        Raises:
            MediaError: the clip cannot be read.
            FaceNotFoundError: no frame shows a face, or none shows the chosen one.
        """
        check_file(clip)
        video = options.video
        size_px = video.size_px
        file = clip.resolve(), stamp_of(clip.stat())
        version = (*file, num_frames, size_px, video.geometry, video.face, video.fps)
        if version not in self._faces:
            frames = ahead(media.read_frames(clip, options.video.rate_hz, stop=num_frames))
            frames = counted(frames, "align", num_frames, on_progress)

            def compute() -> dict[str, Tensor]:
                if on_progress is not None:
                    on_progress("align", 0, num_frames)
                return align(frames, networks.detector, size_px, warping_of(options), video.face).to_tensors()

            key = self.faces_key(networks, clip, num_frames, options)
            faces = AlignedFaces.from_tensors(compute() if key is None else self.disk.get(key, compute))
            while len(self._faces) >= ALIGNMENTS_KEPT:
                del self._faces[next(iter(self._faces))]
            self._faces[version] = faces
        return self._faces[version]

    # Posteriors

    def posterior_keys(
        self,
        networks: LipsyncNetworks,
        pair: PreparedPair,
        options: Options,
        references: Sequence[int],
        spans: Sequence[tuple[int, int]],
    ) -> list[str | None]:
        """The key of the posteriors of each span of output frames; None for those that are not stored.

        Args:
            references: for each output frame, the number of the clip's frame that is its reference.
            spans: (start, stop) of each.
        """
        if self.disk is None or pair.faces_key is None:
            return [None] * len(spans)
        depends_on = {
            "faces": pair.faces_key,
            "rounding": options.video.rounding,
            "mask": options.video.mask,
            "vae": networks.weight_hashes["vae"],
            "vae_config": arguments_of(networks.vae),
            "dtype": options.runtime.dtype,
            "device": networks.device.type,
        }
        return [
            stage_key(
                "posteriors",
                depends_on | {"frames": pair.order[start:stop], "references": list(references[start:stop])},
                *("media", "faces", "masks", "latents"),
            )
            for start, stop in spans
        ]

    def has_all(self, keys: Sequence[str | None]) -> bool:
        """Whether the cache has something under every key."""
        return all(key is not None and key in self.disk for key in keys)

    def posteriors(
        self,
        networks: LipsyncNetworks,
        pixels: Pixels,
        references: References,
        mask: Mask,
        spans: Sequence[tuple[int, int]],
        keys: Sequence[str | None],
    ) -> tuple[Posterior, Posterior]:
        """The VAE's posteriors of the masked and of the reference images of consecutive frames, on the device.

        Args:
            pixels: the frames' aligned faces in the video's order, (f, 3, r, r) in -1..1.
            references: of the same frames; read only if something has to be computed.
            mask: (1, r, r).
            spans: (start, stop), the parts of these frames that are stored together.
            keys: of each span's posteriors, see `posterior_keys`.
        """
        first, parts = spans[0][0], []
        for (start, stop), key in zip(spans, keys, strict=True):
            part = slice(start - first, stop - first)

            def compute(part: slice = part) -> dict[str, Tensor]:
                images = masked_images(pixels[part], mask), crops_to_pixels(references.read()[part])
                of_both = networks.posteriors(*images)
                named = dict(zip(("masked", "reference"), of_both, strict=True))
                return {f"{name}_{key}": value for name, of in named.items() for key, value in vars(of).items()}

            parts.append(compute() if key is None else self.disk.get(key, compute))
        joined = {name: torch.cat([part[name].to(networks.device) for part in parts]) for name in parts[0]}
        return tuple(Posterior(joined[f"{name}_mean"], joined[f"{name}_std"]) for name in ("masked", "reference"))
