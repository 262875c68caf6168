//! Two texts with the words that only one of them has marked.

use leptos::prelude::*;
use similar::{ChangeTag, TextDiff};

/// Both texts with the words that only one has marked.
pub fn word_diff(a: &str, b: &str) -> (AnyView, AnyView) {
    let empty = |text: &str| if text.trim().is_empty() { "(empty)".to_owned() } else { text.to_owned() };
    let (a, b) = (empty(a), empty(b));
    let diff = TextDiff::from_words(&a, &b);
    let side = |own: ChangeTag| {
        diff.iter_all_changes()
            .filter(|change| change.tag() == ChangeTag::Equal || change.tag() == own)
            .map(|change| {
                let text = change.value().to_owned();
                match change.tag() {
                    ChangeTag::Equal => text.into_any(),
                    ChangeTag::Delete => view! { <del>{text}</del> }.into_any(),
                    ChangeTag::Insert => view! { <ins>{text}</ins> }.into_any(),
                }
            })
            .collect_view()
            .into_any()
    };
    (side(ChangeTag::Delete), side(ChangeTag::Insert))
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;

    #[test]
    fn words_that_differ_are_marked_on_their_side_and_hostile_ones_stay_text() {
        let (left, right) = word_diff("Explain the old <b>kettle</b> now", "Explain the new kettle now");
        let (left, right) = (left.to_html(), right.to_html());
        assert!(left.contains("<del>") && !left.contains("<ins>") && right.contains("<ins>"), "{left} {right}");
        assert!(!left.contains("<b>"), "{left}");
        let (left, right) = word_diff("Same", "Same");
        assert!(!left.to_html().contains("<del>") && !right.to_html().contains("<ins>"));
    }
}
