"""Measures models stage by stage in several variants, interleaved, so that all share the same moments of a machine."""

import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from latentsync.device import SMALL_NETWORK, dtype_name, has_native, resolve_device, resolve_dtype
from latentsync.errors import OptionError
from latentsync.generation.networks import LipsyncNetworks
from latentsync.lab.jobs.benchmark.machine import OtherJobs, environment, measure_peaks
from latentsync.lab.jobs.benchmark.models import networks_of
from latentsync.lab.jobs.benchmark.options import BenchmarkOptions
from latentsync.lab.jobs.benchmark.stages import Sizes, WindowStages, run_pipeline
from latentsync.lab.jobs.benchmark.work import Cost, busy_share, cost_of, work_of
from latentsync.pipeline import LipsyncPipeline
from latentsync.unet.savings import Savings

VERSION = 1  # of the JSON
PLAIN, SAVED = "plain", "saved"
PARTS_OF_WINDOW = ("vae_encode", "unet", "vae_decode")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Variant:
    """A precision, with the original's algorithm ("plain") or with exact savings ("saved")."""

    dtype: torch.dtype
    algorithm: str
    savings: Savings

    @property
    def name(self) -> str:
        """ "plain float32"."""
        return f"{self.algorithm} {dtype_name(self.dtype)}"


@dataclass
class Row:
    """One stage of one model in one variant. The JSON has these names.

    Attributes:
        windows, num_frames, size_px: of what is denoised together.
        made_frames: frames of a result that one call serves.
        seconds, cpu_seconds: of each round, by the clock and of all threads.
        gflop, gbyte: operations of one call, and bytes of its operations' inputs and outputs, in 1e9.
        peak_gib: the largest memory of any round.
        difference: the largest difference from plain float32, as a share of its largest value.
        busy_share: the share of the time in which the GPU computed.
        parts: seconds of the pipeline's stages in each round; they may run side by side.
        is_computed: whether the time is that of its parts, one encoding, all steps and one decoding, and not measured.
        compared_with: the stage whose time in plain float32 is divided by this one's, if that is another one: all
            steps, for a window of fewer steps.
        times_faster: the median over rounds of plain float32's time divided by this one's.
        times_faster_cpu: the same with the processor's time, which other jobs disturb less.
    """

    model: str
    stage: str
    algorithm: str
    dtype: str
    windows: int
    num_frames: int
    size_px: int
    steps: int | None = None
    made_frames: int = 0
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    gflop: float | None = None
    gbyte: float | None = None
    peak_gib: float | None = None
    difference: float | None = None
    busy_share: float | None = None
    parts: dict[str, list[float]] = field(default_factory=dict)
    is_computed: bool = False
    median_s: float | None = None
    compared_with: str | None = None
    times_faster: float | None = None
    times_faster_cpu: float | None = None
    frames_per_s: float | None = None
    gflop_per_s: float | None = None
    share_of_peak: float | None = None

    def take(self, cost: Cost) -> None:
        """One more round."""
        self.seconds.append(cost.seconds)
        self.cpu_seconds.append(cost.cpu_seconds)
        if cost.peak_bytes is not None:
            self.peak_gib = max(self.peak_gib or 0.0, cost.peak_bytes / 2**30)

    def conclude(self, plain: "Row", peak: float | None) -> None:
        """Fills in what follows from the rounds.

        Args:
            plain: the same stage in plain float32.
            peak: of matrix products in this precision, in 1e9 operations a second.
        """
        self.median_s = median(self.seconds)
        self.times_faster = _median_ratio(plain.seconds, self.seconds)
        self.times_faster_cpu = _median_ratio(plain.cpu_seconds, self.cpu_seconds)
        self.frames_per_s = self.made_frames / self.median_s
        if self.gflop is not None:
            self.gflop_per_s = self.gflop / self.median_s
            self.share_of_peak = self.gflop_per_s / peak if peak else None


