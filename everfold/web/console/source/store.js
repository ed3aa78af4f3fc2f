// What the console knows: who looks, the farm as it is now, and whether the connection stands.
// Rule: one stream of server-sent events per tab brings all of it; nothing asks on a timer.

import { computed, effect, signal } from "@preact/signals";

import { ask, query, refusalOf, UNDER } from "./api.js";
import { read } from "./numbers.js";
import { path } from "./router.js";

export const me = signal(null);
export const farm = signal({});
export const connection = signal("connecting");
export const nowMs = signal(Date.now());
export const today = computed(() => new Date(nowMs.value).setHours(0, 0, 0, 0));

// Parts of the farm by themselves: what shows one of them is not drawn again where only others changed.
const part = (name, none) => computed(() => farm.value[name] ?? none);
export const isKnown = computed(() => !!farm.value.at_ms);
export const alarms = part("alarms");
export const queues = part("queues");
export const backends = part("backends");
export const runners = part("runners");
export const running = part("running", []);
export const reasons = part("reasons", []);
export const recent = part("recent");
export const previews = part("previews", {});
export const counts = part("counts");
export const staleSince = part("stale_since_ms", 0);
export const hasMissed = part("has_missed", false);
const besides = part("running_besides", 0);
export const runningCount = computed(() => running.value.length + besides.value);

// What people call a server, by its address; where several have one address, that address.
const names = computed(() => {
  const found = new Map();
  for (const { address, name } of backends.value ?? []) found.set(address, found.has(address) ? address : name);
  return found;
});
export const nameOf = (address) => names.value.get(address) ?? address;

export const may = computed(() => ({
  see: me.value?.sees_all ?? false,
  run: me.value?.role === "user" || me.value?.role === "operator",
  operate: me.value?.role === "operator",
}));

// Screens hear of changed jobs, and of the events of the job that is shown.
const listeners = { jobs: new Set(), log: new Set(), live: new Set(), preview: new Set() };

export function hear(kind, listener) {
  listeners[kind].add(listener);
  return () => listeners[kind].delete(listener);
}

const shownJob = computed(() => (path.value[0] === "jobs" && path.value[1]) || "");

// The difference to the server's clock: what is shown as "for 3 s" is by that one.
let behindMs = 0;
const BEHIND_MS = 500;

// A stream on which nothing comes for so long is dead, whatever the browser takes it for: the gateway says every 15 s that it is there.
const SILENT_MS = 40000;
let heardMs = 0;
let source;
let job = "";
// Where the stream is. One that is opened anew here gets what it missed, as one does that the browser opens anew.
let after = "";
let backoffMs = 500;
let again;

const address = () => `farm/stream${query({ job, after })}`;

function connect() {
  source?.close();
  clearTimeout(again);
  heardMs = performance.now();
  source = new EventSource(`${UNDER}/${address()}`);
  source.onopen = () => {
    backoffMs = 500;
    connection.value = "live";
  };
  source.onerror = () => {
    connection.value = "lost";
    if (source.readyState !== EventSource.CLOSED) return;
    // Refused: the browser does not try again by itself.
    again = setTimeout(find, backoffMs);
    backoffMs = Math.min(backoffMs * 2, 15000);
  };
  const on = (kind, heard) => source.addEventListener(kind, (message) => {
    heardMs = performance.now();
    after = message.lastEventId;
    heard(message);
  });
  on("here", () => {});
  on("farm", ({ data }) => {
    const told = read(data);
    const now = told.at_ms - Date.now();
    farm.value = { ...farm.value, ...told };
    if (!told.at_ms || Math.abs(now - behindMs) < BEHIND_MS) return;
    behindMs = now;
    tick();
  });
  for (const kind of Object.keys(listeners)) {
    on(kind, ({ data, lastEventId }) => {
      const told = read(data);
      for (const listener of [...listeners[kind]]) listener(told, lastEventId);
    });
  }
}

// A place of another namespace, or one that is too long for what stands between.
const NO_PLACE = new Set([400, 413, 414, 422, 431]);

// Finds out why the stream was refused. A job that is not there, and a place that is none any more, are let go of.
async function find() {
  const asked = address();
  const refusal = await refusalOf(asked);
  if (asked !== address()) return;
  if (refusal?.code === "not_found") job = "";
  else if (after && NO_PLACE.has(refusal?.status)) {
    after = "";
    farm.value = { ...farm.value, has_missed: true };
  }
  connect();
}

function tick() {
  nowMs.value = Date.now() + behindMs;
}

// A clock that moves what is shown by the second, without asking anybody; it rests in a hidden tab.
setInterval(() => {
  if (!document.hidden) tick();
  if (!source || performance.now() - heardMs < SILENT_MS) return;
  connection.value = "lost";
  connect();
}, 1000);

export async function begin() {
  me.value = await ask("whoami");
  effect(() => {
    [job, after] = [shownJob.value, ""];
    connect();
  });
}
