// The board: the farm as it is now, at a glance.

import { count, span } from "../format.js";
import { html } from "../html.js";
import { Bar, Empty, JobLink, Panel, Preview, Prose, Status, Table } from "../parts.js";
import { address } from "../router.js";
import { farm, may, nowMs, previews } from "../store.js";
import { Charts } from "./charts.js";

const total = (list) => (list ?? []).reduce((sum, one) => sum + one, 0);
const jobsOf = (values) => `${address("jobs")}?${new URLSearchParams(values)}`;

function Queues({ queues }) {
  const cell = (name, number, status) => (number ? html`<a href=${jobsOf({ queue: name, status })}>${count(number)}</a>` : html`<span class="none">0</span>`);
  return html`<${Table} label="Queues" id=${(q) => q.name} rows=${queues} columns=${[
    { name: "queue", of: (q) => html`${q.name}${q.paused ? html` <span class="status canceling" title=${q.paused.reason}>paused</span>` : ""}` },
    { name: "high", numeric: true, of: (q) => cell(q.name, q.waiting[0], "queued") },
    { name: "normal", numeric: true, of: (q) => cell(q.name, q.waiting[1], "queued") },
    { name: "low", numeric: true, of: (q) => cell(q.name, q.waiting[2], "queued") },
    { name: "later", numeric: true, of: (q) => count(q.later ?? 0) },
    { name: "running", numeric: true, of: (q) => cell(q.name, q.running, "running") },
    { name: "oldest waits", numeric: true, of: (q) => (q.oldest_s ? span(q.oldest_s) : "–") },
    { name: "backlog", numeric: true, of: (q) => (q.backlog_s ? span(q.backlog_s) : "–") },
  ]} />`;
}

export function Run({ run }) {
  const left = run.left_s ? Math.max(1, run.left_s - (nowMs.value - run.updated_at_ms) / 1000) : 0;
  return html`<div class="run"><div><${JobLink} id=${run.job_id} /> <${Bar} part=${run.progress} label="progress" />
    <small>${run.node_class || run.status}${left ? ` · ${span(left)} left` : ""}</small></div><${Preview} id=${run.job_id} /></div>`;
}

// The jobs at each server, by their ids: two servers on two hosts may have one address.
export function runsOf(running) {
  const known = new Map(running.map((run) => [run.job_id, run]));
  return ({ runs }) => runs.map((id) => known.get(id)).filter(Boolean);
}

function Backend({ backend, runs }) {
  const state = backend.retired ? "retired" : backend.drained ? "drained" : backend.up ? "up" : "down";
  return html`<article class="card"><header><h3>${backend.name}</h3><span class="state ${state}" title=${backend.boot ? `boot ${backend.boot}` : null}>${state}</span></header>
    <p class="none">${backend.why || `${runs.length} of ${backend.slots} slots`}${backend.models === null ? "" : ` · ${count(backend.models)} models`}</p>${runs.map((run) => html`<${Run} key=${run.job_id} run=${run} />`)}</article>`;
}

export const heard = ({ unseen_s }) => (unseen_s ? `${span(unseen_s)} ago` : "now");

// The text of a finding without what it is about, where that stands before it.
const bare = ({ what, text }) => (text.startsWith(`${what}: `) ? text.slice(what.length + 2) : text);

export function Board() {
  const { queues, backends, runners, running = [], reasons = [], alarms = [] } = farm.value;
  if (!farm.value.at_ms) return html`<p class="waiting" aria-busy="true">Reading the farm …</p>`;
  const waits = total((queues ?? []).map((q) => total(q.waiting) + (q.later ?? 0)));
  const of = runsOf(running);
  return html`<h1>Board</h1>
    ${alarms.length ? html`<${Panel} title="Alarms" wide>${alarms.map((one) => html`<p class="alarm ${one.severity}"><b>${one.what}</b> <${Prose} text=${bare(one)} /> <span><${Prose} text=${one.advice} /></span></p>`)}<//>` : ""}
    <div class="tiles">
      <${Tile} name="waiting" value=${waits} href=${jobsOf({ status: "queued" })} />
      <${Tile} name="running" value=${running.length + (farm.value.running_besides ?? 0)} href=${jobsOf({ status: "running" })} />
      ${may.value.see && html`<${Tile} name="servers up" value=${(backends ?? []).filter((one) => one.up).length} of=${(backends ?? []).length} href=${address("backends")} />
      <${Tile} name="runners" value=${(runners ?? []).length} href=${address("backends")} />`}
    </div>
    <div class="panels">
      ${queues && html`<${Panel} title="Queues" wide><${Queues} queues=${queues} /><//>`}
      ${backends && html`<${Panel} title="Servers" wide>${backends.length ? html`<div class="cards ${Object.keys(previews.value).length ? "pictured" : ""}">${backends.map((one) => html`<${Backend} key=${one.name} backend=${one} runs=${of(one)} />`)}</div>`
        : html`<${Empty} title="No ComfyUI server was seen yet">Start a runner: <code>everfold runner --comfyui http://…:8188</code><//>`}<//>`}
      ${!backends && html`<${Panel} title="Your running jobs" wide>${running.length ? running.map((run) => html`<${Run} key=${run.job_id} run=${run} />`) : html`<p class="none">none</p>`}<//>`}
      <${Panel} title="Why jobs wait">${reasons.length ? html`<dl class="pairs">${reasons.map(({ reason, jobs, job_id }) => html`<dt>${count(jobs)}</dt><dd>${reason}${job_id ? html` · <${JobLink} id=${job_id} />` : ""}</dd>`)}</dl>` : html`<p class="none">nothing waits</p>`}<//>
      ${runners && html`<${Panel} title="Runners"><${Table} label="Runners" id=${(r) => r.name} rows=${runners} columns=${[
        { name: "runner", of: (r) => r.name }, { name: "holds", numeric: true, of: (r) => r.leases },
        { name: "heard", numeric: true, of: (r) => heard(r) }, { name: "", of: (r) => (r.draining ? html`<${Status} status="canceling" /> drains` : "") },
      ]} /><//>`}
      <${Charts} />
    </div>`;
}

const Tile = ({ name, value, of, href }) => html`<a class="tile" href=${href}><b>${count(value)}${of === undefined ? "" : html`<small> / ${count(of)}</small>`}</b><span>${name}</span></a>`;