def measure(options: BenchmarkOptions, say: Say = lambda line: None) -> dict[str, Any]:
    """The whole benchmark, as JSON keeps it.

    Args:
        say: gets a line about each round.

    Raises:
        OptionError: the device does not exist here, a precision cannot be used on it, or a stage fits no model.
        WeightsError: a model cannot be read.
    """
    device = resolve_device(options.device)
    variants = variants_of(options, device)
    with _threads(options.threads):
        others, load = OtherJobs(), _load()
        peaks: list[list[dict[str, Any]]] = []
        dtypes = list(dict.fromkeys(variant.dtype for variant in variants))
        rows: list[Row] = []

        def measure_round() -> None:
            peaks.append(measure_peaks(device, dtypes))

        if options.stages == ():
            for _ in range(options.repeats):
                measure_round()
        for model in options.models if options.stages != () else ():
            say(f"{model}: loading")
            networks = networks_of(model, device, options.seed)
            rows += _Model(model, networks, variants, options).rows(measure_round, say)
            del networks
        best = best_peaks(peaks)
        for row in rows:
            plain = next(one for one in rows if _is_plain_of(one, row))
            row.conclude(plain, best.get(row.dtype, {}).get("gemm"))
        return {
            "version": VERSION,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "options": asdict(options),
            "savings": asdict(options.chosen_savings),
            "environment": environment(device),
            "other_jobs": {"share_of_cores": others.share(), "load_before": load, "load_after": _load()},
            "peaks": best,
            "peak_rounds": peaks,
            "rows": [asdict(row) for row in rows],
        }


def _median_ratio(over: list[float], under: list[float]) -> float:
    return median(a / b for a, b in zip(over, under, strict=True))


def _is_plain_of(one: Row, row: Row) -> bool:
    stage = row.compared_with or row.stage
    return (one.model, one.stage, one.algorithm, one.dtype) == (row.model, stage, PLAIN, "float32")


def variants_of(options: BenchmarkOptions, device: torch.device) -> list[Variant]:
    """Plain float32 first, then every precision plain and with savings.

    Raises:
        OptionError: the device does not compute in a precision.
    """
    names = options.dtypes if options.dtypes is not None else (dtype_name(resolve_dtype(None, device)),)
    dtypes = [torch.float32]
    for name in names:
        dtype = resolve_dtype(name, device)
        if not has_native(dtype, device):
            raise OptionError(f"dtypes has {name}, which this processor only emulates, many times slower; leave it out")
        dtypes += [] if dtype in dtypes else [dtype]
    algorithms = {PLAIN: Savings.none(), SAVED: options.chosen_savings}
    if algorithms[SAVED] == algorithms[PLAIN]:
        del algorithms[SAVED]
    return [Variant(dtype, name, savings) for dtype in dtypes for name, savings in algorithms.items()]


