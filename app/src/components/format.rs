//! Figures as people read them. Pure and without a clock or a locale, so that server and page print the same.

/// `1234567` as `1 234 567`, with thin spaces.
pub fn whole(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3 * 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{2009}');
        }
        out.push(digit);
    }
    out
}

/// Three or four significant digits; very small and very large values in scientific form.
pub fn figure(value: f64) -> String {
    if !value.is_finite() {
        return "not finite".to_owned();
    }
    let size = value.abs();
    match size {
        0.0 => "0".to_owned(),
        _ if !(1e-4..1e6).contains(&size) => format!("{value:.2e}"),
        _ if size < 0.01 => trimmed(&format!("{value:.6}")),
        _ if size < 10.0 => format!("{value:.3}"),
        _ if size < 100.0 => format!("{value:.2}"),
        _ if size < 1000.0 => format!("{value:.1}"),
        _ if value > 0.0 => whole(value.round() as u64),
        _ => format!("{value:.0}"),
    }
}

fn trimmed(text: &str) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A fraction (0..=1) as percent.
pub fn percent(fraction: f64) -> String {
    let value = fraction * 100.0;
    if value == 0.0 || value.abs() >= 0.95 { format!("{value:.1} %") } else { format!("{value:.2} %") }
}

/// `1 h 02 min`, `2 min 05 s`, `12 s`, `0.4 s`.
pub fn seconds(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "unknown".to_owned();
    }
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    let total = seconds.round() as u64;
    let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min {seconds:02} s"),
        _ => format!("{hours} h {minutes:02} min"),
    }
}

/// Whole seconds as a running clock: `0:07`, `12:30`, `1:02:03`.
pub fn clock(milliseconds: i64) -> String {
    let total = (milliseconds / 1000).max(0);
    let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if value < 1024 {
        return format!("{value} B");
    }
    let mut size = value as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// Milliseconds since the epoch as `2026-11-30 12:34 UTC`.
pub fn moment(milliseconds: i64) -> String {
    let minutes = milliseconds.div_euclid(60_000);
    let (days, minute) = (minutes.div_euclid(1440), minutes.rem_euclid(1440));
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minute / 60, minute % 60)
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar (eras of 400 years, years that begin in March).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// `template_leak` as `template leak`.
pub fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// The first characters of a text on one line.
pub fn excerpt(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line,
    }
}

/// `1 pair`, `2 pairs`.
pub fn counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", whole(count), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_grouped_by_three() {
        assert_eq!(whole(7), "7");
        assert_eq!(whole(2_252_800), "2\u{2009}252\u{2009}800");
    }

    #[test]
    fn figures_keep_what_matters() {
        assert_eq!(figure(2.34567), "2.346");
        assert_eq!(figure(0.0002), "0.0002");
        assert_eq!(figure(38_977.4), "38\u{2009}977");
        assert_eq!(figure(0.00002), "2.00e-5");
        assert_eq!(figure(f64::NAN), "not finite");
        assert_eq!(percent(0.002044), "0.20 %");
        assert_eq!(percent(1.0), "100.0 %");
    }

    #[test]
    fn times_are_told_in_utc_without_a_clock() {
        assert_eq!(moment(0), "1970-01-01 00:00 UTC");
        assert_eq!(moment(951_827_640_000), "2000-02-29 12:34 UTC");
        assert_eq!(moment(-60_000), "1969-12-31 23:59 UTC");
        assert_eq!(seconds(125.0), "2 min 05 s");
        assert_eq!(seconds(f64::INFINITY), "unknown");
        assert_eq!(clock(3_723_000), "1:02:03");
    }

    #[test]
    fn excerpts_end_between_characters() {
        assert_eq!(excerpt("äöü äöü", 4), "äöü…");
        assert_eq!(excerpt(" a\nb ", 9), "a b");
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(104_857_600), "100.0 MiB");
    }
}
