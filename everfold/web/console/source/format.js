// How times, spans, numbers and bytes are written for people. Pure.

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

// 3.2 s, 41 s, 5 min 3 s, 2 h 10 min.
export function span(seconds) {
  if (!Number.isFinite(seconds) || seconds < 0) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  let rest = Math.round(seconds);
  const parts = [];
  for (const [unit, size] of UNITS) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count || parts.length) parts.push([count, unit]);
    if (parts.length === 2) break;
  }
  return parts.filter(([count]) => count).map(([count, unit]) => `${count} ${unit}`).join(" ") || "0 s";
}

export const count = (number) => number.toLocaleString("en");

export function bytes(number) {
  const step = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (number >= 1000 && at < 4) [number, at] = [number / 1000, at + 1];
  return `${at && number < 10 ? number.toFixed(1) : Math.round(number)} ${step[at]}`;
}

export const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const exact = (ms) => new Date(ms).toISOString().replace("T", " ");

// The time of day where it is of today, else with the day and to the minute.
export const moment = (ms, nowMs) => (isOneDay(ms, nowMs) ? clock(ms) : minute(ms, nowMs));

export function minute(ms, nowMs) {
  const time = new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return isOneDay(ms, nowMs) ? time : `${new Date(ms).toLocaleDateString([], { day: "numeric", month: "short" })} ${time}`;
}

const isOneDay = (one, other) => new Date(one).toDateString() === new Date(other).toDateString();

export const short = (id) => (id.length > 14 ? `${id.slice(0, 6)}…${id.slice(-6)}` : id);
