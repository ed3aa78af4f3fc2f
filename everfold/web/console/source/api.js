// What the console asks of the gateway: public routes below /everfold/v1, in JSON.
// Rule: a refusal is an Error with a sentence for people; a lost login leads to the login page.

import { read as parsed, written } from "./numbers.js";
import { BASE } from "./router.js";

export const UNDER = `${BASE}everfold/v1`;

export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    Object.assign(this, { status, code });
  }
}

const WITHIN_S = 60;

async function sent(path, { method = "GET", body, signal }) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  const ends = AbortSignal.any([AbortSignal.timeout(WITHIN_S * 1000), ...(signal ? [signal] : [])]);
  try {
    return await fetch(`${UNDER}/${path}`, { method, headers, body: body === undefined ? undefined : written(body), signal: ends });
  } catch (error) {
    throw unanswered(error);
  }
}

function unanswered(error) {
  if (error.name === "AbortError") return error;
  return new Refused(0, "unreachable", error.name === "TimeoutError" ? `The gateway has not answered within ${WITHIN_S} s.` : "The gateway does not answer.");
}

// What stands between may answer in the gateway's place, and in no JSON.
async function read(answer) {
  const text = await answer.text().catch((error) => { throw unanswered(error); });
  let told;
  try {
    told = text && parsed(text);
  } catch {
    throw new Refused(answer.status, "", `Something in the gateway's place answered ${answer.status}.`);
  }
  if (answer.ok) return told;
  throw new Refused(answer.status, told?.error?.code ?? "", told?.error?.message ?? `The gateway answered ${answer.status}.`);
}

async function answered(path, asked) {
  const answer = await sent(path, asked);
  if (answer.status === 401) location.assign(`${BASE}login?next=${encodeURIComponent(location.pathname + location.search)}`);
  return answer;
}

export const ask = async (path, asked = {}) => read(await answered(path, asked));

// Why a stream is refused, which the browser tells no script; null where it is not.
export async function refusalOf(path) {
  const stop = new AbortController();
  try {
    const answer = await answered(path, { signal: stop.signal });
    return answer.ok ? null : await read(answer);
  } catch (error) {
    return error;
  } finally {
    stop.abort();
  }
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
