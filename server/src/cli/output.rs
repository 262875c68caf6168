//! All that is ever printed to stdout, for people or as JSON. Owns no wording.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};

use serde::Serialize;
use spec::AppError;

use super::Result;

pub struct Output {
    json: bool,
}

/// Lines for people: `label  value` pairs in a column, tables, plain lines.
#[derive(Default)]
pub struct Text(String);

impl Output {
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// The verb's one answer, in the form that was asked for.
    pub fn answer(&self, value: &impl Serialize, people: impl FnOnce(&mut Text)) -> Result<()> {
        let mut text = Text::default();
        if self.json {
            text.0 = serde_json::to_string(value)
                .map_err(|error| AppError::internal(format!("the answer cannot be written as JSON: {error}"), ""))?;
            text.0.push('\n');
        } else {
            people(&mut text);
        }
        print(&text.0)
    }

    pub fn error(&self, error: &AppError) {
        if self.json {
            // Where even this cannot be printed, the exit status says it.
            let _ = print(&format!("{}\n", serde_json::json!({ "error": error })));
        } else {
            eprintln!("error: {}", error.message);
            if !error.hint.is_empty() {
                eprintln!("  {}", error.hint);
            }
        }
    }
}

/// A reader that closed the pipe has what it wanted; anything else that hinders writing is an error.
fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(AppError::io(
            format!("the answer cannot be written: {error}"),
            "Free some disk space, or write elsewhere.",
        )),
        _ => Ok(()),
    }
}

impl Text {
    pub fn line(&mut self, line: impl std::fmt::Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{line}");
    }

    pub fn field(&mut self, label: &str, value: impl std::fmt::Display) {
        self.line(format_args!("{label:<24} {value}"));
    }

    /// Right-aligned columns under their heads, the first one left-aligned.
    pub fn table(&mut self, heads: &[&str], rows: &[Vec<String>]) {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([heads[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..heads.len()).map(width).collect();
        let mut write = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for (column, cell) in cells.enumerate() {
                let width = widths[column];
                let _ = if column == 0 { write!(line, "{cell:<width$}") } else { write!(line, "  {cell:>width$}") };
            }
            self.line(line.trim_end());
        };
        write(&mut heads.iter().copied());
        for row in rows {
            write(&mut row.iter().map(String::as_str));
        }
    }
}

/// `2252800` -> `2,252,800`
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// At most `most` characters of a text's first lines, in one line.
pub fn excerpt(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= most {
        return line;
    }
    let cut: String = line.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1_000, 2_252_800].map(grouped), ["0", "999", "1,000", "2,252,800"]);
    }

    #[test]
    fn an_excerpt_never_cuts_within_a_character() {
        assert_eq!(excerpt("äöü äöü äöü", 6), "äöü ä…");
        assert_eq!(excerpt("a\n b", 6), "a b");
    }
}
