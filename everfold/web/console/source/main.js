// The frame around all screens: where one is, who looks, whether the connection stands.

import { render } from "preact";

import { html, useEffect, useErrorBoundary, useRef } from "./html.js";
import { Keys, SCREENS } from "./keys.js";
import { Empty, Failed, Question, Said, Time } from "./parts.js";
import { address, path, search } from "./router.js";
import { alarms, begin, connection, hasMissed, may, me, staleSince } from "./store.js";
import { Archive } from "./screens/archive.js";
import { Assets } from "./screens/assets.js";
import { Backends } from "./screens/backends.js";
import { Board } from "./screens/board.js";
import { Consumers } from "./screens/consumers.js";
import { Doctor } from "./screens/doctor.js";
import { Job } from "./screens/job.js";
import { Jobs } from "./screens/jobs.js";
import { Moment } from "./screens/moment.js";

const VIEWS = { "": Board, jobs: Jobs, moment: Moment, backends: Backends, consumers: Consumers, assets: Assets, archive: Archive, doctor: Doctor };
const OF_ALL = new Set(["moment", "backends", "consumers", "archive", "doctor"]);

const WORDS = { connecting: "connecting …", live: "live", lost: "disconnected: what you see may be old, trying again …" };

// What cannot be shown is told, and leaves the other screens as they are.
function Screen({ at, children }) {
  const [error, reset] = useErrorBoundary();
  useEffect(() => error && reset(), [at]);
  return error ? html`<${Failed} error=${{ message: `This screen cannot be shown: ${error.message}` }} again=${reset} />` : children;
}

function Frame() {
  const [screen, id] = path.value;
  const title = useRef();
  const name = SCREENS.find(([, place]) => place === screen)?.[2] ?? "Nowhere";
  useEffect(() => {
    document.title = `${id ? `${id} – ` : ""}${name} – Everfold`;
  }, [screen, id]);
  const View = screen === "jobs" && id ? Job : VIEWS[screen];
  return html`<a class="skip" href="#main">To the content</a>
    <header class="top"><a class="brand" href=${address("")}><img src=${address("icon.svg")} alt="" width="24" height="24" /> Everfold</a>
      <nav aria-label="Screens">${SCREENS.filter(([, place]) => may.value.see || !OF_ALL.has(place)).map(([key, place, label]) => html`<a href=${address(...(place ? [place] : [""]))}
        aria-current=${place === screen ? "page" : null} title=${`g ${key}`}>${label}${place === "doctor" && alarms.value?.length ? html` <b class="badge">${alarms.value.length}</b>` : ""}</a>`)}</nav>
      <span class="who">${me.value.namespace}${me.value.user ? ` · ${me.value.user}` : ""} · ${me.value.role}</span>
      <span class="connection ${connection.value}" role="status">${WORDS[connection.value]}</span></header>
    ${staleSince.value ? html`<p class="alarm error above-all" role="status">The gateway cannot read the farm since <${Time} ms=${staleSince.value} />: what you see is of then. It goes on trying.</p>` : ""}
    ${hasMissed.value ? html`<p class="alarm above-all" role="status">More has happened while you were away than can be told. <button type="button" onClick=${() => location.reload()}>Read all again</button></p>` : ""}
    <main id="main" tabindex="-1" ref=${title}>${View ? html`<${Screen} at=${path.value.join("/") + search.value}><${View} id=${id} key=${screen + (id ?? "")} /><//>` : html`<${Empty} title="There is no such screen">
      Press <kbd>?</kbd> to see the keys, or go to the <a href=${address("")}>board</a>.<//>`}</main>
    <${Question} /><${Keys} /><${Said} />`;
}

const root = document.body.appendChild(document.createElement("div"));
root.id = "root";
render(html`<main id="main"><p class="waiting" aria-busy="true">Reading …</p></main>`, root);
begin().then(
  () => render(html`<${Frame} />`, root),
  (error) => render(html`<${Failed} error=${error} again=${() => location.reload()} />`, root),
);
