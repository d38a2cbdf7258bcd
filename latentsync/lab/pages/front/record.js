// The page of one record: its videos in step with the source, mouths, curves, metrics, every option, how to make it again.
import { Player } from "./player.js";
import { AIM_WORDS, afterBurst, asked, counted, node, numberText, problem, refilled } from "./parts.js";
import { MakingForm } from "./making.js";
import { meaningOf, realText } from "./reasons.js";

const MOST_BESIDE = 4; // other records beside it
const [VIDEO_PX, SIDE_PX] = [268, 560]; // of a video with its gap, and what metrics need to stand beside the videos
const MOST_WEAK = 3; // metrics that are worse than the median, with a sentence each
const [SHOWN_REASONS, FIRST_REASONS] = [5, 1]; // at first; of these before the weakest metric
const NOTED_MS = 300; // after the last step the frame stands in the address
const LISTED = 12; // other records of the pair that are offered

/** The page. `app` gives the table, the metric and the order of records. */
export class RecordPage {
  constructor(state, app) {
    Object.assign(this, { state, app });
    this.root = node("article", { class: "record", "aria-label": "Record", tabindex: "-1" });
    this.title = node("h1");
    this.subtitle = node("p", { class: "subtitle" });
    this.around = node("div", { class: "around" });
    this.stage = node("div", { class: "stage-place" });
    this.beside = node("div", { class: "beside" });
    this.form = new MakingForm(state, app);
    this.details = node("div", { class: "record-details" });
    this.facts = node("div");
    this.why = node("section", { class: "why", "aria-label": "Why" });
    this.side = node("aside", { class: "record-side", "aria-label": "Metrics" });
    this.root.append(node("header", { class: "record-head" }, node("div", {}, this.title, this.subtitle), this.around),
      this.form.root, this.beside, this.stage, this.details);
    this.noteSoon = afterBurst(() => this.noteFrame(), NOTED_MS);
    new ResizeObserver(() => { if (this.root.isConnected) this.arrange(); }).observe(this.root);
    document.addEventListener("keydown", (event) => { if (this.root.isConnected) this.onKey(event); });
  }

  get ids() {
    const beside = this.state.get("beside").split(",").filter((id) => id && id !== this.state.record);
    return [this.state.record, ...beside.slice(0, MOST_BESIDE)];
  }

  async update() {
    const id = this.state.record, asking = this.ids.join();
    this.arrange();
    this.drawAround();
    this.drawBeside();
    this.form.fill();
    if (asking === this.asked) return;
    if (id !== this.id) {
      this.id = id;
      this.drawTitle();
      this.given = null;
      this.why.replaceChildren();
      this.facts.replaceChildren(node("p", { class: "loading", text: "Reading the record …" }));
      this.details.replaceChildren();
      this.askDetails(id);
    } else if (this.given) this.drawFacts();
    this.asked = asking;
    this.askPlayer();
  }

  /** The reasons and metrics stand beside the videos where there is room; else the reasons above and the metrics below them. */
  arrange() {
    const videos = this.ids.length + 1, hasRoom = this.root.clientWidth - videos * VIDEO_PX >= SIDE_PX;
    this.root.style.setProperty("--videos", videos);
    if (this.side.isConnected && this.root.classList.contains("has-room") === hasRoom) return;
    this.root.classList.toggle("has-room", hasRoom);
    if (hasRoom) this.stage.before(this.side);
    else this.stage.after(this.side);
    if (hasRoom) this.side.prepend(this.why);
    else this.stage.before(this.why);
    this.side.append(this.facts);
  }

  /** Writes the frame of the player into the address, so that a copied link leads to it. */
  noteFrame() {
    if (!this.player || this.state.record !== this.id) return;
    this.state.note("at", this.player.frame ? String(this.player.frame) : "");
  }

  /** Stands the videos at a frame, where they are seen. */
  goTo(frame) {
    if (!this.player) return;
    this.player.goTo(frame);
    this.stage.scrollIntoView({ block: "nearest" });
  }

  /** Stops what plays; called when the page is left. */
  close() {
    if (this.player) this.player.pause();
    if (this.stopAsking) this.stopAsking.abort();
    this.stage.replaceChildren();
    this.player = null;
    this.asked = this.id = null;
  }

