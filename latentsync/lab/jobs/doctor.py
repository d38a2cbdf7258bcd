"""Looks at the machine before any work: what is here, what is wrong, and what to do about it. It loads no network."""

import importlib.util
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync import disk, plugins
from latentsync.errors import LatentSyncError, sentence_of
from latentsync.files import has_locks, private_folder
from latentsync.lab.console import table_text
from latentsync.names import name_max_bytes

if TYPE_CHECKING:
    import torch

PROJECT = "latentsync-lab"  # its name among the installed packages
LEAST_MEMORY_GB, LEAST_SPACE_GB = 4.0, 2.0  # the embedded model needs 2 GB; a sweep writes about 1 MB a record
HASHED_BYTES = 300_000_000  # larger weights are hashed only where their hash is remembered: 5 GB take half a minute
WRITERS = ("libx264", "aac", "flac")  # what results are written with
READERS = (
    "h264",
    "hevc",
    "av1",
    "vp9",
    "mpeg4",
    "prores",
    "mjpeg",
    "aac",
    "mp3",
    "opus",
    "vorbis",
    "flac",
    "pcm_s16le",
)
STATES = ("ok", "note", "problem")


@dataclass(frozen=True)
class Finding:
    """One fact about the machine.

    Attributes:
        area: environment, packages, extensions, codecs, devices, attention, weights or runs folder.
        name: what was looked at.
        value: what is here.
        state: "ok"; "note": only some work needs what is missing; or "problem".
        remedy: what to do about it; "" where there is nothing to do.
    """

    area: str
    name: str
    value: str
    state: str = "ok"
    remedy: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All findings, area by area."""

    findings: tuple[Finding, ...]

    @property
    def is_healthy(self) -> bool:
        """Whether there is no problem; notes do not count."""
        return all(finding.state != "problem" for finding in self.findings)

    def text(self) -> str:
        """A table for the terminal, and below it one line for each remedy."""
        columns = {
            "area": [one.area for one in self.findings],
            "what": [one.name for one in self.findings],
            "here": [one.value for one in self.findings],
            "state": ["-" if one.state == "ok" else one.state for one in self.findings],
        }
        remedies = [f"{one.state:<8} {one.name}: {one.remedy}" for one in self.findings if one.state != "ok"]
        problems = sum(one.state == "problem" for one in self.findings)
        end = f"{problems or 'no'} problem{'' if problems == 1 else 's'}"
        return "\n".join([table_text(columns), "", *remedies, *([""] if remedies else []), end])

    def to_json(self) -> str:
        """Everything as JSON."""
        findings = [asdict(finding) for finding in self.findings]
        return json.dumps({"healthy": self.is_healthy, "findings": findings}, indent=2)


def diagnose(runs_dir: Path) -> Diagnosis:
    """Looks at everything. A look that fails is a problem of its own, and the others go on.

    Args:
        runs_dir: where records are to be written; it need not exist, and is not created.
    """
    looks: dict[str, Callable[[], Iterator[Finding]]] = {
        "environment": environment,
        "packages": packages,
        "extensions": extensions,
        "codecs": codecs,
        "devices": devices,
        "weights": weights,
        "runs folder": lambda: runs_folder(runs_dir),
    }
    findings: list[Finding] = []
    for area, look in looks.items():
        try:
            findings += look()
        except Exception as error:  # what is broken here is what the command is to find
            reason = sentence_of(error) or f"{type(error).__name__}: {error}"
            findings.append(Finding(area, area, "cannot be looked at", "problem", reason))
    return Diagnosis(tuple(findings))


# --- the machine ---


def environment() -> Iterator[Finding]:
    """Python, the system, its processor and its memory."""
    yield Finding("environment", "Python", f"{platform.python_version()} ({platform.python_implementation()})")
    yield Finding("environment", "system", f"{platform.system()} {platform.release()}, {platform.machine()}")
    cores, usable = os.cpu_count() or 1, usable_cores()
    yield Finding("environment", "cores", f"{usable} of {cores}" if usable < cores else f"{cores}")
    total = memory_bytes() / 1e9
    remedy = (
        f"the embedded model needs about 2 GB, so {total:.1f} GB may not suffice; close other programs, or allow more"
    )
    is_short = total < LEAST_MEMORY_GB
    yield Finding("environment", "memory", f"{total:.1f} GB", "note" if is_short else "ok", remedy if is_short else "")
    yield _space("environment", "temporary folder", Path(tempfile.gettempdir()))


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """The memory that this process may use: the machine's, or the limit of its control group."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(limit).read_text().strip()
        except OSError:
            continue
        if text.isdecimal():
            total = min(total, int(text))
    return total


