// The page of `latentsync view`: it reads the table once, filters it, and shows one of its tabs or one record.
import { AIM_WORDS, asked, choice, counted, node, problem, refilled } from "./parts.js";
import { RecordTable } from "./table_data.js";
import { ALL_SWEEPS, TABS, ViewState } from "./state.js";
import { FilterPanel } from "./filters.js";
import { Gallery } from "./gallery.js";
import { RecordsTable } from "./table.js";
import { Figures } from "./figures.js";
import { RecordPage, copyText } from "./record.js";
import { Standings, meaningOf, realText } from "./reasons.js";
import { LiveStates, SweepsTab } from "./live.js";
import { Making } from "./making.js";

const TAB_WORDS = { gallery: "Gallery", table: "Table", figures: "Figures", sweeps: "Sweeps" };
const OF_THE_FILTER = new Set(["filters", "where"]);

class App {
  constructor(root) {
    this.root = root;
    this.state = new ViewState();
    this.live = new LiveStates();
    this.making = new Making();
    this.arrived = [];
    this.generation = 0; // of the table
    this.panel = new FilterPanel(this.state);
    this.tabs = { gallery: new Gallery(this.state, this), table: new RecordsTable(this.state, this), figures: new Figures(this.state, this), sweeps: new SweepsTab(this.state, this) };
    this.page = new RecordPage(this.state, this);
    this.state.addEventListener("change", (event) => this.onState(event.detail));
    this.live.addEventListener("change", () => this.onLive());
    this.live.addEventListener("records", () => this.load());
    this.making.addEventListener("change", () => this.drawMaking());
    this.making.addEventListener("made", () => this.onMade());
  }

  // --- the table ---

  async begin() {
    await this.load();
    this.live.ask();
    if (this.table && this.allows("--allow-make")) this.making.ask();
  }

  async load(isFresh = false) {
    if (this.isLoading) { this.loadsAgain = true; return; }
    this.isLoading = true;
    try {
      const query = new URLSearchParams(this.state.get("sweep") ? { sweep: this.state.get("sweep") } : {});
      if (isFresh) query.set("fresh", "");
      const answer = await asked(`data/table?${query}`);
      this.take(new RecordTable(await answer.arrayBuffer()));
      this.notice = "";
    } catch (error) {
      this.notice = error.message;
      if (!this.table) this.root.replaceChildren(problem(error.message));
    }
    this.isLoading = false;
    if (this.loadsAgain) { this.loadsAgain = false; await this.load(); }
  }

  take(table) {
    const before = this.table, isSame = before && before.about.sweep === table.about.sweep;
    if (isSame && before.about.stamp === table.about.stamp && before.rows === table.rows && before.about.left_out.length === table.about.left_out.length) return;
    if (isSame) this.arrived.push(...[...table.places.keys()].filter((id) => !before.places.has(id)));
    this.table = table;
    this.standings = new Standings(table);
    this.generation += 1;
    if (!before) this.build();
    this.panel.fill(table);
    this.drawHead();
    this.refilter();
  }

  /** The metric beside videos and in figures. */
  get metric() {
    const given = this.table.column(this.state.get("metric"));
    return given && given.isNumber && (given.role === "metric" || given.name === "seconds") ? given : this.usualMetric;
  }

  /** The first metric of which one direction is better. */
  get usualMetric() {
    const { metrics } = this.table;
    return metrics.find((column) => ["higher", "lower"].includes(column.direction)) || metrics[0] || null;
  }

  allows(flag) { return this.table.about.allows.includes(flag); }
  get hasDirection() { return this.metric !== null && this.metric.direction !== "none"; }
  get failures() { return this.live.failures.filter((failure) => !this.table.about.sweep || failure.sweep === this.table.about.sweep); }

  /** The shown rows, the worst first. */
  get order() {
    const key = `${this.generation} ${this.filterNumber} ${this.metric && this.metric.name}`;
    if (this.orderKey !== key) {
      this.orderKey = key;
      this.orderKept = this.metric ? this.table.byBadness(this.metric) : [...this.table.shown];
    }
    return this.orderKept;
  }

  get orderText() { return this.hasDirection ? `by ${this.metric.word}` : "in the order of the table"; }
  pairOf(id) { const row = this.table.places.get(id); return row === undefined ? "" : this.table.column("pair").text(row); }
  mediaAddress(id, shape, isClip) {
    const name = shape === "mouths" ? (isClip ? "clip-mouths" : "mouths") : isClip ? "source" : "result";
    return `media/${encodeURIComponent(id)}/${name}.mp4`;
  }

