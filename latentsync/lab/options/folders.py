"""The folder of a sweep, from its name."""

import os
from pathlib import Path

from latentsync.errors import OptionError
from latentsync.files import require_inside
from latentsync.names import NAME_MAX_BYTES, is_plain


def sweep_folder(runs_dir: Path, name: str) -> Path:
    """The folder of a sweep's cells, table and pictures.

    Raises:
        OptionError: the name is not a plain folder name.
        MediaError: the folder, or something in it, is a link that leads out of the runs folder.
    """
    folder = runs_dir / "sweeps" / plain_name(name)
    require_inside(folder, runs_dir)
    return folder


def plain_name(name: str) -> str:
    """A sweep's name, checked. It names a folder, so it must not lead out of the runs folder.

    Raises:
        OptionError: it is not a plain folder name.
    """
    if not is_plain(name):
        raise OptionError(f"name is {name!r}; give a plain folder name, without slashes and leading dots")
    if (length := len(os.fsencode(name))) > NAME_MAX_BYTES:
        raise OptionError(f"name has {length} bytes; a folder's name may have {NAME_MAX_BYTES}, so give a shorter one")
    return name
