// Where the reader is: the path below /console and its query, as a signal. The address bar is the state.

import { computed, signal } from "@preact/signals";

// The gateway may stand below a path of another application: this script knows where it came from.
export const BASE = new URL("..", import.meta.url).pathname;
const ROOT = `${BASE}console`;

const place = signal(read());

function read() {
  const path = location.pathname.slice(ROOT.length).replace(/^\/+|\/+$/g, "");
  return { path, search: new URLSearchParams(location.search) };
}

export const path = computed(() => place.value.path.split("/").map(decoded));
export const search = computed(() => place.value.search);

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export const address = (...parts) => `${ROOT}/${parts.map(encodeURIComponent).join("/")}`;

export function go(to, { replace = false } = {}) {
  if (to === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", to);
  place.value = read();
  if (!replace) scrollTo(0, 0);
}

addEventListener("popstate", () => (place.value = read()));

// Links stay links: a new tab, a middle click and a copied address work as everywhere.
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!link || !isPlain || link.target || link.hasAttribute("download") || !link.pathname.startsWith(ROOT) || link.origin !== location.origin) return;
  event.preventDefault();
  go(link.pathname + link.search);
});
