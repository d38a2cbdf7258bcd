"""A folder of g-*/m-* clips and voices, gender by gender, into an output folder with plain names.

    python -m experiments.batch --input_dir DIR --output_dir OUT [--guidance_scale X] [--seed 1247] [HYDRA OVERRIDES]

Every voice is matched with every clip of its gender: {clip}__{voice}_out.mp4, _mask.mp4 and a JSON sidecar. Pairs that
are done with identical settings are skipped; changed settings are computed anew.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.cell import Outcome, attempt, header, pipeline_of, plan, produce, say
from experiments.compose import configured
from experiments.pairs import Pair, find_pairs
from experiments.progress import PairBar
from experiments.record import private_folder, read_json, write_json
from experiments.schema import RunConfig, read_config
from experiments.sweep import outcome_line
from latentsync.config import Preset
from latentsync.errors import LatentSyncError, MediaError, OptionError
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


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line; what it does not know must be Hydra overrides."""
    preset = Preset()
    parser = argparse.ArgumentParser(
        prog="python -m experiments.batch",
        description="Lip-sync every g-*/m-* clip of a folder with every voice of its gender.",
        epilog="Everything else is set by Hydra overrides at the end: sampler.num_inference_steps=30 preset=neutral "
        "video.mask=mask2 runtime.dtype=float32 metrics=none ...",
    )
    parser.add_argument(
        "--input_dir", required=True, type=Path, help="clips (mp4 mov mkv webm avi), voices (wav mp3 m4a flac)"
    )
    parser.add_argument("--output_dir", required=True, type=Path, help="made where it is missing; not the input folder")
    parser.add_argument(
        "--inference_ckpt_path",
        help="a published UNet: a file, or a name such as latentsync-1.6/latentsync_unet.pt; without it the embedded "
        "model runs",
    )
    parser.add_argument(
        "--unet_config_path",
        help="its configuration: one of the original's YAML files, or a name of conf/unet such as stage2_512 "
        "(for 1.6); without it the published one that the checkpoint's tensors belong to, at 256 px",
    )
    parser.add_argument(
        "--guidance_scale",
        type=float,
        help=f"for every clip; without it the preset holds: g- {preset.female}, m- {preset.male} "
        f"(preset=neutral: {preset.neutral})",
    )
    parser.add_argument("--seed", type=int, help="default 1247")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="Hydra overrides")
    return parser.parse_intermixed_args(arguments)


def configure(told: argparse.Namespace) -> RunConfig:
    """The configuration that the command line and `conf/` come to.

    Raises:
        OptionError: an override is unknown or out of range.
    """
    if told.unet_config_path is not None and told.inference_ckpt_path is None:
        raise OptionError("--unet_config_path goes with --inference_ckpt_path; the embedded model has its own")
    # Paths are put in afterwards, as they are: no character of them means anything to Hydra.
    overrides = ["data=folder", "data.input_dir=told", *told.overrides]
    if told.inference_ckpt_path is not None:
        overrides += ["model.pretrained=null", "model.inference_ckpt_path=told"]
    config = read_config(configured(overrides))
    sampler = config.options.sampler
    if told.guidance_scale is not None:
        sampler = replace(sampler, guidance_scale=told.guidance_scale)
    if told.seed is not None:
        sampler = replace(sampler, seed=told.seed)
    data = replace(config.data, input_dir=str(told.input_dir))
    model = config.model
    if told.inference_ckpt_path is not None:
        model = replace(
            model,
            inference_ckpt_path=told.inference_ckpt_path,
            unet_config_path=told.unet_config_path or model.unet_config_path,
        )
    return replace(config, data=data, model=model, options=replace(config.options, sampler=sampler))


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


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit status is 0 only if every pair is there."""
    told = parse(arguments)
    try:
        outcomes = list(run_folder(configure(told), told.output_dir))
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    for outcome in failed:
        print(f"FAILED  {outcome.pair}: {outcome.reason}", file=sys.stderr)
        if outcome.trace is not None:
            print(outcome.trace, file=sys.stderr)
    print(f"{len(outcomes) - len(failed)} of {len(outcomes)} pairs are in {told.output_dir}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
