//! The server is killed again and again while clients start runs; a judge compares what it says with what happened.
//!
//! `BRIGADE_KILLS` is the number of kills and `BRIGADE_SEED` the seed of their times; `cargo xtask kills` sets both.

mod client;
mod judge;
mod world;

use std::{
    env,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;

use self::{client::Client, judge::Journals, world::World};
use crate::support::{BRIGADE, Server};

/// Takes less than a minute on two cores in a debug build.
const KILLS: u64 = 100;

const CLIENTS: usize = 4;

/// All clients end their last run in a tenth of it.
const TIMEOUT: Duration = Duration::from_mins(2);

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_again_and_again_loses_no_run_and_repeats_no_completed_step() {
    let (kills, seed) = (number("BRIGADE_KILLS", KILLS), number("BRIGADE_SEED", 1));
    let (world, mut random) = (Arc::new(World::new().await), StdRng::seed_from_u64(seed));
    let is_over = Arc::new(AtomicBool::new(false));
    let clients = (0..CLIENTS).map(|number| {
        let client = Client::new(Arc::clone(&world), number, seed);
        client.drive(Arc::clone(&is_over))
    });
    let mut clients: JoinSet<_> = clients.collect();
    let mut journals = Journals::default();
    for _ in 0..kills {
        if random.random_ratio(1, 10) {
            killed_at_its_start(&world, Duration::from_millis(random.random_range(0..100))).await;
        } else {
            // Most kills come early, while the server carries on what it was killed in before.
            let time = Duration::from_millis(10 << random.random_range(0..7));
            let mut server = start(&world).await;
            world.url.send_replace(Some(server.url.clone()));
            tokio::time::sleep(time).await;
            world.url.send_replace(None);
            server.signal("-KILL");
            server.exit().await;
        }
        journals.read(&world);
        assert!(clients.try_join_next().is_none_or(|client| client.is_ok()), "a client failed, as is printed above");
    }
    let server = start(&world).await;
    world.url.send_replace(Some(server.url.clone()));
    is_over.store(true, Ordering::Relaxed);
    let ended = async {
        let mut ended = Vec::new();
        while let Some(runs) = clients.join_next().await {
            ended.extend(runs.unwrap());
        }
        ended
    };
    let ended = tokio::time::timeout(TIMEOUT, ended).await.unwrap_or_else(|_| panic!("runs hang: {}", server.log()));
    world.provider.call_log().wait_until_idle().await;
    let report = judge::judge(&world, &journals, &ended, &server).await;
    println!("{kills} kills (seed {seed}): {report}");
}

async fn start(world: &Arc<World>) -> Server {
    let world = Arc::clone(world);
    tokio::task::spawn_blocking(move || Server::start(&world.config)).await.unwrap()
}

/// Kills a server that may not have opened its store yet.
async fn killed_at_its_start(world: &World, after: Duration) {
    let path = world.folder.path().join("brigade.toml");
    std::fs::write(&path, &world.config).unwrap();
    let mut command = Command::new(BRIGADE);
    command.args(["serve", "--config"]).arg(path).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    tokio::time::sleep(after).await;
    process.kill().unwrap();
    process.wait().unwrap();
}
