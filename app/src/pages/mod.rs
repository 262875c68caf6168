//! One module per page.

mod compare;
mod experiments;
mod notebook;
mod rate;
mod report;
mod run_bar;

use leptos::prelude::*;

use crate::components::frame::{Top, failed};
use spec::AppError;

pub use compare::Compare;
pub use experiments::Experiments;
pub use notebook::NotebookRoute;
pub use rate::Rate;
#[cfg(feature = "ssr")]
pub use report::offline_report;
pub use report::{OwnReport, SharedReport};

#[component]
pub fn Missing() -> impl IntoView {
    view! {
        <Top/>
        {failed(AppError::not_found("There is no page at this address.", "Check the link."), true)}
    }
    .into_any()
}

/// A route's number, or the error that the page shows for what is none.
fn number(text: Option<String>) -> Result<i64, AppError> {
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| AppError::not_found("There is no page at this address.", "Check the link."))
}
