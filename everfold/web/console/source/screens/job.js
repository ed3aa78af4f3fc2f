// One job: pictures first, its story in words, who held it when, and what it was after each event.

import { act, ask, UNDER } from "../api.js";
import { count, exact, span } from "../format.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { written } from "../numbers.js";
import { Bar, Button, confirmed, JobLink, Loaded, Panel, Picture, Preview, say, server, Status, Time, useLoaded, WHY } from "../parts.js";
import { address, BASE, go } from "../router.js";
import { hear, may, me, nowMs, previews } from "../store.js";
import { Gantt } from "./gantt.js";
import { Graph } from "./graph.js";

const OPEN = new Set(["queued", "running", "canceling"]);

function Verbs({ job, again }) {
  const path = `jobs/${encodeURIComponent(job.job_id)}`;
  const cancel = () => confirmed({
    title: "Cancel this job?", text: "It is stopped at its server. It can be run again as a new job.", verb: "Cancel job", reason: WHY,
    run: (reason) => act(`${path}/cancel`, { reason }).then(() => "The job is asked to stop."),
  });
  const rerun = () => act(`${path}/rerun`).then(({ job_id }) => go(address("jobs", job_id)));
  const urgent = (priority) => act(`${path}/priority`, { priority }).then(() => say(`Its priority is ${priority} now.`), (error) => say(error.message));
  const page = html`<a class="button" href=${`${UNDER}/${path}/story.html`} download>Save its story</a>`;
  if (!may.value.run) return page;
  return html`<span class="verbs">${page}${job.status === "queued" && may.value.operate && html`<label>priority <select value=${job.priority} onChange=${(event) => urgent(event.target.value)}>
      ${["high", "normal", "low"].map((one) => html`<option>${one}</option>`)}</select></label>`}
    ${OPEN.has(job.status) ? html`<button type="button" onClick=${cancel}>Cancel …</button>` : html`<${Button} run=${rerun}>Run again<//>`}</span>`;
}

// Two states, field by field: what an event has changed.
function changes(before, after) {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...names].filter((name) => written(before[name]) !== written(after[name]) && !(isNothing(name, before[name]) && isNothing(name, after[name])));
}

const isNothing = (name, value) => value === undefined || value === null || value === "" || (value === 0 && name.endsWith("_ms")) || (typeof value === "object" && !Object.keys(value).length);

function shown(name, value) {
  if (isNothing(name, value)) return "–";
  return typeof value === "object" ? written(value) : name.endsWith("_at_ms") ? exact(value) : String(value);
}

// Rule: it follows a job that has ended only; one that runs would be read again at each event.
function States({ id, last, isOpen }) {
  const [seq, set] = useState(last);
  const [states, keep] = useState({});
  useEffect(() => { if (!isOpen) set(last); }, [last, isOpen]);
  useEffect(() => {
    for (const one of [seq - 1, seq]) {
      if (one < 1 || states[one]) continue;
      ask(`jobs/${encodeURIComponent(id)}/at?seq=${one}`).then((state) => keep((all) => ({ ...all, [one]: state })), (error) => say(error.message));
    }
  }, [seq]);
  const after = states[seq];
  const before = seq > 1 ? states[seq - 1] : {};
  const changed = after && before ? changes(before, after) : [];
  return html`<label class="slider">after event <output>${seq}</output> of ${last}
      <input type="range" min="1" max=${last} value=${seq} onInput=${(event) => set(+event.target.value)} /></label>
    ${after ? html`<div class="scroll" tabindex="0" role="region" aria-label="Changes"><table class="changes"><thead><tr><th scope="col">field</th><th scope="col">before</th><th scope="col">after</th></tr></thead><tbody>
      ${changed.map((name) => html`<tr key=${name}><th scope="row">${name}</th><td data-name="before"><del>${shown(name, before[name])}</del></td><td data-name="after"><ins>${shown(name, after[name])}</ins></td></tr>`)}</tbody></table></div>
      <details><summary>the whole state</summary><pre tabindex="0">${written(after, 2)}</pre></details>` : html`<p class="waiting">Reading …</p>`}`;
}

// A list that stands at its newest line while a job goes on, until somebody scrolls away from there.
function useNewest(length, isOpen) {
  const list = useRef();
  const isAtEnd = useRef(isOpen);
  useEffect(() => {
    if (isOpen && isAtEnd.current && list.current) list.current.scrollTop = list.current.scrollHeight;
  }, [length, isOpen]);
  return { ref: list, onScroll: ({ target }) => (isAtEnd.current = target.scrollHeight - target.scrollTop - target.clientHeight < 30) };
}

