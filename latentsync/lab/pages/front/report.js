// What a report does: it sorts and filters its tables, and shows one pair at a time.
import { Player } from "./player.js";

document.documentElement.classList.add("js");
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);

// Puts a button into each head that sorts; calls `sort` with the column's place and whether it falls.
function heads(table, sort) {
  const sorting = all("th[data-sort]", table);
  sorting.forEach((head) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const falls = head.getAttribute("aria-sort") === "ascending";
      sorting.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      sort(head.cellIndex, falls);
    });
  });
}

function sortable(table) {
  const body = table.tBodies[0];
  heads(table, (place, falls) => {
    const key = (row) => {
      const cell = row.cells[place];
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
    byId("no-rows").hidden = shown > 0;
    table.hidden = shown === 0;
  };
  byId("clear").addEventListener("click", () => {
    form.reset();
    form.elements.metric.value = "";
    apply();
    form.elements.metric.focus();
  });
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
  const follow = () => {
    const index = pairs.findIndex((pair) => "#" + pair.id === location.hash);
    if (index < 0) return;
    select.value = String(index);
    choose(index);
    pairs[index].scrollIntoView();
  };
  select.addEventListener("change", () => choose(Number(select.value)));
  window.addEventListener("hashchange", follow);
  choose(Number(select.value));
  follow();
}

function playerOf(pair) {
  const root = pair.querySelector(".player"), player = new Player(root);
  root.addEventListener("shown", () => {
    all(".mouths tr", pair).forEach((row) => { row.hidden = player.figures[Number(row.dataset.video)].hidden; });
  });
  root.dispatchEvent(new Event("shown"));
  return player;
}

// The table of many records: columns of values, of which one page of rows is in the document.
const PAGE_ROWS = 50;

function paged(table, form, data) {
  const body = table.tBodies[0];
  const columns = data.columns;
  const word = (column, row) => column.words[column.places[row]];
  const texts = columns.filter((column) => column.words);
  const total = (columns[0].places || columns[0].numbers).length;
  let order = [...Array(total).keys()], start = 0;
  const numberText = (value) => (value === null ? "–" : String(Number(value.toPrecision(4))));
  const cellOf = (column, row, place) => {
    const cell = document.createElement(place === 0 ? "th" : "td");
    if (place === 0) cell.scope = "row";
    if (column.numbers) {
      cell.className = "number";
      cell.textContent = numberText(column.numbers[row]);
      if (row in column.reasons) cell.title = column.reasons[row];
    } else if (place === columns.length - 1) {
      const link = document.createElement("a"), code = document.createElement("code");
      code.textContent = word(column, row);
      if (data.folder) link.href = `${data.folder}/${encodeURIComponent(word(column, row))}/`;
      link.append(code);
      cell.append(link);
    } else cell.textContent = word(column, row);
    return cell;
  };
  const fitting = () => {
    const text = form.elements.text.value.trim().toLowerCase();
    return text === "" ? order : order.filter((row) => texts.some((column) => word(column, row).toLowerCase().includes(text)));
  };
  const show = () => {
    const rows = fitting();
    start = Math.max(0, Math.min(start, Math.floor((rows.length - 1) / PAGE_ROWS) * PAGE_ROWS));
    body.replaceChildren(...rows.slice(start, start + PAGE_ROWS).map((row) => {
      const line = document.createElement("tr");
      line.append(...columns.map((column, place) => cellOf(column, row, place)));
      return line;
    }));
    const last = Math.min(start + PAGE_ROWS, rows.length);
    byId("records-shown").textContent = rows.length ? `${start + 1} to ${last} of ${rows.length}` : "";
    byId("no-records").hidden = rows.length > 0;
    form.elements.back.disabled = start === 0;
    form.elements.on.disabled = last === rows.length;
  };
  heads(table, (place, falls) => {
    const column = columns[place], sign = falls ? -1 : 1;
    const rank = column.words && new Map(column.words.map((text, i) => [text, i]).sort((a, b) => a[0].localeCompare(b[0], "en")).map((pair, i) => [pair[1], i]));
    const key = (row) => (column.numbers ? column.numbers[row] : rank.get(column.places[row]));
    order.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * (x - y) || a - b;
    });
    start = 0;
    show();
  });
  form.addEventListener("input", () => { start = 0; show(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.elements.back.addEventListener("click", () => { start -= PAGE_ROWS; show(); });
  form.elements.on.addEventListener("click", () => { start += PAGE_ROWS; show(); });
  show();
}

// A box whose table is wider says that it scrolls.
function hinted(boxes) {
  const look = () => boxes.forEach((box) => box.classList.toggle("scrolls", box.scrollWidth > box.clientWidth + 1));
  const watch = new ResizeObserver(look);
  boxes.forEach((box) => { watch.observe(box); if (box.firstElementChild) watch.observe(box.firstElementChild); });
  look();
}

// On paper everything is open and heads are plain text, since a button is not repeated on the next page.
function printed() {
  let closed = [], heads = [];
  window.addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    closed.forEach((part) => { part.open = true; });
    heads = all("th[data-sort] button").map((button) => [button, button.parentElement]);
    heads.forEach(([button, head]) => head.replaceChildren(...button.childNodes));
  });
  window.addEventListener("afterprint", () => {
    closed.forEach((part) => { part.open = false; });
    heads.forEach(([button, head]) => {
      button.append(...head.childNodes);
      head.append(button);
    });
    closed = heads = [];
  });
}

all("table.sortable").forEach(sortable);
if (byId("filters")) filtered(byId("filters"), byId("means"));
if (byId("pair")) paired(byId("pair"), all(".pair"));
if (byId("records-data")) paged(byId("all-records"), byId("records-form"), JSON.parse(byId("records-data").textContent));
hinted(all(".box"));
printed();
