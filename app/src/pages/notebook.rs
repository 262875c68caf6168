//! The notebook: its cells in a column, the commands on all of them, and the live connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use leptos::prelude::*;
use leptos::text_prop::TextProp;
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;

use super::number;
use super::run_bar::{RunBar, title_prefix};
use crate::api;
use crate::book::{self, Book, Link};
use crate::cells::CellView;
use crate::components::dialog::{Dialog, Rename};
use crate::components::error::error_slot;
use crate::components::focus;
use crate::components::format::counted;
use crate::components::frame::{Top, failed, machine};
use crate::components::icon::{Icon, icon};
use crate::components::state::{kind_purpose, kind_title};
use spec::{CellKind, NotebookPage, OpenNotebook};

#[component]
pub fn NotebookRoute() -> impl IntoView {
    let params = use_params_map();
    let page = Resource::new(
        move || params.with(|params| params.get("id")),
        |id| async move { api::call(OpenNotebook { experiment: number(id)? }).await },
    );
    let help = RwSignal::new(false);
    view! {
        <Top>
            <button type="button" class="quiet" aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)"
                on:click=move |_| help.set(true)>{icon(Icon::Help)}</button>
        </Top>
        <Suspense fallback=|| view! { <p class="loading">"Loading the notebook…"</p> }>
            {move || Suspend::new(async move {
                match page.await {
                    Ok(page) => view! { <Open page help/> }.into_any(),
                    Err(error) => failed(error, true).into_any(),
                }
            })}
        </Suspense>
        <Help open=help/>
    }
    .into_any()
}

#[component]
fn Open(page: NotebookPage, help: RwSignal<bool>) -> impl IntoView {
    let system = page.system.clone();
    let book = Book::new(page);
    let turn = Arc::new(AtomicU32::new(0));
    let opened = turn.clone();
    Effect::new(move || {
        opened.store(book::open_live(book), Ordering::Relaxed);
        book::watch_edits(book);
        book::listen_to_keys(book, help);
        tick(book);
        focus::page_shown();
    });
    keep_focus(book);
    on_cleanup(move || book::close_live(turn.load(Ordering::Relaxed)));
    let position = move |id: i64| book.cells.with(|cells| cells.iter().position(|cell| cell.id == id).unwrap_or(0));
    view! {
        <Title text=title(book)/>
        <main id="main" class="notebook" tabindex="-1" data-experiment=book.id>
            <Name book/>
            {error_slot(book.error)}
            <Connection book/>
            {move || book.gone.get().then(|| view! {
                <p class="error" role="alert">
                    "This experiment was deleted in another page. What is shown here no longer exists. "
                    <a href="/">"Go to the list of experiments"</a>
                </p>
            })}
            <For each=move || book.cells.get() key=|cell| cell.id let(cell)>
                <CellView book cell position=Signal::derive(move || position(cell.id))/>
            </For>
            {move || book.cells.with(Vec::is_empty).then(|| view! {
                <p class="empty">
                    "No cells yet. A complete experiment has Data, Model, Train, Generate and Report, in this order."
                </p>
            })}
            <Add book/>
            {error_slot(book.add_error)}
            {kept_reports(book)}
            <RunBar book/>
        </main>
        {machine(system)}
    }
    .into_any()
}

/// Reports whose cells were deleted: their share links are revoked on their own pages.
fn kept_reports(book: Book) -> AnyView {
    let list = move || {
        let reports = book.kept_reports.get();
        (!reports.is_empty()).then(|| {
            let items = reports
                .into_iter()
                .map(|report| {
                    let links = counted(u64::from(report.links), "open share link");
                    view! { <li><a href=format!("/reports/{}", report.run)>{report.title}</a> ": " {links}</li> }
                })
                .collect_view();
            view! {
                <section class="kept" aria-label="Reports of deleted cells">
                    <h2>"Reports of deleted cells"</h2>
                    <p class="note">"Kept until their share links are revoked."</p>
                    <ul>{items}</ul>
                </section>
            }
        })
    };
    list.into_any()
}

