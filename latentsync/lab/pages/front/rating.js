// A blind rating: two videos of the same clip and voice, without labels, and a vote for one of them or for none. A pair
// can be voted on after both videos were played; a click, a double click and a held key give one vote.
import { Player, release } from "./player.js";

const ANSWERS = [["left", "Left", "1"], ["neither", "No difference", "0"], ["right", "Right", "2"]];
const TURNED = { left: "right", right: "left", neither: "neither" };
const PLAYED = 0.9; // of its time, until a video counts as played
const PAUSE_MS = 400; // after a pair was shown no vote counts: it was meant for the pair before
const KEYS_TEXT = [["Space", "play"], ["1", "left"], ["0", "no difference"], ["2", "right"], ["B", "back"], ["N", "next"], ["U", "undo"]];

const made = (tag, className = "", text = "") => Object.assign(document.createElement(tag), { className, textContent: text });
function button(text, key, onClick) {
  const one = made("button", "", text);
  one.type = "button";
  if (key) {
    one.append(" ", made("kbd", "", key));
    one.setAttribute("aria-keyshortcuts", key);
  }
  one.addEventListener("click", (event) => { if (event.detail < 2) onClick(); }); // not the second of a double click
  return one;
}

// Numbers in [0, 1) that a text decides.
function randomOf(text) {
  let state = 2166136261;
  for (const letter of text) state = Math.imul(state ^ letter.codePointAt(0), 16777619);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/**
 * The pairs in an order of the rater's own: each group of pairs keeps its place, so that every first part is balanced,
 * and all sides are turned for half of the raters.
 */
export function orderFor(trials, text) {
  const random = randomOf(text), isTurned = random() < 0.5, groups = new Map();
  trials.forEach((trial) => groups.set(trial.group, [...(groups.get(trial.group) || []), trial]));
  const shuffled = (all) => {
    for (let i = all.length - 1; i > 0; i -= 1) {
      const j = Math.floor(random() * (i + 1));
      [all[i], all[j]] = [all[j], all[i]];
    }
    return all;
  };
  return [...groups.values()].flatMap(shuffled).map((trial) => ({ ...trial, isTurned }));
}

/**
 * @param root the element that holds it; it hears the keys.
 * @param study `question`, `markup` of a player for two videos, and a note for the rater.
 * @param keeper begin(rater) gives `trials` in order and `votes` by a trial's id, or a `refusal` in a sentence;
 *   videosOf(trial) gives two contents; store(trial, vote) keeps a vote, null takes it back, and gives a sentence where
 *   it could not; end(rating) adds to the page what a rater does with the votes.
 */
export class Rating {
  constructor(root, study, keeper) {
    this.root = root;
    this.study = study;
    this.keeper = keeper;
    this.trials = [];
    this.votes = {};
    this.given = []; // ids of trials in the order of their votes, for undo
    this.played = new Set();
    this.videos = [];
    this.addresses = [];
    this.number = 0;
    this.wasUsed = false; // by the viewer, who then wants the keys to stay here
    root.classList.add("rating");
    root.tabIndex = -1;
    root.addEventListener("keydown", (event) => this.onKey(event));
    root.addEventListener("focusin", () => { this.wasUsed = true; });
    this.bottom = made("div", "bottom");
  }

  get trial() { return this.trials[this.number]; }
  get isDone() { return this.trials.every((trial) => trial.id in this.votes); }

  // Asks for the rater's name, if it is not given.
  start(rater) {
    if (rater) return this.begin(rater);
    const form = made("form", "name"), label = made("label", "", "Your name or number "), input = made("input");
    input.required = true;
    input.maxLength = 60;
    input.autocomplete = "off";
    label.append(input);
    const go = made("button", "main", "Start");
    form.append(label, go);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (input.value.trim()) this.begin(input.value.trim());
    });
    this.root.replaceChildren(made("h1", "", this.study.question), made("p", "", this.study.note), this.keys(), form);
    return null;
  }

  async begin(rater) {
    if (this.isBeginning) return;
    this.isBeginning = true;
    this.rater = rater;
    const { trials, votes, refusal } = await this.keeper.begin(rater);
    this.isBeginning = false;
    if (refusal) {
      const line = made("p", "refusal", refusal);
      line.setAttribute("role", "alert");
      this.root.querySelectorAll(".refusal").forEach((one) => one.remove());
      this.root.append(line);
      return;
    }
    this.trials = trials;
    this.votes = { ...votes };
    this.goToNext(0);
  }

  keys() {
    const line = made("p", "keys");
    KEYS_TEXT.forEach(([key, text]) => line.append(made("kbd", "", key), ` ${text}   `));
    return line;
  }

  // Shows the first pair without a vote, from a place on and then from the start.
  goToNext(from) {
    const open = (trial) => !(trial.id in this.votes);
    const after = this.trials.findIndex((trial, i) => i >= from && open(trial));
    const next = after >= 0 ? after : this.trials.findIndex(open);
    return next < 0 ? this.showEnd() : this.show(next);
  }

  clear() {
    if (this.player) this.player.pause();
    this.player = null;
    release(this.videos, this.addresses);
    [this.videos, this.addresses] = [[], []];
  }

  async show(number) {
    this.clear();
    this.number = number;
    this.isOpen = false;
    this.isAtEnd = false;
    const trial = this.trial;
    this.stage = made("div", "stage-of-pair");
    this.hint = made("p", "hint", "The videos are loading.");
    this.hint.setAttribute("role", "status");
    this.buttons = Object.fromEntries(ANSWERS.map(([answer, text, key]) => [answer, button(text, key, () => this.vote(answer))]));
    const votes = made("div", "votes");
    votes.append(...Object.values(this.buttons));
    this.root.replaceChildren(made("h1", "", this.study.question), this.stage, votes, this.hint, this.foot(), this.keys(), this.bottom);
    this.refresh();
    let contents;
    try {
      contents = await this.keeper.videosOf(trial);
    } catch (error) {
      if (this.trial === trial) this.hint.textContent = error.message;
      return;
    }
    if (this.trial !== trial || this.isAtEnd) return;
    const template = document.createElement("template");
    template.innerHTML = this.study.markup; // of player.py, which escapes every text
    this.videos = [...template.content.querySelectorAll("video")];
    this.videos.forEach((video, i) => {
      const content = contents[trial.isTurned ? 1 - i : i];
      this.addresses.push(URL.createObjectURL(new Blob([content], { type: "video/mp4" })));
      video.src = this.addresses.at(-1);
      ["timeupdate", "ended", "pause"].forEach((name) => video.addEventListener(name, () => this.look(trial)));
    });
    this.stage.replaceChildren(template.content);
    this.player = new Player(this.stage.firstElementChild);
    this.isOpen = true;
    this.shownAt = performance.now();
    this.takeKeys(this.stage.firstElementChild);
    this.refresh();
  }

  // Whether both videos were played, as their ranges of played time tell.
  look(trial) {
    if (trial !== this.trial || this.isAtEnd || this.played.has(trial.id)) return;
    const share = (video) => {
      const { played } = video;
      let seconds = 0;
      for (let i = 0; i < played.length; i += 1) seconds += played.end(i) - played.start(i);
      return video.duration ? seconds / video.duration : 0;
    };
    if (this.videos.some((video) => share(video) < PLAYED)) return;
    this.played.add(trial.id);
    this.refresh();
  }

  get mayVote() {
    const id = this.trial.id;
    return this.isOpen && !this.isAtEnd && (this.played.has(id) || id in this.votes);
  }

  async vote(answer) {
    if (!this.mayVote || performance.now() - this.shownAt < PAUSE_MS) return;
    const { trial, number } = this;
    this.isOpen = false;
    this.refresh();
    const refusal = await this.keeper.store(trial, trial.isTurned ? TURNED[answer] : answer);
    if (refusal) {
      this.isOpen = true;
      this.refresh();
      this.hint.textContent = refusal;
      return;
    }
    this.votes[trial.id] = trial.isTurned ? TURNED[answer] : answer;
    this.given = [...this.given.filter((id) => id !== trial.id), trial.id];
    this.goToNext(number + 1);
  }

  back() {
    if (this.isAtEnd) this.show(this.trials.length - 1);
    else if (this.number > 0) this.show(this.number - 1);
  }

  next() {
    if (this.isAtEnd || !(this.trial.id in this.votes)) return;
    if (this.number + 1 < this.trials.length) this.show(this.number + 1);
    else if (this.isDone) this.showEnd();
  }

  // Takes the last vote back, and shows its pair.
  async undo() {
    const id = this.given.at(-1), number = this.trials.findIndex((trial) => trial.id === id);
    if (number < 0 || this.isUndoing) return;
    this.isUndoing = true;
    const refusal = await this.keeper.store(this.trials[number], null);
    this.isUndoing = false;
    if (refusal) {
      this.hint.textContent = refusal;
      return;
    }
    this.given.pop();
    delete this.votes[id];
    this.show(number);
  }

  showEnd() {
    this.clear();
    this.isAtEnd = true;
    const title = made("h1", "", "All pairs are done. Thank you.");
    this.hint = made("p", "hint");
    this.buttons = {};
    this.root.replaceChildren(title, this.hint, this.foot(), this.bottom);
    this.refresh();
    this.takeKeys(this.root);
  }

  // Keys go on to an element in place of one that is gone. A rating that only appears takes them from nobody.
  takeKeys(target) {
    const active = document.activeElement, { host } = this.root.getRootNode();
    const isFree = !active || active === document.body || active === host || this.root.contains(active);
    if (this.wasUsed && isFree) target.focus({ preventScroll: true });
  }

  foot() {
    this.steps = {
      back: button("Back", "B", () => this.back()), next: button("Next", "N", () => this.next()),
      undo: button("Undo the last vote", "U", () => this.undo()),
    };
    this.count = made("span", "count");
    this.bar = Object.assign(made("progress"), { max: this.trials.length });
    this.bar.setAttribute("aria-label", "pairs done");
    const line = made("div", "foot");
    line.append(this.steps.back, this.steps.next, this.steps.undo, this.bar, this.count);
    return line;
  }

  refresh() {
    const total = this.trials.length, done = Object.keys(this.votes).length;
    this.bar.value = done;
    this.count.textContent = this.isAtEnd ? `${done} of ${total}` : `pair ${this.number + 1} · ${done} of ${total} done`;
    const shown = this.isAtEnd ? undefined : this.votes[this.trial.id];
    const vote = shown && this.trial.isTurned ? TURNED[shown] : shown;
    Object.entries(this.buttons).forEach(([answer, one]) => {
      one.disabled = !this.mayVote;
      one.setAttribute("aria-pressed", String(vote === answer));
    });
    this.steps.back.disabled = !this.isAtEnd && this.number === 0;
    this.steps.next.disabled = this.isAtEnd || !vote || (this.number + 1 === total && !this.isDone);
    this.steps.undo.disabled = !this.given.length;
    if (!this.isAtEnd && this.isOpen) {
      this.hint.textContent = vote ? "You have voted on this pair; another vote replaces it."
        : this.mayVote ? "Choose one." : "Play both videos to their end; then choose.";
    }
    this.bottom.replaceChildren();
    this.keeper.end(this);
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target.matches?.("input, select")) return;
    const key = event.key.toLowerCase(), answer = ANSWERS.find(([, , own]) => own === key);
    const actions = { b: () => this.back(), n: () => this.next(), u: () => this.undo() };
    if (!this.steps || !(answer || key in actions)) return;
    event.preventDefault();
    if (answer) {
      if (!this.isAtEnd) this.vote(answer[0]);
    } else actions[key]();
  }
}

/** For a page of its own: keys are heard wherever the focus is; those within the rating reach it by themselves. */
export function hearEverywhere(root) {
  document.addEventListener("keydown", (event) => {
    const isElsewhere = event.target.matches?.("input, select, button, a") && !root.contains(event.target);
    if (event.defaultPrevented || isElsewhere || root.contains(event.target)) return; // a key may have replaced what it was pressed on
    const heard = (root.querySelector(".player") || root).dispatchEvent(new KeyboardEvent("keydown", {
      key: event.key, shiftKey: event.shiftKey, ctrlKey: event.ctrlKey, metaKey: event.metaKey, altKey: event.altKey,
      repeat: event.repeat, bubbles: true, cancelable: true,
    }));
    if (!heard) event.preventDefault();
  });
}
