// @ts-check
// The list of runs.
import { html, useEffect, useMemo, useRef, useState } from "./view.js";
import { get, query as toQuery, useGet } from "./api.js";
import { count, dollars, duration, plain, plural } from "./format.js";
import { Outcome, STOPS, outcomeOf, stopName } from "./icons.js";
import { go, href, setQuery } from "./route.js";
import { Ago, Money, Stale, State, useNow } from "./parts.js";

const PAGE = 100;
const EVERY = 2000;
const ROW = 32;
const TIMES = [["", "any time"], ["900", "last 15 min"], ["3600", "last hour"], ["86400", "last 24 h"], ["604800", "last 7 d"]];

/** A trace id, its first digits as they are on log lines, or the id of a run. */
const isTrace = (text) => /^[0-9a-f]{8,32}$/i.test(text);
const isRun = (text) => /^[0-9a-f]{8}-[0-9a-f]{4}-/i.test(text) && text.length === 36;

/** The filter as the API takes it. @param {Record<string, string>} query */
function toFilter(query) {
  const { outcome = "", agent, key, session, since, cost, q = "" } = query;
  const isStop = STOPS.includes(outcome);
  const start = since ? new Date(Math.floor(Date.now() / 60_000) * 60_000 - Number(since) * 1000).toISOString() : "";
  return toQuery({
    limit: PAGE, agent, key, session_id: session, since: start, min_cost_usd: cost, stop: isStop ? outcome : "", status: isStop ? "" : outcome,
    trace: isTrace(q) ? q.toLowerCase() : "",
  });
}

/** Runs of the newest page, which is loaded again and again, and of older pages, which are loaded on demand. */
function useRuns(filter) {
  const state = useGet(`v1/runs?${filter}`, EVERY);
  const [older, setOlder] = useState({ filter, runs: [], more: true, busy: false });
  useEffect(() => setOlder({ filter, runs: [], more: true, busy: false }), [filter]);
  const known = useRef(new Map());
  const runs = useMemo(() => {
    const newest = state.data?.data ?? [];
    const last = newest.at(-1)?.id ?? "";
    // Runs that slid off the newest page since it was first loaded stay.
    if (known.current.filter !== filter) known.current = Object.assign(new Map(), { filter });
    for (const run of [...older.runs, ...newest]) known.current.set(run.id, run);
    if (state.data && !state.data.has_more) for (const id of known.current.keys()) if (id > last && !newest.some((run) => run.id === id)) known.current.delete(id);
    return [...known.current.values()].sort((a, b) => (a.id < b.id ? 1 : -1));
  }, [state.data, older.runs, filter]);
  // Runs of older pages that still work, a few at a time.
  const working = older.runs.filter((run) => ["running", "ready", "waiting"].includes(run.status)).slice(0, 10).map((run) => run.id).join();
  useEffect(() => {
    if (!working) return undefined;
    const refresh = async () => {
      const found = await Promise.all(working.split(",").map((id) => get(`v1/runs/${id}`).catch(() => null)));
      const byId = new Map(found.filter(Boolean).map((run) => [run.id, run]));
      setOlder((now) => ({ ...now, runs: now.runs.map((run) => byId.get(run.id) ?? run) }));
    };
    const timer = setInterval(() => document.hidden || refresh(), 5000);
    return () => clearInterval(timer);
  }, [working]);
  const hasMore = Boolean(state.data?.has_more) && older.more;
  const loadMore = async () => {
    const last = runs.at(-1);
    if (!hasMore || older.busy || !last) return;
    setOlder((now) => ({ ...now, busy: true }));
    try {
      const page = await get(`v1/runs?${filter}&before=${last.id}`);
      setOlder((now) => (now.filter === filter ? { filter, runs: [...now.runs, ...page.data], more: page.has_more, busy: false } : now));
    } catch {
      setOlder((now) => ({ ...now, busy: false }));
    }
  };
  return { state, runs, hasMore, busy: older.busy, loadMore };
}

/** What is worth knowing about a run at one glance. */
export function noteOf(run) {
  const { result, error, waiting } = run;
  // The trace, the agent and the cost are in other columns.
  if (error) return plain(error.message).replace(/^[^:]{1,64}: (.*?) \(trace [0-9a-f]+, spent [^)]*\)/, "$1");
  if (waiting) return plain(waiting.note);
  const parts = [];
  if (result?.degraded?.length) parts.push(...result.degraded.map((part) => `${plain(part.part)}: ${plain(part.reason)}`));
  if (result?.notice && result.stop !== "finished") parts.push(plain(result.notice));
  if (run.retries) parts.unshift(plural(run.retries, "retry", "retries"));
  return parts.join(" · ");
}

