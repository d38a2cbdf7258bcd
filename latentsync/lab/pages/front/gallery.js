// The gallery: a grid of videos over any two columns, of which only what is on the screen exists in the page.
import { afterBurst, asked, choice, node, refilled, toggleButton } from "./parts.js";

const SIZES_PX = { small: 104, medium: 160, large: 240 };
const GAP_PX = 8, VALUE_PX = 30, STEPS_PX = 22, REASON_PX = 32, HEAD_PX = 34, MARGIN_CELLS = 1;
const QUIET_MS = 120; // videos are loaded once scrolling has stopped for as long
const SHAPES = { faces: 1, mouths: 0.75 }; // height of a picture for its width
const MOST_LOADING = 4; // videos at once: a browser has six connections to a server, and clicks need some
const NO_GROUP = "none";
const [STRAYS_S, JUMPS_S, TICK_MS] = [0.03, 0.4, 100]; // see Together
const SAMPLED = ["guidance_scale", "num_inference_steps", "seed"]; // settings of records that the page may make
const HOW_TO = "Point at a row to play it, or move with the arrow keys; Space plays all, Enter opens a record, [ and ] step through several in one cell.";

/** Videos that play in step: silent but for one, from the beginning again when the longest has ended. */
export class Together {
  constructor() {
    this.videos = new Set();
    this.timer = 0;
  }

  get isPlaying() { return this.timer !== 0; }

  /** Plays these videos, and stops all others. */
  play(videos) {
    const wanted = new Set(videos);
    for (const video of this.videos) if (!wanted.has(video)) this.leave(video);
    wanted.forEach((video) => this.join(video));
  }

  stop() {
    clearInterval(this.timer);
    this.timer = 0;
    this.videos.forEach((video) => this.leave(video));
  }

  get lead() {
    const ready = [...this.videos].filter((video) => video.readyState > 2);
    return ready.sort((a, b) => b.duration - a.duration)[0];
  }

  join(video) {
    if (this.videos.has(video)) return;
    if (!this.timer) this.timer = setInterval(() => this.tick(), TICK_MS);
    const lead = this.lead;
    this.videos.add(video);
    if (lead) video.currentTime = lead.currentTime;
    else if (video.readyState > 0) video.currentTime = 0;
    video.preload = "auto";
    video.play().catch(() => {}); // it was taken away before it began
  }

  leave(video) {
    this.videos.delete(video);
    video.pause();
    video.playbackRate = 1;
    if (video.readyState > 0) video.currentTime = 0;
  }

  tick() {
    const lead = this.lead;
    if (!lead) return;
    const begins = lead.ended;
    for (const video of this.videos) {
      if (begins) {
        video.currentTime = 0;
        video.playbackRate = 1;
        video.play().catch(() => {});
      } else if (video !== lead && !video.ended && video.readyState > 1) {
        const ahead = video.currentTime - lead.currentTime;
        if (Math.abs(ahead) > JUMPS_S) video.currentTime = lead.currentTime;
        video.playbackRate = Math.abs(ahead) > STRAYS_S ? Math.max(0.5, Math.min(2, 1 - 2 * ahead)) : 1;
        if (video.paused) video.play().catch(() => {});
      }
    }
  }
}

/** The grid. `app` gives the table, the metric, the failures, and opens records. */
export class Gallery {
  constructor(state, app) {
    Object.assign(this, { state, app });
    this.together = new Together();
    this.steps = new Map(); // key of a cell -> which of its records is shown
    this.cells = new Map();
    this.heads = new Map();
    this.sides = new Map();
    this.focus = [0, 0];
    this.rowPlaying = null;
    this.bar = node("div", { class: "tools" });
    this.headRow = node("div", { class: "heads", role: "row" });
    this.sideColumn = node("div", { class: "sides" });
    this.body = node("div", { class: "cells" });
    this.canvas = node("div", { class: "canvas" }, this.headRow, this.sideColumn, this.body);
    this.scroller = node("div", { class: "grid", role: "grid", "aria-label": "Videos", tabindex: "-1" }, this.canvas);
    this.empty = node("div", { class: "empty", hidden: true });
    this.root = node("section", { class: "gallery", "aria-label": "Gallery" }, this.bar, this.scroller, this.empty,
      node("p", { class: "keys", text: HOW_TO }));
    this.fillSoon = afterBurst(() => this.fillVideos(), QUIET_MS);
    this.scroller.addEventListener("scroll", () => this.draw(), { passive: true });
    this.scroller.addEventListener("pointerover", (event) => this.onPointer(event));
    this.scroller.addEventListener("pointerleave", () => this.rest());
    this.scroller.addEventListener("keydown", (event) => this.onKey(event));
    this.scroller.addEventListener("focusin", (event) => this.onFocus(event));
    new ResizeObserver(() => { if (this.root.isConnected) this.draw(); }).observe(this.scroller);
  }

