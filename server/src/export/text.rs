//! JSONL and CSV.

use std::borrow::Cow;
use std::io::{Error, Result, Write};

use csv::Terminator;

use super::RowWriter;
use super::rows::{Cell, Column, Object, Value};

/// One object a line, its fields in the order of the columns.
pub struct Jsonl<W> {
    names: Vec<&'static str>,
    out: W,
}

impl<W: Write> Jsonl<W> {
    pub fn new(columns: &[&Column], out: W) -> Self {
        Self { names: columns.iter().map(|column| column.name).collect(), out }
    }
}

impl<W: Write> RowWriter for Jsonl<W> {
    fn row(&mut self, values: &[Value<'_>]) -> Result<()> {
        let line = engine::data::json_line(&Object(self.names.iter().copied().zip(values)))?;
        self.out.write_all(&line)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.out.flush()
    }
}

/// RFC 4180, with a row of names first.
pub struct Csv<W: Write>(csv::Writer<W>);

impl<W: Write> Csv<W> {
    pub fn new(columns: &[&Column], out: W) -> Result<Self> {
        let mut writer = csv::WriterBuilder::new().terminator(Terminator::CRLF).from_writer(out);
        writer.write_record(columns.iter().map(|column| column.name)).map_err(Error::from)?;
        Ok(Self(writer))
    }
}

impl<W: Write> RowWriter for Csv<W> {
    fn row(&mut self, values: &[Value<'_>]) -> Result<()> {
        for value in values {
            match value.cell() {
                Cell::Text(text) => self.0.write_field(harmless(text).as_bytes()),
                Cell::Plain(text) => self.0.write_field(text.as_bytes()),
            }
            .map_err(Error::from)?;
        }
        self.0.write_record(None::<&[u8]>).map_err(Error::from)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.0.flush()
    }
}

/// Spreadsheets compute cells that begin so. With an apostrophe before it, they show the text.
fn harmless(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_texts_that_a_spreadsheet_would_compute_get_an_apostrophe() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
            assert_eq!(harmless(formula), format!("'{formula}"));
        }
        for text in ["", "1-1", "'=1", " =1", "Write a = b", "\n"] {
            assert_eq!(harmless(text), text);
        }
    }
}
