// The parts of which screens are made. Outside text is always a text node, never markup.

import { signal } from "@preact/signals";

import { exact, moment, short, span } from "./format.js";
import { html, useEffect, useMemo, useRef, useState } from "./html.js";
import { UNDER } from "./api.js";
import { address, BASE } from "./router.js";
import { nameOf, nowMs, previews, today } from "./store.js";

export const Status = ({ status, reason }) => html`<span class="status ${status}" title=${reason || null}>${status}</span>`;

export const JobLink = ({ id }) => html`<a class="id" href=${address("jobs", id)} title=${id}>${short(id)}</a>`;

export const Time = ({ ms }) =>
  ms ? html`<time datetime=${new Date(ms).toISOString()} title=${exact(ms)}>${moment(ms, today.value)}</time>` : html`<span class="none">–</span>`;

// "3 s ago" and "for 3 s", moved by the second.
export const Ago = ({ ms, word = " ago" }) => html`<time title=${exact(ms)}>${span(Math.max(0, nowMs.value - ms) / 1000)}${word}</time>`;

export const Bar = ({ part, label }) => html`<span class="bar" role="progressbar" aria-label=${label} aria-valuemin="0" aria-valuemax="100"
  aria-valuenow=${Math.round(part * 100)}><span style=${{ width: `${Math.min(1, part) * 100}%` }}></span></span>`;

const Named = ({ at }) => html`<span title=${at}>${nameOf(at)}</span>`;
export const server = (at) => at && html`<${Named} at=${at} />`;

// The newest picture of a job that runs; nothing where it is gone when it is asked for.
// Rule: one is read to its end before the next, else a slow connection would never show any.
export function Preview({ id, source }) {
  const at = previews.value[id];
  const newest = source ?? (at ? `${UNDER}/jobs/${encodeURIComponent(id)}/preview?number=${at}` : "");
  const [{ from, isRead, isGone }, set] = useState({ from: "", isRead: true });
  useEffect(() => {
    if (isRead && newest !== from) set({ from: newest, isRead: !newest });
  }, [newest, from, isRead]);
  const read = (isGone) => set({ from, isRead: true, isGone });
  return from && !isGone ? html`<img class="preview" src=${from} alt="newest preview" onLoad=${() => read(false)} onError=${() => read(true)} />` : null;
}

// A button that does its work once, however often it is pressed meanwhile, and says why it could not.
export function Button({ run, children }) {
  const [isBusy, set] = useState(false);
  const press = () => {
    set(true);
    run().catch((error) => say(error.message)).finally(() => set(false));
  };
  return html`<button type="button" disabled=${isBusy} onClick=${press}>${children}</button>`;
}

// Text in which `backticks` set off what is typed.
export const Prose = ({ text }) => (text ?? "").split(/`([^`]+)`/).map((part, at) => (at % 2 ? html`<code>${part}</code>` : part));

export const Empty = ({ title, children }) => html`<div class="empty"><strong>${title}</strong><p>${children}</p></div>`;

export const Panel = ({ title, aside, children, wide }) => html`<section class="panel ${wide ? "wide" : ""}">
  <header><h2>${title}</h2>${aside}</header>${children}</section>`;

// A row that is a signal: it alone is drawn again when it changes. Its cells show it and signals, nothing else.
const Live = ({ row, of }) => useMemo(() => of(row.value), [row.value]);

export function Table({ columns, rows, id, label, empty, live }) {
  const cells = (row) => html`<tr key=${id(row)}>${columns.map(({ name, of, numeric }) => html`<td class=${numeric ? "number" : null} data-name=${name}>${of(row)}</td>`)}</tr>`;
  if (!rows.length) return empty ?? html`<p class="none">none</p>`;
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${label}><table><thead><tr>
    ${columns.map(({ name, numeric }) => html`<th scope="col" class=${numeric ? "number" : null}>${name}</th>`)}</tr></thead><tbody>
    ${rows.map((row) => (live ? html`<${Live} key=${id(row.peek())} row=${row} of=${cells} />` : cells(row)))}
  </tbody></table></div>`;
}