export function tookOf(run, now) {
  if (run.result?.elapsed_ms !== undefined) return run.result.elapsed_ms;
  return run.status === "running" ? now - Date.parse(run.began_at) : undefined;
}

export function Runs({ query }) {
  const { q = "", outcome = "", agent = "", key = "", since = "", cost = "", session = "" } = query;
  const filter = useMemo(() => toFilter(query), [q, outcome, agent, key, since, cost, session]);
  const { state, runs, hasMore, busy, loadMore } = useRuns(filter);
  const models = useGet("v1/models");
  const now = useNow();
  const text = isTrace(q) ? "" : q.trim().toLowerCase();
  const shown = useMemo(() => (text ? runs.filter((run) => `${run.agent} ${run.key} ${run.session_id ?? ""} ${run.user ?? ""} ${run.trace_id} ${noteOf(run)}`.toLowerCase().includes(text)) : runs), [runs, text]);
  const isFiltered = Boolean(q || outcome || agent || key || since || cost || session);
  const keys = useMemo(() => [...new Set([...runs.map((run) => run.key), ...(key ? [key] : [])])].filter(Boolean).sort(), [runs, key]);
  if (state.error?.status === 401) return html`<${State} state=${state} />`;
  const search = (event) => {
    event.preventDefault();
    if (isRun(q.trim())) go(`runs/${q.trim()}`);
    else if (shown.length === 1) go(`runs/${shown[0].id}`);
  };
  return html`<form class="filters" role="search" onSubmit=${search}>
      <input type="search" name="q" value=${q} placeholder="search: trace, agent, key, session …" aria-label="Search runs" autocomplete="off" spellcheck="false" onInput=${(event) => setQuery({ q: event.target.value })} />
      <${Choice} label="outcome" value=${outcome} options=${[["", "any outcome"], ["running", "running"], ["waiting", "waiting"], ["failed", "failed"], ["cancelled", "cancelled"], ["interrupted", "interrupted"], ...STOPS.map((stop) => [stop, stopName(stop)])]} onChange=${(value) => setQuery({ outcome: value })} />
      <${Choice} label="agent" value=${agent} options=${[["", "any agent"], ...(models.data?.data ?? []).map((model) => [model.id, plain(model.id)])]} onChange=${(value) => setQuery({ agent: value })} />
      ${keys.length > 1 || key ? html`<${Choice} label="key" value=${key} options=${[["", "any key"], ...keys.map((name) => [name, plain(name)])]} onChange=${(value) => setQuery({ key: value })} />` : null}
      <${Choice} label="time" value=${since} options=${TIMES} onChange=${(value) => setQuery({ since: value })} />
      <${Choice} label="cost" value=${cost} options=${[["", "any cost"], ["0.01", "≥ $0.01"], ["0.10", "≥ $0.10"], ["1.00", "≥ $1.00"], ["10.00", "≥ $10.00"]]} onChange=${(value) => setQuery({ cost: value })} />
      ${isFiltered && html`<a class="clear" href=${href("runs")}>clear</a>`}
      <${Summary} runs=${shown} hasMore=${hasMore} state=${state} />
    </form>
    <${Stale} state=${state} />
    ${!state.data && !runs.length ? html`<${State} state=${state} />` : shown.length ? html`<${Table} runs=${shown} now=${now} onEnd=${loadMore} />` : html`<${Nothing} isFiltered=${isFiltered} />`}
    ${hasMore && html`<p class="more"><button type="button" onClick=${loadMore} disabled=${busy}>${busy ? "loading …" : "older runs"}</button></p>`}`;
}

function Choice({ label, value, options, onChange }) {
  return html`<select aria-label=${label} value=${value} class=${value ? "set" : ""} onChange=${(event) => onChange(event.target.value)}>
    ${options.map(([name, text]) => html`<option value=${name} selected=${name === value}>${text}</option>`)}
  </select>`;
}

