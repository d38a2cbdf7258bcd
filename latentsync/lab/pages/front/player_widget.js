// Players in a notebook's output that change with what Python shows: each is markup and the content of its videos.
import { Player, release } from "./player.js";
import { shadowIn } from "./shadow.js";

function render({ model, el }) {
  const { root, end } = shadowIn(el, model.get("styles"), model.get("still"));
  let players = [], addresses = [];
  const clear = () => {
    players.forEach((player) => player.pause());
    release(root.querySelectorAll("video"), addresses);
    root.replaceChildren();
    addresses = [];
  };
  const build = () => {
    const choices = players.length ? players[0].choices : null;
    clear();
    players = model.get("players").map(({ markup, videos }) => {
      const template = document.createElement("template");
      template.innerHTML = markup; // of player.py, which escapes every text
      [...template.content.querySelectorAll("video")].forEach((video, i) => {
        if (!videos[i].byteLength) return;
        addresses.push(URL.createObjectURL(new Blob([videos[i]], { type: "video/mp4" })));
        video.src = addresses.at(-1);
      });
      root.append(template.content);
      return new Player(root.lastElementChild);
    });
    if (choices && players.length) players[0].choices = choices;
  };
  model.on("change:players", build);
  build();
  return () => { model.off("change:players", build); clear(); end(); };
}

export default { render };
