// Servers and runners: what each holds, and taking them out of service.

import { act, ask } from "../api.js";
import { count } from "../format.js";
import { html } from "../html.js";
import { confirmed, Empty, Loaded, Panel, say, Table, useLoaded } from "../parts.js";
import { backends, may, runners, running } from "../store.js";
import { heard, Leases, Run, runsOf } from "./board.js";

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
  if (!backends.value) return html`<p class="waiting" aria-busy="true">Reading …</p>`;
  const of = runsOf(running.value);
  const drain = (runner) => confirmed({ title: `Drain ${runner.name}?`, text: "It takes no new jobs, ends what it can and hands over the rest, as after SIGTERM.", verb: "Drain", run: () => act(`runners/${encodeURIComponent(runner.name)}/drain`).then(() => `${runner.name} drains.`) });
  return html`<h1>Backends</h1>
    <${Panel} title="ComfyUI servers" wide>${html`<${Table} label="Servers" id=${(one) => one.name + one.address} rows=${backends.value} empty=${html`<${Empty} title="No server yet">Start a runner with <code>--comfyui URL</code>.<//>`} columns=${[
      { name: "server", of: (one) => html`<b>${one.name}</b>${one.address === one.name ? "" : html`<br /><small>${one.address}</small>`}` },
      { name: "state", of: (one) => html`<span class="state ${one.up ? "up" : "down"}">${one.retired ? `retired by ${one.retired}` : one.drained ? `drained by ${one.drained}` : one.up ? "up" : one.why || "down"}</span>` },
      { name: "slots", numeric: true, of: (one) => `${of(one).length} / ${one.slots}` },
      { name: "models", numeric: true, of: (one) => (one.models === null ? "–" : count(one.models)) },
      { name: "boot", of: (one) => html`<span class="id">${one.boot.slice(0, 8) || "–"}</span>` },
      { name: "labels", of: (one) => (one.labels ?? []).join(", ") },
      { name: "holds", of: (one) => of(one).map((run) => html`<${Run} key=${run.job_id} run=${run} />`) },
      { name: "", of: (one) => html`<${Verbs} backend=${one} />` }]} />`}<//>
    <${Panel} title="Runners" wide><${Table} label="Runners" id=${(one) => one.name} rows=${runners.value ?? []} empty=${html`<${Empty} title="No runner is registered">Nothing runs without one: <code>everfold runner --comfyui URL</code><//>`} columns=${[
      { name: "runner", of: (one) => one.name }, { name: "version", of: (one) => one.version }, { name: "holds", of: (one) => html`<${Leases} runner=${one} />` },
      { name: "slots", numeric: true, of: (one) => one.slots }, { name: "heard of", numeric: true, of: heard },
      { name: "", of: (one) => (one.draining ? "drains" : may.value.operate && html`<button type="button" onClick=${() => drain(one)}>Drain …</button>`) }]} /><//>
    <${Capabilities} key=${backends.value.map((one) => one.models).join()} />`;
}

// What some servers have and others lack: why a job may run here and not there.
function Capabilities() {
  const found = useLoaded((signal) => ask("capabilities", { signal }), []);
  return html`<${Panel} title="What they have" wide><${Loaded} of=${found}>${({ servers, common_classes, common_models, differences, differences_besides }) => html`
    <p>All servers have ${count(common_classes)} node classes and ${count(common_models)} model files in common.${servers.some((one) => !one.is_known) ? " Of some nobody knows yet what they have." : ""}</p>
    ${differences.length ? html`<${Table} label="Differences" id=${(one) => one.kind + one.name} rows=${differences} columns=${[{ name: "only some have", of: (one) => one.name }, { name: "kind", of: (one) => one.kind },
      ...servers.map((server, place) => ({ name: server.name, of: (one) => (!server.is_known ? "?" : one.has.includes(place) ? "✓ has it" : html`<span class="why">lacks it</span>`) }))]} />` : html`<p class="none">${servers.length > 1 ? "They do not differ." : "Nothing to compare."}</p>`}
    ${differences_besides ? html`<p class="none">and ${count(differences_besides)} more</p>` : ""}`}<//><//>`;
}