def packages() -> Iterator[Finding]:
    """The packages that this one asks for, with their versions, and those of extras that are installed."""
    from packaging.requirements import Requirement

    try:
        needs = [Requirement(text) for text in requires(PROJECT) or ()]
    except PackageNotFoundError:
        yield Finding("packages", PROJECT, "not installed", "problem", "install it with `pip install -e .`")
        return
    yield Finding("packages", PROJECT, version(PROJECT))
    for need in needs:
        is_extra = need.marker is not None and "extra" in str(need.marker)
        try:
            here = version(need.name)
        except PackageNotFoundError:
            if not is_extra:
                yield Finding("packages", need.name, "missing", "problem", f"install it with `pip install '{need}'`")
            continue
        if need.specifier.contains(here, prereleases=True):
            if not is_extra:
                yield Finding("packages", need.name, here)
            continue
        wanted = f"{need.name}{need.specifier}"
        state = "note" if is_extra else "problem"
        yield Finding("packages", need.name, here, state, f"{wanted} is needed; `pip install '{wanted}'`")


def extensions() -> Iterator[Finding]:
    """What other packages add, and what of it is left out. Their code is not tried."""
    from latentsync.config import SCHEDULERS
    from latentsync.lab.options.schema import TRACKERS
    from latentsync.metrics.definitions import INSTALLED

    usable = {
        plugins.SCHEDULERS_GROUP: plugins.beside(plugins.SCHEDULERS_GROUP, SCHEDULERS),
        plugins.METRICS_GROUP: list(INSTALLED),
        plugins.TRACKERS_GROUP: plugins.beside(plugins.TRACKERS_GROUP, TRACKERS),
    }
    for group, kind in plugins.GROUPS.items():
        for name in usable[group]:
            package = " ".join(part for pair in plugins.version_of(group, name).items() for part in pair)
            yield Finding("extensions", name, f"{kind} of {package}")
    for (group, name, package), reason in plugins.REASONS.items():
        yield Finding("extensions", name, f"{plugins.GROUPS[group]} of {package}, left out", "note", reason)


def codecs() -> Iterator[Finding]:
    """What FFmpeg, which comes with PyAV, can write and read."""
    import av

    library = ".".join(map(str, av.library_versions["libavcodec"]))
    yield Finding("codecs", "FFmpeg", f"PyAV {av.__version__}, libavcodec {library}")
    remedy = "this PyAV was built without it; install PyAV's own wheel with `pip install --force-reinstall av`"
    for kind, names, state in (("writes", WRITERS, "problem"), ("reads", READERS, "note")):
        missing = [name for name in names if not _has_codec(name, kind[0])]
        here = ", ".join(name for name in names if name not in missing) or "nothing"
        yield Finding("codecs", kind, here)
        for name in missing:
            yield Finding("codecs", f"{kind} {name}", "no", state, remedy)


def _has_codec(name: str, mode: str) -> bool:
    import av

    try:
        av.codec.Codec(name, mode)
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def devices() -> Iterator[Finding]:
    """Where networks can run, in which precision, and which kinds of attention run there."""
    import torch

    from latentsync.device import resolve_device, resolve_dtype

    device = resolve_device()
    dtype = str(resolve_dtype(None, device)).removeprefix("torch.")
    yield Finding("devices", "chosen", f"{device} in {dtype}, {torch.get_num_threads()} threads")
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        free, total = torch.cuda.mem_get_info(number)
        memory = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free"
        yield Finding("devices", f"cuda:{number}", f"{facts.name}, {facts.major}.{facts.minor}, {memory}")
    if torch.cuda.device_count() == 0 and Path("/proc/driver/nvidia/version").exists():
        build = "without CUDA" if torch.version.cuda is None else f"for CUDA {torch.version.cuda}"
        remedy = (
            f"there is an NVIDIA driver, but torch {torch.__version__} (built {build}) finds no GPU; see pytorch.org"
        )
        yield Finding("devices", "NVIDIA GPU", "not usable", "problem", remedy)
    yield from _attention(device)


def _attention(device: "torch.device") -> Iterator[Finding]:
    yield Finding("attention", "sdpa", "runs")
    if device.type != "cuda" or importlib.util.find_spec("xformers") is None:
        yield Finding("attention", "xformers", "not here" if device.type == "cuda" else "for NVIDIA GPUs only")
        return
    from latentsync.unet.attention import check_backend  # imports diffusers, which takes seconds

    try:
        check_backend("xformers", device)
    except LatentSyncError as error:
        yield Finding("attention", "xformers", "cannot be loaded", "problem", str(error))
    else:
        yield Finding("attention", "xformers", "runs")


