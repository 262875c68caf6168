//! A GGUF's key-value pairs. Arrays stay as the file has them (raw bytes, or one text with ends), so that they take no
//! more memory than the file; what is of another type than asked for is an error that names the key.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::bytes::{Bytes, Problem};
use crate::{Error, Result};

pub struct Metadata {
    path: PathBuf,
    values: HashMap<String, Value>,
}

pub enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Flag(bool),
    Text(String),
    Texts(Texts),
    Numbers { kind: u32, bytes: Vec<u8> },
}

/// Many strings in one.
#[derive(Default)]
pub struct Texts {
    joined: String,
    ends: Vec<u32>,
}

impl Texts {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.joined[start as usize..end as usize])
    }
}

const TEXT: u32 = 8;
const ARRAY: u32 = 9;
const MAX_TEXT: u64 = 16 << 20;

impl Value {
    pub(super) fn read(bytes: &mut Bytes<impl Read>) -> Result<Self, Problem> {
        let kind = bytes.u32()?;
        Ok(match kind {
            0 => Self::Unsigned(u64::from(bytes.array::<1>()?[0])),
            1 => Self::Signed(i64::from(bytes.array::<1>()?[0] as i8)),
            2 => Self::Unsigned(u64::from(u16::from_le_bytes(bytes.array()?))),
            3 => Self::Signed(i64::from(i16::from_le_bytes(bytes.array()?))),
            4 => Self::Unsigned(u64::from(bytes.u32()?)),
            5 => Self::Signed(i64::from(i32::from_le_bytes(bytes.array()?))),
            6 => Self::Float(shortest(f32::from_le_bytes(bytes.array()?))),
            7 => match bytes.array()? {
                [0] => Self::Flag(false),
                [1] => Self::Flag(true),
                [other] => return Err(format!("is {other}; a flag must be 0 or 1")),
            },
            TEXT => Self::Text(bytes.string(MAX_TEXT)?),
            ARRAY => Self::read_array(bytes)?,
            10 => Self::Unsigned(bytes.u64()?),
            11 => Self::Signed(i64::from_le_bytes(bytes.array()?)),
            12 => Self::Float(f64::from_le_bytes(bytes.array()?)),
            other => return Err(format!("has type {other}; types 0 to 12 are known")),
        })
    }

    fn read_array(bytes: &mut Bytes<impl Read>) -> Result<Self, Problem> {
        let kind = bytes.u32()?;
        let count = bytes.u64()?;
        let least = match kind {
            TEXT => 8,
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            ARRAY => return Err("is an array of arrays, which no Llama has".to_owned()),
            other => return Err(format!("is an array of type {other}; types 0 to 12 are known")),
        };
        let count = bytes.check_count(count, least)?;
        if kind != TEXT {
            return Ok(Self::Numbers { kind, bytes: bytes.vector(count as u64 * least)? });
        }
        let mut texts = Texts { joined: String::new(), ends: Vec::with_capacity(count) };
        for index in 0..count {
            let text = bytes.string(MAX_TEXT).map_err(|problem| format!("item {index} {problem}"))?;
            texts.joined.push_str(&text);
            texts.ends.push(u32::try_from(texts.joined.len()).map_err(|_| "is longer than 4 GiB".to_owned())?);
        }
        Ok(Self::Texts(texts))
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Unsigned(_) | Self::Signed(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Flag(_) => "a flag",
            Self::Text(_) => "a text",
            Self::Texts(_) => "an array of texts",
            Self::Numbers { .. } => "an array of numbers",
        }
    }
}

/// 1e-5 and not 9.999999747378752e-6: what was meant before it was rounded to f32.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

impl Metadata {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), values: HashMap::new() }
    }

    pub(super) fn insert(&mut self, key: String, value: Value) -> Result<()> {
        if self.values.contains_key(&key) {
            return Err(self.problem(&key, "is there twice"));
        }
        self.values.insert(key, value);
        Ok(())
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A malformed-file error at `key`.
    pub fn problem(&self, key: &str, problem: impl Into<String>) -> Error {
        Error::malformed(&self.path, format!("metadata {key}"), problem)
    }

    fn get<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        let converted = convert(value);
        converted.map(Some).ok_or_else(|| self.problem(key, format!("is {}; it must be {expected}", value.kind())))
    }

    pub fn contains(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        self.get(key, "a text", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    pub fn unsigned(&self, key: &str) -> Result<Option<u64>> {
        self.get(key, "a whole number, not negative", |value| match value {
            Value::Unsigned(number) => Some(*number),
            Value::Signed(number) => u64::try_from(*number).ok(),
            _ => None,
        })
    }

    pub fn float(&self, key: &str) -> Result<Option<f64>> {
        self.get(key, "a number", |value| match value {
            Value::Float(number) => Some(*number),
            Value::Unsigned(number) => Some(*number as f64),
            Value::Signed(number) => Some(*number as f64),
            _ => None,
        })
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.get(key, "a flag", |value| match value {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        })
    }

    pub fn texts(&self, key: &str) -> Result<Option<&Texts>> {
        self.get(key, "an array of texts", |value| match value {
            Value::Texts(texts) => Some(texts),
            _ => None,
        })
    }

    /// An array of f32.
    pub fn floats(&self, key: &str) -> Result<Option<Vec<f32>>> {
        self.get(key, "an array of 32-bit floats", |value| match value {
            Value::Numbers { kind: 6, bytes } => {
                Some(bytes.as_chunks().0.iter().copied().map(f32::from_le_bytes).collect())
            }
            _ => None,
        })
    }

    /// An array of 32-bit whole numbers, signed or not.
    pub fn integers(&self, key: &str) -> Result<Option<Vec<i32>>> {
        self.get(key, "an array of 32-bit whole numbers", |value| match value {
            Value::Numbers { kind: 4 | 5, bytes } => {
                Some(bytes.as_chunks().0.iter().copied().map(i32::from_le_bytes).collect())
            }
            _ => None,
        })
    }
}
