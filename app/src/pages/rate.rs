//! Blind rating: one text at a time, graded by keys, without who wrote it; then what the grades say.

use std::collections::BTreeMap;
use std::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement, KeyboardEvent};

use super::number;
use crate::api;
use crate::components::error::error_slot;
use crate::components::focus;
use crate::components::format::whole;
use crate::components::frame::{Top, failed};
use crate::components::ratings::rating_tables;
use spec::{
    AppError, Criterion, GetRatingItems, GetRatingSummary, Grades, HIGHEST_GRADE, RateItem, Rating, RatingItem,
    RatingSummary, question,
};

/// The rater's name, kept in the browser.
const NAME: &str = "rater";
/// Grades that could not be saved are sent again after this time.
const RETRY_AFTER: Duration = Duration::from_secs(3);

#[component]
pub fn Rate() -> impl IntoView {
    let params = use_params_map();
    let run = Resource::new(
        move || params.with(|params| params.get("run")),
        |run| async move {
            let run = number(run)?;
            // Refuses what cannot be rated before a name is asked for.
            api::call(GetRatingItems { run, rater: "-".to_owned() }).await.map(|items| (run, items.len()))
        },
    );
    view! {
        <Title text="Rate blind"/>
        <Top/>
        <Suspense fallback=|| view! { <p class="loading">"Loading the texts…"</p> }>
            {move || Suspend::new(async move {
                match run.await {
                    Ok::<_, AppError>((run, count)) => view! { <Session run count/> }.into_any(),
                    Err(error) => failed(error, true),
                }
            })}
        </Suspense>
    }
    .into_any()
}

#[derive(Clone, Copy)]
struct State {
    run: i64,
    rater: RwSignal<String>,
    /// Empty until a rater began.
    items: RwSignal<Vec<RatingItem>>,
    at: RwSignal<usize>,
    /// Place of the criterion that the next key grades.
    criterion: RwSignal<usize>,
    summary: RwSignal<Option<Option<RatingSummary>>>,
    /// Grades that are not acknowledged yet, by item.
    waiting: RwSignal<BTreeMap<u32, Grades>>,
    /// Whether they are being sent.
    sending: StoredValue<bool>,
    error: RwSignal<Option<AppError>>,
}

#[component]
fn Session(run: i64, count: usize) -> impl IntoView {
    let state = State {
        run,
        rater: RwSignal::new(String::new()),
        items: RwSignal::default(),
        at: RwSignal::new(0),
        criterion: RwSignal::new(0),
        summary: RwSignal::default(),
        waiting: RwSignal::default(),
        sending: StoredValue::new(false),
        error: RwSignal::default(),
    };
    Effect::new(move || {
        focus::page_shown();
        if let Some(name) = storage().and_then(|storage| storage.get_item(NAME).ok()?) {
            state.rater.set(name);
        }
    });
    let begun = Memo::new(move |_| state.items.with(|items| !items.is_empty()));
    let revealed = Memo::new(move |_| state.summary.with(Option::is_some));
    view! {
        <main id="main" class="report rate" tabindex="-1" on:keydown=move |event| press(state, &event)>
            <h1>"Rate blind"</h1>
            <p>
                {format!("{} texts of run {run}: generated instructions, those of the base model and those that people wrote, \
                          shuffled. You do not see who wrote which until you reveal the result. ", whole(count as u64))}
                "Grades are saved as you give them; you can stop and go on later under the same name."
            </p>
            {error_slot(state.error)}
            {move || match (revealed.get(), begun.get()) {
                (true, _) => revealed_view(state),
                (false, true) => view! { <Item state/> }.into_any(),
                (false, false) => name_form(state),
            }}
        </main>
    }
    .into_any()
}

fn name_form(state: State) -> AnyView {
    let begin = move |event: web_sys::SubmitEvent| {
        event.prevent_default();
        begin(state);
    };
    view! {
        <form class="filters" on:submit=begin>
            <label>
                "Your name "
                <input type="text" maxlength=Rating::MAX_NAME.to_string() required autocomplete="name"
                    prop:value=move || state.rater.get() on:input=move |event| state.rater.set(event_target_value(&event))/>
            </label>
            <button type="submit" class="primary">"Start rating"</button>
            <button type="button" on:click=move |_| reveal(state)>"Show the result so far"</button>
        </form>
        <p class="note">"The name tells the ratings of several people apart. Reports count raters, they do not name them."</p>
    }
    .into_any()
}

