// The board: the farm as it is now, at a glance.

import { count, span } from "../format.js";
import { html } from "../html.js";
import { Bar, Empty, JobLink, Panel, Preview, Prose, Status, Table } from "../parts.js";
import { address } from "../router.js";
import { alarms, backends, counts, isKnown, may, nowMs, previews, queues, reasons, runners, running, runningCount } from "../store.js";
import { Charts } from "./charts.js";

const total = (list) => (list ?? []).reduce((sum, one) => sum + one, 0);
const jobsOf = (values) => `${address("jobs")}?${new URLSearchParams(values)}`;

// Rule: each part reads the signals that it shows, and is drawn again for those alone.
function Queues() {
  const cell = (name, number, status) => (number ? html`<a href=${jobsOf({ queue: name, status })}>${count(number)}</a>` : html`<span class="none">0</span>`);
  return queues.value && html`<${Panel} title="Queues" wide><${Table} label="Queues" id=${(q) => q.name} rows=${queues.value} columns=${[
    { name: "queue", of: (q) => html`${q.name}${q.paused ? html` <span class="status canceling" title=${q.paused.reason}>paused</span>` : ""}` },
    { name: "waiting, high", numeric: true, of: (q) => cell(q.name, q.waiting[0], "queued") },
    { name: "waiting, normal", numeric: true, of: (q) => cell(q.name, q.waiting[1], "queued") },
    { name: "waiting, low", numeric: true, of: (q) => cell(q.name, q.waiting[2], "queued") },
    { name: "not before a time", numeric: true, of: (q) => count(q.later ?? 0) },
    { name: "running", numeric: true, of: (q) => cell(q.name, q.running, "running") },
    { name: "oldest waits", numeric: true, of: (q) => (q.oldest_s ? span(q.oldest_s) : "–") },
    { name: "all begun in", numeric: true, of: (q) => (q.backlog_s ? span(q.backlog_s) : "–") },
  ]} /><//>`;
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
  return html`<article class="card"><header><h3>${backend.name}</h3><span class="state ${state}">${state}</span></header>
    <p class="none">${backend.why || `${runs.length} of ${backend.slots} slots`}${backend.models === null ? "" : ` · ${count(backend.models)} models`}${backend.boot ? html` · <span title=${`boot ${backend.boot}: another one after each start of the server`}>${backend.boot.slice(0, 8)}</span>` : ""}</p>${runs.map((run) => html`<${Run} key=${run.job_id} run=${run} />`)}</article>`;
}

function Servers() {
  if (!backends.value) return null;
  const of = runsOf(running.value);
  const isPictured = Object.keys(previews.value).length;
  return html`<${Panel} title="Servers" wide>${backends.value.length ? html`<div class="cards ${isPictured ? "pictured" : ""}">${backends.value.map((one) => html`<${Backend} key=${one.name + one.address} backend=${one} runs=${of(one)} />`)}</div>`
    : html`<${Empty} title="No ComfyUI server was seen yet">Start a runner: <code>everfold runner --comfyui http://…:8188</code><//>`}<//>`;
}

const Own = () => !backends.value && html`<${Panel} title="Your running jobs" wide>${running.value.length ? html`<div class="cards">${running.value.map((run) => html`<div class="card" key=${run.job_id}><${Run} run=${run} /></div>`)}</div>` : html`<p class="none">none</p>`}<//>`;

const Why = () => html`<${Panel} title="Why jobs wait">${reasons.value.length ? html`<dl class="pairs">${reasons.value.map(({ reason, jobs, job_id }) => html`<dt>${count(jobs)}</dt><dd>${reason}${job_id ? html` · <${JobLink} id=${job_id} />` : ""}</dd>`)}</dl>` : html`<p class="none">nothing waits</p>`}<//>`;

export const heard = ({ unseen_s }) => (unseen_s ? `${span(unseen_s)} ago` : "now");

const LEASES = 4;

// The jobs that a runner holds, the first ones by name.
export function Leases({ runner }) {
  const held = running.value.filter((run) => run.owner === runner.name);
  return html`${count(Math.max(runner.leases, held.length))}${held.slice(0, LEASES).map(({ job_id }) => html` <${JobLink} key=${job_id} id=${job_id} />`)}${held.length > LEASES ? " …" : ""}`;
}

const Runners = () => runners.value && html`<${Panel} title="Runners"><${Table} label="Runners" id=${(r) => r.name} rows=${runners.value} empty=${html`<p class="none">No runner is registered: nothing runs.</p>`} columns=${[
  { name: "runner", of: (r) => r.name }, { name: "holds", of: (r) => html`<${Leases} runner=${r} />` },
  { name: "heard of", numeric: true, of: (r) => heard(r) }, { name: "", of: (r) => (r.draining ? html`<${Status} status="canceling" /> drains` : "") },
]} /><//>`;

// The text of a finding without what it is about, where that stands before it.
const bare = ({ what, text }) => (text.startsWith(`${what}: `) ? text.slice(what.length + 2) : text);

// It stands there before anything is found, so that less moves when something is.
const Alarms = () => may.value.see && html`<${Panel} title="Alarms" wide>${!alarms.value ? html`<p class="none">Doctor looks …</p>` : alarms.value.length
  ? alarms.value.map((one) => html`<p class="alarm ${one.severity}"><b>${one.what}</b> <${Prose} text=${bare(one)} /> <span><${Prose} text=${one.advice} /></span></p>`)
  : html`<p class="alarm well">All is well.</p>`}<//>`;

function Tiles() {
  const waits = queues.value ? total(queues.value.map((q) => total(q.waiting) + (q.later ?? 0))) : counts.value?.queued ?? 0;
  return html`<div class="tiles"><${Tile} name="waiting" value=${waits} href=${jobsOf({ status: "queued" })} />
    <${Tile} name="running" value=${runningCount.value} href=${jobsOf({ status: "running" })} />
    ${may.value.see && html`<${Tile} name="servers up" value=${(backends.value ?? []).filter((one) => one.up).length} of=${(backends.value ?? []).length} href=${address("backends")} />
    <${Tile} name="runners" value=${(runners.value ?? []).length} href=${address("backends")} />`}</div>`;
}

export function Board() {
  if (!isKnown.value) return html`<p class="waiting" aria-busy="true">Reading the farm …</p>`;
  return html`<h1>Board</h1><${Tiles} /><${Alarms} />
    <div class="panels"><${Queues} /><${Servers} /><${Own} /><${Why} /><${Runners} /><${Charts} /></div>`;
}

const Tile = ({ name, value, of, href }) => html`<a class="tile" href=${href}><b>${count(value)}${of === undefined ? "" : html`<small> / ${count(of)}</small>`}</b><span>${name}</span></a>`;
