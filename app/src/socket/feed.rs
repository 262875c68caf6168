//! Folds arrived events into a run's view, and asks again, once, for what is missing.

use std::collections::HashMap;

use spec::{LoggedEvent, RunView};

/// An event is missing: ask for the run again, after this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub run: i64,
    pub after_seq: u64,
}

#[derive(Debug, Default)]
pub struct Feed {
    /// Where each run was asked for again, so that events which were under way already do not ask once more.
    asked: HashMap<i64, u64>,
}

impl Feed {
    /// Returns the gap to ask for, if the events leave one that was not asked for yet.
    pub fn fold(&mut self, view: &mut RunView, events: &[LoggedEvent]) -> Option<Gap> {
        for event in events {
            if !view.apply(event) {
                let before = self.asked.insert(view.run, view.seq);
                return (before != Some(view.seq)).then_some(Gap { run: view.run, after_seq: view.seq });
            }
        }
        None
    }

    /// After a new connection everything is asked for anyway.
    pub fn forget(&mut self) {
        self.asked.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spec::{CellConfig, GenerateConfig, RunEvent, RunState, TokenDelta};

    fn tokens(seq: u64, text: &str) -> LoggedEvent {
        let deltas = vec![TokenDelta { index: 4, text: text.to_owned() }];
        LoggedEvent { run: 7, seq, at_ms: 0, event: RunEvent::Tokens { deltas, tokens_per_s: 9.0 } }
    }

    fn view() -> RunView {
        RunView::new(7, 1, CellConfig::Generate(GenerateConfig::default()), 0)
    }

    #[test]
    fn replayed_events_change_nothing() {
        let (mut view, mut feed) = (view(), Feed::default());
        let events = [tokens(1, "a"), tokens(2, "b"), tokens(1, "a"), tokens(2, "b"), tokens(3, "c")];
        assert_eq!(feed.fold(&mut view, &events), None);
        assert_eq!(view.writing[&4], "abc");
    }

    #[test]
    fn a_gap_is_asked_for_once_and_closed_by_the_replay() {
        let (mut view, mut feed) = (view(), Feed::default());
        let gap = feed.fold(&mut view, &[tokens(1, "a"), tokens(3, "c")]);
        assert_eq!(gap, Some(Gap { run: 7, after_seq: 1 }));
        assert_eq!(feed.fold(&mut view, &[tokens(4, "d")]), None);
        assert_eq!(feed.fold(&mut view, &[tokens(2, "b"), tokens(3, "c"), tokens(4, "d")]), None);
        assert_eq!(view.writing[&4], "abcd");
    }

    #[test]
    fn the_fold_follows_a_run_from_queue_to_end() {
        let (mut view, mut feed) = (view(), Feed::default());
        let state = |seq, state| LoggedEvent {
            run: 7,
            seq,
            at_ms: 10 * seq as i64,
            event: RunEvent::State { state, error: None },
        };
        feed.fold(&mut view, &[state(1, RunState::Running), tokens(2, "a"), state(3, RunState::Done)]);
        assert_eq!((view.state, view.started_ms, view.ended_ms), (RunState::Done, Some(10), Some(30)));
        assert!(view.writing.is_empty());
    }
}
