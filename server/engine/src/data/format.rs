//! The formats of conversation files, told by the fields of their first rows.

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::field::{Field, Problem, Value, parse, skip_list, skip_map};
use super::rows::Rows;
use crate::{Error, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One message a row, joined by `parent_id`.
    OasstMessages,
    /// One conversation tree a row, its messages nested in `replies`.
    OasstTrees,
    /// `conversations`: a list of turns, the person's first.
    Lima,
    /// `instruction` and `response`.
    Pairs,
    /// `instruction`, `input` (may be empty) and `output`.
    Alpaca,
}

/// Rows looked at before a file is given up as unknown.
const MOST_PROBED: usize = 100;
const MOST_NAMES: usize = 12;
const MOST_NAME_CHARACTERS: usize = 40;
const SUPPORTED: &str = "OASST1 messages or trees, LIMA (conversations), pairs (instruction, response) and Alpaca \
     (instruction, output) are";

/// Forms that are known by name but not read: fields that they all have, the form, and what to do.
const OTHERS: [(&[&str], &str, &str); 7] = [
    (&["messages"], "chat messages", CONVERT),
    (&["conversation"], "conversations", CONVERT),
    (
        &["prompt", "completion"],
        "prompt and completion",
        "Rename the fields: prompt to instruction, completion to response.",
    ),
    (&["chosen", "rejected"], "preferences", "Rename the fields: prompt to instruction, chosen to response."),
    (&["question", "answer"], "question and answer", "Rename the fields: question to instruction, answer to response."),
    (&["text"], "plain texts", TEXT_HINT),
    (&["content"], "plain texts", TEXT_HINT),
];
const CONVERT: &str =
    "Write each exchange as a row: {\"instruction\": the user's text, \"response\": the assistant's text}.";
const TEXT_HINT: &str = "For responses that are to get an instruction, rename the field to response; \
     training also needs an instruction in each row.";
const PLAIN_TEXT_HINT: &str =
    "Make each text one line of JSON: {\"response\": \"the text\"}. In Python: `json.dumps({\"response\": text})`.";
const CSV_HINT: &str = "Convert it: in Python `pandas.read_csv(IN).to_json(OUT, orient='records', lines=True)`.";
/// Columns by which a line of names is known for the head of a table.
const COLUMNS: [&str; 16] = [
    "instruction",
    "input",
    "output",
    "response",
    "prompt",
    "completion",
    "question",
    "answer",
    "text",
    "content",
    "context",
    "messages",
    "conversations",
    "category",
    "id",
    "label",
];

impl Format {
    pub const ALL: [Format; 5] = [Self::OasstMessages, Self::OasstTrees, Self::Lima, Self::Pairs, Self::Alpaca];

    /// The name that configurations use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OasstMessages => "oasst_messages",
            Self::OasstTrees => "oasst_trees",
            Self::Lima => "lima",
            Self::Pairs => "pairs",
            Self::Alpaca => "alpaca",
        }
    }

    fn of(names: &Names) -> Option<Self> {
        let has = |name| names.has(name);
        if has("conversations") {
            (!names.nested_conversations).then_some(Self::Lima)
        } else if has("replies") || (has("prompt") && (has("message_tree_id") || has("tree_state"))) {
            Some(Self::OasstTrees)
        } else if has("message_id") && (has("role") || has("parent_id")) {
            Some(Self::OasstMessages)
        } else if has("response") {
            Some(Self::Pairs)
        } else if has("output") {
            Some(Self::Alpaca)
        } else {
            None
        }
    }
}

/// By the first row that is of a known form. The rows are at their start afterwards.
pub fn detect(rows: &mut Rows) -> Result<Format> {
    let mut problem: Option<(u64, Problem, String)> = None;
    let mut unknown: Option<Names> = None;
    let mut next_line = None;
    for _ in 0..MOST_PROBED {
        let Some(row) = rows.next()? else { break };
        if problem.is_some() && next_line.is_none() {
            next_line = Some(start_of(row.bytes.as_deref().unwrap_or_default()));
        }
        match parse::<Names>(&row) {
            Ok(names) => match Format::of(&names) {
                Some(format) => {
                    rows.rewind()?;
                    return Ok(format);
                }
                None => unknown = unknown.or(Some(names)),
            },
            Err(found) if problem.is_none() => {
                problem = Some((row.line, found, start_of(row.bytes.as_deref().unwrap_or_default())));
            }
            Err(_) => {}
        }
    }
    let path = rows.path();
    match (unknown, problem) {
        (Some(names), _) => Err(names.unknown(path)),
        (None, Some((_, _, line))) if is_table(&line, next_line.as_deref()) => {
            Err(Error::unsupported(path, "a CSV table", SUPPORTED).with_hint(CSV_HINT))
        }
        (None, Some((line, _, text))) if text.starts_with(|first: char| first.is_alphanumeric()) => {
            let problem = "it is plain text; rows of JSON are read";
            Err(Error::malformed(path, format!("line {line}"), problem).with_hint(PLAIN_TEXT_HINT))
        }
        (None, Some((line, problem, _))) => {
            let problem = format!("no row of a known form among the first {MOST_PROBED}; {}", problem.problem);
            Err(Error::malformed(path, format!("line {line}"), problem)
                .with_hint("Rows must be JSON objects, one a line, one after another, or in one array."))
        }
        (None, None) => Err(no_rows(rows)),
    }
}

