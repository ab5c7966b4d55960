// @ts-check
// The state of the page is in the fragment of its address, such as `#/runs?agent=desk`. It is never sent to a server.
import { useEffect, useState } from "./view.js";

function read() {
  const [path, search = ""] = location.hash.replace(/^#/, "").split("?");
  const parts = path.split("/").filter(Boolean);
  return { view: parts[0] ?? "runs", id: parts[1] ?? "", query: Object.fromEntries(new URLSearchParams(search)) };
}

export function useRoute() {
  const [route, setRoute] = useState(read);
  useEffect(() => {
    const onChange = () => setRoute(read());
    window.addEventListener("hashchange", onChange);
    window.addEventListener("brigade:route", onChange);
    return () => {
      window.removeEventListener("hashchange", onChange);
      window.removeEventListener("brigade:route", onChange);
    };
  }, []);
  return route;
}

/** @param {string} path @param {Record<string, unknown>} [query] */
export function href(path, query = {}) {
  const set = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const search = new URLSearchParams(set.map(([name, value]) => [name, String(value)])).toString();
  return `#/${path}${search ? `?${search}` : ""}`;
}

/** Changes a part of the query of this view, without a new entry in the history of the browser.
 * @param {Record<string, unknown>} changes */
export function setQuery(changes) {
  const { view, id, query } = read();
  history.replaceState(null, "", href(id ? `${view}/${id}` : view, { ...query, ...changes }));
  window.dispatchEvent(new Event("brigade:route"));
}

/** @param {string} path @param {Record<string, unknown>} [query] */
export function go(path, query) {
  location.hash = href(path, query);
}
