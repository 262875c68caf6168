//! Tokens of many rows, gathered into one event per moment: a viewer sees them flow, and the log stays short.

use std::time::{Duration, Instant};

use spec::{RunEvent, TokenDelta};

const MOMENT: Duration = Duration::from_millis(100);

pub(super) struct TokenBatch {
    deltas: Vec<TokenDelta>,
    started: Instant,
    flushed: Instant,
    tokens: u64,
}

impl TokenBatch {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { deltas: Vec::new(), started: now, flushed: now, tokens: 0 }
    }

    pub(super) fn push(&mut self, index: u32, text: String, emit: &mut dyn FnMut(RunEvent)) {
        self.tokens += 1;
        match self.deltas.iter_mut().find(|delta| delta.index == index) {
            Some(delta) => delta.text.push_str(&text),
            None if text.is_empty() => {}
            None => self.deltas.push(TokenDelta { index, text }),
        }
        if self.flushed.elapsed() >= MOMENT {
            self.flush(emit);
        }
    }

    pub(super) fn flush(&mut self, emit: &mut dyn FnMut(RunEvent)) {
        if self.deltas.is_empty() {
            return;
        }
        self.flushed = Instant::now();
        let seconds = self.started.elapsed().as_secs_f64().max(1e-3);
        emit(RunEvent::Tokens { deltas: std::mem::take(&mut self.deltas), tokens_per_s: self.tokens as f64 / seconds });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_one_moment_become_one_event_with_one_delta_per_row() {
        let mut events = Vec::new();
        let mut emit = |event| events.push(event);
        let mut batch = TokenBatch::new();
        for (index, text) in [(0, "What"), (1, "Name"), (0, " is"), (1, "")] {
            batch.push(index, text.to_owned(), &mut emit);
        }
        batch.flush(&mut emit);
        batch.flush(&mut emit);
        let [RunEvent::Tokens { deltas, .. }] = events.as_slice() else { panic!("{events:?}") };
        let texts: Vec<_> = deltas.iter().map(|delta| (delta.index, delta.text.as_str())).collect();
        assert_eq!(texts, [(0, "What is"), (1, "Name")]);
    }
}
