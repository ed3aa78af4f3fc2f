// What the console asks of the gateway: public routes below /everfold/v1, in JSON.
// Rule: a refusal is an Error with a sentence for people; a lost login leads to the login page.

import { BASE } from "./router.js";

export const UNDER = `${BASE}everfold/v1`;

export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    Object.assign(this, { status, code });
  }
}

export async function ask(path, { method = "GET", body, signal } = {}) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  let answer;
  try {
    const sent = body === undefined ? undefined : JSON.stringify(body);
    answer = await fetch(`${UNDER}/${path}`, { method, headers, body: sent, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "unreachable", "The gateway does not answer.");
  }
  const text = await answer.text();
  const told = text && JSON.parse(text);
  if (answer.ok) return told;
  if (answer.status === 401) location.assign(`${BASE}login?next=${encodeURIComponent(location.pathname + location.search)}`);
  throw new Refused(answer.status, told?.error?.code ?? "", told?.error?.message ?? `The gateway answered ${answer.status}.`);
}

export const act = (path, body = {}) => ask(path, { method: "POST", body });

// Parameters of a query, empty ones left out, lists repeated.
export function query(values) {
  const told = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const one of [value].flat()) if (one !== undefined && one !== null && one !== "") told.append(name, one);
  }
  const text = told.toString();
  return text && `?${text}`;
}
