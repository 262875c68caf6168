//! Rows that hold a whole exchange or conversation: LIMA, plain pairs, Alpaca.
//!
//! Their rows carry no tree ids. Rows that begin with the same instruction are taken for one tree, so that the
//! answers to one question are never on both sides of a split.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::field::{Field, Id, Malformed, Problem, Value, parse, skip_list};
use super::rows::{Row, Rows};
use super::rule::{Exchange, PairCollector, Side};
use crate::{Result, artifact};

pub const RESPONSE: &str = "response";
pub const OUTPUT: &str = "output";

/// The known fields of a row, by any spelling of upper and lower case.
#[derive(Default)]
struct RawRow {
    conversations: Field<Vec<String>>,
    instruction: Field<String>,
    /// What the instruction is about: `input` (Alpaca), `context` (Dolly).
    input: Field<String>,
    context: Field<String>,
    /// `response` or `output`.
    response: Field<String>,
    output: Field<String>,
    /// Earlier exchanges of the conversation.
    history: Field<History>,
    /// An instruction that a model wrote, in the files that `generate` writes.
    generated: Field<String>,
    /// The instruction that a person wrote, beside a generated one.
    reference: Field<String>,
    ended: Field<bool>,
    id: Field<Id>,
    source_id: Field<Id>,
    url: Field<String>,
    /// Where texts like this one come from: a site, a collection.
    source: Field<String>,
    tree: Field<Id>,
    turn: Field<f64>,
    /// If only this is known, false means some later turn.
    first_turn: Field<bool>,
    /// Both may be there: a code in one, a name in the other.
    lang: Field<String>,
    language: Field<String>,
    rank: Field<f64>,
    quality: Field<f64>,
    instruction_quality: Field<f64>,
    response_quality: Field<f64>,
}

/// Exchanges before a row's own: `[["instruction", "response"], …]`.
#[derive(Default)]
struct History(Vec<[String; 2]>);

/// A row of a corpus.
pub struct Answer {
    pub response: String,
    pub reference: Option<String>,
    pub source_id: Option<String>,
    pub url: Option<String>,
    pub source: Option<String>,
}

/// Names a group of rows; a longer text is none.
fn is_name(source: &str) -> bool {
    (1..=100).contains(&source.chars().count())
}

/// A row of texts to be scored.
pub struct Scored {
    pub response: String,
    pub generated: String,
    pub reference: Option<String>,
    pub ended: Option<bool>,
}

pub fn lima(rows: &mut Rows, collector: &mut PairCollector<'_>, malformed: &mut Malformed) -> Result<()> {
    while let Some(row) = rows.next()? {
        match parse::<RawRow>(&row).and_then(|row| row.conversations.required("conversations")) {
            Err(problem) => malformed.add(row.line, row.element, problem),
            Ok(turns) if turns.len() < 2 => collector.drop("too_few_turns"),
            Ok(turns) => {
                let tree = tree_of(&turns[0]);
                let exchanges = turns.chunks_exact(2);
                if !exchanges.remainder().is_empty() {
                    collector.drop("unanswered");
                }
                for (turn, exchange) in exchanges.enumerate() {
                    collector.add(&Exchange {
                        instruction: Side::of(&exchange[0]),
                        response: Side::of(&exchange[1]),
                        tree: &tree,
                        turn: u32::try_from(turn).unwrap_or(u32::MAX),
                        ..Exchange::default()
                    })?;
                }
            }
        }
    }
    Ok(())
}

/// Pairs and Alpaca: they differ in the response's usual field alone.
pub fn pairs(rows: &mut Rows, usual: &str, collector: &mut PairCollector<'_>, malformed: &mut Malformed) -> Result<()> {
    while let Some(row) = rows.next()? {
        match parse::<RawRow>(&row).and_then(|row| row.pair(usual)) {
            Err(problem) => malformed.add(row.line, row.element, problem),
            Ok(pair) => pair.add_to(collector)?,
        }
    }
    Ok(())
}

/// A LIMA row with two turns; None if it has more or fewer.
pub fn lima_answer(row: &Row<'_>) -> Result<Option<Answer>, Problem> {
    let mut row = parse::<RawRow>(row)?;
    let turns = std::mem::take(&mut row.conversations).required("conversations")?;
    let Ok([instruction, response]) = <[String; 2]>::try_from(turns) else { return Ok(None) };
    Ok(Some(row.answer(response, Some(instruction))))
}

