"use strict";

// The cine player, the charts and what print needs of both. All data stands in the page; nothing is fetched.

const page = JSON.parse(document.getElementById("page-data").textContent);
const PRINTED_CHART = { width: 226, height: 155 }; // CSS pixels on A4, three side by side
const STILL_WIDTH = 360; // pixels
const MAX_ZOOM = 16;

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function integersOf(base64) {
  return new Int16Array(bytesOf(base64).buffer);
}

/** One slice: its pictures, landmarks and strain, drawn on any canvas. */
class Slice {
  constructor(record) {
    Object.assign(this, record);
    this.landmarks = integersOf(record.landmarks);
    this.strains = { circumferential: integersOf(record.circumferential), radial: integersOf(record.radial) };
    this.image = new Image();
    this.image.src = record.sheet;
  }

  get frameCount() { return this.frameTimesMs.length; }

  /** Time that a frame stays, in ms; the last one as long as the others do on average. */
  durationMs(frame) {
    const times = this.frameTimesMs;
    const last = times.length - 1;
    return frame < last ? times[frame + 1] - times[frame] : (times[last] - times[0]) / last;
  }

  phaseOf(frame) {
    if (frame === this.edFrame) return frame === this.esFrame ? "ED = ES" : "ED";
    return frame === this.esFrame ? "ES" : "";
  }

  index(frame, spoke, ring) { return (frame * this.spokes + (spoke % this.spokes)) * this.rings + ring; }

  /** Canvas coordinates of a landmark, or null where it is not known. Pixel (0, 0) has its center half a pixel in. */
  point(frame, spoke, ring, scale) {
    const at = 2 * this.index(frame, spoke, ring);
    if (this.landmarks[at] === page.missing) return null;
    return [
      (this.landmarks[at] / page.stepsPerPx + 0.5) * scale,
      (this.landmarks[at + 1] / page.stepsPerPx + 0.5) * scale * this.pixelAspect,
    ];
  }

  draw(canvas, width, frame, overlay) {
    const scale = Math.min(width / this.columns, MAX_ZOOM);
    canvas.width = Math.round(this.columns * scale);
    canvas.height = Math.round(this.rows * scale * this.pixelAspect);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    const left = (frame % this.sheetColumns) * this.columns;
    const top = Math.floor(frame / this.sheetColumns) * this.rows;
    context.drawImage(this.image, left, top, this.columns, this.rows, 0, 0, canvas.width, canvas.height);
    if (overlay === "landmarks") this.drawLandmarks(context, frame, scale);
    if (overlay === "landmarks" || overlay === "contours") this.drawContours(context, frame, scale);
    if (overlay in this.strains) this.drawStrain(context, frame, scale, overlay);
  }

  drawContours(context, frame, scale) {
    context.lineWidth = Math.max(1.5, canvasUnit(context));
    for (const ring of [0, this.rings - 1]) {
      context.strokeStyle = page.ringColors[ring];
      context.beginPath();
      let isDown = false;
      for (let spoke = 0; spoke <= this.spokes; spoke++) {
        const point = this.point(frame, spoke, ring, scale);
        if (point && isDown) context.lineTo(...point);
        else if (point) context.moveTo(...point);
        isDown = point !== null;
      }
      context.stroke();
    }
  }

  drawLandmarks(context, frame, scale) {
    const radius = 1.5 * canvasUnit(context);
    for (let ring = 0; ring < this.rings; ring++) {
      context.fillStyle = page.ringColors[ring];
      for (let spoke = 0; spoke < this.spokes; spoke++) {
        const point = this.point(frame, spoke, ring, scale);
        if (!point) continue;
        context.beginPath();
        context.arc(...point, radius, 0, 2 * Math.PI);
        context.fill();
      }
    }
  }

