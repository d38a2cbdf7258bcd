// A rating in a notebook's output: the kernel orders the pairs, gives their videos, and keeps each vote at once.
import { Rating } from "./rating.js";
import { shadowIn } from "./shadow.js";

class KernelKeeper {
  constructor(model) {
    this.model = model;
    this.asked = new Map();
    this.number = 0;
    this.onAnswer = ({ number, ...answer }, buffers) => {
      const resolve = this.asked.get(number);
      this.asked.delete(number);
      if (resolve) resolve({ ...answer, buffers });
    };
    model.on("msg:custom", this.onAnswer);
  }

  ask(message) {
    const number = this.number += 1;
    return new Promise((resolve) => {
      this.asked.set(number, resolve);
      this.model.send({ number, ...message });
    });
  }

  begin(rater) { return this.ask({ do: "begin", rater }); }

  async videosOf(trial) {
    const { refusal, buffers } = await this.ask({ do: "show", trial: trial.id });
    if (refusal) throw new Error(refusal);
    return buffers;
  }

  async store(trial, vote) { return (await this.ask({ do: "vote", trial: trial.id, vote })).refusal; }

  end() {}

  close() { this.model.off("msg:custom", this.onAnswer); }
}

function render({ model, el }) {
  const { root, end } = shadowIn(el, model.get("styles"), model.get("still"));
  const inside = document.createElement("div"), keeper = new KernelKeeper(model);
  root.append(inside);
  const rating = new Rating(inside, model.get("study"), keeper);
  rating.start(model.get("rater"));
  return () => { rating.clear(); keeper.close(); end(); };
}

export default { render };
