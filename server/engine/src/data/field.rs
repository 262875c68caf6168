//! Fields of rows that strangers wrote: each may be missing or of another kind than it should be, and can say so.
//!
//! Unknown fields are skipped without being built, so that a row never costs much more memory than its bytes.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use spec::MalformedRow;

use super::lenient;
use super::rows::Row;

/// One message, instruction or response. The longest in OASST1 and LIMA have some 20 KiB.
pub const MOST_FIELD_BYTES: usize = 1 << 20;
const MOST_REPORTED: usize = 20;
const MOST_PROBLEM_CHARACTERS: usize = 200;

/// Rows (or messages of a tree) that could not be read: all are counted, the first 20 reported.
#[derive(Debug, Default)]
pub struct Malformed {
    pub count: u64,
    pub first: Vec<MalformedRow>,
}

/// Which field is wrong, and how.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    pub field: String,
    pub problem: String,
}

impl Problem {
    pub fn missing(field: &str) -> Self {
        Self { field: field.to_owned(), problem: "it is missing".to_owned() }
    }
}

impl Malformed {
    pub fn add(&mut self, line: u64, element: Option<u64>, problem: Problem) {
        self.count += 1;
        if self.first.len() < MOST_REPORTED {
            let Problem { field, problem } = problem;
            let field = match element {
                Some(element) => format!("[{element}].{field}"),
                None => field,
            };
            self.first.push(MalformedRow {
                line,
                field,
                problem: problem.chars().take(MOST_PROBLEM_CHARACTERS).collect(),
            });
        }
    }
}

/// A row's bytes as `T`, every unknown field skipped. serde_json's limit of 128 levels keeps the stack safe.
///
/// What Python's `json` writes beyond the standard is taken too: `NaN` and `Infinity` as null, half a surrogate pair as
/// U+FFFD.
pub fn parse<T: for<'de> Deserialize<'de>>(row: &Row<'_>) -> Result<T, Problem> {
    let of_row = |problem: String| Problem { field: "row".to_owned(), problem };
    let bytes = row.bytes.as_ref().map_err(|problem| of_row(problem.clone()))?;
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let place = error.valid_up_to();
        of_row(format!("byte {} (0x{:02x}) is not UTF-8", place + 1, bytes.get(place).copied().unwrap_or_default()))
    })?;
    // An array would be read as an object's fields in order.
    if !text.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok() {
        return Err(of_row("it is not an object".to_owned()));
    }
    let error = match serde_json::from_str(text) {
        Ok(row) => return Ok(row),
        Err(error) => error,
    };
    let error = match lenient::to_strict(text) {
        Some(strict) => match serde_json::from_str(&strict) {
            Ok(row) => return Ok(row),
            Err(error) => error,
        },
        None => error,
    };
    let message = error.to_string();
    // Rows of an array may span lines; the row's own line is reported beside this.
    let message = message.split(" at line ").next().unwrap_or_default();
    let place = format!("(line {} of it, column {})", error.line(), error.column());
    Err(of_row(match error.classify() {
        serde_json::error::Category::Eof => format!("it ends too early, perhaps cut off: {message} {place}"),
        _ => format!("{message} {place}"),
    }))
}

/// A field as it was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Field<T> {
    /// Absent or null.
    #[default]
    Missing,
    /// What it is instead.
    Wrong(&'static str),
    Is(T),
}

impl<T> Field<T> {
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }
}

impl<T: Value> Field<T> {
    pub fn optional(self, name: &str) -> Result<Option<T>, Problem> {
        match self {
            Self::Missing => Ok(None),
            Self::Wrong(found) => {
                Err(Problem { field: name.to_owned(), problem: format!("it is {found}; it must be {}", T::EXPECTED) })
            }
            Self::Is(value) => match value.excess() {
                Some(problem) => Err(Problem { field: name.to_owned(), problem }),
                None => Ok(Some(value)),
            },
        }
    }

    /// None if it is of another kind too: for what a row can do without.
    pub fn known(self) -> Option<T> {
        match self {
            Self::Is(value) if value.excess().is_none() => Some(value),
            _ => None,
        }
    }

