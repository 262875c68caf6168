//! What a setting is: key, label, help, range. A cell's configuration is declared once with [`settings!`]; the page's form, the
//! command line's flags, the experiment file's check and the tables in docs/FORMATS.md are made from that declaration.
//!
//! All of them speak text: [`Settings::get`] and [`Settings::set`]. What `set` accepts is what every one of them accepts.

mod declare;
mod value;

use crate::AppError;

pub use declare::{Settings, unknown_setting};
pub(crate) use declare::{choices, join, settings, total};
pub use value::Value;
pub(crate) use value::normal;

/// One setting of a kind of cell.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name in TOML, in JSON and (with hyphens) on the command line. Dotted where it lies in a nested table.
    pub key: &'static str,
    /// Earlier spellings, which are still read.
    pub aliases: &'static [&'static str],
    pub label: &'static str,
    /// One or more sentences of plain text.
    pub help: &'static str,
    pub group: Group,
    pub rule: Rule,
}

/// Which values are accepted.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub kind: Kind,
    /// The word that means "no value", beside the empty text. None: a value is required.
    pub off: Option<&'static str>,
    /// Results depend on it: a checkpoint can be resumed with another value only where they do not.
    pub changes_results: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Whole {
        min: u64,
        max: u64,
    },
    Number {
        min: Bound,
        max: Bound,
    },
    Toggle,
    Choice(&'static [Choice]),
    /// One or more, separated by commas.
    Set(&'static [Choice]),
    /// One line; white space at both ends is dropped.
    Line {
        max_chars: usize,
    },
    /// Any text, kept as it is.
    Text {
        max_bytes: usize,
        may_be_blank: bool,
        slot: Option<Slot>,
    },
    /// A data file's id; on the command line and in an experiment file, a path.
    File,
    /// A base model's id; on the command line and in an experiment file, also a path.
    Model,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    pub value: f64,
    /// The bound itself is accepted.
    pub included: bool,
}

/// A template text holds `place` once, and not `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub place: &'static str,
    pub other: &'static str,
}

/// A value of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub value: &'static str,
    pub label: &'static str,
}

/// Where a form puts a setting. The primary ones are always shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Primary,
    PairRule,
    Split,
    Lora,
    Optimizer,
    Batching,
    Template,
    Evaluation,
    Sampling,
    Candidates,
}

impl Group {
    pub fn label(self) -> &'static str {
        match self {
            Self::Primary => "Main settings",
            Self::PairRule => "Pair rule",
            Self::Split => "Validation split",
            Self::Lora => "LoRA",
            Self::Optimizer => "Optimizer",
            Self::Batching => "Batching, length and memory",
            Self::Template => "Template and loss",
            Self::Evaluation => "Evaluation and checkpoints",
            Self::Sampling => "Sampling",
            Self::Candidates => "Candidates and evaluation",
        }
    }
}

impl Rule {
    const fn of(kind: Kind) -> Self {
        Self { kind, off: None, changes_results: true }
    }

    /// This word, and the empty text, mean "no value".
    pub(crate) const fn off(self, word: &'static str) -> Self {
        Self { off: Some(word), ..self }
    }

    /// Results are the same whatever the value is.
    pub(crate) const fn same_results(self) -> Self {
        Self { changes_results: false, ..self }
    }

    pub(crate) const fn or_off(self, word: Option<&'static str>) -> Self {
        match (self.off, word) {
            (None, Some(word)) => self.off(word),
            _ => self,
        }
    }
}

pub(crate) const fn whole(min: u64, max: u64) -> Rule {
    Rule::of(Kind::Whole { min, max })
}

pub(crate) const fn number(min: f64, max: f64) -> Rule {
    Rule::of(Kind::Number { min: Bound { value: min, included: true }, max: Bound { value: max, included: true } })
}

/// Greater than `min`.
pub(crate) const fn above(min: f64, max: f64) -> Rule {
    Rule::of(Kind::Number { min: Bound { value: min, included: false }, max: Bound { value: max, included: true } })
}

/// Less than `max`.
pub(crate) const fn below(min: f64, max: f64) -> Rule {
    Rule::of(Kind::Number { min: Bound { value: min, included: true }, max: Bound { value: max, included: false } })
}

pub(crate) const fn toggle() -> Rule {
    Rule::of(Kind::Toggle)
}

pub(crate) const fn choice(choices: &'static [Choice]) -> Rule {
    Rule::of(Kind::Choice(choices))
}

pub(crate) const fn set(choices: &'static [Choice]) -> Rule {
    Rule::of(Kind::Set(choices))
}

pub(crate) const fn line(max_chars: usize) -> Rule {
    Rule::of(Kind::Line { max_chars })
}

pub(crate) const fn text(max_bytes: usize) -> Rule {
    Rule::of(Kind::Text { max_bytes, may_be_blank: true, slot: None })
}

/// More than white space.
pub(crate) const fn visible(max_bytes: usize) -> Rule {
    Rule::of(Kind::Text { max_bytes, may_be_blank: false, slot: None })
}

pub(crate) const fn slotted(place: &'static str, other: &'static str) -> Rule {
    Rule::of(Kind::Text { max_bytes: MAX_TEMPLATE_BYTES, may_be_blank: true, slot: Some(Slot { place, other }) })
}

