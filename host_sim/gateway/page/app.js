// Draws the model. Everything that a device named is written with textContent only.
import { Commands, Pictures } from "/commands.js";
import { Model, unitOf } from "/model.js";

const PING_MS = 20000;
const RETRY_MS = 2000;
const HEIGHT = 190;
const model = new Model();
const drawn = new Map(); // metric -> {card, plot, legend, shape}
const tiles = new Map();
let chosen = null; // source_id whose data is shown, null for all
let clockOffsetMs = 0;
let drawAsked = false;

const $ = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");

function make(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
}

const commands = new Commands($("commands"), make);
const pictures = new Pictures($("pictures"), make);

// --- the socket ------------------------------------------------------------------

function connect() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return setLink("down", "This address lacks its token. Open the one that the gateway printed.");
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const socket = new WebSocket(`${scheme}://${location.host}/ws/browser`);
  const say = (message) => socket.readyState === 1 && socket.send(JSON.stringify(message));
  const pinging = setInterval(() => say({ type: "ping" }), PING_MS);
  let isLive = false;
  socket.onopen = () => say({ type: "share_auth", token });
  socket.onmessage = (event) => {
    const message = JSON.parse(event.data);
    isLive = take(message, isLive);
    if (message.type === "init" || message.type === "telemetry") say({ type: "ready" });
  };
  socket.onclose = (event) => {
    clearInterval(pinging);
    if (event.code === 1008) return setLink("down", "The gateway refused this address. Open the one that it printed last.");
    setLink("down", "not connected, trying again");
    setTimeout(connect, RETRY_MS);
  };
}

// Returns whether what follows is live: the first batch after init is history.
function take(message, isLive) {
  const nowMs = Date.now() + clockOffsetMs;
  if (message.type === "init") {
    clockOffsetMs = message.server_time_ms - Date.now();
    model.takeInit(message);
    commands.takeInit(message.commands);
    setLink("live", "live");
  } else if (message.type === "telemetry") {
    for (const point of message.points) model.takePoint(point, nowMs, isLive);
    isLive = true;
  } else if (message.type === "event") model.takePoint(message, nowMs, true);
  else if (message.type === "source_status") { model.takeStatus(message, nowMs); commands.takeStatus(message); }
  else if (message.type === "command_run") commands.takeRun(message.run);
  else if (message.type === "video_frame") pictures.take(message);
  else return isLive;
  askDraw();
  return isLive;
}

function setLink(state, text) {
  $("link").dataset.state = state;
  $("link").textContent = text;
}

// --- drawing ---------------------------------------------------------------------

function askDraw() {
  if (drawAsked) return;
  drawAsked = true;
  requestAnimationFrame(() => { drawAsked = false; draw(); });
}

function draw() {
  model.trim();
  drawSources();
  for (const [metric, chart] of model.charts) {
    const shown = [...chart.values()].filter((series) => chosen === null || series.source === chosen);
    drawTile(metric, shown);
    drawChart(metric, shown);
  }
  drawEvents();
  commands.draw(chosen);
  pictures.draw(chosen);
  $("empty").hidden = model.charts.size > 0 || model.events.length > 0 || !$("commands").hidden || !$("pictures").hidden;
  if (model.hidden) notice(`${model.hidden} readings are stored but not drawn: the page shows at most 48 metrics with 12 series each.`);
}

function notice(text) {
  $("notice").hidden = false;
  $("notice").textContent = text;
}

function drawSources() {
  const rows = [...model.sources].sort(([a], [b]) => (a < b ? -1 : 1)).map(([id, source]) => {
    const button = make("button");
    button.type = "button";
    button.setAttribute("aria-pressed", String(chosen === id));
    button.onclick = () => { chosen = chosen === id ? null : id; askDraw(); };
    const dot = make("span", source.online ? "dot online" : "dot");
    dot.title = source.online ? "online" : "offline";
    button.append(dot, make("span", "name", id), make("span", "seen", `seen ${ago(source.lastSeenMs)}`));
    const item = make("li");
    item.append(button);
    return item;
  });
  const focused = [...$("sources").children].indexOf(document.activeElement?.closest("li"));
  $("sources").replaceChildren(...rows);
  if (focused >= 0) rows[focused]?.firstChild.focus();
}

function ago(timeMs) {
  const seconds = Math.max(0, Math.round((Date.now() + clockOffsetMs - timeMs) / 1000));
  if (seconds < 3) return "now";
  if (seconds < 90) return `${seconds} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  return seconds < 129600 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86400)} days ago`;
}

function drawTile(metric, shown) {
  let tile = tiles.get(metric);
  if (!tile) {
    tile = { card: make("div", "tile"), value: make("span", "value"), unit: make("span", "unit", unitOf(metric)), from: make("div", "from") };
    const name = make("div", "name", metric);
    name.title = metric;
    tile.card.append(name, tile.value, tile.unit, tile.from);
    tiles.set(metric, tile);
    $("tiles").append(tile.card);
  }
  const newest = shown.reduce((best, s) => (!best || s.times.at(-1) > best.times.at(-1) ? s : best), null);
  tile.card.hidden = !newest;
  if (!newest) return;
  tile.value.textContent = short(newest.values.at(-1));
  tile.from.textContent = newest.label;
}