function Summary({ runs, hasMore, state }) {
  const tones = runs.map((run) => outcomeOf(run));
  const parts = [`${count(runs.length)}${hasMore ? "+" : ""} ${runs.length === 1 ? "run" : "runs"}`];
  const cost = runs.reduce((sum, run) => sum + Number(run.cost_usd ?? 0), 0);
  if (cost) parts.push(dollars(cost));
  const degraded = tones.filter(({ name }) => name === "degraded").length;
  const failed = tones.filter(({ tone }) => tone === "bad").length;
  if (degraded) parts.push(`${degraded} degraded`);
  if (failed) parts.push(`${failed} failed`);
  return html`<span class="summary">${parts.join(" · ")} <span class=${state.error ? "tone-bad" : "tone-live"}><svg class="dot" viewBox="0 0 8 8" width="8" height="8" aria-hidden="true"><circle cx="4" cy="4" r="4" /></svg> ${state.error ? "offline" : "live"}</span></span>`;
}

function Nothing({ isFiltered }) {
  return isFiltered
    ? html`<div class="empty"><p>No run matches this filter.</p><a class="button" href=${href("runs")}>show all runs</a></div>`
    : html`<div class="empty"><p>No runs yet.</p><p class="quiet">Runs of <code>POST /v1/runs</code> and <code>POST /v1/chat/completions</code> are listed here while they work and after they end.</p><a class="button primary" href=${href("try")}>try one</a></div>`;
}

/** Only the rows near the visible part of the page exist, so that thousands of runs are as fast as ten. */
function useWindow(length, row) {
  const body = useRef(null);
  const [range, setRange] = useState([0, 60]);
  useEffect(() => {
    const update = () => {
      const top = body.current?.getBoundingClientRect().top ?? 0;
      const first = Math.max(0, Math.floor(-top / row) - 20);
      const last = first + Math.ceil(innerHeight / row) + 40;
      setRange((now) => (now[0] === first && now[1] === last ? now : [first, last]));
    };
    update();
    addEventListener("scroll", update, { passive: true });
    addEventListener("resize", update);
    return () => {
      removeEventListener("scroll", update);
      removeEventListener("resize", update);
    };
  }, [length, row]);
  return { body, first: Math.min(range[0], length), last: Math.min(range[1], length) };
}

function Table({ runs, now, onEnd }) {
  const { body, first, last } = useWindow(runs.length, ROW);
  useEffect(() => {
    if (last >= runs.length && runs.length >= PAGE) onEnd();
  }, [last, runs.length]);
  const onKey = (event) => {
    const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
    const row = event.target.closest?.("tr");
    if (!step || !row) return;
    event.preventDefault();
    const next = step > 0 ? row.nextElementSibling : row.previousElementSibling;
    next?.querySelector("a")?.focus();
  };
  const space = (height, name) => (height > 0 ? html`<tr key=${name} class="space" aria-hidden="true"><td colspan="9" style=${{ height: `${height}px` }}></td></tr>` : null);
  return html`<table class="runs list" aria-rowcount=${runs.length + 1}>
    <thead><tr><th>outcome</th><th>agent · trace</th><th>started</th><th class="number">took</th><th class="number wide">calls</th><th class="number wide">tokens</th><th class="number cost">cost</th><th class="wide">key</th><th class="note">note</th></tr></thead>
    <tbody ref=${body} onKeyDown=${onKey}>
      ${space(first * ROW, "above")}
      ${runs.slice(first, last).map((run) => html`<${Row} key=${run.id} run=${run} now=${now} />`)}
      ${space((runs.length - last) * ROW, "below")}
    </tbody>
  </table>`;
}

function Row({ run, now }) {
  const note = noteOf(run);
  const usage = run.result?.usage;
  const tokens = run.tokens ?? (usage ? usage.input_tokens + usage.output_tokens : undefined);
  return html`<tr onClick=${(event) => event.target.closest("a") || getSelection()?.toString() || go(`runs/${run.id}`)}>
    <td><${Outcome} run=${run} /></td>
    <td class="name"><a href=${href(`runs/${run.id}`)}><bdi>${plain(run.agent)}</bdi> <span class="mono quiet">${run.trace_id.slice(0, 8)}</span></a></td>
    <td class="quiet"><${Ago} time=${run.began_at} now=${now} /></td>
    <td class="number">${duration(tookOf(run, now))}</td>
    <td class="number wide">${count(run.calls)}</td>
    <td class="number wide">${count(tokens)}</td>
    <td class="number cost"><${Money} amount=${run.cost_usd} uncertain=${run.result?.cost?.total.uncertain} /></td>
    <td class="quiet wide"><bdi>${plain(run.key)}</bdi>${run.user && html` <span title="end user">· <bdi>${plain(run.user)}</bdi></span>`}</td>
    <td class="note quiet" title=${note}><bdi>${note}</bdi></td>
  </tr>`;
}

