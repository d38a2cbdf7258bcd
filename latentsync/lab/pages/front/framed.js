// A player alone in a frame of a notebook: it takes the notebook's theme, the frame takes its height, and keys go both ways.
import { Player } from "./player.js";

const root = document.querySelector(".player");
const around = JSON.parse(document.body.dataset.around);
const outer = window.frameElement && window.parent.document;
new Player(root, document);

// JupyterLab has a theme of its own, which need not be the system's.
const theme = outer && outer.body.dataset.jpThemeLight;
if (theme) document.documentElement.style.colorScheme = theme === "true" ? "light" : "dark";

// Keys that press buttons of the notebook around the frame.
document.addEventListener("keydown", (event) => {
  const button = outer && around.keys[event.key] && outer.querySelector(`.${around.keys[event.key]}`);
  if (button) button.click();
});

const fit = () => { if (outer) window.frameElement.style.height = `${document.documentElement.offsetHeight}px`; };
new ResizeObserver(fit).observe(document.body);
if (around.takes_focus) window.focus();
