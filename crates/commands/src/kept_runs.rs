//! The file that keeps the runs of the command line if no store and no file of events is configured.

use std::{env, ffi::OsString, fs, io, path::PathBuf, sync::Arc};

use brigade_core::Observer;
use brigade_observability::RunLog;

/// Thousands of runs. Then the file begins anew.
const MAX_BYTES: u64 = 8 << 20;

/// The path of the file, in the user's folder for the state of programs:
/// <https://specifications.freedesktop.org/basedir-spec/latest/>. `None` if the user has no home.
pub fn kept_runs_path() -> Option<PathBuf> {
    let folder = |name: &str| env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from);
    let home = || Some(folder("HOME")?.join(".local/state"));
    let state = folder("XDG_STATE_HOME").or_else(|| folder("LOCALAPPDATA")).or_else(home)?;
    Some(state.join("brigade").join("runs.jsonl"))
}

/// Creates the folder of the file, and begins the file anew if it is long. Returns its path.
pub fn create_kept_runs() -> io::Result<Option<PathBuf>> {
    let Some(path) = kept_runs_path() else { return Ok(None) };
    if fs::metadata(&path).is_ok_and(|file| file.len() > MAX_BYTES) {
        fs::remove_file(&path)?;
    }
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    Ok(Some(path))
}

/// An observer that keeps the runs, for `brigade trace`. A run does not need it, so a failure is only logged.
pub fn kept_runs_recorder() -> Option<Arc<dyn Observer>> {
    let opened = create_kept_runs().and_then(|path| path.map(RunLog::open).transpose());
    match opened {
        Ok(log) => log.map(|log| Arc::new(log) as _),
        Err(error) => {
            tracing::warn!("the run is not kept for `brigade trace`: {error}");
            None
        }
    }
}