  async refilter() {
    if (this.stopAsking) this.stopAsking.abort();
    this.stopAsking = new AbortController();
    try {
      await this.panel.expression.ask(this.stopAsking.signal);
    } catch { return; } // a later question took its place
    this.filterMs = this.panel.apply();
    this.filterNumber = (this.filterNumber || 0) + 1;
    this.panel.draw();
    this.draw();
  }

  // --- actions ---

  open(id) { this.state.set({ record: id, beside: "", at: "", make: "" }, true); }
  closeRecord() { this.state.set({ record: "", beside: "", at: "", make: "" }, true); }

  /** The page of a record that is not there: that of one like it, with the form that makes it. */
  openMissing(like, make) { this.state.set({ record: like, beside: "", at: "", make }, true); }

  /** Shows the gallery with only those records that agree with a row in some columns. */
  showOnly(columns, row) { this.showWhere(columns.map((column) => [column, column.values[row]])); }

  showWhere(conditions) {
    for (const [column, key] of conditions) this.state.filters.set(column.name, column.isNumber ? [key, key] : new Set([column.keyText(key)]));
    this.state.values.tab = "gallery";
    this.state.write(true);
    this.state.tell(["filters", "tab"]);
  }

  copyButton() {
    const button = copyText(() => {
      if (this.state.record) this.page.noteFrame();
      return location.href;
    }, null, "Copy link");
    button.classList.add("copy-link");
    return button;
  }

  onState(changed) {
    if (!this.table) return;
    if (changed === null || changed.includes("sweep")) {
      const wanted = this.state.get("sweep") || this.table.about.first || ALL_SWEEPS;
      if (wanted !== (this.table.about.sweep ?? ALL_SWEEPS)) { this.load(); return; }
    }
    if (changed === null || changed.some((name) => OF_THE_FILTER.has(name))) this.refilter();
    else this.draw();
  }

  async onMade() {
    const { like, made } = this.making.work;
    await this.load(true);
    if (this.state.record !== like) return;
    this.open(made);
    this.making.close();
  }

  onLive() {
    if (!this.table) return;
    this.drawHead();
    if (this.state.tab === "sweeps" && !this.state.record) this.tabs.sweeps.update();
    if (this.state.tab === "gallery" && this.failures.length !== this.failuresDrawn) this.draw();
  }

  // --- drawing ---

  build() {
    this.head = node("header", { class: "top" });
    this.summary = node("div", { class: "summary" });
    this.makingPlace = node("div", { class: "making-place" });
    this.main = node("main", { id: "main", tabindex: "-1" });
    this.root.removeAttribute("aria-busy");
    this.root.replaceChildren(node("a", { class: "skip", href: "#main", text: "To the records", onclick: (event) => { event.preventDefault(); this.main.focus(); } }),
      this.head, node("div", { class: "columns" }, this.panel.root, node("div", { class: "content" }, this.summary, this.makingPlace, this.main)));
  }

  drawHead() {
    const { about } = this.table, { tab } = this.state, running = this.live.isRunning, failed = this.failures.length;
    const marks = { sweeps: running ? "running" : failed ? `${failed} failed` : "" };
    const folder = about.runs.split("/").slice(-2).join("/"), showsFilters = this.root.classList.contains("shows-filters");
    const drawn = JSON.stringify([about.sweeps, about.sweep, tab, this.state.record, marks, this.panel.number, showsFilters]);
    if (drawn === this.headDrawn) return; // else an open choice would close whenever a running sweep is asked for
    this.headDrawn = drawn;
    refilled(this.head,
      node("div", { class: "where" }, node("b", { text: "LatentSync" }), node("span", { class: "folder", title: about.runs, text: folder })),
      ...(about.sweeps.length ? [choice("Sweep", [[ALL_SWEEPS, "all records"], ...about.sweeps.map((name) => [name, name])], about.sweep ?? ALL_SWEEPS, (value) => {
        this.arrived = [];
        this.state.set({ sweep: value });
      })] : []),
      node("nav", { "aria-label": "Views" }, TABS.map((name) => node("button", {
        type: "button", class: "tab", "aria-current": name === tab && !this.state.record ? "page" : null,
        onclick: () => this.state.set({ tab: name, record: "", beside: "", at: "", make: "" }, true),
      }, TAB_WORDS[name], marks[name] ? node("span", { class: `badge ${running ? "is-running" : "is-failed"}`, text: marks[name] }) : null)),
      this.allows("--allow-rating") && about.sweeps.length ? node("a", { class: "tab", href: `rating#${new URLSearchParams({ sweep: about.sweep || about.sweeps[0] })}`, text: "Rating", title: "A blind rating of this sweep" }) : null),
      node("span", { class: "space" }),
      node("button", { type: "button", class: "open-filters", "aria-expanded": String(showsFilters), text: `Filters${this.panel.number ? ` (${this.panel.number})` : ""}`, onclick: () => {
        this.root.classList.toggle("shows-filters");
        this.drawHead();
      } }),
      node("button", { type: "button", text: "Reload", title: "Read the folder anew, for example after latentsync measure", onclick: () => this.load(true) }),
      this.copyButton(),
    );
  }

