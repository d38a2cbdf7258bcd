// The table: a row for each record, or the means of each setting with their intervals; only rows on the screen exist.
import { AIM_ARROWS, AIM_WORDS, choice, counted, node, numberText, refilled } from "./parts.js";
import { LEAST_UNITS, groupingColumns, groupsOf, meanOver, unitsOf } from "./means.js";

const SHOWN_METRICS = 8; // at first
const [NUMBER_WIDTH, WORD_WIDTH, INTERVAL_WIDTH] = [140, 130, 200]; // px

/** The tab with the table. */
export class RecordsTable {
  constructor(state, app) {
    Object.assign(this, { state, app });
    this.bar = node("div", { class: "tools" });
    this.place = node("div", { class: "table-place" });
    this.added = new Set(); // metrics beside the usual ones that were chosen at the top
    this.root = node("section", { class: "table-tab", "aria-label": "Table" }, this.bar, this.place);
  }

  get isGrouped() { return this.state.get("by") === "setting"; }

  get metrics() {
    const chosen = this.state.get("metrics").split(",").filter(Boolean), all = this.app.table.metrics;
    if (chosen.length) return all.filter((column) => chosen.includes(column.name));
    const first = all.filter((column) => column.headline !== null);
    const shown = first.length ? first.slice(0, SHOWN_METRICS) : all.slice(0, SHOWN_METRICS);
    if (this.app.metric && !shown.includes(this.app.metric)) this.added.add(this.app.metric.name);
    return [...all.filter((column) => this.added.has(column.name) && !shown.includes(column)), ...shown];
  }

  /** The columns that say what a row is. */
  get names() {
    const { table } = this.app;
    if (this.isGrouped) return groupingColumns(table);
    const pairs = table.ofRole("pair").filter((column) => column.name === "clip" || (column.isVaried && column.name !== "pair" && column.name !== "voice"));
    return [...pairs, ...(table.hasOtherVoices ? [table.column("voice")] : []), ...table.varied];
  }

  async update() {
    const { TabulatorFull } = await import("./vendor/tabulator.js");
    if (!this.root.isConnected) return;
    this.drawBar();
    const shape = JSON.stringify([this.isGrouped, this.names.map((one) => one.name), this.metrics.map((one) => one.name), this.app.generation]);
    const { shown } = this.app.table, isFiltered = shown !== this.filtered;
    this.filtered = shown;
    if (shape !== this.shape || (this.isGrouped && isFiltered)) {
      this.shape = shape;
      this.build(TabulatorFull);
    } else {
      if (isFiltered) this.filter(); // else the table would scroll back to its first column
      this.sortByMetric();
    }
  }

  /** After another metric was chosen at the top: its worst first. */
  sortByMetric() {
    const { metric } = this.app;
    if (!metric || metric.name === this.sortedFor || !this.tabulator.initialized) return;
    this.sortedFor = metric.name;
    const [sorter] = this.tabulator.getSorters();
    if (!sorter || sorter.field !== metric.name) this.tabulator.setSort(metric.name, metric.direction === "higher" ? "asc" : "desc");
  }

  drawBar() {
    const { state } = this, chosen = new Set(this.metrics.map((column) => column.name));
    const boxes = this.app.table.metrics.map((column) => {
      const box = node("input", { type: "checkbox", "aria-label": column.word, checked: chosen.has(column.name), onchange: () => {
        if (box.checked) chosen.add(column.name);
        else [chosen, this.added].forEach((names) => names.delete(column.name));
        state.set({ metrics: [...chosen].join(",") });
      } });
      return node("label", { class: "check", title: column.help }, box, column.word);
    });
    const wasOpen = this.bar.querySelector("details")?.open;
    refilled(this.bar,
      choice("Rows", [["", "records"], ["setting", "means of each setting"]], state.get("by"), (value) => state.set({ by: value })),
      node("details", { class: "menu", open: Boolean(wasOpen) }, node("summary", { text: `Metrics (${chosen.size})` }), node("div", { class: "menu-list" }, boxes)),
      node("button", { type: "button", text: "Save as CSV", onclick: () => this.save() }),
      this.note = node("p", { class: "note one-line", text: this.usualNote }), // always one line: else headings would move below the mouse
    );
  }

  get usualNote() {
    if (!this.isGrouped) return "Click a heading to sort, a row to open its record.";
    const { word } = unitsOf(this.app.table), first = word === "clip" ? "Seeds and voices" : "Seeds, voices and clips of a speaker";
    return `Mean over ${word}s with 95 % interval (Student's t); fewer than ${LEAST_UNITS} ${word}s have none. ${first} are averaged first.`;
  }

  /** What a column means stands above the table while its heading is pointed at, so that it covers no value. */
  explained(column) {
    const text = [column.word, column.help, AIM_WORDS[column.direction]].filter(Boolean).join("; ");
    return { headerMouseEnter: () => { this.note.textContent = text; }, headerMouseLeave: () => { this.note.textContent = this.usualNote; } };
  }

