// @ts-check
// Numbers, times and text as people read them.

/** Text from models, tools and providers. Characters that hide or reorder other text become visible. Lines stay if `lines`.
 * @param {unknown} value @param {boolean} [lines] */
export function plain(value, lines = false) {
  return String(value ?? "").replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, (character) => {
    if (lines && (character === "\n" || character === "\t")) return character;
    const code = character.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    if (code === 0x7f) return "\u2421";
    return `\u27e8${code.toString(16).toUpperCase().padStart(4, "0")}\u27e9`;
  });
}

/** @param {unknown} value */
export function count(value) {
  return typeof value === "number" && Number.isFinite(value) ? Math.round(value).toLocaleString("en-US") : "";
}

/** `1 retry`, `2 retries`. @param {number} number @param {string} one @param {string} [many] */
export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** US dollars, which the API writes as decimal text. Absent is not zero. @param {unknown} amount */
export function dollars(amount) {
  if (amount === undefined || amount === null || amount === "") return "";
  const value = Number(amount);
  if (!Number.isFinite(value)) return "";
  const size = Math.abs(value);
  const sign = value < 0 ? "\u2212$" : "$";
  if (size >= 1) return sign + size.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  if (size === 0) return "$0.0000";
  if (size >= 0.001) return sign + size.toFixed(4);
  if (size >= 0.0001) return sign + size.toFixed(5);
  return size >= 0.0000005 ? sign + size.toFixed(6) : `< ${sign}0.000001`;
}

/** A cap that somebody wrote: without meaningless zeros. @param {unknown} amount */
export function cap(amount) {
  const value = Number(amount);
  return value >= 0.01 ? `$${value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 4 })}` : dollars(amount);
}

/** @param {number | undefined | null} ms */
export function duration(ms) {
  if (ms === undefined || ms === null || !Number.isFinite(ms)) return "";
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 0.0995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 0.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} m`;
}

/** @param {number} time @param {number} now both in milliseconds */
export function ago(time, now) {
  const seconds = Math.max(0, Math.round((now - time) / 1000));
  if (seconds < 2) return "now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

/** The exact time, in the zone of the reader and in UTC as in the logs. @param {string | number} time */
export function exact(time) {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? "" : `${date.toLocaleString()} \u00b7 ${date.toISOString()}`;
}

/** `over_budget` as words. @param {unknown} name */
export function words(name) {
  return plain(name).replaceAll("_", " ");
}

/** The name of a model without its provider. @param {unknown} model */
export function shortModel(model) {
  return plain(model).replace(/^[^/]*\//, "");
}
