//! Rows that hold a whole exchange or conversation: LIMA, plain pairs, Alpaca.
//!
//! Their rows carry no tree ids. Rows that begin with the same instruction are taken for one tree, so that the
//! answers to one question never stand on both sides of a split.

use serde::Deserialize;

use super::field::{Field, Malformed, Problem, parse};
use super::rows::Rows;
use super::rule::{Exchange, Gathering, Side};
use crate::{Result, artifact};

#[derive(Deserialize)]
struct LimaRow {
    #[serde(default)]
    conversations: Field<Vec<String>>,
}

#[derive(Deserialize)]
struct PairRow {
    #[serde(default)]
    instruction: Field<String>,
    #[serde(default)]
    response: Field<String>,
    #[serde(default)]
    tree: Field<String>,
    #[serde(default)]
    turn: Field<f64>,
    /// Where only this is known, false stands for some later turn.
    #[serde(default)]
    first_turn: Field<bool>,
    #[serde(default, alias = "language")]
    lang: Field<String>,
    #[serde(default)]
    rank: Field<f64>,
    #[serde(default)]
    quality: Field<f64>,
    #[serde(default)]
    instruction_quality: Field<f64>,
    #[serde(default)]
    response_quality: Field<f64>,
}

#[derive(Deserialize)]
struct AlpacaRow {
    #[serde(default)]
    instruction: Field<String>,
    #[serde(default)]
    input: Field<String>,
    #[serde(default)]
    output: Field<String>,
}

/// A row as a corpus reads it: a response, and the instruction where there is one.
pub type Answer = (String, Option<String>);

pub fn lima(rows: &mut Rows, gathering: &mut Gathering<'_>, malformed: &mut Malformed) -> Result<()> {
    while let Some(row) = rows.next()? {
        match parse::<LimaRow>(&row).and_then(|row| row.conversations.required("conversations")) {
            Err(problem) => malformed.add(row.line, row.element, problem),
            Ok(turns) if turns.len() < 2 => gathering.drop("too_few_turns"),
            Ok(turns) => {
                let tree = tree_of(&turns[0]);
                let exchanges = turns.chunks_exact(2);
                if !exchanges.remainder().is_empty() {
                    gathering.drop("unanswered");
                }
                for (turn, exchange) in exchanges.enumerate() {
                    gathering.offer(&Exchange {
                        instruction: Side { text: &exchange[0], ..Side::default() },
                        response: Side { text: &exchange[1], ..Side::default() },
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

pub fn pairs(rows: &mut Rows, gathering: &mut Gathering<'_>, malformed: &mut Malformed) -> Result<()> {
    while let Some(row) = rows.next()? {
        match parse::<PairRow>(&row).and_then(PairRow::read) {
            Err(problem) => malformed.add(row.line, row.element, problem),
            Ok(pair) => gathering.offer(&Exchange {
                instruction: Side {
                    text: &pair.instruction,
                    language: pair.language.as_deref(),
                    quality: pair.instruction_quality,
                    deleted: false,
                },
                response: Side {
                    text: &pair.response,
                    language: pair.language.as_deref(),
                    quality: pair.response_quality,
                    deleted: false,
                },
                rank: pair.rank,
                tree: &pair.tree,
                turn: pair.turn,
                quality_sum: pair.quality,
                rated: false,
            })?,
        }
    }
    Ok(())
}

pub fn alpaca(rows: &mut Rows, gathering: &mut Gathering<'_>, malformed: &mut Malformed) -> Result<()> {
    while let Some(row) = rows.next()? {
        match parse::<AlpacaRow>(&row).and_then(AlpacaRow::read) {
            Err(problem) => malformed.add(row.line, row.element, problem),
            Ok((_, None)) => {
                let problem = Problem { field: "instruction".to_owned(), problem: "it is missing".to_owned() };
                malformed.add(row.line, row.element, problem);
            }
            Ok((response, Some(instruction))) => gathering.offer(&Exchange {
                instruction: Side { text: &instruction, ..Side::default() },
                response: Side { text: &response, ..Side::default() },
                tree: &tree_of(&instruction),
                ..Exchange::default()
            })?,
        }
    }
    Ok(())
}

/// A LIMA row's two turns; None where it has more or fewer.
pub fn lima_answer(row: &super::rows::Row<'_>) -> Result<Option<Answer>, Problem> {
    let turns = parse::<LimaRow>(row)?.conversations.required("conversations")?;
    Ok(<[String; 2]>::try_from(turns).ok().map(|[instruction, response]| (response, Some(instruction))))
}

pub fn pair_answer(row: &super::rows::Row<'_>) -> Result<Answer, Problem> {
    let row = parse::<PairRow>(row)?;
    Ok((row.response.required("response")?, row.instruction.optional("instruction")?))
}

pub fn alpaca_answer(row: &super::rows::Row<'_>) -> Result<Answer, Problem> {
    parse::<AlpacaRow>(row)?.read()
}

struct ReadPair {
    instruction: String,
    response: String,
    tree: String,
    turn: u32,
    language: Option<String>,
    rank: Option<f64>,
    quality: Option<f64>,
    instruction_quality: Option<f64>,
    response_quality: Option<f64>,
}

impl PairRow {
    fn read(self) -> Result<ReadPair, Problem> {
        let instruction = self.instruction.required("instruction")?;
        let tree = match self.tree.optional("tree")? {
            Some(tree) if !tree.is_empty() => tree,
            _ => tree_of(&instruction),
        };
        let turn = match self.turn.optional("turn")? {
            Some(turn) if turn < 0.0 || turn.fract() != 0.0 || turn > f64::from(u32::MAX) => {
                let problem = format!("it is {turn}; it must be a whole number, 0 for the first exchange");
                return Err(Problem { field: "turn".to_owned(), problem });
            }
            Some(turn) => turn as u32,
            None => u32::from(self.first_turn.optional("first_turn")? == Some(false)),
        };
        Ok(ReadPair {
            instruction,
            response: self.response.required("response")?,
            tree,
            turn,
            language: self.lang.optional("lang")?,
            rank: self.rank.optional("rank")?,
            quality: self.quality.optional("quality")?,
            instruction_quality: self.instruction_quality.optional("instruction_quality")?,
            response_quality: self.response_quality.optional("response_quality")?,
        })
    }
}

impl AlpacaRow {
    /// `input` is what the instruction is about: it stands below it, as a person would have written both.
    fn read(self) -> Result<Answer, Problem> {
        let instruction = self.instruction.optional("instruction")?;
        let input = self.input.optional("input")?.filter(|input| !input.trim().is_empty());
        let instruction = match (instruction, input) {
            (Some(instruction), Some(input)) => Some(format!("{instruction}\n\n{input}")),
            (instruction, _) => instruction,
        };
        Ok((self.output.required("output")?, instruction))
    }
}

/// A tree id for rows that have none: the same for the same first instruction.
fn tree_of(instruction: &str) -> String {
    let mut hash = artifact::sha256(instruction.trim().as_bytes());
    hash.truncate(16);
    format!("text-{hash}")
}
