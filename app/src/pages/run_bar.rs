//! The run bar: what is computed now, wherever the page is scrolled to; at the end, how it ended.

use leptos::prelude::*;

use crate::book::{self, Book, CellState};
use crate::cells::StopDialog;
use crate::components::format::{clock, percent, whole};
use crate::components::icon::icon;
use crate::components::state::{kind_title, state_icon, state_name, state_text};
use spec::{CellKind, RunState, RunView};

/// A stage as its chip shows it.
#[derive(Clone, PartialEq)]
struct Stage {
    cell: i64,
    kind: CellKind,
    state: Option<RunState>,
}

/// How the runs that the bar followed ended.
#[derive(Clone, PartialEq)]
enum Ended {
    /// With the run of the report, if there is one.
    Done(Option<i64>),
    /// The first cell that did not get to its end, and how.
    Unfinished(i64, CellKind, RunState),
}

#[component]
pub fn RunBar(book: Book) -> impl IntoView {
    let stages = Memo::new(move |_| {
        let cells = book.cells.get().into_iter().filter(|cell| cell.kind != CellKind::Note);
        cells.map(|cell| Stage { cell: cell.id, kind: cell.kind, state: cell.state() }).collect::<Vec<_>>()
    });
    let active = Memo::new(move |_| stages.with(|stages| stages.iter().any(is_active)));
    // The cell that is computed, else the first that waits.
    let current = Memo::new(move |_| {
        stages.with(|stages| {
            let computed = stages.iter().find(|stage| is_active(stage) && stage.state != Some(RunState::Queued));
            computed.or_else(|| stages.iter().find(|stage| is_active(stage))).map(|stage| stage.cell)
        })
    });
    let ended = RwSignal::new(None::<Ended>);
    // Carries the cells that were active since something is computed.
    Effect::new(move |before: Option<Vec<i64>>| {
        let mut followed = before.unwrap_or_default();
        let now =
            stages.with(|stages| stages.iter().filter(|stage| is_active(stage)).map(|stage| stage.cell).collect());
        match (followed.is_empty(), active.get()) {
            (true, true) => {
                ended.set(None);
                now
            }
            (false, true) => {
                followed.extend::<Vec<i64>>(now);
                followed
            }
            (false, false) => {
                ended.set(Some(how_it_ended(book, &followed)));
                Vec::new()
            }
            (true, false) => Vec::new(),
        }
    });
    let chips = move || {
        let chip = |stage: Stage| {
            let go = move |event: web_sys::MouseEvent| {
                event.prevent_default();
                book::show(book, stage.cell);
            };
            let (kind, state) = (kind_title(stage.kind), state_text(stage.state));
            let current = (current.get() == Some(stage.cell)).then_some("step");
            view! {
                <li>
                    <a href=format!("#cell-{}", stage.cell) class="chip" data-state=state_name(stage.state)
                        aria-current=current title=format!("{kind}: {state}") on:click=go>
                        {icon(state_icon(stage.state))} {kind} <span class="hidden">{format!(", {state}")}</span>
                    </a>
                </li>
            }
        };
        stages.get().into_iter().map(chip).collect_view()
    };
    let shown = move || active.get() || ended.with(Option::is_some);
    view! {
        {move || shown().then(|| view! {
            <section class="run-bar" aria-label="Run">
                <ol class="stages">{chips}</ol>
                {move || match (current.get(), ended.get()) {
                    (Some(cell), _) => running(book, cell).into_any(),
                    (None, Some(how)) => over(book, &how, ended).into_any(),
                    (None, None) => ().into_any(),
                }}
            </section>
        })}
        // Heard wherever the reader is.
        <p class="hidden" role="status">{move || ended.with(|how| how.as_ref().map(said).unwrap_or_default())}</p>
    }
    .into_any()
}

fn is_active(stage: &Stage) -> bool {
    stage.state.is_some_and(|state| !state.is_over())
}

fn running(book: Book, cell: i64) -> Option<AnyView> {
    let cell = book.cells.with_untracked(|cells| cells.iter().find(|known| known.id == cell).copied())?;
    let stopping = RwSignal::new(false);
    let progress = move || {
        let part = cell.run.with(|run| run.as_ref().and_then(steps));
        part.filter(|(_, total)| *total > 0).map(|(done, total)| {
            view! { <progress max=total.to_string() value=done.to_string() aria-label="Progress of this cell"></progress> }
        })
    };
    Some(
        view! {
            <p class="now">
                <strong>{kind_title(cell.kind)}</strong> " "
                {move || cell.run.with(|run| run.as_ref().map(|run| doing(run, book.now.get())).unwrap_or_default())}
            </p>
            {progress}
            <div class="tools">
                <button type="button" class="quiet" on:click=move |_| book::show(book, cell.id)>"Show the cell"</button>
                <button type="button" on:click=move |_| stopping.set(true)>"Stop this run…"</button>
            </div>
            <StopDialog book cell open=stopping/>
        }
        .into_any(),
    )
}

