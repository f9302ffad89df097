//! The process as the system sees it, under the names that every Prometheus client gives these numbers. Where the system
//! does not tell (`/proc` is Linux'), they are left out.

use std::fs;

/// A clock tick as `/proc` counts it: `USER_HZ`, 100 a second on every architecture that Linux runs on by default.
const TICKS: f64 = 100.0;

/// What there is to know.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) open_fds: Option<u64>,
    pub(super) max_fds: Option<u64>,
}

impl Process {
    pub(super) fn read() -> Self {
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let word = |text: &str, start: &str, place: usize| {
            let rest = text.lines().find_map(|line| line.strip_prefix(start)).map(str::to_owned)?;
            rest.split_whitespace().nth(place)?.parse::<u64>().ok()
        };
        Self {
            cpu_seconds: cpu_seconds(&stat),
            resident_bytes: word(&status, "VmRSS:", 0).map(|kibibytes| kibibytes * 1024),
            // The folder is open itself while it is read.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|files| files.count().saturating_sub(1) as u64),
            max_fds: word(&limits, "Max open files", 0),
        }
    }
}

/// `proc_pid_stat(5)`: user and system time are the 14th and the 15th field. The second is the program's name in
/// parentheses and may hold anything, so it is counted from behind it.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split_whitespace().skip(11).map(|field| field.parse::<f64>().ok());
    Some((times.next()?? + times.next()??) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_name_does_not_shift_its_times() {
        let fields = "S 1 1 1 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 5 1 1";
        assert_eq!(cpu_seconds(&format!("7 (a) b) {fields}")), Some(3.0));
        assert_eq!(cpu_seconds(""), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_there() {
        let process = Process::read();
        assert!(process.open_fds.unwrap() >= 3 && process.max_fds.unwrap() >= process.open_fds.unwrap());
        assert!(process.resident_bytes.unwrap() > 1_000_000 && process.cpu_seconds.is_some());
    }
}
