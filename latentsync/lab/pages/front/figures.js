// Figures of the shown records: two metrics against each other, and a metric over a setting. A click opens the videos.
import { AIM_ARROWS, SERIES_COLOURS, choice, counted, node, numberText, refilled } from "./parts.js";
import { LEAST_UNITS, meanOver, unitsOf } from "./means.js";

const SYNC = ["sync_mini_confidence", "lse_c", "stable_syncnet_cosine", "landmark_sync_peak"]; // preferred as synchrony
const LIKENESS = ["lpips_alex_mouth", "lpips_vgg_mouth", "ssim_mouth", "lpips_alex", "identity_cosine", "psnr"];
const SYMBOLS = ["circle", "rect", "triangle", "diamond", "arrow", "roundRect"]; // so that series differ not only in colour
const MOST_SERIES = SERIES_COLOURS.length;
const STILL = { emphasis: { disabled: true } }; // a pointed dot keeps its size: after a click it would stay large

/** The tab with the figures. */
export class Figures {
  constructor(state, app) {
    Object.assign(this, { state, app });
    this.bars = [node("div", { class: "tools" }), node("div", { class: "tools" })];
    this.places = [0, 1].map((i) => node("div", { class: "chart", role: "img", "aria-label": i ? "A metric over a setting" : "Two metrics" }));
    this.notes = [node("p", { class: "note" }), node("p", { class: "note" })];
    this.root = node("section", { class: "figures", "aria-label": "Figures" },
      ...[0, 1].map((i) => node("figure", {}, node("h2", { text: i ? "A metric over a setting" : "Synchrony against likeness" }), this.bars[i], this.places[i], this.notes[i])));
    new ResizeObserver(() => (this.charts || []).forEach((chart) => chart.resize())).observe(this.root);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (this.root.isConnected) this.update(); });
  }

  pick(name, preferred, others) {
    const { table } = this.app, given = table.column(this.state.get(name));
    if (given && others.includes(given)) return given;
    return preferred.map((each) => table.column(each)).find((column) => column && others.includes(column)) || others[0];
  }

  /** The columns by which points get colours. */
  get colourings() {
    return [...this.app.table.varied, ...this.app.table.ofRole("pair")].filter((column) => column.isVaried && column.groups.length <= MOST_SERIES * 2 && column.name !== "pair");
  }

  async update() {
    const echarts = await import("./vendor/echarts.js");
    if (!this.root.isConnected) return;
    if (!this.charts) {
      this.charts = this.places.map((place) => echarts.init(place));
      this.charts.forEach((chart) => chart.on("click", (event) => { if (event.data && event.data.open) event.data.open(); }));
    }
    const { table } = this.app;
    if (!table.metrics.length) return;
    this.drawScatter();
    this.drawCurves();
  }

  get colours() {
    const style = getComputedStyle(document.documentElement), probe = node("i", { hidden: true });
    this.root.append(probe);
    const read = (name) => { probe.style.color = `var(${name})`; return getComputedStyle(probe).color; };
    const colours = { text: read("--text"), muted: read("--muted"), line: read("--line"), panel: read("--page") };
    probe.remove();
    return { ...colours, font: style.fontFamily };
  }

  axis(column, name) {
    const { text, muted, line } = this.colours;
    return {
      type: "value", scale: true, boundaryGap: ["4%", "4%"], name: [name ?? column.title, AIM_ARROWS[column.direction]].filter(Boolean).join(" "), nameLocation: "middle", nameGap: 34,
      nameTextStyle: { color: text, fontSize: 13 }, axisLabel: { color: muted, formatter: (value) => numberText(value) },
      axisLine: { lineStyle: { color: muted } }, splitLine: { lineStyle: { color: line, opacity: 0.6 } },
    };
  }

  get frame() {
    const { text, panel, line } = this.colours;
    return {
      animation: false, textStyle: { color: text, fontFamily: this.root.isConnected ? getComputedStyle(this.root).fontFamily : "" },
      grid: { left: 64, right: 20, top: 44, bottom: 52 },
      legend: { type: "scroll", top: 4, itemWidth: 16, itemHeight: 11, textStyle: { color: text } },
      tooltip: { trigger: "item", confine: true, backgroundColor: panel, borderColor: line, textStyle: { color: text }, renderMode: "richText", formatter: (event) => (event.data ? event.data.tip : "") },
    };
  }

  style(i) { return { color: SERIES_COLOURS[i % MOST_SERIES], symbol: SYMBOLS[i % SYMBOLS.length] }; }

  drawScatter() {
    const { table } = this.app, metrics = table.metrics, { state } = this;
    const y = this.pick("y", SYNC, metrics), x = this.pick("x", LIKENESS, metrics.filter((one) => one !== y).length ? metrics : [y]);
    const colourings = this.colourings;
    const by = this.pick("colour", ["guidance_scale", "num_inference_steps", "gender", "model"], colourings.length ? colourings : [null]);
    const names = metrics.map((column) => [column.name, column.word]);
    refilled(this.bars[0],
      choice("Up", names, y.name, (value) => state.set({ y: value })), choice("Across", names, x.name, (value) => state.set({ x: value })),
      ...(by ? [choice("Colour", colourings.map((column) => [column.name, column.word]), by.name, (value) => state.set({ colour: value }))] : []));
    const rows = [...table.shown].filter((row) => !x.isMissing(row) && !y.isMissing(row));
    const groups = by ? by.groups : [null];
    const series = groups.map((key, i) => ({
      type: "scatter", name: by ? by.keyLabel(key) : "records", ...this.style(i), itemStyle: { color: this.style(i).color, opacity: rows.length > 2000 ? 0.5 : 0.85 },
      symbolSize: rows.length > 2000 ? 6 : 10, cursor: "pointer", ...STILL,
      data: rows.filter((row) => !by || by.values[row] === key).map((row) => ({
        value: [x.values[row], y.values[row]], open: () => this.app.open(table.recordId(row)), record: table.recordId(row),
        tip: `${table.pairText(row)}\n${table.label(row)}\n${y.word} ${y.text(row)}\n${x.word} ${x.text(row)}`,
      })),
    })).filter((one) => one.data.length);
    this.charts[0].setOption({ ...this.frame, xAxis: this.axis(x), yAxis: { ...this.axis(y), nameGap: 46 }, series }, true);
    const missing = table.shown.length - rows.length;
    this.notes[0].textContent = `Each point is a record; a click opens it.${missing ? ` ${missing} records lack one of the two values.` : ""}`;
    this.places[0].dataset.points = rows.length;
  }

  drawCurves() {
    const { table, metric } = this.app, { state } = this;
    const settings = table.varied.filter((column) => column.isNumber);
    const numbers = settings.filter((column) => column.name !== "seed");
    const across = this.pick("setting", ["guidance_scale", "num_inference_steps"], numbers.length ? numbers : settings);
    this.places[1].hidden = !across || !metric;
    if (!across || !metric) {
      this.bars[1].replaceChildren();
      this.notes[1].textContent = "No setting with numbers differs between the records.";
      return;
    }
    const others = this.colourings.filter((column) => column !== across && column.name !== "clip");
    const by = state.get("series") === "none" ? null : this.pick("series", ["num_inference_steps", "gender"].filter((name) => name !== across.name), others.length ? others : [null]);
    refilled(this.bars[1],
      choice("Up", table.metrics.map((column) => [column.name, column.word]), metric.name, (value) => state.set({ metric: value })),
      choice("Across", settings.map((column) => [column.name, column.word]), across.name, (value) => state.set({ setting: value })),
      choice("Lines", [...others.map((column) => [column.name, column.word]), ["none", "one for all"]], by ? by.name : "none", (value) => state.set({ series: value })));
    const series = [];
    let fewest = Infinity;
    (by ? by.groups : [null]).forEach((key, i) => {
      const { color, symbol } = this.style(i), name = by ? by.keyLabel(key) : metric.word;
      const points = across.groups.map((value) => {
        const rows = [...table.shown].filter((row) => across.values[row] === value && (!by || by.values[row] === key));
        return { value, rows, mean: meanOver(table, rows, metric) };
      }).filter((point) => point.mean);
      if (!points.length) return;
      fewest = Math.min(fewest, ...points.map((point) => point.mean.units));
      const hasIntervals = points.every((point) => point.mean.interval);
      const where = (value) => [[across, value], ...(by ? [[by, key]] : [])];
      series.push({
        type: "line", name, symbol, symbolSize: hasIntervals ? 9 : 11, showSymbol: true, color, lineStyle: { color, width: 2 }, cursor: "pointer", z: 3, ...STILL,
        data: points.map((point) => ({
          value: [point.value, point.mean.mean], open: () => this.app.showWhere(where(point.value)), tip: this.pointText(across, point, name),
        })),
      });
      if (hasIntervals) series.push({ ...intervals(points, color), name });
      else series.push({
        type: "scatter", name, symbol, symbolSize: 7, cursor: "pointer", itemStyle: { color, opacity: 0.55 }, ...STILL,
        data: points.flatMap((point) => [...point.mean.ofUnits].map(([unit, value]) => this.unitPoint(unit, value, point, across, where(point.value)))),
      });
    });
    this.charts[1].setOption({ ...this.frame, xAxis: this.axis(across), yAxis: { ...this.axis(metric), nameGap: 46 }, series }, true);
    const { word } = unitsOf(table);
    this.notes[1].textContent = fewest < LEAST_UNITS
      ? `Lines are means over ${word}s, dots single ${word}s, each the mean of its records: with fewer than ${LEAST_UNITS} ${word}s an interval would say little. A click opens the videos.`
      : `Means over ${word}s with 95 % intervals (Student's t). A click opens the videos of a point.`;
  }

  pointText(across, point, name) {
    const { mean, interval, units, word } = point.mean;
    return `${name}\n${across.keyLabel(point.value)}\nmean ${numberText(mean)} of ${counted(units, word)}, ${counted(point.rows.length, "record")}${interval ? `\n${numberText(interval[0])} .. ${numberText(interval[1])}` : ""}`;
  }

  /** The dot of one clip or speaker: the value of its record, or the mean over its records, which a click shows together. */
  unitPoint(unit, value, point, across, where) {
    const { table, metric } = this.app, units = unitsOf(table), [column, key] = units.placeOf(unit);
    const rows = point.rows.filter((row) => units.keyOf(row) === unit && !metric.isMissing(row));
    const word = rows.length > 1 ? `mean of ${rows.length} records` : "1 record";
    return {
      value: [point.value, value], tip: `${column.keyText(key)}\n${across.keyLabel(point.value)}\n${metric.word} ${metric.valueText(value)}, ${word}`,
      open: () => (rows.length > 1 ? this.app.showWhere([...where, [column, key]]) : this.app.open(table.recordId(rows[0]))),
    };
  }
}

/** Bars from the lower to the upper end of intervals. */
function intervals(points, color) {
  return {
    type: "custom", silent: true, z: 2, data: points.map((point) => [point.value, ...point.mean.interval]),
    renderItem: (_, api) => {
      const [low, high] = [1, 2].map((i) => api.coord([api.value(0), api.value(i)]));
      const line = (x1, y1, x2, y2) => ({ type: "line", shape: { x1, y1, x2, y2 }, style: { stroke: color, lineWidth: 1.5 } });
      return { type: "group", children: [line(...low, ...high), line(low[0] - 5, low[1], low[0] + 5, low[1]), line(high[0] - 5, high[1], high[0] + 5, high[1])] };
    },
    encode: { x: 0, y: [1, 2] },
  };
}
