//! What a person does with the console, from the list of runs to the money.

use serde_json::json;

use crate::{browser::Browser, server::Server};

#[tokio::test]
async fn a_tour_from_the_list_to_the_reason_of_a_retry_and_the_money() {
    let Some(browser) = Browser::open("console tour", 1360, 800).await else { return };
    let server = Server::demo();
    browser.go(&format!("{}/console", server.url)).await;
    for outcome in ["finished", "over budget", "failed", "cancelled", "degraded"] {
        browser.sees(outcome).await;
    }
    browser.until("document.querySelectorAll('.runs tbody tr').length === 12").await;
    browser.until("!document.querySelector('.outcome.live')").await;

    // The eight digits of a log line find the run.
    let digits = browser.eval("document.querySelector('.runs .mono').textContent").await;
    browser.write("input[type=search]", digits.as_str().unwrap()).await;
    browser.until("document.querySelectorAll('.runs tbody tr').length === 1").await;
    browser.until("location.hash.includes('q=')").await;
    browser.press("Enter").await;

    // The newest run of the history was retried; its waterfall has the failed attempt, the wait and its reason.
    browser.sees("1 retry").await;
    browser.until("document.querySelector('.bar.failed') && document.querySelector('.bar.wait')").await;
    browser.click(".row .tone-bad", "attempt 1").await;
    browser.sees("It refused before it generated anything").await;
    browser.eval("document.querySelector('.grid').focus()").await;
    browser.press("ArrowDown").await;
    browser.until("document.querySelector('.facts-panel').innerText.includes('backoff')").await;
    let selected = browser.eval("location.hash").await;
    browser.reload().await;
    browser.until("document.querySelector('.facts-panel')?.innerText.includes('backoff')").await;
    assert_eq!(browser.eval("location.hash").await, selected, "the address holds the selected row");

    browser.click(".tabs a", "Answer").await;
    browser.sees("Stay on SQS for now").await;
    browser.click(".tabs a", "Money").await;
    browser.sees("desk/estimator").await;

    browser.click("nav a", "Money").await;
    browser.sees("in 30 days").await;
    browser.until("document.querySelectorAll('.chart rect').length > 0").await;
    browser.click("button", "model").await;
    browser.sees("anthropic/claude-sonnet-4-5").await;
    browser.assert_clean(&server.url, &[]).await;
}

#[tokio::test]
async fn a_task_can_be_tried_and_watched_until_its_answer() {
    let Some(browser) = Browser::open("console try", 1360, 800).await else { return };
    let server = Server::demo();
    browser.go(&format!("{}/console#/try", server.url)).await;
    browser.write("#task", "Should we move our queue from SQS to Kafka?").await;
    browser.write("#usd", "0.40").await;
    browser.click("button", "start and watch").await;
    browser.until("location.hash.startsWith('#/runs/')").await;
    browser.sees("of $0.40").await;
    browser.until("document.querySelectorAll('.row .agent-name').length === 4").await;
    browser.sees("finished").await;
    let waterfall = browser.eval("document.querySelector('.grid').innerText").await;
    assert!(waterfall.as_str().unwrap().contains("tool calculate"), "{waterfall}");
    assert_eq!(browser.eval("document.querySelectorAll('.bar.open').length").await, json!(0));
    browser.assert_clean(&server.url, &[]).await;
}
