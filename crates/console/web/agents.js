// @ts-check
// The agents: whether they can answer now, what they are for, and how their last runs went.
import { html, useMemo } from "./view.js";
import { query as toQuery, useGet } from "./api.js";
import { count, dollars, plain } from "./format.js";
import { Icon, outcomeOf } from "./icons.js";
import { href } from "./route.js";
import { Money, Stale, State } from "./parts.js";

/** The results of all health checks, also if the server is not ready. */
export function useHealth() {
  const ready = useGet("readyz?verbose", 5000);
  return { checks: (ready.data ?? ready.error?.body)?.checks ?? [], state: ready };
}

export function Agents() {
  const models = useGet("v1/models", 10_000);
  const runs = useGet("v1/runs?limit=100", 5000);
  const today = new Date().toISOString().slice(0, 10);
  const usage = useGet(`v1/usage?${toQuery({ from: today, limit: 1000 })}`, 5000);
  const { checks } = useHealth();
  const byAgent = useMemo(() => groups(runs.data?.data ?? []), [runs.data]);
  if (!models.data) return html`<${State} state=${models} />`;
  const others = checks.filter((check) => !check.name.startsWith("agent "));
  return html`<${Stale} state=${models} />
    <table class="runs agents"><thead><tr><th>agent</th><th>can answer</th><th class="wide">for</th><th class="number wide">calls today</th><th class="number">cost today</th><th class="wide">last runs, the newest first</th><th><span class="sr">try</span></th></tr></thead>
      <tbody>${models.data.data.map((agent) => html`<${Row} agent=${agent} check=${checks.find((check) => check.name === `agent ${agent.id}`)} runs=${byAgent.get(agent.id) ?? []} lines=${(usage.data?.data ?? []).filter((line) => line.agent === agent.id)} />`)}</tbody></table>
    ${others.length > 0 && html`<section class="panel checks"><h2>The server</h2>${others.map((check) => html`<p><${Check} check=${check} /> ${plain(check.name)}${check.reason && html` <span class="quiet">· <bdi>${plain(check.reason)}</bdi></span>`}</p>`)}</section>`}`;
}

/** @param {any[]} runs */
function groups(runs) {
  const found = new Map();
  for (const run of runs) found.set(run.agent, [...(found.get(run.agent) ?? []), run]);
  return found;
}

function Check({ check }) {
  if (!check) return html`<span class="quiet">not known</span>`;
  const [tone, shape, text] = check.passed ? ["ok", "check", "yes"] : check.degraded ? ["warn", "half", "no, others can"] : ["bad", "cross", "no"];
  return html`<span class=${`outcome ${tone}`}><${Icon} shape=${shape} />${text}</span>`;
}

function Row({ agent, check, runs, lines }) {
  const calls = lines.reduce((sum, line) => sum + line.calls, 0);
  const cost = lines.reduce((sum, line) => sum + Number(line.cost ?? 0), 0);
  const uncertain = lines.reduce((sum, line) => sum + Number(line.uncertain), 0);
  const failed = runs.filter((run) => outcomeOf(run).tone === "bad").length;
  return html`<tr><td class="name"><a href=${href("runs", { agent: agent.id })}><bdi>${plain(agent.id)}</bdi></a></td>
      <td><${Check} check=${check} /></td>
      <td class="wide note quiet" title=${plain(agent.description)}><bdi>${plain(agent.description)}</bdi></td>
      <td class="number wide">${calls ? count(calls) : ""}</td>
      <td class="number cost">${calls ? html`<${Money} amount=${cost} uncertain=${uncertain} />` : ""}</td>
      <td class="wide"><span class="strip">${runs.slice(0, 24).map((run) => html`<${Mark} run=${run} />`)}</span>${failed > 0 && html` <span class="tone-bad">${failed} failed of ${runs.length}</span>`}${!runs.length && html`<span class="quiet">none</span>`}</td>
      <td><a class="accent" href=${href("try", { agent: agent.id })}>try</a></td></tr>
    ${check && !check.passed && html`<tr class="reason"><td colspan="7"><p class=${`notice ${check.degraded ? "warn" : "bad"}`}><bdi>${plain(check.reason)}</bdi></p></td></tr>`}`;
}

function Mark({ run }) {
  const { name, tone, shape } = outcomeOf(run);
  return html`<a class=${`outcome ${tone}`} href=${href(`runs/${run.id}`)} title=${`${name} · ${run.trace_id.slice(0, 8)} · ${dollars(run.cost_usd) || "no price"}`} aria-label=${name}><${Icon} shape=${shape} /></a>`;
}
