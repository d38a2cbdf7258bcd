"use strict";
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
        && row.textContent.toLowerCase().includes(text);
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

// All shown videos of one pair run by one clock: that of the longest; whoever is off by more than a frame is set right.
function player() {
  const FRAME_S = 0.04, DRIFT_S = 0.05, SHOWN_AT_FIRST = 8;
  const [play, seek, time, sound, speed, repeat, cells] =
    ["play", "seek", "time", "sound", "speed", "repeat", "cells"].map(byId);
  const pairs = all(".pair");
  let videos = [], isPlaying = false, position = 0;

  const shown = () => videos.filter((video) => !video.closest("figure").hidden && !video.error);
  const length = () => Math.max(0, ...shown().map((video) => video.duration || 0));
  const lead = () => shown().reduce((a, b) => ((b.duration || 0) > (a.duration || 0) ? b : a), shown()[0]);
  const place = (video, at) => { video.currentTime = Math.min(at, Math.max(0, (video.duration || 0) - FRAME_S / 2)); };

  function tell() {
    seek.max = length();
    seek.value = position;
    time.textContent = `${position.toFixed(2)} / ${length().toFixed(2)} s`;
    seek.setAttribute("aria-valuetext", `${position.toFixed(2)} s`);
    play.textContent = isPlaying ? "Pause" : "Play";
  }

  function moveTo(at) {
    position = Math.min(Math.max(0, at), length());
    shown().forEach((video) => place(video, position));
    tell();
  }

  function pause() {
    isPlaying = false;
    videos.forEach((video) => video.pause());
    tell();
  }

  function start() {
    if (!shown().length) return;
    if (position >= length() - FRAME_S) position = 0;
    moveTo(position);
    isPlaying = true;
    for (const video of shown()) {
      video.playbackRate = Number(speed.value);
      if (position < video.duration) video.play().catch(() => {});
    }
    tell();
    requestAnimationFrame(follow);
  }

  function follow() {
    if (!isPlaying) return;
    const leading = lead();
    position = leading.currentTime;
    for (const video of shown()) {
      const isDue = position < video.duration - DRIFT_S;
      if (video !== leading && isDue && !video.seeking && Math.abs(video.currentTime - position) > DRIFT_S) {
        video.currentTime = position;
      }
    }
    if (leading.ended) {
      pause();
      position = length();
      tell();
      if (repeat.checked) start();
      return;
    }
    tell();
    requestAnimationFrame(follow);
  }

  // A video in the page plays from a blob, which every browser can seek in.
  function load(video) {
    if (video.src.startsWith("data:")) {
      const [head, body] = video.src.split(",");
      const bytes = Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0));
      video.src = URL.createObjectURL(new Blob([bytes], { type: head.slice(5).split(";")[0] }));
    }
    video.preload = "auto";
  }

  function hear() {
    videos.forEach((video, i) => { video.muted = String(i) !== sound.value; });
  }

  function choose(index) {
    pause();
    position = 0;
    pairs.forEach((pair, i) => { pair.hidden = i !== index; });
    videos = all("video", pairs[index]);
    sound.replaceChildren(...videos.map((video, i) => new Option(video.dataset.label, i)), new Option("none", ""));
    sound.value = videos.length > 1 ? "1" : "0";
    const boxes = videos.map((video, i) => {
      const label = document.createElement("label"), box = document.createElement("input");
      box.type = "checkbox";
      box.checked = i < SHOWN_AT_FIRST;
      label.className = "check";
      label.append(box, video.dataset.label);
      const show = () => {
        const row = all(".mouths tr", pairs[index])[i];
        video.closest("figure").hidden = !box.checked;
        if (row) row.hidden = !box.checked;
        if (box.checked) load(video);
      };
      box.addEventListener("change", () => { pause(); show(); moveTo(position); });
      show();
      return label;
    });
    cells.replaceChildren(cells.firstElementChild, ...boxes);
    hear();
    tell();
  }

  all(".pair video").forEach((video) => {
    video.controls = false;
    video.addEventListener("loadedmetadata", () => { place(video, position); tell(); });
    video.addEventListener("error", () => {
      const away = document.createElement("p");
      away.className = "away";
      away.textContent = "This video is not in the page, and its file is not beside it.";
      video.hidden = true;
      video.before(away);
      tell();
    });
    video.addEventListener("click", () => (isPlaying ? pause() : start()));
  });
  byId("pair").addEventListener("change", (event) => choose(Number(event.target.value)));
  play.addEventListener("click", () => (isPlaying ? pause() : start()));
  seek.addEventListener("input", () => { const was = isPlaying; pause(); moveTo(Number(seek.value)); if (was) start(); });
  sound.addEventListener("change", hear);
  speed.addEventListener("change", () => videos.forEach((video) => { video.playbackRate = Number(speed.value); }));
  document.addEventListener("keydown", (event) => {
    const at = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || at.matches("input:not([type=range], [type=checkbox]), select")) return;
    const isInside = at.closest("#videos") !== null, step = event.shiftKey ? 1 : FRAME_S;
    const moves = { ArrowLeft: position - step, ArrowRight: position + step, Home: 0, End: length() };
    const toggles = event.key.toLowerCase() === "k" || (event.key === " " && isInside && !at.matches("button, input, summary"));
    const isMove = isInside && event.key in moves && !at.matches(".box");
    if (!toggles && !isMove) return;
    event.preventDefault();
    if (toggles) return isPlaying ? pause() : start();
    pause();
    moveTo(moves[event.key]);
  });
  choose(0);
}

all("table.sortable").forEach(sortable);
if (byId("filters")) filtered(byId("filters"), byId("means"));
if (document.querySelector(".pair")) player();
