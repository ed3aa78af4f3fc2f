// The keyboard: `g b` and the like go to screens, `/` to the filter, `j` `k` through rows, `?` shows them all.

import { signal } from "@preact/signals";

import { html, useEffect, useRef } from "./html.js";
import { address, go } from "./router.js";

export const SCREENS = [
  ["b", "", "Board"], ["j", "jobs", "Jobs"], ["m", "moment", "Moment"], ["s", "backends", "Backends"], ["c", "consumers", "Consumers"],
  ["a", "assets", "Assets"], ["h", "archive", "Archive"], ["d", "doctor", "Doctor"],
];

const shown = signal(false);
let before = "";

function rows() {
  return [...document.querySelectorAll("main tbody tr")].filter((row) => row.querySelector("a"));
}

function step(by) {
  const all = rows();
  const at = all.findIndex((row) => row.contains(document.activeElement));
  const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.max(0, Math.min(all.length - 1, at + by))];
  next?.querySelector("a").focus();
  next?.scrollIntoView({ block: "nearest" });
}

addEventListener("keydown", (event) => {
  const isTyping = event.target.matches?.("input, textarea, select, [contenteditable]");
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (isTyping) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const to = before === "g" && SCREENS.find(([key]) => key === event.key);
  before = event.key;
  if (to) go(address(...(to[1] ? [to[1]] : [])));
  else if (event.key === "/") document.querySelector("[data-filter]")?.focus();
  else if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "?") shown.value = true;
  else return;
  event.preventDefault();
});

export function Keys() {
  const dialog = useRef();
  useEffect(() => {
    if (shown.value) dialog.current.showModal();
  }, [shown.value]);
  if (!shown.value) return null;
  const lines = [["/", "to the filter"], ["j  k", "down and up the rows"], ["Enter", "open the row"], ["Esc", "leave a field, close a question"],
    ...SCREENS.map(([key, , name]) => [`g ${key}`, name])];
  return html`<dialog ref=${dialog} onClose=${() => (shown.value = false)} aria-labelledby="keys"><h2 id="keys">Keys</h2>
    <dl class="pairs">${lines.map(([key, what]) => html`<dt><kbd>${key}</kbd></dt><dd>${what}</dd>`)}</dl>
    <form method="dialog"><button autofocus>Close</button></form></dialog>`;
}