    pub fn required(self, name: &str) -> Result<T, Problem> {
        self.optional(name)?.ok_or_else(|| Problem::missing(name))
    }
}

/// What a field can hold; each kind takes the JSON kinds that it knows.
pub trait Value: Sized {
    const EXPECTED: &'static str;

    fn text(_: &str) -> Option<Self> {
        None
    }
    fn number(_: f64) -> Option<Self> {
        None
    }
    fn integer(integer: i128) -> Option<Self> {
        Self::number(integer as f64)
    }
    fn boolean(_: bool) -> Option<Self> {
        None
    }
    fn list<'de, A: SeqAccess<'de>>(list: A) -> Result<Option<Self>, A::Error> {
        skip_list(list).map(|()| None)
    }
    fn map<'de, A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        skip_map(map).map(|()| None)
    }
    /// Why it is more than is accepted.
    fn excess(&self) -> Option<String> {
        None
    }
}

pub fn skip_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<(), A::Error> {
    while list.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

pub fn skip_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

impl Value for String {
    const EXPECTED: &'static str = "text";

    fn text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn excess(&self) -> Option<String> {
        let most = MOST_FIELD_BYTES;
        (self.len() > most).then(|| format!("it has {} bytes; at most {most} are read", self.len()))
    }
}

/// The name of a row, message or tree: text, or a whole number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id(pub String);

impl Value for Id {
    const EXPECTED: &'static str = "text or a whole number";

    fn text(text: &str) -> Option<Self> {
        Some(Self(text.to_owned()))
    }

    fn integer(integer: i128) -> Option<Self> {
        Some(Self(integer.to_string()))
    }

    /// A column of whole numbers with gaps is one of fractions to many programs.
    fn number(number: f64) -> Option<Self> {
        (number.fract() == 0.0 && number.abs() < 1e15).then(|| Self(number.to_string()))
    }

    fn excess(&self) -> Option<String> {
        self.0.excess()
    }
}

impl Value for f64 {
    const EXPECTED: &'static str = "a number";

    fn number(number: f64) -> Option<Self> {
        Some(number)
    }
}

impl Value for bool {
    const EXPECTED: &'static str = "true or false";

    fn boolean(value: bool) -> Option<Self> {
        Some(value)
    }
}

/// A list of texts.
impl Value for Vec<String> {
    const EXPECTED: &'static str = "a list of texts";

    fn list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = list.next_element::<Field<String>>()? {
            let Field::Is(text) = text else {
                skip_list(list)?;
                return Ok(None);
            };
            texts.push(text);
        }
        Ok(Some(texts))
    }

    fn excess(&self) -> Option<String> {
        self.iter().enumerate().find_map(|(place, text)| Some(format!("text {place}: {}", text.excess()?)))
    }
}

impl<'de, T: Value> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any<T>(PhantomData<T>);

        impl<'de, T: Value> Visitor<'de> for Any<T> {
            type Value = Field<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(T::EXPECTED)
            }
            fn visit_unit<E>(self) -> Result<Field<T>, E> {
                Ok(Field::Missing)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Field<T>, E> {
                Ok(T::boolean(value).map_or(Field::Wrong("true or false"), Field::Is))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Field<T>, E> {
                Ok(T::integer(value.into()).map_or(Field::Wrong("a number"), Field::Is))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Field<T>, E> {
                Ok(T::integer(value.into()).map_or(Field::Wrong("a number"), Field::Is))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Field<T>, E> {
                Ok(T::number(value).map_or(Field::Wrong("a number"), Field::Is))
            }
            fn visit_str<E>(self, value: &str) -> Result<Field<T>, E> {
                Ok(T::text(value).map_or(Field::Wrong("text"), Field::Is))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Field<T>, A::Error> {
                Ok(T::list(list)?.map_or(Field::Wrong("a list"), Field::Is))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Field<T>, A::Error> {
                Ok(T::map(map)?.map_or(Field::Wrong("an object"), Field::Is))
            }
        }

        deserializer.deserialize_any(Any(PhantomData))
    }
}
