//! What a page knows of the pairs that a person decides on: which ones the filter shows, those that are loaded, the
//! one that is open, and what can be undone.

use std::collections::{HashMap, HashSet};

use leptos::prelude::*;
use leptos::task::spawn_local;

use super::queue::Queue;
use crate::api;
use spec::{
    AppError, Curation, CurationChange, CurationCounts, CurationPart, DecideMatching, Decision, GeneratedPair,
    GetPairs, MatchPairs, PairFilter,
};

/// Pairs that are fetched together.
const CHUNK: usize = 50;
/// Steps that can be undone.
const MOST_STEPS: usize = 500;

/// What one command changed, and what takes it back.
#[derive(Clone, Debug, PartialEq)]
struct Step {
    changes: Vec<CurationChange>,
    inverse: Vec<CurationChange>,
}

#[derive(Clone, Copy)]
pub struct CurateState {
    /// Of the generate cell.
    pub run: i64,
    pub filter: RwSignal<PairFilter>,
    /// Index and row of the pairs that the filter showed when it was last applied. None: not fetched yet.
    pub order: RwSignal<Option<Vec<(u32, u64)>>>,
    pub counts: RwSignal<CurationCounts>,
    /// Place of the open pair in `order`.
    pub cursor: RwSignal<usize>,
    pub error: RwSignal<Option<AppError>>,
    pub queue: Queue,
    loaded: RwSignal<HashMap<u32, GeneratedPair>>,
    /// Indexes that were asked for.
    asked: StoredValue<HashSet<u32>>,
    undo: RwSignal<Vec<Step>>,
    redo: RwSignal<Vec<Step>>,
}

impl CurateState {
    pub fn new(run: i64, filter: PairFilter) -> Self {
        let (counts, error) = (RwSignal::new(CurationCounts::default()), RwSignal::new(None));
        Self {
            run,
            filter: RwSignal::new(filter),
            order: RwSignal::new(None),
            counts,
            cursor: RwSignal::new(0),
            error,
            queue: Queue::new(run, counts, error),
            loaded: RwSignal::default(),
            asked: StoredValue::default(),
            undo: RwSignal::default(),
            redo: RwSignal::default(),
        }
    }

    pub fn total(self) -> usize {
        self.order.with(|order| order.as_ref().map_or(0, Vec::len))
    }

    /// Index and row of the pair at this place.
    pub fn at(self, place: usize) -> Option<(u32, u64)> {
        self.order.with(|order| order.as_ref()?.get(place).copied())
    }

    /// None while it is not loaded.
    pub fn pair(self, index: u32) -> Option<GeneratedPair> {
        self.loaded.with(|loaded| loaded.get(&index).cloned())
    }

    /// The pair that is open.
    pub fn open_pair(self) -> Option<GeneratedPair> {
        self.pair(self.at(self.cursor.get())?.0)
    }

    /// Fetches which pairs the filter shows, and opens the one of this row if it is among them.
    pub fn apply_filter(self, row: Option<u64>) {
        let filter = self.filter.get_untracked();
        spawn_local(async move {
            // What was decided here decides what the filter shows.
            if !self.queue.empty().await {
                return;
            }
            let answer = api::call(MatchPairs { run: self.run, filter: filter.clone() }).await;
            // A slow answer to an older question is not shown.
            if self.filter.try_get_untracked().as_ref() != Some(&filter) {
                return;
            }
            match answer {
                Ok(matching) => {
                    let place = row.and_then(|row| matching.pairs.iter().position(|pair| pair.1 == row));
                    self.error.set(None);
                    self.counts.set(matching.counts);
                    self.asked.update_value(HashSet::clear);
                    self.loaded.update(HashMap::clear);
                    self.cursor.set(place.unwrap_or(0));
                    self.order.set(Some(matching.pairs));
                }
                Err(why) => self.error.set(Some(why)),
            }
        });
    }

