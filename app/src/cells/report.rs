//! The report cell: what its reader is told first, and who may read it.

use std::net::IpAddr;

use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::api;
use crate::book::CellState;
use crate::components::clipboard;
use crate::components::error::error_slot;
use crate::components::format::{counted, moment};
use spec::{AppError, CellOutput, ListShares, ReportConfig, ReportOutput, RevokeShare, ShareLink, ShareReport};

pub fn brief(config: &ReportConfig) -> String {
    config.title.clone()
}

pub fn live(cell: CellState) -> AnyView {
    let shown = cell.part(|run| (run.run, run.output.clone()));
    (move || match shown.get() {
        Some((run, Some(CellOutput::Report(shown)))) => output(shown, run),
        _ => ().into_any(),
    })
    .into_any()
}

fn output(output: ReportOutput, run: i64) -> AnyView {
    view! {
        <p>
            <a class="report-link" href=format!("/reports/{run}")>{output.title}</a>
            {format!(" with {}. A snapshot: it does not change with the notebook.", counted(output.pairs, "pair"))}
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
    let copied = RwSignal::new(None::<bool>);
    let address = NodeRef::<html::A>::new();
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
                    copied.try_set(None);
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
        fresh.get().map(|link| {
            let (text, href) = (link.clone(), link.clone());
            let copy = move |_| {
                let text = text.clone();
                spawn_local(async move {
                    let done = clipboard::copy(&text, address.get_untracked().as_deref()).await;
                    copied.try_set(Some(done));
                });
            };
            let who = if opens_here_only(&link) {
                "This link opens on this computer only, since this page was opened at a loopback address. For others, \
                 start the server with --listen 0.0.0.0, open this page by the computer's name or address, and share \
                 again."
            } else {
                "Whoever has this link can read the report, and nothing else."
            };
            view! {
                <div class="fresh-link" role="status">
                    <p>{who} " The link is shown only now:"</p>
                    <p class="address">
                        <a node_ref=address href=href rel="external" target="_blank" data-share-link>{link}</a>
                    </p>
                    <button type="button" on:click=copy>{move || match copied.get() {
                        Some(true) => "Copied",
                        Some(false) => "Selected: press Ctrl+C or ⌘C",
                        None => "Copy the link",
                    }}</button>
                </div>
            }
        })
    };
    view! {
        <section class="sharing" aria-label="Sharing">
            <button type="button" class="primary" aria-disabled=move || busy.get().then_some("true") on:click=share>
                "Create share link"
            </button>
            {error_slot(error)}
            {shown}
            <ul class="links">
                <For each=move || links.get() key=|link| (link.id, link.revoked) let(link)>
                    <li data-share=link.id data-revoked=link.revoked.then_some("")>
                        {format!("Link {}, created {}", link.id, moment(link.created_ms))} " "
                        {if link.revoked {
                            view! { <span class="note">"revoked"</span> }.into_any()
                        } else {
                            let press = move |_| revoke(link.id);
                            view! { <button type="button" on:click=press>"Revoke"</button> }.into_any()
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

/// Whether an address names the computer that it is opened on.
fn opens_here_only(address: &str) -> bool {
    let host = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(literal) => literal.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_loopback_addresses_are_known_as_such() {
        for here in
            ["http://127.0.0.1:3000/r/x", "http://127.8.0.1/r/x", "http://[::1]:3000/r/x", "http://localhost:3000/r/x"]
        {
            assert!(opens_here_only(here), "{here}");
        }
        for elsewhere in [
            "http://192.168.1.7:3000/r/x",
            "https://notes.example/r/x",
            "http://[2001:db8::1]/r/x",
            "http://localhost.example/r",
        ] {
            assert!(!opens_here_only(elsewhere), "{elsewhere}");
        }
    }
}
