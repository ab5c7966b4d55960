//! CPU time and memory of processes, as the kernel counts them.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// CPU time of all threads of this process since its start.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// CPU time of the current thread.
pub(crate) fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// CPU time of the child processes that have ended. It is reported in ticks of commonly 10 ms, so only the sum of many is
/// precise.
pub(crate) fn ended_children_cpu_time() -> Result<Duration> {
    ticks(&fs::read_to_string("/proc/self/stat")?, 13)
}

/// CPU time of another process, in ticks as above.
pub(crate) fn cpu_time_of(process: u32) -> Result<Duration> {
    ticks(&fs::read_to_string(format!("/proc/{process}/stat"))?, 11)
}

/// The sum of two fields of a `stat`, counted after the name of the program.
fn ticks(stat: &str, first: usize) -> Result<Duration> {
    // The name, in parentheses, may contain spaces.
    let (_, after_name) = stat.rsplit_once(')').context("/proc/…/stat has an unknown format")?;
    let ticks: u32 = after_name
        .split_ascii_whitespace()
        .skip(first)
        .take(2)
        .map(|field| field.parse::<u32>().context("/proc/…/stat has an unknown format"))
        .sum::<Result<_>>()?;
    let per_second = u32::try_from(rustix::param::clock_ticks_per_second())?;
    Ok(Duration::from_secs(1) * ticks / per_second)
}

/// The resident memory of another process, in MiB.
pub(crate) fn memory_mib(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    Ok(f64::from(u32::try_from(kibibytes(&status, "VmRSS:")?)?) / 1024.0)
}

fn kibibytes(status: &str, name: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(number.with_context(|| format!("/proc/…/status has no {name}"))?.trim().parse()?)
}

/// The peak resident memory of this process, in bytes.
pub(crate) fn peak_memory_bytes() -> Result<u64> {
    Ok(kibibytes(&fs::read_to_string("/proc/self/status")?, "VmHWM:")? * 1024)
}

/// Raises the limit of open files to the maximum for this process.
pub(crate) fn raise_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    Ok(())
}

/// Limits the open files of this process, and of each process that it starts.
pub(crate) fn limit_files(files: u64) -> Result<()> {
    let limit = Rlimit { current: Some(files), maximum: Some(files) };
    setrlimit(Resource::Nofile, limit).with_context(|| format!("no process may open {files} files; raise `ulimit -Hn`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_reports_time_and_memory() {
        assert!(cpu_time() > thread_cpu_time() && thread_cpu_time() > Duration::ZERO);
        assert!(peak_memory_bytes().unwrap() > 100_000);
        let before = ended_children_cpu_time().unwrap();
        assert!(memory_mib(std::process::id()).unwrap() > 0.1);
        assert!(cpu_time_of(std::process::id()).unwrap() < Duration::from_mins(1));
        assert!(before < Duration::from_mins(1));
    }
}
