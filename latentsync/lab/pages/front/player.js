// Videos that play in step, in a notebook's frame and in a report alike. player.py writes the markup, which shows the
// browser's own players where no script runs; this file adds the controls. All positions are frames, counted from 0.

// Videos that begin together and run at the same rate stay together. A video that strays changes its rate until it is
// back in step. Each change of the rate can cost a video with sound 20 ms: it keeps one rate until it is back. A video
// without sound changes freely.
const STRAYS_S = 0.012;
const BACK_S = 0.003;
const FAR_S = 0.5; // it jumps instead
const GAIN = 4; // change of the rate per second of difference
const GAIN_WITHOUT_SOUND = 15;
const [SLOWEST, FASTEST] = [0.5, 2];
const PATIENCE_MS = 3000; // how long the start waits for videos that have not come to their place
const INAUDIBLE = 1e-6; // -120 dB
const TICK_STEPS_S = [0.5, 1, 2, 5, 10, 30, 60, 120]; // as timeline.py has them
const MAX_TICKS = 12;
const SHOWN_AT_FIRST = 8;
const CHOICE_FROM = 4; // with at least this many videos each can be hidden

const ICONS = {
  play: "M3 1.5v13l11-6.5z",
  pause: "M3 2h4v12H3zM9 2h4v12H9z",
  sound: "M1 5.5h3L8.5 2v12L4 10.5H1zM10.5 5a4 4 0 0 1 0 6zM10.5 2.2v-1.5a7.5 7.5 0 0 1 0 14.6v-1.5a6 6 0 0 0 0-11.6z",
  mute: "M1 5.5h3L8.5 2v12L4 10.5H1zM10 6.2 11.2 5l1.9 1.9L15 5l1.2 1.2L14.3 8l1.9 1.8L15 11l-1.9-1.9L11.2 11 10 9.8 11.9 8z",
};
const icon = (name) => `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${ICONS[name]}"/></svg>`;
const CONTROLS = `
  <div class="controls">
    <button type="button" class="play" aria-keyshortcuts="Space K"></button>
    <button type="button" class="back" title="One frame back" aria-label="One frame back" aria-keyshortcuts="ArrowLeft">&#8249;</button>
    <button type="button" class="on" title="One frame on" aria-label="One frame on" aria-keyshortcuts="ArrowRight">&#8250;</button>
    <span class="time"></span>
    <label>Speed <select class="speed">
      <option value="1">1 ×</option><option value="0.5">½ ×</option><option value="0.25">¼ ×</option>
    </select></label>
    <label><input type="checkbox" class="repeat"> Repeat</label>
  </div>
  <input type="range" class="seek" min="0" max="0" step="1" value="0" aria-label="Position">`;
const KEYS = "Space plays and pauses; the arrow keys go by a frame, with Shift by a second; Home and End go to the ends.";

const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
const element = (name, className, text) => Object.assign(document.createElement(name), { className, textContent: text });

// Some browsers cannot seek in a data: address; all of them can in a blob.
function blobOf(address) {
  const [head, body] = address.split(",");
  const bytes = Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0));
  return URL.createObjectURL(new Blob([bytes], { type: head.slice(5).split(";")[0] }));
}

// Frees the contents of videos that are not needed any more; none may still be loading from an address that is gone.
export function release(videos, addresses) {
  videos.forEach((video) => {
    video.removeAttribute("src");
    video.load();
  });
  addresses.forEach((address) => URL.revokeObjectURL(address));
}

// A muted video has its own clock, which runs late on a busy machine. A video that plays too softly to be heard uses
// the clock of the sound output, as the heard video does. A page that may not set the volume mutes the video.
function setHeard(video, isHeard) {
  video.volume = isHeard ? 1 : INAUDIBLE;
  video.muted = !isHeard && video.volume > INAUDIBLE;
}

