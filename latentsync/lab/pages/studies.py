"""The results of the shipped studies in experiments/, computed from their tables.

`latentsync pictures` writes the figures beside the table, and the results between the two marks of the page.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from latentsync.errors import MediaError
from latentsync.files import write_text
from latentsync.lab.analysis.comparisons import as_presets, differences_of, interactions, judge
from latentsync.lab.analysis.conclusions import METRICS
from latentsync.lab.analysis.intervals import ALPHA, holm, interval_text
from latentsync.lab.analysis.leakage import cells_of, summary, verdict
from latentsync.lab.analysis.matched import Matched, at_equal_cost
from latentsync.lab.analysis.seeds import seed_deviation
from latentsync.lab.analysis.units import unit_kind
from latentsync.lab.analysis.verdicts import Interaction
from latentsync.lab.figures import curves
from latentsync.lab.figures.evaluation import evaluation_figure
from latentsync.lab.figures.leakage import leakage_figure
from latentsync.lab.figures.sensitivity import sensitivity_figure
from latentsync.lab.records.labels import word_of
from latentsync.presets import Preset

BEGIN, END = "<!-- results: written by `latentsync pictures` -->", "<!-- end of results -->"
TABLE_FILE, PAGE_FILE = "table.parquet", "README.md"
SYNC, PEAK, LPIPS = "sync_mini_confidence", "landmark_sync_peak", "lpips_alex_mouth"
GAP = "lip_gap_correlation"
NEUTRAL, STEPS, SEED = 1.5, 20, 1247  # the baselines
PRESETS = (
    Preset("by_gender", female=1.8, male=1.3, neutral=NEUTRAL),
    Preset("neutral", female=NEUTRAL, male=NEUTRAL, neutral=NEUTRAL),
    Preset("swapped", female=1.3, male=1.8, neutral=NEUTRAL),
)
MARGINS = {f"{SYNC}_minus_real": 0.0068, LPIPS: 0.0026}  # the deviations between seeds of the study steps
OF_A_KIND = (
    "guidance_kind", "guidance_parallel", "guidance_norm", "guidance_momentum", "guidance_zero_steps",
    "guidance_rescale",
)  # fmt: skip
PLAIN_EFFECT = 2  # in standard deviations; such an effect is visible in a single clip


@dataclass(frozen=True)
class Results:
    """The results on a study's page: figures by the names of their files, and tables as Markdown."""

    figures: dict[str, Figure]
    text: str


def guidance(table: pd.DataFrame) -> Results:
    """How guidance changes sync and likeness, from a wide table over `guidance_scale`."""
    figures = {
        "guidance": curves.curves(table, "guidance_scale", (SYNC, PEAK, LPIPS), by="gender"),
        "differences": curves.differences(table, "guidance_scale", NEUTRAL, (SYNC, PEAK, LPIPS)),
        "pareto": curves.pareto(table, ["guidance_scale"], x=LPIPS, y=SYNC),
    }
    differences, genders = _family(table, "guidance_scale", NEUTRAL)
    parts = [differences_text(differences), "The effect of a guidance scale on women minus its effect on men:"]
    return Results(figures, "\n\n".join([*parts, interactions_text(genders)]))


def steps(table: pd.DataFrame) -> Results:
    """How steps, solvers and seeds change sync and likeness, from a wide table over all three at one guidance."""
    one_seed = table[table["seed"] == SEED]
    of_ddim = one_seed[one_seed["scheduler"] == "ddim"]
    solvers = one_seed[one_seed["num_inference_steps"].isin([5, 10])]
    seeds = table[(table["scheduler"] == "ddim") & (table["num_inference_steps"] == STEPS)]
    figures = {
        "steps": curves.curves(of_ddim, "num_inference_steps", (SYNC, "psnr_mouth", LPIPS)),
        "differences": curves.differences(of_ddim, "num_inference_steps", STEPS, (SYNC, "psnr_mouth", LPIPS)),
        "seeds": curves.seed_spread(seeds, (SYNC, "psnr_mouth", LPIPS)),
    }
    parts = [
        "Steps of DDIM:",
        differences_text(_family(of_ddim, "num_inference_steps", STEPS)[0]),
        "Solvers, at 5 and at 10 steps, averaged within a clip:",
        differences_text(_family(solvers, "scheduler", "ddim", ["num_inference_steps"])[0]),
        f"Seeds, at {STEPS} steps of DDIM:",
        seeds_text(seeds, METRICS),
    ]
    return Results(figures, "\n\n".join(parts))


