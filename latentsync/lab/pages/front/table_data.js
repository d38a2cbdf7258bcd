// The table of records in typed columns, as serving/columns.py sends it: it is filtered and sorted in the page.
import { numberText } from "./parts.js";

const LENGTH_DIGITS = 16;
const FEW_VALUES = 40; // a column of numbers with at most as many different values has groups

/** `2nd`, `3rd`, `11th`. */
function ordinal(number) {
  const ending = number % 100 > 10 && number % 100 < 14 ? "th" : { 1: "st", 2: "nd", 3: "rd" }[number % 10] || "th";
  return `${number.toLocaleString("en")}${ending}`;
}

/** One column: numbers in `values`, or words as places in `words` (-1: missing). */
export class Column {
  constructor(facts, buffer, start, rows) {
    Object.assign(this, facts);
    const at = start + facts.at;
    this.isNumber = facts.type === "number";
    this.values = this.isNumber ? new Float64Array(buffer, at, rows) : new Int32Array(buffer, at, rows);
    this.reasons = null; // the column that says why a value is missing
  }

  isMissing(row) { return this.isNumber ? Number.isNaN(this.values[row]) : this.values[row] < 0; }

  /** A value as text; "" where it is missing. */
  text(row) { return this.isMissing(row) ? "" : this.valueText(this.values[row]); }

  /** A value, or a mean of values: as many decimals as tell the values of the column apart. */
  valueText(value) {
    if (this.role === "setting" || !this.isNumber) return this.keyText(value);
    return this.decimals === null ? numberText(value) : value.toFixed(this.decimals).replace("-", "−");
  }

  /** Decimals of the values; null where they are whole, or too large or small for a fixed number. */
  get decimals() {
    if (this.decimalsKept === undefined) {
      const known = this.values.filter((value) => Number.isFinite(value));
      const spread = known.reduce((most, value) => Math.max(most, value), -Infinity) - known.reduce((least, value) => Math.min(least, value), Infinity);
      const decimals = Math.max(0, 2 - Math.floor(Math.log10(spread || 1)));
      this.decimalsKept = known.every(Number.isInteger) || decimals > 6 ? null : decimals;
    }
    return this.decimalsKept;
  }

  /** A key of `groups` as text. */
  keyText(key) { return this.isNumber ? numberText(key) : key < 0 ? "none" : this.words[key]; }

  /** A key in words: "guidance 1.8". */
  keyLabel(key) {
    const text = this.keyText(key);
    return this.label ? this.label.replace("{}", text) : this.isNumber ? `${this.word} ${text}` : text;
  }

  /** What stands in an address for a key. */
  keyCode(key) { return this.isNumber ? String(key) : this.words[key]; }

  /** Why a value is missing; "" if it is not known. */
  reason(row) { return this.reasons ? this.reasons.text(row) : ""; }

  /** The different values, ascending. Of words only those that rows have. */
  get groups() {
    if (!this.groupsKept) {
      const isThere = this.isNumber ? (key) => !Number.isNaN(key) : (key) => key >= 0;
      this.groupsKept = [...new Set(this.values)].filter(isThere).sort((a, b) => a - b);
    }
    return this.groupsKept;
  }

  get isVaried() { return this.groups.length > 1; }
  get isGrouping() { return !this.isNumber || this.groups.length <= FEW_VALUES; }

  /** How bad a value is, by the direction of the column; more is worse, NaN if that cannot be said. */
  badness(row) {
    const value = this.values[row];
    if (!this.isNumber) return NaN;
    switch (this.direction) {
      case "higher": return -value;
      case "lower": return value;
      case "zero": return Math.abs(value);
      case "one": return Math.abs(value - 1);
      default: return NaN;
    }
  }

  get title() { return [this.word, this.unit && this.unit !== this.word && `(${this.unit})`].filter(Boolean).join(" "); }
}

