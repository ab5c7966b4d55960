// @ts-check
// One run: what it did, what it answered, what it cost.
import { html, useEffect, useMemo, useState } from "./view.js";
import { follow, post, query as toQuery, useGet } from "./api.js";
import { cap, count, dollars, duration, exact, plain, plural, shortModel } from "./format.js";
import { Outcome } from "./icons.js";
import { href } from "./route.js";
import { Ago, Copy, LongText, Meter, Money, Stale, State, useNow } from "./parts.js";
import { buildTree } from "./spans.js";
import { Waterfall } from "./waterfall.js";
import { tookOf } from "./runs.js";

const isOver = (run) => ["ended", "failed", "cancelled", "interrupted"].includes(run?.status);

/** The events of a run, past and future. Events that come together are shown together. */
function useEvents(id, onEnd) {
  const [state, setState] = useState({ events: [], live: false, gap: false, error: null, loaded: false });
  useEffect(() => {
    const abort = new AbortController();
    let [events, last, gap, timer, failures, over] = [[], "", false, 0, 0, false];
    const show = (changes) => setState((now) => ({ ...now, events: [...events], gap, ...changes }));
    const soon = () => {
      timer ||= setTimeout(() => {
        timer = 0;
        show({ loaded: true });
      }, 200);
    };
    const onEvent = ({ event, id: position, data }) => {
      failures = 0;
      // The end of a run that waits has the number of the event with which it goes on.
      if (position && event !== "ended") last = position;
      if (event === "gap") gap = true;
      else if (event === "ended") {
        over = isOver(data);
        onEnd(data);
      }
      else if (data.event !== "text") events.push(data);
      soon();
    };
    const read = async () => {
      try {
        show({ live: true, error: null });
        await follow(`v1/runs/${id}/events`, last, onEvent, abort.signal);
        show({ live: false, loaded: true });
        // A run that waits, or that another process carries on, has more events later.
        if (!over) setTimeout(() => abort.signal.aborted || read(), 2000);
      } catch (error) {
        if (abort.signal.aborted) return;
        show({ live: false, error, loaded: true });
        // The server stopped or the network failed: go on after the last event.
        if (error.status === undefined || error.status === 0) setTimeout(() => abort.signal.aborted || read(), Math.min(1000 * 2 ** failures++, 15_000));
      }
    };
    read();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [id]);
  return state;
}

export function Run({ id, query, hasApprovals }) {
  const [every, setEvery] = useState(/** @type {number | undefined} */ (1000));
  const state = useGet(`v1/runs/${id}`, every);
  const [ended, setEnded] = useState(null);
  const { events, live, gap, error, loaded } = useEvents(id, (run) => {
    setEnded(run);
    state.reload();
  });
  const run = state.data ?? ended;
  const over = isOver(run);
  useEffect(() => setEvery(over ? undefined : 1000), [over]);
  const now = useNow(over ? 5000 : 250);
  const approvals = useGet(hasApprovals ? `v1/approvals?${toQuery({ run: id, limit: 100 })}` : null, over ? undefined : 3000);
  const tree = useMemo(() => buildTree(events, over ? null : now, approvals.data?.data), [events, approvals.data, over ? 0 : now]);
  if (!run) return html`<h1 class="sr">Run</h1><${State} state=${state} />`;
  const tab = query.tab ?? "waterfall";
  const tabs = [["waterfall", "Waterfall"], ["answer", "Answer"], ["money", "Money"]];
  return html`<${Head} run=${run} hasApprovals=${hasApprovals} tree=${tree} now=${now} over=${over} onCancelled=${state.reload} />
    <${Stale} state=${state} />
    <div class="tabs" role="tablist">${tabs.map(([name, label]) => html`<a role="tab" aria-selected=${String(tab === name)} href=${href(`runs/${id}`, { ...query, tab: name === "waterfall" ? "" : name })}>${label}</a>`)}</div>
    ${tab === "answer" ? html`<${Answer} run=${run} over=${over} />` : tab === "money" ? html`<${Costs} run=${run} />`
      : events.length ? html`<${Waterfall} tree=${tree} query=${query} live=${live && !over} gap=${gap} />` : html`<${NoEvents} error=${error} loaded=${loaded} over=${over} />`}`;
}

function Head({ run, hasApprovals, tree, now, over, onCancelled }) {
  const { counts } = tree;
  const { result } = run;
  const usage = result?.usage;
  const tokens = run.tokens ?? (usage ? usage.input_tokens + usage.output_tokens : undefined);
  const uncertain = Number(result?.cost?.total.uncertain ?? 0);
  // A run that waited or was resumed has been at work several times.
  const length = tree.end > tree.start ? tree.end - tree.start : 0;
  const took = Math.max(tookOf(run, now) ?? 0, over ? length : 0) || undefined;
  const workers = Math.max(0, tree.agents - 1);
  const notices = [
    run.error && ["bad", run.error.message],
    result?.notice && result.stop !== "finished" && ["warn", result.notice],
    run.waiting && ["person", run.waiting.note, hasApprovals && run.waiting.reason === "approval"],
    ...(result?.degraded ?? []).map((part) => ["warn", `${part.part}: ${part.reason}`]),
  ].filter(Boolean);
  return html`<div class="runhead">
    <h1><bdi>${plain(run.agent)}</bdi> <${Copy} text=${run.trace_id} shown=${run.trace_id.slice(0, 8)} title="copy the trace id" />
      <span class="pill"><${Outcome} run=${run} /></span>
      ${counts.retries > 0 && html`<span class="pill warn">${plural(counts.retries, "retry", "retries")}</span>`}
      ${counts.fallbacks > 0 && html`<span class="pill warn">${plural(counts.fallbacks, "fallback")}</span>`}
      ${!over && html`<${Cancel} run=${run} onCancelled=${onCancelled} />`}</h1>
    ${notices.length > 0 && html`<div class=${`notice ${notices[0][0]}`}>${notices.map(([, text, isApproval]) => html`<p><bdi>${plain(text)}</bdi>${isApproval && html` · <a href=${href("approvals")}>decide</a>`}</p>`)}</div>`}
    <dl class="facts">
      <div><dt>started</dt><dd><${Ago} time=${run.began_at} now=${now} /></dd></div>
      <div><dt>took</dt><dd>${duration(took) || "–"}${tree.waited > 50 && html` <span class="quiet">(${duration(tree.waited)} waiting)</span>`}</dd></div>
      <div><dt>calls</dt><dd>${run.calls === undefined ? "–" : count(run.calls)}${workers > 0 && ` · ${plural(workers, "worker")}`}</dd></div>
      <div><dt>tokens</dt><dd>${tokens === undefined ? "–" : count(tokens)}</dd></div>
      <div><dt>cost</dt><dd>${dollars(run.cost_usd) || "no price"}${run.limit_usd && html` of ${cap(run.limit_usd)}`}${uncertain > 0 && html` <span class="tone-warn" title="of calls that failed after they were sent: the provider may bill them">(at most; ${dollars(uncertain)} uncertain)</span>`}${run.limit_usd && html`<${Meter} used=${Number(run.cost_usd ?? 0)} limit=${Number(run.limit_usd)} />`}</dd></div>
      <div><dt>key</dt><dd><bdi>${plain(run.key)}</bdi></dd></div>
      ${run.user && html`<div><dt>user</dt><dd><bdi>${plain(run.user)}</bdi></dd></div>`}
      ${run.session_id && html`<div><dt>session</dt><dd><a href=${href("runs", { session: run.session_id })}><bdi>${plain(run.session_id)}</bdi></a></dd></div>`}
    </dl>
  </div>`;
}

function Cancel({ run, onCancelled }) {
  const [state, setState] = useState("");
  const cancel = async () => {
    if (state !== "sure") return setState("sure");
    setState("sent");
    try {
      await post(`v1/runs/${run.id}/cancel`);
      onCancelled();
    } catch (error) {
      setState(error.message);
    }
  };
  const label = { "": "cancel", sure: "cancel this run?", sent: "cancelling …" }[state] ?? plain(state);
  return html`<button type="button" class=${state === "sure" ? "danger" : ""} disabled=${state === "sent"} onClick=${cancel} onBlur=${() => setState((now) => (now === "sure" ? "" : now))}>${label}</button>`;
}

function NoEvents({ error, loaded, over }) {
  if (error?.status === 0 || error?.status === undefined && error) return html`<div class="empty" role="alert"><p class="tone-warn">offline</p><p>The events of this run cannot be read now; the page tries again.</p></div>`;
  if (error) return html`<div class="empty"><p>There is no waterfall of this run.</p><p class="quiet">${plain(error.message)}</p><p class="quiet">With <code>store = "brigade.db"</code> in the configuration, the events of all runs are kept.</p></div>`;
  return html`<div class="empty quiet" aria-busy=${String(!loaded)}><p>${loaded && over ? "No event of this run is kept." : "waiting for the first event …"}</p></div>`;
}

function Answer({ run, over }) {
  const text = run.result?.text;
  if (text) return html`<div class="panel">${run.result.model && html`<p class="quiet small">by <bdi>${shortModel(run.result.model)}</bdi>, as plain text: links and markup are not live</p>`}<${LongText} text=${text} /></div>`;
  if (!over) return html`<div class="empty quiet"><p>There is no answer yet.</p></div>`;
  return html`<div class="empty"><p>${run.result?.text === "" ? "The answer is empty." : "The answer is not kept."}</p><p class="quiet">The store keeps answers of durable runs for ${"`retention.answers`"}. Other answers are kept in memory, until the process ends or ${"`server.kept_runs`"} newer runs have ended.</p></div>`;
}

function Costs({ run }) {
  const cost = run.result?.cost;
  if (!cost) return html`<div class="empty"><p>${isOver(run) ? "The details of this cost are not kept." : "The details are shown when the run has ended."}</p><p class="quiet">All in all: ${dollars(run.cost_usd) || "no price"}. The sums of all runs are in <a href=${href("money")}>Money</a>.</p></div>`;
  const groups = [["agent", cost.by_agent], ["model", cost.by_model]];
  return html`<div class="panel">
    <p class="quiet small">charged: from usage that the provider reported · estimated: no usage was reported · uncertain: the call failed after it was sent, so the provider may bill it</p>
    ${groups.map(([name, sums]) => html`<table class="sums"><thead><tr><th>${name}</th><th class="number">calls</th><th class="number wide">tokens in</th><th class="number wide">tokens out</th><th class="number wide">charged</th><th class="number wide">estimated</th><th class="number">uncertain</th><th class="number">cost</th></tr></thead>
      <tbody>${Object.entries(sums).map(([key, sum]) => html`<${SumRow} name=${key} sum=${sum} />`)}</tbody>
      ${name === "model" && html`<tfoot><${SumRow} name="all" sum=${cost.total} /></tfoot>`}</table>`)}
    ${cost.by_tool && html`<table class="sums"><thead><tr><th>tool</th><th class="number">calls</th><th class="number">cost of workers</th></tr></thead>
      <tbody>${Object.entries(cost.by_tool).map(([name, tool]) => html`<tr><td><bdi>${plain(name)}</bdi></td><td class="number">${count(tool.calls)}</td><td class="number">${tool.spending ? html`<${Money} amount=${tool.spending.cost} />` : ""}</td></tr>`)}</tbody></table>`}
    <p class="quiet small">${"In all runs: "}<a href=${href("money")}>Money</a>${" · ended "}${exact(Date.parse(run.began_at) + (run.result.elapsed_ms ?? 0))}</p>
  </div>`;
}

function SumRow({ name, sum }) {
  return html`<tr><td><bdi>${plain(name)}</bdi>${sum.unpriced_calls > 0 && html` <span class="tone-warn">${plural(sum.unpriced_calls, "call")} without a price</span>`}</td>
    <td class="number">${count(sum.calls)}</td><td class="number wide">${count(sum.usage.input_tokens)}</td><td class="number wide">${count(sum.usage.output_tokens)}</td>
    <td class="number wide"><${Money} amount=${sum.charged} /></td><td class="number wide"><${Money} amount=${sum.estimated} /></td><td class="number"><${Money} amount=${sum.uncertain} /></td><td class="number"><${Money} amount=${sum.cost} /></td></tr>`;
}
