// The stored files: a gallery by user and kind.

import { ask, query } from "../api.js";
import { bytes } from "../format.js";
import { html, useState, useEffect } from "../html.js";
import { Empty, JobLink, Loaded, Picture, useLoaded } from "../parts.js";
import { address, go, search } from "../router.js";
import { may } from "../store.js";

export function Assets() {
  const [user, kind] = [search.value.get("user") ?? "", search.value.get("kind") ?? ""];
  const [pages, set] = useState([null]);
  useEffect(() => set([null]), [user, kind]);
  const cursor = pages[pages.length - 1];
  const page = useLoaded((signal) => ask(`assets${query({ user, kind, cursor, limit: 60 })}`, { signal }), [user, kind, cursor], `${kind} ${user}`);
  const to = (values) => go(address("assets") + query({ user, kind, ...values }));
  return html`<h1>Assets</h1><form class="filter" onSubmit=${(event) => { event.preventDefault(); to({ user: event.target.user?.value }); }}>
    ${may.value.see && html`<label>user <input name="user" data-filter value=${user} /></label><button>Show</button>`}
    <span class="tabs">${["", "image", "video", "audio"].map((one) => html`<button type="button" aria-pressed=${one === kind} onClick=${() => to({ kind: one })}>${one || "all"}</button>`)}</span></form>
    <${Loaded} of=${page}>${({ assets, cursor: next }) => html`${assets.length ? html`<div class="gallery">${assets.map(({ asset: one }) => html`<div key=${one.id}><${Picture} file=${{ ...one, asset: one.id, filename: one.job_id ? one.name.replace(`${one.job_id}_`, "") : one.name }} />
      <small>${one.owner && `${one.owner} · `}${bytes(one.size_bytes)}${one.job_id ? html` · <${JobLink} id=${one.job_id} />` : ""}</small></div>`)}</div>` : html`<${Empty} title=${next ? "None among the newest files" : "No files here"}>${next ? html`<b>Older</b> looks on.` : "Runners store the outputs of jobs, and uploads come here too."}<//>`}
      <p class="pages"><button type="button" disabled=${pages.length < 2} onClick=${() => set(pages.slice(0, -1))}>Newer</button><button type="button" disabled=${!next} onClick=${() => set([...pages, next])}>Older</button></p>`}<//>`;
}