  // --- what stands where ---

  get choices() {
    const { table } = this.app;
    return [...table.ofRole("pair"), ...table.ofRole("setting"), table.column("record")].filter((column) => column && column.isGrouping);
  }

  get rowColumn() { return this.chosen("rows", ["clip", "pair"]); }

  get columnColumn() {
    const varied = this.app.table.varied.filter((column) => column.name !== "seed" && column.isGrouping);
    const guidance = varied.find((column) => column.name === "guidance_scale");
    return this.chosen("columns", [(guidance || varied[0] || {}).name, "seed"]);
  }

  chosen(name, usual) {
    const given = this.state.get(name);
    if (given === NO_GROUP) return null;
    const names = [given, ...usual].filter(Boolean);
    return names.map((each) => this.app.table.column(each)).find((column) => column && column.isGrouping) || null;
  }

  get shape() { return this.state.get("show") in SHAPES ? this.state.get("show") : "mouths"; }
  get size() {
    const usual = window.innerWidth < 640 ? "small" : "medium";
    return SIZES_PX[this.state.get("size", usual)] || SIZES_PX.medium;
  }
  get width() { return this.size + GAP_PX; }
  get under() { return VALUE_PX + (this.hasSeveral ? STEPS_PX : 0) + REASON_PX; }
  get height() { return Math.round(this.size * SHAPES[this.shape]) + this.under + GAP_PX; }

  /** Lays the shown records out anew. */
  update() {
    const { table, metric } = this.app;
    const [rows, columns] = [this.rowColumn, this.columnColumn];
    const keyOf = (column, row) => (column ? column.values[row] : 0);
    this.layout = new Map();
    const columnKeys = new Set();
    for (const row of table.shown) {
      const [r, c] = [keyOf(rows, row), keyOf(columns, row)];
      if (!this.layout.has(r)) this.layout.set(r, new Map());
      const line = this.layout.get(r);
      if (!line.has(c)) line.set(c, []);
      line.get(c).push(row);
      columnKeys.add(c);
    }
    const badness = (row) => (metric ? metric.badness(row) : NaN);
    const worstFirst = (a, b) => (Number.isNaN(badness(a)) - Number.isNaN(badness(b))) || badness(b) - badness(a) || a - b;
    this.layout.forEach((line) => line.forEach((list) => list.sort(worstFirst)));
    this.hasSeveral = [...this.layout.values()].some((line) => [...line.values()].some((list) => list.length > 1));
    this.columnKeys = [...columnKeys].sort((a, b) => a - b);
    this.rowKeys = this.ordered([...this.layout.keys()], badness);
    this.extremes = metric ? table.extremes(metric) : null;
    this.failed = this.failures(rows, columns);
    const ends = metric ? [...table.shown].map(badness).filter((value) => !Number.isNaN(value)) : [];
    this.reach = ends.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
    this.drawBar();
    this.clear();
    this.empty.hidden = this.rowKeys.length > 0;
    this.scroller.hidden = !this.rowKeys.length;
    if (!this.rowKeys.length) this.empty.replaceChildren(...this.app.emptyText());
    this.draw();
  }

  ordered(keys, badness) {
    const order = this.state.get("order", "name");
    if (order === "name") return keys.sort((a, b) => a - b);
    const of = new Map(keys.map((key) => {
      const values = [...this.layout.get(key).values()].flat().map(badness).filter((value) => !Number.isNaN(value));
      return [key, values.length ? (order === "worst" ? -Math.max(...values) : Math.min(...values)) : Infinity];
    }));
    return keys.sort((a, b) => of.get(a) - of.get(b) || a - b);
  }