  /** Fill the wall between neighboring landmarks with the color of their mean strain. */
  drawStrain(context, frame, scale, component) {
    const strain = this.strains[component];
    context.globalAlpha = 0.78;
    for (let spoke = 0; spoke < this.spokes; spoke++) {
      for (let ring = 0; ring < this.rings - 1; ring++) {
        const corners = [[spoke, ring], [spoke + 1, ring], [spoke + 1, ring + 1], [spoke, ring + 1]];
        const points = corners.map(([s, r]) => this.point(frame, s, r, scale));
        const values = corners.map(([s, r]) => strain[this.index(frame, s, r)]);
        if (points.includes(null) || values.includes(page.missing)) continue;
        const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
        context.fillStyle = context.strokeStyle = colorOf(component, (100 * mean) / page.stepsPerUnitStrain);
        context.lineWidth = 0.5 * canvasUnit(context); // closes the seams between neighbors
        context.beginPath();
        points.forEach((point) => context.lineTo(...point));
        context.closePath();
        context.fill();
        context.stroke();
      }
    }
    context.globalAlpha = 1;
  }
}

/** A line width or radius that looks the same on small and large canvases. */
function canvasUnit(context) { return Math.max(1, context.canvas.width / 300); }

function colorOf(component, percent) {
  const { low, high, colors } = page.scales[component];
  const place = Math.round(((percent - low) / (high - low)) * (colors.length - 1));
  return colors[Math.min(colors.length - 1, Math.max(0, place))];
}

/** The cine with its controls. */
class Player {
  constructor(slices) {
    this.slices = slices;
    this.element = (id) => document.getElementById(id);
    this.tabs = [...document.querySelectorAll("[role=tab]")];
    this.isPlaying = false;
    this.element("play").addEventListener("click", () => this.toggle());
    this.element("frame").addEventListener("input", (event) => { this.pause(); this.show(Number(event.target.value)); });
    this.element("overlay").addEventListener("change", () => { this.showKey(); this.show(this.frame); });
    this.tabs.forEach((tab, place) => {
      tab.addEventListener("click", () => this.select(place));
      tab.addEventListener("keydown", (event) => this.moveTab(event, place));
    });
    new ResizeObserver(() => this.show(this.frame)).observe(this.element("cine").parentElement);
    slices.forEach((slice) => slice.image.addEventListener("load", () => this.show(this.frame)));
    this.select(0);
    this.showKey();
  }

  select(place) {
    this.slice = this.slices[place];
    this.tabs.forEach((tab, index) => {
      tab.setAttribute("aria-selected", String(index === place));
      tab.tabIndex = index === place ? 0 : -1;
    });
    this.element("cine-panel").setAttribute("aria-labelledby", `tab-${place}`);
    this.element("frame").max = this.slice.frameCount - 1;
    this.show(Math.min(this.frame ?? this.slice.edFrame, this.slice.frameCount - 1));
  }

  moveTab(event, place) {
    const last = this.tabs.length - 1;
    const target = { ArrowRight: place === last ? 0 : place + 1, ArrowLeft: place === 0 ? last : place - 1, Home: 0, End: last }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    this.select(target);
    this.tabs[target].focus();
  }

  show(frame) {
    this.frame = frame;
    const { slice } = this;
    const timeMs = slice.frameTimesMs[frame];
    const phase = slice.phaseOf(frame);
    const words = `frame ${frame + 1} of ${slice.frameCount}, ${timeMs.toFixed(0)} ms${phase && ", "}${phase}`;
    this.element("clock").textContent = words;
    this.element("frame").value = frame;
    this.element("frame").setAttribute("aria-valuetext", words);
    this.element("cine").setAttribute("aria-label", `Tagged cine of slice ${slice.name} with ${this.element("overlay").value}`);
    const width = Math.max(1, this.element("cine").clientWidth) * Math.min(2, window.devicePixelRatio || 1);
    slice.draw(this.element("cine"), width, frame, this.element("overlay").value);
    markTime(timeMs);
  }