class _Model:
    """One model in all variants."""

    def __init__(
        self, name: str, networks: LipsyncNetworks, variants: list[Variant], options: BenchmarkOptions
    ) -> None:
        self._networks, self._variants, self._options, self._name = networks, variants, options, name
        self._sizes = Sizes.of(networks, options)
        is_whole, is_small = isinstance(networks, LipsyncPipeline), networks.num_parameters <= SMALL_NETWORK
        wholes = [*(["window"] if is_small else []), *(["pipeline"] if is_whole else [])]
        stages = options.stages or (*PARTS_OF_WINDOW, *wholes)
        if "pipeline" in stages and not is_whole:
            raise OptionError(
                f"stages has pipeline, but {name} has random weights and no detector sees a mouth of noise; leave it "
                f"out, or give a stored model such as mini"
            )
        self._stages = stages
        self._is_window_computed = not is_small and "window" not in stages and {*PARTS_OF_WINDOW} <= {*stages}
        self._plain: dict[str, Tensor] = {}
        self._rows = {(variant.name, stage): self._row(variant, stage) for variant in variants for stage in stages}

    def _row(self, variant: Variant, stage: str) -> Row:
        sizes, steps = asdict(self._sizes), self._options.steps if stage in ("window", "pipeline") else None
        made_frames = self._sizes.windows * self._sizes.num_frames
        return Row(
            self._name,
            stage,
            variant.algorithm,
            dtype_name(variant.dtype),
            **sizes,
            steps=steps,
            made_frames=made_frames,
        )

    def rows(self, on_round: Callable[[], None], say: Say) -> list[Row]:
        """Warms up, then measures in rounds.

        Args:
            on_round: called at the beginning of each round.
        """
        with tempfile.TemporaryDirectory(prefix="latentsync-benchmark-") as folder:
            for number in range(self._options.repeats + 1):
                if number:
                    on_round()
                for variant in self._variants:
                    say(f"{self._name}: {f'round {number}' if number else 'warm-up'}, {variant.name}")
                    self._networks.to(variant.dtype).use(variant.savings)
                    self._run(variant, bool(number), Path(folder))
        rows = [self._rows[variant.name, stage] for stage in self._stages for variant in self._variants]
        return rows + (self._computed_windows() if self._is_window_computed else [])

    def _run(self, variant: Variant, is_measured: bool, folder: Path) -> None:
        device = self._networks.device
        calls = WindowStages(self._networks, self._sizes, self._options)
        calls.settle()
        for stage in self._stages:
            row = self._rows[variant.name, stage]
            if stage == "pipeline":
                if is_measured:
                    self._run_pipeline(row, folder)
                continue
            call = calls.calls()[stage]
            if not is_measured:
                self._warm_up(row, call, device)
                continue
            row.take(cost_of(call, device))

    def _warm_up(self, row: Row, call: Callable[[], Tensor], device: torch.device) -> None:
        """Runs a stage once: counts its work, and compares what it makes."""
        outputs: list[Tensor] = []
        count = work_of(lambda: outputs.append(call()))
        row.gflop, row.gbyte = count.flops / 1e9, count.bytes / 1e9
        output = outputs[0].float().cpu()
        plain = self._plain.setdefault(row.stage, output)
        row.difference = ((output - plain).abs().max() / plain.abs().max()).item()
        row.busy_share = busy_share(call, device)

    def _run_pipeline(self, row: Row, folder: Path) -> None:
        made: list[tuple[int, dict[str, float]]] = []
        assert isinstance(self._networks, LipsyncPipeline)  # noqa: S101 - for type checkers; checked at the beginning
        pipeline = self._networks
        cost = cost_of(lambda: made.append(run_pipeline(pipeline, self._sizes, self._options, folder)), pipeline.device)
        row.take(cost)
        row.made_frames, seconds = made[0]
        parts = defaultdict(list, row.parts)
        for stage, value in seconds.items():
            parts[stage].append(value)
        row.parts = dict(parts)

    def _computed_windows(self) -> list[Row]:
        rows = [self._computed_window(variant, self._options.steps) for variant in self._variants]
        for steps in self._options.fewer_steps:
            fewer = [self._computed_window(variant, steps) for variant in self._variants]
            for row in fewer:
                row.stage, row.compared_with = f"window, {steps} step{'s' * (steps > 1)}", "window"
            rows += fewer
        return rows

    def _computed_window(self, variant: Variant, steps: int) -> Row:
        encode, unet, decode = (self._rows[variant.name, stage] for stage in PARTS_OF_WINDOW)
        row = self._row(variant, "window")
        row.steps, row.is_computed = steps, True
        for name in ("seconds", "cpu_seconds"):
            rounds = zip(*(getattr(part, name) for part in (encode, unet, decode)), strict=True)
            setattr(row, name, [a + steps * b + c for a, b, c in rounds])
        row.gflop = encode.gflop + steps * unet.gflop + decode.gflop
        row.gbyte = encode.gbyte + steps * unet.gbyte + decode.gbyte
        row.peak_gib = max((part.peak_gib or 0.0 for part in (encode, unet, decode)), default=None)
        return row


def best_peaks(rounds: list[list[dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """By precision and kind, the fastest shape's median over rounds, in 1e9 operations (bytes) a second."""
    rates: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for one in rounds:
        for rate in one:
            rates[rate["dtype"], rate["kind"], rate["shape"]].append(rate["rate"] / 1e9)
    best: dict[str, dict[str, float]] = defaultdict(dict)
    for (dtype, kind, _), values in rates.items():
        best[dtype][kind] = max(best[dtype].get(kind, 0.0), median(values))
    return dict(best)


def _load() -> float | None:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
