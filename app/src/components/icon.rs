//! Small line drawings. Always beside a text or a label, never alone.

use leptos::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icon {
    Fresh,
    Queued,
    Running,
    Stopping,
    Done,
    Failed,
    Stopped,
    Interrupted,
    Stale,
    Up,
    Down,
    Delete,
    Edit,
    Theme,
    Help,
}

impl Icon {
    /// On a grid of 16 by 16.
    fn path(self) -> &'static str {
        match self {
            Self::Fresh => "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11",
            Self::Queued => "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11M8 5v3.2l2.2 1.6",
            Self::Running => "M8 2.5a5.5 5.5 0 0 1 5.5 5.5M8 13.5A5.5 5.5 0 0 1 2.5 8",
            Self::Stopping => "M3 8h10M6 5v6M10 5v6",
            Self::Done => "M3 8.5l3.5 3.5L13 4.5",
            Self::Failed => "M4 4l8 8M12 4l-8 8",
            Self::Stopped => "M4 4h8v8H4z",
            Self::Interrupted => "M9 2L4 9h4l-1 5l5-7H8z",
            Self::Stale => "M13 8a5 5 0 1 1-1.6-3.7M13 2v3h-3",
            Self::Up => "M3.5 10L8 5.5l4.5 4.5",
            Self::Down => "M3.5 6L8 10.5L12.5 6",
            Self::Delete => "M3 4.5h10M6.5 4.5V3h3v1.5M4.5 4.5l.6 8.5h5.8l.6-8.5",
            Self::Edit => "M3 13l.7-3L10.5 3.2l2.3 2.3L6 12.3z",
            Self::Theme => "M8 2.5a5.5 5.5 0 1 0 0 11zM8 2.5a5.5 5.5 0 0 1 0 11",
            Self::Help => "M5.8 6.2a2.2 2.2 0 1 1 3.2 2c-.7.4-1 .8-1 1.6M8 12.4v.2",
        }
    }
}

pub fn icon(icon: Icon) -> AnyView {
    view! {
        <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false">
            <path d=icon.path()></path>
        </svg>
    }
    .into_any()
}
