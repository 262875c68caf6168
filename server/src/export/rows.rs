//! The columns of every row shape, each with how its value is taken from a pair. File types write them as they are.

use std::borrow::Cow;

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use spec::{Decision, GeneratedPair, PairLikelihood, PerText, RowShape};

/// A pair that is exported.
pub struct Exported<'a> {
    pub pair: &'a GeneratedPair,
    pub kept: bool,
}

pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
    value: for<'a> fn(&Exported<'a>) -> Value<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Whole,
    Number,
    Flag,
    Texts,
    /// A list of objects with two texts each, under these names: who speaks, and what.
    Turns(&'static str, &'static str),
}

pub enum Value<'a> {
    Null,
    Text(&'a str),
    Whole(u64),
    Number(f64),
    Flag(bool),
    Texts(Vec<&'a str>),
    Turns(Turns<'a>),
}

pub struct Turns<'a> {
    names: [&'static str; 2],
    /// Who speaks, and what.
    pub turns: [[&'a str; 2]; 2],
}

const fn column(name: &'static str, kind: Kind, value: for<'a> fn(&Exported<'a>) -> Value<'a>) -> Column {
    Column { name, kind, value }
}

fn text(value: Option<&str>) -> Value<'_> {
    value.map_or(Value::Null, Value::Text)
}

/// Of every shape: they lead back to the row of the corpus file.
const SOURCE: &[Column] = &[
    column("source_row", Kind::Whole, |row| Value::Whole(row.pair.source_row())),
    column("source_id", Kind::Text, |row| text(row.pair.source_id.as_deref())),
];

const PAIRS: &[Column] = &[
    column("url", Kind::Text, |row| text(row.pair.url.as_deref())),
    column("instruction", Kind::Text, |row| Value::Text(row.pair.instruction())),
    column("response", Kind::Text, |row| Value::Text(&row.pair.response)),
    column("generated", Kind::Text, |row| Value::Text(&row.pair.generated)),
    column("reference", Kind::Text, |row| text(row.pair.reference.as_deref())),
    column("decision", Kind::Text, |row| text(row.pair.decision().map(Decision::as_str))),
    column("kept", Kind::Flag, |row| Value::Flag(row.kept)),
    column("tokens", Kind::Whole, |row| Value::Whole(u64::from(row.pair.tokens))),
    column("ended", Kind::Flag, |row| Value::Flag(row.pair.ended)),
    column("rouge_l", Kind::Number, |row| row.pair.scores.rouge_l.map_or(Value::Null, Value::Number)),
    column("copied_run", Kind::Whole, |row| Value::Whole(u64::from(row.pair.scores.copied_run))),
    column("coverage", Kind::Number, |row| Value::Number(row.pair.scores.coverage)),
    column("density", Kind::Number, |row| Value::Number(row.pair.scores.density)),
    column("tags", Kind::Texts, |row| Value::Texts(row.pair.scores.tags.iter().map(|tag| tag.as_str()).collect())),
    column("baseline", Kind::Text, |row| text(row.pair.baseline.as_deref())),
    column("cycle", Kind::Number, |row| likelihood(row, |of| of.cycle)),
    column("pmi", Kind::Number, |row| likelihood(row, |of| of.pmi)),
    column("own_rank", Kind::Whole, |row| {
        row.pair.likelihood.as_ref().map_or(Value::Null, |of| Value::Whole(of.rank.generated as u64))
    }),
];

fn likelihood<'a>(row: &Exported<'a>, which: fn(&PairLikelihood) -> PerText) -> Value<'a> {
    row.pair.likelihood.as_ref().map_or(Value::Null, |of| Value::Number(which(of).generated))
}

const NOTE: Column = column("note", Kind::Text, |row| {
    let note = row.pair.curation.as_ref().map(|curation| curation.note.as_str());
    text(note.filter(|note| !note.is_empty()))
});

const ALPACA: &[Column] = &[
    column("instruction", Kind::Text, |row| Value::Text(row.pair.instruction())),
    column("input", Kind::Text, |_| Value::Text("")),
    column("output", Kind::Text, |row| Value::Text(&row.pair.response)),
];

const SHAREGPT: &[Column] =
    &[column("conversations", Kind::Turns("from", "value"), |row| turns(row, ["from", "value"], ["human", "gpt"]))];

const MESSAGES: &[Column] =
    &[column("messages", Kind::Turns("role", "content"), |row| turns(row, ["role", "content"], ["user", "assistant"]))];

const PROMPT_COMPLETION: &[Column] = &[
    column("prompt", Kind::Text, |row| Value::Text(row.pair.instruction())),
    column("completion", Kind::Text, |row| Value::Text(&row.pair.response)),
];

/// What the backward model should write for a response, and what it should not.
const PREFERENCE: &[Column] = &[
    column("prompt", Kind::Text, |row| Value::Text(&row.pair.response)),
    column("chosen", Kind::Text, |row| Value::Text(row.pair.instruction())),
    column("rejected", Kind::Text, |row| text(row.pair.rejected())),
];

fn turns<'a>(row: &Exported<'a>, names: [&'static str; 2], who: [&'static str; 2]) -> Value<'a> {
    Value::Turns(Turns { names, turns: [[who[0], row.pair.instruction()], [who[1], &row.pair.response]] })
}

