//! All that is ever printed, to stdout as the answer and to stderr as notes. Owns no wording.
//!
//! Texts and paths come from strangers, so control characters are escaped here before a terminal sees them. JSON escapes
//! them itself.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{BufWriter, ErrorKind, Write as _};

use serde::Serialize;
use serde_json::{Value, json};
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

    pub fn is_json(&self) -> bool {
        self.json
    }

    /// The command's one answer, in the form that was asked for.
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

    /// As [`Self::answer`], of a command that was stopped: the error is part of the answer.
    pub fn stopped(&self, mut value: Value, error: &AppError, people: impl FnOnce(&mut Text)) -> Result<()> {
        value["error"] = json!(error);
        self.answer(&value, people)?;
        if !self.json {
            self.error(error);
        }
        Ok(())
    }

    pub fn error(&self, error: &AppError) {
        if self.json {
            // Where even this cannot be printed, the exit status says it.
            let _ = print(&format!("{}\n", json!({ "error": error })));
        } else {
            note(&format!("error: {}", error.message));
            if !error.hint.is_empty() {
                note(&format!("  {}", error.hint));
            }
        }
    }
}

/// For an answer that is a file: written as it is, piece by piece.
pub struct Stdout {
    out: BufWriter<std::io::Stdout>,
    is_closed: bool,
}

impl Stdout {
    pub fn new() -> Self {
        Self { out: BufWriter::new(std::io::stdout()), is_closed: false }
    }

    /// Its reader went away.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    fn note<T>(&mut self, outcome: std::io::Result<T>) -> std::io::Result<T> {
        self.is_closed |= outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::BrokenPipe);
        outcome
    }
}

impl std::io::Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let outcome = self.out.write(bytes);
        self.note(outcome)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let outcome = self.out.flush();
        self.note(outcome)
    }
}

/// A line on stderr. A terminal that is gone must not keep the program from saving, so a failure is ignored.
pub fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", escaped(line));
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

/// Control characters (escape sequences, line breaks) and those that change the order or the shape of what is shown, as
/// Rust escapes them.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_unsafe(character) {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' // direction
            | '\u{2028}' | '\u{2029}' // line and paragraph separators
            | '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}') // invisible
}

impl Text {
    /// One line, whatever is in it.
    pub fn line(&mut self, line: impl std::fmt::Display) {
        let line = line.to_string();
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{}", escaped(&line));
    }

    /// A text that may have lines and tabs of its own.
    pub fn block(&mut self, text: &str) {
        for line in text.split('\n') {
            let safe: Vec<_> = line.trim_end_matches('\r').split('\t').map(escaped).collect();
            let _ = writeln!(self.0, "{}", safe.join("\t"));
        }
    }

    pub fn field(&mut self, label: &str, value: impl std::fmt::Display) {
        self.line(format_args!("{label:<24} {value}"));
    }

    /// Right-aligned columns under their heads, the first one left-aligned.
    pub fn table(&mut self, heads: &[&str], rows: &[Vec<String>]) {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| escaped(cell).chars().count());
            cells.chain([heads[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..heads.len()).map(width).collect();
        let mut write = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for (column, cell) in cells.enumerate() {
                let (cell, width) = (escaped(cell), widths[column]);
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

    #[test]
    fn terminal_escape_sequences_are_escaped_and_letters_of_all_scripts_stay() {
        for (text, safe) in [
            ("b \u{1b}[31m c", "b \\u{1b}[31m c"),
            ("a\u{1b}]0;owned\u{7}.jsonl", "a\\u{1b}]0;owned\\u{7}.jsonl"),
            ("name\nerror: fake", "name\\nerror: fake"),
            ("\u{9b}31m \u{7f}", "\\u{9b}31m \\u{7f}"),
            ("abc\u{202e}fdp.exe", "abc\\u{202e}fdp.exe"),
            ("Zürich, 東京, قاهرة, 👍", "Zürich, 東京, قاهرة, 👍"),
        ] {
            assert_eq!(escaped(text), safe);
        }
        let mut text = Text::default();
        text.block("first\n\tsecond \u{1b}[0m\r\n");
        text.line("one\ntwo");
        assert_eq!(text.0, "first\n\tsecond \\u{1b}[0m\n\none\\ntwo\n");
    }
}
