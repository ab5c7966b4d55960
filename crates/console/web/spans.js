// @ts-check
// Turns the events of a run into a tree of spans: agent, turn, attempt or tool, and each wait, retry and refusal as a span
// of its own.
import { count, dollars, duration, plain, plural, shortModel, words } from "./format.js";

/** @typedef {{
 *   id: string, kind: string, label: string, note: string, start: number, end: number | null, depth: number,
 *   tokens: number | null, cost: number | null, children: Span[], facts: string[][], text: string, parent: Span | null,
 *   sums?: boolean, uncertain?: number | null, open?: boolean, failed?: boolean, stop?: string,
 * }} Span */

/** What each kind of failure means for a person, and what happens next. */
const FAILURES = {
  caller: "The request is not valid, so a retry would fail again.",
  no_such_model: "The provider does not serve this model to this account.",
  auth: "The provider did not accept the key. Check it with `brigade doctor`.",
  quota: "The account at the provider has no money left.",
  rate_limited: "The provider's rate limit was exceeded. Nothing was generated, so nothing is billed.",
  overloaded: "The provider had no capacity. It refused before it generated anything, so nothing is billed.",
  unreachable: "No connection could be made, so nothing was sent.",
  transient: "The provider or the network failed for a moment.",
  broken: "The reply was cut off or malformed.",
  refused: "The provider declined to answer.",
  context_length: "The prompt does not fit the model's context window.",
  budget: "The call would have exceeded a budget, so it was not made.",
  circuit_open: "The circuit breaker is open after too many failures, so the call was not made.",
  cancelled: "The call was cancelled.",
};

/** Builds the tree. `now` is the end of spans that are still open; without it they end at the last event.
 * @param {any[]} events @param {number | null} now @param {any[]} [approvals] those of the run */
export function buildTree(events, now, approvals = []) {
  const build = new Builder();
  for (const event of events) build.add(event);
  for (const approval of approvals) build.addApproval(approval);
  return build.finish(now);
}

class Builder {
  constructor() {
    /** @type {Span[]} */ this.roots = [];
    this.runs = new Map();
    this.last = 0;
    this.next = 0;
    this.counts = { retries: 0, fallbacks: 0, failures: 0, refusals: 0 };
  }

  /** @param {Span | null} parent @param {Partial<Span>} fields @returns {Span} */
  span(parent, fields) {
    const span = {
      id: String(this.next++), kind: "note", label: "", note: "", start: 0, end: null, depth: parent ? parent.depth + 1 : 0,
      tokens: null, cost: null, children: [], facts: [], text: "", parent, ...fields,
    };
    (parent ? parent.children : this.roots).push(span);
    return span;
  }

  add(event) {
    const at = Date.parse(event.at);
    if (!Number.isFinite(at) || typeof event.event !== "string") return;
    this.last = Math.max(this.last, at);
    const run = this.runs.get(event.run) ?? this.open(event, at);
    const handle = HANDLERS[event.event];
    if (handle) handle.call(this, run, event, at);
    else this.mark(run, at, words(event.event), "note");
  }

  /** A run of an agent, below the call of it by its supervisor. */
  open(event, at) {
    const path = String(event.agent);
    const name = path.split("/").at(-1) ?? path;
    const above = path.split("/").slice(0, -1).join("/");
    const callers = [...this.runs.values()].filter((run) => run.path === above && above);
    const calling = (run) => [...run.tools.values()].find((call) => call.tool === name && call.span.end === null && !call.worker);
    const caller = callers.findLast(calling) ?? callers.at(-1);
    const call = caller && calling(caller);
    let span;
    if (call) {
      // The agent stands for the call of the tool with its name.
      span = call.span;
      call.worker = true;
      Object.assign(span, { kind: "agent", label: plain(name), note: "", sums: true });
    } else {
      span = this.span(caller?.span ?? null, { kind: "agent", label: plain(name), start: at, sums: true });
    }
    const run = { path, span, turn: null, attempts: [], tools: new Map(), model: "" };
    this.runs.set(event.run, run);
    span.facts.push(["agent", plain(path)], ["run", plain(event.run)]);
    return run;
  }

  /** A call that waited for a person. The run had no process meanwhile, so it has no events of that. */
  addApproval(approval) {
    const [root] = this.roots;
    const start = Date.parse(approval.requested_at);
    if (!root || !Number.isFinite(start)) return;
    const end = approval.decided_at ? Date.parse(approval.decided_at) : approval.status === "pending" ? null : start;
    const by = approval.decided_by ? ` by ${plain(approval.decided_by)}` : "";
    const note = approval.status === "pending" ? "waits for approval" : `${words(approval.status)}${approval.edited ? ", edited," : ""}${by}`;
    const facts = [["tool", plain(approval.tool)], ["step", plain(approval.step)], ["expires", new Date(approval.expires_at).toLocaleString()]];
    this.span(root, { kind: "person", label: `tool ${plain(approval.tool)}`, note, start, end, facts, text: plain(approval.reason ?? "", true) });
    root.children.sort((a, b) => a.start - b.start);
    this.last = Math.max(this.last, end ?? start);
  }

