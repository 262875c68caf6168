//! A template's text as special tokens and the stretches between them.
//!
//! Special tokens are found in the template's own text only. A stretch, with the slot's text where it contains the slot,
//! is encoded as one string, so that its token boundaries are those of the text as a reader would write it.

use std::ops::Range;

use super::ANCHORS;
use crate::Result;
use crate::tokenizer::{Piece, Tokenizer};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Special(u32),
    Text(String),
    /// The stretch with the slot: what stands before it and behind it.
    Slot(String, String),
}

/// Ids of a text with its slot filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slotted {
    pub ids: Vec<u32>,
    /// Places of the tokens that lie wholly within the slot's text: those that may be left out.
    pub response: Range<usize>,
    /// How many of the slot's first tokens may be kept without cutting a character in two: `whole[n]` says it of n.
    whole: Vec<bool>,
}

impl Segments {
    /// `slot` empty: the text has none.
    pub fn compile(text: &str, slot: &str, tokenizer: &Tokenizer) -> Self {
        let specials: Vec<(String, u32)> = tokenizer
            .specials()
            .into_iter()
            .filter(|special| !special.is_empty())
            .filter_map(|special| tokenizer.special(&special).map(|id| (special, id)))
            .collect();
        let mut segments = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            // The first in the text; of several there, the longest, for they come longest first.
            let next = specials
                .iter()
                .filter_map(|(special, id)| rest.find(special.as_str()).map(|place| (place, special.len(), *id)))
                .min_by_key(|&(place, length, _)| (place, usize::MAX - length));
            let (stretch, behind) = match next {
                Some((place, length, _)) => (&rest[..place], &rest[place + length..]),
                None => (rest, ""),
            };
            if !stretch.is_empty() {
                segments.push(match stretch.split_once(slot).filter(|_| !slot.is_empty()) {
                    Some((before, behind)) => Segment::Slot(before.to_owned(), behind.to_owned()),
                    None => Segment::Text(stretch.to_owned()),
                });
            }
            segments.extend(next.map(|(_, _, id)| Segment::Special(id)));
            rest = behind;
        }
        Self(segments)
    }

    /// The template's own text at the end, empty where it ends in its slot; None where it ends in a special token.
    pub fn ending(&self) -> Option<&str> {
        match self.0.last() {
            Some(Segment::Text(text) | Segment::Slot(_, text)) => Some(text),
            _ => None,
        }
    }

    pub fn leading_special(&self) -> Option<u32> {
        match self.0.first() {
            Some(Segment::Special(id)) => Some(*id),
            _ => None,
        }
    }

    /// With `filling` in the slot.
    pub fn encode(&self, tokenizer: &Tokenizer, filling: &str) -> Result<Slotted> {
        let mut encoded = Slotted { ids: Vec::new(), response: 0..0, whole: vec![true] };
        for segment in &self.0 {
            match segment {
                Segment::Special(id) => encoded.ids.push(*id),
                Segment::Text(text) => encoded.ids.extend(tokenizer.encode_plain(text)?.iter().map(|piece| piece.id)),
                Segment::Slot(before, behind) => {
                    let text = [before, filling, behind].concat();
                    let pieces = tokenizer.encode_plain(&text)?;
                    encoded.fill(&pieces, &text, before.len()..before.len() + filling.len());
                }
            }
        }
        Ok(encoded)
    }

    /// As a continuation of a text that ends in `ending`: the ids that the whole text has from there on, where it has
    /// a token boundary there. Behind a special token (`ending` None), or where no boundary can be had, the text is
    /// encoded by itself.
    pub fn encode_behind(&self, tokenizer: &Tokenizer, filling: &str, ending: Option<&str>) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        for (place, segment) in self.0.iter().enumerate() {
            let text = match segment {
                Segment::Special(id) => {
                    ids.push(*id);
                    continue;
                }
                Segment::Text(text) => text.clone(),
                Segment::Slot(before, behind) => [before, filling, behind].concat(),
            };
            let pieces = match ending.filter(|_| place == 0) {
                Some(ending) => continuation(tokenizer, &text, ending)?,
                None => tokenizer.encode_plain(&text)?,
            };
            ids.extend(pieces.iter().map(|piece| piece.id));
        }
        Ok(ids)
    }
}

fn continuation(tokenizer: &Tokenizer, text: &str, ending: &str) -> Result<Vec<Piece>> {
    for anchor in [ending].iter().chain(&ANCHORS).filter(|anchor| !anchor.is_empty()) {
        let pieces = tokenizer.encode_plain(&format!("{anchor}{text}"))?;
        let first = pieces.iter().position(|piece| piece.end > anchor.len()).unwrap_or(pieces.len());
        if pieces[first..].iter().all(|piece| piece.start >= anchor.len()) {
            return Ok(pieces[first..].to_vec());
        }
    }
    tokenizer.encode_plain(text)
}

impl Slotted {
    fn fill(&mut self, pieces: &[Piece], text: &str, slot: Range<usize>) {
        let inside = |piece: &Piece| piece.start >= slot.start && piece.end <= slot.end && piece.start < piece.end;
        let first = pieces.iter().position(inside).unwrap_or(pieces.len());
        let count = pieces[first..].iter().take_while(|piece| inside(piece)).count();
        let start = self.ids.len() + first;
        self.ids.extend(pieces.iter().map(|piece| piece.id));
        if count == 0 {
            return;
        }
        self.response = start..start + count;
        let response = &pieces[first..first + count];
        self.whole = (0..=count)
            .map(|kept| {
                let Some(last) = kept.checked_sub(1).map(|last| response[last]) else { return true };
                text.is_char_boundary(last.end) && response.get(kept).is_none_or(|next| next.start >= last.end)
            })
            .collect();
    }

    /// Leaves out tokens at the response's end, whole characters, until at most `most` ids are left: how many. None
    /// where even without any of the response it does not fit.
    pub fn shorten(&mut self, most: usize) -> Option<usize> {
        let excess = self.ids.len().saturating_sub(most);
        let mut kept = self.response.len().checked_sub(excess)?;
        while !self.whole[kept] {
            kept -= 1;
        }
        let cut = self.response.start + kept..self.response.end;
        let count = cut.len();
        self.ids.drain(cut);
        self.response.end -= count;
        Some(count)
    }
}