    /// Fetches the pairs around these places that are not here yet.
    pub fn load(self, from: usize, to: usize) {
        let wanted: Vec<u32> = self.order.with_untracked(|order| {
            let order = order.as_deref().unwrap_or_default();
            let (from, to) = (from / CHUNK * CHUNK, to.div_ceil(CHUNK) * CHUNK);
            let around = order.get(from.min(order.len())..to.min(order.len())).unwrap_or_default();
            around.iter().map(|(index, _)| *index).collect()
        });
        let new: Vec<u32> = self
            .asked
            .try_update_value(|asked| wanted.into_iter().filter(|index| asked.insert(*index)).collect())
            .unwrap_or_default();
        for indexes in new.chunks(CHUNK).map(<[u32]>::to_vec) {
            spawn_local(async move {
                match api::call(GetPairs { run: self.run, indexes: indexes.clone() }).await {
                    Ok(pairs) => {
                        let waiting = self.queue.waiting();
                        self.loaded.try_update(|loaded| {
                            for mut pair in pairs {
                                // The answer may be older than what was decided here meanwhile.
                                for change in waiting.iter().filter(|change| change.index == pair.index) {
                                    change.part.apply(pair.curation.get_or_insert_default());
                                }
                                loaded.insert(pair.index, pair);
                            }
                        });
                    }
                    Err(why) => {
                        self.asked.try_update_value(|asked| asked.retain(|index| !indexes.contains(index)));
                        self.error.try_set(Some(why));
                    }
                }
            });
        }
    }

    /// Opens the pair that many places further.
    pub fn step(self, by: isize) {
        let last = self.order.with_untracked(|order| order.as_ref().map_or(0, Vec::len)).saturating_sub(1);
        let next = self.cursor.get_untracked().saturating_add_signed(by).min(last);
        if next != self.cursor.get_untracked() {
            self.cursor.set(next);
        }
    }

    /// Decides on the open pair and opens the next one.
    pub fn decide(self, decision: Option<Decision>) {
        if let Some(pair) = untrack(move || self.open_pair()) {
            if pair.decision() != decision {
                self.change(pair.index, CurationPart::Decision(decision));
            }
            self.step(1);
        }
    }

    /// Changes one part of a pair. Typing is one step to undo, however many keys it took.
    pub fn change(self, index: u32, part: CurationPart) {
        let change = CurationChange { index, part };
        let Some(inverse) = self.apply(&change) else { return };
        self.redo.set(Vec::new());
        self.undo.update(|steps| {
            let same_text = |step: &&mut Step| match step.changes.as_slice() {
                [known] => known.index == index && is_same_text(&known.part, &change.part),
                _ => false,
            };
            match steps.last_mut().filter(same_text) {
                Some(step) => step.changes = vec![change.clone()],
                None => steps.push(Step { changes: vec![change.clone()], inverse: vec![inverse] }),
            }
            if steps.len() > MOST_STEPS {
                steps.remove(0);
            }
        });
        self.queue.send(vec![change]);
    }

    /// Changes what is loaded; the change that takes it back.
    fn apply(self, change: &CurationChange) -> Option<CurationChange> {
        self.loaded.try_update(|loaded| {
            let pair = loaded.get_mut(&change.index)?;
            let curation = pair.curation.get_or_insert_default();
            let inverse = change.part.inverse(curation);
            self.counts.update(|counts| count(counts, curation, &change.part));
            change.part.apply(curation);
            Some(CurationChange { index: change.index, part: inverse })
        })?
    }

    /// Decides on every pair that the filter shows, loaded or not.
    pub fn decide_all(self, decision: Option<Decision>) {
        spawn_local(async move {
            if !self.queue.empty().await {
                return;
            }
            let Some(filter) = self.filter.try_get_untracked() else { return };
            match api::call(DecideMatching { run: self.run, filter, decision }).await {
                Ok(inverse) => {
                    let part = CurationPart::Decision(decision);
                    let changes = inverse.iter().map(|back| CurationChange { index: back.index, part: part.clone() });
                    let step = Step { changes: changes.collect(), inverse };
                    self.redo.try_set(Vec::new());
                    self.undo.try_update(|steps| steps.push(step));
                    self.apply_filter(untrack(move || self.at(self.cursor.get())).map(|pair| pair.1));
                }
                Err(why) => {
                    self.error.try_set(Some(why));
                }
            }
        });
    }

    pub fn can_undo(self) -> bool {
        self.undo.with(|steps| !steps.is_empty())
    }

    pub fn can_redo(self) -> bool {
        self.redo.with(|steps| !steps.is_empty())
    }

    pub fn undo(self) {
        if let Some(step) = self.undo.try_update(Vec::pop).flatten() {
            self.carry_out(&step.inverse);
            self.redo.update(|steps| steps.push(step));
        }
    }

