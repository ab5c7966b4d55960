//! What a process has used, as the kernel counts it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// CPU time of all threads of this process since it began.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// CPU time of the thread that asks.
pub(crate) fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// CPU time of the children of this process that have ended and were waited for. Counted exactly, but told in ticks of
/// commonly 10 ms, so it is good for the sum over many.
pub(crate) fn ended_children_cpu_time() -> Result<Duration> {
    ticks(&fs::read_to_string("/proc/self/stat")?, 13)
}

/// CPU time of another process, in ticks as above.
pub(crate) fn cpu_time_of(process: u32) -> Result<Duration> {
    ticks(&fs::read_to_string(format!("/proc/{process}/stat"))?, 11)
}

/// The sum of two fields of a `stat`, counted after the name of the program.
fn ticks(stat: &str, first: usize) -> Result<Duration> {
    // The name, in brackets, may hold blanks.
    let (_, after_name) = stat.rsplit_once(')').context("/proc/…/stat has another form")?;
    let ticks: u32 = after_name
        .split_ascii_whitespace()
        .skip(first)
        .take(2)
        .map(|field| field.parse::<u32>().context("/proc/…/stat has another form"))
        .sum::<Result<_>>()?;
    let per_second = u32::try_from(rustix::param::clock_ticks_per_second())?;
    Ok(Duration::from_secs(1) * ticks / per_second)
}

/// The memory that another process holds now, in MiB.
pub(crate) fn memory_mib(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    Ok(f64::from(u32::try_from(kibibytes(&status, "VmRSS:")?)?) / 1024.0)
}

fn kibibytes(status: &str, name: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(number.with_context(|| format!("/proc/…/status has no {name}"))?.trim().parse()?)
}

/// The most memory that this process ever held at a time, in bytes.
pub(crate) fn peak_memory_bytes() -> Result<u64> {
    Ok(kibibytes(&fs::read_to_string("/proc/self/status")?, "VmHWM:")? * 1024)
}

/// Allows as many open connections as the system lets this process have.
pub(crate) fn raise_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_what_is_asked() {
        assert!(cpu_time() > thread_cpu_time() && thread_cpu_time() > Duration::ZERO);
        assert!(peak_memory_bytes().unwrap() > 100_000);
        let before = ended_children_cpu_time().unwrap();
        assert!(memory_mib(std::process::id()).unwrap() > 0.1);
        assert!(cpu_time_of(std::process::id()).unwrap() < Duration::from_mins(1));
        assert!(before < Duration::from_mins(1));
    }
}