# --- files ---


def weights() -> Iterator[Finding]:
    """The weights that are here, with their hashes, and those of the embedded model and the metrics that are not."""
    from latentsync.weights import CATALOGUE, CHECKPOINTS_DIR, cache_dir, locations
    from latentsync.weights.table import carried

    yield Finding("weights", "cache", str(cache_dir()))
    yield Finding("weights", "checkpoints", str(CHECKPOINTS_DIR.resolve()))
    needed = set(carried())
    for name, weight in CATALOGUE.items():
        places = [place.path for place in locations(weight) if place.path.is_file() and not place.shared]
        if places:
            yield _weight(name, places[0])
        elif name in needed:
            yield Finding("weights", name, "not here", "problem", f"fetch it with `latentsync weights fetch {name}`")


def _weight(name: str, path: Path) -> Finding:
    from latentsync.weights import CATALOGUE, expected_sha256
    from latentsync.weights.hashes import is_remembered, remembered_sha256

    weight, size = CATALOGUE[name], path.stat().st_size
    expected, here = expected_sha256(weight), f"{size / 1e6:.1f} MB"
    if size > HASHED_BYTES and not is_remembered(path):
        return Finding("weights", name, f"{here}, not hashed", "note", "check it with `latentsync weights verify`")
    sha256 = remembered_sha256(path)
    here = f"{here}, {sha256[:12]}"
    if expected in (None, sha256):
        return Finding("weights", name, here)
    remedy = f"{path} is damaged or another version; delete it and fetch it with `latentsync weights fetch {name}`"
    return Finding("weights", name, here, "problem", remedy)


def runs_folder(runs_dir: Path) -> Iterator[Finding]:
    """What the file system of the runs folder can do, and its free space."""
    area = "runs folder"
    folder = next(each for each in (runs_dir, *runs_dir.absolute().parents) if each.exists())
    yield Finding(area, "folder", f"{runs_dir.absolute()}{'' if folder == runs_dir else ' (not made yet)'}")
    if not folder.is_dir():
        yield Finding(area, "kind", "a file", "problem", f"{folder} is a file; give another folder")
        return
    yield _space(area, "free space", folder)
    try:
        with private_folder(folder) as scratch:
            yield from _abilities(area, scratch)
    except (LatentSyncError, OSError) as error:
        yield Finding(area, "writing", "no", "problem", f"{sentence_of(error)}")


def _abilities(area: str, scratch: Path) -> Iterator[Finding]:
    locks = has_locks(scratch)
    remedy = "two processes may make the same result; start one at a time, or choose a folder on another disk"
    yield Finding(area, "locks", "yes" if locks else "no", "ok" if locks else "problem", "" if locks else remedy)
    disk.system.write(scratch / "case", b"")
    is_blind = (scratch / "CASE").exists()
    remedy = "names that differ only in capitals are one name here; give clips and sweeps distinct names"
    here = "do not count" if is_blind else "count"
    yield Finding(area, "capitals in names", here, "note" if is_blind else "ok", remedy if is_blind else "")
    can = _can_exchange(scratch)
    remedy = "a folder that is replaced is absent for a moment; do not read it while another process writes it"
    yield Finding(area, "exchange of names", "yes" if can else "no", "ok" if can else "note", "" if can else remedy)
    can_link = _works(lambda: disk.system.link("case", scratch / "link"))
    remedy = "a sweep's videos/ holds copies instead of links"
    yield Finding(area, "links", "yes" if can_link else "no", "ok" if can_link else "note", "" if can_link else remedy)
    yield Finding(area, "longest name", f"{name_max_bytes(scratch)} bytes")


def _can_exchange(scratch: Path) -> bool:
    """Whether two names can be exchanged at once."""
    for name in ("first", "second"):
        disk.system.write(scratch / name, b"")
    return _works(lambda: disk.system.exchange(scratch / "first", scratch / "second"))


def _works(action: Callable[[], None]) -> bool:
    try:
        action()
    except OSError:
        return False
    return True


def _space(area: str, name: str, folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free / 1e9
    remedy = f"{folder} has {free:.1f} GB left; free some space, or choose a folder on another disk"
    is_short = free < LEAST_SPACE_GB
    return Finding(area, name, f"{free:.1f} GB", "problem" if is_short else "ok", remedy if is_short else "")
