//! The formats of conversation files, told by the fields of their first rows.

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::field::{Problem, parse};
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
const SUPPORTED: &str = "OASST1 messages or trees, LIMA (conversations), pairs (instruction, response) and Alpaca (instruction, output) are";

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
        let has = |name| names.0.iter().any(|known| known == name);
        if has("conversations") {
            Some(Self::Lima)
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

/// By the first row that is of a known form.
pub fn detect(path: &Path) -> Result<Format> {
    let mut rows = Rows::open(path)?;
    let mut problem: Option<(u64, Problem)> = None;
    let mut unknown: Option<Names> = None;
    for _ in 0..MOST_PROBED {
        let Some(row) = rows.next()? else { break };
        match parse::<Names>(&row) {
            Ok(names) => match Format::of(&names) {
                Some(format) => return Ok(format),
                None => unknown = unknown.or(Some(names)),
            },
            Err(found) => problem = problem.or(Some((row.line, found))),
        }
    }
    match (unknown, problem) {
        (Some(names), _) => {
            let names: Vec<_> =
                names.0.iter().take(MOST_NAMES).map(|name| name.chars().take(40).collect::<String>()).collect();
            let what = format!("the form of its rows (fields: {})", names.join(", "));
            Err(Error::Unsupported { path: path.to_owned(), what, supported: SUPPORTED.to_owned() })
        }
        (None, Some((line, problem))) => {
            let problem = format!("no row of a known form among the first {MOST_PROBED}; {}", problem.problem);
            Err(Error::malformed(path, format!("line {line}"), problem))
        }
        (None, None) => Err(Error::Empty(format!("{} holds no rows", path.display()))),
    }
}

/// A row's field names, without its values; null counts as absent.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = Names;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Option<IgnoredAny>>()? {
                    // `parent_id` is null in every root.
                    if value.is_some() || name == "parent_id" {
                        names.push(name);
                    }
                }
                Ok(Names(names))
            }
        }

        deserializer.deserialize_map(Keys)
    }
}
