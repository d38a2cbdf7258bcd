"""A folder of g-*/m-* clips and voices, gender by gender, into an output folder with plain names.

    latentsync batch --input_dir DIR --output_dir OUT [--guidance_scale X] [--seed 1247] [HYDRA OVERRIDES]

Every voice is matched with every clip of its gender: {clip}__{voice}_out.mp4, _mask.mp4 and a JSON sidecar. Pairs that
are done with identical settings are skipped; changed settings are computed anew.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from latentsync.config import Preset
from latentsync.errors import LatentSyncError, OptionError
from latentsync.lab.jobs.folder import run_folder
from latentsync.lab.options.compose import configured
from latentsync.lab.options.schema import RunConfig, read_config


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line; what it does not know must be Hydra overrides."""
    preset = Preset()
    parser = argparse.ArgumentParser(
        prog="latentsync batch",
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
