// Who held a job, and what it did there: one lane for each runner and server, over time.

import { clock, span } from "../format.js";
import { html } from "../html.js";
import { nameOf, nowMs } from "../store.js";

const LEAST = 0.4;

// Lanes of a job's stretches: where it waited, each runner that held it, each server that ran it.
function lanesOf(stretches) {
  const lanes = new Map();
  const add = (name, one) => lanes.set(name, [...(lanes.get(name) ?? []), one]);
  for (const one of stretches) {
    add(one.owner || "nobody", one);
    if (one.backend) add(one.backend, one);
  }
  return [...lanes];
}

export function Gantt({ stretches, leases, titles, job }) {
  if (!stretches.length) return html`<p class="none">Nobody has held it yet.</p>`;
  const from = stretches[0].from_ms;
  const to = job.ended_at_ms || nowMs.value;
  const at = (ms) => ((ms - from) / Math.max(1, to - from)) * 100;
  return html`<div class="gantt">${lanesOf(stretches).map(([name, spans]) => html`<div class="lane" key=${name}><span class="name" title=${name}>${titles[name] ?? nameOf(name)}</span><div class="track">
    ${spans.map((one) => {
      const until = one.until_ms ?? to;
      const told = `${one.state}${one.attempt ? `, attempt ${one.attempt}` : ""}: ${clock(one.from_ms)} to ${one.until_ms ? clock(until) : "now"}, ${span((until - one.from_ms) / 1000)}`;
      return html`<span class="span ${one.state}" style=${{ left: `${at(one.from_ms)}%`, width: `${Math.max(LEAST, at(until) - at(one.from_ms))}%` }} title=${told} tabindex="0" role="img" aria-label=${told}></span>`;
    })}${leases.filter((lease) => lease.taken_from === name).map((lease) => {
      const told = `From ${clock(lease.from_ms)} on the log refuses what ${name} appends: ${lease.owner} has the job, with token ${lease.epoch}.`;
      return html`<span class="mark fenced" style=${{ left: `${at(lease.from_ms)}%` }} title=${told} tabindex="0" role="img" aria-label=${told}></span>`;
    })}</div></div>`)}
    <div class="lane"><span class="name"></span><div class="axis"><span>${clock(from)}</span><span>${span((to - from) / 1000)}</span><span>${clock(to)}</span></div></div>
    <p class="key">${["waiting", "claimed", "running", "recovered"].map((kind) => html`<span><i class="span ${kind}"></i> ${kind}</span>`)}<span><i class="span fenced"></i> fenced: appends are refused from here on</span></p></div>`;
}
