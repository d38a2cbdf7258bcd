// A player alone in a frame of a notebook: it takes the notebook's theme, and the frame takes its height.
import { Player } from "./player.js";

const root = document.querySelector(".player");
const outer = window.frameElement && window.parent.document;
new Player(root, document);

// JupyterLab has a theme of its own, which need not be the system's.
const theme = outer && outer.body.dataset.jpThemeLight;
if (theme) document.documentElement.style.colorScheme = theme === "true" ? "light" : "dark";

const fit = () => { if (outer) window.frameElement.style.height = `${document.documentElement.offsetHeight}px`; };
new ResizeObserver(fit).observe(document.body);
