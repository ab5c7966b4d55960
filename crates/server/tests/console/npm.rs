//! Packages of npm that check the page. The product needs none of them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The folder with the modules of a package, installed below the target folder.
pub(crate) fn install(package: &str) -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(package);
    let done = folder.join("installed");
    if !done.exists() {
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let options = ["install", "--no-audit", "--no-fund", "--no-package-lock", "--fetch-retries=1", "--prefix"];
        let mut npm = Command::new("npm");
        npm.args(options).arg(&folder).arg(package).stdin(Stdio::null()).stdout(Stdio::null());
        let installed = npm.status().map_err(|error| format!("{package} cannot be installed: npm: {error}"))?;
        if !installed.success() {
            return Err(format!("{package} cannot be installed: npm ended with {installed}"));
        }
        std::fs::write(done, "").map_err(|error| error.to_string())?;
    }
    Ok(folder.join("node_modules"))
}