// Progress that was told again and again is one line: its newest word, and since when.
function told(lines) {
  const found = [];
  for (const line of lines) {
    const before = found[found.length - 1];
    const isMore = line.type === "job.progressed" && before?.type === line.type && before.attempt === line.attempt;
    if (isMore) found[found.length - 1] = { ...line, first: before.first, since_ms: before.since_ms, times: before.times + 1 };
    else found.push({ ...line, first: line.seq, since_ms: line.time_ms, times: 1 });
  }
  return found;
}

// Progress since the story was read, as the stream has brought it.
function fresh(events, last) {
  const word = ({ value, node_class, node, step, steps, left_s }) => `${Math.round(value * 100)}%${node ? ` in ${node_class || `node ${node}`}` : ""}${steps ? `, step ${step} of ${steps}` : ""}${left_s ? `, about ${left_s} s left` : ""}`;
  return events.filter(({ seq, event }) => seq > last && event.type === "job.progressed").map(({ seq, time_ms, event }) => ({ seq, time_ms, type: event.type, attempt: event.attempt, sentence: word(event) }));
}

function Story({ story, events, isOpen }) {
  const lines = [...story.lines, ...fresh(events, story.lines[story.lines.length - 1]?.seq ?? 0)];
  const shown = told(lines);
  return html`<ol class="story" tabindex="0" aria-label="Story" ...${useNewest(lines.length, isOpen)}>${shown.map((one) => html`<li key=${one.first} value=${one.seq} class=${one.mark || null}>
    <${Time} ms=${one.time_ms} /> ${one.sentence}${one.times > 1 ? html` <small>progress, told ${one.times} times since <${Time} ms=${one.since_ms} /></small>` : ""}</li>`)}</ol>`;
}

const EVENTS = 500;

function Events({ events, isOpen }) {
  const [isAll, all] = useState(false);
  const shown = isAll ? events : events.slice(-EVENTS);
  return html`${shown.length < events.length && html`<p><button type="button" onClick=${() => all(true)}>Show the ${count(events.length - shown.length)} earlier ones, too</button></p>`}
    <ol class="events" tabindex="0" aria-label="Events" ...${useNewest(events.length, isOpen)}>${shown.map((one) => html`<li key=${one.entry_id}><details><summary><${Time} ms=${one.time_ms} /> <b>${one.event.type?.replace("job.", "") ?? "unreadable"}</b>${" "}
    <small>${one.event.actor ?? ""} · event ${one.seq} · epoch ${one.epoch}</small></summary><pre tabindex="0">${written(one.event, 2)}</pre></details></li>`)}</ol>`;
}

function Proof({ id }) {
  const proof = useLoaded((signal) => ask(`jobs/${encodeURIComponent(id)}/proof`, { signal }), [id]);
  if (!proof.value) return html`<span class="proof">${proof.error ? "not proven" : "proving …"}</span>`;
  const { verdict, sentences } = proof.value;
  return html`<details class="proof ${verdict}"><summary>${verdict === "proven" ? "✓ " : ""}${verdict}</summary>${sentences.map((one) => html`<p>${one}</p>`)}</details>`;
}

// What the stream brings of this job: all events so far, then each new one.
function useEvents(id) {
  const [events, set] = useState([]);
  const [live, setLive] = useState({});
  useEffect(() => {
    const known = new Map();
    let due = 0;
    const show = () => { due = 0; set([...known.values()].sort((a, b) => a.seq - b.seq)); };
    const ends = [
      hear("log", (one) => { if (one.job_id === id) { known.set(one.seq, one); due ||= requestAnimationFrame(show); } }),
      hear("live", (told) => told.job_id === id && setLive((now) => ({ ...now, ...told, nodes: { ...now.nodes, ...told.nodes } }))),
      hear("jobs", (jobs) => jobs.filter((one) => one.job_id === id).forEach(({ progress, node_class, left_s }) => setLive((now) => ({ ...now, progress, node_class, left_s })))),
      hear("preview", (told) => told.job_id === id && setLive((now) => ({ ...now, preview: BASE + told.path.slice(1) }))),
    ];
    return () => { ends.forEach((end) => end()); cancelAnimationFrame(due); };
  }, [id]);
  return [events, live];
}