  /** Something that happened at one moment. */
  mark(run, at, label, kind, facts = [], text = "") {
    return this.span(run.turn?.span ?? run.span, { kind, label, start: at, end: at, facts, text });
  }

  finish(now) {
    const end = now ?? this.last;
    const agents = [];
    let waited = [];
    const close = (span) => {
      span.open = span.end === null;
      if (span.end === null) span.end = Math.max(end, span.start);
      span.children.forEach(close);
      if (span.kind === "turn") collapse(span);
      if (span.kind === "wait" || span.kind === "person") waited.push([span.start, span.end]);
      if (span.kind === "agent") agents.push(span);
      if (span.sums && span.children.length) {
        const sum = (field) => span.children.reduce((sum, child) => (child[field] === null ? sum : (sum ?? 0) + child[field]), null);
        span.tokens ??= sum("tokens");
        span.cost ??= sum("cost");
      }
    };
    this.roots.forEach(close);
    const start = Math.min(...this.roots.map((root) => root.start));
    const last = Math.max(...this.roots.map((root) => root.end ?? 0), this.roots.length ? 0 : end);
    return { roots: this.roots, start, end: last, counts: this.counts, agents: agents.length, waited: union(waited) };
  }
}

/** A turn with one attempt that succeeded is one row. @param {Span} turn */
function collapse(turn) {
  const [only] = turn.children;
  if (turn.children.length !== 1 || only.kind !== "model" || only.children.length) return;
  turn.facts.push(...only.facts.filter(([name]) => !turn.facts.some(([known]) => known === name)));
  turn.children = [];
}

/** The time that intervals cover together. @param {[number, number][]} intervals */
function union(intervals) {
  let [sum, until] = [0, -Infinity];
  for (const [start, end] of intervals.sort((a, b) => a[0] - b[0])) {
    sum += Math.max(0, end - Math.max(start, until));
    until = Math.max(until, end);
  }
  return sum;
}

/** The time of a span that none of its children covers. @param {Span} span */
export function selfTime(span) {
  return (span.end ?? span.start) - span.start - union(span.children.map((child) => [child.start, child.end ?? child.start]));
}

/** @param {any} usage */
function usageFacts(usage) {
  if (!usage) return [];
  /** @type {[string, string][]} */
  const facts = [["tokens in", count(usage.input_tokens)], ["tokens out", count(usage.output_tokens)]];
  if (usage.cache_read_tokens) facts.push(["\u2026 from the cache", count(usage.cache_read_tokens)]);
  if (usage.cache_write_tokens) facts.push(["\u2026 into the cache", count(usage.cache_write_tokens)]);
  if (usage.reasoning_tokens) facts.push(["\u2026 for reasoning", count(usage.reasoning_tokens)]);
  return facts;
}

const tokensOf = (usage) => (usage ? (usage.input_tokens ?? 0) + (usage.output_tokens ?? 0) : null);
const costOf = (cost) => (cost === null || cost === undefined ? null : Number(cost));
const failureText = (kind) => FAILURES[kind] ?? (String(kind).startsWith("timeout") ? "The call took longer than its time limit." : "");
const model = (event) => shortModel(event.model);

