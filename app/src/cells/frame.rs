//! What all cells have in common: heading, state, commands, settings that fold, stale marks, errors.

use leptos::prelude::*;
use leptos::web_sys::Element;

use super::files::named;
use super::form::form;
use super::progress::{progress, timer};
use super::stop::StopDialog;
use super::{curate, data, generate, model, note, report, train};
use crate::book::{Book, CellState};
use crate::components::dialog::Confirm;
use crate::components::error::{error_box, error_slot};
use crate::components::focus;
use crate::components::format::counted;
use crate::components::icon::{Icon, icon};
use crate::components::settings::settings_table;
use crate::components::state::{badge, kind_purpose, kind_title, state_name};
use spec::{CellConfig, CellKind, Discards, RunState, StaleReason};

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
    let title = kind_title(cell.kind);
    let question = match cell.kind {
        CellKind::Report => {
            "Its runs are deleted with it. Reports with an open share link are kept until their links are revoked, and \
             listed at the end of the notebook."
        }
        CellKind::Note => "Its text is deleted.",
        CellKind::Curate => "Decisions and edits stay with the generated pairs.",
        _ => "Its runs and their files are deleted with it. Reports that were made from them stay as they are.",
    };
    let delete = Callback::new(move |()| book.delete(cell));
    let is_first = move || position.get() == 0;
    let is_last = move || position.get() + 1 >= book.cells.with(Vec::len);
    // A cell that moves loses the focus: the pressed button gets it back.
    let pressed = StoredValue::new("");
    Effect::new(move |before: Option<usize>| {
        let now = position.get();
        if before.is_some_and(|before| before != now) && book.active.get_untracked() == Some(cell.id) {
            focus::restore(&format!("[data-cell-id=\"{}\"] {}", cell.id, pressed.get_value()));
        }
        now
    });
    let up = move |_| {
        if !untrack(is_first) {
            pressed.set_value(".up");
            book.move_to(cell, position.get_untracked() as u32 - 1);
        }
    };
    let down = move |_| {
        if !untrack(is_last) {
            pressed.set_value(".down");
            book.move_to(cell, position.get_untracked() as u32 + 1);
        }
    };
    view! {
        <div class="tools">
            {(cell.kind != CellKind::Note).then(|| view! { <Commands book cell/> })}
            <button type="button" class="quiet up" aria-label=format!("Move {title} up")
                aria-disabled=move || is_first().then_some("true") on:click=up>{icon(Icon::Up)}</button>
            <button type="button" class="quiet down" aria-label=format!("Move {title} down")
                aria-disabled=move || is_last().then_some("true") on:click=down>{icon(Icon::Down)}</button>
            <button type="button" class="quiet" aria-label=format!("Delete {title}")
                on:click=move |_| deleting.set(true)>{icon(Icon::Delete)}</button>
        </div>
        <Confirm open=deleting title=format!("Delete the {title} cell?") text=question.to_owned() action="Delete"
            on_confirm=delete/>
    }
    .into_any()
}

/// What the main button of a cell does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Run,
    Resume,
    Stop,
    Stopping,
}

impl Action {
    fn of(state: Option<RunState>, can_resume: bool) -> Self {
        match state {
            Some(RunState::Queued | RunState::Running) => Self::Stop,
            Some(RunState::Stopping) => Self::Stopping,
            _ if can_resume => Self::Resume,
            _ => Self::Run,
        }
    }

    /// Its name and what it does.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Run => ("Run", "Runs this cell, and first the cells above that it needs"),
            Self::Resume => ("Resume", "Continues from what is saved, with the settings of that run"),
            Self::Stop => ("Stop", "Asks what to keep"),
            Self::Stopping => ("Stopping…", "Saves what there is"),
        }
    }
}

/// One main button, whose element stays while its action changes, so that the focus stays too.
#[component]
fn Commands(book: Book, cell: CellState) -> impl IntoView {
    let stopping = RwSignal::new(false);
    let state = cell.part(|run| run.state);
    let action = Memo::new(move |_| Action::of(state.get(), cell.can_resume.get()));
    let run = move || book.run(cell);
    let press = move |_| {
        if cell.busy.get_untracked() {
            return;
        }
        match (action.get_untracked(), cell.run_id()) {
            (Action::Run, _) => run(),
            (Action::Resume, Some(id)) => book.resume(cell, id),
            (Action::Stop, _) => stopping.set(true),
            (Action::Stopping | Action::Resume, _) => {}
        }
    };
    let disabled = move || (cell.busy.get() || action.get() == Action::Stopping).then_some("true");
    // What is done and still true need not draw the eye.
    let primary = move || match action.get() {
        Action::Run => state.get() != Some(RunState::Done) || cell.stale.with(|stale| !stale.is_empty()),
        Action::Resume => true,
        Action::Stop | Action::Stopping => false,
    };
    let resumes = Memo::new(move |_| action.get() == Action::Resume);
    Effect::new(move |before: Option<bool>| {
        if before == Some(true) && !resumes.get() && book.active.get_untracked() == Some(cell.id) {
            focus::restore(&format!("[data-cell-id=\"{}\"] .command", cell.id));
        }
        resumes.get()
    });
    let loses = move || cell.discards.get().map(discarded).unwrap_or_default();
    let rerun = move || {
        cell.question.track();
        if trains_again(book, cell) { "Train again and run".to_owned() } else { "Generate again and run".to_owned() }
    };
    view! {
        <button type="button" class="command" class:primary=primary title=move || action.get().words().1
            aria-disabled=disabled on:click=press>{move || action.get().words().0}</button>
        {move || resumes.get().then(|| view! {
            <button type="button" title="Starts from the beginning with the settings below" on:click=move |_| run()>
                "Run"
            </button>
        })}
        <StopDialog book cell open=stopping/>
        <Confirm open=cell.asks_rerun title="Run the cell above again first?" action=Signal::derive(rerun)
            text=cell.question
            on_confirm=Callback::new(move |()| book.start(cell, true))/>
        <Confirm open=cell.asks_discard title="Run from the beginning?" action="Run" text=Signal::derive(loses)
            on_confirm=Callback::new(move |()| book.start(cell, false))/>
    }
    .into_any()
}

