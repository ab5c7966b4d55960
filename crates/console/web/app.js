// @ts-check
// The frame of the page: navigation, spending, health, and the current view.
import { html, render, useEffect } from "./view.js";
import { getKey, setKey, useGet } from "./api.js";
import { cap, dollars, plain } from "./format.js";
import { href, useRoute } from "./route.js";
import { Runs } from "./runs.js";
import { Run } from "./run.js";
import { Money } from "./money.js";
import { Approvals } from "./approvals.js";
import { Try } from "./try.js";
import { Agents, useHealth } from "./agents.js";

function App() {
  const { view, id, query } = useRoute();
  // Asked for only where the server has it.
  const description = useGet("openapi.json");
  const isServed = Boolean(description.data?.paths?.["/v1/approvals"]);
  const approvals = useGet(isServed ? "v1/approvals?limit=100" : null, 3000);
  const hasApprovals = isServed && approvals.error?.status !== 403;
  // The newest of all may leave out old ones that still wait.
  const open = useGet(isServed ? "v1/approvals?status=pending&limit=100" : null, 3000);
  const waiting = open.data?.data?.length ?? 0;
  const tabs = [["runs", "Runs"], ["try", "Try"], hasApprovals && ["approvals", "Approvals"], ["money", "Money"], ["agents", "Agents"]].filter(Boolean);
  const name = tabs.find(([path]) => path === view)?.[1] ?? "Runs";
  useEffect(() => {
    document.title = `${waiting ? `(${waiting}) ` : ""}${id && view === "runs" ? "Run" : name} · Brigade`;
  }, [name, waiting, id, view]);
  useEffect(() => {
    scrollTo(0, 0);
  }, [view, id]);
  return html`<header class="top">
      <a class="brand" href=${href("runs")}>Brigade</a>
      <nav aria-label="Views">${tabs.map(
        ([path, label]) => html`<a href=${href(path)} aria-current=${path === view ? "page" : undefined}>${label}${path === "approvals" && waiting > 0 && html`<span class="badge">${waiting}</span>`}</a>`,
      )}</nav>
      <${Status} />
    </header>
    <main id="main">${!(view === "runs" && id) && view !== "try" && html`<h1 class="sr">${name}</h1>`}${view === "runs" && id
      ? html`<${Run} key=${id} id=${id} query=${query} hasApprovals=${hasApprovals} />`
      : view === "money"
        ? html`<${Money} query=${query} />`
        : view === "approvals" && hasApprovals
          ? html`<${Approvals} state=${approvals} open=${open} />`
          : view === "try"
            ? html`<${Try} query=${query} />`
            : view === "agents"
            ? html`<${Agents} />`
            : html`<${Runs} query=${query} />`}</main>`;
}

function Status() {
  const budgets = useGet("v1/budgets", 5_000);
  const { checks, state: ready } = useHealth();
  const first = budgets.data?.data?.[0];
  const weak = checks.filter((check) => !check.passed);
  const [tone, label] = ready.error
    ? ready.error.status === 0 ? ["bad", "offline"] : ["bad", "not ready"]
    : weak.length ? ["warn", "degraded"] : ready.data ? ["ok", "ready"] : ["quiet", "…"];
  const why = weak.map((check) => `${check.name}: ${check.reason}`).join("\n");
  return html`<div class="status">
    ${first && html`<a href=${href("money")} class="spent" title=${`${first.name}${first.window ? `, per ${first.window}` : ""}`}>${first.window === "day" ? "today " : first.window === "month" ? "this month " : ""}${dollars(first.spent_usd)}${first.limit_usd ? ` of ${cap(first.limit_usd)}` : " spent"}</a>`}
    <a href=${href("agents")} class=${`tone-${tone}`} title=${plain(why, true)}><svg class="dot" viewBox="0 0 8 8" width="8" height="8" aria-hidden="true"><circle cx="4" cy="4" r="4" /></svg> ${label}</a>
    ${getKey() && html`<button type="button" class="link" onClick=${() => setKey("")}>forget key</button>`}
  </div>`;
}

const root = document.getElementById("app");
if (root) {
  root.textContent = "";
  render(html`<${App} />`, root);
}