const Trace = ({ id }) => (me.value.trace_url ? html`<a href=${me.value.trace_url.replaceAll("{trace_id}", encodeURIComponent(id))} target="_blank" rel="noopener noreferrer">${id}</a>` : id);

const FACTS = [["queue", "queue"], ["priority", "priority"], ["user", "user"], ["kind", "kind"], ["batch", "batch"], ["backend", "server"], ["owner", "held by"], ["attempt", "attempt"], ["recovered", "taken over"], ["retried", "retried"]];

export function Job({ id }) {
  const [events, live] = useEvents(id);
  const last = events.length ? events[events.length - 1].seq : 0;
  // Progress comes by the stream: the job is read again when something else has happened to it.
  const turn = events.findLast((one) => one.event.type !== "job.progressed")?.seq ?? 0;
  const path = `jobs/${encodeURIComponent(id)}`;
  const job = useLoaded((signal) => ask(path, { signal }), [id, turn]);
  const files = useLoaded((signal) => ask(`${path}/files`, { signal }), [id, job.value?.status, Object.keys(job.value?.outputs ?? {}).length]);
  const story = useLoaded((signal) => ask(`${path}/story`, { signal }), [id, turn]);
  const graph = useLoaded((signal) => ask(`${path}/graph`, { signal }), [id]);
  return html`<${Loaded} of=${job}>${(job) => {
    const made = files.value?.files ?? [];
    const isPictured = OPEN.has(job.status) && (live.preview || previews.value[id]);
    return html`<div class="title"><h1><span class="id">${job.job_id}</span> <${Status} status=${job.status} reason=${job.reason} /> ${!OPEN.has(job.status) && html`<${Proof} id=${id} key=${job.seq} />`}</h1><${Verbs} job=${job} again=${job.again} /></div>
    ${job.error && html`<div class="failed"><strong>${job.error.code}</strong><p>${job.error.message}</p>${job.error.node && html`<small>node ${job.error.node} · ${job.error.node_class}</small>`}</div>`}
    ${job.status === "running" && html`<div class="run"><div><${Bar} part=${live.progress ?? job.progress} label="progress" /> ${live.node_class || job.node_class} ${job.left_s ? `· ${span(job.left_s)} left` : ""}</div></div>`}
    <div class="gallery">${isPictured && html`<figure class="picture"><${Preview} id=${id} source=${live.preview} /><figcaption>preview</figcaption></figure>`}
      ${made.map((file) => html`<${Picture} key=${file.index} file=${file} />`)}
      ${!made.length && !isPictured && html`<p class="none">${OPEN.has(job.status) ? "No pictures yet." : "It made no files."}</p>`}</div>
    <div class="panels">
      <${Panel} title="Story"><${Loaded} of=${story}>${(story) => html`<${Story} story=${story} events=${events} isOpen=${OPEN.has(job.status)} />`}<//><//>
      <${Panel} title="Facts"><dl class="pairs">${FACTS.filter(([name]) => job[name]).map(([name, word]) => html`<dt>${word}</dt><dd>${name === "backend" ? server(job[name]) : job[name]}</dd>`)}
        ${job.trace && html`<dt>trace</dt><dd class="id"><${Trace} id=${job.trace.split("-")[1]} /></dd>`}
        ${job.rerun_of && html`<dt>run again of</dt><dd><${JobLink} id=${job.rerun_of} /></dd>`}
        ${["submitted", "claimed", "started", "ended"].map((word) => job[`${word}_at_ms`] ? html`<dt>${word}</dt><dd><${Time} ms=${job[`${word}_at_ms`]} /></dd>` : "")}
        ${Object.entries(job.metadata).map(([name, value]) => html`<dt>${name}</dt><dd>${typeof value === "object" ? written(value) : String(value)}</dd>`)}</dl><//>
      <${Panel} title="Who held it" wide><${Loaded} of=${story}>${(told) => html`<${Gantt} ...${told} job=${job} />`}<//><//>
      <${Panel} title="Graph" wide><${Loaded} of=${graph}>${(found) => html`<${Graph} graph=${found} job=${{ ...job, ...live }} />`}<//><//>
      <${Panel} title="State by state" wide>${last ? html`<${States} id=${id} last=${last} isOpen=${OPEN.has(job.status)} />` : html`<p class="none">–</p>`}<//>
      <${Panel} title="Events" wide><${Events} events=${events} isOpen=${OPEN.has(job.status)} /><//>
    </div>`;
  }}<//>`;
}
