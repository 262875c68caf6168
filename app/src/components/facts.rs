//! Named figures: definition lists and bar tables.

use leptos::prelude::*;

use super::format;
use spec::Count;

/// One figure with its name and, where it needs one, an explanation.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    pub name: &'static str,
    pub value: String,
    pub note: &'static str,
}

pub fn fact(name: &'static str, value: impl Into<String>) -> Fact {
    Fact { name, value: value.into(), note: "" }
}

pub fn noted(name: &'static str, value: impl Into<String>, note: &'static str) -> Fact {
    Fact { name, value: value.into(), note }
}

pub fn facts(list: Vec<Fact>) -> AnyView {
    let rows = list
        .into_iter()
        .map(|fact| {
            view! {
                <div>
                    <dt>{fact.name}</dt>
                    <dd>
                        {fact.value}
                        {(!fact.note.is_empty()).then(|| view! { <span class="note">{fact.note}</span> })}
                    </dd>
                </div>
            }
        })
        .collect_view();
    view! { <dl class="facts">{rows}</dl> }.into_any()
}

/// Counts with bars, as a table.
pub fn counts(caption: &'static str, what: &'static str, list: Vec<Count>) -> AnyView {
    let most = list.iter().map(|count| count.count).max().unwrap_or(0).max(1);
    let rows = list
        .into_iter()
        .map(|count| {
            let width = format!("{:.1}%", 100.0 * count.count as f64 / most as f64);
            view! {
                <tr>
                    <th scope="row">{format::words(&count.name)}</th>
                    <td class="number">{format::whole(count.count)}</td>
                    <td class="bar">
                        <svg width="100%" height="10" aria-hidden="true"><rect width=width height="10" rx="1"></rect></svg>
                    </td>
                </tr>
            }
        })
        .collect_view();
    view! {
        <table class="counts">
            <caption>{caption}</caption>
            <thead><tr><th scope="col">{what}</th><th scope="col" class="number">"Count"</th><td></td></tr></thead>
            <tbody>{rows}</tbody>
        </table>
    }
    .into_any()
}

/// A hash, short, whole when selected or hovered.
pub fn hash(value: String) -> AnyView {
    let short = value.chars().take(12).collect::<String>();
    view! { <code class="hash" title=value>{short}</code> }.into_any()
}