// Whether a video has a track of sound, and with it the clock of the sound output. Each browser tells it in its own way.
function hasSound(video) {
  return Boolean(video.mozHasAudio || video.webkitAudioDecodedByteCount || video.audioTracks?.length);
}

// The affine of a mouth at a frame, interpolated between the measured frames.
function mouthAt(path, frame, step) {
  const place = Math.min(frame / step, path.length - 1), low = Math.floor(place);
  const next = path[Math.min(low + 1, path.length - 1)];
  return path[low].map((value, i) => value + (place - low) * (next[i] - value));
}

/**
 * One row of videos under one play button.
 *
 * After what is shown has changed, its element gets a "shown" event; after it was put to a frame, a "moved" event.
 *
 * @param root the element that player.py writes.
 * @param keysOn what listens to keys: the element itself, or the document where the player is alone.
 */
export class Player {
  constructor(root, keysOn = root) {
    this.root = root;
    this.facts = JSON.parse(root.dataset.facts);
    this.figures = [...root.querySelectorAll("figure")];
    this.videos = this.figures.map((figure) => figure.querySelector("video"));
    this.heard = this.facts.heard; // the index of a video; null is silence
    this.frame = 0;
    this.isPlaying = false;
    this.hasBegun = false; // whether the videos of the current playback were started
    this.round = 0; // number of the current playback: callbacks of earlier ones do nothing
    this.straying = new Map(); // video -> whether it was ahead, and the factor of its rate
    this.waiting = new Map(); // video -> time to go to once its present seek has ended
    this.addControls();
    this.videos.forEach((video, i) => this.addVideo(video, i));
    const plot = root.querySelector(".plot");
    if (plot) this.addPlot(plot);
    keysOn.addEventListener("keydown", (event) => this.onKey(event));
    root.addEventListener("click", (event) => { // after a click with the mouse the keys are the player's, not a button's
      if (event.detail > 0 && event.target.closest("button, video")) root.focus({ preventScroll: true });
    });
    this.figures.forEach((figure, i) => this.show(i, i < SHOWN_AT_FIRST));
    this.hear(this.heard);
  }

  // --- facts ---

  get fps() { return this.facts.fps; }
  get shown() { return this.videos.filter((video, i) => !this.figures[i].hidden && !video.error); }
  get lastFrame() {
    if (this.plot) return this.facts.frames - 1; // a file's duration is also that of its sound, which may be longer
    return Math.max(0, ...this.shown.map((video) => Math.round((video.duration || 0) * this.fps) - 1));
  }
  get speed() { return Number(this.controls.speed.value); }

  // The clock: the heard video. If none is heard, or the heard one has ended: the longest video, of those with sound.
  get lead() {
    const running = this.shown.filter((video) => !video.ended);
    const heard = this.videos[this.heard];
    const rank = (one, other) => hasSound(other) - hasSound(one) || other.duration - one.duration;
    return running.includes(heard) ? heard : running.sort(rank)[0];
  }

  frameAt(time) { return clamp(Math.floor(time * this.fps + 1e-3), 0, this.lastFrame); }

  // The viewer's choices; another player can start with them.
  get choices() {
    const { speed, repeat } = this.controls;
    const hidden = this.figures.filter((figure) => figure.hidden).map((figure) => figure.dataset.label);
    const heard = this.heard === null ? null : this.figures[this.heard].dataset.label;
    return { speed: speed.value, repeat: repeat.checked, heard, hidden };
  }
  set choices({ speed, repeat, heard, hidden }) {
    this.controls.speed.value = speed;
    this.controls.repeat.checked = repeat;
    const labels = this.figures.map((figure) => figure.dataset.label);
    labels.forEach((label, i) => this.show(i, !hidden.includes(label)));
    if (heard === null || labels.includes(heard)) this.hear(heard === null ? null : labels.indexOf(heard));
  }

  // --- the viewer's actions ---

  play() {
    if (!this.shown.length) return;
    if (this.frame >= this.lastFrame) this.frame = 0;
    this.place();
    this.isPlaying = true;
    this.hasBegun = false;
    this.draw();
    this.begin(++this.round, performance.now());
  }