/// When the cell that had the focus is deleted, its neighbour gets it.
fn keep_focus(book: Book) {
    Effect::new(move |before: Option<Vec<i64>>| {
        let cells = book.cells.with(|cells| cells.iter().map(|cell| cell.id).collect::<Vec<_>>());
        let gone = book.active.get_untracked().filter(|active| !cells.contains(active));
        if let (Some(before), Some(gone)) = (before, gone) {
            let at = before.iter().position(|cell| *cell == gone).unwrap_or(0);
            let neighbour = cells.get(at.min(cells.len().saturating_sub(1))).copied();
            book.active.set(neighbour);
            focus::restore(&neighbour.map_or_else(|| "#main".to_owned(), |cell| format!("[data-cell-id=\"{cell}\"]")));
        }
        cells
    });
}

/// On the server a plain text, since the head is written when this page's signals may be disposed already.
/// In the browser it follows the name and what is computed.
fn title(book: Book) -> TextProp {
    if cfg!(feature = "ssr") {
        book.name.get_untracked().into()
    } else {
        (move || title_prefix(book) + &book.name.try_get().unwrap_or_default()).into()
    }
}

/// The page's clock, for timers.
fn tick(book: Book) {
    let now = || js_sys::Date::now() as i64;
    book.now.set(Some(now()));
    let handle = set_interval_with_handle(
        move || {
            // Without a connection the page does not know whether the run is still active, so its timer stops.
            if book.link.try_get_untracked() == Some(Link::Lost) {
                return;
            }
            book.now.try_set(Some(now()));
        },
        Duration::from_secs(1),
    );
    if let Ok(handle) = handle {
        on_cleanup(move || handle.clear());
    }
}

#[component]
fn Name(book: Book) -> impl IntoView {
    let renaming = RwSignal::new(false);
    let rename = Callback::new(move |name| book.rename(name));
    let running = Memo::new(move |_| {
        book.cells.with(|cells| cells.iter().any(|cell| cell.state().is_some_and(|state| !state.is_over())))
    });
    let run_all = move |_| {
        if !running.get_untracked() {
            book.run_all();
        }
    };
    view! {
        <div class="title">
            <h1>{move || book.name.get()}</h1>
            <button type="button" class="quiet" aria-label="Rename the experiment" on:click=move |_| renaming.set(true)>
                {icon(Icon::Edit)}
            </button>
            // Not `disabled`, which would take the focus from whoever pressed it.
            <button type="button" class="primary run-all" aria-disabled=move || running.get().then_some("true")
                title="Runs every cell that is stale, failed or never ran" on:click=run_all>"Run all"</button>
        </div>
        <p class="said" role="status">{move || book.said.get()}</p>
        <Rename open=renaming name=book.name on_rename=rename/>
    }
    .into_any()
}

#[component]
fn Connection(book: Book) -> impl IntoView {
    view! {
        <div class="connection" aria-live="polite">
            {move || (book.link.get() == Link::Lost).then(|| view! {
                <p>"Connection lost. Reconnecting; what is shown here may be out of date."</p>
            })}
        </div>
    }
    .into_any()
}

#[component]
fn Add(book: Book) -> impl IntoView {
    let buttons = CellKind::ALL
        .into_iter()
        .map(|kind| {
            let add = move |_| book.add(kind, book.cells.with_untracked(Vec::len) as u32);
            view! { <button type="button" title=kind_purpose(kind) on:click=add>{kind_title(kind)}</button> }
        })
        .collect_view();
    view! { <div class="add" role="group" aria-label="Add a cell"><span>"Add a cell"</span> {buttons}</div> }.into_any()
}

#[component]
fn Help(open: RwSignal<bool>) -> impl IntoView {
    let rows = [
        ("Shift + Enter", "run the cell and go to the next"),
        ("Ctrl or ⌘ + Enter", "run the cell, also while typing"),
        ("j, k", "next cell, previous cell"),
        ("?", "show these shortcuts"),
    ]
    .into_iter()
    .map(|(key, what)| view! { <div><dt><kbd>{key}</kbd></dt><dd>{what}</dd></div> })
    .collect_view();
    view! {
        <Dialog open title="Keyboard shortcuts">
            <dl class="keys">{rows}</dl>
            <div class="actions"><button type="button" on:click=move |_| open.set(false)>"Close"</button></div>
        </Dialog>
    }
    .into_any()
}