  /** Failed pairs by the keys of their cell, as far as the table has their clip and setting. */
  failures(rows, columns) {
    const places = new Map();
    for (const failure of this.app.failures) {
      const [r, c] = [rows, columns].map((column) => (column ? keyOfFailure(column, failure) : 0));
      if (this.layout.has(r) && this.columnKeys.includes(c)) places.set(`${r}:${c}`, failure);
    }
    return places;
  }

  // --- drawing ---

  drawBar() {
    const { state } = this;
    const columns = this.choices.map((column) => [column.name, column.word]);
    const grouping = [...columns, [NO_GROUP, "(none)"]];
    const nameOf = (column) => (column ? column.name : NO_GROUP);
    const direction = this.app.metric ? this.app.metric.direction : "none";
    this.playButton = toggleButton("", this.playsAll, () => this.playAll(), { class: "play-all", title: "Space" });
    refilled(this.bar,
      this.playButton,
      choice("Rows", grouping, nameOf(this.rowColumn), (value) => state.set({ rows: value })),
      choice("Columns", grouping, nameOf(this.columnColumn), (value) => state.set({ columns: value })),
      choice("Order", [["name", "by name"], ...(direction === "none" ? [] : [["worst", "worst first"], ["best", "best first"]])],
        state.get("order", "name"), (value) => state.set({ order: value })),
      node("span", { class: "segments", role: "group", "aria-label": "Show" }, [["mouths", "Mouths"], ["faces", "Faces"]].map(([value, text]) => (
        toggleButton(text, this.shape === value, () => state.set({ show: value }))))),
      choice("Size", Object.keys(SIZES_PX).map((name) => [name, name]),
        Object.keys(SIZES_PX).find((name) => SIZES_PX[name] === this.size), (value) => state.set({ size: value })),
      ...(this.shape === "faces" ? [node("label", { class: "check" }, this.soundBox = node("input", {
        type: "checkbox", checked: Boolean(this.hasSound), onchange: () => { this.hasSound = this.soundBox.checked; },
      }), "Sound of the one pointed at")] : []),
    );
    this.drawPlayButton();
  }

  drawPlayButton() {
    this.playButton.textContent = this.playsAll ? "■ Stop" : "▶ Play all";
    this.playButton.setAttribute("aria-pressed", String(Boolean(this.playsAll)));
  }

  clear() {
    for (const parts of [this.cells, this.heads, this.sides]) {
      parts.forEach((part) => release(part));
      parts.clear();
    }
  }

  /** Draws the cells that are on the screen, and takes away the others. */
  draw() {
    if (!this.rowKeys || !this.rowKeys.length) return;
    const { width, height, scroller } = this;
    this.canvas.style.width = `${width * (this.columnKeys.length + 1) + 2 * GAP_PX}px`;
    this.canvas.style.height = `${HEAD_PX + height * this.rowKeys.length}px`;
    this.root.style.setProperty("--cell", `${this.size}px`);
    this.root.style.setProperty("--picture", `${Math.round(this.size * SHAPES[this.shape])}px`);
    this.root.style.setProperty("--side", `${width + GAP_PX}px`);
    this.root.style.setProperty("--under", `${this.under}px`);
    const range = (offset, extent, unit, number) => [
      Math.max(0, Math.floor(offset / unit) - MARGIN_CELLS), Math.min(number, Math.ceil((offset + extent) / unit) + MARGIN_CELLS),
    ];
    const [top, bottom] = range(scroller.scrollTop, scroller.clientHeight - HEAD_PX, height, this.rowKeys.length);
    const [left, right] = range(scroller.scrollLeft, scroller.clientWidth - width, width, this.columnKeys.length);
    const wanted = { cells: new Set(), heads: new Set(), sides: new Set() };
    for (let c = left; c < right; c += 1) this.place(wanted, "heads", c, this.headRow, () => this.head(c));
    for (let r = top; r < bottom; r += 1) {
      this.place(wanted, "sides", r, this.sideColumn, () => this.side(r));
      for (let c = left; c < right; c += 1) this.place(wanted, "cells", `${r}:${c}`, this.body, () => this.cell(r, c));
    }
    for (const [name, keys] of Object.entries(wanted)) {
      for (const [key, part] of this[name]) {
        if (keys.has(key)) continue;
        release(part);
        this[name].delete(key);
      }
    }
    this.scroller.setAttribute("aria-rowcount", this.rowKeys.length + 1);
    this.scroller.setAttribute("aria-colcount", this.columnKeys.length + 1);
    this.fillSoon();
  }

