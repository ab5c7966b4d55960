// @ts-check
// What runs have cost: by day, agent, model and key, and how much of each budget is left.
import { html, useMemo } from "./view.js";
import { query as toQuery, useGet } from "./api.js";
import { cap, count, dollars, plain, plural } from "./format.js";
import { href, setQuery } from "./route.js";
import { Meter, Money as Amount, Stale, State, useNow } from "./parts.js";

const SPANS = [["7", "7 days"], ["30", "30 days"], ["90", "90 days"]];
const GROUPS = [["agent", "agent"], ["model", "model"], ["key", "key"]];
const COLORS = 6;
const DAY = 86_400_000;

const dayOf = (time) => new Date(time).toISOString().slice(0, 10);
const costOf = (line) => Number(line.cost ?? 0);

/** Sums of the lines with the same name, the largest first. @param {any[]} lines @param {string} by */
function sums(lines, by) {
  const groups = new Map();
  for (const line of lines) {
    const name = line[by];
    const sum = groups.get(name) ?? { name, calls: 0, unpriced: 0, input: 0, output: 0, cost: 0, uncertain: 0 };
    sum.calls += line.calls;
    sum.unpriced += line.unpriced_calls;
    sum.input += line.usage.input_tokens;
    sum.output += line.usage.output_tokens;
    sum.cost += costOf(line);
    sum.uncertain += Number(line.uncertain);
    groups.set(name, sum);
  }
  return [...groups.values()].sort((a, b) => b.cost - a.cost || b.calls - a.calls);
}

export function Money({ query }) {
  const days = Number(query.days ?? 30);
  const by = query.by ?? "agent";
  const from = dayOf(Date.now() - (days - 1) * DAY);
  const usage = useGet(`v1/usage?${toQuery({ from, limit: 1000 })}`, 5000);
  const budgets = useGet("v1/budgets", 5000);
  const lines = usage.data?.data ?? [];
  const groups = useMemo(() => sums(lines, by), [usage.data, by]);
  if (!usage.data) return html`<${State} state=${usage} />`;
  const { total, has_more: hasMore } = usage.data;
  const unpriced = sums(lines, "model").filter((sum) => sum.unpriced > 0);
  return html`<div class="filters">
      <${Segments} label="span" value=${String(days)} options=${SPANS} onChange=${(value) => setQuery({ days: value })} />
      <${Segments} label="group by" value=${by} options=${GROUPS} onChange=${(value) => setQuery({ by: value })} />
      <span class="summary"><strong>${dollars(total.cost ?? 0)}</strong> in ${days} days · ${plural(total.calls, "call")} · ${count(total.usage.input_tokens + total.usage.output_tokens)} tokens${Number(total.uncertain) > 0 && html` · <span class="tone-warn" title="calls that failed after they were sent: the provider may bill them">of it ${dollars(total.uncertain)} uncertain</span>`}</span>
    </div>
    <${Stale} state=${usage} />
    ${hasMore && html`<p class="stale">There are more than 1,000 sums; the chart and the table have the oldest. Choose fewer days.</p>`}
    ${unpriced.length > 0 && html`<p class="notice warn">No price is known for ${unpriced.map((sum) => plain(sum.name)).join(", ")}: ${plural(unpriced.reduce((all, sum) => all + sum.unpriced, 0), "call")} count as nothing here. <code>brigade prices</code> says how to bring your own.</p>`}
    ${budgets.data?.data?.length > 0 && html`<section aria-label="Budgets"><${Budgets} budgets=${budgets.data.data} /></section>`}
    ${total.calls === 0 ? html`<div class="empty"><p>Nothing was spent in these ${days} days.</p><p class="quiet">Sums appear when runs have ended.</p><a class="button primary" href=${href("try")}>try a run</a></div>`
      : html`<section class="panel"><${Chart} lines=${lines} by=${by} names=${groups.map((group) => group.name)} days=${days} />
        <table class="sums"><thead><tr><th>${by}</th><th class="number">calls</th><th class="number wide">tokens in</th><th class="number wide">tokens out</th><th class="number wide">uncertain</th><th class="number">share</th><th class="number">cost</th></tr></thead>
          <tbody>${groups.map((group, index) => html`<tr><td><span class=${`swatch series s${Math.min(index, COLORS - 1)}`}></span><bdi>${plain(group.name)}</bdi></td><td class="number">${count(group.calls)}</td><td class="number wide">${count(group.input)}</td><td class="number wide">${count(group.output)}</td><td class="number wide">${group.uncertain > 0 ? html`<${Amount} amount=${group.uncertain} />` : ""}</td><td class="number quiet">${total.cost > 0 ? `${Math.round((100 * group.cost) / Number(total.cost))} %` : ""}</td><td class="number"><${Amount} amount=${group.unpriced === group.calls ? null : group.cost} /></td></tr>`)}</tbody></table></section>`}`;
}