/// `reference` before `instruction`: in a file that was written by a model, `instruction` may be that model's.
pub fn pair_answer(row: &Row<'_>, usual: &str) -> Result<Answer, Problem> {
    let mut row = parse::<RawRow>(row)?;
    let response = row.response(usual)?;
    let reference = match std::mem::take(&mut row.reference).optional("reference")? {
        Some(reference) if !reference.trim().is_empty() => Some(reference),
        _ => row.instruction()?,
    };
    Ok(row.answer(response, reference))
}

/// `generated`, or `instruction` if there is none; `reference`, or `instruction` beside a generated text.
pub fn scored(row: &Row<'_>) -> Result<Scored, Problem> {
    let mut row = parse::<RawRow>(row)?;
    let response = row.response(RESPONSE)?;
    let generated = std::mem::take(&mut row.generated).optional("generated")?;
    let reference = std::mem::take(&mut row.reference).optional("reference")?;
    let instruction = row.instruction()?;
    let (generated, reference) = match generated {
        Some(generated) => (generated, reference.or(instruction)),
        None => (instruction.ok_or_else(|| Problem::missing("generated"))?, reference),
    };
    Ok(Scored { response, generated, reference, ended: row.ended.known() })
}

struct ReadPair {
    history: Vec<[String; 2]>,
    instruction: String,
    response: String,
    tree: String,
    turn: u32,
    languages: Vec<String>,
    rank: Option<f64>,
    quality: Option<f64>,
    instruction_quality: Option<f64>,
    response_quality: Option<f64>,
}

impl RawRow {
    /// In either field; a row without one is told of the `usual` one.
    fn response(&mut self, usual: &str) -> Result<String, Problem> {
        let response = std::mem::take(&mut self.response).optional("response")?;
        let output = std::mem::take(&mut self.output).optional("output")?;
        response.or(output).ok_or_else(|| Problem::missing(usual))
    }

    /// With what it is about below it, as a person would have written both.
    fn instruction(&mut self) -> Result<Option<String>, Problem> {
        let Some(mut instruction) = std::mem::take(&mut self.instruction).optional("instruction")? else {
            return Ok(None);
        };
        let subjects = [("input", std::mem::take(&mut self.input)), ("context", std::mem::take(&mut self.context))];
        for (name, subject) in subjects {
            if let Some(subject) = subject.optional(name)?.filter(|subject| !subject.trim().is_empty()) {
                instruction.push_str("\n\n");
                instruction.push_str(&subject);
            }
        }
        Ok(Some(instruction))
    }

    fn answer(self, response: String, reference: Option<String>) -> Answer {
        // A row is not worth less for an id of an unknown kind.
        Answer {
            response,
            reference: reference.filter(|reference| !reference.trim().is_empty()),
            source_id: self.source_id.known().or(self.id.known()).map(|id| id.0),
            url: self.url.known(),
            source: self.source.known().map(|source| source.trim().to_owned()).filter(|source| is_name(source)),
        }
    }

    fn pair(mut self, usual: &str) -> Result<ReadPair, Problem> {
        let instruction = match self.instruction()? {
            Some(instruction) => Some(instruction),
            None => std::mem::take(&mut self.generated).optional("generated")?,
        };
        let instruction = instruction.ok_or_else(|| Problem::missing("instruction"))?;
        let response = self.response(usual)?;
        let history = self.history.optional("history")?.unwrap_or_default().0;
        let tree = match self.tree.optional("tree")? {
            Some(Id(tree)) if !tree.is_empty() => tree,
            _ => tree_of(history.first().map_or(&instruction, |[first, _]| first)),
        };
        let turn = match self.turn.optional("turn")? {
            Some(turn) if turn < 0.0 || turn.fract() != 0.0 || turn > f64::from(u32::MAX) => {
                let problem = format!("it is {turn}; it must be a whole number, 0 for the first exchange");
                return Err(Problem { field: "turn".to_owned(), problem });
            }
            Some(turn) => turn as u32,
            None if !history.is_empty() => u32::try_from(history.len()).unwrap_or(u32::MAX),
            None => u32::from(self.first_turn.optional("first_turn")? == Some(false)),
        };
        let languages = [self.lang.optional("lang")?, self.language.optional("language")?];
        Ok(ReadPair {
            history,
            instruction,
            response,
            tree,
            turn,
            languages: languages.into_iter().flatten().filter(|language| !language.trim().is_empty()).collect(),
            rank: self.rank.optional("rank")?,
            quality: self.quality.optional("quality")?,
            instruction_quality: self.instruction_quality.optional("instruction_quality")?,
            response_quality: self.response_quality.optional("response_quality")?,
        })
    }
}