  place(wanted, name, key, parent, make) {
    wanted[name].add(key);
    if (this[name].has(key)) return;
    const part = make();
    this[name].set(key, part);
    parent.append(part);
  }

  head(c) {
    const column = this.columnColumn;
    const text = column ? column.keyLabel(this.columnKeys[c]) : "all records";
    const made = node("div", { class: "head", role: "columnheader", "aria-colindex": c + 2, text, title: text });
    made.style.left = `${this.width * (c + 1) + 2 * GAP_PX}px`;
    return made;
  }

  /** The name of a row, and its real clip if all of its records share one. */
  side(r) {
    const key = this.rowKeys[r], column = this.rowColumn, rows = [...this.layout.get(key).values()].flat();
    const clips = this.app.table.column("clip");
    const isOneClip = clips && rows.every((row) => clips.values[row] === clips.values[rows[0]]);
    const name = column ? (column.name === "pair" ? this.app.table.pairText(rows[0]) : column.keyText(key)) : "all";
    const made = node("div", { class: "side", role: "rowheader", "aria-rowindex": r + 2, "data-row": r },
      isOneClip ? this.picture(`${this.app.table.recordId(rows[0])}`, true, `real clip ${name}`) : node("div", { class: "picture none" }),
      node("div", { class: "under" }, node("span", { class: "name", text: name, title: name }),
        node("span", { class: "note", text: isOneClip ? "real clip" : `${rows.length} records` })));
    made.style.top = `${this.height * r}px`;
    return made;
  }

  /** A record that is like the missing one of a cell, and the settings that differ; null where none is to be made. */
  missing(r, c) {
    const isSetting = (column) => column && SAMPLED.includes(column.name), [rows, columns] = [this.rowColumn, this.columnColumn];
    if (!this.app.allows("--allow-make") || !(isSetting(rows) || isSetting(columns))) return null;
    const line = isSetting(columns) ? this.layout.get(this.rowKeys[r]) : new Map([...this.layout.values()].map((one, i) => [i, one.get(this.columnKeys[c]) || []]));
    const [like] = [...line.values()].flat(), given = isSetting(columns) ? [columns, this.columnKeys[c]] : [rows, this.rowKeys[r]];
    return like === undefined ? null : [this.app.table.recordId(like), `${given[0].name}:${given[1]}`];
  }

  rowsAt(r, c) { return this.layout.get(this.rowKeys[r]).get(this.columnKeys[c]) || []; }

  cell(r, c) {
    const made = node("div", {
      class: "cell", role: "gridcell", tabindex: this.focus[0] === r && this.focus[1] === c ? "0" : "-1", "data-row": r, "data-column": c,
      "aria-rowindex": r + 2, "aria-colindex": c + 2, onclick: (event) => { if (!event.target.closest("button")) this.open(r, c); },
    });
    made.style.left = `${this.width * c}px`;
    made.style.top = `${this.height * r}px`;
    this.fillCell(made, r, c);
    return made;
  }

