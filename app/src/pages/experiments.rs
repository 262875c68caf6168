//! The list of experiments: make, rename, delete.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_meta::Title;
use leptos_router::NavigateOptions;
use leptos_router::hooks::use_navigate;

use crate::api;
use crate::components::dialog::{Confirm, Dialog, Rename};
use crate::components::error::error_slot;
use crate::components::focus;
use crate::components::format::{counted, moment};
use crate::components::frame::{Top, failed, machine};
use crate::components::icon::{Icon, icon};
use crate::components::key::new_key;
use crate::components::state::{kind_title, state_icon, state_name, state_text};
use crate::socket::{SocketState, page};
use spec::{
    AppError, ClientFrame, CreateExperiment, DeleteExperiment, ExperimentSummary, ExperimentsPage, OpenExperiments,
    Preset, RenameExperiment, ServerFrame,
};

#[component]
pub fn Experiments() -> impl IntoView {
    let page = Resource::new(|| (), |()| api::call(OpenExperiments {}));
    view! {
        <Title text="Experiments"/>
        <Top/>
        <Suspense fallback=|| view! { <p class="loading">"Loading the experiments…"</p> }>
            {move || Suspend::new(async move {
                match page.await {
                    Ok(page) => view! { <List page/> }.into_any(),
                    Err(error) => failed(error, false).into_any(),
                }
            })}
        </Suspense>
    }
    .into_any()
}

#[component]
fn List(page: ExperimentsPage) -> impl IntoView {
    let ExperimentsPage { experiments, system } = page;
    let list = RwSignal::new(experiments);
    let error = RwSignal::new(None::<AppError>);
    let making = RwSignal::new(false);
    Effect::new(focus::page_shown);
    follow(list);
    view! {
        <main id="main" class="experiments" tabindex="-1">
            <div class="title">
                <h1>"Experiments"</h1>
                <button type="button" class="primary" on:click=move |_| making.set(true)>"New experiment"</button>
            </div>
            {error_slot(error)}
            <ul class="list">
                <For
                    each=move || list.get()
                    key=|entry| (entry.id, entry.updated_ms, entry.name.clone(), entry.cells.clone())
                    let(entry)
                >
                    <Entry entry list error/>
                </For>
            </ul>
            {move || list.with(Vec::is_empty).then(|| view! {
                <p class="empty">"No experiments yet. The quick start trains on the sample data in a few minutes."</p>
            })}
            <Make open=making/>
        </main>
        {machine(system)}
    }
    .into_any()
}

/// Keeps the list true while it is shown.
fn follow(list: RwSignal<Vec<ExperimentSummary>>) {
    let turn = Arc::new(AtomicU32::new(0));
    let opened = turn.clone();
    Effect::new(move || {
        let ask = move |state| {
            if state == SocketState::Open {
                page::send(&ClientFrame::Experiments);
            }
        };
        let hear = move |frame| {
            if matches!(frame, ServerFrame::Changed { .. }) {
                spawn_local(async move {
                    if let Ok(page) = api::call(OpenExperiments {}).await {
                        list.try_set(page.experiments);
                    }
                });
            }
        };
        opened.store(page::open(hear, ask), Ordering::Relaxed);
    });
    on_cleanup(move || {
        page::close(turn.load(Ordering::Relaxed));
    });
}