  // Starts all videos at once, when each has reached its place: videos that begin in step stay in step.
  begin(round, since) {
    if (round !== this.round) return;
    const isReady = this.shown.every((video) => !video.seeking && !this.waiting.has(video) && video.readyState > 2);
    if (!isReady && performance.now() - since < PATIENCE_MS) {
      requestAnimationFrame(() => this.begin(round, since));
      return;
    }
    const time = this.timeOf(this.frame);
    const videos = this.shown.filter((one) => !(time > one.duration));
    this.straying.clear();
    videos.forEach((video) => { video.playbackRate = this.speed; });
    videos.forEach((video) => {
      video.play().catch((error) => { if (error.name === "NotAllowedError") this.pause(); });
    });
    this.hasBegun = true;
    this.follow(round);
  }

  pause() {
    if (!this.isPlaying) return;
    this.isPlaying = false;
    this.round += 1;
    this.videos.forEach((video) => video.pause());
    this.seek(this.frame);
  }

  toggle() { return this.isPlaying ? this.pause() : this.play(); }

  seek(frame) {
    this.frame = clamp(frame, 0, this.lastFrame);
    this.place();
    this.draw();
    this.root.dispatchEvent(new Event("moved"));
  }

  step(frames) { this.goTo(this.frame + frames); }

  // Stands at a frame.
  goTo(frame) {
    this.pause();
    this.seek(frame);
  }

  hear(index) {
    this.heard = index;
    this.videos.forEach((video, i) => setHeard(video, i === index));
    this.figures.forEach((figure, i) => {
      const button = figure.querySelector("button.sound");
      if (!button) return;
      button.setAttribute("aria-pressed", String(i === index));
      button.innerHTML = icon(i === index ? "sound" : "mute");
    });
  }

  show(index, isShown) {
    this.pause();
    this.figures[index].hidden = !isShown;
    if (isShown) this.load(this.videos[index]);
    if (this.boxes[index]) this.boxes[index].checked = isShown;
    this.root.style.setProperty("--count", this.figures.filter((one) => !one.hidden).length);
    this.seek(this.frame);
    this.root.dispatchEvent(new Event("shown"));
  }

  // --- staying in step ---

  timeOf(frame) { return (frame + 0.5) / this.fps; }

  place() {
    for (const video of this.shown) {
      const last = (video.duration || Infinity) - 0.5 / this.fps;
      const time = Math.max(0, Math.min(this.timeOf(this.frame), last));
      this.waiting.delete(video);
      if (video.seeking) this.waiting.set(video, time);
      else if (Math.abs(video.currentTime - time) > 1e-3) video.currentTime = time;
    }
  }

  follow(round) {
    if (round !== this.round) return;
    const lead = this.lead;
    if (!lead) return this.end();
    for (const video of this.shown) {
      if (video.ended || video.seeking) continue;
      const rate = this.speed * (video === lead ? 1 : this.factorFor(video, lead));
      if (video.playbackRate !== rate) video.playbackRate = rate;
    }
    this.frame = this.frameAt(lead.currentTime);
    this.draw();
    requestAnimationFrame(() => this.follow(round));
  }

  // How much faster a video must run to reach the leading video.
  factorFor(video, lead) {
    const ahead = video.currentTime - lead.currentTime;
    if (Math.abs(ahead) > FAR_S) video.currentTime = lead.currentTime;
    const isBack = (stray) => Math.abs(ahead) < BACK_S || stray.isAhead !== ahead > 0;
    if (this.straying.has(video) && isBack(this.straying.get(video))) this.straying.delete(video);
    const isFree = !hasSound(video), isNew = !this.straying.has(video);
    if (isNew && Math.abs(ahead) <= STRAYS_S) return 1;
    if (isNew || isFree) {
      const factor = clamp(1 - (isFree ? GAIN_WITHOUT_SOUND : GAIN) * ahead, SLOWEST, FASTEST);
      this.straying.set(video, { isAhead: ahead > 0, factor });
    }
    return this.straying.get(video).factor;
  }

