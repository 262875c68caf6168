//! The curate cell: a person reads pairs, keeps, drops and edits them.

use leptos::prelude::*;

use crate::book::CellState;
use spec::CurateConfig;

pub fn brief(config: &CurateConfig) -> String {
    format!("undecided pairs: {}, with a failure tag: {}", config.undecided.label(), config.undecided_tagged.label())
}

pub fn live(_cell: CellState) -> AnyView {
    ().into_any()
}