  drawMaking() {
    if (!this.table) return;
    refilled(this.makingPlace, this.making.line((id) => this.open(id)));
    if (this.state.record) this.page.form.fill();
  }

  drawSummary() {
    const { table, metric, state } = this, ends = metric && table.extremes(metric);
    const link = (word, row) => {
      const real = realText(table, metric, row);
      return node("button", { type: "button", class: "plain extreme", onclick: () => this.open(table.recordId(row)) },
        node("b", { text: `${word} ${metric.text(row)}` }), ` ${real && `(real clip ${real}) `}${table.pairText(row)}, ${table.label(row)}`);
    };
    const metricChoice = table.metrics.length ? [choice("Metric", groupsOfMetrics(table), metric.name, (value) => state.set({ metric: value, sort: "" }))] : [];
    refilled(this.summary,
      node("output", { id: "shown", "data-filter-ms": this.filterMs.toFixed(1), text: table.shown.length === table.rows ? counted(table.rows, "record") : `${table.shown.length.toLocaleString("en")} of ${counted(table.rows, "record")}` }),
      ...metricChoice,
      ...(metric ? [node("span", { class: "note", text: [metric.unit && `unit: ${metric.unit}`, AIM_WORDS[metric.direction]].filter(Boolean).join(", "), title: metric.help })] : []),
      ...(ends ? [node("span", { class: "extremes" }, node("span", { class: "of-metric", text: `${metric.word}:` }), link("worst", ends.worst), ends.best === ends.worst ? null : link("best", ends.best))] : []),
      ...(ends ? [node("p", { class: "note meaning", text: meaningOf(table, metric) })] : []),
      ...this.notices(),
    );
  }

  notices() {
    const { left_out: leftOut } = this.table.about, failed = this.failures;
    return [
      this.notice ? problem(this.notice) : null,
      failed.length && this.state.tab !== "sweeps" ? node("button", { type: "button", class: "notice as-link", onclick: () => this.state.set({ tab: "sweeps", record: "", beside: "", at: "", make: "" }, true),
        text: `${counted(failed.length, "pair")} failed, ${failed[0].pair}${failed.length > 1 ? " and others" : ""}: ${failed[0].stage || "before the first stage"}: ${failed[0].reason}` }) : null,
      leftOut.length ? node("details", { class: "notice" }, node("summary", { text: `${counted(leftOut.length, "line")} of what is left out` }), node("ul", {}, leftOut.map((line) => node("li", { text: line })))) : null,
    ].filter(Boolean);
  }

  emptyText() {
    const { about, rows } = this.table;
    if (rows) return [node("p", { text: "No record passes the filters." }), node("button", { type: "button", text: "Clear all filters", onclick: () => this.state.clearFilters() })];
    return [node("p", { text: `There is no finished record in ${about.runs}${about.sweep ? `, sweep ${about.sweep}` : ""} yet.` }),
      node("p", {}, "Make some with ", node("code", { text: `latentsync run experiment=quickstart runs_dir=${about.runs}` }), "; they appear here as they are finished.")];
  }

  draw() {
    const { record, tab } = this.state;
    this.drawHead();
    this.drawSummary();
    this.failuresDrawn = this.failures.length;
    this.root.classList.toggle("is-record", Boolean(record));
    this.root.classList.toggle("is-sweeps", !record && tab === "sweeps");
    const shown = record ? this.page : this.tabs[tab];
    if (shown !== this.shownPart) {
      if (this.shownPart === this.page) this.page.close();
      if (this.shownPart && this.shownPart.pause) this.shownPart.pause();
      this.shownPart = shown;
      this.main.replaceChildren(shown.root);
      if (!record) document.title = `${TAB_WORDS[tab]} – LatentSync`;
    }
    shown.update();
  }
}

/** Metrics in groups: headlines, then the others. */
function groupsOfMetrics(table) {
  const names = (isHeadline) => table.metrics.filter((column) => (column.headline !== null) === isHeadline).map((column) => [column.name, column.word]);
  return [["Headlines", names(true)], ["Others", names(false)]].filter(([, list]) => list.length);
}

new App(document.getElementById("app")).begin();
