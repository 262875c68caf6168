//! Named metrics: definition lists and bar tables.

use leptos::prelude::*;

use super::format;
use spec::Count;

/// One metric with its name and, if it needs one, an explanation.
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

/// Counts with their shares of `total` as bars, as a table.
pub fn counts(caption: &'static str, what: &'static str, list: Vec<Count>, total: u64) -> AnyView {
    let rows = list
        .into_iter()
        .map(|count| {
            let share = (count.count as f64 / total.max(1) as f64).min(1.0);
            let width = format!("{:.1}%", 100.0 * share);
            view! {
                <tr>
                    <th scope="row">{format::words(&count.name)}</th>
                    <td class="number">{format::whole(count.count)}</td>
                    <td class="number">{format::percent(share)}</td>
                    <td class="bar">
                        <svg width="100%" height="10" aria-hidden="true">
                            <rect width=width height="10" rx="1"></rect>
                        </svg>
                    </td>
                </tr>
            }
        })
        .collect_view();
    view! {
        <table class="counts">
            <caption>{format!("{caption}; shares of {}", format::whole(total))}</caption>
            <thead>
                <tr>
                    <th scope="col">{what}</th>
                    <th scope="col" class="number">"Count"</th>
                    <th scope="col" class="number">"Share"</th>
                    <td></td>
                </tr>
            </thead>
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

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_the_share_of_all_not_of_the_commonest() {
        let html = counts("Failure tags", "Tag", vec![Count { name: "echo".to_owned(), count: 1 }], 30).to_html();
        assert!(html.contains("width=\"3.3%\"") && html.contains("shares of 30") && html.contains("3.3 %"), "{html}");
    }
}
