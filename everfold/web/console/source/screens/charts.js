// Throughput and waiting times, of the last hour or day, from what the stream brings.

import uPlot from "uplot";

import { html, useEffect, useRef, useState } from "../html.js";
import { Panel } from "../parts.js";
import { farm } from "../store.js";

// A canvas takes plain colours only: the one of this scheme is asked of an element.
function css(name, alpha = 1) {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = `var(${name})`;
  const [red, green, blue] = getComputedStyle(probe).color.match(/[\d.]+/g);
  probe.remove();
  return `rgba(${red}, ${green}, ${blue}, ${alpha})`;
}

function Chart({ title, rows, series, unit }) {
  const place = useRef();
  const chart = useRef();
  const data = [rows.map((row) => row.at_ms / 1000), ...series.map(({ of }) => rows.map(of))];
  useEffect(() => {
    const axis = { stroke: css("--quiet"), grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line") } };
    const options = {
      width: place.current.clientWidth, height: 160, cursor: { drag: { x: false, y: false } }, legend: { live: true },
      axes: [axis, { ...axis, size: 54, values: (_, ticks) => ticks.map((tick) => `${tick}${unit}`) }],
      scales: { y: { range: (_, low, high) => [0, Math.max(high, 1)] } },
      series: [{}, ...series.map(({ name, color }) => ({ label: name, stroke: css(color), width: 2, fill: css(color, 0.12), points: { show: false } }))],
    };
    chart.current = new uPlot(options, data, place.current);
    const sized = new ResizeObserver(() => chart.current?.setSize({ width: place.current.clientWidth, height: 160 }));
    sized.observe(place.current);
    return () => {
      sized.disconnect();
      chart.current.destroy();
    };
  }, []);
  useEffect(() => chart.current?.setData(data), [rows]);
  const told = series.map(({ name, of }) => `${name} ${rows.length ? of(rows[rows.length - 1]) ?? 0 : 0}${unit}`).join(", ");
  return html`<figure class="chart" role="img" aria-label=${`${title}; now: ${told}`}><figcaption>${title}</figcaption><div ref=${place}></div></figure>`;
}

export function Charts() {
  const [range, set] = useState("hour");
  const rows = farm.value.recent?.[range] ?? [];
  if (!farm.value.recent) return null;
  const tab = (name, label) => html`<button type="button" aria-pressed=${range === name} onClick=${() => set(name)}>${label}</button>`;
  return html`<${Panel} title="Throughput and waiting" wide aside=${html`<span class="tabs">${tab("hour", "1 h")}${tab("day", "24 h")}</span>`}>
    <div class="charts" key=${range}>
      <${Chart} title=${range === "hour" ? "jobs per minute" : "jobs per quarter of an hour"} unit="" rows=${rows} series=${[
        { name: "succeeded", color: "--good", of: (row) => row.succeeded }, { name: "failed", color: "--bad", of: (row) => row.failed }]} />
      <${Chart} title="waited until claimed" unit=" s" rows=${rows} series=${[
        { name: "median", color: "--accent", of: (row) => row.wait_p50_s }, { name: "95 of 100", color: "--warn", of: (row) => row.wait_p95_s }]} />
    </div><//>`;
}
