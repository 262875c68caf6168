//! The report cell: what its reader is told first, and who may read it.

use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::api;
use crate::components::error::error_slot;
use crate::components::format::{counted, moment};
use spec::{AppError, ListShares, ReportConfig, ReportOutput, RevokeShare, ShareLink, ShareReport};

pub fn brief(config: &ReportConfig) -> String {
    config.title.clone()
}

pub fn output(output: ReportOutput, run: i64) -> AnyView {
    view! {
        <p>
            <a class="report-link" href=format!("/reports/{run}")>{output.title}</a>
            {format!(", with {}. It stays as it is when the notebook changes.", counted(output.pairs, "pair"))}
        </p>
        <Sharing run/>
    }
    .into_any()
}

/// Makes links to a report, lists and revokes them. A link is shown once: only its hash is kept.
#[component]
pub fn Sharing(run: i64) -> impl IntoView {
    let links = RwSignal::new(Vec::<ShareLink>::new());
    let fresh = RwSignal::new(None::<String>);
    let error = RwSignal::new(None::<AppError>);
    let busy = RwSignal::new(false);
    let copied = RwSignal::new(false);
    let list = move || {
        spawn_local(async move {
            match api::call(ListShares { run }).await {
                Ok(list) => {
                    links.try_set(list);
                }
                Err(why) => {
                    error.try_set(Some(why));
                }
            }
        });
    };
    Effect::new(list);
    let share = move |_| {
        if busy.get_untracked() {
            return;
        }
        busy.set(true);
        spawn_local(async move {
            match api::call(ShareReport { run }).await {
                Ok(link) => {
                    error.try_set(None);
                    copied.try_set(false);
                    fresh.try_set(link.path.map(|path| format!("{}{path}", origin())));
                    list();
                }
                Err(why) => {
                    error.try_set(Some(why));
                }
            }
            busy.try_set(false);
        });
    };
    let revoke = move |id: i64| {
        spawn_local(async move {
            match api::call(RevokeShare { share: id }).await {
                Ok(()) => {
                    fresh.try_set(None);
                    list();
                }
                Err(why) => {
                    error.try_set(Some(why));
                }
            }
        });
    };
    let shown = move || {
        fresh.get().map(|address| {
            let text = address.clone();
            let href = address.clone();
            let copy = move |_| {
                let _ = window().navigator().clipboard().write_text(&text);
                copied.set(true);
            };
            view! {
                <div class="fresh-link" role="status">
                    <p>"Whoever has this link can read the report, and nothing else. It is shown only now:"</p>
                    <p class="address"><a href=href rel="external" target="_blank" data-share-link>{address}</a></p>
                    <button type="button" on:click=copy>{move || if copied.get() { "Copied" } else { "Copy the link" }}</button>
                </div>
            }
        })
    };
    view! {
        <section class="sharing" aria-label="Sharing">
            <button type="button" class="primary" prop:disabled=move || busy.get() on:click=share>"Share"</button>
            {error_slot(error)}
            {shown}
            <ul class="links">
                <For each=move || links.get() key=|link| (link.id, link.revoked) let(link)>
                    <li data-share=link.id data-revoked=link.revoked.then_some("")>
                        {format!("Link {} made {}", link.id, moment(link.created_ms))} " "
                        {if link.revoked {
                            view! { <span class="note">"revoked: it opens nothing"</span> }.into_any()
                        } else {
                            view! { <button type="button" on:click=move |_| revoke(link.id)>"Revoke"</button> }.into_any()
                        }}
                    </li>
                </For>
            </ul>
        </section>
    }
    .into_any()
}

fn origin() -> String {
    window().location().origin().unwrap_or_default()
}
