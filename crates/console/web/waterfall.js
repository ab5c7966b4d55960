// @ts-check
// The spans of a run as rows with bars on a common time axis.
import { html, useEffect, useMemo, useRef, useState } from "./view.js";
import { count, dollars, duration, plural } from "./format.js";
import { setQuery } from "./route.js";
import { selfTime } from "./spans.js";
import { Money } from "./parts.js";

const ROW = 24;
const LEGEND = [["model", "model"], ["tool", "tool"], ["wait", "waiting"], ["failed", "failed attempt"], ["person", "waiting for a person"], ["replay", "replayed"], ["refused", "refused, fallback, warning"]];

/** The rows that are not below a collapsed one. @param {any[]} roots @param {Set<string>} closed */
function visible(roots, closed) {
  const rows = [];
  const walk = (span) => {
    rows.push(span);
    if (!closed.has(span.id)) span.children.forEach(walk);
  };
  roots.forEach(walk);
  return rows;
}

/** Round steps of the axis, in milliseconds. @param {number} length */
function ticks(length) {
  const rough = length / 4;
  const unit = 10 ** Math.floor(Math.log10(Math.max(rough, 0.001)));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * unit).find((step) => step >= rough) ?? 10 * unit;
  const marks = [];
  for (let at = 0; at < length * 0.9; at += step) marks.push(at);
  return marks;
}

export function Waterfall({ tree, query, live, gap }) {
  const [closed, setClosed] = useState(() => new Set());
  const rows = useMemo(() => visible(tree.roots, closed), [tree, closed]);
  const selected = rows.find((span) => span.id === query.row) ?? null;
  const zoomed = query.zoom ? findSpan(tree.roots, query.zoom) : null;
  const [from, to] = zoomed ? [zoomed.start, Math.max(zoomed.end, zoomed.start + 1)] : [tree.start, Math.max(tree.end, tree.start + 1)];
  const grid = useRef(null);
  const [scroll, setScroll] = useState(0);
  const toggle = (span, isClosed) => setClosed((now) => {
    const next = new Set(now);
    if (isClosed ?? !next.has(span.id)) next.add(span.id);
    else next.delete(span.id);
    return next;
  });
  const select = (span) => setQuery({ row: span?.id ?? "" });
  const toDepth = (depth) => {
    const all = visible(tree.roots, new Set());
    setClosed(new Set(all.filter((span) => span.depth >= depth && span.children.length).map((span) => span.id)));
  };
  useEffect(() => {
    if (!selected || !grid.current) return;
    const top = rows.indexOf(selected) * ROW;
    const { scrollTop, clientHeight } = grid.current;
    if (top < scrollTop) grid.current.scrollTop = top;
    else if (top + 2 * ROW > scrollTop + clientHeight) grid.current.scrollTop = top + 2 * ROW - clientHeight;
  }, [query.row]);
  const onKey = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const index = rows.findIndex((span) => span.id === query.row);
    const at = rows[index];
    const moves = { ArrowDown: index + 1, j: index + 1, ArrowUp: Math.max(0, index - 1), k: Math.max(0, index - 1), Home: 0, End: rows.length - 1, PageDown: index + 15, PageUp: index - 15 };
    if (event.key in moves) select(rows[Math.max(0, Math.min(rows.length - 1, moves[event.key]))]);
    else if (event.key === "ArrowLeft" && at) at.children.length && !closed.has(at.id) ? toggle(at, true) : at.parent && select(at.parent);
    else if (event.key === "ArrowRight" && at) closed.has(at.id) ? toggle(at, false) : at.children[0] && select(at.children[0]);
    else if (event.key === "Enter" && at) at.children.length && toggle(at);
    else if (event.key === "z" && at) setQuery({ zoom: query.zoom === at.id ? "" : at.id });
    else if (event.key === "0") setQuery({ zoom: "" });
    else if (/^[1-9]$/.test(event.key)) toDepth(Number(event.key));
    else return;
    event.preventDefault();
  };
  // Only the visible rows exist.
  const first = Math.max(0, Math.floor(scroll / ROW) - 20);
  const last = first + 100;
  const axis = ticks(to - from);
  const share = (time) => `${Math.max(-1, Math.min(101, (100 * (time - from)) / (to - from)))}%`;
  return html`<div class="tools">
      <span class="legend">${LEGEND.map(([kind, name]) => html`<span><span class=${`swatch bar ${kind}`}></span>${name}</span>`)}</span>
      <span class="hint wide">↑↓ select · ←→ close, open · 1–9 depth · z zoom · 0 all</span>
      ${zoomed && html`<button type="button" onClick=${() => setQuery({ zoom: "" })}>show the whole run</button>`}
    </div>
    ${gap && html`<p class="stale">Some early events of this run are not kept any more, so the beginning is not complete. With a store they are.</p>`}
    <div class=${`waterfall${selected ? " docked" : ""}`}>
      <div class="grid" ref=${grid} role="treegrid" aria-label="Waterfall" aria-rowcount=${rows.length} tabindex="0" onKeyDown=${onKey} onScroll=${(event) => setScroll(event.currentTarget.scrollTop)} aria-activedescendant=${selected ? `row-${selected.id}` : undefined}>
        <div class="row head" role="row"><span role="columnheader">agent · turn · tool</span><span class="number tokens" role="columnheader">∑ tokens</span><span class="number" role="columnheader">∑ cost</span>
          <span class="axis" role="columnheader" aria-label="time">${axis.map((at, index) => html`<span style=${{ left: share(from + at) }} class=${index === 0 ? "first" : ""}>${index === 0 ? "0 s" : tick(at)}</span>`)}<span class="end">${duration(to - from)}</span></span></div>
        <div class="rows" style=${{ height: `${rows.length * ROW}px` }}>
          ${rows.slice(first, last).map((span, index) => html`<${Row} key=${span.id} span=${span} top=${(first + index) * ROW} index=${first + index} share=${share} isSelected=${span === selected} isClosed=${closed.has(span.id)} onSelect=${() => { select(span); grid.current?.focus({ preventScroll: true }); }} onToggle=${() => toggle(span)} live=${live} />`)}
        </div>
      </div>
      ${selected && html`<${Panel} span=${selected} start=${tree.start} isZoomed=${zoomed === selected} />`}
    </div>`;
}

