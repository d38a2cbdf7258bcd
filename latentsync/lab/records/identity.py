"""The identity of a record: everything that determines its pixels and how its sound is stored. The id is its hash.

It covers the input files' bytes, what a reader changes in them (such as the colours of HDR), the networks' tensors and
configurations, the resolved options and precision, the seed, and a version of each stage that is raised by hand. It
does not cover paths, names, tracker, launcher, metrics, batching, device, threads or git.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from latentsync.config import Options, recorded_infos

if TYPE_CHECKING:
    from latentsync.lab.options.pairs import Pair
    from latentsync.pipeline import LipsyncPipeline

ID_LENGTH = 16  # hex digits: 64 bits
LATER_SETTINGS = ("guidance_limit",)  # of networks, younger than records: covered where they are set


def record_id(parts: dict) -> str:
    """The id of a record: the first digits of the SHA-256 of its identity as canonical JSON."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:ID_LENGTH]


def identity(pair: "Pair", pipeline: "LipsyncPipeline", options: Options) -> dict:
    """Everything that the id of a record covers, in readable form."""
    from latentsync.faces.landmarks import LANDMARK_REFINEMENTS  # with OpenCV and torch, which ids do without
    from latentsync.generation.stage_cache import STAGE_VERSIONS, input_sha256
    from latentsync.media.departures import departures

    infos = recorded_infos()
    device_draws = {"rng_device": pipeline.device.type} if options.sampler.rng == "reference" else {}
    return {
        "clip_sha256": input_sha256(pair.clip),
        "voice_sha256": input_sha256(pair.voice),
        "weights_sha256": pipeline.weight_hashes,
        "networks": {
            name: {
                key: value
                for key, value in sorted(network.config.items())
                if not key.startswith("_") and not (key in LATER_SETTINGS and value is None)
            }
            for name, network in (("unet", pipeline.unet), ("vae", pipeline.vae), ("scheduler", pipeline.scheduler))
        },
        "whisper_heads": pipeline.audio.whisper.heads,
        "options": {name: value for name, value in options.flat().items() if infos[name].is_covered(value)},
        "attention": pipeline.attention,
        "landmark_refinements": LANDMARK_REFINEMENTS,
        **departures(pair.clip, pair.voice, options.video.voice_track),
        **device_draws,  # the original draws its noise on the device, so another device gives other noise
        "stage_versions": STAGE_VERSIONS,
    }


def changes(first: Any, second: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """What differs between two identities, or other nested values: (dotted name, first, second) of each single value.

    A value that only one of them has is None in the other.
    """
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in sorted({*first, *second}):
            yield from changes(first.get(key), second.get(key), f"{name}.{key}" if name else str(key))
    elif first != second:
        yield name, first, second


def short_text(value: Any) -> str:
    """A value in a line of differences; of a hash, the first digits."""
    return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else str(value)
