// @ts-check
// Tool calls that wait for a person.
import { html, useState } from "./view.js";
import { getKey, post, setKey } from "./api.js";
import { plain } from "./format.js";
import { Icon } from "./icons.js";
import { href } from "./route.js";
import { Ago, Stale, State, useNow } from "./parts.js";

const ENDS = { approved: ["ok", "check"], denied: ["bad", "cross"], expired: ["warn", "clock"], closed: ["quiet", "slash"] };

export function Approvals({ state, open }) {
  const now = useNow();
  if (!state.data) return html`<${State} state=${state} />`;
  if (!open.data) return html`<${State} state=${open} />`;
  // The oldest first, so that a new one moves none of those that somebody is about to answer.
  const pending = [...open.data.data].reverse();
  const decided = state.data.data.filter((approval) => approval.status !== "pending");
  return html`<${Stale} state=${state} />
    ${pending.length ? pending.map((approval) => html`<${Pending} key=${approval.id} approval=${approval} now=${now} onDecided=${() => { open.reload(); state.reload(); }} />`) : html`<div class="empty"><p>Nothing waits for a decision.</p><p class="quiet">A tool with <code>approve</code> in the configuration waits here before it is called.</p></div>`}
    ${decided.length > 0 && html`<section class="panel"><h2>Decided</h2><table class="sums"><thead><tr><th>decision</th><th>tool</th><th class="wide">agent</th><th>by</th><th>when</th><th class="wide">reason</th></tr></thead>
      <tbody>${decided.map((approval) => html`<${Decided} key=${approval.id} approval=${approval} now=${now} />`)}</tbody></table></section>`}`;
}

function Decided({ approval, now }) {
  const [tone, shape] = ENDS[approval.status] ?? ["quiet", "slash"];
  return html`<tr><td><span class=${`outcome ${tone}`}><${Icon} shape=${shape} />${plain(approval.status)}${approval.edited ? ", edited" : ""}</span></td>
    <td><a href=${href(`runs/${approval.run}`)}><bdi>${plain(approval.tool)}</bdi></a></td><td class="wide"><bdi>${plain(approval.agent)}</bdi></td><td><bdi>${plain(approval.decided_by ?? "")}</bdi></td>
    <td>${approval.decided_at && html`<${Ago} time=${approval.decided_at} now=${now} />`}</td><td class="wide"><bdi>${plain(approval.reason ?? "")}</bdi></td></tr>`;
}

const pretty = (value) => JSON.stringify(value, null, 2);

function Pending({ approval, now, onDecided }) {
  const [reason, write] = useState("");
  const [edited, edit] = useState(/** @type {string | null} */ (null));
  const [problem, setProblem] = useState(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  const decide = async (decision) => {
    /** @type {any} */ const body = { decision, ...(reason.trim() ? { reason: reason.trim() } : {}) };
    if (decision === "approve" && edited !== null) {
      try {
        body.arguments = JSON.parse(edited);
      } catch (error) {
        return setProblem({ message: `The edited arguments are not valid JSON: ${error.message}` });
      }
    }
    setBusy(true);
    setProblem(null);
    try {
      await post(`v1/approvals/${approval.id}`, body);
      onDecided();
    } catch (error) {
      setProblem(error);
    }
    setBusy(false);
  };
  const onKey = (event) => {
    if (busy || event.repeat || ["INPUT", "TEXTAREA", "BUTTON", "A"].includes(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "a") decide("approve");
    else if (event.key === "d") decide("deny");
    else return;
    event.preventDefault();
  };
  const left = Date.parse(approval.expires_at) - now;
  return html`<article class="panel approval" tabindex="0" aria-label=${`${plain(approval.tool)} waits for a decision`} onKeyDown=${onKey}>
    <h2><span class="outcome person"><${Icon} shape="person" /></span><bdi>${plain(approval.tool)}</bdi> <span class="quiet">asked by <bdi>${plain(approval.agent)}</bdi>, key <bdi>${plain(approval.key)}</bdi>, <${Ago} time=${approval.requested_at} now=${now} /></span></h2>
    <p class=${`small ${left < 600_000 ? "tone-warn" : "quiet"}`}>${left > 0 ? `expires in ${left < 5_400_000 ? `${Math.ceil(left / 60_000)} min` : `${Math.round(left / 3_600_000)} h`}` : "expires now"} · <a href=${href(`runs/${approval.run}`)}>the run, and what it has cost</a> · step <code>${plain(approval.step)}</code></p>
    ${edited === null ? html`<pre class="arguments" dir="auto" tabindex="0">${plain(pretty(approval.arguments), true)}</pre>` : html`<${Diff} before=${pretty(approval.arguments)} after=${edited} /><textarea class="mono" rows="6" aria-label="edited arguments" spellcheck="false" value=${edited} onInput=${(event) => edit(event.target.value)}></textarea>`}
    <div class="decide">
      <input aria-label="reason" placeholder="reason (the agent sees it if you deny)" value=${reason} onInput=${(event) => write(event.target.value)} />
      <button type="button" class="primary" disabled=${busy} onClick=${() => decide("approve")}>${edited === null ? "approve" : "approve as edited"}</button>
      <button type="button" class="danger" disabled=${busy} onClick=${() => decide("deny")}>deny</button>
      <button type="button" class="link" onClick=${() => edit(edited === null ? pretty(approval.arguments) : null)}>${edited === null ? "edit arguments" : "do not edit"}</button>
      <span class="quiet small wide">with this box focused: a approves, d denies</span>
    </div>
    ${problem && html`<p class="notice bad" role="alert">${plain(problem.message)}</p>`}
    ${problem?.status === 401 || problem?.status === 403 ? html`<${Token} />` : null}
  </article>`;
}

/** The lines that an edit takes away and adds. */
function Diff({ before, after }) {
  const [old, edited] = [before.split("\n"), after.split("\n")];
  const lines = [...old.filter((line) => !edited.includes(line)).map((line) => ["−", line]), ...edited.filter((line) => !old.includes(line)).map((line) => ["+", line])];
  if (!lines.length) return html`<p class="quiet small">${before === after ? "no change yet" : "the order or the number of equal lines has changed"}</p>`;
  return html`<pre class="diff">${lines.map(([sign, line]) => html`<span class=${sign === "+" ? "tone-ok" : "tone-bad"}>${sign} ${plain(line)}\n</span>`)}</pre>`;
}

/** Reading needs no token, deciding does. */
function Token() {
  const [token, write] = useState("");
  return html`<form class="decide" onSubmit=${(event) => { event.preventDefault(); setKey(token.trim()); }}>
    <input type="password" autocomplete="off" aria-label="key or token" placeholder=${getKey() ? "a key with the scope approve" : "the token that the server printed at its start"} value=${token} onInput=${(event) => write(event.target.value)} /><button type="submit" disabled=${!token.trim()}>use it in this tab</button></form>`;
}
