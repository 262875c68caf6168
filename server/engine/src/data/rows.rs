//! A file as rows, one at a time: the lines of JSONL, the elements of one JSON array, or JSON objects one after
//! another, however they are broken into lines.
//!
//! Bounds what a file may make us hold: its text, a row, the number of rows. Which of the three it is shows in its
//! first bytes, never in the file's name. What is in a row is not looked at.

use std::io::{BufRead, Cursor, Read};
use std::path::Path;

use super::input::Input;
use crate::{Error, Result};

/// Text of a whole file, after gzip.
pub const MOST_TEXT_BYTES: u64 = 512 << 20;
/// One line, element or object. A longer one is skipped and counted as malformed.
pub const MOST_ROW_BYTES: usize = 4 << 20;
pub const MOST_ROWS: u64 = 2_000_000;
/// In a row: a file of line breaks alone would be read to its end for nothing.
const MOST_BLANK_LINES: u64 = 10_000;
/// Looked at to tell the layout.
const HEAD_BYTES: u64 = 1 << 16;
/// A byte order mark, in UTF-8. Files that were put together have it in the middle too.
const MARK: &[u8] = b"\xef\xbb\xbf";

pub struct Rows {
    input: Input,
    reader: Box<dyn BufRead>,
    layout: Layout,
    /// Lines that were ended so far.
    lines: u64,
    rows: u64,
    taken: u64,
    most: u64,
    buffer: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Lines,
    Array(ArrayState),
    /// JSON objects that span lines, or several on one line.
    Objects,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ArrayState {
    Before,
    Within,
    After,
    Ended,
}

pub struct Row<'a> {
    /// 1-based: the line on which it starts.
    pub line: u64,
    /// Place in the JSON array, 0-based; None outside arrays.
    pub element: Option<u64>,
    /// Or why it cannot be read.
    pub bytes: Result<&'a [u8], String>,
}

impl Row<'_> {
    /// 1-based: its place in a JSON array, else its line.
    pub fn number(&self) -> u64 {
        self.element.map_or(self.line, |element| element + 1)
    }
}

impl Rows {
    pub fn open(path: &Path) -> Result<Self> {
        let input = Input::open(path)?;
        let reader: Box<dyn BufRead> = Box::new(std::io::empty());
        let mut rows =
            Self { input, reader, layout: Layout::Lines, lines: 0, rows: 0, taken: 0, most: 0, buffer: Vec::new() };
        rows.rewind()?;
        Ok(rows)
    }

    /// Back to the first row.
    pub fn rewind(&mut self) -> Result<()> {
        let (mut reader, most) = self.input.text()?;
        let mut head = Vec::new();
        // An error of the stream comes again, and is reported, where the rows reach it.
        let _ = reader.by_ref().take(HEAD_BYTES).read_to_end(&mut head);
        let layout = layout(&head);
        let reader = Box::new(Cursor::new(head).chain(reader));
        (self.reader, self.most, self.layout) = (reader, most, layout);
        (self.lines, self.rows, self.taken) = (0, 0, 0);
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.input.path
    }

    /// Of the file's bytes. The rows must be rewound before they are read on.
    pub fn sha256(&self) -> Result<String> {
        self.input.sha256()
    }

    /// Rows given so far.
    pub fn count(&self) -> u64 {
        self.rows
    }