function Segments({ label, value, options, onChange }) {
  return html`<span class="segments" role="group" aria-label=${label}>${options.map(([name, text]) => html`<button type="button" aria-pressed=${String(name === value)} onClick=${() => onChange(name)}>${text}</button>`)}</span>`;
}

/** How long until the budget is used up, at the pace of its window so far. */
function forecast(budget, now) {
  const [spent, limit] = [Number(budget.spent_usd), Number(budget.limit_usd)];
  if (!budget.window || !budget.limit_usd || spent <= 0) return "";
  const date = new Date(now);
  const start = budget.window === "day" ? Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()) : Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), 1);
  const end = budget.window === "day" ? start + DAY : Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 1);
  if (spent >= limit) return `used up; it begins anew at ${new Date(end).toISOString().slice(0, 16).replace("T", " ")} UTC`;
  const pace = spent / Math.max(now - start, 60_000);
  const empty = now + (limit - spent) / pace;
  const rate = `${dollars(pace * 3_600_000)} an hour`;
  return empty >= end ? `${rate}; lasts at this pace` : `${rate}; at this pace used up at ${new Date(empty).toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

function Budgets({ budgets }) {
  const now = useNow(10_000);
  return html`<div class="cards">${budgets.map((budget) => html`<div class="card">
    <h2><bdi>${plain(budget.name)}</bdi> <span class="quiet">${[budget.kind === "key" && "key", budget.window && `per ${budget.window}`].filter(Boolean).join(", ")}</span></h2>
    <p class="amount">${dollars(budget.spent_usd)}${budget.limit_usd ? html` <span class="quiet">of ${cap(budget.limit_usd)}${budget.soft ? ", warns only" : ""}</span>` : html` <span class="quiet">no limit</span>`}</p>
    ${budget.limit_usd && html`<${Meter} used=${Number(budget.spent_usd)} reserved=${Number(budget.reserved_usd)} limit=${Number(budget.limit_usd)} />`}
    <p class="quiet small">${[Number(budget.reserved_usd) > 0 && `${dollars(budget.reserved_usd)} reserved for calls in flight`, forecast(budget, now)].filter(Boolean).join(" · ") || " "}</p>
  </div>`)}</div>`;
}

function Chart({ lines, by, names, days }) {
  const [width, height, bottom, left] = [innerWidth < 720 ? 420 : 1000, 180, 20, 56];
  const first = Date.parse(`${dayOf(Date.now() - (days - 1) * DAY)}T00:00:00Z`);
  const byDay = useMemo(() => {
    const table = new Map();
    for (const line of lines) {
      const series = Math.min(names.indexOf(line[by]), COLORS - 1);
      const day = table.get(line.day) ?? Array(COLORS).fill(0);
      day[series] += costOf(line);
      table.set(line.day, day);
    }
    return table;
  }, [lines, by, names]);
  const top = Math.max(...[...byDay.values()].map((day) => day.reduce((a, b) => a + b, 0)), 0.000001);
  const step = (width - left - 16) / days;
  const scale = (value) => ((height - bottom - 8) * value) / top;
  const bars = [];
  for (let index = 0; index < days; index += 1) {
    const day = dayOf(first + index * DAY);
    let y = height - bottom;
    const values = byDay.get(day) ?? [];
    values.forEach((value, series) => {
      if (value <= 0) return;
      y -= scale(value);
      bars.push(html`<rect class=${`series s${series}`} x=${left + index * step + step * 0.12} y=${y} width=${Math.min(step * 0.76, 48)} height=${Math.max(scale(value), 1)}><title>${`${day} · ${names[series] ?? ""} · ${dollars(value)}`}</title></rect>`);
    });
    const every = Math.ceil(days / (width / 100));
    if ((days - 1 - index) % every === 0) bars.push(html`<text class="day" x=${left + index * step + Math.min(step, 60) / 2} y=${height - 6}>${day.slice(5)}</text>`);
  }
  return html`<svg class="chart" viewBox=${`0 0 ${width} ${height}`} role="img" aria-label=${`Cost per day by ${by}; the table below has the numbers`}>
    ${[0, 0.5, 1].map((share) => html`<line x1=${left} x2=${width} y1=${height - bottom - scale(top * share)} y2=${height - bottom - scale(top * share)} /><text class="scale" x=${left - 6} y=${height - bottom - scale(top * share) + 4}>${share === 0 ? "$0" : dollars(top * share)}</text>`)}
    ${bars}
  </svg>`;
}
