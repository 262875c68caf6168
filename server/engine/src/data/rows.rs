//! A file as rows: the lines of JSONL or the elements of one JSON array, plain or gzip, one at a time.
//!
//! Bounds what a file may make us hold: its text, a row, the number of rows, and how far gzip may blow up. Tells
//! formats by their first bytes, never by the file's name. What stands in a row is not looked at.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::{Error, Result};

/// Text of a whole file, after gzip.
pub const MOST_TEXT_BYTES: u64 = 512 << 20;
/// One line, or one element of an array. A longer one is skipped and counted as malformed.
pub const MOST_ROW_BYTES: usize = 4 << 20;
pub const MOST_ROWS: u64 = 2_000_000;
/// Conversations shrink five- to tenfold; a file beyond this was made to fill a disk.
const MOST_GZIP_RATIO: u64 = 100;
const LEAST_GZIP_ALLOWANCE: u64 = 16 << 20;

pub struct Rows {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    /// The elements of one JSON array; else lines.
    array: Option<ArrayState>,
    /// Lines that were ended so far.
    lines: u64,
    rows: u64,
    taken: u64,
    most: u64,
    buffer: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ArrayState {
    Before,
    Within,
    After,
    Ended,
}

pub struct Row<'a> {
    /// 1-based: the line on which it starts.
    pub line: u64,
    /// Place in the JSON array, 0-based; None in JSONL.
    pub element: Option<u64>,
    /// Or why it cannot be read.
    pub bytes: Result<&'a [u8], String>,
}