    /// The next row; blank lines are none.
    pub fn next(&mut self) -> Result<Option<Row<'_>>> {
        let row = match self.layout {
            Layout::Lines => self.next_line()?,
            Layout::Array(_) => self.next_element()?,
            Layout::Objects => self.next_object()?,
        };
        let Some((line, problem)) = row else { return Ok(None) };
        let element = matches!(self.layout, Layout::Array(_)).then_some(self.rows);
        self.rows += 1;
        if self.rows > MOST_ROWS {
            let problem = format!("the file holds more than {MOST_ROWS} rows; split it");
            return Err(Error::malformed(self.path(), format!("line {line}"), problem));
        }
        let bytes = match problem {
            Some(problem) => Err(problem),
            None => Ok(self.buffer.as_slice()),
        };
        Ok(Some(Row { line, element, bytes }))
    }

    /// Fills `buffer` with the next line that is not blank: its number, and what is wrong with it.
    fn next_line(&mut self) -> Result<Option<(u64, Option<String>)>> {
        let mut blank = 0;
        loop {
            self.buffer.clear();
            let mut size = 0;
            let mut ended = false;
            while !ended {
                let chunk = fill(&mut *self.reader, &self.input.path, self.lines)?;
                if chunk.is_empty() {
                    break;
                }
                let end = chunk.iter().position(|&byte| byte == b'\n');
                ended = end.is_some();
                let taken = end.map_or(chunk.len(), |end| end + 1);
                size += taken;
                let left = MOST_ROW_BYTES.saturating_sub(self.buffer.len()).min(taken);
                self.buffer.extend_from_slice(&chunk[..left]);
                self.consume(taken)?;
            }
            if size == 0 {
                return Ok(None);
            }
            self.lines += 1;
            if self.buffer.starts_with(MARK) {
                self.buffer.drain(..MARK.len());
            }
            if self.buffer.trim_ascii().is_empty() && size <= MOST_ROW_BYTES {
                blank += 1;
                if blank > MOST_BLANK_LINES {
                    let problem = format!("more than {MOST_BLANK_LINES} blank lines follow one another");
                    return Err(Error::malformed(self.path(), format!("line {}", self.lines), problem)
                        .with_hint("Choose a file with rows, or remove its blank lines."));
                }
                continue;
            }
            return Ok(Some((self.lines, (size > MOST_ROW_BYTES).then(too_long))));
        }
    }

    /// Fills `buffer` with the next element of the array, found by brackets and quotes alone.
    fn next_element(&mut self) -> Result<Option<(u64, Option<String>)>> {
        self.buffer.clear();
        let mut nesting = Nesting::default();
        let mut started_on = None;
        let mut size = 0_usize;
        loop {
            let chunk = fill(&mut *self.reader, &self.input.path, self.lines)?;
            if chunk.is_empty() {
                let unfinished = self.layout == Layout::Array(ArrayState::Within);
                self.layout = Layout::Array(ArrayState::Ended);
                let line = started_on.unwrap_or(self.lines + 1);
                let problem = "the file ends within the array; it was probably cut off in a download or copy";
                return Ok(unfinished.then(|| (line, Some(problem.to_owned()))));
            }
            let mut taken = 0;
            // Of this element, once it is known: its line and what is wrong with it.
            let mut found = None;
            for &byte in chunk {
                taken += 1;
                let line = self.lines + 1;
                if byte == b'\n' {
                    self.lines += 1;
                }
                if (started_on.is_none() && is_blank(byte)) || self.layout == Layout::Array(ArrayState::Ended) {
                    continue;
                }
                if self.layout == Layout::Array(ArrayState::Before) {
                    self.layout = Layout::Array(ArrayState::Within);
                    continue;
                }
                if self.layout == Layout::Array(ArrayState::After) {
                    // One report for whatever follows.
                    self.layout = Layout::Array(ArrayState::Ended);
                    found = Some((line, Some("there is text after the array's end".to_owned())));
                    break;
                }
                if nesting.is_outside() && matches!(byte, b',' | b']') {
                    if byte == b']' {
                        self.layout = Layout::Array(ArrayState::After);
                    }
                    found = match started_on {
                        Some(started_on) => Some((started_on, (size > MOST_ROW_BYTES).then(too_long))),
                        None if byte == b']' => continue,
                        None => Some((line, Some("an element is missing before a comma".to_owned()))),
                    };
                    break;
                }
                started_on.get_or_insert(line);
                size += 1;
                if self.buffer.len() < MOST_ROW_BYTES {
                    self.buffer.push(byte);
                }
                nesting.take(byte);
            }
            self.consume(taken)?;
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// Fills `buffer` with the next object, or with a line of whatever else is between two objects.
    fn next_object(&mut self) -> Result<Option<(u64, Option<String>)>> {
        self.buffer.clear();
        let mut nesting = Nesting::default();
        let mut started_on = None;
        let mut size = 0_usize;
        // Last byte, and last one that is no white space.
        let (mut last, mut visible) = (b'\n', 0);
        loop {
            let chunk = fill(&mut *self.reader, &self.input.path, self.lines)?;
            if chunk.is_empty() {
                let problem = "the file ends within this row; it was probably cut off in a download or copy";
                return Ok(started_on.map(|line| (line, nesting.is_inside().then(|| problem.to_owned()))));
            }
            let mut taken = 0;
            let mut found = None;
            for &byte in chunk {
                // An object can hold another one behind a colon only: this one was never closed.
                if last == b'\n' && byte == b'{' && nesting.depth == 1 && !nesting.in_text && visible != b':' {
                    let problem = format!("it is not closed before line {}, where another row begins", self.lines + 1);
                    found = started_on.map(|line| (line, Some(problem)));
                    break;
                }
                taken += 1;
                last = byte;
                let line = self.lines + 1;
                self.lines += u64::from(byte == b'\n');
                if started_on.is_none() && (is_blank(byte) || byte == b',') {
                    continue;
                }
                let started_on = *started_on.get_or_insert(line);
                size += 1;
                if self.buffer.len() < MOST_ROW_BYTES {
                    self.buffer.push(byte);
                }
                nesting.take(byte);
                if !byte.is_ascii_whitespace() {
                    visible = byte;
                }
                if !nesting.is_inside() && matches!(byte, b'}' | b']' | b'\n') {
                    found = Some((started_on, (size > MOST_ROW_BYTES).then(too_long)));
                    break;
                }
            }
            self.consume(taken)?;
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    fn consume(&mut self, bytes: usize) -> Result<()> {
        self.reader.consume(bytes);
        self.taken += bytes as u64;
        if self.taken > self.most {
            let problem = format!("the file holds more than {} MiB of text; split it", self.most >> 20);
            return Err(Error::malformed(self.path(), format!("line {}", self.lines + 1), problem));
        }
        Ok(())
    }
}

/// Depth of brackets outside texts, byte by byte.
#[derive(Default)]
struct Nesting {
    depth: u64,
    in_text: bool,
    escaped: bool,
}

impl Nesting {
    fn take(&mut self, byte: u8) {
        if self.in_text {
            self.in_text = self.escaped || byte != b'"';
            self.escaped = !self.escaped && byte == b'\\';
            return;
        }
        match byte {
            b'"' => self.in_text = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    fn is_inside(&self) -> bool {
        self.in_text || self.depth > 0
    }

    fn is_outside(&self) -> bool {
        !self.is_inside()
    }
}

fn layout(head: &[u8]) -> Layout {
    let head = head.strip_prefix(MARK).unwrap_or(head);
    let after = |place: usize| head[place..].iter().position(|byte| !byte.is_ascii_whitespace()).map(|at| place + at);
    let Some(start) = after(0) else { return Layout::Lines };
    if head[start] == b'[' {
        let next = after(start + 1).map(|place| head[place]);
        return if matches!(next, Some(b'{' | b']')) { Layout::Array(ArrayState::Before) } else { Layout::Lines };
    }
    if head[start] != b'{' {
        return Layout::Lines;
    }
    let mut nesting = Nesting::default();
    for (place, &byte) in head.iter().enumerate().skip(start) {
        nesting.take(byte);
        if byte == b'\n' {
            // A first row that was cut off is followed by another; one that spans lines continues.
            let next = after(place + 1).map(|place| head[place]);
            return if next.is_none_or(|next| next == b'{') { Layout::Lines } else { Layout::Objects };
        }
        if nesting.is_outside() {
            let rest = head[place + 1..].split(|&byte| byte == b'\n').next().unwrap_or_default().trim_ascii();
            return if matches!(rest, [b'{' | b',', ..]) { Layout::Objects } else { Layout::Lines };
        }
    }
    Layout::Lines
}

/// White space, or a byte of a byte order mark: no JSON value begins with either.
fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || MARK.contains(&byte)
}

/// The reader's next bytes; empty at the end. `lines` were read before, for the message.
fn fill<'a>(reader: &'a mut dyn BufRead, path: &Path, lines: u64) -> Result<&'a [u8]> {
    use std::io::ErrorKind::{Interrupted, InvalidData, InvalidInput, UnexpectedEof};
    loop {
        match reader.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == Interrupted => {}
            Err(error) if error.kind() == UnexpectedEof => {
                let place = format!("gzip stream, after line {lines}");
                return Err(Error::truncated(path, place, "the file ends before the stream does"));
            }
            Err(error) if matches!(error.kind(), InvalidInput | InvalidData) => {
                return Err(Error::malformed(path, format!("gzip stream, after line {lines}"), error.to_string()));
            }
            Err(error) => return Err(Error::io(path)(error)),
        }
    }
    // Already filled; asked again because a borrow cannot leave the loop.
    reader.fill_buf().map_err(Error::io(path))
}

fn too_long() -> String {
    format!("it is longer than {} MiB", MOST_ROW_BYTES >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_shows_in_the_first_bytes() {
        for (text, known) in [
            ("{\"a\": 1}\n{\"a\": 2}\n", Layout::Lines),
            ("\u{feff}\n {\"a\": \"}{\"}\r\n", Layout::Lines),
            ("{\"a\": \"cut\n{\"a\": 2}\n", Layout::Lines),
            ("{\"a\": 1},\n{\"a\": 2},\n", Layout::Objects),
            ("text\n{\n", Layout::Lines),
            ("", Layout::Lines),
            ("\n [\n {", Layout::Array(ArrayState::Before)),
            ("[]", Layout::Array(ArrayState::Before)),
            ("[1, 2]\n", Layout::Lines),
            ("{\n  \"a\": 1\n}\n", Layout::Objects),
            ("{\"a\": [1,\n2]}", Layout::Objects),
            ("{\"a\": 1}{\"a\": 2}", Layout::Objects),
            ("{\"a\": 1}\r{\"a\": 2}\r", Layout::Objects),
            ("{\"a\": 1}, {\"a\": 2}", Layout::Objects),
        ] {
            assert_eq!(layout(text.as_bytes()), known, "{text:?}");
        }
    }
}
