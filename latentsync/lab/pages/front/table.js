// The table: a row for each record, or the means of each setting with their intervals; only rows on the screen exist.
import { AIM_ARROWS, AIM_WORDS, choice, node, numberText, refilled } from "./parts.js";
import { LEAST_CLIPS, meanOver } from "./means.js";

const SHOWN_METRICS = 8; // at first
const [NUMBER_WIDTH, WORD_WIDTH, INTERVAL_WIDTH] = [140, 130, 200]; // px

/** The tab with the table. */
export class RecordsTable {
  constructor(state, app) {
    Object.assign(this, { state, app });
    this.bar = node("div", { class: "tools" });
    this.place = node("div", { class: "table-place" });
    this.root = node("section", { class: "table-tab", "aria-label": "Table" }, this.bar, this.place);
  }

  get isGrouped() { return this.state.get("by") === "setting"; }

  get metrics() {
    const chosen = this.state.get("metrics").split(",").filter(Boolean), all = this.app.table.metrics;
    if (chosen.length) return all.filter((column) => chosen.includes(column.name));
    const first = all.filter((column) => column.headline !== null);
    const shown = first.length ? first.slice(0, SHOWN_METRICS) : all.slice(0, SHOWN_METRICS);
    return this.app.metric && !shown.includes(this.app.metric) ? [this.app.metric, ...shown] : shown;
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
    if (shape !== this.shape || this.isGrouped) {
      this.shape = shape;
      this.build(TabulatorFull);
    } else this.filter();
  }

  drawBar() {
    const { state } = this, chosen = new Set(this.metrics.map((column) => column.name));
    const boxes = this.app.table.metrics.map((column) => {
      const box = node("input", { type: "checkbox", "aria-label": column.word, checked: chosen.has(column.name), onchange: () => {
        if (box.checked) chosen.add(column.name); else chosen.delete(column.name);
        state.set({ metrics: [...chosen].join(",") });
      } });
      return node("label", { class: "check", title: column.help }, box, column.word);
    });
    const wasOpen = this.bar.querySelector("details")?.open;
    refilled(this.bar,
      choice("Rows", [["", "records"], ["setting", "means of each setting"]], state.get("by"), (value) => state.set({ by: value })),
      node("details", { class: "menu", open: Boolean(wasOpen) }, node("summary", { text: `Metrics (${chosen.size})` }), node("div", { class: "menu-list" }, boxes)),
      node("button", { type: "button", text: "Save as CSV", onclick: () => this.save() }),
      node("span", { class: "note", text: this.isGrouped
        ? `Mean over clips with 95 % interval (Student's t); fewer than ${LEAST_CLIPS} clips have none. Seeds and voices are averaged first.`
        : "Click a heading to sort, a row to open its record." }),
    );
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
      columns: [...this.names.map((column, i) => this.nameColumn(column, i)), ...(this.isGrouped ? [CLIPS_COLUMN] : []), ...this.metrics.map((column) => this.metricColumn(column))],
      initialSort: sort.filter((one) => [...this.names, ...this.metrics].some((column) => column.name === one.column)),
    });
    this.tabulator.on("tableBuilt", () => { if (!this.isGrouped) this.filter(); });
    this.tabulator.on("rowClick", (_, row) => this.open(row.getData()));
    this.tabulator.on("dataSorted", (sorters) => {
      if (sorters.length && this.isBuilt) this.state.set({ sort: (sorters[0].dir === "desc" ? "-" : "") + sorters[0].field });
      this.isBuilt = true;
    });
    this.isBuilt = false;
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
      headerTooltip: column.help, sorter: column.isNumber ? "number" : "string", hozAlign: column.isNumber ? "right" : "left",
      formatter: (cell) => (cell.getValue() === null ? "" : column.isNumber ? numberText(cell.getValue()) : textOf(cell.getValue())),
    };
  }

  metricColumn(column) {
    return {
      field: column.name, title: column.word, width: this.isGrouped ? INTERVAL_WIDTH : NUMBER_WIDTH, hozAlign: "right", sorter: "number",
      sorterParams: { alignEmptyValues: "bottom" }, headerTooltip: [column.help, AIM_WORDS[column.direction]].filter(Boolean).join("; "),
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
    const interval = mean.interval ? `[${column.valueText(mean.interval[0])} .. ${column.valueText(mean.interval[1])}]` : `${mean.clips} clips`;
    return node("span", {}, column.valueText(mean.mean), " ", node("span", { class: "note", text: interval }));
  }

  open(data) {
    const { table } = this.app;
    if (!this.isGrouped) this.app.open(table.recordId(data.row));
    else this.app.showOnly(this.names, data.rows[0]);
  }

  save() { this.tabulator.download("csv", "records.csv"); }
}

const CLIPS_COLUMN = { title: "clips", field: "clips", hozAlign: "right", sorter: "number", headerTooltip: "How many clips the means are over" };

// Tabulator takes a formatter's text as HTML; a node it takes as it is.
const textOf = (text) => document.createTextNode(text);

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