def gender_presets(table: pd.DataFrame) -> Results:
    """Whether a different guidance for each gender helps, from a wide table over the presets' guidance scales."""
    by_preset = as_presets(table, PRESETS)
    figures = {
        "guidance": curves.curves(table, "guidance_scale", (f"{SYNC}_minus_real", LPIPS), by="gender"),
        "presets": curves.differences(by_preset, "preset", "neutral", METRICS),
    }
    tests = differences_of(by_preset, METRICS, "preset", "neutral")
    differences, genders = judge(tests, interactions(table, METRICS, "guidance_scale", NEUTRAL), MARGINS)
    parts = [
        f"Each clip with the preset of its gender, or of the other one, minus {NEUTRAL} for all:",
        differences_text(differences),
        "The effect of a guidance scale on women minus its effect on men:",
        interactions_text(genders),
    ]
    return Results(figures, "\n\n".join(parts))


def guidance_kinds(table: pd.DataFrame) -> Results:
    """Which kind of guidance brings more sync at the same cost of likeness, from a wide table over kinds and scales."""
    kinds = table["guidance_kind"].where(table["guidance_rescale"] == 0, "rescaled")
    by_kind = table.drop(columns=[name for name in table if name in OF_A_KIND]).assign(kind=kinds)
    compared = by_kind[by_kind["guidance_scale"] == by_kind["guidance_scale"].max()]
    tests = differences_of(compared, [*METRICS, GAP], "kind", "plain")
    differences, _ = judge(tests, [], MARGINS)
    parts = [
        f"Each kind minus plain guidance, all at the same guidance scale, {compared['guidance_scale'].iloc[0]:g}:",
        differences_text(differences),
        "Each kind minus plain guidance at the scale that costs as much likeness (equal mean mouth LPIPS):",
    ]
    matched = {name: at_equal_cost(by_kind, "kind", "plain", "guidance_scale", name, LPIPS) for name in (SYNC, GAP)}
    figures = {"kinds": curves.pareto(by_kind, ["kind", "guidance_scale"], x=LPIPS, y=SYNC)}
    return Results(figures, "\n\n".join([*parts, matched_text(matched)]))


def leakage(table: pd.DataFrame) -> Results:
    """Whether the model listens or copies, from a table of `analysis.leakage.leakage`."""
    rows = summary(table)
    cells = cells_of(rows)
    lines = [dict(zip(cells, values, strict=True)) for values in zip(*cells.values(), strict=True)]
    sentences = [f"- {line}." for line in verdict(rows, unit_kind(table))]
    return Results({"leakage": leakage_figure(rows)}, "\n\n".join([markdown(lines), "\n".join(sentences)]))


def measures(effects: pd.DataFrame) -> Results:
    """Which damage each metric reacts to, from a table of `evaluation.sensitivity.effects`."""
    strongest = effects.loc[effects.groupby(["metric", "damage"], sort=False)["strength"].idxmax()]
    damages = list(dict.fromkeys(zip(strongest["damage"], strongest["strength"], strict=True)))
    rows = []
    for metric, of_metric in strongest.groupby("metric", sort=False):
        if of_metric["effect"].notna().any():
            by_damage = of_metric.set_index("damage")
            cells = {f"{d} {s:g}": _effect(by_damage.loc[d]) if d in by_damage.index else "-" for d, s in damages}
            rows.append({"measure": word_of(metric), **cells})
    return Results({"sensitivity": sensitivity_figure(effects)}, markdown(rows))


def embedded_model(rows: pd.DataFrame) -> Results:
    """The quality of the embedded model, from a table of `evaluation.report.frame`."""
    baselines = list(rows.columns[rows.columns.get_loc("n") + 1 :])
    lines = []
    for row in rows.to_dict("records"):
        has_bar = not pd.isna(row["bound"])
        is_reached = has_bar and (row["value"] >= row["bound"] if row["is_least"] else row["value"] <= row["bound"])
        bar = f"{'at least' if row['is_least'] else 'at most'} {row['bound']:g}"
        if "passed" in row:  # the stored table is older than these columns
            bar, has_bar, is_reached = row["bar"], bool(row["bar"]), row["passed"] is True
        lines.append(
            {
                "row": f"`{row['row']}`",
                "what": row["what"],
                "value": f"{row['value']:.4g}",
                "95 %": interval_text((row["low"], row["high"]), ".3g"),
                "bar": bar if has_bar else "-",
                "reached": ("yes" if is_reached else "**no**") if has_bar else "-",
                **{name: "-" if pd.isna(row[name]) else f"{row[name]:.3g}" for name in baselines},
                "n": row["n"],
            }
        )
    return Results({"evaluation": evaluation_figure(rows)}, markdown(lines))


STUDIES: dict[str, Callable[[pd.DataFrame], Results]] = {
    study.__name__: study
    for study in (guidance, guidance_kinds, steps, gender_presets, leakage, measures, embedded_model)
}


# --- tables as text ---


def _family(
    table: pd.DataFrame, column: str, baseline: float | str, within: Sequence[str] = ()
) -> tuple[pd.DataFrame, list[Interaction]]:
    """Each setting against the baseline, and women against men, as one family of tests; see `comparisons.judge`."""
    tests = differences_of(table, METRICS, column, baseline, within)
    return judge(tests, interactions(table, METRICS, column, baseline, within), MARGINS)


