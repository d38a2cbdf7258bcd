// The state of the view: it stands in the address after #, so that a link to it can be kept and sent.

const SET_FILTER = "is.", RANGE_FILTER = "in.";
/** In place of a sweep's name. */
export const ALL_SWEEPS = "*";
export const TABS = ["gallery", "table", "figures", "sweeps"];

/**
 * What is shown: plain values by name, and filters by column: a Set of words, or [low, high].
 *
 * It sends "change" with the names that changed, whoever changed them.
 */
export class ViewState extends EventTarget {
  constructor() {
    super();
    this.read();
    window.addEventListener("hashchange", () => { this.read(); this.tell(null); });
  }

  read() {
    const given = new URLSearchParams(location.hash.slice(1));
    this.values = {};
    this.filters = new Map();
    for (const [name, value] of given) {
      if (name.startsWith(SET_FILTER)) {
        const column = name.slice(SET_FILTER.length);
        if (!(this.filters.get(column) instanceof Set)) this.filters.set(column, new Set());
        this.filters.get(column).add(value);
      } else if (name.startsWith(RANGE_FILTER)) {
        const range = value.split("..").map(Number);
        if (range.length === 2 && !range.some(Number.isNaN)) this.filters.set(name.slice(RANGE_FILTER.length), range);
      } else this.values[name] = value;
    }
  }

  get(name, usual = "") { return this.values[name] ?? usual; }
  get tab() { return TABS.includes(this.values.tab) ? this.values.tab : TABS[0]; }
  get record() { return this.get("record"); }

  /**
   * Changes values; "" or null takes a value away.
   *
   * @param isStep whether the browser's Back returns to the state before.
   */
  set(values, isStep = false) {
    const changed = Object.keys(values).filter((name) => (values[name] ?? "") !== this.get(name));
    if (!changed.length) return;
    for (const name of changed) {
      if (values[name] === "" || values[name] === null) delete this.values[name];
      else this.values[name] = String(values[name]);
    }
    this.write(isStep);
    this.tell(changed);
  }

  /** Keeps a value in the address that changes nothing of what is shown. */
  note(name, value) {
    if (this.get(name) === value) return;
    if (value === "") delete this.values[name];
    else this.values[name] = value;
    this.write(false);
  }

  /** Sets the filter of a column: a Set, a range, or null for none. */
  setFilter(column, filter) {
    if (filter === null) this.filters.delete(column);
    else this.filters.set(column, filter);
    this.write(false);
    this.tell(["filters"]);
  }

  clearFilters() {
    this.filters.clear();
    delete this.values.where;
    this.write(false);
    this.tell(["filters", "where"]);
  }

  /** The part of an address after #. */
  get hash() {
    const parts = new URLSearchParams(this.values);
    for (const [column, filter] of this.filters) {
      if (filter instanceof Set) filter.forEach((word) => parts.append(SET_FILTER + column, word));
      else parts.append(RANGE_FILTER + column, filter.join(".."));
    }
    return String(parts);
  }

  write(isStep) {
    const address = `#${this.hash}`;
    if (isStep) history.pushState(null, "", address);
    else history.replaceState(null, "", address);
  }

  tell(changed) { this.dispatchEvent(new CustomEvent("change", { detail: changed })); }
}
