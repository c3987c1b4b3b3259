//! What processes use of memory and processor, as the kernel counts it.

use crate::Outcome;
use std::fs;

/// The process and those that it started and that are still there.
pub(crate) fn family(of: u32) -> Outcome<Vec<u32>> {
    let mut found = vec![of];
    for process in fs::read_dir("/proc")? {
        let Some(pid) = process?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if parent(pid) == Some(of) {
            found.push(pid);
        }
    }
    Ok(found)
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// Resident memory of these together, in bytes; a page that several of them share is counted once.
pub(crate) fn resident(processes: &[u32]) -> Outcome<u64> {
    processes.iter().map(|pid| proportional(*pid)).sum()
}

/// The process's pages, each divided by how many processes have it.
fn proportional(pid: u32) -> Outcome<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).ok_or("no Pss")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib * 1024)
}

/// Processor time that these have used so far, in seconds.
///
/// # Errors
/// Where the first of them is gone. The others may come and go, as PostgreSQL's do: who is gone counts as nothing.
pub(crate) fn used(processes: &[u32]) -> Outcome<f64> {
    let (first, others) = processes.split_first().ok_or("no process to look at")?;
    Ok(of_process(*first)? + others.iter().map(|pid| of_process(*pid).unwrap_or(0.0)).sum::<f64>())
}

/// Of all threads that there are, as the scheduler counts it.
fn of_process(pid: u32) -> Outcome<f64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let used = text.split_ascii_whitespace().next().ok_or("an empty schedstat")?;
        sum += used.parse::<u64>()?;
    }
    Ok(sum as f64 / 1e9)
}
