//! Saving of edits. What a form holds and the server does not is sent setting by setting, again and again until the
//! server has acknowledged it: after a pause in typing, when the page is left, and when the connection comes back.
//!
//! While the server cannot be reached, unsaved edits are also kept in this browser's storage, so that closing the page
//! loses nothing; the next visit of the notebook takes them up.

use std::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;

use super::{Book, CellState, Link};
use crate::api;
use spec::{CellConfig, ErrorCode, SaveCell};

/// An edit is saved when nothing was typed for this long.
const SAVE_AFTER: Duration = Duration::from_millis(500);
/// Between attempts while the server cannot be reached.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Settings and their new values as text.
pub type Changes = Vec<(String, String)>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Saving {
    /// The server has acknowledged everything.
    #[default]
    Saved,
    /// Edited, not sent yet.
    Waiting,
    Sending,
    /// The server cannot be reached; tried again.
    Unreachable,
    /// The server refused it; the cell shows why.
    Refused,
}

impl Saving {
    pub fn text(self) -> &'static str {
        match self {
            Self::Saved => "saved",
            Self::Waiting | Self::Sending => "saving…",
            Self::Unreachable => "not saved: no connection; kept in this browser",
            Self::Refused => "not saved",
        }
    }
}

/// Settings whose value differs, with the new value.
pub fn changes(from: &CellConfig, to: &CellConfig) -> Changes {
    let before = from.values();
    let changed = to.values().into_iter().filter(|(setting, text)| {
        before.iter().find(|(known, _)| known.key == setting.key).is_none_or(|(_, known)| known != text)
    });
    changed.map(|(setting, text)| (setting.key.to_owned(), text)).collect()
}

/// Writes changes into a configuration. One that it does not accept is left out.
pub fn apply(config: &mut CellConfig, changes: &Changes) {
    for (key, text) in changes {
        let _ = config.set(key, text);
    }
}

impl Book {
    /// Changes the form and saves it a moment later.
    pub fn edit(self, cell: CellState, change: impl FnOnce(&mut CellConfig)) {
        cell.config.update(change);
        cell.saving.set(Saving::Waiting);
        let edit = cell.edits.try_update_value(|edits| {
            *edits += 1;
            *edits
        });
        // There are timers in a browser only; native tests edit too.
        if cfg!(not(target_arch = "wasm32")) {
            return;
        }
        set_timeout(
            move || {
                if cell.edits.try_get_value() == edit {
                    self.save_later(cell);
                }
            },
            SAVE_AFTER,
        );
    }

    fn save_later(self, cell: CellState) {
        spawn_local(async move {
            self.save(cell).await;
        });
    }

    /// Sends what the server does not have yet, until nothing is left. True: the server has everything.
    pub(super) async fn save(self, cell: CellState) -> bool {
        loop {
            let Some(config) = cell.config.try_get_untracked() else { return false };
            let Some(changes) = cell.known.try_with_value(|known| changes(known, &config)) else { return false };
            if changes.is_empty() {
                cell.saving.set(Saving::Saved);
                backup::write(self);
                return true;
            }
            cell.saving.set(Saving::Sending);
            let (client, number) = self.next_save();
            let answer = api::call(SaveCell { cell: cell.id, changes: changes.clone(), client, number }).await;
            // The page may have been left meanwhile; what it held was sent again as it was left.
            let Some(cells) = self.known() else { return false };
            match answer {
                Ok(saved) => {
                    cell.error.set(None);
                    // The newest version wins: this answer may have been overtaken by another page's save.
                    cell.known.update_value(|known| apply(known, &changes));
                    for other in cells {
                        let reasons = saved.stale.iter().find(|(id, _)| *id == other.id);
                        other.stale.set(reasons.map(|(_, reasons)| reasons.clone()).unwrap_or_default());
                    }
                }
                Err(error) if error.code == ErrorCode::Connection => {
                    cell.saving.set(Saving::Unreachable);
                    backup::write(self);
                    self.retry(cell);
                    return false;
                }
                Err(error) => {
                    cell.error.set(Some(error));
                    cell.saving.set(Saving::Refused);
                    return false;
                }
            }
        }
    }

    fn retry(self, cell: CellState) {
        set_timeout(
            move || {
                if cell.saving.try_get_untracked() == Some(Saving::Unreachable) {
                    self.save_later(cell);
                }
            },
            RETRY_AFTER,
        );
    }

