// What doctor finds: what is wrong, and what to do about it.

import { ask } from "../api.js";
import { html } from "../html.js";
import { Ago, Loaded, Panel, Prose, useLoaded } from "../parts.js";

export function Doctor() {
  const found = useLoaded((signal) => ask("doctor", { signal }), []);
  const row = (one) => html`<p class="alarm ${one.is_well ? "well" : ""}" key=${one.what}><b>${one.is_well ? "✓" : "✗"} ${one.what}</b> <${Prose} text=${one.found} /> <span><${Prose} text=${one.advice} /></span></p>`;
  return html`<h1>Doctor</h1><${Loaded} of=${found}>${({ findings, to_change, at_ms }) => html`<${Panel} title=${to_change ? `${to_change} to change` : "All is well"} wide
    aside=${html`<span class="verbs"><${Ago} ms=${at_ms} /><button type="button" onClick=${found.again}>Look again</button></span>`}>
    ${[...findings].sort((a, b) => a.is_well - b.is_well).map(row)}<//>`}<//>`;
}