impl ReadPair {
    /// The exchanges of its history, which are not rated, and its own.
    fn add_to(&self, collector: &mut PairCollector<'_>) -> Result<()> {
        let first = self.turn.saturating_sub(u32::try_from(self.history.len()).unwrap_or(u32::MAX));
        let side = |text, quality| Side { text, languages: &self.languages, quality, rejected: None };
        for (turn, [instruction, response]) in (first..).zip(&self.history) {
            let (instruction, response) = (side(instruction, None), side(response, None));
            collector.add(&Exchange { instruction, response, tree: &self.tree, turn, ..Exchange::default() })?;
        }
        collector.add(&Exchange {
            instruction: side(&self.instruction, self.instruction_quality),
            response: side(&self.response, self.response_quality),
            rank: self.rank,
            tree: &self.tree,
            turn: self.turn,
            quality_sum: self.quality,
            rated: false,
        })
    }
}

/// A tree id for rows that have none: the same for the same first instruction.
fn tree_of(instruction: &str) -> String {
    let mut hash = artifact::sha256(instruction.trim().as_bytes());
    hash.truncate(16);
    format!("text-{hash}")
}

impl<'de> Deserialize<'de> for RawRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        /// The field in lower case counts before other spellings; of equal names the last, as in most readers.
        fn set<'de, T: Value, A: MapAccess<'de>>(
            field: &mut Field<T>,
            map: &mut A,
            is_lower: bool,
        ) -> Result<(), A::Error> {
            let value: Field<T> = map.next_value()?;
            if field.is_missing() || (is_lower && !value.is_missing()) {
                *field = value;
            }
            Ok(())
        }

        impl<'de> Visitor<'de> for Fields {
            type Value = RawRow;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawRow, A::Error> {
                let mut row = RawRow::default();
                let map = &mut map;
                while let Some(spelling) = map.next_key::<String>()? {
                    let name = spelling.to_ascii_lowercase();
                    let lower = name == spelling;
                    match name.as_str() {
                        "conversations" => set(&mut row.conversations, map, lower),
                        "instruction" => set(&mut row.instruction, map, lower),
                        "input" => set(&mut row.input, map, lower),
                        "context" => set(&mut row.context, map, lower),
                        "response" => set(&mut row.response, map, lower),
                        "output" => set(&mut row.output, map, lower),
                        "history" => set(&mut row.history, map, lower),
                        "generated" => set(&mut row.generated, map, lower),
                        "generated_instruction" => set(&mut row.generated, map, false),
                        "reference" => set(&mut row.reference, map, lower),
                        "original_instruction" => set(&mut row.reference, map, false),
                        "ended" => set(&mut row.ended, map, lower),
                        "id" => set(&mut row.id, map, lower),
                        "source_id" => set(&mut row.source_id, map, lower),
                        "url" => set(&mut row.url, map, lower),
                        "source" => set(&mut row.source, map, lower),
                        "tree" => set(&mut row.tree, map, lower),
                        "turn" => set(&mut row.turn, map, lower),
                        "first_turn" => set(&mut row.first_turn, map, lower),
                        "lang" => set(&mut row.lang, map, lower),
                        "language" => set(&mut row.language, map, lower),
                        "rank" => set(&mut row.rank, map, lower),
                        "quality" => set(&mut row.quality, map, lower),
                        "instruction_quality" => set(&mut row.instruction_quality, map, lower),
                        "response_quality" => set(&mut row.response_quality, map, lower),
                        _ => map.next_value::<IgnoredAny>().map(drop),
                    }?;
                }
                Ok(row)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

impl Value for History {
    const EXPECTED: &'static str = "a list of exchanges, each a list of two texts";

    fn list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut exchanges = Vec::new();
        while let Some(exchange) = list.next_element::<Field<Vec<String>>>()? {
            match exchange {
                Field::Is(texts) if texts.excess().is_none() => match <[String; 2]>::try_from(texts) {
                    Ok(exchange) => exchanges.push(exchange),
                    Err(_) => return skip_list(list).map(|()| None),
                },
                _ => return skip_list(list).map(|()| None),
            }
        }
        Ok(Some(Self(exchanges)))
    }
}