fn begin(state: State) {
    let rater = state.rater.get_untracked();
    if let Some(storage) = storage() {
        let _ = storage.set_item(NAME, rater.trim());
    }
    spawn_local(async move {
        match api::call(GetRatingItems { run: state.run, rater }).await {
            Ok(items) => {
                state.error.try_set(None);
                // Where the rater left off.
                let next = items.iter().position(|item| !item.is_rated()).unwrap_or(0);
                state.items.try_set(items);
                go(state, next);
                focus_page();
            }
            Err(why) => {
                state.error.try_set(Some(why));
            }
        }
    });
}

/// Opens a text at its first criterion without a grade.
fn go(state: State, at: usize) {
    let Some(grades) = state.items.with_untracked(|items| items.get(at).map(|item| item.grades)) else { return };
    state.at.set(at);
    state.criterion.set(grades.iter().position(Option::is_none).unwrap_or(0));
}

fn step(state: State, by: isize) {
    let last = state.items.with_untracked(Vec::len).saturating_sub(1);
    go(state, state.at.get_untracked().saturating_add_signed(by).min(last));
}

/// Grades the open text by one criterion; after the last criterion the next text opens.
fn grade(state: State, criterion: usize, grade: u8) {
    let at = state.at.get_untracked();
    let changed = state.items.try_update(|items| {
        let item = items.get_mut(at)?;
        item.grades[criterion] = Some(grade);
        Some((item.item, item.grades))
    });
    let Some((item, grades)) = changed.flatten() else { return };
    send(state, item, grades);
    match grades.iter().position(Option::is_none) {
        Some(missing) => state.criterion.set(missing),
        None if at + 1 < state.items.with_untracked(Vec::len) => go(state, at + 1),
        None => {}
    }
}

/// One request at a time: an older one that arrives later would take grades back.
fn send(state: State, item: u32, grades: Grades) {
    state.waiting.update(|waiting| {
        waiting.insert(item, grades);
    });
    if !state.sending.get_value() {
        state.sending.set_value(true);
        spawn_local(send_waiting(state));
    }
}

async fn send_waiting(state: State) {
    while let Some((item, grades)) = state
        .waiting
        .try_with_untracked(|waiting| waiting.first_key_value().map(|(item, grades)| (*item, *grades)))
        .flatten()
    {
        let rater = state.rater.get_untracked();
        match api::call(RateItem { run: state.run, rater, item, grades }).await {
            Ok(()) => {
                state.error.try_set(None);
                // Unless it was graded again meanwhile.
                state.waiting.try_update(|waiting| {
                    if waiting.get(&item) == Some(&grades) {
                        waiting.remove(&item);
                    }
                });
            }
            Err(why) => {
                state.error.try_set(Some(why));
                state.sending.try_set_value(false);
                set_timeout(
                    move || {
                        if state.sending.try_get_value() == Some(false) {
                            state.sending.set_value(true);
                            spawn_local(send_waiting(state));
                        }
                    },
                    RETRY_AFTER,
                );
                return;
            }
        }
    }
    state.sending.try_set_value(false);
}

/// Once all grades are saved.
fn reveal(state: State) {
    match state.waiting.try_with_untracked(BTreeMap::is_empty) {
        Some(true) => {}
        Some(false) => {
            set_timeout(move || reveal(state), Duration::from_millis(200));
            return;
        }
        None => return,
    }
    spawn_local(async move {
        match api::call(GetRatingSummary { run: state.run }).await {
            Ok(summary) => {
                state.summary.try_set(Some(summary));
            }
            Err(why) => {
                state.error.try_set(Some(why));
            }
        }
    });
}

