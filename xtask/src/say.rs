//! What xtask says to the person in front of it. Everything goes to stderr, like cargo's own messages,
//! so that it stays in order with what the tools print there.

use std::time::Duration;

/// What begins now.
pub fn doing(what: &str) {
    eprintln!("==> {what}");
}

/// A detail under what was announced last.
pub fn note(what: &str) {
    eprintln!("    {what}");
}

pub fn problem(what: &str) {
    eprintln!("error: {what}");
}

/// A measurement, for programs: the one thing that goes to stdout.
pub fn json(found: &serde_json::Value) {
    #[expect(clippy::print_stdout, reason = "what was asked for, apart from what is told on the way")]
    {
        println!("{found}");
    }
}

/// `4.2 s`, `7 min 05 s`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

/// `512 kB`, `1.3 MB`.
pub fn size(bytes: u64) -> String {
    let kilobytes = bytes as f64 / 1e3;
    if kilobytes < 1e3 { format!("{kilobytes:.0} kB") } else { format!("{:.1} MB", kilobytes / 1e3) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_a_person_says_them() {
        assert_eq!(duration(Duration::from_millis(4_240)), "4.2 s");
        assert_eq!(duration(Duration::from_secs(425)), "7 min 05 s");
    }

    #[test]
    fn sizes_are_rounded() {
        assert_eq!(size(512_300), "512 kB");
        assert_eq!(size(1_310_000), "1.3 MB");
    }
}