  fillCell(made, r, c) {
    const rows = this.rowsAt(r, c), place = `${this.rowKeys[r]}:${this.columnKeys[c]}`, failure = this.failed.get(place);
    if (!rows.length) {
      made.classList.add("is-empty");
      if (failure) made.classList.add("is-failed");
      const text = failure ? `failed: ${failure.stage || "before the first stage"}: ${failure.reason}` : "no record";
      const offer = failure ? null : this.missing(r, c);
      made.replaceChildren(node("div", { class: "picture none" }, node("span", { text, title: text }),
        offer && node("button", { type: "button", class: "plain", text: "Make it", tabindex: "-1", onclick: () => this.app.openMissing(...offer) })));
      return;
    }
    const index = Math.min(this.steps.get(place) || 0, rows.length - 1), row = rows[index], { metric, table } = this.app;
    const isWorst = this.extremes && this.extremes.worst === row, isBest = this.extremes && this.extremes.best === row;
    made.dataset.record = table.recordId(row);
    made.classList.toggle("is-worst", Boolean(isWorst));
    made.setAttribute("aria-label", [table.pairText(row), table.label(row), metric && `${metric.word} ${metric.text(row) || "none"}`].filter(Boolean).join(", "));
    const value = node("span", { class: "value", title: metric ? metric.reason(row) || metric.title : "" },
      metric ? metric.text(row) || "none" : "", isWorst || isBest ? node("em", { text: `${isWorst ? "worst" : "best"}${this.size < SIZES_PX.medium ? "" : " of all"}` }) : null);
    const bar = node("span", { class: "goodness", "aria-hidden": "true" });
    const [low, high] = this.reach, badness = metric ? metric.badness(row) : NaN;
    if (!Number.isNaN(badness)) bar.style.setProperty("--good", high > low ? (high - badness) / (high - low) : 1);
    const step = (by, text) => node("button", {
      type: "button", class: "step", text, tabindex: "-1", "aria-label": by > 0 ? "Next record of this cell" : "Record before in this cell",
      onclick: () => this.step(r, c, by),
    });
    const steps = rows.length > 1
      ? node("div", { class: "steps" }, step(-1, "‹"), node("span", { text: this.placeText(index, rows.length), title: table.label(row) }), step(1, "›")) : null;
    const reason = this.app.standings.inShort(row, metric);
    release(made, false);
    made.replaceChildren(this.picture(table.recordId(row), false, made.getAttribute("aria-label")), node("div", { class: "under" },
      node("div", { class: "line" }, value), bar, steps, reason ? node("p", { class: "why-short", text: reason, title: reason }) : null));
  }

  /** Which of several records of a cell is shown: they are ordered by the metric. */
  placeText(index, number) {
    if (!this.app.hasDirection) return `${index + 1} of ${number}`;
    return `${index === 0 ? "worst" : index === number - 1 ? "best" : index + 1} of ${number}`;
  }

  picture(record, isClip, label) {
    return node("div", { class: "picture", "data-media": this.app.mediaAddress(record, this.shape, isClip), "data-label": label });
  }

  /** Gives the pictures on the screen their videos. */
  fillVideos() {
    if (document.readyState !== "complete") { // else the page would count as loading until its videos are there
      window.addEventListener("load", () => this.fillSoon(), { once: true });
      return;
    }
    if (!this.root.isConnected) return;
    const pictures = [...this.scroller.querySelectorAll(".picture[data-media]:not(.none)")];
    let loading = pictures.filter((picture) => picture.firstChild && !picture.classList.contains("is-there")).length;
    for (const picture of pictures) {
      if (loading >= MOST_LOADING) break;
      if (picture.firstChild) continue;
      loading += 1;
      this.fillPicture(picture);
    }
  }

  fillPicture(picture) {
    const video = node("video", { src: picture.dataset.media, preload: "metadata", playsinline: true, "aria-label": picture.dataset.label, disablepictureinpicture: true });
    video.muted = true;
    video.addEventListener("loadeddata", () => {
      picture.classList.add("is-there");
      this.fillVideos();
      const { row } = (picture.closest("[data-row]") || { dataset: {} }).dataset;
      if (this.playsAll || (this.rowPlaying !== null && row === String(this.rowPlaying))) this.together.join(video);
    });
    video.addEventListener("error", async () => {
      if (!video.hasAttribute("src")) return; // it was taken away
      await this.explain(picture);
      this.fillVideos();
    }, { once: true });
    picture.append(video);
  }

  async explain(picture) {
    if (!picture.isConnected) return;
    let reason = "this browser cannot play the video";
    try { await asked(picture.dataset.media); } catch (error) { reason = error.message; }
    picture.classList.add("none");
    picture.replaceChildren(node("span", { text: reason, title: reason }));
  }

  // --- playing ---

  videosOnScreen() { return [...this.scroller.querySelectorAll(".picture video")]; }

  videosOfRow(r) { return [...this.scroller.querySelectorAll(`[data-row="${r}"] .picture video`)]; }

  playAll() {
    this.playsAll = !this.playsAll;
    if (this.playsAll) this.together.play(this.videosOnScreen());
    else this.together.stop();
    this.drawPlayButton();
  }

