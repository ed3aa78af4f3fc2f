// Who reads the stream: how far behind each is, and the jobs whose events it could not deliver.

import { act, ask } from "../api.js";
import { count, span } from "../format.js";
import { html, useState } from "../html.js";
import { confirmed, Empty, JobLink, Loaded, Panel, say, Table, Time, useLoaded } from "../parts.js";
import { address, go, search } from "../router.js";
import { may } from "../store.js";

function Held({ name }) {
  const [turn, again] = useState(0);
  const held = useLoaded((signal) => ask(`subscriptions/${encodeURIComponent(name)}/held`, { signal }), [name, turn]);
  const done = (told) => { say(told); again(turn + 1); };
  const retry = (job_id) => act(`subscriptions/${encodeURIComponent(name)}/retry`, job_id ? { job_id } : {}).then(() => done("It is delivered again now."), (error) => say(error.message));
  const skip = (job_id) => confirmed({ title: "Leave out this event?", text: html`<p>The consumer <b>${name}</b> never gets it, and goes on with the one after it.</p>`, verb: "Skip it", run: () => act(`subscriptions/${encodeURIComponent(name)}/skip`, { job_id }).then(() => { again(turn + 1); return "It is left out."; }) });
  return html`<${Loaded} of=${held}>${({ jobs = [] }) => html`${jobs.length > 1 && may.value.operate && html`<p><button type="button" onClick=${() => retry()}>Deliver all parked again</button></p>`}<${Table} label="Held jobs" id=${(one) => one.job_id} rows=${jobs} empty=${html`<p class="none">It holds nothing.</p>`} columns=${[
    { name: "job", of: (one) => html`<${JobLink} id=${one.job_id} />` }, { name: "why", of: (one) => html`<span class="why">${one.held.why}</span>` },
    { name: "tries", numeric: true, of: (one) => one.held.failures }, { name: "since", of: (one) => html`<${Time} ms=${one.held.at_ms} />` },
    { name: "", of: (one) => may.value.operate && html`<span class="verbs"><button type="button" onClick=${() => retry(one.job_id)}>Retry</button><button type="button" onClick=${() => skip(one.job_id)}>Skip …</button></span>` }]} />`}<//>`;
}

export function Consumers() {
  const shown = search.value.get("name");
  const all = useLoaded((signal) => ask("subscriptions", { signal }), []);
  return html`<h1>Consumers</h1><${Loaded} of=${all}>${({ subscriptions }) => html`<${Panel} title="Subscriptions" wide aside=${html`<button type="button" onClick=${all.again}>Read again</button>`}>
    <${Table} label="Subscriptions" id=${(one) => one.subscription} rows=${subscriptions} empty=${html`<${Empty} title="Nobody reads the stream">A consumer is a program of yours, or a sink: <code>everfold sink webhook …</code><//>`} columns=${[
      { name: "subscription", of: (one) => html`<a href=${`${address("consumers")}?name=${encodeURIComponent(one.subscription)}`}>${one.subscription}</a>` },
      { name: "behind", numeric: true, of: (one) => `${count(one.behind_events)} events` }, { name: "oldest unread", numeric: true, of: (one) => (one.behind_events ? span(one.behind_s) : "–") },
      { name: "delivered", numeric: true, of: (one) => count(one.delivered) }, { name: "tries again", numeric: true, of: (one) => count(one.waiting) },
      { name: "parked", numeric: true, of: (one) => (one.parked ? html`<b class="badge">${count(one.parked)}</b>` : "0") }, { name: "consumers", numeric: true, of: (one) => one.consumers }]} /><//>
    ${shown && html`<${Panel} title=${`Held by ${shown}`} wide><${Held} name=${shown} key=${shown} /><//>`}`}<//>`;
}