pub fn no_rows(rows: &Rows) -> Error {
    Error::Empty(format!("{} holds no rows", rows.path().display()))
}

fn start_of(row: &[u8]) -> String {
    String::from_utf8_lossy(&row[..row.len().min(4096)]).trim().to_owned()
}

/// Whether a line of text is the head of a CSV or TSV table: names, at least one of them a usual column's.
fn is_table(head: &str, next: Option<&str>) -> bool {
    [',', '\t', ';'].into_iter().any(|separator| {
        let names: Vec<String> =
            head.split(separator).map(|name| name.trim().trim_matches('"').to_ascii_lowercase()).collect();
        let is_known = |name: &String| COLUMNS.contains(&name.as_str());
        names.len() > 1
            && names.iter().all(|name| !name.is_empty() && name.len() <= MOST_NAME_CHARACTERS)
            && names.iter().any(is_known)
            && (names.iter().all(is_known) || next.is_some_and(|next| next.contains(separator)))
    })
}

/// A row's field names in lower case, without its values; null counts as absent.
struct Names {
    names: Vec<String>,
    /// `conversations` holds objects (`{"from", "value"}` or `{"role", "content"}`) where LIMA has texts.
    nested_conversations: bool,
}

impl Names {
    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    fn unknown(&self, path: &Path) -> Error {
        let shown: Vec<String> =
            self.names.iter().take(MOST_NAMES).map(|name| name.chars().take(MOST_NAME_CHARACTERS).collect()).collect();
        let fields = shown.join(", ");
        if self.nested_conversations {
            let what = format!("ShareGPT (fields: {fields}; conversations holds objects)");
            return Error::unsupported(path, what, SUPPORTED).with_hint(CONVERT);
        }
        match OTHERS.iter().find(|(needed, ..)| needed.iter().all(|name| self.has(name))) {
            Some((_, form, hint)) => {
                Error::unsupported(path, format!("the form {form} (fields: {fields})"), SUPPORTED).with_hint(hint)
            }
            None => Error::unsupported(path, format!("the form of its rows (fields: {fields})"), SUPPORTED)
                .with_hint("Rename the fields of its rows to instruction and response."),
        }
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = Names;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Names { names: Vec::new(), nested_conversations: false };
                while let Some(name) = map.next_key::<String>()? {
                    let name = name.to_ascii_lowercase();
                    let value = map.next_value::<Field<Shape>>()?;
                    names.nested_conversations |= name == "conversations" && value == Field::Is(Shape::Objects);
                    // `parent_id` is null in every root.
                    if !value.is_missing() || name == "parent_id" {
                        names.names.push(name);
                    }
                }
                Ok(names)
            }
        }

        deserializer.deserialize_map(Keys)
    }
}

/// As much of a value as tells forms apart.
#[derive(PartialEq)]
enum Shape {
    Plain,
    Object,
    /// A list that begins with an object.
    Objects,
}

impl Value for Shape {
    const EXPECTED: &'static str = "a value";

    fn text(_: &str) -> Option<Self> {
        Some(Self::Plain)
    }
    fn number(_: f64) -> Option<Self> {
        Some(Self::Plain)
    }
    fn boolean(_: bool) -> Option<Self> {
        Some(Self::Plain)
    }
    fn list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let first = list.next_element::<Field<Self>>()?;
        skip_list(list)?;
        Ok(Some(if first == Some(Field::Is(Self::Object)) { Self::Objects } else { Self::Plain }))
    }
    fn map<'de, A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        skip_map(map).map(|()| Some(Self::Object))
    }
}