  end() {
    this.isPlaying = false;
    this.frame = this.lastFrame;
    if (this.controls.repeat.checked) this.play();
    else this.draw();
  }

  // --- drawing ---

  draw() {
    const { play, time, seek } = this.controls, last = this.lastFrame;
    const seconds = (frames) => (frames / this.fps).toFixed(2);
    if (play.dataset.isPlaying !== String(this.isPlaying)) {
      play.dataset.isPlaying = this.isPlaying;
      play.innerHTML = this.isPlaying ? `${icon("pause")} Pause` : `${icon("play")} Play`;
    }
    time.textContent = `${seconds(this.frame)} of ${seconds(last + 1)} s · frame ${this.frame}`;
    seek.max = last;
    seek.value = this.frame;
    seek.setAttribute("aria-valuetext", `${seconds(this.frame)} s, frame ${this.frame}`);
    if (this.plot) this.drawPlot();
    else this.drawSeconds(last);
    this.root.querySelectorAll("canvas").forEach((canvas) => this.drawMouth(canvas));
  }

  drawPlot() {
    this.plot.cursor.style.left = `${100 * Math.min(1, (this.frame + 0.5) / this.facts.frames)}%`;
    this.plot.values.forEach((text) => {
      const value = this.facts.curves[Number(text.dataset.curve)][this.frame];
      text.textContent = value == null ? "–" : value.toFixed(3);
    });
  }

  // Below the scrub bar of a player without a plot, whose axis has them otherwise.
  drawSeconds(last) {
    if (this.seconds.dataset.last === String(last)) return;
    this.seconds.dataset.last = last;
    const length = last / this.fps, step = TICK_STEPS_S.find((one) => length / one <= MAX_TICKS) || length;
    const ticks = Array.from({ length: last ? Math.floor(length / step + 1e-9) + 1 : 0 }, (_, i) => {
      const tick = element("span", "", `${Number((i * step).toFixed(1))}${i ? "" : " s"}`);
      tick.style.left = `${100 * i * step / length}%`;
      return tick;
    });
    this.seconds.replaceChildren(...ticks);
  }

  drawMouth(canvas) {
    const figure = canvas.closest("figure"), video = figure.querySelector("video");
    if (figure.hidden || video.readyState < 2) return;
    const path = this.facts.mouths[this.figures.indexOf(figure)], context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingQuality = "high";
    context.setTransform(...mouthAt(path, this.frameAt(video.currentTime), this.facts.mouth_step));
    context.drawImage(video, 0, 0);
  }

  // --- building ---

  addControls() {
    this.root.querySelector(".stage").insertAdjacentHTML("afterend", CONTROLS);
    this.root.append(element("p", "keys", KEYS));
    this.seconds = element("div", "seek-axis");
    this.seconds.setAttribute("aria-hidden", "true");
    if (!this.root.querySelector(".plot")) this.root.querySelector(".seek").after(this.seconds);
    const names = ["play", "back", "on", "time", "speed", "repeat", "seek"];
    const found = names.map((name) => [name, this.root.querySelector(`.${name}`)]);
    this.controls = Object.assign({}, ...found.map(([name, node]) => ({ [name]: node })));
    this.controls.play.addEventListener("click", () => this.toggle());
    this.controls.back.addEventListener("click", () => this.step(-1));
    this.controls.on.addEventListener("click", () => this.step(1));
    this.addDrag(this.controls.seek, ["input"], () => Number(this.controls.seek.value));
    this.boxes = this.figures.length < CHOICE_FROM ? [] : this.figures.map((figure, i) => {
      const box = Object.assign(document.createElement("input"), { type: "checkbox" });
      box.addEventListener("change", () => this.show(i, box.checked));
      return box;
    });
    if (!this.boxes.length) return;
    const choice = element("fieldset", "shown");
    choice.append(element("legend", "", "Shown"), ...this.boxes.map((box, i) => {
      const label = document.createElement("label");
      label.append(box, this.figures[i].dataset.label);
      return label;
    }));
    this.root.querySelector(".stage").before(choice);
  }

