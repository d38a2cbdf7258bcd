// A place of its own in a notebook's output: styles and names are not shared, and keys stay with what has the focus.

// JupyterLab takes no plain key from an element with this attribute; Ctrl+S and the like stay its own.
const NO_SHORTCUTS = "data-lm-suppress-shortcuts";

// Where a notebook says its theme: JupyterLab, VS Code, Colab.
function isLight() {
  const body = document.body, { jpThemeLight, vscodeThemeKind } = body.dataset;
  if (jpThemeLight) return jpThemeLight === "true";
  if (vscodeThemeKind) return vscodeThemeKind.includes("light");
  const theme = document.documentElement.getAttribute("theme");
  return theme ? theme !== "dark" : null;
}

/**
 * A shadow root in an element, with a stylesheet and the notebook's theme.
 *
 * @param still what the attribute data-still of a picture says that stands in for this output where no kernel runs;
 *   while this output is there, the picture is hidden.
 * @returns the root and a function that ends it.
 */
export function shadowIn(el, styles, still) {
  const host = document.createElement("div");
  const keep = (event) => host.toggleAttribute(NO_SHORTCUTS, !(event.ctrlKey || event.metaKey || event.altKey));
  window.addEventListener("keydown", keep, true);
  host.style.display = "block";
  const root = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(styles);
  root.adoptedStyleSheets = [sheet];
  const follow = () => {
    const light = isLight();
    host.style.colorScheme = light === null ? "light dark" : light ? "light" : "dark";
  };
  const observer = new MutationObserver(follow);
  observer.observe(document.body, { attributes: true });
  follow();
  const hiding = document.createElement("style");
  hiding.textContent = still ? `[data-still="${CSS.escape(still)}"] { display: none; }` : "";
  document.head.append(hiding);
  el.append(host);
  const end = () => {
    window.removeEventListener("keydown", keep, true);
    observer.disconnect();
    hiding.remove();
    host.remove();
  };
  return { root, end };
}
