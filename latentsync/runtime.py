"""The runtime options that hold for a whole process: how it writes files, and how it reads clips and voices."""

from latentsync.config import RuntimeOptions
from latentsync.files import set_durable
from latentsync.media.isolation import set_isolated


def apply_runtime(*runtimes: RuntimeOptions) -> None:
    """Lets this process write as `durable` says from now on, and read as `isolate_decoding` says.

    Args:
        runtimes: those of all jobs that the process does. One that is not durable, or isolates, does so for all.
    """
    set_durable(all(runtime.durable for runtime in runtimes))
    set_isolated(any(runtime.isolate_decoding for runtime in runtimes))