  drawTitle() {
    const { table } = this.app, row = table.places.get(this.id);
    this.title.textContent = row === undefined ? `Record ${this.id}` : table.pairText(row);
    this.subtitle.textContent = row === undefined ? "" : table.label(row);
    document.title = `${this.title.textContent} – LatentSync`;
  }

  /** Links to the records before and after it, the worst first. */
  drawAround() {
    const order = this.app.order, place = order.indexOf(this.app.table.places.get(this.state.record));
    const link = (by, text, key) => {
      const row = order[place + by];
      return node("button", {
        type: "button", text, disabled: place < 0 || row === undefined, title: `${key} (${this.app.orderText})`,
        onclick: () => this.app.open(this.app.table.recordId(row)),
      });
    };
    refilled(this.around,
      node("button", { type: "button", text: "← Back", title: "Escape", onclick: () => this.app.closeRecord() }),
      link(-1, "‹ Worse", "P"), node("span", { class: "note", text: place < 0 ? "" : `${place + 1} of ${order.length}` }), link(1, "Better ›", "N"),
    );
    if (!this.app.hasDirection) ["‹ Before", "Next ›"].forEach((text, i) => { this.around.querySelectorAll("button")[i + 1].textContent = text; });
  }

  /** Other records of the pair, to see beside it. */
  drawBeside() {
    const { table, metric } = this.app, row = table.places.get(this.state.record), pair = table.column("pair");
    this.beside.hidden = row === undefined;
    if (row === undefined) return;
    const others = this.app.order.filter((other) => other !== row && pair.values[other] === pair.values[row]);
    const chosen = this.ids.slice(1);
    const rows = chosen.map((id) => table.places.get(id)).filter((other) => other !== undefined);
    const known = new Set([...spread(others, LISTED), ...rows]); // in an order that stays as boxes are checked
    const listed = [...others.filter((other) => known.has(other)), ...rows.filter((other) => !others.includes(other))];
    this.beside.hidden = !listed.length;
    const boxes = listed.map((other) => {
      const id = table.recordId(other), isChosen = chosen.includes(id);
      const box = node("input", {
        type: "checkbox", checked: isChosen, "data-record": id, disabled: !isChosen && chosen.length >= MOST_BESIDE,
        onchange: () => this.state.set({ beside: (isChosen ? chosen.filter((one) => one !== id) : [...chosen, id]).join(",") }),
      });
      return node("label", { class: "check" }, box, table.label(other), metric ? node("span", { class: "note", text: metric.text(other) }) : null);
    });
    const more = others.length - others.filter((other) => known.has(other)).length;
    refilled(this.beside, node("fieldset", {}, node("legend", { text: "Beside it, of the same pair" }), boxes,
      more > 0 ? node("span", { class: "note", text: `${more} more: filter them first` }) : null));
  }

  async askDetails(id) {
    try {
      const details = await (await asked(`data/record/${encodeURIComponent(id)}`)).json();
      if (id === this.id) this.drawDetails(details);
    } catch (error) {
      if (id === this.id) this.facts.replaceChildren(problem(error.message));
    }
  }

  /** First the videos and curves, which come at once; then the mouths, which are looked for in the frames. */
  async askPlayer() {
    if (this.stopAsking) this.stopAsking.abort();
    const stop = this.stopAsking = new AbortController();
    const metrics = this.app.metric && this.app.metric.role === "metric" ? [this.app.metric.name] : [];
    const query = new URLSearchParams({ records: this.ids.join(), metrics: metrics.join() });
    if (this.player) this.player.pause();
    const wait = node("p", { class: "loading", text: "Preparing the videos …" });
    if (this.stage.firstChild) this.stage.append(wait);
    else this.stage.replaceChildren(wait);
    try {
      this.show(await (await asked(`data/player?${query}`, stop.signal)).text());
      const note = node("p", { class: "loading note", role: "status", text: "Looking for the mouths …" });
      this.stage.append(note);
      try {
        this.show(await (await asked(`data/player?${query}&mouths`, stop.signal)).text());
      } finally { note.remove(); }
    } catch (error) {
      if (error.name === "AbortError") return;
      wait.remove();
      this.stage.append(problem(error.message));
    }
  }