/// What a new run of the cell leaves behind.
fn discarded(work: Discards) -> String {
    let work = match work {
        Discards::Steps(steps) => counted(u64::from(steps), "training step"),
        Discards::Pairs(pairs) => counted(pairs, "generated pair"),
    };
    format!("The newest run of this cell has {work}. A new run starts from the beginning and does not use them.")
}

/// Whether the server's question is about a training: only names the button, since the server decides what is asked.
fn trains_again(book: Book, cell: CellState) -> bool {
    if !matches!(cell.kind, CellKind::Generate | CellKind::Curate | CellKind::Report) {
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

/// What differs between the kinds of cell, beside their settings.
struct KindView {
    /// The settings in one line.
    brief: fn(Book, &CellConfig) -> String,
    /// What its newest run shows, from the first event on.
    output: fn(Book, CellState) -> AnyView,
}

impl KindView {
    fn of(kind: CellKind) -> Self {
        let output: fn(Book, CellState) -> AnyView = match kind {
            CellKind::Data => |_, cell| data::live(cell),
            CellKind::Model => |_, cell| model::live(cell),
            CellKind::Train => |_, cell| train::live(cell),
            CellKind::Generate => |_, cell| generate::live(cell),
            CellKind::Curate => curate::live,
            CellKind::Report => |_, cell| report::live(cell),
            CellKind::Note => |_, _| ().into_any(),
        };
        let brief = |book, config: &CellConfig| match config {
            CellConfig::Data(config) => data::brief(book, config),
            CellConfig::Model(config) => model::brief(book, config),
            CellConfig::Train(config) => train::brief(config),
            CellConfig::Generate(config) => generate::brief(book, config),
            CellConfig::Curate(config) => curate::brief(config),
            CellConfig::Report(config) => report::brief(config),
            CellConfig::Note(_) => String::new(),
        };
        Self { brief, output }
    }
}

fn ordinary(book: Book, cell: CellState) -> AnyView {
    let kind = KindView::of(cell.kind);
    let error = cell.part(|run| run.error.clone());
    view! {
        {stale_reasons(book, cell)}
        {missing_input(cell)}
        {settings(book, cell, &kind)}
        {progress(cell)}
        {move || error.get().flatten().map(error_box)}
        <div class="output">{(kind.output)(book, cell)}</div>
        {used_settings(book, cell)}
    }
    .into_any()
}

fn stale_reasons(book: Book, cell: CellState) -> AnyView {
    let reason = move |reason: StaleReason| match reason {
        StaleReason::Field { field, was, now } => {
            let (was, now) = (named(book, &field, was), named(book, &field, now));
            view! { <li><code>{field}</code> ": " {was} " → " {now}</li> }.into_any()
        }
        StaleReason::Decisions => view! { <li>"pairs were decided on or edited"</li> }.into_any(),
        StaleReason::Input { kind } => view! { <li>{kind_title(kind)} " was changed or run again"</li> }.into_any(),
    };
    let shown = move || {
        let reasons = cell.stale.get();
        (!reasons.is_empty()).then(|| {
            view! {
                <div class="stale">
                    <p>"Stale: the results below were made before this changed."</p>
                    <ul>{reasons.into_iter().map(reason).collect_view()}</ul>
                </div>
            }
        })
    };
    shown.into_any()
}

fn missing_input(cell: CellState) -> AnyView {
    let shown = move || {
        cell.missing_input.get().map(|kind| {
            let title = kind_title(kind);
            view! { <p class="missing">{format!("Needs a {title} cell above. Add one below, then move it up.")}</p> }
        })
    };
    shown.into_any()
}

/// The form; open until the cell has run.
fn settings(book: Book, cell: CellState, kind: &KindView) -> AnyView {
    let open = RwSignal::new(cell.run.with_untracked(Option::is_none));
    let run = cell.part(|run| run.run);
    Effect::new(move |before: Option<Option<i64>>| {
        let run = run.get();
        if before.is_some_and(|before| before != run) && run.is_some() {
            open.set(false);
        }
        run
    });
    let in_brief = kind.brief;
    let brief = move || cell.config.with(|config| in_brief(book, config));
    let saving = move || {
        let saving = cell.saving.get();
        if cell.edits.get_value() == 0 { "" } else { saving.text() }
    };
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

/// The settings that the shown run had, whatever the form holds by now.
fn used_settings(book: Book, cell: CellState) -> AnyView {
    let used = cell.part(|run| run.config.clone());
    let shown = move || {
        used.get().map(|config| {
            let table =
                settings_table("Settings of this run", config.values(), |field, value| named(book, field, value));
            view! {
                <details class="used">
                    <summary>"Run configuration"</summary>
                    {table}
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
        assert_eq!(html.matches("data-state=\"fresh\"").count(), 7 + 6, "seven cells, six of them with a badge");
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
        let html = render(vec![train.clone()]);
        assert!(html.contains("data-state=\"interrupted\"") && !html.contains(">Resume<"), "nothing to resume: {html}");
        assert!(html.contains("data-stale") && html.contains("Run configuration"), "{html}");
        train.can_resume = true;
        train.discards = Some(Discards::Steps(20));
        let html = render(vec![train]);
        assert!(html.contains(">Resume<") && html.contains("20 training steps"), "{html}");
    }
}
