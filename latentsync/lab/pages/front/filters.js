// Filters by clicks: check boxes for words, a histogram to brush for numbers, and an expression for those who want it.
import { afterBurst, asked, choice, node, numberText, svgNode } from "./parts.js";
import { ALL_SWEEPS } from "./state.js";

const [FEWEST_BINS, MOST_BINS] = [8, 30]; // of a histogram
const MOST_BARS = 24; // a setting with at most as many different values has a bar for each
const MOST_BOXES = 8; // a setting of numbers with at most as many values has check boxes
const MANY_WORDS = 12; // of a column: above it, a field finds words
const OPEN_METRICS = 3; // histograms of metrics that are open at first
const WIDEST_BAR = 12;
const [PLOT_WIDTH, PLOT_HEIGHT] = [200, 44];

/** The panel of filters. It writes them into the state, and draws how many of the shown records each value has. */
export class FilterPanel {
  constructor(state) {
    this.state = state;
    this.root = node("aside", { class: "filters", id: "filters", "aria-label": "Filters" });
    this.parts = [];
    this.added = new Set(); // metrics whose histogram the viewer added
    this.allowed = null; // rows that the expression lets pass
    this.expression = new Expression(this);
  }

  /** Builds the panel for a table. */
  fill(table) {
    this.table = table;
    const pairs = table.ofRole("pair").filter((column) => column.isVaried && column.name !== "pair" && (column.name !== "voice" || table.hasOtherVoices));
    const chosen = new Set([...this.state.filters.keys(), ...this.added]);
    const metrics = table.metrics.filter((column) => column.isVaried || chosen.has(column.name));
    const first = metrics.filter((column, i) => (column.headline !== null && i < OPEN_METRICS * 2) || chosen.has(column.name));
    const rest = metrics.filter((column) => !first.includes(column));
    this.parts = [];
    const section = (title, columns, areOpen) => (columns.length ? [
      node("h2", { text: title }), ...columns.map((column, i) => this.part(column, areOpen(column, i))),
    ] : []);
    this.root.replaceChildren(
      node("div", { class: "filters-head" },
        node("h1", { text: "Filters" }),
        node("button", { type: "button", class: "plain clear", text: "Clear all", onclick: () => this.state.clearFilters() })),
      ...section("Pairs", pairs, (column) => column.groups.length <= MANY_WORDS),
      ...section("Tags and gate", table.ofRole("mark"), () => true),
      ...section("Settings", table.varied, () => true),
      ...section("Metrics", first, (column, i) => i < OPEN_METRICS || chosen.has(column.name)),
      ...(rest.length ? [choice("Another metric", [["", "choose …"], ...rest.map((one) => [one.name, one.word])], "", (name) => {
        this.added.add(name);
        this.fill(this.table);
        this.draw();
      }, { class: "more" })] : []),
      this.expression.root,
    );
    this.expression.fill(table);
  }

  part(column, isOpen) {
    const hasBoxes = !column.isNumber || (column.role === "setting" && column.groups.length <= MOST_BOXES);
    const made = !hasBoxes ? new RangeFilter(column, this) : new WordFilter(column, this);
    this.parts.push(made);
    return node("details", { class: "filter", "data-column": column.name, open: isOpen, ontoggle: () => made.draw() },
      node("summary", { title: column.help }, node("span", { text: column.title }), made.chosen), made.root);
  }

  /** Applies the filters of the state to the table; returns how many milliseconds it took. */
  apply() {
    const begun = performance.now();
    const tests = [];
    for (const [name, filter] of this.state.filters) {
      const column = this.table.column(name);
      if (!column) continue;
      if (filter instanceof Set) {
        const codes = new Set([...filter].map((word) => (column.isNumber ? Number(word) : column.words.indexOf(word))));
        tests.push([column, (value) => codes.has(value)]);
      } else tests.push([column, (value) => value >= filter[0] && value <= filter[1]]);
    }
    this.table.filter(tests, this.allowed);
    return performance.now() - begun;
  }

  draw() {
    this.parts.forEach((part) => part.draw());
    this.root.querySelector(".clear").hidden = !this.number;
    this.expression.draw();
  }

