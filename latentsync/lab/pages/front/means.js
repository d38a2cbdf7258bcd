// Means over speakers or clips with Student's intervals, as analysis/units.py and analysis/intervals.py have them.

export const LEAST_UNITS = 5; // with fewer, an interval says little, and none is drawn
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
 * What counts as one in means: the speaker (column "group") where it is known, else the clip. A table in which a clip has
 * several groups names no speakers.
 *
 * @returns word ("speaker" or "clip"), keyOf(row), and placeOf(key): the column and the value that choose its rows.
 */
export function unitsOf(table) {
  if (!UNITS.has(table)) UNITS.set(table, newUnits(table.column("clip"), table.column("group"), table.all || []));
  return UNITS.get(table);
}

const UNITS = new WeakMap(); // of each table

function newUnits(clips, groups, rows) {
  const speakers = new Map(); // of clips
  let isOne = Boolean(groups);
  if (groups) {
    for (const row of rows) {
      if (groups.isMissing(row)) continue;
      const clip = clips.values[row], group = groups.values[row];
      isOne = isOne && (speakers.get(clip) ?? group) === group;
      speakers.set(clip, group);
    }
  }
  if (!isOne || !speakers.size) return { word: "clip", keyOf: (row) => clips.values[row], placeOf: (key) => [clips, key] };
  return {
    word: "speaker",
    keyOf: (row) => speakers.get(clips.values[row]) ?? -1 - clips.values[row], // a clip of nobody known is one by itself
    placeOf: (key) => (key < 0 ? [clips, -1 - key] : [groups, key]),
  };
}

/**
 * The mean of a metric over units. Seeds of a voice are averaged first, then voices of a clip, then clips of a speaker.
 *
 * @returns mean, interval (null with fewer than LEAST_UNITS units), units, word (of a unit) and ofUnits (key -> value); null
 *   without a value.
 */
export function meanOver(table, rows, column) {
  const units = unitsOf(table), clips = table.column("clip"), voices = table.column("voice");
  const values = new Map(); // unit -> clip -> voice -> [sum, number]
  for (const row of rows) {
    if (column.isMissing(row)) continue;
    const ofClip = entry(entry(values, units.keyOf(row)), clips.values[row]), voice = voices ? voices.values[row] : 0;
    const sum = ofClip.get(voice) || [0, 0];
    ofClip.set(voice, [sum[0] + column.values[row], sum[1] + 1]);
  }
  if (!values.size) return null;
  const ofVoices = (voices) => average([...voices.values()].map(([sum, number]) => sum / number));
  const ofUnits = new Map([...values].map(([unit, ofClips]) => [unit, average([...ofClips.values()].map(ofVoices))]));
  return { ...meanOf([...ofUnits.values()]), word: units.word, ofUnits };
}

function entry(map, key) {
  if (!map.has(key)) map.set(key, new Map());
  return map.get(key);
}

const average = (values) => values.reduce((a, b) => a + b) / values.length;

/** The mean of one value a unit: mean, interval and units as from `meanOver`. */
function meanOf(values) {
  const number = values.length, mean = average(values);
  const spread = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (number - 1));
  const reach = number >= LEAST_UNITS ? studentT(number - 1) * spread / Math.sqrt(number) : null;
  return { mean, interval: reach === null ? null : [mean - reach, mean + reach], units: number };
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
 * The setting whose mean over units is best by a metric, and how much better it is than the next one on the same units.
 *
 * A unit's value says how bad its records are on average: for a metric that is best at 0, how far from 0 they are.
 *
 * @returns best and next (rows of each), gain and its interval (null with fewer than LEAST_UNITS units), units, word (of a
 *   unit), settings; null where fewer than two settings have the metric on a common unit.
 */
export function bestSetting(table, metric) {
  const badness = { values: Float64Array.from(table.all, (row) => metric.badness(row)), isMissing: (row) => Number.isNaN(metric.badness(row)) };
  const groups = groupsOf(table, groupingColumns(table)).map((rows) => ({ rows, mean: meanOver(table, rows, badness) })).filter((one) => one.mean);
  if (groups.length < 2) return null;
  const common = [...groups[0].mean.ofUnits.keys()].filter((unit) => groups.every((one) => one.mean.ofUnits.has(unit)));
  if (!common.length) return null;
  const ranked = groups.map((one) => ({ ...one, of: common.map((unit) => one.mean.ofUnits.get(unit)) }));
  ranked.forEach((one) => { one.level = one.of.reduce((a, b) => a + b) / common.length; });
  const [best, next] = ranked.sort((a, b) => a.level - b.level);
  const { mean, interval } = meanOf(best.of.map((value, i) => next.of[i] - value));
  return { best: best.rows, next: next.rows, level: best.level, gain: mean, interval, units: common.length, word: best.mean.word, settings: groups.length };
}
