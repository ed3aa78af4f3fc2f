// The whole farm at a second of its past, and what lies between two of them.

import { ask, query } from "../api.js";
import { count, moment as written, span } from "../format.js";
import { html, useEffect, useState } from "../html.js";
import { Empty, JobLink, Loaded, Panel, server, Status, Table, Time, useLoaded } from "../parts.js";
import { address, go, search } from "../router.js";
import { nowMs } from "../store.js";

const RANGES = { "1 h": 3600e3, "24 h": 86400e3, "7 d": 604800e3 };
const LAST_MS = 864e13;
const local = (ms) => Math.abs(ms) >= LAST_MS ? "" : new Date(ms - new Date(ms).getTimezoneOffset() * 60e3).toISOString().slice(0, 19);

export function Moment() {
  const end = nowMs.value;
  const time = Number(search.value.get("time")) || 0;
  const until = Number(search.value.get("until")) || 0;
  const [range, setRange] = useState("1 h");
  const [dragged, drag] = useState(0);
  const [anchor] = useState(end);
  const at = dragged || time || anchor;
  const to = (values) => go(address("moment") + query({ time: time || "", until: until || "", ...values }), { replace: true });
  useEffect(() => {
    if (!dragged) return;
    const timer = setTimeout(() => { to({ time: dragged }); drag(0); }, 250);
    return () => clearTimeout(timer);
  }, [dragged]);
  const farm = useLoaded((signal) => (time ? ask(`moment${query({ time, until: until || "" })}`, { signal }) : Promise.resolve(null)), [time, until]);
  return html`<h1>Moment</h1>
    <form class="filter" onSubmit=${(event) => event.preventDefault()}>
      <label>at <input data-filter type="datetime-local" step="1" value=${local(at)} onChange=${(e) => to({ time: Date.parse(e.target.value) })} /></label>
      <label>compared with <input type="datetime-local" step="1" value=${until ? local(until) : ""} onChange=${(e) => to({ until: Date.parse(e.target.value) || "" })} /></label>
      <span class="tabs">${Object.keys(RANGES).map((one) => html`<button type="button" aria-pressed=${one === range} onClick=${() => setRange(one)}>${one}</button>`)}</span>
      <label class="slider"><span>${written(anchor - RANGES[range], anchor)}</span><input type="range" aria-label="moment" min=${anchor - RANGES[range]} max=${anchor} step="1000" value=${at} onInput=${(e) => drag(+e.target.value)} /><span>now</span></label>
    </form>
    ${!time ? html`<${Empty} title="Choose a moment">Move the slider, or write a time: the farm is shown as it was then, from the log.<//>`
      : html`<${Loaded} of=${farm}>${(found) => found && html`<${Found} found=${found} again=${farm.again} />`}<//>`}`;
}

const JOB = [{ name: "job", of: (job) => html`<${JobLink} id=${job.job_id} />` }, { name: "queue", of: (job) => job.queue }, { name: "user", of: (job) => job.user }];

const Many = ({ label, rows, besides, columns }) => html`<${Table} label=${label} id=${(one) => one.job_id} rows=${rows} columns=${columns} />${besides ? html`<p class="none">and ${count(besides)} more</p>` : ""}`;

// Where consumers stand is known of now alone: the log has no position of a reader.
function Readers({ time }) {
  const all = useLoaded((signal) => ask("subscriptions", { signal }).then((found) => ({ ...found, at: nowMs.value })), [time]);
  const stand = (one, at) => (one.behind_events && at - one.behind_s * 1000 <= time ? `has not read all up to then: ${count(one.behind_events)} events behind now` : "has read all up to then");
  return html`<${Loaded} of=${all}>${({ subscriptions, at }) => (subscriptions.length ? html`<dl class="pairs">${subscriptions.map((one) => html`<dt><a href=${address("consumers") + query({ name: one.subscription })}>${one.subscription}</a></dt><dd>${stand(one, at)}</dd>`)}</dl>` : html`<p class="none">Nobody reads the stream.</p>`)}<//>`;
}

function Found({ found: { then, changes, known_from_ms, events, is_complete, until }, again }) {
  const since = { name: "for", numeric: true, of: (job) => span((then.time_ms - job.since_ms) / 1000) };
  return html`<p>The farm at <b><${Time} ms=${then.time_ms} /></b>, folded from ${count(events)} events. ${known_from_ms ? html`Known from <${Time} ms=${known_from_ms} /> on.` : ""}
      ${is_complete ? "" : html` <b>Still reading.</b> <button type="button" onClick=${again}>Look again</button>`}</p>
    <div class="panels"><${Panel} title="Queues"><${Table} label="Queues" id=${(q) => q.name} rows=${then.queues} columns=${[
      { name: "queue", of: (q) => q.name }, { name: "waited", numeric: true, of: (q) => count(q.waiting) }, { name: "held", numeric: true, of: (q) => count(q.held) }, { name: "ran", numeric: true, of: (q) => count(q.running) }]} /><//>
    <${Panel} title="Who was there"><dl class="pairs">${[...then.backends, ...then.runners].map((one) => html`<dt>${count(one.jobs)} ${one.jobs === 1 ? "job" : "jobs"}</dt><dd>${server(one.name)}</dd>`)}</dl><//>
    <${Panel} title="Consumers, as they stand now" wide><${Readers} time=${then.time_ms} /><//>
    <${Panel} title="What ran where" wide><${Many} label="Held" rows=${then.held} besides=${then.held_besides} columns=${[...JOB, { name: "status", of: (job) => html`<${Status} status=${job.status} />` }, { name: "server", of: (job) => server(job.backend) }, { name: "runner", of: (job) => job.owner }, since]} /><//>
    <${Panel} title="What waited" wide><${Many} label="Waited" rows=${then.waiting} besides=${then.waiting_besides} columns=${[...JOB, { name: "kind", of: (job) => job.kind }, { name: "priority", of: (job) => job.priority }, since]} /><//>
    ${changes && until && html`<${Panel} title=${`From then until ${written(until.time_ms, nowMs.value)}`} wide><dl class="pairs"><dt>${count(changes.submitted)}</dt><dd>submitted</dd>${Object.entries(changes.ended).map(([what, number]) => html`<dt>${count(number)}</dt><dd>${what}</dd>`)}</dl>
      <${Many} label="Moved" rows=${changes.moved} besides=${changes.moved_besides} columns=${[JOB[0], { name: "then", of: (one) => html`<${Status} status=${one.before.status} /> ${server(one.before.backend)}` }, { name: "later", of: (one) => html`<${Status} status=${one.after.status} /> ${server(one.after.backend)}` }]} />
      ${changes.came.length ? html`<${Many} label="Came" rows=${changes.came} besides=${changes.came_besides} columns=${[...JOB, { name: "came, and is", of: (one) => html`<${Status} status=${one.status} /> ${server(one.backend)}` }]} />` : ""}
      <${Many} label="Ended" rows=${changes.gone} besides=${changes.gone_besides} columns=${[JOB[0], { name: "ended as", of: (one) => html`<${Status} status=${one.status} />` }]} /><//>`}</div>`;
}
