//! `brigade demo`.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use brigade_rehearsal::{Script, Simulator};
use tokio::time::Instant;

use crate::support::{BRIGADE, eventually};

#[test]
fn the_demo_finishes_and_prints_its_cost() {
    let began = Instant::now();
    let output = Command::new(BRIGADE).arg("demo").output().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    assert!(stdout.contains("Stay on SQS for now"), "{stdout}");
    assert!(stdout.contains("$0.0279 · ") && stdout.contains("3 workers · trace "), "{stdout}");
    assert!(stderr.contains("waits for 3 workers"), "{stderr}");
}

#[tokio::test]
async fn a_demo_without_its_simulator_reports_an_error() {
    let simulator = Simulator::builder().script(Script::demo()).build().serve_locally().await.unwrap();
    let demo = Command::new(BRIGADE)
        .args(["demo", "--simulator", &simulator.base_url()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let is_amid = || (simulator.call_log().totals().arrived >= 2).then_some(());
    eventually("the workers are asked", is_amid).await;
    simulator.shutdown().await;
    let output = tokio::task::spawn_blocking(|| demo.wait_with_output()).await.unwrap().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("error: ") && stderr.contains("still running?"), "{stderr}");
}