/** All records, and which of them the filters let pass. */
export class RecordTable {
  constructor(buffer) {
    const head = new TextDecoder().decode(new Uint8Array(buffer, 0, LENGTH_DIGITS));
    const start = parseInt(head, 16);
    const text = new TextDecoder().decode(new Uint8Array(buffer, LENGTH_DIGITS, start - LENGTH_DIGITS));
    const { columns, ...about } = JSON.parse(text.replace(/\0+$/, ""));
    this.about = about;
    this.rows = about.rows;
    this.columns = new Map(columns.map((facts) => [facts.name, new Column(facts, buffer, start, this.rows)]));
    for (const column of [...this.columns.values()].filter((one) => one.role === "reason")) {
      this.columns.delete(column.name);
      if (this.columns.has(column.of)) this.columns.get(column.of).reasons = column;
    }
    this.all = Int32Array.from({ length: this.rows }, (_, row) => row);
    this.shown = this.all;
    const ids = this.columns.get("record");
    this.places = new Map(ids ? [...ids.values].map((key, row) => [ids.words[key], row]) : []);
  }

  column(name) { return this.columns.get(name); }
  ofRole(...roles) { return [...this.columns.values()].filter((column) => roles.includes(column.role)); }
  recordId(row) { return this.columns.get("record").text(row); }

  /** Metrics with numbers, the headlines first. */
  get metrics() {
    const order = (column) => (column.headline === null ? Infinity : column.headline);
    const numbers = this.ofRole("metric").filter((column) => column.isNumber);
    const seconds = this.columns.get("seconds");
    return [...numbers, ...(seconds ? [seconds] : [])].sort((a, b) => order(a) - order(b) || 0);
  }

  /** The settings that differ between records. */
  get varied() { return this.ofRole("setting").filter((column) => column.isVaried); }

  /** `guidance 1.8, 20 steps, seed 7`, and what else differs between the records. */
  label(row) {
    const first = this.ofRole("setting").filter((column) => column.first !== undefined).sort((a, b) => a.first - b.first);
    const more = this.varied.filter((column) => column.first === undefined && column.label);
    return [...first, ...more].filter((column) => !column.isMissing(row))
      .map((column) => column.keyLabel(column.values[row])).join(", ");
  }

  /** Whether a clip speaks with a voice that is not its own. */
  get hasOtherVoices() {
    if (this.othersKept === undefined) {
      const pairs = this.columns.has("pair") ? this.columns.get("pair").words : [];
      this.othersKept = pairs.some((pair) => pair.split("__").some((part, _, all) => part !== all[0]));
    }
    return this.othersKept;
  }

  /** Where a shown row stands by a metric: "worst of 16"; "" where no direction is better. */
  rankText(column, row) {
    const own = column.badness(row);
    if (Number.isNaN(own)) return "";
    let worse = 0, better = 0;
    for (const other of this.shown) {
      worse += column.badness(other) > own;
      better += column.badness(other) < own;
    }
    const number = this.shown.length;
    if (!worse && !better) return "";
    if (!worse) return `worst of ${number}`;
    if (!better) return `best of ${number}`;
    return worse < better ? `${ordinal(worse + 1)} worst of ${number}` : `${ordinal(better + 1)} best of ${number}`;
  }

  /** The clip and the voice of a record in words. */
  pairText(row) {
    const [clip, voice] = this.column("pair").text(row).split("__");
    return voice === undefined || voice === clip ? clip : `${clip}, voice ${voice}`;
  }

  /**
   * Keeps the rows that pass all tests.
   *
   * @param tests [column, test of a value] of each filter.
   * @param allowed a Set of rows, or null.
   */
  filter(tests, allowed = null) {
    const kept = new Int32Array(this.rows);
    let number = 0;
    for (let row = 0; row < this.rows; row += 1) {
      if (allowed !== null && !allowed.has(row)) continue;
      let passes = true;
      for (let i = 0; i < tests.length && passes; i += 1) passes = tests[i][1](tests[i][0].values[row]);
      if (passes) kept[number++] = row;
    }
    this.shown = number === this.rows ? this.all : kept.slice(0, number);
  }

  /** The shown row with the worst and the best value of a metric; null where no direction is better. */
  extremes(column) {
    let worst = null, best = null;
    for (const row of this.shown) {
      const badness = column.badness(row);
      if (Number.isNaN(badness)) continue;
      if (worst === null || badness > column.badness(worst)) worst = row;
      if (best === null || badness < column.badness(best)) best = row;
    }
    return worst === null ? null : { worst, best };
  }

  /** The shown rows, the worst by a metric first; those without a value last. */
  byBadness(column) {
    const badness = (row) => { const value = column.badness(row); return Number.isNaN(value) ? -Infinity : value; };
    return [...this.shown].sort((a, b) => badness(b) - badness(a) || a - b);
  }
}
