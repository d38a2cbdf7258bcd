"""Opens a run of Weights & Biases, online or offline, and ends wandb's service."""

import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentsync.disk import make_folder
from latentsync.lab.options.schema import TrackerConfig
from latentsync.lab.tracking.trial import apart_from_the_agent
from latentsync.names import shortened

if TYPE_CHECKING:
    import wandb

INIT_TIMEOUT_S = 30.0
NAME_LENGTH, TAG_LENGTH = 128, 64  # characters that W&B takes


def begin_run(tracker: TrackerConfig, folder: Path, joins_agent: bool = True, **facts: Any) -> "wandb.Run":
    """Opens a run. wandb prints nothing and reads neither git, nor the machine, nor the list of all installed
    packages, which takes seconds; the configuration has the versions that matter.

    Args:
        tracker: its mode, project, entity and time limit.
        folder: the folder in which wandb makes its own folder `wandb`.
        joins_agent: whether it is the run of the agent that started this command, if one did.
        facts: further arguments of `wandb.init`, such as `name`, `group` and `config`. Names and tags that are longer
            than W&B takes end with a hash instead.

    Raises:
        wandb.errors.Error: the server refuses, or cannot be reached within half of `timeout_s` and at most
            `INIT_TIMEOUT_S` (online mode only).
    """
    own_folder = folder / "wandb"
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ["WANDB_DATA_DIR"] = str(own_folder.resolve())
    import wandb

    for key in ("name", "group"):
        if key in facts:
            facts[key] = shortened(facts[key], NAME_LENGTH, in_bytes=False)
    if "tags" in facts:
        facts["tags"] = [shortened(tag, TAG_LENGTH, in_bytes=False) for tag in facts["tags"]]
    make_folder(own_folder)
    settings = wandb.Settings(
        console="off", disable_git=True, x_disable_stats=True, x_disable_machine_info=True, x_save_requirements=False,
        init_timeout=min(INIT_TIMEOUT_S, tracker.timeout_s / 2),
    )  # fmt: skip
    with nullcontext() if joins_agent else apart_from_the_agent():
        run = wandb.init(
            mode=tracker.wandb_mode,
            project=tracker.project_name,
            entity=tracker.entity,
            dir=str(folder),
            settings=settings,
            **facts,
        )
    # the artifacts of an offline run wait in its own folder for `wandb sync`, and go with it
    os.environ["WANDB_DATA_DIR"] = str(Path(run.dir).parent.resolve())
    return run


def end_service() -> None:
    """Ends wandb's service, which still writes files of runs after `finish`."""
    import wandb

    wandb.teardown()
