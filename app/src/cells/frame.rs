//! What all cells have in common: heading, state, commands, settings that fold, stale marks, errors.

use leptos::prelude::*;
use leptos::web_sys::Element;

use super::form::form;
use super::progress::{progress, timer};
use super::stop::StopDialog;
use super::{data, generate, model, note, report, train};
use crate::book::{Book, CellState};
use crate::components::dialog::Confirm;
use crate::components::error::{error_box, error_slot};
use crate::components::icon::{Icon, icon};
use crate::components::settings::settings_table;
use crate::components::state::{badge, kind_purpose, kind_title, state_name};
use spec::{CellConfig, CellKind, CellOutput, RunState, StaleReason};

#[component]
pub fn CellView(book: Book, cell: CellState, #[prop(into)] position: Signal<usize>) -> impl IntoView {
    let kind = cell.kind;
    let state = cell.part(|run| run.state);
    let heading = format!("cell-{}-heading", cell.id);
    let labelled = heading.clone();
    let is_note = kind == CellKind::Note;
    let body = if is_note { note::body(book, cell) } else { ordinary(book, cell) };
    view! {
        <section class="cell" data-cell=kind.as_str() data-cell-id=cell.id tabindex="-1" aria-labelledby=labelled
            data-state=move || state_name(state.get())
            data-stale=move || cell.stale.with(|stale| !stale.is_empty()).then_some("")
            data-active=move || (book.active.get() == Some(cell.id)).then_some("")
            on:focusin=move |_| if book.active.get_untracked() != Some(cell.id) { book.active.set(Some(cell.id)) }>
            <header>
                <h2 id=heading>{kind_title(kind)}</h2>
                {(!is_note).then(|| view! {
                    {move || badge(state.get())}
                    {move || cell.stale.with(|stale| !stale.is_empty()).then(|| view! {
                        <span class="badge" data-state="stale">{icon(Icon::Stale)} <span>"stale"</span></span>
                    })}
                    {timer(book, cell)}
                })}
                <Tools book cell position/>
            </header>
            {error_slot(cell.error)}
            {body}
        </section>
    }
    .into_any()
}

#[component]
fn Tools(book: Book, cell: CellState, position: Signal<usize>) -> impl IntoView {
    let deleting = RwSignal::new(false);
    let last = move || position.get() + 1 >= book.cells.with(Vec::len);
    let title = kind_title(cell.kind);
    let question = "Its runs and what they made go with it. Reports that are frozen already stay as they are.";
    let delete = Callback::new(move |()| book.delete(cell));
    view! {
        <div class="tools">
            {(cell.kind != CellKind::Note).then(|| view! { <Commands book cell/> })}
            <button type="button" class="quiet" aria-label=format!("Move {title} up") prop:disabled=move || position.get() == 0
                on:click=move |_| book.move_to(cell, position.get_untracked().saturating_sub(1) as u32)>{icon(Icon::Up)}</button>
            <button type="button" class="quiet" aria-label=format!("Move {title} down") prop:disabled=last
                on:click=move |_| book.move_to(cell, position.get_untracked() as u32 + 1)>{icon(Icon::Down)}</button>
            <button type="button" class="quiet" aria-label=format!("Delete {title}") on:click=move |_| deleting.set(true)>{icon(Icon::Delete)}</button>
        </div>
        <Confirm open=deleting title=format!("Delete the {} cell?", cell.kind.as_str()) text=question.to_owned() action="Delete" on_confirm=delete/>
    }
    .into_any()
}

/// Run, stop or resume: what fits the state.
#[component]
fn Commands(book: Book, cell: CellState) -> impl IntoView {
    let stopping = RwSignal::new(false);
    let asking = RwSignal::new(false);
    let state = cell.part(|run| run.state);
    let resumable = matches!(cell.kind, CellKind::Train | CellKind::Generate);
    let run = Callback::new(move |()| if trains_again(book, cell) { asking.set(true) } else { book.run(cell, false) });
    let resume = Callback::new(move |()| {
        if let Some(run) = cell.run.with_untracked(|run| run.as_ref().map(|run| run.run)) {
            book.resume(cell, run);
        }
    });
    let stop = Callback::new(move |()| stopping.set(true));
    let button = move |name: &'static str, title: &'static str, primary: bool, press: Callback<()>| {
        let disabled = move || cell.busy.get();
        let press = move |_| press.run(());
        view! {
            <button type="button" class:primary=primary title=title prop:disabled=disabled on:click=press>{name}</button>
        }
        .into_any()
    };
    // What is done and still true need not draw the eye.
    let wanted = move || state.get() != Some(RunState::Done) || cell.stale.with(|stale| !stale.is_empty());
    let buttons = move || match state.get() {
        Some(RunState::Queued | RunState::Running) => button("Stop", "Asks what to keep", false, stop),
        Some(RunState::Stopping) => view! { <button type="button" disabled>"Stopping…"</button> }.into_any(),
        Some(RunState::Failed | RunState::Stopped | RunState::Interrupted) if resumable => {
            let resume = button("Resume", "Goes on from what is saved, with that run's settings", true, resume);
            let run = button("Run", "Starts anew with the settings below", false, run);
            (resume, run).into_any()
        }
        _ => button("Run", "Runs this cell, and before it what it needs", wanted(), run),
    };
    view! {
        {buttons}
        <StopDialog book cell open=stopping/>
        <Confirm open=asking title="Train again first?" action="Train again and run"
            text="The training above this cell no longer matches its settings or its inputs, so it runs first. That can take long; its last adapter is replaced as this notebook's newest.".to_owned()
            on_confirm=Callback::new(move |()| book.run(cell, true))/>
    }
    .into_any()
}

