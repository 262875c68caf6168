//! Changes on their way to the server: sent together after a moment, again and again until they are acknowledged, kept
//! in this browser meanwhile, and sent when the page is left.

use std::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::api;
use crate::book::Saving;
use spec::{AppError, CuratePairs, CurationChange, CurationCounts, CurationPart, ErrorCode};

const SEND_AFTER: Duration = Duration::from_millis(250);
const RETRY_AFTER: Duration = Duration::from_secs(5);

#[derive(Clone, Copy)]
pub struct Queue {
    run: i64,
    waiting: StoredValue<Vec<CurationChange>>,
    /// A timer runs.
    timed: StoredValue<bool>,
    /// A request is under way. There is one at a time, so that none overtakes another.
    sending: StoredValue<bool>,
    pub saving: RwSignal<Saving>,
    counts: RwSignal<CurationCounts>,
    error: RwSignal<Option<AppError>>,
}

impl Queue {
    pub fn new(run: i64, counts: RwSignal<CurationCounts>, error: RwSignal<Option<AppError>>) -> Self {
        Self {
            run,
            waiting: StoredValue::default(),
            timed: StoredValue::new(false),
            sending: StoredValue::new(false),
            saving: RwSignal::new(Saving::Saved),
            counts,
            error,
        }
    }

    /// What the server has not acknowledged.
    pub fn waiting(self) -> Vec<CurationChange> {
        self.waiting.try_get_value().unwrap_or_default()
    }

    pub fn send(self, changes: Vec<CurationChange>) {
        self.waiting.update_value(|waiting| changes.into_iter().for_each(|change| add(waiting, change)));
        self.saving.set(Saving::Waiting);
        backup::write(self.run, &self.waiting());
        self.send_after(SEND_AFTER);
    }

    fn send_after(self, delay: Duration) {
        // There are timers in a browser only; native tests change pairs too.
        if cfg!(not(target_arch = "wasm32")) || self.timed.try_get_value() != Some(false) {
            return;
        }
        self.timed.set_value(true);
        set_timeout(
            move || {
                self.timed.try_set_value(false);
                spawn_local(async move {
                    self.empty().await;
                });
            },
            delay,
        );
    }

    /// Sends until nothing waits. False: the server did not take everything, and `error` or `saving` says so.
    pub async fn empty(self) -> bool {
        loop {
            while self.sending.try_get_value() == Some(true) {
                moment().await;
            }
            let Some(batch) = self.waiting.try_get_value() else { return false };
            if batch.is_empty() {
                self.saving.try_set(Saving::Saved);
                return true;
            }
            self.sending.try_set_value(true);
            self.saving.try_set(Saving::Sending);
            let answer = api::call(CuratePairs { run: self.run, changes: batch.clone() }).await;
            self.sending.try_set_value(false);
            match answer {
                Ok(counts) => {
                    // What was typed meanwhile stays.
                    self.waiting.try_update_value(|waiting| waiting.retain(|change| !batch.contains(change)));
                    let waiting = self.waiting();
                    backup::write(self.run, &waiting);
                    if waiting.is_empty() {
                        self.counts.try_set(counts);
                        self.error.try_set(None);
                    }
                }
                Err(error) if error.code == ErrorCode::Connection => {
                    self.saving.try_set(Saving::Unreachable);
                    self.send_after(RETRY_AFTER);
                    return false;
                }
                Err(error) => {
                    self.saving.try_set(Saving::Refused);
                    self.error.try_set(Some(error));
                    return false;
                }
            }
        }
    }

    /// In an effect only: sends what waits when the page is left, and what an earlier visit could not send.
    pub fn watch(self) {
        let earlier = backup::take(self.run);
        if !earlier.is_empty() {
            self.send(earlier);
        }
        let flush = move || {
            let changes = self.waiting();
            if !changes.is_empty() {
                api::send_and_forget(&CuratePairs { run: self.run, changes });
            }
        };
        let hidden = window_event_listener_untyped("pagehide", move |_| flush());
        on_cleanup(move || {
            flush();
            hidden.remove();
        });
    }
}

/// In a browser only.
async fn moment() {
    let promise = js_sys::Promise::new(&mut |done, _| {
        let _ = window().set_timeout_with_callback_and_timeout_and_arguments_0(&done, 20);
    });
    let _ = wasm_bindgen_futures::JsFuture::from(promise).await;
}

/// A later change of the same part of a pair replaces the earlier one.
fn add(waiting: &mut Vec<CurationChange>, change: CurationChange) {
    let same = |known: &CurationChange| {
        use CurationPart::{Decision, Instruction, Note};
        known.index == change.index
            && matches!(
                (&known.part, &change.part),
                (Decision(_), Decision(_)) | (Instruction(_), Instruction(_)) | (Note(_), Note(_))
            )
    };
    waiting.retain(|known| !same(known));
    waiting.push(change);
}

/// Unacknowledged changes in the browser's storage.
mod backup {
    use spec::CurationChange;
    use web_sys::Storage;

    fn storage() -> Option<Storage> {
        if cfg!(not(target_arch = "wasm32")) {
            return None;
        }
        web_sys::window()?.local_storage().ok().flatten()
    }

    fn key(run: i64) -> String {
        format!("unsaved-curation:{run}")
    }

    pub fn write(run: i64, waiting: &[CurationChange]) {
        let Some(storage) = storage() else { return };
        // A full or forbidden storage leaves them in the page, where they are tried again.
        let _ = match serde_json::to_string(waiting) {
            Ok(text) if !waiting.is_empty() => storage.set_item(&key(run), &text),
            _ => storage.remove_item(&key(run)),
        };
    }

    pub fn take(run: i64) -> Vec<CurationChange> {
        let Some(storage) = storage() else { return Vec::new() };
        let text = storage.get_item(&key(run)).ok().flatten().unwrap_or_default();
        let _ = storage.remove_item(&key(run));
        serde_json::from_str(&text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spec::Decision;

    #[test]
    fn a_later_change_of_the_same_part_replaces_the_earlier_one() {
        let decide = |index, decision| CurationChange { index, part: CurationPart::Decision(decision) };
        let note = CurationChange { index: 1, part: CurationPart::Note("x".to_owned()) };
        let mut waiting = Vec::new();
        for change in [decide(1, Some(Decision::Keep)), note.clone(), decide(2, None), decide(1, None)] {
            add(&mut waiting, change);
        }
        assert_eq!(waiting, [note, decide(2, None), decide(1, None)]);
    }
}