  show(markup) {
    const place = this.player && this.player.root.isConnected ? this.player : null;
    const choices = place && place.choices, frame = place ? place.frame : Number(this.state.get("at", "0")) || 0, plays = place && place.isPlaying, hadFocus = place && place.root.contains(document.activeElement);
    if (place) place.pause();
    const made = new DOMParser().parseFromString(markup, "text/html").querySelector(".player");
    this.stage.replaceChildren(document.adoptNode(made));
    this.player = new Player(made);
    if (choices) this.player.choices = choices;
    if (frame) this.standAt(frame);
    made.addEventListener("moved", () => this.noteSoon());
    if (plays) this.player.play();
    if (hadFocus || !place) made.focus({ preventScroll: true });
  }

  /** Goes to a frame, also in a player that knows its length only once its videos do. */
  standAt(frame) {
    const { player } = this, [video] = player.videos;
    player.seek(frame);
    if (player.frame !== frame && video.readyState === 0) video.addEventListener("loadedmetadata", () => player.seek(frame), { once: true });
  }

  onKey(event) {
    if (event.target.closest("select, textarea, input:not([type=checkbox], .seek)") || event.ctrlKey || event.metaKey || event.altKey) return;
    const order = this.app.order, place = order.indexOf(this.app.table.places.get(this.id));
    const by = { n: 1, p: -1 }[event.key.toLowerCase()];
    if (event.key === "Escape") this.app.closeRecord();
    else if (by && place >= 0 && order[place + by] !== undefined) this.app.open(this.app.table.recordId(order[place + by]));
    else return;
    event.preventDefault();
  }

  drawDetails(details) {
    const command = node("code", { text: details.command }), hasHeadlines = details.metrics.some((metric) => metric.is_headline);
    this.given = details;
    this.drawFacts();
    this.allMetrics = node("div");
    this.drawAllMetrics();
    this.details.replaceChildren(
      section("Metrics", fold(`All ${counted(details.metrics.length, "metric")}`, this.allMetrics, !hasHeadlines)),
      section("Options", pairsTable(details.options.filter((option) => option.is_shown).map((option) => [option.word, option.value, option.help])),
        fold(`All ${counted(details.options.length, "option")}`, pairsTable(details.options.map((option) => [option.word, option.value, option.help])))),
      section("Make it again", node("p", { class: "command" }, command, copyText(details.command, command))),
      section("How it was made", fold("Inputs, times, versions and weights", pairsTable(Object.entries(details.facts).map(([name, value]) => [name, value, ""])))),
    );
  }

  drawAllMetrics() { this.allMetrics.replaceChildren(this.metricTable(this.given.metrics)); }

  /** What stands beside the videos: the reasons, what a reader must know, and the headline metrics. */
  drawFacts() {
    const details = this.given;
    const failures = this.app.failures.filter((failure) => failure.pair === this.app.pairOf(details.record));
    const headlines = details.metrics.filter((metric) => metric.is_headline);
    if (this.allMetrics && this.allMetrics.isConnected) this.drawAllMetrics();
    this.drawWhy();
    this.facts.replaceChildren(
      ...(details.is_trained ? [] : [problem("The model is untrained: the result only shows that the program works.")]),
      ...details.notes.map((text) => node("p", { class: "notice", text })),
      ...failures.map((failure) => node("p", { class: "notice", text: `Another setting of this pair failed: ${failure.stage || "before the first stage"}: ${failure.reason} (${failure.overrides.join(", ")})` })),
      ...(headlines.length ? [this.metricTable(headlines)] : []),
    );
  }

