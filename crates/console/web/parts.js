// @ts-check
// Small parts that several views show.
import { html, useEffect, useState } from "./view.js";
import { ago, dollars, exact, plain } from "./format.js";
import { setKey } from "./api.js";

/** An amount whose decimal point is below that of the others in its column. It is an upper bound if a part is uncertain.
 * @param {{amount: unknown, uncertain?: unknown}} props */
export function Money({ amount, uncertain }) {
  const text = dollars(amount);
  if (text && Number(uncertain) > 0) {
    const dot = text.indexOf(".");
    const title = `at most: of it ${dollars(uncertain)} uncertain, of calls that failed after they were sent`;
    return html`<span class="money" title=${title}><span class="tone-warn">≤ </span>${text.slice(0, dot)}<span class="fraction">${text.slice(dot)}</span></span>`;
  }
  if (!text) return html`<span class="money none" title="no price, or nothing was observed">–</span>`;
  const dot = text.indexOf(".");
  return html`<span class=${Number(amount) === 0 ? "money zero" : "money"}>${text.slice(0, dot)}<span class="fraction">${text.slice(dot)}</span></span>`;
}

/** The current time, for all relative times on the page. @param {number} every */
export function useNow(every = 1000) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => document.hidden || setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

/** @param {{time: string, now: number}} props */
export function Ago({ time, now }) {
  return html`<time datetime=${time} title=${exact(time)}>${ago(Date.parse(time), now)}</time>`;
}

/** A short text that can be copied. @param {{text: string, shown: string, title?: string}} props */
export function Copy({ text, shown, title = "copy" }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setCopied(true);
      setTimeout(() => setCopied(false), 1500);
    } catch {
      // Without a permission the text can still be selected by hand.
    }
  };
  return html`<button class="copy mono" type="button" title=${`${title}: ${text}`} onClick=${copy}>${copied ? "copied" : shown}</button>`;
}

/** A bar that shows how much of a limit is used. @param {{used: number, reserved?: number, limit: number}} props */
export function Meter({ used, reserved = 0, limit }) {
  const share = (value) => `${Math.min(100, limit > 0 ? (100 * value) / limit : 100)}%`;
  const tone = used >= limit ? "bad" : used >= 0.8 * limit ? "warn" : "";
  return html`<span class="meter" role="img" aria-label=${`${dollars(used)} of ${dollars(limit)} used`}>
    <span class="reserved" style=${{ width: share(used + reserved) }}></span><span class=${`used ${tone}`} style=${{ width: share(used) }}></span>
  </span>`;
}

/** Long text from a model: only ever text. */
const MANY = 20_000;
/** @param {{text: string}} props */
export function LongText({ text }) {
  const [all, setAll] = useState(false);
  const shown = all ? text : text.slice(0, MANY);
  return html`<div class="long"><pre dir="auto" tabindex="0">${plain(shown, true)}</pre>
    ${shown.length < text.length && html`<button type="button" onClick=${() => setAll(true)}>show all ${text.length.toLocaleString("en-US")} characters</button>`}</div>`;
}

/** What a view shows in place of data: that it loads, why it failed, or that there is nothing.
 * @param {{state: {data: any, error: any, loading: boolean, reload: () => void}, children?: any}} props */
export function State({ state }) {
  if (state.error?.status === 401) return html`<${KeyForm} message=${state.error.code === "invalid_api_key" ? state.error.message : ""} />`;
  if (state.error && !state.data) {
    const offline = state.error.status === 0;
    return html`<div class="empty" role="alert"><p class=${offline ? "tone-warn" : "tone-bad"}>${offline ? "offline" : `error ${state.error.status}`}</p>
      <p>${plain(state.error.message)}</p><button type="button" onClick=${state.reload}>try again</button></div>`;
  }
  if (state.loading && !state.data) return html`<div class="empty quiet" aria-busy="true"><p>loading …</p></div>`;
  return null;
}

/** A line above data that is not current any more. */
export function Stale({ state }) {
  if (!state.error || !state.data || state.error.status === 401) return null;
  return html`<p class="stale" role="status">${state.error.status === 0 ? "The server does not answer. This is the last that it sent." : plain(state.error.message)}</p>`;
}

export function KeyForm({ message }) {
  const [key, write] = useState("");
  const submit = (event) => {
    event.preventDefault();
    setKey(key.trim());
  };
  return html`<form class="empty keyform" onSubmit=${submit}>
    <h2>This server needs an API key</h2>
    <p>You see what the key may see: its own runs, or with the scope <code>admin</code> those of all keys. It is kept in this tab until the tab is closed, and sent to this server only.</p>
    <label for="key">API key</label>
    <input id="key" name="key" type="password" autocomplete="off" spellcheck="false" autofocus value=${key} onInput=${(event) => write(event.target.value)} />
    <button type="submit" class="primary" disabled=${!key.trim()}>open</button>
    ${message && html`<p class="quiet">${plain(message)}</p>`}
    <p class="quiet">An operator creates one with <code>brigade keys new NAME</code>.</p>
  </form>`;
}
