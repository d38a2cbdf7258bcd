"""Lip-sync every clip of a folder with every voice of its gender.

    latentsync batch --input_dir DIR --output_dir OUT [--guidance_scale X] [--seed 1247] [HYDRA OVERRIDES]

The names of clips and voices begin with g- (women) or m- (men); others are neutral. For each pair, OUT gets
{clip}__{voice}_out.mp4, a _mask.mp4 and a JSON sidecar. A pair that exists with identical settings is skipped; with
changed settings it is made again. Hydra overrides at the end set everything else: sampler.num_inference_steps=30
preset=neutral video.mask=mask2 runtime.dtype=float32 metrics=none ... The exit status is 0 only if OUT holds every
pair, and 3 if a pair misses a bound of metrics.gate.
"""

from pathlib import Path

from latentsync.lab.console import BELOW_GATE, CONTINUES, FAILED, ArgumentParser, command, show, warn
from latentsync.presets import Preset


def parser() -> ArgumentParser:
    """The command line. Arguments that are not its own options must be Hydra overrides."""
    preset, parser = Preset(), ArgumentParser("latentsync batch", description=__doc__)
    parser.add_argument(
        "--input_dir", required=True, type=Path, help="clips (mp4 mov mkv webm avi), voices (wav mp3 m4a flac)"
    )
    parser.add_argument("--output_dir", required=True, type=Path, help="created if missing; not the input folder")
    parser.add_argument(
        "--inference_ckpt_path",
        help="a published UNet: a file, or a name such as latentsync-1.6/latentsync_unet.pt; default: the embedded "
        "model",
    )
    parser.add_argument(
        "--unet_config_path",
        help="the UNet's configuration: one of the original's YAML files, or a name of conf/unet such as stage2_512 "
        "(for 1.6); default: the published one that fits the checkpoint's tensors, at 256 px",
    )
    parser.add_argument(
        "--guidance_scale",
        type=float,
        help=f"for every clip; default: the preset of each gender, g- {preset.female}, m- {preset.male} "
        f"(preset=neutral: {preset.neutral})",
    )
    parser.add_argument("--seed", type=int, help="default: 1247")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="Hydra overrides")
    return parser


@command(interrupted=CONTINUES)
def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_intermixed_args(arguments)
    from latentsync.lab.jobs.folder import folder_config, run_folder

    config = folder_config(
        args.input_dir,
        guidance_scale=args.guidance_scale,
        seed=args.seed,
        inference_ckpt_path=args.inference_ckpt_path,
        unet_config_path=args.unet_config_path,
        overrides=args.overrides,
    )
    outcomes = list(run_folder(config, args.output_dir))
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    for outcome in failed:
        warn(f"FAILED  {outcome.pair}: {outcome.reason}")
        if outcome.trace is not None:
            warn(outcome.trace)
    below = [outcome for outcome in outcomes if outcome.below_gate]
    for outcome in below:
        warn(f"BELOW THE GATE  {outcome.pair}: {'; '.join(outcome.below_gate)}")
    show(f"{len(outcomes) - len(failed)} of {len(outcomes)} pairs are in {args.output_dir}")
    return FAILED if failed else BELOW_GATE if below else 0
