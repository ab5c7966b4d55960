//! Each view by the rules of axe-core, and by keyboard alone.

use brigade_core::testing::skip_test;
use serde_json::{Value, json};

use crate::{browser::Browser, npm, server::Server};

const AXE: &str = "axe-core@4.14.1";

const CHECK: &str = "const done = arguments[0]; \
    axe.run(document).then(found => done(found.violations.map(rule => [rule.id, rule.nodes.map(node => node.html)])))";

#[tokio::test]
async fn no_view_breaks_a_rule_of_accessibility_in_light_and_dark() {
    let Some(browser) = Browser::open("console accessibility", 1360, 640).await else { return };
    let axe = match npm::install(AXE) {
        Ok(folder) => std::fs::read_to_string(folder.join("axe-core/axe.min.js")).unwrap(),
        Err(reason) => return skip_test("console accessibility", &reason),
    };
    let server = Server::demo();
    browser.go(&format!("{}/console", server.url)).await;
    browser.until("document.querySelectorAll('.runs tbody tr').length === 12").await;
    browser.until("!document.querySelector('.outcome.live')").await;
    browser.run(&axe).await;
    let run = browser.eval("document.querySelector('.runs a').getAttribute('href')").await;
    let run = run.as_str().unwrap();
    for (hash, ready) in [
        ("#/runs", ".runs tr"),
        ("#/runs?q=no-such-run", ".empty"),
        (&format!("{run}?row=3"), ".facts-panel"),
        (&format!("{run}?tab=answer"), ".long"),
        (&format!("{run}?tab=money"), ".sums"),
        ("#/runs/00000000-0000-7000-8000-000000000000", ".empty button"),
        ("#/money", ".chart rect"),
        ("#/try", "#task"),
        ("#/agents", ".strip a"),
    ] {
        browser.eval(&format!("location.hash = {}", json!(hash))).await;
        browser.until(&format!("document.querySelector({})", json!(ready))).await;
        for scheme in ["light", "dark"] {
            browser.prefer(scheme).await;
            let violations: Value = browser.eval_async(CHECK).await;
            assert_eq!(violations, json!([]), "{hash} {scheme}");
        }
    }
}

#[tokio::test]
async fn the_keyboard_alone_opens_a_run_and_walks_its_waterfall() {
    let Some(browser) = Browser::open("console keyboard", 1360, 800).await else { return };
    let server = Server::demo();
    browser.go(&format!("{}/console", server.url)).await;
    browser.until("document.querySelectorAll('.runs tbody tr').length === 12").await;
    browser.until("!document.querySelector('.outcome.live')").await;
    let tab_to = async |selector: &str| {
        for _ in 0..40 {
            if browser.eval(&format!("document.activeElement.matches({})", json!(selector))).await == json!(true) {
                return;
            }
            browser.press("Tab").await;
        }
        panic!("the key Tab does not reach {selector}");
    };
    tab_to(".runs a").await;
    let first = browser.eval("document.activeElement.getAttribute('href')").await;
    browser.press("ArrowDown").await;
    assert_ne!(browser.eval("document.activeElement.getAttribute('href')").await, first);
    browser.press("ArrowUp").await;
    browser.press("Enter").await;
    browser.until("document.querySelectorAll('.row .agent-name').length === 4").await;
    tab_to(".grid").await;
    let rows = "document.querySelectorAll('.rows .row').length";
    let all = browser.eval(rows).await;
    for key in ["ArrowDown", "ArrowLeft"] {
        browser.press(key).await;
    }
    browser.until(&format!("{rows} === 1")).await;
    browser.press("ArrowRight").await;
    browser.until(&format!("{rows} === {all}")).await;
    browser.press("End").await;
    browser.until("document.querySelector('.row.selected')?.innerText.includes('turn 2')").await;
}

/// Renders a run with ten thousand calls of a tool.
const LONG_RUN: &str = "const [folder, done] = arguments; \
    (async () => { \
        const [{ buildTree }, { Waterfall }, { html, render }] = \
            await Promise.all(['spans', 'waterfall', 'view'].map(name => import(`${folder}/${name}.js`))); \
        const at = ms => new Date(1764500000000 + ms).toISOString(); \
        const of = (ms, event, more) => ({ at: at(ms), run: 'r', agent: 'desk', event, ...more }); \
        const events = [of(0, 'run_started')]; \
        for (let call = 0; call < 10000; call += 1) { \
            events.push(of(call * 10, 'tool_started', { tool: 'search', call_id: `c${call}` })); \
            events.push(of(call * 10 + 8, 'tool_ended', { tool: 'search', call_id: `c${call}`, outcome: 'ok', elapsed_us: 8000 })); \
        } \
        const place = document.body.appendChild(document.createElement('div')); \
        const start = performance.now(); \
        render(html`<${Waterfall} tree=${buildTree(events, null)} query=${{}} live=${false} gap=${false} />`, place); \
        const shown = performance.now() - start; \
        const grid = place.querySelector('.grid'); \
        grid.scrollTop = grid.scrollHeight; \
        await new Promise(next => requestAnimationFrame(() => setTimeout(next, 50))); \
        const last = [...place.querySelectorAll('.rows .row')].at(-1).getAttribute('aria-rowindex'); \
        done({ shown, last, rows: place.querySelectorAll('.rows .row').length }); \
    })()";

#[tokio::test]
async fn a_run_with_ten_thousand_rows_is_shown_at_once() {
    let Some(browser) = Browser::open("console speed", 1360, 800).await else { return };
    let server = Server::demo();
    browser.go(&format!("{}/console#/try", server.url)).await;
    browser.sees("Try an agent").await;
    let script = browser.eval("document.querySelector('script').src").await;
    let folder = script.as_str().unwrap().trim_end_matches("/app.js").to_owned();
    let shown = browser.eval_async_with(LONG_RUN, json!([folder])).await;
    assert_eq!((&shown["last"], shown["rows"].as_u64() <= Some(200)), (&json!("10001"), true), "{shown}");
    // A tenth of a second on an idle machine.
    assert!(shown["shown"].as_f64().unwrap() < 1_000.0, "{shown}");
}
