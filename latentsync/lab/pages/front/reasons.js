// Why a record is weak by its place among all records: which metrics are worse than the median, and by how much.
import { LEAST_UNITS, bestSetting, groupingColumns } from "./means.js";
import { numberText } from "./parts.js";

const MUCH = 0.5; // of the spread of a metric, below which a difference says nothing
const QUARTILES_A_SPREAD = 1.35; // between the quartiles of a normal distribution, in standard deviations
const DERIVED = /_(minus_real|real|shuffled|delayed)$/;
const AIM_PLACES = { zero: "0", one: "1" };

/** Medians and spreads of a table's metrics, over all of its records; each is computed once. */
export class Standings {
  constructor(table) {
    this.table = table;
    this.kept = new Map();
    const directed = table.metrics.filter((column) => column.direction !== "none" && column.name !== "seconds" && !DERIVED.test(column.name));
    const headlines = directed.filter((column) => column.headline !== null);
    this.all = directed;
    this.headlines = headlines.length ? headlines : directed;
  }

  /** The median of a metric, and the median and spread of how bad its values are; null with fewer than two values. */
  of(column) {
    if (!this.kept.has(column.name)) {
      const values = sorted(column.values.filter((value) => !Number.isNaN(value)));
      const badness = sorted(Float64Array.from(this.table.all, (row) => column.badness(row)).filter((value) => !Number.isNaN(value)));
      const spread = (quantile(badness, 0.75) - quantile(badness, 0.25)) / QUARTILES_A_SPREAD;
      this.kept.set(column.name, values.length < 2 ? null : { median: quantile(values, 0.5), badness: quantile(badness, 0.5), spread });
    }
    return this.kept.get(column.name);
  }

  /** How much worse than the median a value is, in spreads; NaN where that cannot be said. */
  score(column, row) {
    const standing = this.of(column);
    return standing && standing.spread > 0 ? (column.badness(row) - standing.badness) / standing.spread : NaN;
  }

  /** The metrics of a row that are clearly worse than the median, the worst first. */
  weakest(row, columns) {
    return columns.map((column) => [column, this.score(column, row)]).filter(([, score]) => score > MUCH)
      .sort((a, b) => b[1] - a[1]).map(([column]) => column);
  }

  /** `mouth LPIPS is 0.058, 18 % above the median of all 16 records (lower is better).` */
  sentence(column, row) {
    const { median } = this.of(column), value = column.values[row], records = `all ${this.table.rows} records`;
    const start = `${column.word} is ${column.text(row)}`, aim = AIM_PLACES[column.direction];
    if (aim) return `${start}, farther from ${aim} than the median of ${records}, ${column.valueText(median)}.`;
    const share = median ? Math.abs((value - median) / median) : 0, by = share >= 0.005 ? `${numberText(Math.round(share * 100))} % ` : "";
    return `${start}, ${by}${value > median ? "above" : "below"} the median of ${records}, ${column.valueText(median)} (${column.direction} is better).`;
  }

  /** In a few words why a row is weak; "" where nothing is. */
  inShort(row, metric) {
    const lost = this.table.column("frames_without_face");
    if (lost && lost.isNumber && lost.values[row] > 0) return `no face in ${lost.values[row]} ${lost.values[row] === 1 ? "frame" : "frames"}`;
    const [column] = this.weakest(row, this.headlines.filter((one) => one !== metric));
    if (column) return `weak: ${column.word} ${column.text(row)}`;
    return metric && this.score(metric, row) > MUCH ? `weak: ${metric.word}` : "";
  }
}

/** What "worst" and "best" mean for a metric, in a sentence. */
export function meaningOf(table, metric) {
  const { word, direction, name } = metric;
  if (name.endsWith("_minus_real")) return `Best is the value of the real clip itself: "${word}" is best at 0, and worst farthest from it, above or below.`;
  const meaning = {
    higher: `The worst has the lowest ${word}.`, lower: `The worst has the highest ${word}.`,
    zero: `The worst has the ${word} farthest from 0.`, one: `The worst has the ${word} farthest from 1.`, none: `Of ${word} no direction is better.`,
  }[direction];
  const better = betterThanReal(table, metric);
  return better ? `${meaning} ${better}` : meaning;
}

/** A sentence where results score better than their real clips: then the order by the difference is another one. */
function betterThanReal(table, metric) {
  const real = table.column(`${metric.name}_real`), sign = { higher: 1, lower: -1 }[metric.direction];
  if (!real || !sign) return "";
  const rows = [...table.shown].filter((row) => !metric.isMissing(row) && !real.isMissing(row));
  const better = rows.filter((row) => sign * (metric.values[row] - real.values[row]) > 0).length;
  if (!better) return "";
  return `${better === rows.length ? "All" : `${better} of ${rows.length}`} results score better than their real clips. That is no better sync: "minus real clip" is best at 0, and orders them otherwise.`;
}

/** Which setting is best by a metric and by how much, in a sentence; "" where that cannot be said. */
export function bestSettingText(table, metric) {
  const found = bestSetting(table, metric), aim = AIM_PLACES[metric.direction];
  if (!found) return "";
  const columns = groupingColumns(table), label = (rows) => columns.map((column) => column.keyLabel(column.values[rows[0]])).join(", ");
  const level = metric.direction === "higher" ? -found.level : found.level, number = (value) => metric.valueText(value);
  const start = `${label(found.best)}: mean ${number(level)}${aim ? ` from ${aim}` : ""} over ${found.units} ${found.word}${found.units === 1 ? "" : "s"}, ${number(found.gain)} better than the next, ${label(found.next)}`;
  if (!found.interval) return `${start}. Fewer than ${LEAST_UNITS} ${found.word}s do not tell whether that is chance.`;
  const [low, high] = found.interval;
  const verdict = low > 0 ? "" : "; no difference is shown";
  return `${start} (95 % interval ${number(low)} to ${number(high)})${verdict}. The best of ${found.settings} settings looks better than it is; test it with latentsync compare.`;
}

/** The value of the real clip of a row, `0.259`; "" where it was not measured. */
export function realText(table, metric, row) {
  const real = table.column(`${metric.name.replace(/_minus_real$/, "")}_real`);
  return real && real.isNumber && !real.isMissing(row) ? metric.valueText(real.values[row]) : "";
}

const sorted = (values) => values.sort();

function quantile(ascending, share) {
  const place = share * (ascending.length - 1), low = Math.floor(place);
  return ascending[low] + (place - low) * ((ascending[low + 1] ?? ascending[low]) - ascending[low]);
}