#[component]
fn Entry(
    entry: ExperimentSummary,
    list: RwSignal<Vec<ExperimentSummary>>,
    error: RwSignal<Option<AppError>>,
) -> impl IntoView {
    let ExperimentSummary { id, name, created_ms, updated_ms, cells } = entry;
    let renaming = RwSignal::new(false);
    let deleting = RwSignal::new(false);
    let refresh = move || {
        spawn_local(async move {
            match api::call(OpenExperiments {}).await {
                Ok(page) => {
                    list.try_set(page.experiments);
                }
                Err(why) => {
                    error.try_set(Some(why));
                }
            }
        });
    };
    let finish = move |answer: Result<(), AppError>| {
        error.try_set(answer.err());
        refresh();
    };
    let known = Signal::stored(name.clone());
    let rename = Callback::new(move |name| {
        spawn_local(async move { finish(api::call(RenameExperiment { experiment: id, name }).await) })
    });
    let delete = Callback::new(move |()| {
        spawn_local(async move { finish(api::call(DeleteExperiment { experiment: id }).await) })
    });
    let states = cells
        .iter()
        .map(|(kind, state)| {
            let words = format!("{}: {}", kind_title(*kind), state_text(*state));
            view! {
                <li data-state=state_name(*state) title=words>
                    {icon(state_icon(*state))} <span>{kind_title(*kind)}</span>
                    <span class="hidden">{state_text(*state)}</span>
                </li>
            }
        })
        .collect_view();
    let question = format!(
        "“{name}” is deleted with its {}, runs, adapters and reports. Share links to its reports stop working.",
        counted(cells.len() as u64, "cell")
    );
    let (rename_label, delete_label) = (format!("Rename “{name}”"), format!("Delete “{name}”"));
    view! {
        <li class="entry" data-experiment=id>
            <h2><a href=format!("/experiments/{id}")>{name}</a></h2>
            <p class="note">{format!("created {}, updated {}", moment(created_ms), moment(updated_ms))}</p>
            <ul class="states" aria-label="Cells">{states}</ul>
            <div class="tools">
                <button type="button" class="quiet" aria-label=rename_label on:click=move |_| renaming.set(true)>
                    {icon(Icon::Edit)}
                </button>
                <button type="button" class="quiet" aria-label=delete_label on:click=move |_| deleting.set(true)>
                    {icon(Icon::Delete)}
                </button>
            </div>
            <Rename open=renaming name=known on_rename=rename/>
            <Confirm open=deleting title="Delete this experiment?" text=question action="Delete" on_confirm=delete/>
        </li>
    }
    .into_any()
}

const PRESETS: [(Preset, &str, &str); 3] = [
    (
        Preset::QuickStart,
        "Quick start",
        "The sample data on the default model: a few minutes on a laptop, with a report at the end.",
    ),
    (
        Preset::SeedRecipe,
        "Seed recipe (2024)",
        "The settings of the 2024 report, faults included: loss on the full sequence, truncation right, no EOS token.",
    ),
    (Preset::Empty, "Empty", "No cells; add your own."),
];

#[component]
fn Make(open: RwSignal<bool>) -> impl IntoView {
    let name = RwSignal::new(String::new());
    let preset = RwSignal::new(Preset::QuickStart);
    let error = RwSignal::new(None::<AppError>);
    let busy = RwSignal::new(false);
    let navigate = use_navigate();
    let make = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        if busy.get_untracked() {
            return;
        }
        busy.set(true);
        let (chosen, key) = (preset.get_untracked(), new_key());
        let title = PRESETS.iter().find(|entry| entry.0 == chosen).map_or("Experiment", |entry| entry.1);
        let name = name.with_untracked(|name| name.trim().to_owned());
        let name = if name.is_empty() { title.to_owned() } else { name };
        let navigate = navigate.clone();
        spawn_local(async move {
            let answer = api::call(CreateExperiment { name, preset: chosen, key }).await;
            busy.try_set(false);
            match answer {
                Ok(id) => navigate(&format!("/experiments/{id}"), NavigateOptions::default()),
                Err(why) => {
                    error.try_set(Some(why));
                }
            }
        });
    };
    let choices = PRESETS
        .iter()
        .map(|(value, label, text)| {
            let value = *value;
            view! {
                <label class="choice">
                    <input type="radio" name="preset" prop:checked=move || preset.get() == value
                        checked=value == Preset::QuickStart on:change=move |_| preset.set(value)/>
                    <span><strong>{*label}</strong> <span class="note">{*text}</span></span>
                </label>
            }
        })
        .collect_view();
    view! {
        <Dialog open title="New experiment">
            <form on:submit=make>
                <label>
                    "Name"
                    <input type="text" maxlength="200" placeholder="Defaults to the template's name" autocomplete="off"
                        prop:value=move || name.get() on:input=move |event| name.set(event_target_value(&event))/>
                </label>
                <fieldset><legend>"Template"</legend>{choices}</fieldset>
                {error_slot(error)}
                <div class="actions">
                    <button type="submit" class="primary" aria-disabled=move || busy.get().then_some("true")>
                        "Create"
                    </button>
                    <button type="button" on:click=move |_| open.set(false)>"Cancel"</button>
                </div>
            </form>
        </Dialog>
    }
    .into_any()
}
