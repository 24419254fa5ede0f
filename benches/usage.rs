//! What a process has used, as Linux tells it below `/proc`.

use std::fs;

use anyhow::Context;

/// Clock ticks a second in `/proc/PID/stat`: `USER_HZ`, 100 on every Linux that people run.
const TICKS: f64 = 100.0;

/// Seconds of CPU that a process has used, all its threads, user and system.
pub fn cpu_seconds(pid: i32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; what follows begins with field 3, utime and stime are 14 and 15.
    let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
    let times: Vec<f64> = fields.split(' ').skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(times.iter().sum::<f64>() / TICKS)
}

/// Seconds all cores together were busy, and seconds they were idle, since boot.
pub fn machine_seconds() -> anyhow::Result<(f64, f64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("an empty stat")?;
    // cpu user nice system idle iowait irq softirq steal; what follows is contained in user and nice.
    let ticks: Vec<f64> = line.split_whitespace().skip(1).take(8).map(str::parse).collect::<Result<_, _>>()?;
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    Ok(((ticks.iter().sum::<f64>() - idle) / TICKS, idle / TICKS))
}

/// Resident memory now, in MiB.
pub fn resident_mib(pid: i32) -> anyhow::Result<f64> {
    status(pid, "VmRSS:")
}

/// Resident memory at its peak, in MiB.
pub fn peak_mib(pid: i32) -> anyhow::Result<f64> {
    status(pid, "VmHWM:")
}

fn status(pid: i32, name: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line in status")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}