#[component]
fn Item(state: State) -> impl IntoView {
    let text = Memo::new(move |_| {
        let at = state.at.get();
        state.items.with(|items| items.get(at).map(|item| (item.instruction.clone(), item.response.clone())))
    });
    let rated = move || state.items.with(|items| items.iter().filter(|item| item.is_rated()).count());
    let place = move || {
        let total = whole(state.items.with(Vec::len) as u64);
        format!("Text {} of {total}, {} rated", whole(state.at.get() as u64 + 1), whole(rated() as u64))
    };
    let rows =
        Criterion::ALL.iter().enumerate().map(|(at, criterion)| criterion_row(state, at, *criterion)).collect_view();
    view! {
        <section class="rating" aria-label="Text to rate">
            <div class="actions">
                <span class="place" role="status">{place}</span>
                <button type="button" class="quiet" on:click=move |_| step(state, -1)>"Previous"</button>
                <button type="button" class="quiet" on:click=move |_| step(state, 1)>"Next"</button>
                <button type="button" on:click=move |_| reveal(state)>"Reveal the result"</button>
                <span class="saving" role="status">
                    {move || if state.waiting.with(BTreeMap::is_empty) { "" } else { "Saving…" }}
                </span>
            </div>
            {move || text.get().map(|(instruction, response)| view! {
                <dl class="texts">
                    <div><dt>"Instruction"</dt><dd class="text instruction">{instruction}</dd></div>
                    <div><dt>"Response"</dt><dd class="text response">{response}</dd></div>
                </dl>
            })}
            <div class="criteria">{rows}</div>
            <p class="note">
                "Keys: " <kbd>"1"</kbd> " (not at all) to " <kbd>"5"</kbd> " (completely) grade the marked question and go to \
                the next; " <kbd>"k"</kbd> " previous text, " <kbd>"j"</kbd> " next text."
            </p>
        </section>
    }
    .into_any()
}

fn criterion_row(state: State, at: usize, criterion: Criterion) -> AnyView {
    let given = Memo::new(move |_| {
        let place = state.at.get();
        state.items.with(|items| items.get(place).and_then(|item| item.grades[at]))
    });
    let buttons = (1..=HIGHEST_GRADE)
        .map(|value| {
            let pressed = move || if given.get() == Some(value) { "true" } else { "false" };
            view! {
                <button type="button" class="decide" aria-pressed=pressed
                    aria-label=format!("{}: {value} of {HIGHEST_GRADE}", criterion.label())
                    on:click=move |_| grade(state, at, value)>{value}</button>
            }
        })
        .collect_view();
    let current = move || (state.criterion.get() == at).then_some("true");
    view! {
        <div class="criterion" data-criterion=criterion.as_str() aria-current=current>
            <span><strong>{criterion.label()}</strong> " " <span class="note">{question(criterion)}</span></span>
            <span class="grades" role="group" aria-label=criterion.label()>{buttons}</span>
        </div>
    }
    .into_any()
}

fn revealed_view(state: State) -> AnyView {
    let back = move |_| {
        state.summary.set(None);
        focus_page();
    };
    view! {
        <section aria-label="Result">
            <h2>"Result"</h2>
            {move || match state.summary.get() {
                Some(Some(summary)) => rating_tables(&summary),
                _ => view! { <p class="empty">"Nobody has rated these texts yet."</p> }.into_any(),
            }}
            <p><button type="button" on:click=back>"Back to rating"</button></p>
        </section>
    }
    .into_any()
}

/// Keys of the open text.
fn press(state: State, event: &KeyboardEvent) {
    let target = event.target().and_then(|target| target.dyn_into::<Element>().ok());
    let typing = target.is_some_and(|element| matches!(element.closest("input, textarea, select"), Ok(Some(_))));
    let other = event.ctrl_key() || event.meta_key() || event.alt_key() || event.default_prevented();
    let rates = state.summary.with_untracked(Option::is_none) && state.items.with_untracked(|items| !items.is_empty());
    if typing || other || !rates {
        return;
    }
    match event.key().as_str() {
        "j" => step(state, 1),
        "k" => step(state, -1),
        key => match key.parse() {
            Ok(value) if (1..=HIGHEST_GRADE).contains(&value) => {
                grade(state, state.criterion.get_untracked(), value);
            }
            _ => return,
        },
    }
    event.prevent_default();
    event.stop_propagation();
}

/// The keys are those of the page: where a form or button that had the focus is gone, it goes back to it.
fn focus_page() {
    let page = document().get_element_by_id("main").and_then(|page| page.dyn_into::<HtmlElement>().ok());
    if let Some(page) = page {
        let _ = page.focus();
    }
}

fn storage() -> Option<web_sys::Storage> {
    window().local_storage().ok().flatten()
}
