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
  const ofClips = new Map([...sums].map(([clip, [sum, number]]) => [clip, sum / number])), values = [...ofClips.values()];
  const number = values.length, mean = values.reduce((a, b) => a + b) / number;
  const spread = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (number - 1));
  const reach = number >= LEAST_CLIPS ? studentT(number - 1) * spread / Math.sqrt(number) : null;
  return { mean, interval: reach === null ? null : [mean - reach, mean + reach], clips: number, ofClips };
}