def differences_text(comparisons: pd.DataFrame) -> str:
    """Rows of `comparisons.judge` as a Markdown table. Differences that are significant are bold."""
    rows = [
        {
            "measure": word_of(row.metric),
            "setting": f"{_setting(row.setting)} minus {_setting(row.baseline)}",
            f"{row.unit}s": row.units,
            "difference": _number(row.difference, row.p_holm <= ALPHA),
            "95 %, Student's t": interval_text((row.low, row.high)),
            "95 %, BCa": interval_text((row.bca_low, row.bca_high)),
            "p (Holm)": f"{row.p_holm:.2g}",
            "detectable": _size(row.detectable),
            "equivalent within": _equivalence(row.margin, row.p_equivalent_holm),
        }
        for row in comparisons.itertuples()
    ]
    return markdown(rows)


def interactions_text(tests: Sequence[Interaction]) -> str:
    """How much more each setting changes for women than for men, as a Markdown table; significant values are bold."""
    rows = [
        {
            "measure": word_of(one.metric),
            "setting": f"{_setting(one.setting)} minus {_setting(one.baseline)}",
            **{
                f"{name} ({number})": _number(difference)
                for name, number, difference in zip(one.groups, one.units, one.differences, strict=True)
            },
            "apart": _number(one.difference, one.judged.is_significant),
            "95 %, Welch's t": interval_text(one.interval),
            "95 %, BCa": interval_text(one.estimate.bca),
            "p (Holm)": f"{one.judged.p_holm:.2g}",
            "detectable": _size(one.judged.detectable),
            "equivalent within": _equivalence(one.judged.margin, one.judged.p_equivalent_holm),
        }
        for one in tests
    ]
    return markdown(rows)


def matched_text(by_metric: dict[str, list[Matched]]) -> str:
    """Settings against a baseline of equal cost, as a Markdown table. p is corrected over all of its rows."""
    corrected = holm(np.array([one.p for of_metric in by_metric.values() for one in of_metric]))
    rows = []
    for metric, of_metric in by_metric.items():
        for one in of_metric:
            p = corrected[len(rows)]
            rows.append(
                {
                    "measure": word_of(metric),
                    "kind, guidance": one.setting,
                    "mouth LPIPS": f"{one.cost:.4f}",
                    "plain guidance of equal cost": f"{one.at:.2f}",
                    "clips": one.units,
                    "difference": _number(one.difference, p <= ALPHA),
                    "95 %, Student's t": interval_text(one.interval),
                    "p (Holm)": f"{p:.2g}",
                    "detectable": _size(np.nan if one.detectable is None else one.detectable),
                }
            )
    return markdown(rows)


def seeds_text(table: pd.DataFrame, metrics: Sequence[str]) -> str:
    """The standard deviations between the seeds of a clip and between clips, as a Markdown table."""
    rows = []
    for metric in metrics:
        by_clip = table.groupby("clip")[metric]
        between_seeds, between_clips = seed_deviation(table, metric), by_clip.mean().std()
        rows.append(
            {
                "measure": word_of(metric),
                "clips": by_clip.ngroups,
                "seeds": table["seed"].nunique(),
                "deviation between seeds of a clip": f"{between_seeds:.4f}",
                "deviation between clips": f"{between_clips:.4f}",
            }
        )
    return markdown(rows)


def markdown(rows: Sequence[dict]) -> str:
    """Rows with the same keys as a Markdown table; numbers are not rounded."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _setting(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _number(value: float, is_shown: bool = False) -> str:
    return f"**{value:+.4f}**" if is_shown else f"{value:+.4f}"


def _equivalence(margin: float, p: float) -> str:
    if pd.isna(p):
        return "-"  # there is no margin
    return f"{margin:g} (p {p:.2g})" if p <= ALPHA else f"not shown (p {p:.2g})"


def _size(value: float) -> str:
    return "-" if pd.isna(value) else f"{value:.4f}"


def _effect(row: pd.Series) -> str:
    if pd.isna(row["effect"]):
        return "-"
    text = f"{row['effect']:.1f} ({interval_text((row['low'], row['high']), '.1f')})"
    return f"**{text}**" if row["low"] > PLAIN_EFFECT else text


# --- pages ---


def results_of(page: Path) -> str:
    """The text between the two marks of a page.

    Raises:
        MediaError: a mark is missing.
    """
    return _parts(page)[1].strip()


def write_results(page: Path, text: str) -> None:
    """Writes the results between the two marks of a page.

    Raises:
        MediaError: a mark is missing.
    """
    before, _, after = _parts(page)
    write_text(page, f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def _parts(page: Path) -> tuple[str, str, str]:
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    between, end, after = rest.partition(END)
    if not (begin and end):
        raise MediaError(f"{page} has no place for results; write {BEGIN} and {END} into it")
    return before, between, after