  /** How many filters there are. */
  get number() {
    return [...this.state.filters.keys()].filter((name) => this.table.column(name)).length + (this.state.get("where") !== "");
  }
}

/** Check boxes: a record passes if its word is checked, and all pass if none is. */
class WordFilter {
  constructor(column, panel) {
    Object.assign(this, { column, panel });
    this.chosen = node("span", { class: "chosen" });
    this.boxes = column.groups.map((key) => {
      const word = column.isNumber ? column.keyLabel(key) : column.keyText(key);
      const box = node("input", { type: "checkbox", onchange: () => this.choose() });
      const count = node("span", { class: "count" });
      const bar = node("span", { class: "share", "aria-hidden": "true" });
      return { key, word, box, count, bar, row: node("label", { class: "word" }, box, node("span", { class: "name", text: word }), bar, count) };
    });
    const find = this.boxes.length > MANY_WORDS
      ? node("input", { type: "search", placeholder: `find ${column.word}`, "aria-label": `Find ${column.word}`, oninput: () => this.find(find.value) }) : null;
    this.root = node("div", { class: "words", role: "group", "aria-label": column.word }, find, this.boxes.map((one) => one.row));
  }

  find(text) { this.boxes.forEach((one) => { one.row.hidden = !one.word.toLowerCase().includes(text.trim().toLowerCase()); }); }

  choose() {
    const words = this.boxes.filter((one) => one.box.checked).map((one) => this.column.keyCode(one.key));
    this.panel.state.setFilter(this.column.name, words.length ? new Set(words) : null);
  }

  draw() {
    const filter = this.panel.state.filters.get(this.column.name);
    const checked = filter instanceof Set ? filter : new Set();
    this.chosen.textContent = checked.size ? `${checked.size} chosen` : "";
    if (!isOpen(this.root)) return;
    const counts = new Map(this.column.groups.map((key) => [key, 0]));
    for (const row of this.panel.table.shown) if (!this.column.isMissing(row)) counts.set(this.column.values[row], counts.get(this.column.values[row]) + 1);
    const most = Math.max(1, ...counts.values());
    for (const one of this.boxes) {
      one.box.checked = checked.has(this.column.keyCode(one.key));
      one.count.textContent = counts.get(one.key);
      one.bar.style.setProperty("--share", counts.get(one.key) / most);
    }
  }
}

const isOpen = (root) => root.parentElement !== null && root.parentElement.open;