  showKey() {
    const overlay = this.element("overlay").value;
    const key = this.element("key");
    key.replaceChildren();
    if (overlay in page.scales) {
      const { low, high, colors } = page.scales[overlay];
      const ramp = document.createElement("span");
      ramp.className = "ramp";
      ramp.style.background = `linear-gradient(to right, ${colors.join(",")})`;
      key.append(`${low} %`, ramp, `+${high} %`);
      key.setAttribute("aria-label", `Color key: ${overlay} strain from ${low} to ${high} percent`);
    } else if (overlay !== "none") {
      const dots = page.ringColors.map((color) => {
        const dot = document.createElement("span");
        dot.className = "dot";
        dot.style.background = color;
        return dot;
      });
      const shown = overlay === "contours" ? [dots[0], dots[dots.length - 1]] : dots;
      const rings = document.createElement("span");
      rings.append(...shown);
      key.append("endocardium", rings, "epicardium");
      key.setAttribute("aria-label", "Color key: landmarks from endocardium to epicardium");
    }
  }

  toggle() { if (this.isPlaying) this.pause(); else this.play(); }

  play() {
    this.isPlaying = true;
    this.element("play").textContent = "Pause";
    this.dueMs = performance.now() + this.stayMs();
    requestAnimationFrame((nowMs) => this.tick(nowMs));
  }

  pause() {
    this.isPlaying = false;
    this.element("play").textContent = "Play";
  }

  stayMs() { return this.slice.durationMs(this.frame) / Number(this.element("speed").value); }

  tick(nowMs) {
    if (!this.isPlaying) return;
    if (nowMs >= this.dueMs) {
      this.show((this.frame + 1) % this.slice.frameCount);
      this.dueMs = nowMs + this.stayMs();
    }
    requestAnimationFrame((laterMs) => this.tick(laterMs));
  }
}

/** Move the line over every chart to the time of the frame on show. */
function markTime(timeMs) {
  for (const [key, figure] of Object.entries(page.charts)) {
    const plot = document.getElementById(`chart-${key}`);
    const line = plot.querySelector(".now");
    if (!line) continue;
    const [first, last] = figure.layout.xaxis.range;
    const margin = figure.layout.margin;
    const share = Math.min(1, Math.max(0, (timeMs - first) / (last - first)));
    line.style.left = `${margin.l + share * (plot.clientWidth - margin.l - margin.r) - 1}px`;
    line.style.top = `${margin.t}px`;
    line.style.height = `${plot.clientHeight - margin.t - margin.b}px`;
  }
}

async function drawCharts(player) {
  try {
    const packed = new Blob([bytesOf(document.getElementById("plotly").textContent)]);
    const code = await new Response(packed.stream().pipeThrough(new DecompressionStream("gzip"))).text();
    const script = document.createElement("script");
    script.textContent = code;
    document.head.append(script);
    for (const [key, figure] of Object.entries(page.charts)) {
      const plot = document.getElementById(`chart-${key}`);
      await Plotly.newPlot(plot, figure.data, figure.layout, { displayModeBar: false, responsive: true });
      const line = document.createElement("div");
      line.className = "now";
      plot.append(line);
    }
    player.show(player.frame);
  } catch (error) {
    document.getElementById("no-charts").hidden = false;
    throw error;
  }
}

function resizeCharts(size) {
  if (!window.Plotly) return;
  for (const key of Object.keys(page.charts)) Plotly.relayout(`chart-${key}`, size);
}

function drawStills(slices) {
  for (const canvas of document.querySelectorAll(".still")) {
    const slice = slices[canvas.dataset.slice];
    if (canvas.dataset.phase === "ED") slice.draw(canvas, STILL_WIDTH, slice.edFrame, "contours");
    else slice.draw(canvas, STILL_WIDTH, slice.esFrame, "circumferential");
  }
}

const slices = page.slices.map((record) => new Slice(record));
const player = new Player(slices);
const whenReady = Promise.all([drawCharts(player), ...slices.map((slice) => slice.image.decode())]);
whenReady.then(() => { document.body.dataset.ready = "true"; });
window.addEventListener("beforeprint", () => { resizeCharts(PRINTED_CHART); drawStills(slices); });
window.addEventListener("afterprint", () => { resizeCharts({ width: null, height: null }); player.show(player.frame); });
