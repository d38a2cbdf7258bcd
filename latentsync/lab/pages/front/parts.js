// Small parts of the page: elements, choices, numbers as text, and requests whose refusals are sentences.

/**
 * An element.
 *
 * @param facts attributes by name; `text` is its text, and a function is a listener: `onclick: () => ...`.
 * @param children elements and texts; null is left out.
 */
export function node(tag, facts = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(facts)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") made.textContent = value;
    else if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

export function svgNode(tag, facts = {}) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(facts)) made.setAttribute(name, value);
  return made;
}

/**
 * A choice with its label.
 *
 * @param choices [value, text] of each; groups as [text, choices].
 */
export function choice(label, choices, value, onChoose, facts = {}) {
  const option = ([key, text]) => node("option", { value: key, text, selected: key === value });
  const options = choices.map(([key, rest]) => (
    Array.isArray(rest) ? node("optgroup", { label: key }, rest.map(option)) : option([key, rest])));
  const select = node("select", { "aria-label": label, onchange: () => onChoose(select.value), ...facts }, options);
  select.value = value;
  return node("label", { class: "choice" }, node("span", { text: label }), select);
}

export function toggleButton(text, isPressed, onPress, facts = {}) {
  return node("button", { type: "button", "aria-pressed": String(isPressed), text, onclick: onPress, ...facts });
}

/** Puts children into a place; what had the focus there has it again, if there is something of the same name. */
export function refilled(place, ...children) {
  const nameOf = (one) => one.dataset.record || one.getAttribute("aria-label") || one.textContent;
  const active = place.contains(document.activeElement) ? document.activeElement : null;
  place.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined));
  if (!active) return;
  const again = [...place.querySelectorAll(active.tagName)].find((one) => nameOf(one) === nameOf(active));
  if (again) again.focus({ preventScroll: true });
}

/** A number in at most four significant digits, without zeros at its end. */
export function numberText(value) {
  if (!Number.isFinite(value)) return value === Infinity ? "∞" : value === -Infinity ? "−∞" : "–";
  if (Number.isInteger(value)) return String(value).replace("-", "−");
  const size = Math.abs(value);
  const text = size >= 1e-4 && size < 1e6 ? String(Number(value.toPrecision(4))) : value.toExponential(2);
  return text.replace("-", "−");
}

/** Seconds in words, as the terminal writes them. */
export function durationText(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Of what is called "one", "two": `1 record`, `2 records`. */
export const counted = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

/** The answer to a request. An error's message is a sentence for the reader. */
export const asked = (address, signal) => answerTo(address, { signal });

/** The answer to a request that writes; as `asked`. */
export const sent = (address, content) => answerTo(address, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) });

async function answerTo(address, how) {
  let answer;
  try {
    answer = await fetch(address, how);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer; start latentsync view again, and open its new link.");
  }
  if (answer.ok) return answer;
  throw new Error(await answer.text() || `The server answers with status ${answer.status}.`);
}

/** Calls a function once a burst of calls has ended. */
export function afterBurst(run, milliseconds) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...values), milliseconds);
  };
}

/** A problem in one sentence, where the reader looks. */
export const problem = (sentence) => node("p", { class: "problem", role: "alert", text: sentence });

/** The colours of the figures, see figures/style.py; they tell apart in light and dark. */
export const SERIES_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
export const AIM_ARROWS = { higher: "↑", lower: "↓", zero: "→ 0", one: "→ 1", none: "" };
export const AIM_WORDS = {
  higher: "higher is better", lower: "lower is better", zero: "nearer to 0 is better", one: "nearer to 1 is better", none: "",
};