function short(number) {
  if (Number.isInteger(number) && Math.abs(number) < 1e9) return String(number);
  const size = Math.abs(number);
  if (size !== 0 && (size < 0.001 || size >= 1e9)) return number.toExponential(3);
  return String(Number(number.toFixed(size >= 1000 ? 1 : size >= 10 ? 2 : 3)));
}

const COLORS = {
  light: ["#0b7a63", "#b4540a", "#3d5bb8", "#a02a5b", "#6a7d00", "#6b46a8"],
  dark: ["#4cc9a6", "#f0a05a", "#8aa5ff", "#f07aa8", "#c2d04a", "#b79cf0"],
};
const color = (index) => { const all = dark.matches ? COLORS.dark : COLORS.light; return all[index % all.length]; };

function drawChart(metric, shown) {
  if (!window.uPlot) return notice("Charts need uPlot, which is not installed. Run: npm install --prefix host_sim");
  let chart = drawn.get(metric);
  if (!chart) drawn.set(metric, (chart = makeChart(metric)));
  chart.card.hidden = shown.length === 0;
  if (!shown.length) return;
  const shape = JSON.stringify([shown.map((s) => s.label), dark.matches]);
  const data = joined(shown);
  if (chart.shape === shape) return chart.plot.setData(data);
  chart.shape = shape;
  chart.plot?.destroy();
  chart.plot = new uPlot(options(shown, chart.room.clientWidth), data, chart.room);
  chart.legend.replaceChildren(...shown.map((series) => {
    const item = make("span");
    const swatch = make("i", "swatch");
    swatch.style.background = color(series.color);
    item.append(swatch, make("span", "name", series.label));
    return item;
  }));
}

function makeChart(metric) {
  const chart = { card: make("article", "chart"), room: make("div", "plot"), legend: make("div", "legend"), plot: null, shape: "" };
  const title = make("h3", "", metric);
  title.title = metric;
  if (unitOf(metric)) title.append(make("span", "unit", unitOf(metric)));
  chart.card.append(title, chart.legend, chart.room);
  $("charts").append(chart.card);
  new ResizeObserver(() => chart.plot?.setSize({ width: chart.room.clientWidth, height: HEIGHT })).observe(chart.room);
  return chart;
}

function joined(shown) {
  if (shown.length === 1) return [shown[0].times.map((t) => t / 1000), shown[0].values];
  return uPlot.join(shown.map((s) => [s.times.map((t) => t / 1000), s.values]));
}

function options(shown, width) {
  const style = getComputedStyle(document.documentElement);
  const quiet = style.getPropertyValue("--quiet").trim();
  const line = style.getPropertyValue("--line").trim();
  const axis = { stroke: quiet, font: "11px system-ui, sans-serif", grid: { stroke: line, width: 1 }, ticks: { show: false } };
  return {
    width, height: HEIGHT, padding: [10, 28, 0, 0], legend: { show: false }, cursor: { drag: { setScale: false }, points: { size: 6 } },
    axes: [{ ...axis, space: 90, size: 26, values: (_, ticks) => ticks.map(clock) }, { ...axis, size: 64, values: (_, ticks) => ticks.map(level(ticks)) }],
    series: [{}, ...shown.map((series) => ({
      stroke: color(series.color), width: 1.5, spanGaps: true, points: { show: (u, s) => u.data[s].length < 40, size: 5 },
    }))],
  };
}

// Time of day; with seconds only where the ticks need them.
// The ticks of an axis with just as many decimals as tell them apart.
function level(ticks) {
  const step = ticks.length > 1 ? ticks[1] - ticks[0] : 1;
  const decimals = Math.min(6, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)));
  return (tick) => (tick === null ? "" : tick.toFixed(decimals));
}

function clock(seconds) {
  const text = new Date(seconds * 1000).toTimeString().slice(0, 8);
  return text.endsWith(":00") ? text.slice(0, 5) : text;
}

function drawEvents() {
  const shown = model.events.filter((event) => chosen === null || event.source_id === chosen);
  $("events-room").hidden = shown.length === 0;
  $("events").replaceChildren(...shown.map((event) => {
    const row = make("li");
    const time = new Date(event.timestamp).toTimeString().slice(0, 8);
    const body = typeof event.value === "string" ? event.value : JSON.stringify(event.value);
    row.append(make("span", "quiet", time), make("span", "", event.source_id), make("span", "", event.metric), make("span", "body", body));
    return row;
  }));
}

dark.addEventListener("change", askDraw);
addEventListener("hashchange", () => location.reload());
setInterval(askDraw, 5000); // "seen … ago" grows without any message
connect();