  addVideo(video, index) {
    const figure = this.figures[index];
    video.controls = false;
    video.addEventListener("click", () => this.toggle());
    video.addEventListener("loadedmetadata", () => this.seek(this.frame));
    video.addEventListener("loadeddata", () => this.draw());
    video.addEventListener("seeked", () => {
      const time = this.waiting.get(video);
      this.waiting.delete(video);
      if (time !== undefined) video.currentTime = time;
      this.draw();
    });
    video.addEventListener("pause", () => { // by a key of the keyboard's own, or by the browser
      const isLate = !this.hasBegun; // the event of an end, after which it starts again
      if (video.paused && !video.ended && !isLate) this.pause();
    });
    video.addEventListener("error", () => {
      const reason = "This video is not in the page, and its file is not beside it, or is none that this browser plays.";
      this.waiting.delete(video);
      video.hidden = true;
      video.before(element("p", "missing", reason));
      this.draw();
    });
    if ("silent" in figure.dataset) return;
    const button = element("button", "sound");
    button.type = "button";
    button.title = "Hear this video, or none";
    button.setAttribute("aria-label", `Hear ${figure.dataset.label}`);
    button.addEventListener("click", () => this.hear(this.heard === index ? null : index));
    figure.querySelector(".head").append(button);
  }

  load(video) {
    if (video.preload === "auto") return;
    video.preload = "auto";
    if (video.src.startsWith("data:")) video.src = blobOf(video.src);
    else video.load();
  }

  addPlot(plot) {
    this.plot = { cursor: plot.querySelector(".cursor"), values: [...plot.querySelectorAll("[data-curve]")] };
    plot.before(this.controls.seek);
    plot.querySelectorAll(".mark").forEach((mark) => mark.addEventListener("click", () => this.goTo(Number(mark.dataset.frame))));
    plot.querySelectorAll("svg").forEach((svg) => {
      svg.addEventListener("pointerdown", (event) => svg.setPointerCapture(event.pointerId));
      this.addDrag(svg, ["pointerdown", "pointermove"], (event) => {
        if (!(event.buttons & 1)) return null;
        const box = svg.getBoundingClientRect();
        return Math.floor((event.clientX - box.left) / box.width * this.facts.frames);
      });
    });
  }

  // During a drag the videos stand at the dragged frame. After it, those that played go on.
  addDrag(target, moves, frameOf) {
    let goesOn = false;
    moves.forEach((name) => target.addEventListener(name, (event) => {
      const frame = frameOf(event); // before anything is drawn, which would set a scrub bar back
      if (frame === null) return;
      goesOn = goesOn || this.isPlaying;
      this.pause();
      this.seek(frame);
    }));
    ["change", "pointerup", "pointercancel"].forEach((name) => target.addEventListener(name, () => {
      if (goesOn) this.play();
      goesOn = false;
    }));
  }

  onKey(event) {
    const target = event.target, key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const isOn = (selector) => target.matches !== undefined && target.matches(selector);
    if (event.ctrlKey || event.metaKey || event.altKey || isOn("select, textarea, input:not(.seek, [type=checkbox])")) return;
    if (key === " " && isOn("button, a, summary, input[type=checkbox]")) return; // it has a meaning of its own there
    const far = event.shiftKey ? this.fps : 1;
    const actions = {
      " ": () => this.toggle(), k: () => this.toggle(), ArrowLeft: () => this.step(-far), ArrowRight: () => this.step(far),
      Home: () => this.step(-Infinity), End: () => this.step(Infinity),
    };
    if (!(key in actions)) return;
    event.preventDefault();
    actions[key]();
  }
}
