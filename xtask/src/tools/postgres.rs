//! A PostgreSQL server for tests, below the target folder.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use xshell::{Shell, cmd};

/// The folder in which Debian puts each version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// How long a server may take to start or to end on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);

/// The user without rights on Linux, and its group.
const USER: &str = "65534";

const POLL: Duration = Duration::from_millis(100);

/// The password of the tests' user. The server listens on the loopback address only.
const PASSWORD: &str = "brigade-tests";

/// A server that ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    folder: PathBuf,
    port: u16,
}

impl Server {
    /// Starts a new server in this folder, which is emptied before.
    pub(crate) fn start(shell: &Shell, folder: &Path) -> Result<Self> {
        let programs = programs()?;
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        let (data, password) = (folder.join("data"), folder.join("password"));
        fs::write(&password, PASSWORD)?;
        let as_user = as_user(shell, folder)?;
        let (initdb, log) = (programs.join("initdb"), File::create(folder.join("initdb.log"))?);
        let mut create = command(&as_user, &initdb);
        create.arg("--pgdata").arg(&data).arg("--pwfile").arg(&password);
        create.args(["--username=brigade", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]);
        let created = create.stdin(Stdio::null()).stdout(log).status()?;
        ensure!(created.success(), "initdb ended with {created}; its log is in {}", folder.display());
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = File::create(folder.join("server.log"))?;
        let mut serve = command(&as_user, &programs.join("postgres"));
        serve.arg("-D").arg(&data);
        let port_setting = format!("port={port}");
        for setting in [&port_setting, "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=on"] {
            serve.args(["-c", setting]);
        }
        serve.args(["-c", "max_connections=200"]);
        let process = serve.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let mut server = Self { process, folder: folder.to_owned(), port };
        server.wait_until_ready(shell, &programs)?;
        Ok(server)
    }

    /// The address of its first database, with the password.
    pub(crate) fn address(&self) -> String {
        format!("postgres://brigade:{PASSWORD}@127.0.0.1:{}/postgres", self.port)
    }

    fn wait_until_ready(&mut self, shell: &Shell, programs: &Path) -> Result<()> {
        let (is_ready, port) = (programs.join("pg_isready"), self.port.to_string());
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            if let Some(status) = self.process.try_wait()? {
                bail!("it ended with {status}; its log is in {}", self.folder.display());
            }
            let ready = cmd!(shell, "{is_ready} --quiet --host=127.0.0.1 --port={port}").quiet().run();
            if ready.is_ok() {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        bail!("it was not ready within {} s; its log is in {}", LIMIT.as_secs(), self.folder.display())
    }

    fn stop(&mut self) -> Result<()> {
        // SIGINT ends the connections, too. SIGKILL would leave shared memory behind.
        let stopped = Command::new("kill").arg("-INT").arg(self.process.id().to_string()).status()?;
        ensure!(stopped.success(), "kill ended with {stopped}");
        let start = Instant::now();
        while self.process.try_wait()?.is_none() {
            ensure!(start.elapsed() < LIMIT, "it did not end");
            std::thread::sleep(POLL);
        }
        Ok(fs::remove_dir_all(&self.folder)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            println!("PostgreSQL (process {}) was not stopped: {error:#}", self.process.id());
        }
    }
}

/// The folder with the newest version's programs.
fn programs() -> Result<PathBuf> {
    let versions = fs::read_dir(VERSIONS).with_context(|| format!("there is no PostgreSQL in {VERSIONS}"))?;
    let folders = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    let installed = folders.filter(|folder| folder.join("initdb").exists()).max();
    installed.with_context(|| format!("there is no server in {VERSIONS}"))
}

/// The start of a command line that runs a program as a user without rights, if this process is root's: the server refuses
/// to run as root. The user gets the folder.
fn as_user(shell: &Shell, folder: &Path) -> Result<Vec<&'static str>> {
    if cmd!(shell, "id -u").quiet().read()? != "0" {
        return Ok(Vec::new());
    }
    cmd!(shell, "chown -R {USER} {folder}").quiet().run()?;
    Ok(vec!["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups"])
}

fn command(as_user: &[&str], program: &Path) -> Command {
    match as_user.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
        None => Command::new(program),
    }
}
