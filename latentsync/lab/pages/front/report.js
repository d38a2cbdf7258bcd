// What a report does: it sorts and filters its tables, and shows one pair at a time.
import { Player } from "./player.js";

document.documentElement.classList.add("js");
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);

function sortable(table) {
  const body = table.tBodies[0];
  all("th[data-sort]", table).forEach((head) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const falls = head.getAttribute("aria-sort") === "ascending";
      all("th[data-sort]", table).forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      const key = (row) => {
        const cell = row.cells[head.cellIndex];
        return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
      };
      const order = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (typeof x === "string" || typeof y === "string") return String(x).localeCompare(String(y), "en");
        if (Number.isNaN(x) || Number.isNaN(y)) return (Number.isNaN(x) - Number.isNaN(y)) * (falls ? -1 : 1);
        return x - y;
      };
      const rows = [...body.rows].sort((a, b) => (falls ? -1 : 1) * order(a, b));
      rows.forEach((row) => row.classList.remove("first"));
      body.append(...rows);
    });
  });
}

function filtered(form, table) {
  const rows = [...table.tBodies[0].rows];
  const apply = () => {
    const metric = form.elements.metric.value;
    const text = form.elements.text.value.trim().toLowerCase();
    const settings = all("select[name=setting]", form).map((select) => select.value);
    let shown = 0;
    for (const row of rows) {
      const values = all("[data-setting]", row).map((cell) => cell.dataset.setting);
      const fits = (metric === "" || (metric === "headline" ? "headline" in row.dataset : metric === "=" + row.dataset.metric))
        && settings.every((value, i) => value === "" || value === values[i])
        && (row.textContent.toLowerCase() + " " + row.dataset.metric).includes(text);
      row.hidden = !fits;
      shown += fits;
    }
    byId("rows-shown").textContent = `${shown} of ${rows.length} rows`;
  };
  if (!rows.some((row) => "headline" in row.dataset)) form.elements.metric.value = "";
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();
}

// One pair is shown at a time; the next one begins with what the viewer chose for the last.
function paired(select, pairs) {
  const players = [];
  let current = null;
  const choose = (index) => {
    const choices = current && current.choices;
    if (current) current.pause();
    pairs.forEach((pair, i) => { pair.hidden = i !== index; });
    if (!players[index]) players[index] = playerOf(pairs[index]);
    current = players[index];
    if (choices) current.choices = choices;
  };
  select.addEventListener("change", () => choose(Number(select.value)));
  choose(Number(select.value));
}

function playerOf(pair) {
  const root = pair.querySelector(".player"), player = new Player(root);
  root.addEventListener("shown", () => {
    all(".mouths tr", pair).forEach((row, i) => { row.hidden = player.figures[i].hidden; });
  });
  root.dispatchEvent(new Event("shown"));
  return player;
}

all("table.sortable").forEach(sortable);
if (byId("filters")) filtered(byId("filters"), byId("means"));
if (byId("pair")) paired(byId("pair"), all(".pair"));
