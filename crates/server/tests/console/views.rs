//! Pictures of each view, light, dark and on a phone, and that nothing sticks out of a narrow window.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::{browser::Browser, server::Server};

/// The pictures of a desktop are kept where this variable says, for example in `docs/console`; all others, and without the
/// variable all, below the target folder.
const PICTURES: &str = "BRIGADE_CONSOLE_PICTURES";

fn pictures(device: &str) -> PathBuf {
    let folder = std::env::var_os(PICTURES).filter(|_| device.is_empty());
    folder.map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("console"), PathBuf::from)
}

#[tokio::test]
async fn each_view_fits_a_desktop_and_a_phone_light_and_dark() {
    let Some(browser) = Browser::open("console views", 1360, 640).await else { return };
    let server = Server::demo();
    browser.go(&format!("{}/console", server.url)).await;
    browser.until("document.querySelectorAll('.runs tbody tr').length === 12").await;
    browser.until("!document.querySelector('.outcome.live')").await;
    browser.until("Number(document.querySelector('.spent').innerText.replace(/[^0-9.]/g, '')) > 0.5").await;
    let run = browser.eval("document.querySelector('.runs a').getAttribute('href')").await;
    let run = run.as_str().unwrap();
    browser.go(&format!("{}/console{run}", server.url)).await;
    browser.click(".row .tone-bad", "attempt 1").await;
    let waterfall = browser.eval("location.hash").await;
    let views = [
        ("runs", "#/runs", ".runs tr"),
        ("run", waterfall.as_str().unwrap(), ".facts-panel"),
        ("answer", &format!("{run}?tab=answer"), ".long"),
        ("run-money", &format!("{run}?tab=money"), ".sums"),
        ("money", "#/money", ".chart rect"),
        ("try", "#/try", "#task"),
        ("agents", "#/agents", ".strip a"),
    ];
    for (width, height, device) in [(1360, 640, ""), (375, 720, "-phone")] {
        browser.resize(width, height).await;
        for (name, hash, ready) in views {
            browser.eval(&format!("location.hash = {}", json!(hash))).await;
            browser.until(&format!("document.querySelector({})", json!(ready))).await;
            for scheme in ["light", "dark"] {
                browser.prefer(scheme).await;
                browser.screenshot(&pictures(device).join(format!("{name}{device}-{scheme}.png"))).await;
            }
            let overflow = browser.eval("document.documentElement.scrollWidth - innerWidth").await;
            assert!(overflow.as_f64().unwrap() <= 0.0, "{name} is {overflow} pixels too wide for {width}");
        }
    }
    browser.assert_clean(&server.url, &[]).await;
}
