// The archive: what of the log is kept for ever, by partition, and whether its chain is whole.

import { ask } from "../api.js";
import { count } from "../format.js";
import { html } from "../html.js";
import { Empty, Loaded, Panel, Table, Time, useLoaded } from "../parts.js";

function nothing(chains) {
  const empty = chains.filter((one) => !one.segments && !one.fault).length;
  return empty && empty < chains.length ? html`<p class="none">Of ${count(empty)} other partitions nothing is archived.</p>` : "";
}

export function Archive() {
  const found = useLoaded((signal) => ask("archive", { signal }), []);
  return html`<h1>Archive</h1><${Loaded} of=${found}>${({ place, chains }) => (place ? html`<${Panel} title=${place} wide><${Table} label="Chains" id=${(one) => one.partition} rows=${chains.filter((one) => one.segments || one.fault)} empty=${html`<p class="none">Nothing is archived yet.</p>`} columns=${[
    { name: "partition", of: (one) => one.partition }, { name: "segments", numeric: true, of: (one) => count(one.segments) }, { name: "events", numeric: true, of: (one) => count(one.events) },
    { name: "from", of: (one) => html`<${Time} ms=${one.from_ms} />` }, { name: "until", of: (one) => html`<${Time} ms=${one.until_ms} />` },
    { name: "chain", of: (one) => html`<span class="state ${one.fault ? "down" : "up"}">${one.fault || "whole"}</span>` }]} />${nothing(chains)}<//>`
    : html`<${Empty} title="There is no archive">What is trimmed from the log is gone then. Keep it: <code>everfold archive run --archive FOLDER</code><//>`)}<//>`;
}
