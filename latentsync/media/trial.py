"""The child process that tries files for `isolation`: it reads each as a whole, within limits on memory and time."""

import os
import resource
import sys
from pathlib import Path

from latentsync.errors import LatentSyncError
from latentsync.media.frames import read_frames
from latentsync.media.isolation import LIMIT_S, MEMORY_GB, SURVIVED, TOO_LARGE
from latentsync.media.kinds import kind_of
from latentsync.media.sound import sound_blocks


def serve() -> None:
    """Reads the files that standard input names, until it ends; a line of standard output answers each."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_GB << 30, MEMORY_GB << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints is no answer
    for line in sys.stdin.buffer:
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = int(used.ru_utime + used.ru_stime) + LIMIT_S
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
        answers.write(f"{_tried(Path(os.fsdecode(bytes.fromhex(line.decode()))))}\n".encode())


def _tried(path: Path) -> str:
    """Reads all that a file holds. Refusals count as survived: this process gets them again."""
    answer = SURVIVED
    for read in (lambda: [kind_of(path)], lambda: read_frames(path, None), lambda: sound_blocks(path)):
        try:
            for _ in read():
                pass
        except LatentSyncError as error:
            if isinstance(error.__cause__, MemoryError):
                answer = TOO_LARGE
    return answer
