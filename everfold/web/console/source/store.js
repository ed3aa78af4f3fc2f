// What the console knows: who looks, the farm as it is now, and whether the connection stands.
// Rule: one stream of server-sent events per tab brings all of it; nothing asks on a timer.

import { computed, effect, signal } from "@preact/signals";

import { ask, query, UNDER } from "./api.js";
import { path } from "./router.js";

export const me = signal(null);
export const farm = signal({});
export const connection = signal("connecting");
// The difference to the server's clock: what is shown as "for 3 s" is by that one.
export const behindMs = signal(0);
export const nowMs = signal(Date.now());

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

let source;
let backoffMs = 500;
let again;

function connect(job) {
  source?.close();
  clearTimeout(again);
  source = new EventSource(`${UNDER}/farm/stream${query({ job })}`);
  source.onopen = () => {
    backoffMs = 500;
    connection.value = "live";
  };
  source.onerror = () => {
    connection.value = "lost";
    if (source.readyState !== EventSource.CLOSED) return;
    // Refused: the browser does not try again by itself.
    again = setTimeout(() => connect(shownJob.value), backoffMs);
    backoffMs = Math.min(backoffMs * 2, 15000);
  };
  source.addEventListener("farm", ({ data }) => {
    const told = JSON.parse(data);
    if (told.at_ms) behindMs.value = told.at_ms - Date.now();
    farm.value = { ...farm.value, ...told };
    tick();
  });
  for (const kind of Object.keys(listeners)) {
    source.addEventListener(kind, ({ data, lastEventId }) => {
      const told = JSON.parse(data);
      for (const listener of [...listeners[kind]]) listener(told, lastEventId);
    });
  }
}

function tick() {
  nowMs.value = Date.now() + behindMs.value;
}

// A clock that moves what is shown by the second, without asking anybody; it rests in a hidden tab.
setInterval(() => document.hidden || tick(), 1000);

export async function begin() {
  me.value = await ask("whoami");
  effect(() => connect(shownJob.value));
}