/** @type {Record<string, (this: Builder, run: any, event: any, at: number) => void>} */
const HANDLERS = {
  run_started() {},
  resumed(run, event, at) {
    // What looked like the end of the run was not.
    const facts = run.span.facts.filter(([name]) => name !== "outcome");
    Object.assign(run.span, { end: null, failed: false, note: "", text: "", facts });
    const saved = event.saved && Number(event.saved) ? `, ${dollars(event.saved)} saved` : "";
    const why = run.waits ? "What the run waited for has come." : "The process ended before the run did.";
    const text = `${why} The run went on from its journal: these steps were not done again.`;
    run.waits = false;
    this.mark(run, at, `${plural(event.steps, "step")} replayed from the journal${saved}`, "replay", [], text);
  },
  run_ended(run, event, at) {
    const { span } = run;
    endTurn(run, at);
    span.end = at;
    span.tokens = tokensOf(event.usage);
    span.cost = costOf(event.cost);
    span.stop = event.stop;
    if (event.stop !== "finished" || run.waits) span.note = event.stop === "finished" ? "" : words(event.stop);
    span.facts.push(["outcome", words(event.stop)], ["turns", count(event.turns)], ...usageFacts(event.usage));
  },
  run_waiting(run, event, at) {
    // It has not ended. If it is a worker, its end comes without a `resumed` of its own.
    endTurn(run, at);
    run.waits = true;
    Object.assign(run.span, { end: at, note: "waiting", text: plain(event.reason, true) });
  },
  run_failed(run, event, at) {
    endTurn(run, at);
    Object.assign(run.span, { end: at, failed: true, note: `failed${event.error ? ` \u00b7 ${words(event.error)}` : ""}`, text: plain(event.message, true) });
    run.span.facts.push(["outcome", "failed"]);
  },
  turn_started(run, event, at) {
    endTurn(run, at);
    const span = this.span(run.span, { kind: "turn", label: `turn ${event.turn}`, note: model(event), start: at, sums: true });
    run.turn = { span, model: event.model, numbers: new Map() };
  },
  turn_ended(run, event, at) {
    const span = run.turn?.span;
    if (!span) return;
    const next = event.tool_calls ? ` \u2192 ${plural(event.tool_calls, "call")}` : event.stop === "end_turn" ? " \u00b7 answer" : ` \u00b7 ${words(event.stop)}`;
    Object.assign(span, { end: at, note: model(event) + next, tokens: tokensOf(event.usage), cost: costOf(event.cost) });
    span.facts.push(["model", plain(event.model)]);
    if (event.served) span.facts.push(["served as", plain(event.served)]);
    span.facts.push(["stop", words(event.stop)], ["tool calls", count(event.tool_calls)], ...usageFacts(event.usage));
    run.turn = null;
  },
  attempt_started(run, event, at) {
    const numbers = run.turn?.numbers ?? (run.numbers ??= new Map());
    const number = (numbers.get(event.model) ?? 0) + 1;
    numbers.set(event.model, number);
    const other = run.turn && run.turn.model !== event.model;
    const label = run.turn ? `attempt ${number}` : "call outside a turn";
    const span = this.span(run.turn?.span ?? run.span, { kind: "model", label, note: other || !run.turn ? model(event) : "", start: at });
    span.facts.push(["model", plain(event.model)]);
    run.attempts.push({ model: event.model, span });
  },
  attempt_ended(run, event, at) {
    const began = at - event.elapsed_us / 1000;
    const open = run.attempts.filter((attempt) => attempt.model === event.model && attempt.span.end === null);
    const near = (attempt) => Math.abs(attempt.span.start - began);
    const attempt = open.sort((a, b) => near(a) - near(b))[0];
    const span = attempt?.span ?? this.span(run.turn?.span ?? run.span, { kind: "model", label: "attempt", start: began, facts: [["model", plain(event.model)]] });
    span.end = at;
    const charge = event.charge;
    const isUncertain = charge?.certainty === "uncertain";
    // Bounds of what was used, not what was used.
    span.tokens = isUncertain ? null : tokensOf(charge?.usage);
    span.cost = costOf(charge?.cost);
    span.uncertain = isUncertain ? span.cost : null;
    if (event.error) {
      this.counts.failures += 1;
      Object.assign(span, { kind: "failed", note: [words(event.error), span.note].filter(Boolean).join(" \u00b7 "), text: failureText(event.error) });
      span.facts.push(["error", words(event.error)]);
    }
    if (isUncertain) span.text += " It had been sent, so the provider may bill it: the cost is the most that it can be.";
    else span.facts.push(...usageFacts(charge?.usage));
    if (charge) span.facts.push([charge.certainty === "charged" ? "charged" : `${words(charge.certainty)} cost`, dollars(charge.cost) || "no price"]);
    else if (event.error) span.facts.push(["charged", "nothing"]);
  },
  reply_restarted(run, _, at) {
    this.mark(run, at, "the reply starts over", "note", [], "The pieces that a client has seen so far are void.");
  },
  rate_limit_waited(run, event, at) {
    const waited = event.waited_us / 1000;
    const text = "The call waited in Brigade's own queue, so that the provider's rate limit was not exceeded.";
    const facts = [["model", plain(event.model)], ["waited", duration(waited)]];
    this.span(run.turn?.span ?? run.span, { kind: "wait", label: `waits ${duration(waited)}`, note: "rate limit", start: at - waited, end: at, facts, text });
  },
  retrying(run, event, at) {
    this.counts.retries += 1;
    const delay = event.delay_us / 1000;
    const facts = [["model", plain(event.model)], ["because of", words(event.reason)], ["waits", duration(delay)], ["next", `attempt ${event.attempt}`]];
    const note = "backoff";
    this.span(run.turn?.span ?? run.span, { kind: "wait", label: `waits ${duration(delay)}`, note, start: at, end: at + delay, facts, text: failureText(event.reason) });
  },
  retry_suppressed(run, event, at) {
    this.counts.refusals += 1;
    const text = "The retry budget of this model is empty: so many calls failed that more retries would only add load.";
    this.mark(run, at, `no retry after ${words(event.reason)}`, "refused", [["model", plain(event.model)]], text);
  },
  fell_back(run, event, at) {
    this.counts.fallbacks += 1;
    const breaker = event.reason === "circuit_open";
    const facts = [["from", plain(event.from)], ["to", plain(event.to)], ["because of", words(event.reason)]];
    const label = breaker ? `breaker refused ${shortModel(event.from)}, asks ${shortModel(event.to)}` : `falls back to ${shortModel(event.to)}`;
    this.mark(run, at, label, "refused", facts, failureText(event.reason)).note = breaker ? "" : words(event.reason);
  },
  breaker_changed(run, event, at) {
    const text = { open: "Calls to this model are refused for a while.", closed: "Calls pass again.", half_open: "One call passes, to find out whether the provider works again." };
    this.mark(run, at, `breaker of ${model(event)}: ${words(event.state)}`, event.state === "closed" ? "note" : "refused", [], text[event.state] ?? "");
  },
  tool_started(run, event, at) {
    const span = this.span(run.span, { kind: "tool", label: `tool ${plain(event.tool)}`, start: at });
    span.facts.push(["tool", plain(event.tool)], ["call", plain(event.call_id)]);
    run.tools.set(event.call_id, { tool: event.tool, span, worker: false });
  },
  tool_ended(run, event, at) {
    const span = run.tools.get(event.call_id)?.span ?? this.span(run.span, { kind: "tool", label: `tool ${plain(event.tool)}`, start: at - event.elapsed_us / 1000 });
    span.end = at;
    span.facts = [...span.facts.filter(([name]) => name !== "result"), ["result", words(event.outcome)]];
    if (span.note === "waiting") Object.assign(span, { note: "", text: "" });
    if (event.outcome === "stopped" || event.outcome === "waiting") {
      span.note = event.outcome;
    } else if (event.outcome !== "ok") {
      span.note = [span.note, words(event.outcome)].filter(Boolean).join(" \u00b7 ");
      span.failed = true;
    }
    if (event.reason) span.text = plain(event.reason, true);
  },
  unknown_tool(run, event, at) {
    this.mark(run, at, `called a tool that it does not have: ${plain(event.name)}`, "refused");
  },
  worker_failed(run, event, at) {
    const text = `${plain(event.reason, true)}\n${POLICIES[event.policy] ?? ""}`;
    this.mark(run, at, `worker ${plain(event.worker)} failed`, "refused", [["policy", words(event.policy)]], text).note = `policy ${words(event.policy)}`;
  },
  loop_noticed(run, event, at) {
    this.mark(run, at, `repeats itself: ${words(event.kind)}, ${event.count} times`, "refused", [], "The model was warned.");
  },
  trimmed(run, event, at) {
    const facts = [["tokens before", count(event.tokens_before)], ["tokens after", count(event.tokens_after)]];
    this.mark(run, at, `hid ${plural(event.hidden, "old message")} from the model`, "note", facts, "The conversation had to fit the context window.");
  },
  answer_rejected(run, event, at) {
    this.mark(run, at, `answer ${event.attempt} did not match the schema`, "refused", [], "The model was shown the error and asked again.");
  },
  handed_off(run, event, at) {
    this.mark(run, at, `handed off to ${plain(event.to)}`, "note");
  },
  degraded(run, event, at) {
    this.mark(run, at, event.part === "budget" ? "a budget is used up or cannot be kept" : `goes on without ${words(event.part)}`, "refused", [], plain(event.reason, true));
  },
  budget_refused(run, event, at) {
    this.counts.refusals += 1;
    this.mark(run, at, "budget refused a call", "refused", [["account", plain(event.scope)]], plain(event.limit, true));
  },
  budget_warning(run, event, at) {
    this.mark(run, at, "budget warning", "note", [["account", plain(event.scope)]], plain(event.limit, true));
  },
  wire_quirk(run, event, at) {
    this.mark(run, at, `odd response of ${plain(event.provider)}: ${words(event.kind)}`, "note");
  },
};

const POLICIES = {
  fallback: "The supervisor saw a configured text in place of the worker's answer.",
  isolate: "The supervisor saw that the worker failed, and went on.",
  required: "The run needs this worker, so it ended.",
};

function endTurn(run, at) {
  if (run.turn && run.turn.span.end === null) run.turn.span.end = at;
  run.turn = null;
}