/// Notes are for the person who decides; they are asked for explicitly.
pub fn columns(shape: RowShape, notes: bool) -> Vec<&'static Column> {
    let own = match shape {
        RowShape::Pairs => PAIRS,
        RowShape::Alpaca => ALPACA,
        RowShape::Sharegpt => SHAREGPT,
        RowShape::Messages => MESSAGES,
        RowShape::PromptCompletion => PROMPT_COMPLETION,
        RowShape::Preference => PREFERENCE,
    };
    let note = (notes && shape == RowShape::Pairs).then_some(&NOTE);
    SOURCE.iter().chain(own).chain(note).collect()
}

/// Whether the shape has a row for this pair.
pub fn has_row(shape: RowShape, pair: &GeneratedPair) -> bool {
    shape != RowShape::Preference || pair.rejected().is_some()
}

impl Column {
    pub fn value<'a>(&self, row: &Exported<'a>) -> Value<'a> {
        (self.value)(row)
    }
}

impl Value<'_> {
    /// For a cell of a table; lists are JSON. None: a number or a flag, whose text is `plain`.
    pub fn cell(&self) -> Cell<'_> {
        match self {
            Value::Null => Cell::Plain(Cow::Borrowed("")),
            Value::Text(text) => Cell::Text(text),
            Value::Whole(number) => Cell::Plain(number.to_string().into()),
            Value::Number(number) => Cell::Plain(number.to_string().into()),
            Value::Flag(flag) => Cell::Plain(Cow::Borrowed(if *flag { "true" } else { "false" })),
            Value::Texts(_) | Value::Turns(_) => Cell::Plain(serde_json::to_string(self).unwrap_or_default().into()),
        }
    }
}

pub enum Cell<'a> {
    /// Somebody wrote it, so it may be anything.
    Text(&'a str),
    /// Of our own making.
    Plain(Cow<'a, str>),
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_none(),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Whole(number) => serializer.serialize_u64(*number),
            Value::Number(number) => serializer.serialize_f64(*number),
            Value::Flag(flag) => serializer.serialize_bool(*flag),
            Value::Texts(texts) => texts.serialize(serializer),
            Value::Turns(Turns { names, turns }) => {
                let mut list = serializer.serialize_seq(Some(turns.len()))?;
                for turn in turns {
                    list.serialize_element(&Object(names.iter().copied().zip(*turn)))?;
                }
                list.end()
            }
        }
    }
}

/// Names and values as one object, in their order.
pub struct Object<I>(pub I);

impl<'a, V: Serialize, I: Iterator<Item = (&'a str, V)> + Clone> Serialize for Object<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0.clone() {
            map.serialize_entry(name, &value)?;
        }
        map.end()
    }
}
