"""Experiments with `latentsync`: sweeps, folder jobs, records, tracking, figures."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONF_DIR = ROOT / "conf"  # of Hydra's configurations
