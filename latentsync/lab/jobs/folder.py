"""A folder job: every pair of a folder, with plain names in an output folder."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from latentsync.errors import MediaError, OptionError
from latentsync.files import private_folder, read_json, write_json
from latentsync.lab.cells.cell import attempt, plan, produce
from latentsync.lab.cells.loading import header, pipeline_of
from latentsync.lab.cells.outcome import Outcome, outcome_line
from latentsync.lab.console import PairBar, say
from latentsync.lab.options.pairs import Pair, find_pairs
from latentsync.lab.options.schema import RunConfig
from latentsync.pipeline import LipsyncPipeline


@dataclass(frozen=True)
class Outputs:
    """The files of one pair in the output folder."""

    video: Path
    mask: Path
    sidecar: Path

    @classmethod
    def of(cls, pair: Pair, folder: Path) -> "Outputs":
        return cls(*(folder / f"{pair.name}{end}" for end in ("_out.mp4", "_mask.mp4", ".json")))

    def are_done(self, wanted: str) -> bool:
        """Whether all files are there and were made with these very settings."""
        return self.video.is_file() and self.mask.is_file() and (read_json(self.sidecar) or {}).get("id") == wanted


def run_folder(config: RunConfig, output_dir: Path) -> Iterator[Outcome]:
    """Works off a folder gender by gender with the models loaded once; yields each pair's outcome."""
    pairing = find_pairs(config.data.input_dir, config.data.pairing).first(config.data.max_pairs)
    _check_output_dir(output_dir, Path(config.data.input_dir))
    pipeline = pipeline_of(config)
    for line in header(config, pairing, pipeline):
        say(line)
    for number, pair in enumerate(pairing.pairs, start=1):
        outcome = attempt(pair, config, lambda bar, pair=pair: _make(pair, config, pipeline, output_dir, bar))
        say(f"[{number}/{len(pairing.pairs)}] {outcome_line(outcome, config)}")
        yield outcome


def _make(pair: Pair, config: RunConfig, pipeline: LipsyncPipeline, output_dir: Path, bar: PairBar) -> Outcome:
    parts, outcome = plan(pair, config, pipeline)
    files = Outputs.of(pair, output_dir)
    if files.are_done(outcome.record):
        return outcome
    with private_folder(output_dir) as part:
        video, mask = part / files.video.name, part / files.mask.name
        content, found = produce(pair, config, pipeline, video, mask, parts, bar)
        files.sidecar.unlink(missing_ok=True)  # while the videos change, nothing says what they are
        os.replace(video, files.video)
        os.replace(mask, files.mask)
        write_json(files.sidecar, {**content, "metrics": found.entries, "curves": found.curves})
    return replace(outcome, status="done", seconds=content["timings_s"]["total"])


def _check_output_dir(output_dir: Path, input_dir: Path) -> None:
    if output_dir.resolve() == input_dir.resolve():
        raise OptionError(
            f"--output_dir is the input folder {input_dir}; results there would be taken for clips, choose another"
        )
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"{output_dir} cannot be made ({error.strerror}); choose another --output_dir") from error
