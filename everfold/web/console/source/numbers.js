// JSON whose whole numbers keep all of their digits: a seed of ComfyUI may have 20, and a number of a browser keeps 15.

// Nobody outside can know it, so no text of a stranger becomes a number.
const MARK = `whole${Math.random()}:`;
const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g;
const WRITTEN = new RegExp(`"${MARK}(-?\\d+)"`, "g");

export const isWhole = (text) => /^-?\d+$/.test(text);

// A number, or a BigInt where that would be another one.
export const number = (text) => (isWhole(text) && !Number.isSafeInteger(Number(text)) ? BigInt(text) : Number(text));

export function read(text) {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  const marked = text.replace(TOKENS, (token) => (isWhole(token) && typeof number(token) === "bigint" ? `"${MARK}${token}"` : token));
  return JSON.parse(marked, (_, value) => (typeof value === "string" && value.startsWith(MARK) ? BigInt(value.slice(MARK.length)) : value));
}

export const written = (value, indent) => JSON.stringify(value, (_, one) => (typeof one === "bigint" ? MARK + one : one), indent)?.replace(WRITTEN, "$1");