  build(Tabulator) {
    if (this.tabulator) this.tabulator.destroy();
    const { table } = this.app;
    const data = this.isGrouped ? this.groupRows() : [...table.all].map((row) => this.recordRow(row));
    this.passes = new Uint8Array(table.rows);
    const sorted = this.state.get("sort"), metric = this.metrics.find((column) => column === this.app.metric);
    const sort = sorted ? [{ column: sorted.replace(/^-/, ""), dir: sorted.startsWith("-") ? "desc" : "asc" }]
      : metric && metric.direction !== "none" && !this.isGrouped ? [{ column: metric.name, dir: metric.direction === "higher" ? "asc" : "desc" }] : [];
    this.tabulator = new Tabulator(this.place, {
      data, index: "row", height: "100%", layout: "fitDataFill", placeholder: "No record passes the filters.",
      columnDefaults: { headerHozAlign: "left", vertAlign: "middle" },
      columns: [...this.names.map((column, i) => this.nameColumn(column, i)), ...(this.isGrouped ? [{ ...CLIPS_COLUMN, ...this.explained({ word: "clips", help: "how many clips the means are over" }) }] : []), ...this.metrics.map((column) => this.metricColumn(column))],
      initialSort: sort.filter((one) => [...this.names, ...this.metrics].some((column) => column.name === one.column)),
    });
    this.tabulator.on("tableBuilt", () => { if (!this.isGrouped) this.filter(); });
    this.tabulator.on("rowClick", (_, row) => this.open(row.getData()));
    this.tabulator.on("dataSorted", (sorters) => {
      const sorted = sorters.length ? `${sorters[0].dir} ${sorters[0].field}` : "";
      if (sorted && this.sorted !== null && sorted !== this.sorted) this.onSort(sorters[0]); // not again after a filter
      this.sorted = sorted;
    });
    this.sorted = null; // as the table was sorted last
    this.sortedFor = this.app.metric && this.app.metric.name;
  }

  /** A table that is sorted by a metric is about this metric: so are the worst and best above it. */
  onSort({ dir, field }) {
    const metric = this.metrics.find((column) => column.name === field);
    if (metric) this.sortedFor = field;
    this.state.set({ sort: (dir === "desc" ? "-" : "") + field, ...(metric ? { metric: field } : {}) });
  }

  filter() {
    this.passes.fill(0);
    for (const row of this.app.table.shown) this.passes[row] = 1;
    if (this.tabulator.initialized) this.tabulator.setFilter((data) => this.passes[data.row] === 1);
  }

  recordRow(row) {
    const data = { row };
    for (const column of [...this.names, ...this.metrics]) data[column.name] = column.isMissing(row) ? null : column.isNumber ? column.values[row] : column.text(row);
    return data;
  }

  groupRows() {
    return groupsOf(this.app.table, this.names).map((rows, place) => {
      const data = { row: place, rows, clips: new Set(rows.map((row) => this.app.table.column("clip").values[row])).size };
      for (const column of this.names) data[column.name] = column.isMissing(rows[0]) ? null : column.isNumber ? column.values[rows[0]] : column.text(rows[0]);
      for (const column of this.metrics) {
        const mean = meanOver(this.app.table, rows, column);
        data[column.name] = mean ? mean.mean : null;
        data[`${column.name}:mean`] = mean;
      }
      return data;
    });
  }

  nameColumn(column, place) {
    return {
      title: column.title, field: column.name, width: column.isNumber ? undefined : WORD_WIDTH, frozen: place === 0 && window.innerWidth > 640,
      ...this.explained(column), sorter: column.isNumber ? "number" : "string", hozAlign: column.isNumber ? "right" : "left",
      formatter: (cell) => (cell.getValue() === null ? "" : column.isNumber ? numberText(cell.getValue()) : textOf(cell.getValue())),
    };
  }

  metricColumn(column) {
    return {
      field: column.name, title: column.word, width: this.isGrouped ? INTERVAL_WIDTH : NUMBER_WIDTH, hozAlign: "right", sorter: "number",
      sorterParams: { alignEmptyValues: "bottom" }, ...this.explained(column),
      titleFormatter: () => node("span", { class: "metric-head" }, node("span", { text: column.word }),
        node("span", { class: "note", text: [column.unit, AIM_ARROWS[column.direction]].filter(Boolean).join(" ") })),
      formatter: (cell) => (this.isGrouped ? this.meanCell(column, cell.getData()[`${column.name}:mean`]) : this.valueCell(column, cell.getData().row)),
    };
  }

  valueCell(column, row) {
    if (!column.isMissing(row)) return column.text(row);
    const reason = column.reason(row) || "not measured";
    return node("span", { class: "reason", text: reason, title: reason });
  }

  meanCell(column, mean) {
    if (!mean) return node("span", { class: "reason", text: "no value" });
    const interval = mean.interval ? `[${column.valueText(mean.interval[0])} .. ${column.valueText(mean.interval[1])}]` : counted(mean.units, mean.word);
    return node("span", {}, column.valueText(mean.mean), " ", node("span", { class: "note", text: interval }));
  }

  open(data) {
    const { table } = this.app;
    if (!this.isGrouped) this.app.open(table.recordId(data.row));
    else this.app.showOnly(this.names, data.rows[0]);
  }

  save() { this.tabulator.download("csv", "records.csv"); }
}

const CLIPS_COLUMN = { title: "clips", field: "clips", hozAlign: "right", sorter: "number" };

// Tabulator takes a formatter's text as HTML; a node it takes as it is.
const textOf = (text) => document.createTextNode(text);