impl Rows {
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let metadata = file.metadata().map_err(Error::io(path))?;
        if !metadata.is_file() {
            return Err(Error::malformed(path, "kind", "it is not a file"));
        }
        let mut magic = Vec::new();
        file.by_ref().take(4).read_to_end(&mut magic).map_err(Error::io(path))?;
        file.rewind().map_err(Error::io(path))?;
        let reader = BufReader::with_capacity(1 << 16, file);
        let gzip = magic.starts_with(&[0x1f, 0x8b]);
        for (start, what) in
            [(&b"PAR1"[..], "a Parquet file"), (b"PK\x03\x04", "a zip archive"), (b"\x28\xb5\x2f\xfd", "a zstd file")]
        {
            if magic.starts_with(start) {
                let supported = "JSONL and JSON arrays are, plain or gzip".to_owned();
                return Err(Error::Unsupported { path: path.to_owned(), what: what.to_owned(), supported });
            }
        }
        let allowance = (metadata.len().saturating_mul(MOST_GZIP_RATIO)).max(LEAST_GZIP_ALLOWANCE);
        let mut rows = Self {
            path: path.to_owned(),
            reader: if gzip {
                Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(reader)))
            } else {
                Box::new(reader)
            },
            array: None,
            lines: 0,
            rows: 0,
            taken: 0,
            most: if gzip { allowance.min(MOST_TEXT_BYTES) } else { MOST_TEXT_BYTES },
            buffer: Vec::new(),
        };
        rows.start()?;
        Ok(rows)
    }

    /// Rows given so far.
    pub fn count(&self) -> u64 {
        self.rows
    }

    /// The next row; blank lines are none.
    pub fn next(&mut self) -> Result<Option<Row<'_>>> {
        let row = match self.array {
            None => self.next_line()?,
            Some(_) => self.next_element()?,
        };
        let Some((line, problem)) = row else { return Ok(None) };
        let element = self.array.map(|_| self.rows);
        self.rows += 1;
        if self.rows > MOST_ROWS {
            let problem = format!("the file holds more than {MOST_ROWS} rows; split it");
            return Err(Error::malformed(&self.path, format!("line {line}"), problem));
        }
        let bytes = match problem {
            Some(problem) => Err(problem),
            None => Ok(self.buffer.as_slice()),
        };
        Ok(Some(Row { line, element, bytes }))
    }

    /// Skips a byte order mark and tells an array of objects from lines.
    fn start(&mut self) -> Result<()> {
        if fill(&mut *self.reader, &self.path, 0)?.starts_with(b"\xef\xbb\xbf") {
            self.consume(3)?;
        }
        let mut visible = fill(&mut *self.reader, &self.path, 0)?.iter().filter(|byte| !byte.is_ascii_whitespace());
        if visible.next() == Some(&b'[') && matches!(visible.next(), Some(b'{' | b']')) {
            self.array = Some(ArrayState::Before);
        }
        Ok(())
    }

    /// Fills `buffer` with the next line that is not blank: its number, and what is wrong with it.
    fn next_line(&mut self) -> Result<Option<(u64, Option<String>)>> {
        loop {
            self.buffer.clear();
            let mut size = 0;
            let mut ended = false;
            while !ended {
                let chunk = fill(&mut *self.reader, &self.path, self.lines)?;
                if chunk.is_empty() {
                    break;
                }
                let end = chunk.iter().position(|&byte| byte == b'\n');
                ended = end.is_some();
                let taken = end.map_or(chunk.len(), |end| end + 1);
                size += taken;
                let room = MOST_ROW_BYTES.saturating_sub(self.buffer.len()).min(taken);
                self.buffer.extend_from_slice(&chunk[..room]);
                self.consume(taken)?;
            }
            if size == 0 {
                return Ok(None);
            }
            self.lines += 1;
            if self.buffer.trim_ascii().is_empty() && size <= MOST_ROW_BYTES {
                continue;
            }
            return Ok(Some((self.lines, (size > MOST_ROW_BYTES).then(too_long))));
        }
    }

    /// Fills `buffer` with the next element of the array, found by brackets and quotes alone.
    fn next_element(&mut self) -> Result<Option<(u64, Option<String>)>> {
        self.buffer.clear();
        let mut depth = 0_u64;
        let (mut in_text, mut escaped) = (false, false);
        let mut started_on = None;
        let mut size = 0_usize;
        loop {
            let chunk = fill(&mut *self.reader, &self.path, self.lines)?;
            if chunk.is_empty() {
                let unfinished = self.array.replace(ArrayState::Ended) == Some(ArrayState::Within);
                let line = started_on.unwrap_or(self.lines + 1);
                return Ok(unfinished.then(|| (line, Some("the file ends within the array".to_owned()))));
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
                if (started_on.is_none() && byte.is_ascii_whitespace()) || self.array == Some(ArrayState::Ended) {
                    continue;
                }
                if self.array == Some(ArrayState::Before) {
                    self.array = Some(ArrayState::Within);
                    continue;
                }
                if self.array == Some(ArrayState::After) {
                    // One report for whatever follows.
                    self.array = Some(ArrayState::Ended);
                    found = Some((line, Some("there is text after the array's end".to_owned())));
                    break;
                }
                if !in_text && depth == 0 && matches!(byte, b',' | b']') {
                    if byte == b']' {
                        self.array = Some(ArrayState::After);
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
                if in_text {
                    in_text = escaped || byte != b'"';
                    escaped = !escaped && byte == b'\\';
                } else {
                    match byte {
                        b'"' => in_text = true,
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth = depth.saturating_sub(1),
                        _ => {}
                    }
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
            return Err(Error::malformed(&self.path, format!("line {}", self.lines + 1), problem));
        }
        Ok(())
    }
}

/// The reader's next bytes; empty at the end. `lines` were read before, for the message.
fn fill<'a>(reader: &'a mut dyn BufRead, path: &Path, lines: u64) -> Result<&'a [u8]> {
    use std::io::ErrorKind::{Interrupted, InvalidData, InvalidInput, UnexpectedEof};
    loop {
        match reader.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == Interrupted => {}
            Err(error) if matches!(error.kind(), InvalidInput | InvalidData | UnexpectedEof) => {
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
