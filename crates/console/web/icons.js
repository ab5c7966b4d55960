// @ts-check
// The outcomes of runs: a name, a tone, and a shape that can be told from the others without color.
import { html } from "./view.js";
import { words } from "./format.js";

const SHAPES = {
  check: () => html`<path d="M3 8.5l3.2 3.2L13 4.8" />`,
  cross: () => html`<path d="M4 4l8 8M12 4l-8 8" />`,
  half: () => html`<circle cx="8" cy="8" r="5.5" /><path d="M8 2.5a5.5 5.5 0 0 0 0 11z" fill="currentColor" stroke="none" />`,
  ring: () => html`<circle cx="8" cy="8" r="5.5" stroke-dasharray="23 12" />`,
  square: () => html`<rect x="3.5" y="3.5" width="9" height="9" fill="currentColor" stroke="none" />`,
  slash: () => html`<circle cx="8" cy="8" r="5.5" /><path d="M4.2 11.8l7.6-7.6" />`,
  loop: () => html`<path d="M8 8c-1.6-2.6-5.5-3-5.5 0s3.9 2.6 5.5 0 5.5-3 5.5 0-3.9 2.6-5.5 0z" />`,
  clock: () => html`<circle cx="8" cy="8" r="5.5" /><path d="M8 4.8V8l2.2 1.6" />`,
  person: () => html`<circle cx="8" cy="5.2" r="2.4" /><path d="M3.2 13.5c.5-2.8 2.4-4 4.8-4s4.3 1.2 4.8 4" />`,
  broken: () => html`<path d="M8.8 2L5 8.5h5L6.8 14" />`,
};

/** The tone is the color: `ok`, `warn`, `bad`, `live`, `person` or `quiet`. */
const OUTCOMES = {
  running: ["running", "live", "ring"],
  ready: ["queued", "live", "clock"],
  waiting: ["waiting", "person", "person"],
  set_aside: ["set aside", "bad", "broken"],
  failed: ["failed", "bad", "cross"],
  interrupted: ["interrupted", "bad", "broken"],
  cancelled: ["cancelled", "quiet", "slash"],
  finished: ["finished", "ok", "check"],
  degraded: ["degraded", "warn", "half"],
  budget: ["over budget", "warn", "square"],
  deadline: ["deadline", "warn", "clock"],
  max_turns: ["turn limit", "warn", "square"],
  loop_detected: ["loop stopped", "warn", "loop"],
  delegation_cycle: ["delegation cycle", "warn", "loop"],
};

/** The outcomes that a list can be filtered by, as the API names them. */
export const STOPS = ["finished", "budget", "deadline", "max_turns", "loop_detected", "refused", "truncated"];

/** @param {any} run @returns {{name: string, tone: string, shape: keyof typeof SHAPES}} */
export function outcomeOf(run) {
  let key = run.status;
  if (run.status === "ended") {
    key = run.result?.stop ?? "finished";
    if (key === "finished" && run.result?.degraded?.length) key = "degraded";
  }
  const [name, tone, shape] = OUTCOMES[key] ?? [words(key), "warn", "square"];
  if (run.status === "waiting" && run.waiting?.reason === "approval") return { name: "needs approval", tone, shape };
  return { name, tone, shape };
}

export const stopName = (stop) => OUTCOMES[stop]?.[0] ?? words(stop);

export function Icon({ shape }) {
  return html`<svg class="icon" viewBox="0 0 16 16" width="14" height="14" aria-hidden="true">${SHAPES[shape]()}</svg>`;
}

export function Outcome({ run }) {
  const { name, tone, shape } = outcomeOf(run);
  return html`<span class=${`outcome ${tone}`}><${Icon} shape=${shape} />${name}</span>`;
}
