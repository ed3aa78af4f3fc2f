// The graph of a job as a drawing: the node that runs is lit, what failed is marked.
// Rule: nodes stand in columns by how far they are from the inputs; no layout library.

import { act } from "../api.js";
import { html, useState } from "../html.js";
import { number, read, written } from "../numbers.js";
import { say } from "../parts.js";
import { address, go } from "../router.js";
import { may } from "../store.js";

const [WIDE, HIGH, GAP, ROW] = [170, 34, 50, 50];

const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

// The column of each node: one more than the furthest of those it takes from. A circle ends at its size.
function columns({ nodes, edges }) {
  const column = new Map(nodes.map((node) => [node.id, 0]));
  for (let round = 0; round < nodes.length; round++) {
    let moved = false;
    for (const { from_node: from, to_node: to } of edges) {
      if (!column.has(from) || !column.has(to) || column.get(to) > column.get(from)) continue;
      column.set(to, Math.min(column.get(from) + 1, nodes.length));
      moved = true;
    }
    if (!moved) break;
  }
  return column;
}

function state(node, job) {
  if (job.error?.node === node.id || job.problems?.some((one) => one.node === node.id)) return "bad";
  if (job.status === "running" && job.node === node.id) return "lit";
  if (job.cached?.includes(node.id)) return "cached";
  return job.executed?.includes(node.id) ? "done" : "";
}

export function Graph({ graph, job }) {
  const column = columns(graph);
  const rows = new Map();
  const place = new Map(graph.nodes.map((node) => {
    const x = column.get(node.id);
    const y = rows.get(x) ?? 0;
    rows.set(x, y + 1);
    return [node.id, [x * (WIDE + GAP), y * ROW]];
  }));
  const width = (Math.max(0, ...column.values()) + 1) * (WIDE + GAP) - GAP;
  const height = Math.max(1, ...rows.values()) * ROW - (ROW - HIGH);
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Graph"><svg class="graph" viewBox=${`-2 -2 ${width + 4} ${height + 4}`} width=${width} height=${height} role="img" aria-label=${`A graph of ${graph.nodes.length} nodes`}>
    ${graph.edges.map(({ from_node: from, to_node: to }) => {
      const [a, b] = [place.get(from), place.get(to)];
      if (!a || !b) return null;
      const [x1, y1, x2, y2] = [a[0] + WIDE, a[1] + HIGH / 2, b[0], b[1] + HIGH / 2];
      return html`<path d=${`M${x1} ${y1}C${x1 + GAP / 2} ${y1} ${x2 - GAP / 2} ${y2} ${x2} ${y2}`} />`;
    })}
    ${graph.nodes.map((node) => html`<g key=${node.id} class=${state(node, job)} transform=${`translate(${place.get(node.id)})`}><title>${`${node.id} ${node.class_type}: ${state(node, job) || "not seen"}`}</title>
      <rect width=${WIDE} height=${HIGH} rx="6" /><text x="8" y="15">${cut(node.title || node.class_type, 24)}</text><text class="none" x="8" y="28">${cut(node.title && node.title !== node.class_type ? `${node.id} · ${node.class_type}` : node.id, 28)}</text></g>`)}
  </svg></div>${may.value.run && html`<${Rerun} graph=${graph} job=${job} />`}`;
}

const isText = ({ type }) => type === "text";
const isNumber = ({ type }) => type === "number" || type === "whole number";

// What is written in a field, of the type that the input has. Throws for what is no JSON.
const valueOf = (one, text) => (isText(one) ? text : isNumber(one) ? number(text) : read(text));

// Inputs that a person may change, and the job run again with them.
function Rerun({ graph, job }) {
  const [changed, set] = useState({});
  const [isSent, send] = useState(false);
  const inputs = graph.inputs ?? [];
  if (!inputs.length || !job.ended_at_ms) return null;
  const run = (event) => {
    event.preventDefault();
    send(true);
    act(`jobs/${encodeURIComponent(job.job_id)}/rerun`, { changes: changed }).then(({ job_id }) => go(address("jobs", job_id)), (error) => say(error.message)).finally(() => send(false));
  };
  const edit = (one, field) => {
    try {
      set({ ...changed, [one.name]: valueOf(one, field.value) });
      field.setCustomValidity("");
    } catch {
      field.setCustomValidity("This is no JSON, such as [1, 2].");
    }
  };
  const field = (one) => {
    const told = { onInput: (event) => edit(one, event.target) };
    const choices = typeof one.value === "boolean" ? [true, false] : one.choices;
    if (choices.length) return html`<select ...${told}>${choices.map((choice) => html`<option value=${choice} selected=${choice === one.value}>${String(choice)}</option>`)}</select>`;
    const value = isText(one) ? one.value : written(one.value);
    if (one.is_long) return html`<textarea rows="3" defaultValue=${value} ...${told} />`;
    return html`<input type=${isNumber(one) ? "number" : "text"} step="any" required=${!isText(one)} min=${one.least} max=${one.most} defaultValue=${value} ...${told} />`;
  };
  const titles = new Map(graph.nodes.map((node) => [node.id, node.title]));
  return html`<details class="rerun"><summary>Run again with other values</summary><form onSubmit=${run}>
    ${inputs.map((one) => html`<label key=${one.name}><span>${titles.get(one.node)} · ${one.input}</span>${field(one)}</label>`)}
    <button class="strong" disabled=${isSent || !Object.keys(changed).length}>Run again with ${Object.keys(changed).length} changed</button></form></details>`;
}
