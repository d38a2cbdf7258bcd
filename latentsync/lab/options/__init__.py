"""The options of a run: the typed configuration, the pairs, and Hydra's composition."""

from pathlib import Path

_INSTALLED = Path(__file__).resolve().parents[1] / "conf"  # in a wheel
CONF_DIR = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).resolve().parents[3] / "conf"  # Hydra's configurations
