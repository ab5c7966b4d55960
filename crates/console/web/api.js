// @ts-check
// The public HTTP API of this server, and nothing else.
import { useEffect, useRef, useState } from "./view.js";

/** The address below which the API is; the console may be mounted below another path. */
export const BASE = new URL("../../", import.meta.url);
const KEY = `brigade.key:${BASE.pathname}`;

/** An answer of the server that is not a success, or status 0 if there was none. */
export class ApiError extends Error {
  /** @param {number} status @param {string} code @param {string} message */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
    /** @type {any} */ this.body = undefined;
  }
}

export const getKey = () => sessionStorage.getItem(KEY) ?? "";
/** Kept until the tab is closed. @param {string} key */
export function setKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
  window.dispatchEvent(new Event("brigade:key"));
}

/** @param {string} path @param {RequestInit} [options] */
async function send(path, options = {}) {
  const headers = new Headers(options.headers);
  const key = getKey();
  if (key) headers.set("authorization", `Bearer ${key}`);
  let response;
  try {
    response = await fetch(new URL(path, BASE), { ...options, headers, redirect: "error", credentials: "omit", cache: "no-store" });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(0, "offline", "The server does not answer. Is it running, and can this machine reach it?");
  }
  if (response.ok) return response;
  let body;
  try {
    body = await response.json();
  } catch {
    body = {};
  }
  const { code = "", message = `The server answered with status ${response.status}.` } = body.error ?? {};
  throw Object.assign(new ApiError(response.status, String(code), String(message)), { body });
}

/** @param {string} path @param {AbortSignal} [signal] */
export const get = async (path, signal) => (await send(path, { signal })).json();

/** @param {string} path @param {unknown} [body] */
export const post = async (path, body = {}) =>
  (await send(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) })).json();

/** `a=1&b=2` of the values that are set. @param {Record<string, unknown>} values */
export function query(values) {
  const set = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return new URLSearchParams(set.map(([name, value]) => [name, String(value)])).toString();
}

/** Reads server-sent events until the server ends them. EventSource cannot send a key.
 * @param {string} path @param {string} after @param {(event: {event: string, id: string, data: any}) => void} onEvent
 * @param {AbortSignal} signal */
export async function follow(path, after, onEvent, signal) {
  const response = await send(path, { signal, headers: after ? { "last-event-id": after } : {} });
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  if (!reader) return;
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      const frame = { event: "message", id: "", data: "" };
      for (const line of text.slice(0, end).split("\n")) {
        const colon = line.indexOf(":");
        const name = colon < 0 ? line : line.slice(0, colon);
        const rest = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (name === "data") frame.data += frame.data ? `\n${rest}` : rest;
        else if (name === "event" || name === "id") frame[name] = rest;
      }
      text = text.slice(end + 2);
      if (!frame.data) continue;
      try {
        frame.data = JSON.parse(frame.data);
      } catch {
        continue;
      }
      onEvent(frame);
    }
  }
}

/** The answer of a GET, repeated `every` so many milliseconds while the page is visible. A failed repetition keeps the
 * last answer. Nothing is requested without a path.
 * @param {string | null} path @param {number} [every]
 * @returns {{data: any, error: ApiError | null, loading: boolean, reload: () => void}} */
export function useGet(path, every) {
  const [state, setState] = useState({ path, data: null, error: null, loading: true });
  const reload = useRef(() => {});
  useEffect(() => {
    if (!path) return undefined;
    const abort = new AbortController();
    let timer = 0;
    let failures = 0;
    const load = async () => {
      clearTimeout(timer);
      try {
        const data = await get(path, abort.signal);
        failures = 0;
        setState({ path, data, error: null, loading: false });
      } catch (error) {
        if (abort.signal.aborted) return;
        failures += 1;
        setState((last) => ({ path, data: last.path === path ? last.data : null, error, loading: false }));
      }
      if (every && !document.hidden) timer = setTimeout(load, Math.min(every * 2 ** failures, 30_000));
    };
    const onVisible = () => document.hidden || load();
    reload.current = load;
    setState((last) => (last.path === path ? last : { path, data: null, error: null, loading: true }));
    load();
    if (every) document.addEventListener("visibilitychange", onVisible);
    window.addEventListener("brigade:key", load);
    return () => {
      abort.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", onVisible);
      window.removeEventListener("brigade:key", load);
    };
  }, [path, every]);
  const current = state.path === path ? state : { data: null, error: null, loading: true };
  return { ...current, reload: () => reload.current() };
}
