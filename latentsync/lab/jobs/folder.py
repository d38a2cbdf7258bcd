"""A folder job: makes every pair of a folder and writes the results to an output folder under plain names."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from latentsync import journal
from latentsync.errors import MediaError, OptionError
from latentsync.files import find_json, place_together, private_folder, recover, write_json
from latentsync.lab.cells.cell import attempt, plan, produce
from latentsync.lab.cells.loading import header, pipeline_of
from latentsync.lab.cells.outcome import Outcome, note_outcome, outcome_line
from latentsync.lab.console import PairBar, say
from latentsync.lab.options.compose import configured
from latentsync.lab.options.inputs import require_usable, unusable_first
from latentsync.lab.options.pairs import Pair, pairs_of
from latentsync.lab.options.schema import RunConfig, read_config
from latentsync.lab.records.claims import CLAIM_PREFIX, claimed, lock_notice
from latentsync.lab.records.columns import notes_of
from latentsync.names import name_max_bytes, shortened
from latentsync.pipeline import LipsyncPipeline
from latentsync.proof import disagreement, proof_in, proof_of
from latentsync.runtime import apply_runtime


@dataclass(frozen=True)
class Outputs:
    """The files of one pair in the output folder."""

    video: Path
    mask: Path
    sidecar: Path

    @classmethod
    def of(cls, pair: Pair, folder: Path) -> "Outputs":
        """The files of a pair. A name that is too long for the file system ends with a hash instead."""
        ends = ("_out.mp4", "_mask.mp4", ".json")
        name = shortened(pair.name, name_max_bytes(folder) - max(map(len, ends)))
        return cls(*(folder / f"{name}{end}" for end in ends))

    def are_done(self, wanted: str, consent: str | None = None) -> bool:
        """Whether all files were made with exactly these settings, and are those that the sidecar proves.

        Args:
            wanted: the id that a record of these settings has.
            consent: what the videos' metadata must say, see `DataConfig`.

        Raises:
            OSError: a file cannot be read now.
        """
        content = find_json(self.sidecar) or {}
        older = {self.video.name: {}, self.mask.name: {}}  # a sidecar without a proof
        is_same = content.get("id") == wanted and content.get("consent") == consent
        return is_same and disagreement(self.sidecar.parent, proof_in(content) or older) is None

    @property
    def claim_path(self) -> Path:
        """The file whose lock keeps other processes from making the same files."""
        key = hashlib.sha256(os.fsencode(self.sidecar.name)).hexdigest()[:16]
        return self.sidecar.parent / f"{CLAIM_PREFIX}{key}"


def folder_config(
    input_dir: str | Path,
    *,
    guidance_scale: float | None = None,
    seed: int | None = None,
    inference_ckpt_path: str | None = None,
    unet_config_path: str | None = None,
    overrides: Sequence[str] = (),
) -> RunConfig:
    """The configuration of a folder job: `conf/`, the overrides, and then these options.

    Args:
        input_dir: a folder of clips and voices.
        guidance_scale: for every clip; None: the preset of the clip's gender.
        seed: None: the seed of `conf/`.
        inference_ckpt_path: a published UNet, as a file or the name of a weight; None: the embedded model.
        unet_config_path: its configuration, as a file or a name of conf/unet; None takes the one for its tensors.
        overrides: Hydra overrides, such as "sampler.num_inference_steps=30".

    Raises:
        OptionError: an option or override is unknown or out of range.
    """
    if unet_config_path is not None and inference_ckpt_path is None:
        raise OptionError(
            f"unet_config_path is {unet_config_path} without a checkpoint, and the embedded model has its own; "
            f"give inference_ckpt_path too"
        )
    # Paths are set afterwards, so that Hydra does not interpret their characters.
    placed = ["data=folder", "data.input_dir=PATH"]
    if inference_ckpt_path is not None:
        overrides = [*overrides, "model.pretrained=null", "model.inference_ckpt_path=PATH"]
    config = read_config(configured([*placed, *overrides]))
    sampler, model = config.options.sampler, config.model
    if guidance_scale is not None:
        sampler = replace(sampler, guidance_scale=guidance_scale)
    if seed is not None:
        sampler = replace(sampler, seed=seed)
    if inference_ckpt_path is not None:
        paths = {"inference_ckpt_path": inference_ckpt_path}
        model = replace(model, **paths, unet_config_path=unet_config_path or model.unet_config_path)
    data = replace(config.data, input_dir=str(input_dir))
    return replace(config, data=data, model=model, options=replace(config.options, sampler=sampler))


def run_folder(config: RunConfig, output_dir: Path) -> Iterator[Outcome]:
    """Makes the results of a folder, one gender at a time, and yields each pair's outcome. Models are loaded once.

    Args:
        config: a configuration of `folder_config`.

    Raises:
        MediaError: the folder has no pair, or output_dir cannot be created.
        OptionError: output_dir is the input folder.
    """
    apply_runtime(config.options.runtime)
    pairing = pairs_of(config.data)
    _check_output_dir(output_dir, Path(config.data.input_dir))
    pipeline = pipeline_of(config)
    notice = lock_notice(output_dir)
    for line in (*header(config, pairing, pipeline), *([] if notice is None else [notice])):
        say(line)
    run, failures = uuid4().hex, 0
    for number, pair in enumerate(unusable_first(pairing.pairs, config.options.video.voice_track), start=1):
        with journal.writing(output_dir / journal.LOG_FILE, run):
            outcome = attempt(pair, config, lambda bar, pair=pair: _make(pair, config, pipeline, output_dir, bar))
            note_outcome(outcome)
        failures += outcome.status == "failed"
        say(f"[{number}/{len(pairing.pairs)}] {outcome_line(outcome, config)}")
        yield outcome
    journal.finish(output_dir / journal.LOG_FILE, run, failures=failures)


def _make(pair: Pair, config: RunConfig, pipeline: LipsyncPipeline, output_dir: Path, bar: PairBar) -> Outcome:
    parts, outcome = plan(pair, config, pipeline)
    files = Outputs.of(pair, output_dir)
    recover(output_dir)
    wanted = outcome.record, config.data.consent
    if files.are_done(*wanted):
        return _known(outcome, files, config)
    require_usable(pair, config.options.video.voice_track)
    with claimed(files.claim_path), private_folder(output_dir) as part:
        if files.are_done(*wanted):  # another process has made them meanwhile
            return _known(outcome, files, config)
        video, mask, sidecar = (part / path.name for path in (files.video, files.mask, files.sidecar))
        content, evaluation = produce(pair, config, pipeline, video, mask, parts, bar)
        measured = {"metrics": evaluation.entries, "curves": evaluation.curves}
        write_json(sidecar, {**content, **measured, "files": proof_of((video, mask))})
        place_together({path.name: path for path in (video, mask, sidecar)}, output_dir, proof=sidecar.name)
    below = tuple(config.metrics.gate.failures(evaluation.entries))
    outcome = replace(outcome, notes=notes_of(content), below_gate=below)
    return replace(outcome, status="done", seconds=content["timings_s"]["total"])


def _known(outcome: Outcome, files: Outputs, config: RunConfig) -> Outcome:
    """The outcome of a pair whose files are there."""
    content = find_json(files.sidecar) or {}
    below = tuple(config.metrics.gate.failures(content.get("metrics", {})))
    return replace(outcome, notes=notes_of(content), below_gate=below)


def _check_output_dir(output_dir: Path, input_dir: Path) -> None:
    if output_dir.resolve() == input_dir.resolve():
        raise OptionError(
            f"--output_dir is the input folder {input_dir}, where results would count as clips; choose another"
        )
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"{output_dir} cannot be created ({error.strerror}); choose another --output_dir") from error