/// Whether running this cell first repeats a training that was done: that is worth a question.
fn trains_again(book: Book, cell: CellState) -> bool {
    if !matches!(cell.kind, CellKind::Generate | CellKind::Report) {
        return false;
    }
    let above = book.cells.with_untracked(|cells| {
        cells
            .iter()
            .take_while(|other| other.id != cell.id)
            .filter(|other| other.kind == CellKind::Train)
            .last()
            .copied()
    });
    above.is_some_and(|train| {
        train.run.with_untracked(Option::is_some) && train.stale.with_untracked(|stale| !stale.is_empty())
    })
}

fn ordinary(book: Book, cell: CellState) -> AnyView {
    view! {
        {stale_reasons(cell)}
        {missing_input(cell)}
        {settings(book, cell)}
        {progress(cell)}
        {run_error(cell)}
        <div class="output">{output(cell)}</div>
        {used_settings(cell)}
    }
    .into_any()
}

fn stale_reasons(cell: CellState) -> AnyView {
    let reason = |reason: StaleReason| match reason {
        StaleReason::Field { field, was, now } => {
            view! { <li><code>{field}</code> ": " {was} " -> " {now}</li> }.into_any()
        }
        StaleReason::Input { kind } => view! { <li>{kind_title(kind)} " was changed or run again"</li> }.into_any(),
    };
    let shown = move || {
        let reasons = cell.stale.get();
        (!reasons.is_empty()).then(|| {
            view! {
                <div class="stale">
                    <p>"Stale: what is shown was made before this changed."</p>
                    <ul>{reasons.into_iter().map(reason).collect_view()}</ul>
                </div>
            }
        })
    };
    shown.into_any()
}

fn missing_input(cell: CellState) -> AnyView {
    let shown = move || {
        cell.missing_input.get().map(|kind| view! {
            <p class="missing">{format!("It needs a {} cell above it: add one below and move it up.", kind_title(kind).to_lowercase())}</p>
        })
    };
    shown.into_any()
}

/// The form; open until the cell has run.
fn settings(book: Book, cell: CellState) -> AnyView {
    let open = RwSignal::new(cell.run.with_untracked(Option::is_none));
    let run = cell.part(|run| run.run);
    Effect::new(move |before: Option<Option<i64>>| {
        let run = run.get();
        if before.is_some_and(|before| before != run) && run.is_some() {
            open.set(false);
        }
        run
    });
    let brief = move || {
        cell.config.with(|config| match config {
            CellConfig::Data(config) => data::brief(config),
            CellConfig::Model(config) => model::brief(config),
            CellConfig::Train(config) => train::brief(config),
            CellConfig::Generate(config) => generate::brief(config),
            CellConfig::Report(config) => report::brief(config),
            CellConfig::Note(_) => String::new(),
        })
    };
    let saving = move || if cell.edits.get() == cell.saved.get() { "" } else { "not saved yet" };
    view! {
        <details class="config" open=move || open.get()
            on:toggle=move |event| open.set(event_target::<Element>(&event).has_attribute("open"))>
            <summary>"Settings " <span class="brief">{brief}</span> <span class="saving">{saving}</span></summary>
            <p class="purpose">{kind_purpose(cell.kind)}</p>
            <div class="fields">{form(book, cell)}</div>
        </details>
    }
    .into_any()
}

fn run_error(cell: CellState) -> AnyView {
    let error = cell.part(|run| run.error.clone());
    let interrupted = cell.part(|run| run.state == RunState::Interrupted && run.error.is_none());
    let resumable = matches!(cell.kind, CellKind::Train | CellKind::Generate);
    view! {
        {move || error.get().flatten().map(error_box)}
        {move || (interrupted.get() == Some(true)).then(|| view! {
            <p class="missing">
                {if resumable {
                    "The server ended while this ran. What was saved is here: Resume goes on from it."
                } else {
                    "The server ended while this ran. Run it again."
                }}
            </p>
        })}
    }
    .into_any()
}