  /** Why it is low, in sentences, the gravest first; those with a place lead to it. */
  drawWhy() {
    const { table, metric, standings } = this.app, row = table.places.get(this.id), parts = [];
    const score = metric && row !== undefined ? standings.score(metric, row) : NaN;
    if (metric && row !== undefined && !metric.isMissing(row)) {
      const real = realText(table, metric, row), rank = table.rankText(metric, row), standing = standings.of(metric);
      const clauses = [rank, standing && `the median of all ${table.rows} records is ${metric.valueText(standing.median)}`, real && `its real clip has ${real}`];
      parts.push(node("li", {}, node("b", { text: `${metric.word} ${metric.text(row)}` }), clauses.filter(Boolean).map((text, i) => `${i ? "; " : ": "}${text}`).join(""), ". ",
        node("span", { class: "note", text: meaningOf(table, metric) })));
    }
    const reasons = this.given.reasons.map(({ text, frame }) => node("li", {}, text, " ",
      frame === null ? null : node("button", { type: "button", class: "plain show-place", text: "Show", "aria-label": `Show: ${text}`, onclick: () => this.goTo(frame) })));
    const weak = row === undefined ? [] : standings.weakest(row, standings.all.filter((column) => column !== metric));
    const worse = weak.slice(0, MOST_WEAK).map((column) => node("li", { text: standings.sentence(column, row) }));
    if (weak.length > MOST_WEAK) worse.push(node("li", { text: `Also worse than the median: ${weak.slice(MOST_WEAK).map((column) => column.word).join(", ")}.` }));
    const missing = this.given.metrics.filter((one) => one.value === null).map((one) => node("li", { text: `${one.word} has no value: ${one.reason}.` }));
    parts.push(...reasons.splice(0, FIRST_REASONS), ...worse.splice(0, 1), ...reasons, ...worse, ...missing);
    const more = parts.splice(SHOWN_REASONS);
    refilled(this.why, node("h2", { text: score > 0 || Number.isNaN(score) ? "Why it is low" : "Where it is weakest" }),
      parts.length ? node("ul", {}, parts) : node("p", { class: "note", text: "Its record holds neither metrics nor curves." }),
      more.length ? fold(`${more.length} more`, node("ul", {}, more)) : null);
  }

  /** Where the record stands among those that are shown. */
  rank(metric) {
    const { table } = this.app, column = table.column(metric.name), row = table.places.get(this.id);
    return column && row !== undefined && metric.value !== null ? table.rankText(column, row) : "";
  }

  /** Metrics of the record, and of those beside it in columns of their own. */
  metricTable(metrics) {
    const { table } = this.app, others = this.ids.slice(1).map((id) => table.places.get(id)).filter((row) => row !== undefined);
    const head = others.length ? [node("thead", {}, node("tr", {}, node("td"), node("th", { scope: "col", class: "number", text: table.label(table.places.get(this.id)) || "this record" }),
      others.map((row) => node("th", { scope: "col", class: "number", text: table.label(row) })), ["unit", "better", "place of the first"].map((text) => node("th", { scope: "col", text }))))] : [];
    const valueOf = (name, row) => {
      const column = table.column(name), text = column ? column.text(row) : "";
      return node("td", text ? { class: "number", text: numberText(column.values[row]) } : { class: "reason", text: (column && column.reason(row)) || "none" });
    };
    const rows = metrics.map((metric) => node("tr", { class: metric.name === (this.app.metric || {}).name ? "is-chosen" : "" },
      node("th", { scope: "row", text: metric.word, title: metric.protocol }),
      metric.value === null ? node("td", { colspan: others.length ? null : "2", class: "reason", text: `none: ${metric.reason}` })
        : node("td", { class: "number", text: numberText(metric.value) }),
      others.map((row) => valueOf(metric.name, row)),
      metric.value === null && !others.length ? null : node("td", { class: "unit", text: metric.unit }),
      node("td", { class: "note", text: AIM_WORDS[metric.direction] || "" }),
      node("td", { class: "rank", text: this.rank(metric) })));
    return node("div", { class: "box" }, node("table", {}, head, node("tbody", {}, rows)));
  }
}

/** Elements spread over a list, at most the given number. */
const spread = (list, most) => (list.length <= most ? list : Array.from({ length: most }, (_, i) => list[Math.round(i * (list.length - 1) / (most - 1))]));

const section = (title, ...parts) => node("section", {}, node("h2", { text: title }), parts);
const fold = (title, content, isOpen = false) => node("details", { open: isOpen }, node("summary", { text: title }), content);

function pairsTable(rows) {
  return node("div", { class: "box" }, node("table", {}, node("tbody", {}, rows.map(([name, value, help]) => node("tr", {},
    node("th", { scope: "row", text: name, title: help }), node("td", { text: typeof value === "number" ? numberText(value) : String(value) }))))));
}

/** A button that copies a text; where that is not allowed, the text is selected. */
export function copyText(text, shown, label = "Copy") {
  const button = node("button", { type: "button", text: label, onclick: async () => {
    try {
      await navigator.clipboard.writeText(typeof text === "function" ? text() : text);
      button.textContent = "Copied";
    } catch {
      if (shown) getSelection().selectAllChildren(shown);
      button.textContent = shown ? "Selected: press Ctrl+C" : "Copy the address above";
    }
    setTimeout(() => { button.textContent = label; }, 2000);
  } });
  return button;
}
