// Means over clips with Student's intervals, as analysis/intervals.py has them.

export const LEAST_CLIPS = 5; // with fewer, an interval says little, and none is drawn
const Z = 1.959963984540054; // of a two-sided 95 %

/** The quantile of Student's t for a two-sided 95 %, by the expansion of Cornish and Fisher; within 0.002 from 4 on. */
export function studentT(freedom) {
  const z = Z, terms = [
    (z ** 3 + z) / 4,
    (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96,
    (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384,
    (79 * z ** 9 + 776 * z ** 7 + 1482 * z ** 5 - 1920 * z ** 3 - 945 * z) / 92160,
  ];
  return terms.reduce((sum, term, i) => sum + term / freedom ** (i + 1), z);
}

/**
 * The mean of a metric over clips. A clip's value is the mean over its rows: seeds and voices are no further clips.
 *
 * @returns mean, interval (null with fewer than LEAST_CLIPS clips), clips and ofClips (clip -> value); null without a value.
 */
export function meanOver(table, rows, column) {
  const clips = table.column("clip"), sums = new Map();
  for (const row of rows) {
    if (column.isMissing(row)) continue;
    const sum = sums.get(clips.values[row]) || [0, 0];
    sums.set(clips.values[row], [sum[0] + column.values[row], sum[1] + 1]);
  }
  if (!sums.size) return null;
  const ofClips = new Map([...sums].map(([clip, [sum, number]]) => [clip, sum / number]));
  return { ...meanOf([...ofClips.values()]), ofClips };
}

/** The mean of one value a clip: mean, interval and clips as from `meanOver`. */
function meanOf(values) {
  const number = values.length, mean = values.reduce((a, b) => a + b) / number;
  const spread = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (number - 1));
  const reach = number >= LEAST_CLIPS ? studentT(number - 1) * spread / Math.sqrt(number) : null;
  return { mean, interval: reach === null ? null : [mean - reach, mean + reach], clips: number };
}

/** The settings that differ, but for the seed, over which means are taken. */
export function groupingColumns(table) {
  return table.varied.filter((column) => column.name !== "seed");
}

/** The shown rows of each different setting, in the order of the settings. */
export function groupsOf(table, columns) {
  const groups = new Map();
  for (const row of table.shown) {
    const key = columns.map((column) => column.values[row]).join("|");
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(row);
  }
  const compare = (a, b) => columns.reduce((order, column) => order || column.values[a[0]] - column.values[b[0]], 0);
  return [...groups.values()].sort(compare);
}

/**
 * The setting whose mean over clips is best by a metric, and how much better it is than the next one on the same clips.
 *
 * A clip's value says how bad its records are on average: for a metric that is best at 0, how far from 0 they are.
 *
 * @returns best and next (rows of each), gain and its interval (null with fewer than LEAST_CLIPS clips), clips, settings;
 *   null where fewer than two settings have the metric on a common clip.
 */
export function bestSetting(table, metric) {
  const badness = { values: Float64Array.from(table.all, (row) => metric.badness(row)), isMissing: (row) => Number.isNaN(metric.badness(row)) };
  const groups = groupsOf(table, groupingColumns(table)).map((rows) => ({ rows, mean: meanOver(table, rows, badness) })).filter((one) => one.mean);
  if (groups.length < 2) return null;
  const common = [...groups[0].mean.ofClips.keys()].filter((clip) => groups.every((one) => one.mean.ofClips.has(clip)));
  if (!common.length) return null;
  const ranked = groups.map((one) => ({ ...one, of: common.map((clip) => one.mean.ofClips.get(clip)) }));
  ranked.forEach((one) => { one.level = one.of.reduce((a, b) => a + b) / common.length; });
  const [best, next] = ranked.sort((a, b) => a.level - b.level);
  const { mean, interval } = meanOf(best.of.map((value, i) => next.of[i] - value));
  return { best: best.rows, next: next.rows, level: best.level, gain: mean, interval, clips: common.length, settings: groups.length };
}
