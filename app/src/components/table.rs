//! A table of figures that scrolls by itself where the page is narrow.

use leptos::prelude::*;

/// The first column names the rows; the others hold figures. `label` names the region for screen readers.
pub fn figures_table(label: &'static str, caption: String, heads: &[&'static str], rows: AnyView) -> AnyView {
    let heads = heads
        .iter()
        .enumerate()
        .map(|(at, head)| view! { <th scope="col" class=(at > 0).then_some("number")>{*head}</th> })
        .collect_view();
    view! {
        <div class="scroll" tabindex="0" role="region" aria-label=label>
            <table>
                <caption>{caption}</caption>
                <thead><tr>{heads}</tr></thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
    .into_any()
}