  onPointer(event) {
    const cell = event.target.closest("[data-row]");
    this.hear(cell);
    if (!cell || this.playsAll || event.pointerType === "touch" || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    this.playRow(Number(cell.dataset.row));
  }

  playRow(r) {
    if (this.rowPlaying === r) return;
    this.rowPlaying = r;
    this.together.play(this.videosOfRow(r));
  }

  hear(cell) {
    const heard = this.hasSound && cell ? cell.querySelector("video") : null;
    this.scroller.querySelectorAll("video").forEach((video) => { video.muted = video !== heard; });
  }

  rest() {
    this.rowPlaying = null;
    this.hear(null);
    if (!this.playsAll) this.together.stop();
  }

  pause() {
    this.playsAll = false;
    this.rest();
    this.scroller.querySelectorAll(".picture:not(.is-there) video").forEach((video) => { // what still loads need not
      release(video.parentNode, false);
      video.remove();
    });
  }

  // --- actions ---

  step(r, c, by) {
    const place = `${this.rowKeys[r]}:${this.columnKeys[c]}`, rows = this.rowsAt(r, c);
    if (rows.length < 2) return;
    this.steps.set(place, ((this.steps.get(place) || 0) + by + rows.length) % rows.length);
    this.fillCell(this.cells.get(`${r}:${c}`), r, c);
    this.fillVideos();
    if (this.playsAll) this.together.play(this.videosOnScreen());
    else if (this.rowPlaying === r) this.together.play(this.videosOfRow(r));
  }

  open(r, c) {
    const cell = this.cells.get(`${r}:${c}`);
    if (cell.dataset.record) this.app.open(cell.dataset.record);
    else if (cell.classList.contains("is-failed")) this.state.set({ tab: "sweeps" }, true);
    else if (this.missing(r, c)) this.app.openMissing(...this.missing(r, c));
  }

  onFocus(event) {
    const cell = event.target.closest(".cell");
    if (!cell) return;
    this.focus = [Number(cell.dataset.row), Number(cell.dataset.column)];
    this.cells.forEach((one) => { one.tabIndex = one === cell ? 0 : -1; });
  }

  onKey(event) {
    const [r, c] = this.focus;
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("button, select, input")) return;
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / this.height) - 1);
    const moves = {
      ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], PageUp: [-page, 0], PageDown: [page, 0],
      Home: [0, -Infinity], End: [0, Infinity],
    };
    const actions = { " ": () => this.playAll(), Enter: () => this.open(r, c), "[": () => this.step(r, c, -1), "]": () => this.step(r, c, 1) };
    if (event.key in moves) this.moveTo(r + moves[event.key][0], c + moves[event.key][1]);
    else if (event.key in actions) actions[event.key]();
    else return;
    event.preventDefault();
  }

  moveTo(r, c) {
    r = Math.max(0, Math.min(this.rowKeys.length - 1, r));
    c = Math.max(0, Math.min(this.columnKeys.length - 1, c));
    const { scroller, width, height } = this;
    const into = (start, extent, offset, room) => (start < offset ? start : start + extent > offset + room ? start + extent - room : offset);
    scroller.scrollTop = into(height * r, height, scroller.scrollTop, scroller.clientHeight - HEAD_PX);
    scroller.scrollLeft = into(width * c, width, scroller.scrollLeft, scroller.clientWidth - width - GAP_PX);
    this.focus = [r, c];
    this.draw();
    const cell = this.cells.get(`${r}:${c}`);
    if (!cell) return;
    cell.focus({ preventScroll: true });
    this.fillVideos();
    if (!this.playsAll) this.playRow(r);
  }
}

/** Frees what a part of the page holds, and takes it away. */
function release(part, isGone = true) {
  part.querySelectorAll("video").forEach((video) => {
    video.removeAttribute("src");
    video.load();
  });
  if (isGone) part.remove();
}

/** The key that a failed pair has in a column; undefined where that is not known. */
function keyOfFailure(column, failure) {
  const [clip, voice] = failure.pair.split("__");
  const stems = { clip, voice: voice ?? clip, pair: failure.pair };
  const text = column.name in stems ? stems[column.name] : failure.settings[column.name];
  if (text === undefined) return undefined;
  if (column.isNumber) return Number(text);
  const place = column.words.findIndex((word) => word === text || word.replace(/\.\w+$/, "") === text);
  return place < 0 ? undefined : place;
}
