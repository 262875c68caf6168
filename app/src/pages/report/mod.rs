//! A frozen report, as a document for a decision: for its owner, behind a share link for anyone who has it, and as one
//! file without a server.
//!
//! Reads without scripts: filters are a form, pages of pairs are plain links that load anew, charts and tables are drawn
//! on the server.

mod address;
mod document;
mod method;
#[cfg(feature = "ssr")]
mod offline;
mod pairs;
mod provenance;
mod verdict;

use leptos::prelude::*;
use leptos_meta::{Meta, Title};
use leptos_router::hooks::{use_params_map, use_query_map};

use super::number;
use crate::api;
use crate::cells::Sharing;
use crate::components::focus;
use crate::components::format::excerpt;
use crate::components::frame::{Top, failed};
use crate::components::theme::ThemeSwitch;
use document::document;
use spec::{AppError, OpenReport, OpenSharedReport, PairFilter, Report, ReportPage, ReportQuery};

#[cfg(feature = "ssr")]
pub use offline::offline_report;

/// Where a report is shown.
#[derive(Clone, Debug, PartialEq)]
enum Place {
    /// To its owner: the run.
    Own(i64),
    /// Behind the share link with this token.
    Shared(String),
    /// In a file.
    Offline,
}

impl Place {
    /// The address of a download.
    fn download(&self, name: &str) -> Option<String> {
        match self {
            Self::Own(run) => Some(format!("/reports/{run}/{name}")),
            Self::Shared(token) => Some(format!("/r/{token}/{name}")),
            Self::Offline => None,
        }
    }
}

/// What the address asks for: filter, page (`all` is 0) and row.
fn report_query() -> Memo<ReportQuery> {
    let query = use_query_map();
    Memo::new(move |_| {
        query.with(|query| {
            let mut wanted = ReportQuery::default();
            for name in PairFilter::NAMES {
                if let Some(value) = query.get(name) {
                    wanted.filter.read_query(name, &value);
                }
            }
            wanted.page = match query.get("page").as_deref() {
                Some("all") => 0,
                Some(text) => text.parse().unwrap_or(1).max(1),
                None => 1,
            };
            wanted.row = query.get("row").and_then(|row| row.parse().ok());
            wanted
        })
    })
}

#[component]
pub fn OwnReport() -> impl IntoView {
    let params = use_params_map();
    let query = report_query();
    // What was asked for comes with the answer: signals may be gone when it arrives.
    let report = Resource::new(
        move || (params.with(|params| params.get("run")), query.get()),
        |(run, query)| async move {
            let run = number(run)?;
            let shown = api::call(OpenReport { run, query: query.clone() }).await?;
            Ok::<_, AppError>((run, query, shown))
        },
    );
    view! {
        <Top/>
        <Suspense fallback=|| view! { <p class="loading">"Loading the report…"</p> }>
            {move || Suspend::new(async move {
                match report.await {
                    Ok::<_, AppError>((run, query, shown)) => view! { <Shown shown query place=Place::Own(run)/> }.into_any(),
                    Err(error) => failed(error, true).into_any(),
                }
            })}
        </Suspense>
    }
    .into_any()
}

/// Knows nothing but its report: no way to the notebook, no other data.
#[component]
pub fn SharedReport() -> impl IntoView {
    let params = use_params_map();
    let query = report_query();
    let report = Resource::new(
        move || (params.with(|params| params.get("token")).unwrap_or_default(), query.get()),
        |(token, query)| async move {
            let shown = api::call(OpenSharedReport { token: token.clone(), query: query.clone() }).await?;
            Ok::<_, AppError>((token, query, shown))
        },
    );
    view! {
        <header class="top">
            <span class="home"><span class="mark" aria-hidden="true">"↩"</span> "Backtranslate"</span>
            <div class="tools"><ThemeSwitch/></div>
        </header>
        <Suspense fallback=|| view! { <p class="loading">"Loading the report…"</p> }>
            {move || Suspend::new(async move {
                match report.await {
                    Ok::<_, AppError>((token, query, shown)) => view! { <Shown shown query place=Place::Shared(token)/> }.into_any(),
                    Err(error) => failed(error, false).into_any(),
                }
            })}
        </Suspense>
    }
    .into_any()
}

#[component]
fn Shown(shown: ReportPage, query: ReportQuery, place: Place) -> impl IntoView {
    let title = shown.report.config.title.clone();
    let description = description(&shown.report);
    let sharing = match place {
        Place::Own(run) => Some(view! { <Sharing run/> }.into_any()),
        _ => None,
    };
    Effect::new(focus::page_shown);
    view! {
        <Title text=title.clone()/>
        <Meta name="description" content=description.clone()/>
        <Meta name="robots" content="noindex"/>
        <Meta property="og:type" content="article"/>
        <Meta property="og:site_name" content="Backtranslate"/>
        <Meta property="og:title" content=title/>
        <Meta property="og:description" content=description/>
        {document(&shown, &query, &place, sharing)}
    }
    .into_any()
}

/// What is told of the report where only its link is shown.
fn description(report: &Report) -> String {
    let figures = format!("{} {}", verdict::decided(report), verdict::untagged(&report.scores));
    match report.config.summary.trim() {
        "" => figures,
        summary => format!("{} {figures}", excerpt(summary, 160)),
    }
}