pub(crate) const fn file() -> Rule {
    Rule::of(Kind::File)
}

pub(crate) const fn model() -> Rule {
    Rule::of(Kind::Model)
}

/// Each part of a template is encoded for every pair; no template needs more.
pub(crate) const MAX_TEMPLATE_BYTES: usize = 16_384;

impl Setting {
    /// Its name as a flag, without the leading hyphens.
    pub fn flag(&self) -> String {
        self.key.rsplit('.').next().unwrap_or(self.key).replace('_', "-")
    }

    /// Whether this is its key or an earlier spelling of it.
    pub fn is_called(&self, name: &str) -> bool {
        self.key == name || self.aliases.contains(&name)
    }

    /// Refuses a text that is not an accepted value, with key, value and limit.
    pub fn check(&self, text: &str) -> Result<(), AppError> {
        if self.accepts(text) { Ok(()) } else { Err(self.refusal(text)) }
    }

    pub(crate) fn refusal(&self, text: &str) -> AppError {
        let shown = match self.rule.kind {
            Kind::Whole { .. } | Kind::Number { .. } if !text.trim().is_empty() && text.len() < 40 => {
                text.trim().to_owned()
            }
            _ if text.trim().is_empty() => "empty".to_owned(),
            _ => match text.char_indices().nth(60) {
                Some((end, _)) => format!("{:?}…", &text[..end]),
                None => format!("{text:?}"),
            },
        };
        invalid(self.key, shown, &self.limit())
    }

    /// Is it the word for "no value"?
    pub fn is_off(&self, text: &str) -> bool {
        self.rule.off.is_some_and(|off| text.trim().is_empty() || text.trim() == off)
    }

    fn accepts(&self, text: &str) -> bool {
        if self.is_off(text) {
            return true;
        }
        match self.rule.kind {
            Kind::Whole { min, max } => text.trim().parse::<u64>().is_ok_and(|value| (min..=max).contains(&value)),
            Kind::Number { min, max } => text.trim().parse::<f64>().is_ok_and(|value| {
                let low = if min.included { value >= min.value } else { value > min.value };
                low && if max.included { value <= max.value } else { value < max.value }
            }),
            Kind::Toggle => matches!(text.trim(), "true" | "false"),
            Kind::Choice(choices) => choices.iter().any(|choice| choice.value == word(text)),
            Kind::Set(choices) => text.split(',').all(|part| choices.iter().any(|choice| choice.value == word(part))),
            Kind::Line { max_chars } => {
                let text = text.trim();
                !text.is_empty() && text.chars().count() <= max_chars && !text.chars().any(char::is_control)
            }
            Kind::Text { max_bytes, may_be_blank, slot } => {
                let slots = slot.is_none_or(|slot| text.matches(slot.place).count() == 1 && !text.contains(slot.other));
                text.len() <= max_bytes && slots && (may_be_blank || !text.trim().is_empty())
            }
            Kind::File | Kind::Model => !text.trim().is_empty(),
        }
    }

    /// The accepted values, for a sentence that begins "it must be": "a whole number from 1 to 1024, or `none`".
    pub fn limit(&self) -> String {
        let values = match self.rule.kind {
            Kind::Whole { min, max: u64::MAX } => format!("a whole number from {min} to 2^64 - 1"),
            Kind::Whole { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Number { min, max } => {
                let low =
                    if min.included { format!("from {}", min.value) } else { format!("greater than {}", min.value) };
                match (min.included, max.included) {
                    (true, true) => format!("a number {low} to {}", max.value),
                    (false, true) => format!("a number {low} and at most {}", max.value),
                    (_, false) => format!("a number {low} to below {}", max.value),
                }
            }
            Kind::Toggle => "true or false".to_owned(),
            Kind::Choice(choices) => format!("one of {}", names(choices)),
            Kind::Set(choices) => format!("one or more of {}, separated by commas", names(choices)),
            Kind::Line { max_chars } => format!("one line of 1 to {max_chars} characters"),
            Kind::Text { max_bytes, slot: None, may_be_blank: true } => format!("a text of at most {max_bytes} bytes"),
            Kind::Text { max_bytes, slot: None, may_be_blank: false } => {
                format!("a text of at most {max_bytes} bytes that is not blank")
            }
            Kind::Text { max_bytes, slot: Some(Slot { place, other }), .. } => {
                format!("a text of at most {max_bytes} bytes that contains {place} exactly once and not {other}")
            }
            Kind::File => "a data file".to_owned(),
            Kind::Model => "a base model".to_owned(),
        };
        match self.rule.off {
            Some(off) => format!("{values}, or `{off}`"),
            None => values,
        }
    }
}

fn names(choices: &[Choice]) -> String {
    choices.iter().map(|choice| choice.value).collect::<Vec<_>>().join(", ")
}

/// A choice's spelling; hyphens and underscores are equal.
fn word(text: &str) -> String {
    text.trim().replace('-', "_")
}

/// A value that is not accepted, in the one form that such refusals have.
pub fn invalid(field: &str, value: impl std::fmt::Display, limit: &str) -> AppError {
    AppError::invalid_setting(format!("{field} is {value}; it must be {limit}"), "Change this setting, then run again.")
}
