// Servers and runners: what each holds, and taking them out of service.

import { act } from "../api.js";
import { span } from "../format.js";
import { html } from "../html.js";
import { confirmed, Empty, Panel, say, Table } from "../parts.js";
import { farm, may } from "../store.js";
import { Run } from "./board.js";

const WORDS = {
  drain: { title: "Let it take no new jobs?", text: "What runs or waits there goes on to its end.", verb: "Drain", done: "takes no new jobs." },
  retire: { title: "Take it out of service?", text: "Jobs that wait there are taken back and run elsewhere; what runs is left to its end.", verb: "Retire", done: "is out of service." },
};

function Verbs({ backend }) {
  if (!may.value.operate) return null;
  const name = { backend: backend.address ?? backend.name };
  const asked = (verb) => confirmed({ ...WORDS[verb], title: `${backend.name}: ${WORDS[verb].title}`, run: () => act(`backends/${verb}`, name).then(() => `${backend.name} ${WORDS[verb].done}`) });
  const back = () => act("backends/return", name).then(() => say(`${backend.name} takes jobs again.`), (error) => say(error.message));
  return html`<span class="verbs">${backend.retired || backend.drained ? html`<button type="button" onClick=${back}>Return</button>`
    : html`<button type="button" onClick=${() => asked("drain")}>Drain …</button><button type="button" onClick=${() => asked("retire")}>Retire …</button>`}</span>`;
}

export function Backends() {
  const { backends, runners = [], running = [] } = farm.value;
  if (!backends) return html`<p class="waiting" aria-busy="true">Reading …</p>`;
  const of = (one) => running.filter((run) => run.backend === one.name || run.backend === one.address);
  const drain = (runner) => confirmed({ title: `Drain ${runner.name}?`, text: "It takes no new jobs, ends what it can and hands over the rest, as after SIGTERM.", verb: "Drain", run: () => act(`runners/${encodeURIComponent(runner.name)}/drain`).then(() => `${runner.name} drains.`) });
  return html`<h1>Backends</h1>
    <${Panel} title="ComfyUI servers" wide>${html`<${Table} label="Servers" id=${(one) => one.name} rows=${backends} empty=${html`<${Empty} title="No server yet">Start a runner with <code>--comfyui URL</code>.<//>`} columns=${[
      { name: "server", of: (one) => html`<b>${one.name}</b>${one.address === one.name ? "" : html`<br /><small>${one.address}</small>`}` },
      { name: "state", of: (one) => html`<span class="state ${one.up ? "up" : "down"}">${one.retired ? `retired by ${one.retired}` : one.drained ? `drained by ${one.drained}` : one.up ? "up" : one.why || "down"}</span>` },
      { name: "slots", numeric: true, of: (one) => `${of(one).length} / ${one.slots}` },
      { name: "labels", of: (one) => (one.labels ?? []).join(", ") },
      { name: "holds", of: (one) => of(one).map((run) => html`<${Run} key=${run.job_id} run=${run} />`) },
      { name: "", of: (one) => html`<${Verbs} backend=${one} />` }]} />`}<//>
    <${Panel} title="Runners" wide><${Table} label="Runners" id=${(one) => one.name} rows=${runners} columns=${[
      { name: "runner", of: (one) => one.name }, { name: "version", of: (one) => one.version }, { name: "holds", numeric: true, of: (one) => one.leases },
      { name: "slots", numeric: true, of: (one) => one.slots }, { name: "heard of", numeric: true, of: (one) => `${span(one.unseen_s)} ago` },
      { name: "", of: (one) => (one.draining ? "drains" : may.value.operate && html`<button type="button" onClick=${() => drain(one)}>Drain …</button>`) }]} /><//>`;
}