    /// Saves every cell. False: something is not saved, and its cell says why.
    pub(super) async fn save_all(self) -> bool {
        for cell in self.known().unwrap_or_default() {
            if !self.save(cell).await {
                return false;
            }
        }
        true
    }

    /// After the connection came back.
    pub(super) fn save_what_is_left(self) {
        for cell in self.known().unwrap_or_default() {
            if cell.saving.get_untracked() == Saving::Unreachable {
                self.save_later(cell);
            }
        }
    }

    /// Cells with changes that the server has not acknowledged.
    fn unsaved(self) -> Vec<(i64, Changes)> {
        let of = |cell: CellState| {
            let config = cell.config.try_get_untracked()?;
            let changes = cell.known.try_with_value(|known| changes(known, &config))?;
            (!changes.is_empty()).then_some((cell.id, changes))
        };
        self.known().unwrap_or_default().into_iter().filter_map(of).collect()
    }

    /// Sends everything unsaved with requests that outlive the page. A save that is under way is sent once more: the
    /// browser may cancel it.
    fn flush(self) {
        for (cell, changes) in self.unsaved() {
            let (client, number) = self.next_save();
            api::send_and_forget(&SaveCell { cell, changes, client, number });
        }
        backup::write(self);
    }
}

/// In an effect only: saves when the page is hidden, closed or left, and takes up what an earlier visit could not save.
pub fn watch(book: Book) {
    for (cell, changes) in backup::take(book) {
        if let Some(cell) = book.known().unwrap_or_default().into_iter().find(|state| state.id == cell) {
            book.edit(cell, |config| apply(config, &changes));
        }
    }
    let hidden = window_event_listener_untyped("pagehide", move |_| book.flush());
    let leaving = window_event_listener_untyped("beforeunload", move |event| {
        // Without a connection nothing can be sent: ask before the page goes.
        if book.link.try_get_untracked() == Some(Link::Lost) && !book.unsaved().is_empty() {
            event.prevent_default();
        }
    });
    on_cleanup(move || {
        book.flush();
        hidden.remove();
        leaving.remove();
    });
}

/// Unsaved edits in the browser's storage, one entry for each open page of a notebook.
mod backup {
    use super::{Book, Changes};
    use web_sys::Storage;

    fn storage() -> Option<Storage> {
        web_sys::window()?.local_storage().ok().flatten()
    }

    fn prefix(book: Book) -> String {
        format!("unsaved:{}:", book.id)
    }

    pub fn write(book: Book) {
        let Some(storage) = storage() else { return };
        let key = format!("{}{}", prefix(book), book.client().as_str());
        let unsaved = book.unsaved();
        // A full or forbidden storage leaves the edits in the page, where they are tried again.
        let _ = match serde_json::to_string(&unsaved) {
            Ok(text) if !unsaved.is_empty() => storage.set_item(&key, &text),
            _ => storage.remove_item(&key),
        };
    }

    /// Takes the entries of earlier pages out of the storage.
    pub fn take(book: Book) -> Vec<(i64, Changes)> {
        let Some(storage) = storage() else { return Vec::new() };
        let prefix = prefix(book);
        let keys = (0..storage.length().unwrap_or(0)).filter_map(|at| storage.key(at).ok().flatten());
        let keys: Vec<String> = keys.filter(|key| key.starts_with(&prefix)).collect();
        let mut found = Vec::new();
        for key in keys {
            let text = storage.get_item(&key).ok().flatten().unwrap_or_default();
            let _ = storage.remove_item(&key);
            found.extend(serde_json::from_str::<Vec<(i64, Changes)>>(&text).unwrap_or_default());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spec::{Projection, TrainConfig};

    #[test]
    fn only_settings_that_differ_are_sent_and_they_apply_to_what_another_page_saved() {
        let before = TrainConfig::default();
        let mut here = before.clone();
        here.max_steps = Some(5);
        here.target_modules = vec![Projection::QProj, Projection::OProj];
        let sent = changes(&CellConfig::Train(before.clone()), &CellConfig::Train(here.clone()));
        assert_eq!(sent.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().len(), 2, "{sent:?}");

        let mut elsewhere = CellConfig::Train(TrainConfig { rank: 8, ..before });
        apply(&mut elsewhere, &sent);
        assert_eq!(elsewhere, CellConfig::Train(TrainConfig { rank: 8, ..here }));
    }
}
