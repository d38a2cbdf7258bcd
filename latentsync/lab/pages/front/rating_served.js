// The rating that `latentsync view --allow-rating` serves: the server orders the pairs and keeps each vote at once.
import { Rating, hearEverywhere } from "./rating.js";
import { asked, choice, node, problem, sent } from "./parts.js";

const root = document.getElementById("rating"), choices = document.getElementById("choices");

/** The sweep and the judged setting stand in the address after #, so that a link with them can be given to raters. */
const given = () => new URLSearchParams(location.hash.slice(1));

class ServerKeeper {
  constructor(sweep, by) {
    this.about = { sweep, by };
    this.videos = new Map(); // of this pair and the next one, by a pair's id
  }

  async begin(rater) {
    this.about.rater = rater;
    try {
      const answer = await (await asked(`data/rating/trials?${new URLSearchParams(this.about)}`)).json();
      choices.hidden = true;
      this.trials = answer.trials;
      return answer;
    } catch (error) {
      return { refusal: error.message };
    }
  }

  async videosOf(trial) {
    const contents = await this.contentsOf(trial), next = this.trials[this.trials.indexOf(trial) + 1];
    const wanted = new Set([trial, next].filter(Boolean).map((one) => one.id));
    [...this.videos.keys()].filter((id) => !wanted.has(id)).forEach((id) => this.videos.delete(id));
    if (next) this.contentsOf(next).catch(() => {}); // it is asked for again when it is shown
    return contents;
  }

  contentsOf(trial) {
    if (!this.videos.has(trial.id)) {
      const both = Promise.all(["left", "right"].map(async (side) => {
        const query = new URLSearchParams({ ...this.about, trial: trial.id, side });
        return new Uint8Array(await (await asked(`data/rating/video?${query}`)).arrayBuffer());
      }));
      this.videos.set(trial.id, both);
      both.catch(() => this.videos.delete(trial.id));
    }
    return this.videos.get(trial.id);
  }

  async store(trial, vote) {
    try {
      await sent("data/rating/vote", { ...this.about, trial: trial.id, vote });
      return null;
    } catch (error) {
      return error.message;
    }
  }

  end(rating) {
    rating.bottom.append(node("p", { text: rating.isAtEnd ? "Your votes are stored. You can close this page."
      : "You can stop at any time: each vote is stored at once. Give the same name to continue." }));
  }
}

async function begin() {
  const query = new URLSearchParams([...given()].filter(([name]) => name === "sweep"));
  let study;
  try {
    study = await (await asked(`data/rating?${query}`)).json();
  } catch (error) {
    root.replaceChildren(problem(error.message));
    return;
  }
  const names = study.settings.map(([name]) => name), by = names.includes(given().get("by")) ? given().get("by") : names[0];
  const choose = (values) => {
    history.replaceState(null, "", `#${new URLSearchParams({ sweep: study.sweep, by: by || "", ...values })}`);
    root.replaceChildren();  // a name typed into the old form would be lost when the new one comes
    begin();
  };
  choices.replaceChildren(
    ...(study.sweeps.length > 1 ? [choice("Sweep", study.sweeps.map((name) => [name, name]), study.sweep, (sweep) => choose({ sweep }))] : []),
    ...(names.length > 1 ? [choice("Setting that differs", study.settings, by, (value) => choose({ by: value }))] : []));
  choices.hidden = !choices.children.length;
  if (!by) {
    root.replaceChildren(problem(`Sweep ${study.sweep} has no two results of the same clip and voice that differ in one setting only.`));
    return;
  }
  history.replaceState(null, "", `#${new URLSearchParams({ sweep: study.sweep, by })}`);
  new Rating(root, study, new ServerKeeper(study.sweep, by)).start("");
}

hearEverywhere(root);
begin();