// What is read once: `load` returns a promise; the screen shows that it waits, or why it failed. What is read again
// is shown meanwhile as it was, but under another name, such as a filter, it would be taken for what that selects.
export function useLoaded(load, depends, name = "") {
  const [state, set] = useState({});
  const [turn, repeat] = useState(0);
  useEffect(() => {
    const aborts = new AbortController();
    load(aborts.signal).then(
      (value) => set({ name, value }),
      (error) => error.name === "AbortError" || set((before) => ({ ...(before.name === name ? before : { name }), error })),
    );
    return () => aborts.abort();
  }, [...depends, turn]);
  return { ...(state.name === name ? state : {}), again: () => repeat((number) => number + 1) };
}

export function Loaded({ of: { value, error, again }, children }) {
  if (value !== undefined) return html`${error && html`<${Failed} error=${error} again=${again} />`}${children(value)}`;
  if (error) return html`<${Failed} error=${error} again=${again} />`;
  return html`<p class="waiting" aria-busy="true">Reading …</p>`;
}

export const Failed = ({ error, again }) => html`<div class="failed" role="alert">
  <strong>${error.status === 404 ? "Not found" : error.status === 403 ? "Not yours to see" : "That did not work"}</strong>
  <p>${error.message}</p>${again && html`<button type="button" onClick=${again}>Try again</button>`}</div>`;

// A question before what cannot be undone: { title, text, verb, run, reason, given }; `reason` is the label of a
// text that is asked for, too, and `given` what it begins with.
export const WHY = "Why (others will read it)";
const question = signal(null);
export const confirmed = (asked) => (question.value = asked);

export function Question() {
  const dialog = useRef();
  const [reason, setReason] = useState("");
  const [state, set] = useState({});
  const asked = question.value;
  useEffect(() => {
    if (!asked) return;
    setReason(asked.given ?? "");
    set({});
    dialog.current.showModal();
  }, [asked]);
  if (!asked) return null;
  const close = () => (question.value = null);
  const run = async (event) => {
    event.preventDefault();
    set({ busy: true });
    try {
      say(await asked.run(reason));
      close();
    } catch (error) {
      set({ error });
    }
  };
  return html`<dialog ref=${dialog} onClose=${close} aria-labelledby="asked"><form onSubmit=${run}>
    <h2 id="asked">${asked.title}</h2><div>${asked.text}</div>
    ${asked.reason && html`<label>${asked.reason} <input required=${!!asked.given} value=${reason} onInput=${(e) => setReason(e.target.value)} maxlength="500" /></label>`}
    ${state.error && html`<${Failed} error=${state.error} />`}
    <p class="verbs"><button type="button" onClick=${close}>Leave it</button>
    <button class="strong" disabled=${state.busy}>${asked.verb}</button></p></form></dialog>`;
}

const said = signal({ text: "", at: 0 });
let hush;

export function say(text) {
  said.value = { text: text ?? "", at: Date.now() };
  clearTimeout(hush);
  hush = setTimeout(() => (said.value = { text: "", at: 0 }), 6000);
}

export const Said = () => html`<div class="said" role="status">${said.value.text}</div>`;

export const content = (asset) => `${BASE}api/v2/assets/${encodeURIComponent(asset)}/content`;

const NOT_STORED = {
  kept: "stays on its server", open: "on its server until the job has ended", gone: "not stored: its server did not have it any more",
  unreachable: "not stored: its server did not answer", too_large: "not stored: it is too large", quota: "not stored: the quota of its user was full",
  store_full: "not stored: the store could not take it", missed: "not stored: its runner did not receive it", skipped: "not stored: a preview, or one more than are stored of a job",
};

// A picture that opens in full; what is no picture is a link.
export function Picture({ file }) {
  const source = file.asset && content(file.asset);
  const name = file.filename || file.name || "file";
  if (!source) return html`<span class="file">${name} <small>(${NOT_STORED[file.why] ?? "not stored"})</small></span>`;
  const kind = (file.media_type || "").split("/")[0];
  const small = file.thumbnail?.asset ? content(file.thumbnail.asset) : source;
  return html`<figure class="picture"><a href=${source} target="_blank" rel="noopener">
    ${kind === "image" ? html`<img src=${small} alt=${name} loading="lazy" width=${file.width} height=${file.height} />`
      : kind === "video" ? html`<video src=${source} controls preload="metadata" />` : html`<span class="file">${name}</span>`}</a>
    <figcaption>${name}</figcaption></figure>`;
}