/** A histogram with two handles: drag over it, drag a handle, use its arrow keys, or type the bounds. */
class RangeFilter {
  constructor(column, panel) {
    Object.assign(this, { column, panel });
    const groups = column.groups;
    [this.low, this.high] = [groups[0], groups[groups.length - 1]];
    this.hasBars = column.role === "setting" && groups.length <= MOST_BARS;
    this.bins = this.hasBars ? groups.length : Math.max(FEWEST_BINS, Math.min(MOST_BINS, Math.ceil(2 * Math.sqrt(groups.length))));
    this.chosen = node("span", { class: "chosen" });
    this.plot = svgNode("svg", { viewBox: `0 0 ${PLOT_WIDTH} ${PLOT_HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    this.bars = Array.from({ length: this.bins }, (_, bin) => ["of-all", "of-shown"].map((kind) => {
      const room = PLOT_WIDTH / this.bins, width = Math.min(WIDEST_BAR, Math.max(0.5, room - 1));
      const bar = svgNode("rect", { class: kind, x: (bin + 0.5) * room - width / 2, width });
      this.plot.append(bar);
      return bar;
    }));
    this.handles = ["least", "most"].map((name, side) => node("div", {
      class: "handle", role: "slider", tabindex: "0", "aria-label": `${name} ${column.word}`,
      "aria-valuemin": this.low, "aria-valuemax": this.high, onkeydown: (event) => this.onKey(event, side),
    }));
    this.fields = ["least", "most"].map((name, side) => node("input", {
      type: "number", step: "any", "aria-label": `${name} ${column.word}, typed`, onchange: (event) => this.type(event.target, side),
    }));
    this.box = node("div", { class: "brush" }, this.plot, this.handles);
    this.box.addEventListener("pointerdown", (event) => this.begin(event));
    this.box.addEventListener("pointermove", (event) => this.move(event));
    ["pointerup", "pointercancel"].forEach((name) => this.box.addEventListener(name, () => { this.dragged = null; }));
    this.root = node("div", { class: "range" }, this.box, node("div", { class: "bounds" }, this.fields[0], node("span", { text: "to" }), this.fields[1]));
    this.ofAll = this.counts(panel.table.all);
  }

  // A position is a bin's edge: 0 .. bins. The bounds of a filter are values.
  binOf(value) {
    if (this.hasBars) return this.column.groups.indexOf(value);
    return Math.min(this.bins - 1, Math.floor((value - this.low) / (this.high - this.low || 1) * this.bins));
  }

  leastAt(edge) {
    return this.hasBars ? this.column.groups[Math.min(edge, this.bins - 1)] : this.low + (this.high - this.low) * edge / this.bins;
  }

  mostAt(edge) {
    return this.hasBars ? this.column.groups[Math.max(0, edge - 1)] : this.low + (this.high - this.low) * edge / this.bins;
  }

  get range() {
    const filter = this.panel.state.filters.get(this.column.name);
    return Array.isArray(filter) ? filter : [this.low, this.high];
  }

  get edges() {
    const [least, most] = this.range;
    const scale = (value) => Math.max(0, Math.min(this.bins, (value - this.low) / (this.high - this.low || 1) * this.bins));
    if (!this.hasBars) return [scale(least), scale(most)];
    const groups = this.column.groups;
    return [groups.filter((value) => value < least).length, groups.filter((value) => value <= most).length];
  }

  counts(rows) {
    const counts = new Int32Array(this.bins);
    const place = this.hasBars ? new Map(this.column.groups.map((value, i) => [value, i])) : null;
    for (const row of rows) {
      const value = this.column.values[row];
      if (!Number.isNaN(value)) counts[place ? place.get(value) : this.binOf(value)] += 1;
    }
    return counts;
  }

  set(low, high) {
    const isWhole = low <= this.low && high >= this.high;
    this.panel.state.setFilter(this.column.name, isWhole || low > high ? null : [low, high]);
  }

  setEdges(first, last) {
    if (last <= first) last = first + 1;
    if (last > this.bins) [first, last] = [this.bins - 1, this.bins];
    this.set(this.leastAt(first), this.mostAt(last));
  }

  edgeAt(event) {
    const box = this.box.getBoundingClientRect();
    return Math.max(0, Math.min(this.bins, (event.clientX - box.left) / box.width * this.bins));
  }

  begin(event) {
    if (event.button !== 0) return;
    const edge = this.edgeAt(event), side = this.handles.indexOf(event.target);
    this.dragged = side < 0 ? { from: edge } : { side };
    this.box.setPointerCapture(event.pointerId);
    event.preventDefault();
    (side < 0 ? this.handles[0] : event.target).focus({ preventScroll: true });
  }

  move(event) {
    if (!this.dragged) return;
    const edge = this.edgeAt(event), [first, last] = this.edges.map(Math.round);
    if (this.dragged.side === 0) this.setEdges(Math.min(Math.round(edge), last - 1), last);
    else if (this.dragged.side === 1) this.setEdges(first, Math.max(Math.round(edge), first + 1));
    else this.setEdges(Math.floor(Math.min(edge, this.dragged.from)), Math.ceil(Math.max(edge, this.dragged.from)));
  }

  onKey(event, side) {
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -5, PageUp: 5, Home: -Infinity, End: Infinity };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const [first, last] = this.edges.map(Math.round), step = steps[event.key];
    if (side === 0) this.setEdges(Math.max(0, Math.min(last - 1, first + step)), last);
    else this.setEdges(first, Math.min(this.bins, Math.max(first + 1, last + step)));
  }

  type(field, side) {
    const value = field.value === "" ? NaN : Number(field.value), [low, high] = this.range;
    if (Number.isNaN(value)) this.set(side ? low : this.low, side ? this.high : high);
    else this.set(side ? low : value, side ? value : high);
  }

  draw() {
    const [low, high] = this.range, isFiltered = this.panel.state.filters.has(this.column.name);
    this.chosen.textContent = isFiltered ? `${numberText(low)} to ${numberText(high)}` : "";
    if (!isOpen(this.root)) return;
    const ofShown = this.counts(this.panel.table.shown), most = Math.max(1, ...this.ofAll);
    this.bars.forEach((pair, bin) => [this.ofAll[bin], ofShown[bin]].forEach((count, i) => {
      const height = count ? Math.max(1.5, count / most * PLOT_HEIGHT) : 0;
      pair[i].setAttribute("y", PLOT_HEIGHT - height);
      pair[i].setAttribute("height", height);
    }));
    this.edges.forEach((edge, side) => {
      this.handles[side].style.left = `${edge / this.bins * 100}%`;
      this.handles[side].setAttribute("aria-valuenow", side ? high : low);
      this.handles[side].setAttribute("aria-valuetext", numberText(side ? high : low));
    });
    this.fields.forEach((field, side) => {
      if (document.activeElement !== field) field.value = Number((side ? high : low).toPrecision(5));
    });
  }
}

const CUT = "; use the columns"; // where the server's message goes on with all columns, which the list below has

/** An expression over the columns, which the server reads; its error stands below it. Words of the page may be used. */
class Expression {
  constructor(panel) {
    this.panel = panel;
    this.field = node("textarea", {
      rows: "2", spellcheck: "false", id: "where", placeholder: 'guidance == 2 and gender == "female"', "aria-describedby": "where-error",
      oninput: () => this.send(), onkeydown: (event) => { if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); this.send.now(); } },
    });
    this.error = node("p", { class: "problem", id: "where-error", role: "alert", hidden: true });
    this.names = node("div", { class: "names" });
    const write = () => this.panel.state.set({ where: this.field.value.trim() });
    this.send = afterBurst(write, 400);
    this.send.now = write;
    this.root = node("details", { class: "filter expression" },
      node("summary", {}, node("span", { text: "Expression" }), this.chosen = node("span", { class: "chosen" })),
      node("label", { for: "where", class: "note", text: "As in Python, with the words or names of columns:" }),
      this.field, this.error,
      node("details", {}, node("summary", { class: "note", text: "Columns" }), this.names));
  }

  fill(table) {
    this.names.replaceChildren(...[...table.columns.values()].filter((column) => column.name !== "record").map((column) => node("button", {
      type: "button", class: "plain name", title: column.help, text: column.word === column.name ? column.name : `${column.name}: ${column.word}`,
      onclick: () => this.insert(column.name),
    })));
    const words = [...table.columns.values()].map((column) => [column.word, column.name]);
    this.words = words.filter(([word, name]) => word !== name && !table.columns.has(word)).sort((a, b) => b[0].length - a[0].length);
    if (this.panel.state.get("where")) this.root.open = true;
  }

  insert(name) {
    this.field.setRangeText(name, this.field.selectionStart, this.field.selectionEnd, "end");
    this.field.focus();
    this.send();
  }

  /** The expression with the names of columns in the place of their words, outside of quoted texts. */
  get asNames() {
    const parts = this.panel.state.get("where").split(/("[^"]*"|'[^']*'|`[^`]*`)/);
    const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    const pattern = new RegExp(`(?<![\\w.])(${this.words.map(([word]) => escaped(word)).join("|")})(?![\\w(])`, "g");
    const names = new Map(this.words);
    return parts.map((part, i) => (i % 2 || !this.words.length ? part : part.replace(pattern, (word) => names.get(word)))).join("");
  }

  /** Asks for the rows that the expression lets pass. */
  async ask(signal) {
    this.error.hidden = true;
    if (!this.panel.state.get("where")) {
      this.panel.allowed = null;
      return;
    }
    try {
      const where = new URLSearchParams({ where: this.asNames, sweep: this.panel.table.about.sweep ?? ALL_SWEEPS });
      const answer = await (await asked(`data/rows?${where}`, signal)).json();
      if (answer.error) throw new Error(answer.error);
      this.panel.allowed = new Set(answer.rows);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      this.panel.allowed = null;
      this.error.textContent = `${error.message.split(CUT)[0].split("; compare a column")[0]}. All records are shown.`;
      this.error.hidden = false;
      this.root.open = true;
    }
  }

  draw() {
    const where = this.panel.state.get("where");
    this.chosen.textContent = where ? "on" : "";
    if (document.activeElement !== this.field) this.field.value = where;
  }
}
