// The list of jobs: the filter is in the address, pages go by key, and rows change as their jobs do.

import { act, ask, query } from "../api.js";
import { count, span } from "../format.js";
import { signal } from "@preact/signals";

import { html, useEffect, useMemo, useState } from "../html.js";
import { Ago, Bar, confirmed, Empty, JobLink, Loaded, say, server, Status, Table, Time, useLoaded, WHY } from "../parts.js";
import { address, go, search } from "../router.js";
import { hear, may } from "../store.js";

const STATUSES = ["queued", "running", "canceling", "succeeded", "failed", "canceled", "expired"];
const TEXTS = { user: "user", kind: "kind", queue: "queue", backend: "server", batch: "batch", tag: "tag", code: "error code", error: "error text", metadata: "metadata name=value" };
const TIMES = { newer_than: "from", older_than: "until" };
const PAGE = 50;
const MANY = 1000;
const VIEWS = "everfold.views";

// All that the address asks for, also what no job has: the gateway refuses that, so that a slip never selects all jobs.
const chosen = () => Object.fromEntries([...new Set(search.value.keys())].map((name) => [name, search.value.getAll(name)]));

// Times as the gateway takes them; what is none goes there as it is, and is refused with a sentence.
const asked = (filter) => Object.fromEntries(Object.entries(filter).map(([name, values]) => [name, name in TIMES ? values.map((text) => (/^\d+$/.test(text) ? text : Date.parse(text) || text)) : values]));

function views() {
  try {
    return JSON.parse(localStorage.getItem(VIEWS)) ?? {};
  } catch {
    return {};
  }
}

