// A rating that is one file: it holds the videos, keeps votes in the browser, and hands them back as a file.
import { Rating, hearEverywhere, orderFor } from "./rating.js";

const study = JSON.parse(document.getElementById("study").textContent);
const root = document.getElementById("rating");
const kept = (rater) => `rating ${study.id} ${rater}`;
const contents = new Map(); // of videos, decoded once

function contentOf(name) {
  if (!contents.has(name)) contents.set(name, Uint8Array.from(atob(study.videos[name]), (letter) => letter.charCodeAt(0)));
  return contents.get(name);
}

// A browser may refuse to keep anything for a page from disk; then the votes last as long as the page.
function recall(rater) {
  try {
    return JSON.parse(localStorage.getItem(kept(rater))) || {};
  } catch {
    return {};
  }
}

class FileKeeper {
  begin(rater) {
    this.rater = rater;
    this.trials = orderFor(study.trials, `${study.id} ${rater}`);
    const known = new Set(this.trials.map((trial) => trial.id));
    this.rows = Object.fromEntries(Object.entries(recall(rater)).filter(([id]) => known.has(id)));
    return { trials: this.trials, votes: Object.fromEntries(Object.entries(this.rows).map(([id, row]) => [id, row.vote])) };
  }

  videosOf(trial) { return [contentOf(trial.left), contentOf(trial.right)]; }

  store(trial, vote) {
    if (vote === null) delete this.rows[trial.id];
    else this.rows[trial.id] = { vote, isTurned: trial.isTurned, time: new Date().toISOString().replace(/\.\d+Z$/, "Z") };
    try {
      localStorage.setItem(kept(this.rater), JSON.stringify(this.rows));
    } catch { /* the page itself still has the votes */ }
    return null;
  }

  get text() {
    const quoted = (value) => `"${String(value).replaceAll('"', '""')}"`;
    const rows = Object.entries(this.rows).map(([id, row]) => (
      [study.id, this.rater, row.time, id, row.isTurned ? 1 : 0, row.vote].map(quoted).join(",")));
    return [study.columns.join(","), ...rows, ""].join("\n");
  }

  end(rating) {
    const save = document.createElement("button"), note = document.createElement("p");
    save.type = "button";
    save.className = rating.isAtEnd ? "save main" : "save";
    save.textContent = "Save my votes as a file";
    save.disabled = !Object.keys(this.rows).length;
    save.addEventListener("click", () => this.save());
    note.textContent = rating.isAtEnd ? "Save your votes, and send the file back to who gave you this page."
      : "You can stop at any time: this browser keeps your votes. Nothing is sent anywhere.";
    rating.bottom.append(save, note);
  }

  save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([this.text], { type: "text/csv" }));
    link.download = `votes-${study.id}-${this.rater.replace(/[^\w.-]+/g, "_")}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
}

hearEverywhere(root);
new Rating(root, study, new FileKeeper()).start("");
