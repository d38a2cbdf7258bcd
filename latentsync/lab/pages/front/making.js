// Records that the page makes: the form for another setting, and how far the one is that is being made.
import { asked, node, problem, refilled, sent } from "./parts.js";

const ASKED_MS = 700; // between two questions while a record is made
const SAMPLER = ["guidance_scale", "num_inference_steps", "seed"];
const LEAST = { guidance_scale: "0", num_inference_steps: "1", seed: "0" };

/** What is being made, as the server says; sends "change", and "made" when a record is there. */
export class Making extends EventTarget {
  constructor() {
    super();
    this.work = null;
    this.closed = 0; // the number of the job whose end was put away
  }

  get isRunning() { return Boolean(this.work && this.work.is_running); }

  async ask() {
    clearTimeout(this.timer);
    try {
      this.take(await (await asked("data/making")).json());
      this.problem = "";
    } catch (error) {
      this.problem = error.message;
      this.dispatchEvent(new Event("change"));
    }
    if (this.isRunning) this.timer = setTimeout(() => this.ask(), ASKED_MS);
  }

  take(work) {
    const wasRunning = this.isRunning;
    this.work = work.number ? work : null;
    this.dispatchEvent(new Event("change"));
    if (wasRunning && this.work && this.work.made) this.dispatchEvent(new Event("made"));
  }

  /** Begins; an error's message is a sentence. */
  async start(like, settings, sweep) {
    this.take(await (await sent("data/make", { like, settings, sweep })).json());
    this.ask();
  }

  async stop() {
    this.take(await (await sent("data/make/stop", {})).json());
    this.ask();
  }

  /** Puts away how the last one ended. */
  close() {
    this.closed = this.work.number;
    this.dispatchEvent(new Event("change"));
  }

  /** A line with the record that is being made, or how the last one ended; nothing where that was put away. */
  line(open) {
    const { work } = this;
    if (!work || (this.closed === work.number && !work.is_running)) return null;
    const close = node("button", { type: "button", text: "Close", onclick: () => this.close() });
    if (work.is_running) {
      const counted = work.total ? `${work.stage}, ${work.done} of ${work.total}` : work.stage;
      const bar = node("progress", { "aria-label": "progress", ...(work.total ? { max: work.total, value: work.done } : {}) });
      return node("div", { class: "making", role: "status" }, node("b", { text: work.is_stopping ? "Stopping" : "Making" }), ` ${work.label}`, node("span", { class: "note", text: counted }), bar,
        node("button", { type: "button", text: "Stop", disabled: work.is_stopping, onclick: () => this.stop() }), this.problem ? problem(this.problem) : null);
    }
    if (work.is_cancelled) return node("div", { class: "making", role: "status" }, node("b", { text: "Stopped" }), ` ${work.label}. No files were kept. `, close);
    if (work.reason) return node("div", { class: "making is-failed", role: "alert" }, node("b", { text: "Failed" }), ` ${work.label}: ${work.reason} `, close);
    return node("div", { class: "making", role: "status" }, node("b", { text: "Made" }), ` ${work.label} `,
      node("button", { type: "button", text: "Open it", onclick: () => open(work.made) }), close);
  }
}

/** The form on the page of a record that makes one like it with other settings. `app` gives table and making. */
export class MakingForm {
  constructor(state, app) {
    Object.assign(this, { state, app });
    this.inputs = Object.fromEntries(SAMPLER.map((name) => [name, node("input", {
      type: "number", step: name === "guidance_scale" ? "any" : "1", min: LEAST[name], required: true, oninput: () => this.look(),
    })]));
    this.word = node("p", { class: "note", role: "status" });
    this.refusal = node("div");
    this.place = node("div", { class: "fields" });
    this.form = node("form", { onsubmit: (event) => { event.preventDefault(); this.submit(); } }, this.place, this.word, this.refusal);
    this.title = node("summary");
    this.root = node("details", { class: "make-another" }, this.title, this.form);
  }

  /** For another record, or other values that the address gives: `guidance_scale:1.5`. */
  fill() {
    const { table } = this.app, row = table.places.get(this.state.record), wanted = this.state.get("make"), key = `${this.state.record} ${wanted}`;
    const columns = SAMPLER.map((name) => table.column(name));
    this.root.hidden = !this.app.allows("--allow-make") || row === undefined || columns.some((column) => !column || !column.isNumber);
    if (this.root.hidden) return;
    if (key !== this.key) {
      this.key = key;
      const values = Object.fromEntries(wanted.split(",").filter(Boolean).map((part) => part.split(":")));
      SAMPLER.forEach((name, i) => { this.inputs[name].value = values[name] ?? columns[i].values[row]; });
      const words = SAMPLER.map((name, i) => name in values && columns[i].keyLabel(Number(values[name]))).filter(Boolean);
      this.title.textContent = wanted ? `A record with ${words.join(", ")} is missing: make it like this one` : "Make one with other settings";
      this.root.open = Boolean(wanted);
      this.refusal.replaceChildren();
    }
    this.look();
  }

  get settings() { return Object.fromEntries(SAMPLER.map((name) => [name, this.inputs[name].value])); }

  /** The row of a record like the shown one that has these settings; undefined where there is none. */
  get known() {
    const { table } = this.app, like = table.places.get(this.state.record);
    const same = table.varied.filter((column) => !SAMPLER.includes(column.name)).concat(table.column("pair"));
    return table.all.find((row) => same.every((column) => Object.is(column.values[row], column.values[like]))
      && SAMPLER.every((name) => table.column(name).values[row] === Number(this.inputs[name].value)));
  }

  look() {
    const { table, making } = this.app, isWhole = SAMPLER.every((name) => this.inputs[name].value !== ""), known = isWhole ? this.known : undefined;
    const pair = table.pairText(table.places.get(this.state.record));
    const button = known === undefined ? node("button", { type: "submit", class: "main", text: "Make it", disabled: making.isRunning || this.isSending })
      : node("button", { type: "button", text: "Open it", onclick: () => this.app.open(table.recordId(known)) });
    if (!this.place.firstChild) this.place.append(...SAMPLER.map((name) => node("label", { class: "choice" }, node("span", { text: table.column(name).word }), this.inputs[name])), node("span"));
    refilled(this.place.lastChild, button);
    this.word.textContent = this.isSending ? "Checking the settings …" : making.isRunning ? "Another record is being made; see above." : known === undefined
      ? `The same clip and voice (${pair}), and all other options as here. It takes this machine about as long as its other records.` : "There is a record with these settings.";
  }

  async submit() {
    if (this.isSending || this.app.making.isRunning) return;
    this.isSending = true;
    this.look();
    this.refusal.replaceChildren();
    try {
      await this.app.making.start(this.state.record, this.settings, this.app.table.about.sweep);
    } catch (error) {
      this.refusal.replaceChildren(problem(error.message));
    }
    this.isSending = false;
    this.look();
  }
}
