//! A headless Chromium, driven by the WebDriver protocol: <https://www.w3.org/TR/webdriver2/>.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use brigade_core::testing::skip_test;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::server::client;

/// The timeout of all waits.
const WAIT: Duration = Duration::from_secs(20);

/// A tab of a browser. The browser ends when it is dropped.
pub(crate) struct Browser {
    session: String,
    client: Client,
    driver: Child,
    _profile: TempDir,
}

impl Browser {
    /// A browser with a window of this size, or nothing if the test `name` is skipped because no browser is installed.
    pub(crate) async fn open(name: &str, width: u32, height: u32) -> Option<Self> {
        let is_installed =
            |program: &str| Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok();
        if let Some(missing) = ["chromedriver", "chromium"].into_iter().find(|program| !is_installed(program)) {
            skip_test(name, &format!("{missing} is not installed"));
            return None;
        }
        let mut driver = Command::new("chromedriver");
        let mut driver = driver.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut ports = lines.filter_map(|line| {
            let port = line.rsplit_once("on port ")?.1.trim_end_matches('.').parse::<u16>().ok()?;
            (port > 0).then_some(port)
        });
        let driver_url = format!("http://127.0.0.1:{}", ports.next().unwrap());
        let profile = tempfile::tempdir().unwrap();
        let arguments = [
            "--headless=new".to_owned(),
            // Root may not use the sandbox; the browser sees only a page of this machine.
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--force-device-scale-factor=1".to_owned(),
            "--hide-scrollbars".to_owned(),
            format!("--window-size={width},{height}"),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": arguments, "binary": path_of("chromium") },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let client = client();
        let mut browser = Self { session: format!("{driver_url}/session"), client, driver, _profile: profile };
        let created = browser.send(Method::POST, "", &wanted).await;
        browser.session = format!("{}/{}", browser.session, created["sessionId"].as_str().unwrap());
        browser.resize(width, height).await;
        Some(browser)
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.session);
        let request = self.client.request(method, url).header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().await.unwrap().text().await.unwrap();
        let mut answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer["value"].get("error").is_none(), "{path}: {answer}");
        answer["value"].take()
    }

    /// A command of the protocol of Chromium's own tools.
    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.send(Method::POST, "/goog/cdp/execute", &json!({ "cmd": command, "params": parameters })).await
    }

    pub(crate) async fn go(&self, url: &str) {
        self.send(Method::POST, "/url", &json!({ "url": url })).await;
    }

    pub(crate) async fn reload(&self) {
        self.send(Method::POST, "/refresh", &json!({})).await;
    }

    pub(crate) async fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// `light` or `dark`.
    pub(crate) async fn prefer(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// The value of a JavaScript expression.
    pub(crate) async fn eval(&self, expression: &str) -> Value {
        let script = json!({ "script": format!("return ({expression});"), "args": [] });
        self.send(Method::POST, "/execute/sync", &script).await
    }

    /// Runs a script.
    pub(crate) async fn run(&self, script: &str) {
        self.send(Method::POST, "/execute/sync", &json!({ "script": script, "args": [] })).await;
    }

    /// What a script passes to the function that is its last argument.
    pub(crate) async fn eval_async(&self, script: &str) -> Value {
        self.eval_async_with(script, json!([])).await
    }

    pub(crate) async fn eval_async_with(&self, script: &str, arguments: Value) -> Value {
        self.send(Method::POST, "/execute/async", &json!({ "script": script, "args": arguments })).await
    }

    /// Waits until a JavaScript expression is true.
    pub(crate) async fn until(&self, expression: &str) {
        let start = Instant::now();
        while self.eval(&format!("Boolean({expression})")).await != json!(true) {
            let text = self.eval("document.body.innerText").await;
            assert!(start.elapsed() < WAIT, "never true: {expression}\n{}", text.as_str().unwrap_or_default());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the page shows this text.
    pub(crate) async fn sees(&self, text: &str) {
        self.until(&format!("document.body.innerText.includes({})", json!(text))).await;
    }

    /// Clicks the first element that matches a selector and has this text.
    pub(crate) async fn click(&self, selector: &str, text: &str) {
        let found = format!(
            "[...document.querySelectorAll({})].find(e => e.textContent.includes({}))",
            json!(selector),
            json!(text)
        );
        self.until(&found).await;
        self.eval(&format!("{found}.click()")).await;
    }

    /// Sends keys to the element that has the focus.
    pub(crate) async fn press(&self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            let (text, code) = match key {
                "Enter" => ("\r", 13),
                "Tab" => ("", 9),
                _ if key.len() == 1 => (key, 0),
                _ => ("", 0),
            };
            let event = json!({ "type": kind, "key": key, "text": text, "windowsVirtualKeyCode": code });
            self.devtools("Input.dispatchKeyEvent", event).await;
        }
    }

    /// Types into an element as a person does.
    pub(crate) async fn write(&self, selector: &str, text: &str) {
        self.until(&format!("document.querySelector({})", json!(selector))).await;
        self.eval(&format!("document.querySelector({}).focus()", json!(selector))).await;
        self.devtools("Input.insertText", json!({ "text": text })).await;
    }

    /// Writes a picture of the visible page.
    pub(crate) async fn screenshot(&self, path: &Path) {
        let png = self.devtools("Page.captureScreenshot", json!({ "format": "png" })).await;
        let png = decode_base64(png["data"].as_str().unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, png).unwrap();
    }

    /// Fails if the page logged an error, violated its policy, or asked another origin than this one.
    pub(crate) async fn assert_clean(&self, origin: &str, expected: &[&str]) {
        let logged = self.send(Method::POST, "/se/log", &json!({ "type": "browser" })).await;
        let is_expected = |message: &str| expected.iter().any(|expected| message.contains(expected));
        let problems: Vec<_> = logged
            .as_array()
            .unwrap()
            .iter()
            .filter(|line| line["level"] == "SEVERE" || line["source"] == "security")
            .map(|line| line["message"].to_string())
            .filter(|message| !is_expected(message))
            .collect();
        assert!(problems.is_empty(), "{problems:#?}");
        let network = self.send(Method::POST, "/se/log", &json!({ "type": "performance" })).await;
        let mut requests = 0;
        for line in network.as_array().unwrap() {
            let message: Value = serde_json::from_str(line["message"].as_str().unwrap()).unwrap();
            let message = &message["message"];
            if message["method"] == "Network.requestWillBeSent" {
                let url = message["params"]["request"]["url"].as_str().unwrap();
                // The browser's own pages and embedded pictures need no network.
                if !url.starts_with("http") && !url.starts_with("ws") {
                    continue;
                }
                requests += 1;
                assert!(url.starts_with(origin), "a request to another origin: {url}");
                assert!(!url.contains("brg_"), "a key in an address: {url}");
            }
        }
        assert!(requests > 3, "the log of requests is read: {requests}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser when its session is deleted; the browser's own processes follow the driver's end.
        let session = self.session.clone();
        let deleting = std::thread::spawn(move || {
            let curl = ["--silent", "--max-time", "5", "--request", "DELETE", &session];
            let _ = Command::new("curl").args(curl).stdout(Stdio::null()).status();
        });
        let _ = deleting.join();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn path_of(program: &str) -> PathBuf {
    let folders = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.exists()).unwrap()
}

fn decode_base64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut bytes = Vec::new();
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'=').collect();
    for group in digits.chunks(4) {
        let bits = group.iter().fold(0, |bits, digit| bits << 6 | value(*digit)) << (6 * (4 - group.len()));
        bytes.extend(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}