    pub fn redo(self) {
        if let Some(step) = self.redo.try_update(Vec::pop).flatten() {
            self.carry_out(&step.changes);
            self.undo.update(|steps| steps.push(step));
        }
    }

    /// And opens the pair that it is about.
    fn carry_out(self, changes: &[CurationChange]) {
        for change in changes {
            let _ = self.apply(change);
        }
        self.queue.send(changes.to_vec());
        let first = changes.first().map(|change| change.index);
        let place = self.order.with_untracked(|order| {
            order.as_ref().and_then(|order| order.iter().position(|(index, _)| Some(*index) == first))
        });
        if let Some(place) = place {
            self.cursor.set(place);
        }
    }
}

/// Both change the same text of a pair.
fn is_same_text(a: &CurationPart, b: &CurationPart) -> bool {
    use CurationPart::{Instruction, Note};
    matches!((a, b), (Instruction(_), Instruction(_)) | (Note(_), Note(_)))
}

/// Counts what a change does to a pair, until the server's own count arrives.
fn count(counts: &mut CurationCounts, before: &Curation, part: &CurationPart) {
    let mut after = before.clone();
    part.apply(&mut after);
    let mut move_by_one = |of: fn(&Curation) -> bool, count: fn(&mut CurationCounts) -> &mut u64| {
        let count = count(counts);
        match (of(before), of(&after)) {
            (true, false) => *count = count.saturating_sub(1),
            (false, true) => *count += 1,
            _ => {}
        }
    };
    move_by_one(|curation| curation.decision == Some(Decision::Keep), |counts| &mut counts.keep);
    move_by_one(|curation| curation.decision == Some(Decision::Drop), |counts| &mut counts.drop);
    move_by_one(|curation| curation.instruction.is_some(), |counts| &mut counts.edited);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_pairs(act: impl FnOnce(CurateState)) {
        Owner::new().with(|| {
            let state = CurateState::new(1, PairFilter::default());
            let pair = |index: u32| GeneratedPair { index, generated: format!("Ask {index}"), ..Default::default() };
            state.loaded.set((0..3).map(|index| (index, pair(index))).collect());
            state.order.set(Some((0..3).map(|index| (index, u64::from(index) + 1)).collect()));
            state.counts.set(CurationCounts { pairs: 3, ..CurationCounts::default() });
            act(state);
        });
    }

    #[test]
    fn a_decision_opens_the_next_pair_and_can_be_undone_and_redone() {
        with_pairs(|state| {
            state.decide(Some(Decision::Keep));
            state.decide(Some(Decision::Drop));
            assert_eq!(state.cursor.get_untracked(), 2);
            let decided = || (0..3).map(|index| state.pair(index).unwrap().decision()).collect::<Vec<_>>();
            assert_eq!(decided(), [Some(Decision::Keep), Some(Decision::Drop), None]);
            assert_eq!(state.counts.get_untracked().undecided(), 1);
            state.undo();
            assert_eq!((decided(), state.cursor.get_untracked()), (vec![Some(Decision::Keep), None, None], 1));
            state.undo();
            assert!(!state.can_undo() && state.can_redo());
            assert_eq!(state.counts.get_untracked().undecided(), 3);
            state.redo();
            state.redo();
            assert_eq!(decided(), [Some(Decision::Keep), Some(Decision::Drop), None]);
            assert_eq!(state.queue.waiting().len(), 2, "the newest change of each pair waits to be sent");
        });
    }

    #[test]
    fn typing_is_one_step_and_undoing_it_gives_the_generated_text_back() {
        with_pairs(|state| {
            for text in ["A", "As", "Ask me"] {
                state.change(1, CurationPart::Instruction(Some(text.to_owned())));
            }
            assert_eq!(state.pair(1).unwrap().instruction(), "Ask me");
            assert_eq!(state.counts.get_untracked().edited, 1);
            state.undo();
            assert_eq!(state.pair(1).unwrap().instruction(), "Ask 1");
            assert_eq!((state.counts.get_untracked().edited, state.can_undo()), (0, false));
        });
    }

    #[test]
    fn a_new_change_ends_what_could_be_redone() {
        with_pairs(|state| {
            state.decide(Some(Decision::Keep));
            state.undo();
            state.change(2, CurationPart::Note("why".to_owned()));
            assert!(!state.can_redo());
        });
    }
}
