// Throughput and waiting times, of the last hour or day, from what the stream brings: plain SVG.
// Rule: where nothing is known a line has a gap; what stands under the pointer is said in words below.

import { minute } from "../format.js";
import { html, useState } from "../html.js";
import { Panel } from "../parts.js";
import { recent, today } from "../store.js";

// The least of 1, 2, 5, 10, 20 ... that is above all values, so that the axis has round numbers.
function ceiling(most) {
  for (let step = 1; ; step *= 10) for (const one of [step, 2 * step, 5 * step]) if (one >= most) return one;
}

const isKnown = (value) => value !== null && value !== undefined;
const high = (value, top) => 100 - (value / top) * 100;

// A path over the known values.
const line = (values, top) => values.map((value, index) => (isKnown(value) ? `${isKnown(values[index - 1]) ? "L" : "M"}${index} ${high(value, top)}` : "")).join("");

// A path over those that stand alone, as dots: lines end in round caps.
const dots = (values, top) => values.map((value, index) => (isKnown(value) && !isKnown(values[index - 1]) && !isKnown(values[index + 1]) ? `M${index} ${high(value, top)}h.01` : "")).join("");

function Chart({ title, rows, series, unit }) {
  const [looked, look] = useState(-1);
  const last = rows.length - 1;
  const at = looked < 0 || looked > last ? last : looked;
  const values = series.map(({ of }) => rows.map(of));
  const top = ceiling(Math.max(1, ...values.flat().filter((value) => value > 0)));
  const when = (index) => (rows[index] ? minute(rows[index].at_ms, today.value) : "");
  const value = (index) => (!isKnown(values[index][at]) ? "–" : `${unit ? +values[index][at].toPrecision(2) : values[index][at]}${unit}`);
  const point = ({ clientX, currentTarget }) => {
    const { left, width } = currentTarget.getBoundingClientRect();
    look(Math.max(0, Math.min(last, Math.round(((clientX - left) / width) * last))));
  };
  const step = (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    look(Math.max(0, Math.min(last, at + by)));
  };
  const told = series.map(({ name }, index) => `${name} ${value(index)}`).join(", ");
  return html`<figure class="chart"><figcaption>${title}</figcaption>
    <div class="plot"><span class="high">${top}${unit}</span><svg viewBox=${`0 0 ${Math.max(1, last)} 100`} preserveAspectRatio="none" role="img" aria-label=${`${title}; ${when(at)}: ${told}`} tabindex="0"
      onPointerMove=${point} onPointerLeave=${() => look(-1)} onKeyDown=${step} onBlur=${() => look(-1)}>
      ${[0, 50, 100].map((y) => html`<path class="grid" d=${`M0 ${y}H${last}`} />`)}
      ${looked >= 0 && html`<path class="grid" d=${`M${at} 0V100`} />`}
      ${series.map(({ color }, index) => html`<path d=${line(values[index], top)} style=${{ stroke: `var(${color})` }} /><path class="dot" d=${dots(values[index], top)} style=${{ stroke: `var(${color})` }} />`)}</svg></div>
    <div class="axis"><span>${when(0)}</span><span>${when(last >> 1)}</span><span>${when(last)}</span></div>
    <p class="key"><b>${looked < 0 ? "last" : when(at)}</b>${series.map(({ name, color }, index) => html`<span><i style=${{ background: `var(${color})` }}></i> ${name} ${value(index)}</span>`)}</p></figure>`;
}

export function Charts() {
  const [range, set] = useState("hour");
  const rows = recent.value?.[range] ?? [];
  if (!recent.value) return null;
  const tab = (name, label) => html`<button type="button" aria-pressed=${range === name} onClick=${() => set(name)}>${label}</button>`;
  return html`<${Panel} title="Throughput and waiting" wide aside=${html`<span class="tabs">${tab("hour", "1 h")}${tab("day", "24 h")}</span>`}>
    <div class="charts" key=${range}>
      <${Chart} title=${range === "hour" ? "jobs per minute" : "jobs per quarter of an hour"} unit="" rows=${rows} series=${[
        { name: "succeeded", color: "--good", of: (row) => row.succeeded }, { name: "failed", color: "--bad", of: (row) => row.failed }]} />
      <${Chart} title="waited until claimed" unit=" s" rows=${rows} series=${[
        { name: "median", color: "--accent", of: (row) => row.wait_p50_s }, { name: "95 of 100 within", color: "--warn", of: (row) => row.wait_p95_s }]} />
    </div><//>`;
}