fn output(cell: CellState) -> AnyView {
    match cell.kind {
        CellKind::Train => train::live(cell).into_any(),
        CellKind::Generate => generate::live(cell).into_any(),
        _ => {
            let output = cell.part(|run| (run.run, run.output.clone()));
            (move || match output.get() {
                Some((_, Some(CellOutput::Data(output)))) => data::output(output).into_any(),
                Some((_, Some(CellOutput::Model(output)))) => model::output(output).into_any(),
                Some((run, Some(CellOutput::Report(output)))) => report::output(output, run).into_any(),
                _ => ().into_any(),
            })
            .into_any()
        }
    }
}

/// The settings that the shown run had, whatever the form holds by now.
fn used_settings(cell: CellState) -> AnyView {
    let used = cell.part(|run| run.config.clone());
    let shown = move || {
        used.get().map(|config| {
            view! {
                <details class="used">
                    <summary>"Run configuration"</summary>
                    {settings_table("Run configuration", config.values())}
                </details>
            }
        })
    };
    shown.into_any()
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;
    use spec::{Cell, NoteConfig, Notebook, NotebookPage, ReportConfig, RunView, SystemInfo, TrainConfig};

    const HOSTILE: &str = "</textarea></title><script>alert(1)</script><img src=x onerror=alert(1)>";

    fn cell(id: i64, config: CellConfig) -> Cell {
        Cell {
            id,
            version: 0,
            config,
            run: None,
            stale: Vec::new(),
            missing_input: None,
            can_resume: false,
            discards: None,
        }
    }

    fn render(cells: Vec<Cell>) -> String {
        let system = SystemInfo {
            version: "0.1.0".to_owned(),
            device: "flex".to_owned(),
            device_description: String::new(),
            memory_bytes: 1 << 33,
            queued: 0,
            queue_limit: 8,
        };
        let notebook = Notebook { id: 1, name: HOSTILE.to_owned(), cells, kept_reports: Vec::new() };
        Owner::new().with(|| {
            let book = Book::new(NotebookPage { notebook, models: Vec::new(), files: Vec::new(), system });
            let cells = book.cells.get_untracked();
            let views = cells.into_iter().map(|cell| view! { <CellView book cell position=Signal::stored(0)/> });
            views.collect_view().to_html()
        })
    }

    #[test]
    fn every_kind_of_cell_shows_its_state_and_its_form_before_it_ran() {
        let cells = CellKind::ALL.into_iter().zip(1..).map(|(kind, id)| cell(id, CellConfig::default_of(kind)));
        let html = render(cells.collect());
        for kind in CellKind::ALL {
            assert!(html.contains(&format!("data-cell=\"{}\"", kind.as_str())), "{kind:?}");
        }
        assert_eq!(html.matches("data-state=\"fresh\"").count(), 6 + 5, "six cells, five of them with a badge");
        assert!(html.contains("value=\"0.001\"") && !html.contains("style="), "{html}");
    }

    #[test]
    fn hostile_texts_leave_no_field_and_no_attribute() {
        let mut train = TrainConfig::default();
        train.template.prompt = HOSTILE.to_owned();
        train.template.end = spec::EndMarker::Text(format!("\"{HOSTILE}"));
        let report =
            ReportConfig { title: HOSTILE.to_owned(), summary: HOSTILE.to_owned(), data_notice: HOSTILE.to_owned() };
        let mut stale = cell(3, CellConfig::Report(report));
        stale.stale =
            vec![StaleReason::Field { field: HOSTILE.to_owned(), was: HOSTILE.to_owned(), now: HOSTILE.to_owned() }];
        let note = cell(1, CellConfig::Note(NoteConfig { text: HOSTILE.to_owned() }));
        let html = render(vec![note, cell(2, CellConfig::Train(train)), stale]);
        assert!(!html.contains("<script") && !html.contains("<img"), "{html}");
        assert_eq!(
            html.matches("<textarea").count(),
            html.matches("></textarea>").count(),
            "no text within fields: {html}"
        );
    }

    #[test]
    fn a_cut_off_training_offers_to_go_on_and_shows_its_own_settings() {
        let mut train = cell(4, CellConfig::Train(TrainConfig { rank: 32, ..TrainConfig::default() }));
        let mut run = RunView::new(9, 4, CellConfig::Train(TrainConfig::default()), 0);
        run.state = RunState::Interrupted;
        train.run = Some(run);
        let reason = StaleReason::Field { field: "rank".to_owned(), was: "16".to_owned(), now: "32".to_owned() };
        train.stale = vec![reason];
        let html = render(vec![train]);
        assert!(html.contains("data-state=\"interrupted\"") && html.contains(">Resume</button>"), "{html}");
        assert!(html.contains("data-stale") && html.contains("Run configuration"), "{html}");
    }
}
