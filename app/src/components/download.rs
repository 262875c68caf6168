//! Pairs as a file: a plain form, so that it works without scripts, and that the browser sends itself, since the answer
//! is a file and no page.

use leptos::prelude::*;

use super::options::options;
use spec::{ExportQuery, FileType, PairFilter, RowShape};

/// `address` is `/download/RUN`, or `/r/TOKEN/download` for a shared report. Of the pairs that the filter shows; where
/// somebody may have decided on them, also of the kept ones only.
pub fn download(address: Signal<String>, filter: Signal<PairFilter>, offers_kept: bool) -> AnyView {
    let usual = ExportQuery::default();
    let shapes = options(RowShape::ALL.iter().map(|shape| (shape.as_str(), shape.label())), usual.rows.as_str());
    let types = options(FileType::ALL.iter().map(|file| (file.as_str(), file.label())), usual.file.as_str());
    let shown = move || {
        let fields = filter.read().to_query();
        fields.into_iter().map(|(name, value)| view! { <input type="hidden" name=name value=value/> }).collect_view()
    };
    let kept = offers_kept.then(|| {
        view! {
            <label class="check">
                <input type="checkbox" name=ExportQuery::KEPT value="1"/>
                "Kept pairs only"
            </label>
        }
    });
    view! {
        <form class="filters download" method="get" action=move || address.get()>
            {shown}
            <label>"Rows " <select name=ExportQuery::ROWS>{shapes}</select></label>
            <label>"File type " <select name=ExportQuery::FILE>{types}</select></label>
            {kept}
            <button type="submit">"Download"</button>
        </form>
    }
    .into_any()
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use spec::{DecisionFilter, PairSort, TagFilter};

    use super::*;

    #[test]
    fn the_form_asks_for_what_is_shown_and_its_texts_stay_texts() {
        let filter = PairFilter {
            tag: TagFilter::Untagged,
            decision: DecisionFilter::Keep,
            text: "\"><script>".to_owned(),
            sort: PairSort::RougeAscending,
        };
        let html = Owner::new()
            .with(|| download(Signal::stored("/download/7".to_owned()), Signal::stored(filter), true).to_html());
        for part in [
            "method=\"get\"",
            "action=\"/download/7\"",
            "name=\"rows\"",
            "name=\"file\"",
            "name=\"kept\"",
            "value=\"preference\"",
            "value=\"dataset\"",
            "name=\"tag\" value=\"none\"",
            "name=\"decision\" value=\"keep\"",
            "name=\"sort\" value=\"rouge_ascending\"",
        ] {
            assert!(html.contains(part), "{part} is not in {html}");
        }
        assert!(!html.contains("<script>"), "{html}");
        let plain = Owner::new().with(|| {
            download(Signal::stored("/r/x/download".to_owned()), Signal::stored(PairFilter::default()), false).to_html()
        });
        assert!(!plain.contains("hidden") && !plain.contains("kept"), "{plain}");
    }
}
