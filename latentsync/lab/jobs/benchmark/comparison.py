"""A measured benchmark as text, read again, and two of them side by side."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from latentsync.errors import MediaError, OptionError
from latentsync.files import read_json
from latentsync.lab.console import table_text
from latentsync.lab.jobs.benchmark.measurement import VERSION

Key = tuple[str, str, str, str]
BUSY = 0.05  # share of the cores from which on other processes are worth a word
OF_MACHINE = ("processor", "device", "cores", "threads", "torch")


def read_benchmark(path: Path) -> dict[str, Any]:
    """The JSON of an earlier benchmark.

    Raises:
        MediaError: there is no such file.
        DamagedFileError: it is damaged, or of another kind.
        OptionError: it is of a version that this program does not read.
    """
    content = read_json(path, _fault)
    if content is None:
        raise MediaError(f"there is no file at {path}; give one that `latentsync benchmark` wrote")
    if content["version"] != VERSION:
        raise OptionError(f"{path} is a benchmark of version {content['version']}, but this program reads {VERSION}")
    return content


def _fault(content: dict) -> str | None:
    missing = {"version", "environment", "peaks", "rows"} - content.keys()
    return f"it is no benchmark, since it has no {', '.join(sorted(missing))}" if missing else None


def row_name(row: Mapping[str, Any]) -> str:
    """ "saved bfloat16"."""
    return f"{row['algorithm']} {row['dtype']}"


def text_of(benchmark: Mapping[str, Any]) -> str:
    """A table of the stages, one of the pipeline's parts, and a few lines about the machine."""
    blocks = [machine_text(benchmark)]
    for model in dict.fromkeys(row["model"] for row in benchmark["rows"]):
        rows = [row for row in benchmark["rows"] if row["model"] == model]
        blocks.append(f"{model}: {_sizes(rows[0])}\n" + table_text(_columns(rows)))
        if parts := _parts(rows):
            blocks.append(f"{model}: seconds of the pipeline's stages, some of which run side by side\n{parts}")
    return "\n\n".join(blocks)


def _sizes(row: Mapping[str, Any]) -> str:
    number, frames = row["windows"], row["num_frames"]
    return f"{number} window{'s' * (number > 1)} of {frames} frames at once, {row['size_px']} px"


def machine_text(benchmark: Mapping[str, Any]) -> str:
    """Processor, threads, peaks, and what ran beside."""
    machine, others = benchmark["environment"], benchmark["other_jobs"]["share_of_cores"]
    lines = [
        f"{machine['processor']} ({', '.join(machine['flags']) or 'no flag of interest'})",
        f"threads {machine['threads']} on {machine['cores']} cores, torch {machine['torch']}, {machine['device']}",
    ]
    for dtype, kinds in benchmark["peaks"].items():
        if "gemm" in kinds:
            speeds = f"matrix product {kinds['gemm']:,.0f}, convolution {kinds['convolution']:,.0f} GFLOP/s"
            lines.append(f"peak in {dtype}: {speeds}")
        else:
            lines.append(f"memory: {kinds['copy']:.1f} GB/s read and written by a copy")
    if others is not None and others >= BUSY:
        lines.append(
            f"other processes took {others:.0%} of the cores meanwhile: ratios of this run hold, times less so"
        )
    return "\n".join(lines)


def _columns(rows: list[Mapping[str, Any]]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        "stage": [row["stage"] + " *" * row["is_computed"] for row in rows],
        "variant": [row_name(row) for row in rows],
        "seconds": [f"{row['median_s']:.3g}" for row in rows],
        "times faster": [f"{row['times_faster']:.2f}" for row in rows],
        "by CPU time": [f"{row['times_faster_cpu']:.2f}" for row in rows],
        "GFLOP/s": [_number(row["gflop_per_s"], "{:,.0f}") for row in rows],
        "of peak": [_number(row["share_of_peak"], "{:.0%}") for row in rows],
        "peak GiB": [_number(row["peak_gib"], "{:.2f}") for row in rows],
        "difference": [_number(row["difference"], "{:.1g}") for row in rows],
    }
    if any(row["busy_share"] is not None for row in rows):
        columns["frames/s"] = [f"{row['frames_per_s']:.3g}" for row in rows]
        columns["GPU busy"] = [_number(row["busy_share"], "{:.0%}") for row in rows]
    return columns


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _parts(rows: list[Mapping[str, Any]]) -> str | None:
    of_pipeline = [row for row in rows if row["parts"]]
    if not of_pipeline:
        return None
    names = list(dict.fromkeys(name for row in of_pipeline for name in row["parts"]))
    columns = {name: [f"{_median(row['parts'].get(name, [0.0])):.3g}" for row in of_pipeline] for name in names}
    return table_text({"variant": [row_name(row) for row in of_pipeline], **columns})


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """A table of what both measured: times, how many times faster the second is, and each one's gain over its plain.

    Raises:
        OptionError: they have no stage in common.
    """
    before, after = ({_key(row): row for row in one["rows"]} for one in (first, second))
    common = [key for key in before if key in after]
    if not common:
        raise OptionError("the two benchmarks have no model and stage in common; run both with the same options")
    pairs = [(before[key], after[key]) for key in common]
    columns = {
        "model": [row["model"] for row, _ in pairs],
        "stage": [row["stage"] for row, _ in pairs],
        "variant": [row_name(row) for row, _ in pairs],
        "first (s)": [f"{row['median_s']:.3g}" for row, _ in pairs],
        "second (s)": [f"{row['median_s']:.3g}" for _, row in pairs],
        "second is faster": [f"{a['median_s'] / b['median_s']:.2f}" for a, b in pairs],
        "first / plain": [f"{row['times_faster']:.2f}" for row, _ in pairs],
        "second / plain": [f"{row['times_faster']:.2f}" for _, row in pairs],
    }
    return "\n".join([table_text(columns), "", *_notes(first, second)])


def _key(row: Mapping[str, Any]) -> tuple:
    return tuple(
        row[name] for name in ("model", "stage", "algorithm", "dtype", "windows", "num_frames", "size_px", "steps")
    )


def _notes(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[str]:
    """What differs beside the times, and so may be their reason."""
    for name in OF_MACHINE:
        a, b = (one["environment"][name] for one in (first, second))
        if a != b:
            yield f"note: {name} is {a} in the first and {b} in the second"
    differing = [name for name, value in first["savings"].items() if second["savings"].get(name) != value]
    if differing:
        yield f"note: the variants called saved differ in {', '.join(differing)}"
    for dtype in first["peaks"].keys() & second["peaks"].keys() - {"uint8"}:
        a, b = (one["peaks"][dtype]["gemm"] for one in (first, second))
        yield f"matrix products in {dtype}: {a:,.0f} and {b:,.0f} GFLOP/s"
    for word, one in (("first", first), ("second", second)):
        share = one["other_jobs"]["share_of_cores"]
        if share is not None and share >= BUSY:
            yield f"note: other processes took {share:.0%} of the cores during the {word}; compare its ratios to plain"
