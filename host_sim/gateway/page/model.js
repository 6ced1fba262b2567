// What the page knows: sources, series and events. No document in here.

export const WINDOW_MS = 15 * 60 * 1000;
const POINTS_MAX = 5000; // per series
const SERIES_MAX = 12; // per chart
const CHARTS_MAX = 48;
const EVENTS_MAX = 50;

const UNITS = [
  [/(^|[._])cpu([._]|$)|_pct$|percent|humidity/, "%"],
  [/voltage|_v$|battery/, "V"],
  [/rssi|dbm/, "dBm"],
  [/(_ms|latency)$/, "ms"],
  [/temp(erature)?$|_c$/, "°C"],
  [/pressure$/, "hPa"],
  [/uptime|_s$/, "s"],
];

// A guess from the metric's name, the same way Plexus dashboards guess.
export function unitOf(metric) {
  const found = UNITS.find(([pattern]) => pattern.test(metric.toLowerCase()));
  return found ? found[1] : "";
}

export class Model {
  constructor() {
    this.sources = new Map(); // source_id -> {online, lastSeenMs}
    this.charts = new Map(); // metric -> Map(series key -> series)
    this.events = [];
    this.order = []; // sources in the order in which they were first drawn
    this.hidden = 0; // readings that no chart had room for
    this.newestMs = 0;
  }

  takeInit(message) {
    for (const source of message.sources)
      this.sources.set(source.source_id, { online: source.online, lastSeenMs: source.last_seen_ms });
  }

  takeStatus(message, nowMs) {
    const known = this.sources.get(message.source_id);
    const lastSeenMs = message.status === "online" || !known ? nowMs : known.lastSeenMs;
    this.sources.set(message.source_id, { online: message.status === "online", lastSeenMs });
  }

  takePoint(point, nowMs, isLive) {
    if (isLive) this.sources.set(point.source_id, { online: true, lastSeenMs: nowMs });
    if (point.class === "event") this.takeEvent(point);
    else this.takeNumber(point);
  }

  takeEvent(point) {
    this.events.unshift(point);
    this.events.sort((a, b) => b.timestamp - a.timestamp);
    this.events.length = Math.min(this.events.length, EVENTS_MAX);
  }

  takeNumber(point) {
    const series = this.seriesOf(point);
    if (!series) { this.hidden += 1; return; }
    this.newestMs = Math.max(this.newestMs, point.timestamp);
    insert(series, point.timestamp, point.value);
  }

  seriesOf(point) {
    let chart = this.charts.get(point.metric);
    if (!chart) {
      if (this.charts.size >= CHARTS_MAX) return null;
      this.charts.set(point.metric, (chart = new Map()));
    }
    const tags = Object.entries(point.tags || {});
    const key = JSON.stringify([point.source_id, tags]);
    if (!chart.has(key)) {
      if (chart.size >= SERIES_MAX) return null;
      const label = [point.source_id, ...tags.map(([name, value]) => `${name}=${value}`)].join("  ");
      chart.set(key, { source: point.source_id, label, color: this.colorOf(point.source_id, chart), times: [], values: [] });
    }
    return chart.get(key);
  }

  // A source keeps its colour from chart to chart, unless another series there has it already.
  colorOf(source, chart) {
    if (!this.order.includes(source)) this.order.push(source);
    const taken = new Set([...chart.values()].map((series) => series.color));
    let index = this.order.indexOf(source);
    while (taken.has(index)) index += 1;
    return index;
  }

  // The window ends at the newest reading, so that a device with a wrong clock is still seen.
  trim() {
    const fromMs = this.newestMs - WINDOW_MS;
    for (const chart of this.charts.values())
      for (const series of chart.values()) {
        let old = Math.max(0, series.times.length - POINTS_MAX);
        while (old < series.times.length - 1 && series.times[old] < fromMs) old += 1;
        if (old) { series.times.splice(0, old); series.values.splice(0, old); }
      }
  }
}

// Keeps times ascending; the same time again replaces, so history and live data may overlap.
function insert(series, timeMs, value) {
  let at = series.times.length;
  while (at > 0 && series.times[at - 1] > timeMs) at -= 1;
  if (at > 0 && series.times[at - 1] === timeMs) series.values[at - 1] = value;
  else { series.times.splice(at, 0, timeMs); series.values.splice(at, 0, value); }
}
