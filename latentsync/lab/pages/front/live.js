// Sweeps as they run: what is done, failed, missing and running, the time left, and videos as they arrive.
import { asked, counted, durationText, node, refilled } from "./parts.js";

const [RUNNING_MS, RESTING_MS] = [2000, 10000]; // between two questions
const MOST_ARRIVED = 12, MOST_FAILURES = 100;
const STATES = ["done", "running", "failed", "missing"];

/** Asks the server for the states of sweeps while the page is seen; sends "change", and "records" when records were added. */
export class LiveStates extends EventTarget {
  constructor() {
    super();
    this.sweeps = [];
    this.stamp = "";
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.ask(); });
  }

  get isRunning() { return this.sweeps.some((sweep) => sweep.is_active); }
  get failures() { return this.sweeps.flatMap((sweep) => sweep.failures.map((failure) => ({ ...failure, sweep: sweep.name }))); }
  get done() { return this.sweeps.reduce((sum, sweep) => sum + sweep.done, 0); }

  async ask() {
    clearTimeout(this.timer);
    if (document.hidden) return;
    try {
      const answer = await (await asked(`data/live?${new URLSearchParams({ stamp: this.stamp })}`)).json();
      const isNew = this.stamp !== "" && answer.stamp !== this.stamp;
      this.stamp = answer.stamp;
      this.problem = "";
      if (answer.sweeps) {
        this.sweeps = answer.sweeps;
        this.dispatchEvent(new Event("change"));
      }
      if (isNew) this.dispatchEvent(new Event("records"));
    } catch (error) {
      this.problem = error.message;
      this.dispatchEvent(new Event("change"));
    }
    this.timer = setTimeout(() => this.ask(), this.isRunning ? RUNNING_MS : RESTING_MS);
  }
}

/** The tab with the sweeps. */
export class SweepsTab {
  constructor(state, app) {
    Object.assign(this, { state, app });
    this.root = node("section", { class: "sweeps", "aria-label": "Sweeps" });
    this.open = new Set(); // failures whose details are open
  }

  update() {
    const { sweeps, problem } = this.app.live, arrived = this.app.arrived.slice(-MOST_ARRIVED).reverse();
    const scrolled = this.root.scrollTop;
    const strip = arrived.length ? [this.strip && this.stripOf === arrived.join() ? this.strip : this.arrivedStrip(arrived)] : [];
    refilled(this.root,
      ...(problem ? [node("p", { class: "problem", role: "alert", text: problem })] : []),
      ...strip,
      ...(sweeps.length ? sweeps.map((sweep) => this.sweep(sweep)) : [node("p", { class: "empty", text: "This folder has no sweep yet; latentsync run makes one." })]),
    );
    this.root.scrollTop = scrolled;
  }

  arrivedStrip(ids) {
    this.stripOf = ids.join();
    const { table } = this.app;
    this.strip = node("section", {}, node("h2", { text: "Arrived since this page was opened" }), node("div", { class: "strip" }, ids.map((id) => {
      const row = table.places.get(id), video = node("video", { src: this.app.mediaAddress(id, "faces", false), preload: "metadata", playsinline: true, loop: true });
      video.muted = true;
      return node("button", {
        type: "button", class: "arrived", onclick: () => this.app.open(id), onpointerenter: () => video.play().catch(() => {}), onpointerleave: () => video.pause(),
      }, video, node("span", { text: table.pairText(row) }), node("span", { class: "note", text: table.label(row) }));
    })));
    return this.strip;
  }

  sweep(sweep) {
    const all = STATES.reduce((sum, state) => sum + sweep[state], 0), isRunning = sweep.is_active;
    const bar = node("div", { class: "progress", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": all, "aria-valuenow": sweep.done, "aria-label": `${sweep.done} of ${all} records` },
      STATES.filter((state) => sweep[state]).map((state) => {
        const part = node("span", { class: state });
        part.style.flexGrow = sweep[state];
        return part;
      }));
    const counts = node("p", { class: "counts" }, STATES.map((state) => node("span", { class: `count-of ${state}` }, node("b", { text: sweep[state] }), ` ${state}`)),
      sweep.left_s === null ? null : node("span", { class: "left", text: `about ${durationText(sweep.left_s)} left` }));
    return node("section", { class: "sweep", "data-sweep": sweep.name },
      node("h2", {}, sweep.name, isRunning ? node("span", { class: "badge", text: "running" }) : null), bar, counts,
      isRunning && !sweep.runs.length ? node("p", { class: "note", text: "A model is being loaded, or the next record is about to begin." }) : null,
      sweep.runs.length ? node("ul", { class: "runs" }, sweep.runs.map((run) => node("li", {}, node("b", { text: run.pair }), ` ${run.stage}, ${durationText(run.since_s)}`,
        node("span", { class: "note", text: ` process ${run.process} on ${run.host}` })))) : null,
      sweep.missing && !isRunning ? node("p", { class: "note", text: `Nothing runs. Start the same latentsync run again to make the ${counted(sweep.missing, "missing record")}.` }) : null,
      sweep.failures.length ? this.failures(sweep) : null);
  }

  failures(sweep) {
    const rows = sweep.failures.slice(0, MOST_FAILURES).map((failure) => {
      const key = `${sweep.name}/${failure.pair}/${failure.overrides.join()}`;
      const details = node("details", { open: this.open.has(key), ontoggle: () => (details.open ? this.open.add(key) : this.open.delete(key)) },
        node("summary", { text: failure.overrides.join(" ") || "no overrides" }),
        node("pre", { text: failure.trace || failure.reason }));
      return node("tr", {}, node("th", { scope: "row", text: failure.pair }), node("td", { text: failure.stage || "before the first stage" }),
        node("td", { text: failure.reason }), node("td", {}, details));
    });
    const more = sweep.failures.length - rows.length;
    return node("div", {}, node("h3", { text: counted(sweep.failures.length, "failed pair") }),
      node("div", { class: "box" }, node("table", { class: "failures" },
        node("thead", {}, node("tr", {}, ["pair", "stage", "reason", "cell"].map((text) => node("th", { scope: "col", text })))), node("tbody", {}, rows))),
      node("p", { class: "note", text: `${more > 0 ? `${more} more are not listed. ` : ""}Correct the cause and start the sweep again; add retry=failed to try all of them again.` }));
  }
}
