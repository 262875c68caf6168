//! The pair rule: which exchanges become pairs, in which order, and why the others do not.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::rows::MOST_TEXT_BYTES;
use super::{Pair, PairRule};
use crate::{Error, Result, words};

/// One side of an exchange, borrowed from its file's rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Side<'a> {
    pub text: &'a str,
    /// Each a code or a name; one that fits is enough.
    pub languages: &'a [String],
    pub quality: Option<f64>,
    /// Why its own data set rejects it.
    pub rejected: Option<&'static str>,
}

impl<'a> Side<'a> {
    /// A text of which nothing else is known.
    pub fn of(text: &'a str) -> Self {
        Self { text, ..Self::default() }
    }
}

/// An instruction and a reply to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exchange<'a> {
    pub instruction: Side<'a>,
    pub response: Side<'a>,
    /// 0: the reply that people liked best.
    pub rank: Option<f64>,
    pub tree: &'a str,
    pub turn: u32,
    /// Of a row that knows the sum of both sides' quality only.
    pub quality_sum: Option<f64>,
    /// From a data set that rates every message: what is missing there does not pass.
    pub rated: bool,
}

pub fn check(rule: &PairRule) -> Result<()> {
    match rule {
        PairRule { quality_above: Some(quality), .. } if !quality.is_finite() => {
            Err(Error::invalid("quality_above", quality, "a finite number"))
        }
        PairRule { limit: Some(0), .. } => Err(Error::invalid("limit", 0, "at least 1, or absent for all pairs")),
        _ => Ok(()),
    }
}

/// Pairs as they are collected, and the count of what was left out.
pub struct PairCollector<'a> {
    path: PathBuf,
    rule: &'a PairRule,
    pairs: Vec<Pair>,
    dropped: BTreeMap<&'static str, u64>,
    text_bytes: u64,
    most_text_bytes: u64,
}

impl<'a> PairCollector<'a> {
    pub fn new(path: &Path, rule: &'a PairRule) -> Self {
        Self {
            path: path.to_owned(),
            rule,
            pairs: Vec::new(),
            dropped: BTreeMap::new(),
            text_bytes: 0,
            most_text_bytes: MOST_TEXT_BYTES,
        }
    }

    /// Counts a row or message that made no exchange.
    pub fn drop(&mut self, reason: &'static str) {
        *self.dropped.entry(reason).or_default() += 1;
    }

    pub fn add(&mut self, exchange: &Exchange<'_>) -> Result<()> {
        if let Some(reason) = rejection_reason(self.rule, exchange) {
            self.drop(reason);
            return Ok(());
        }
        // One long prompt with many replies would be copied for each of them.
        self.text_bytes += (exchange.instruction.text.len() + exchange.response.text.len()) as u64;
        if self.text_bytes > self.most_text_bytes {
            let problem = format!(
                "its pairs hold more than {} MiB of text; split it or set a stricter rule",
                self.most_text_bytes >> 20
            );
            return Err(Error::malformed(&self.path, "pairs", problem));
        }
        let sides = exchange.instruction.quality.zip(exchange.response.quality);
        self.pairs.push(Pair {
            instruction: exchange.instruction.text.to_owned(),
            response: exchange.response.text.to_owned(),
            tree: exchange.tree.to_owned(),
            turn: exchange.turn,
            quality: exchange.quality_sum.or(sides.map(|(instruction, response)| instruction + response)),
        });
        Ok(())
    }

    /// The best first, those without quality last, ties in file order.
    pub fn finish(mut self) -> (Vec<Pair>, BTreeMap<&'static str, u64>) {
        self.pairs.sort_by(|a, b| match (a.quality, b.quality) {
            (Some(a), Some(b)) => b.total_cmp(&a),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        });
        if let Some(limit) = self.rule.limit
            && self.pairs.len() > limit
        {
            self.dropped.insert("limit", (self.pairs.len() - limit) as u64);
            self.pairs.truncate(limit);
        }
        (self.pairs, self.dropped)
    }
}

/// The first reason for which the rule refuses an exchange.
fn rejection_reason(rule: &PairRule, exchange: &Exchange<'_>) -> Option<&'static str> {
    let sides = [&exchange.instruction, &exchange.response];
    let missing_passes = !exchange.rated;
    if let Some(reason) = sides.iter().find_map(|side| side.rejected) {
        return Some(reason);
    }
    if sides.iter().any(|side| side.text.trim().is_empty()) {
        return Some("empty_text");
    }
    if let Some(wanted) = &rule.language
        && !sides.iter().all(|side| match side.languages {
            [] => missing_passes,
            languages => languages.contains(wanted),
        })
    {
        return Some("language");
    }
    if rule.best_reply_only {
        match exchange.rank {
            None if !missing_passes => return Some("no_rank"),
            Some(rank) if rank != 0.0 => return Some("not_best_reply"),
            _ => {}
        }
    }
    if let Some(least) = rule.quality_above {
        if !missing_passes && sides.iter().any(|side| side.quality.is_none()) {
            return Some("no_quality");
        }
        if sides.iter().filter_map(|side| side.quality).any(|quality| quality <= least) {
            return Some("quality");
        }
    }
    if sides.iter().any(|side| words::pieces(side.text).take(rule.words_above + 1).count() <= rule.words_above) {
        return Some("too_few_words");
    }
    if rule.first_turn_only && exchange.turn != 0 {
        return Some("not_first_turn");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_that_many_replies_would_copy_without_end_is_refused() {
        let rule = PairRule {
            language: None,
            best_reply_only: false,
            quality_above: None,
            words_above: 0,
            first_turn_only: false,
            limit: None,
        };
        let long = "x".repeat(1 << 20);
        let mut collector = PairCollector { most_text_bytes: 8 << 20, ..PairCollector::new(Path::new("f"), &rule) };
        let exchange = Exchange { instruction: Side::of(&long), response: Side::of("y"), ..Exchange::default() };
        let refused = (0..20).find_map(|_| collector.add(&exchange).err()).unwrap();
        assert!(refused.to_string().contains("more than 8 MiB"), "{refused}");
        assert_eq!(collector.pairs.len(), 7);
    }
}
