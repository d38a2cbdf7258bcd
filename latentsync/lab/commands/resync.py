"""Move the sound of a video so that it fits its lips.

    latentsync resync VIDEO [--output FILE]

Measures by how many frames the lips come later or earlier than the sound, and writes a copy with the sound moved by
that time. Pictures and sound are copied, not encoded again. The line shows the measure before and after. If the offset
is 0, nothing is written. The command ends with an error if the measure is not certain enough.

The standard SyncNet measures if its weights are on this machine:
`latentsync weights fetch auxiliary/syncnet_v2.model`. Else the embedded SyncNet does, which knows drawn speakers like
the shipped ones, but not people.
"""

from pathlib import Path

from latentsync.lab.console import ArgumentParser, command, show


def parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("latentsync resync", description=__doc__)
    parser.add_argument("video", type=Path, help="a video with one face that speaks, and its sound")
    parser.add_argument("--output", type=Path, help="the copy; default: VIDEO_resynced beside the video")
    return parser


@command()
def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_args(arguments)
    from latentsync.lab.jobs.resync import resync

    done = resync(args.video, args.output)
    show(f"before: {done.before}")
    if done.output is None:
        show("nothing is to be done: the sound fits the lips")
    else:
        show(f"after:  {done.after}")
        show(f"{done.output} is the copy with the sound moved")
    return 0