const tick = (ms) => (ms < 60_000 ? String(Number((ms / 1000).toPrecision(3))) : duration(ms));

function findSpan(spans, id) {
  for (const span of spans) {
    const found = span.id === id ? span : findSpan(span.children, id);
    if (found) return found;
  }
  return null;
}

function Row({ span, top, index, share, isSelected, isClosed, onSelect, onToggle, live }) {
  const hasChildren = span.children.length > 0;
  const tone = span.kind === "failed" || span.failed ? "bad" : span.kind === "wait" || span.kind === "refused" ? "warn" : span.kind === "person" ? "person" : span.kind === "replay" || span.kind === "note" ? "quiet" : "";
  const isMoment = span.end - span.start < 0.5 && ["note", "refused", "replay"].includes(span.kind);
  const bar = span.kind === "turn" ? "model" : span.failed && span.kind === "tool" ? "failed" : span.kind;
  const left = share(span.start);
  const width = `calc(${share(span.end)} - ${left})`;
  const open = (event) => {
    event.stopPropagation();
    onToggle();
  };
  return html`<div id=${`row-${span.id}`} class=${`row${isSelected ? " selected" : ""}`} role="row" aria-level=${span.depth + 1} aria-rowindex=${index + 1} aria-selected=${String(isSelected)} aria-expanded=${hasChildren ? String(!isClosed) : undefined} style=${{ top: `${top}px` }} onClick=${onSelect}>
    <span class=${`label ${tone ? `tone-${tone}` : ""} ${span.kind === "agent" ? "agent-name" : ""}`} role="gridcell" style=${{ paddingLeft: `${8 + 16 * Math.min(span.depth, 12)}px` }} title=${`${span.label}${span.note ? ` · ${span.note}` : ""}`}>
      ${hasChildren ? html`<button type="button" class="twist" tabindex="-1" aria-label=${isClosed ? "open" : "close"} onClick=${open}><svg viewBox="0 0 8 8" width="8" height="8" class=${isClosed ? "shut" : ""}><path d="M0 1.5h8L4 7z" /></svg></button>` : null}
      <bdi>${span.label}</bdi>${span.note && html` <span class="of">${["failed", "wait", "refused", "person"].includes(span.kind) || span.failed ? "· " : ""}<bdi>${span.note}</bdi></span>`}${isClosed && html` <span class="of">(${plural(span.children.length, "row")})</span>`}
    </span>
    <span class="number tokens quiet" role="gridcell">${span.tokens === null ? "" : count(span.tokens)}</span>
    <span class="number" role="gridcell">${span.cost === null ? "" : html`<${Money} amount=${span.cost} uncertain=${span.uncertain} />`}</span>
    <span class="track" role="gridcell" aria-label=${`starts after ${share(span.start)}, takes ${duration(span.end - span.start)}`}>${isMoment
      ? html`<span class=${`moment ${bar}`} style=${{ left }}></span>`
      : html`<span class=${`bar ${bar}${span.open && live ? " open" : ""}`} style=${{ left, width }}></span>`}</span>
  </div>`;
}

function Panel({ span, start, isZoomed }) {
  const took = span.end - span.start;
  /** @type {[string, string][]} */
  const times = [["after", duration(span.start - start)], ["took", duration(took)]];
  if (span.children.length) times.push(["of it itself", duration(selfTime(span))]);
  if (span.tokens !== null && span.children.length) times.push(["∑ tokens", count(span.tokens)]);
  if (span.cost !== null) times.push([span.children.length ? "∑ cost" : "cost", dollars(span.cost)]);
  const bad = span.kind === "failed" || span.failed;
  return html`<aside class="facts-panel" aria-label="Facts of the selected row" aria-live="polite">
    <h2 class=${bad ? "tone-bad" : ""}><bdi>${span.label}</bdi>${span.note && html` <span>· <bdi>${span.note}</bdi></span>`}</h2>
    <dl>${span.facts.map(([name, value]) => html`<div><dt>${name}</dt><dd><bdi>${value}</bdi></dd></div>`)}</dl>
    <dl>${times.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    ${span.text && html`<p class="why" dir="auto">${span.text}</p>`}
    <p class="panel-actions">${span.children.length > 0 && html`<button type="button" onClick=${() => setQuery({ zoom: isZoomed ? "" : span.id })}>${isZoomed ? "show the whole run" : "zoom to this"}</button> `}<button type="button" onClick=${() => setQuery({ row: "" })}>close</button></p>
  </aside>`;
}