// `status:failed queue:video cat` as it is typed: what has no name is a user.
function parsed(text) {
  const told = Object.create(null);
  for (const word of text.match(/(?:[^\s"]+|"[^"]*")+/g) ?? []) {
    const [, name, value] = /^(\w+):(.*)$/.exec(word) ?? [null, STATUSES.includes(word) ? "status" : "user", word];
    (told[name] ??= []).push(value.replaceAll('"', ""));
  }
  return told;
}

const written = (filter) => Object.entries(filter).flatMap(([name, values]) => [values].flat().map((value) => `${name}:${/\s/.test(value) ? `"${value}"` : value}`)).join(" ");

function Filter({ filter, total }) {
  const [text, set] = useState(written(filter));
  const [saved, save] = useState(views());
  useEffect(() => set(written(filter)), [written(filter)]);
  const to = (values) => go(address("jobs") + query(values));
  const keep = (all) => {
    localStorage.setItem(VIEWS, JSON.stringify(all));
    save(all);
  };
  return html`<form class="filter" role="search" onSubmit=${(event) => { event.preventDefault(); to(parsed(text)); }}>
    <input data-filter aria-label="Filter" placeholder='status:failed queue:video user:ada code:node_error error:"out of memory"' value=${text}
      onInput=${(event) => set(event.target.value)} list="names" autocomplete="off" spellcheck="false" />
    <datalist id="names">${[...STATUSES.map((one) => `status:${one}`), ...[...Object.keys(TEXTS), ...Object.keys(TIMES)].map((one) => `${one}:`)].map((one) => html`<option value=${one} />`)}</datalist>
    <button>Filter</button>
    ${Object.keys(filter).length ? html`<button type="button" onClick=${() => to({})}>All jobs</button>
      <button type="button" onClick=${() => confirmed({ title: "Save this view", text: html`<p><code>${text}</code></p><p>It is kept in this browser.</p>`, verb: "Save", reason: "Name", given: text, run: async (name) => { keep({ ...saved, [name.trim() || text]: text }); return "The view is saved."; } })}>Save view …</button>` : ""}
    <p class="chips">${STATUSES.map((one) => {
      const has = filter.status?.includes(one);
      const status = has ? filter.status.filter((other) => other !== one) : [...(filter.status ?? []), one];
      return html`<button type="button" class="chip" aria-pressed=${!!has} onClick=${() => to({ ...filter, status })}><${Status} status=${one} /></button>`;
    })}${Object.entries(saved).map(([name, words]) => html`<span class="view"><button type="button" class="chip" onClick=${() => to(parsed(words))}>${name}</button><button type="button" class="chip"
      aria-label=${`forget the view ${name}`} onClick=${() => { const { [name]: _, ...rest } = saved; keep(rest); }}>×</button></span>`)}</p>
  </form>`;
}

// What is done to all that a filter selects: first it is counted, then asked, then done page by page.
async function many(verb, filter, words, given) {
  const { status, metadata, newer_than, older_than, ...texts } = asked(filter);
  const one = ([name, values]) => {
    if (values.length > 1) throw new Error(`${name} is given twice: leave one out.`);
    return [name, values[0]];
  };
  const selection = { ...Object.fromEntries(Object.entries(texts).map(one)), statuses: status ?? [], metadata: Object.fromEntries((metadata ?? []).map((pair) => pair.split(/=(.*)/s))) };
  for (const [name, values] of [["newer_than_ms", newer_than], ["older_than_ms", older_than]]) {
    if (!values) continue;
    selection[name] = Number(one([name, values])[1]);
    if (Number.isNaN(selection[name])) throw new Error(`${values[0]} is no time: write one such as 2026-01-31T12:00.`);
  }
  const each = async (dry_run, more) => {
    const outcomes = {};
    let cursor, selected = 0;
    do {
      const told = await act(`jobs/${verb}`, { filter: selection, dry_run, cursor, ...given, ...more });
      selected += told.selected;
      for (const [outcome, number] of Object.entries(told.outcomes)) outcomes[outcome] = (outcomes[outcome] ?? 0) + number;
      cursor = told.cursor;
    } while (cursor && (!dry_run || selected < 10000));
    return [selected, cursor, outcomes];
  };
  const [selected, more] = await each(true, {});
  if (!selected) return say(`No job of this filter can be ${words.done}.`);
  confirmed({
    title: `${words.verb} ${words.to ?? ""}${count(selected)}${more ? " or more" : ""} ${selected === 1 ? "job" : "jobs"}?`,
    text: html`<p>${words.text}</p><p><code>${written(filter) || "all jobs"}</code></p>`, verb: words.verb, reason: verb === "cancel" && WHY,
    run: async (reason) => Object.entries((await each(false, verb === "cancel" ? { reason } : {}))[2]).map(([outcome, number]) => `${count(number)} ${outcome}`).join(", ") || `No job was ${words.done}: they have moved on meanwhile.`,
  });
}

const WORDS = {
  cancel: { verb: "Cancel", done: "asked to stop", text: "What runs is stopped at its server. A canceled job can be run again as a new one." },
  rerun: { verb: "Run again", done: "submitted again", text: "Each failed or expired job is submitted once more, as a new job." },
};
const PRIORITY = (priority) => ({ verb: `Give ${priority} priority`, to: "to ", done: "given another priority", text: "They stand behind the jobs of their users that wait with it already. Only jobs that wait can be moved." });

const TOLD_EVERY_MS = 500;

// Changes what stands in the rows, and counts what happens to other jobs; that is told now and then.
function Fresh({ rows, again }) {
  const [fresh, tell] = useState(0);
  useEffect(() => {
    const others = new Set();
    let due = 0;
    tell(0);
    const end = hear("jobs", (jobs) => {
      for (const job of jobs) {
        const row = rows.get(job.job_id);
        if (row) row.value = { ...row.peek(), ...job };
        else if (others.size < MANY) others.add(job.job_id);
      }
      if (others.size) due ||= setTimeout(() => { due = 0; tell(others.size); }, TOLD_EVERY_MS);
    });
    return () => { end(); clearTimeout(due); };
  }, [rows]);
  return html`<button type="button" disabled=${!fresh} onClick=${again}>${fresh ? `${count(fresh)}${fresh < MANY ? "" : " or more"} other ${fresh === 1 ? "job has" : "jobs have"} changed: read again` : "up to date"}</button>`;
}

export function Jobs() {
  const filter = chosen();
  const words = written(filter);
  const [turned, turn] = useState({});
  const pages = turned.words === words ? turned.pages : [null];
  const setPages = (list) => turn({ words, pages: list });
  const cursor = pages[pages.length - 1];
  const page = useLoaded((signal) => ask(`jobs${query({ ...asked(filter), cursor, limit: PAGE })}`, { signal }), [words, cursor], words);
  const rows = useMemo(() => new Map(page.value?.jobs.map((job) => [job.job_id, signal(job)])), [page.value]);
  const again = () => { setPages([null]); page.again(); };
  return html`<h1>Jobs</h1><${Filter} filter=${filter} />
    <div class="above"><${Fresh} rows=${rows} again=${again} />
      ${may.value.run && html`<span class="verbs">${Object.entries(WORDS).map(([verb, told]) => html`<button type="button" onClick=${() => many(verb, filter, told).catch((error) => say(error.message))}>${told.verb} all of these …</button>`)}
        ${may.value.operate && html`<select aria-label="Priority of all of these" value="" onChange=${(event) => { const priority = event.target.value; event.target.value = ""; many("priority", filter, PRIORITY(priority), { priority }).catch((error) => say(error.message)); }}>
          <option value="">Priority of all of these …</option>${["high", "normal", "low"].map((one) => html`<option>${one}</option>`)}</select>`}</span>`}</div>
    <${Loaded} of=${page}>${({ jobs, cursor: next, behind_s, unread, missing }) => html`${behind_s > 10 ? html`<p class="alarm">The list is ${span(behind_s)} behind: newer jobs may be missing. Is a projector running?</p>` : ""}
      ${unread.length + missing.length ? html`<p class="alarm error">A part of the jobs cannot be read now, and is missing here.</p>` : ""}
      ${next && jobs.length < PAGE ? html`<p class="none">So far ${count(jobs.length)} found: <b>Older</b> looks on.</p>` : ""}<${Table} label="Jobs" live id=${(job) => job.job_id} rows=${[...rows.values()]}
      empty=${html`<${Empty} title=${next ? "None among the newest jobs" : words ? "No job matches" : "No jobs yet"}>${next ? "Look on among older ones below." : words ? "Take a word out of the filter, or look at all jobs." : html`Submit one: <code>everfold submit workflow.json</code>`}<//>`} columns=${[
        { name: "job", of: (job) => html`<${JobLink} id=${job.job_id} />` },
        { name: "status", of: (job) => html`<${Status} status=${job.status} reason=${job.reason} />` },
        { name: "progress", of: (job) => (job.status === "running" ? html`<${Bar} part=${job.progress} label="progress" />` : job.error ? html`<span class="why">${job.error.message || job.error.code || job.error}</span>` : job.reason && html`<span class="none">${job.reason}</span>`) },
        { name: "queue", of: (job) => `${job.queue}${job.priority === "normal" ? "" : ` · ${job.priority}`}` },
        { name: "user", of: (job) => job.user }, { name: "kind", of: (job) => job.kind },
        { name: "server", of: (job) => server(job.backend) },
        { name: "submitted", of: (job) => html`<${Time} ms=${job.submitted_at_ms} />` },
        { name: "last event", numeric: true, of: (job) => html`<${Ago} ms=${job.updated_at_ms} />` },
      ]} />
      <p class="pages"><button type="button" disabled=${pages.length < 2} onClick=${() => setPages(pages.slice(0, -1))}>Newer</button>
        <button type="button" disabled=${!next} onClick=${() => setPages([...pages, next])}>Older</button></p>`}<//>`;
}
