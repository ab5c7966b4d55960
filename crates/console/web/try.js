// @ts-check
// Starts a run, and shows the same request for other clients.
import { html, useState } from "./view.js";
import { BASE, getKey, post, useGet } from "./api.js";
import { plain } from "./format.js";
import { go } from "./route.js";
import { State } from "./parts.js";

const AMOUNT = /^[0-9]{1,9}(\.[0-9]{1,9})?$/;

/** As a word of a shell. @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

export function Try({ query }) {
  const models = useGet("v1/models");
  const agents = models.data?.data ?? [];
  const [chosen, choose] = useState(query.agent ?? "");
  const [task, write] = useState("");
  const [usd, limit] = useState("");
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  if (!models.data) return html`<${State} state=${models} />`;
  const agent = chosen || agents[0]?.id || "";
  const body = { agent, task, background: true, ...(AMOUNT.test(usd) ? { budget: { usd } } : {}) };
  const shown = { ...body, background: undefined };
  const url = new URL("v1/runs", BASE).href;
  const curl = `curl -s ${url} -H 'content-type: application/json' \\\n${getKey() ? "  -H \"authorization: Bearer $BRIGADE_KEY\" \\\n" : ""}  -d ${quoted(JSON.stringify(shown))}`;
  const python = `import json, os, urllib.request\n\nbody = json.loads(${JSON.stringify(JSON.stringify(shown))})\nrequest = urllib.request.Request(${JSON.stringify(url)}, json.dumps(body).encode(), {"content-type": "application/json"${getKey() ? `, "authorization": "Bearer " + os.environ["BRIGADE_KEY"]` : ""}})\nprint(json.load(urllib.request.urlopen(request))["result"]["text"])`;
  const start = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const run = await post("v1/runs", body);
      go(`runs/${run.id}`);
    } catch (error) {
      setError(error);
      setBusy(false);
    }
  };
  const description = agents.find((known) => known.id === agent)?.description;
  return html`<form class="try panel" onSubmit=${start}>
    <h1>Try an agent</h1>
    <p class="quiet">The run is a real one: it calls models and tools, and its cost counts against the budgets.</p>
    <label for="agent">agent</label>
    <select id="agent" value=${agent} onChange=${(event) => choose(event.target.value)}>${agents.map((known) => html`<option value=${known.id} selected=${known.id === agent}>${plain(known.id)}</option>`)}</select>
    ${description && html`<p class="quiet small"><bdi>${plain(description)}</bdi></p>`}
    <label for="task">task</label>
    <textarea id="task" rows="4" required dir="auto" value=${task} onInput=${(event) => write(event.target.value)} onKeyDown=${(event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && task.trim() && start(event)}></textarea>
    <label for="usd">most it may cost, in US dollars (empty: the agent's own limit)</label>
    <input id="usd" inputmode="decimal" placeholder="0.10" value=${usd} pattern="[0-9]{1,9}(\\.[0-9]{1,9})?" onInput=${(event) => limit(event.target.value)} />
    <p><button type="submit" class="primary" disabled=${busy || !task.trim()}>${busy ? "starting …" : "start and watch"}</button></p>
    ${error && html`<p class="notice bad" role="alert">${plain(error.message)}</p>`}
    <details><summary>the same with curl</summary><pre tabindex="0">${curl}</pre></details>
    <details><summary>the same with Python</summary><pre tabindex="0">${python}</pre></details>
  </form>`;
}