fn over(book: Book, how: &Ended, ended: RwSignal<Option<Ended>>) -> AnyView {
    let link = match how {
        Ended::Done(run) => {
            run.map(|run| view! { <a class="button" href=format!("/reports/{run}")>"Open the report"</a> }.into_any())
        }
        Ended::Unfinished(cell, _, _) => {
            let cell = *cell;
            let show = move |_| book::show(book, cell);
            Some(view! { <button type="button" on:click=show>"Show the cell"</button> }.into_any())
        }
    };
    view! {
        <p class="now"><strong>{said(how)}</strong></p>
        <div class="tools">
            {link}
            <button type="button" class="quiet" on:click=move |_| ended.set(None)>"Close"</button>
        </div>
    }
    .into_any()
}

/// `followed`: the cells that were active.
fn how_it_ended(book: Book, followed: &[i64]) -> Ended {
    let cells = book.cells.get_untracked();
    let run = |cell: &CellState| cell.run.with_untracked(|run| run.as_ref().map(|run| (run.run, run.state)));
    // In the order of the notebook: what stopped the others comes first.
    let not_done = cells.iter().filter(|cell| followed.contains(&cell.id)).find_map(|cell| {
        run(cell)
            .filter(|(_, state)| *state != RunState::Done)
            .map(|(_, state)| Ended::Unfinished(cell.id, cell.kind, state))
    });
    not_done.unwrap_or_else(|| {
        let report = cells.iter().rev().find(|cell| cell.kind == CellKind::Report);
        Ended::Done(report.and_then(run).filter(|(_, state)| *state == RunState::Done).map(|(run, _)| run))
    })
}

fn said(how: &Ended) -> String {
    match how {
        Ended::Done(Some(_)) => "Done: the report is ready.".to_owned(),
        Ended::Done(None) => "Done.".to_owned(),
        Ended::Unfinished(_, kind, state) => format!("{}: {}.", kind_title(*kind), state_text(Some(*state))),
    }
}

/// What is done of how much: optimizer steps in training, else as the run says.
fn steps(run: &RunView) -> Option<(u64, u64)> {
    match run.last_step {
        Some(step) => Some((u64::from(step.step), u64::from(step.steps))),
        None => run.progress,
    }
}

/// `15 of 36, 3:34 left`, or the phase.
fn doing(run: &RunView, now: Option<i64>) -> String {
    if run.state == RunState::Queued {
        return "waits for other runs".to_owned();
    }
    let Some((done, total)) = steps(run).filter(|(_, total)| *total > 0) else { return run.phase.clone() };
    let left = match (run.last_step, run.started_ms.zip(now)) {
        (Some(step), _) => Some((step.eta_s * 1e3) as i64),
        // By the mean of what is done.
        (None, Some((started, now))) if done > 0 => {
            Some(((now - started).max(0) as f64 / done as f64 * (total - done.min(total)) as f64) as i64)
        }
        _ => None,
    };
    let left = left.filter(|left| *left > 0).map(|left| format!(", {} left", clock(left))).unwrap_or_default();
    format!("{} of {}{left}", whole(done), whole(total))
}

/// What stands before the name in the window's title while something runs.
pub fn title_prefix(book: Book) -> String {
    let running = |cell: &CellState| {
        cell.run.try_with(|run| {
            let run = run.as_ref().filter(|run| !run.state.is_over() && run.state != RunState::Queued)?;
            let share = steps(run).filter(|(_, total)| *total > 0).map(|(done, total)| done as f64 / total as f64);
            let share = share.map(|share| format!(" {}", percent((share * 100.0).floor() / 100.0).replace(".0", "")));
            Some(format!("{}{} · ", kind_title(cell.kind), share.unwrap_or_default()))
        })?
    };
    book.cells.try_with(|cells| cells.iter().find_map(running)).flatten().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use spec::{CellConfig, GenerateConfig};

    #[test]
    fn the_time_left_is_told_once_something_is_done() {
        let mut run = RunView::new(1, 1, CellConfig::Generate(GenerateConfig::default()), 0);
        assert_eq!(doing(&run, Some(0)), "waits for other runs");
        run.state = RunState::Running;
        run.started_ms = Some(1_000);
        run.phase = "reading the responses".to_owned();
        assert_eq!(doing(&run, Some(2_000)), "reading the responses");
        run.progress = Some((0, 30));
        assert_eq!(doing(&run, Some(2_000)), "0 of 30");
        run.progress = Some((10, 30));
        assert_eq!(doing(&run, Some(11_000)), "10 of 30, 0:20 left");
        assert_eq!(doing(&run, None), "10 of 30");
        run.progress = Some((30, 30));
        assert_eq!(doing(&run, Some(31_000)), "30 of 30");
    }
}
