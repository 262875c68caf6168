//! The pairs of a report: three examples, and all of them with filters, a page at a time.

use leptos::prelude::*;

use super::{Place, address};
use crate::components::download::download;
use crate::components::format::{counted, figure, percent, whole};
use crate::components::options::options;
use crate::components::pair::{candidates, copied, likelihood_line, marked, shown};
use spec::{CurateConfig, Decision, DecisionFilter, GeneratedPair, PairSort, ReportPage, ReportQuery, TagFilter};

pub fn examples(shown: &ReportPage) -> AnyView {
    let examples = &shown.examples;
    let how = match examples.by_rouge {
        true => "by ROUGE-L against the human reference",
        false => "by the longest run of words copied from the response (the shortest is best)",
    };
    let curate = curate(shown);
    let found: Vec<_> = [("Best", &examples.best), ("Median", &examples.median), ("Worst", &examples.worst)]
        .into_iter()
        .filter_map(|(name, pair)| Some((name, pair.as_ref()?)))
        .map(|(name, pair)| {
            let row = pair.source_row();
            let (instruction, response) = texts(pair);
            let reference = pair.reference.clone().map(|reference| {
                view! { <div><dt>"Human reference"</dt><dd class="text">{reference}</dd></div> }
            });
            view! {
                <section class="example">
                    <h3>{name} " " <span class="note">{format!("row {row}{}", rouge(pair, ", "))}</span></h3>
                    <dl class="texts">
                        <div><dt>"Generated instruction"</dt><dd class="text">{instruction}</dd></div>
                        {reference}
                        <div><dt>"Response"</dt><dd class="text" tabindex="0">{response}</dd></div>
                    </dl>
                    <p class="note">{badges(pair, curate)} {scores(pair)}</p>
                </section>
            }
        })
        .collect();
    let note = match found.is_empty() {
        true => "There are no pairs.".to_owned(),
        false => format!("Ranked {how}. Marked words are copied from the response."),
    };
    view! {
        <h2 id="examples">"Three examples"</h2>
        <p class="note">{note}</p>
        <div class="examples">{found}</div>
    }
    .into_any()
}

pub fn all_pairs(shown: &ReportPage, query: &ReportQuery, place: &Place) -> AnyView {
    let offline = *place == Place::Offline;
    let curate = curate(shown);
    let items = shown.report.pairs.iter().map(|pair| item(pair, query.row, offline, curate)).collect_view();
    let missing = query.row.filter(|row| shown.report.pairs.iter().all(|pair| pair.source_row() != *row));
    let missing = missing.map(|row| {
        let why = if address::is_filtered(query) {
            "is not among the pairs that the filter shows"
        } else {
            "has no pair in this report"
        };
        view! { <p class="missing">{format!("Row {row} {why}.")}</p> }
    });
    view! {
        <h2 id="pairs">"All pairs"</h2>
        {missing}
        <div class="pair-tools">{filter_form(query, shown.report.curate.is_some(), offline)}</div>
        {download_form(shown, query, place)}
        <p class="note" id="pair-count" role="status">{caption(shown, query)}</p>
        <ol class="pair-list" id="pair-list">{items}</ol>
        {(!offline).then(|| pager(shown, query, place))}
    }
    .into_any()
}

/// Of the pairs that the filter shows. A file is a download already.
fn download_form(shown: &ReportPage, query: &ReportQuery, place: &Place) -> AnyView {
    let address = match place {
        Place::Own(run) => format!("/download/{run}"),
        Place::Shared(token) => format!("/r/{token}/download"),
        Place::Offline => return ().into_any(),
    };
    download(Signal::stored(address), Signal::stored(query.filter.clone()), shown.report.curate.is_some())
}

fn curate(shown: &ReportPage) -> Option<&CurateConfig> {
    shown.report.curate.as_ref().map(|curate| &curate.config)
}

/// How many match, and which of them are shown.
fn caption(shown: &ReportPage, query: &ReportQuery) -> String {
    let (here, all) = (shown.report.pairs.len() as u64, counted(shown.pairs, "pair"));
    let match_ = match address::is_filtered(query) {
        true => format!("{} of {all} match", whole(shown.matching)),
        false => all,
    };
    match here {
        0 => format!("{match_}; none on this page"),
        _ if here == shown.matching => match_,
        _ => format!("{match_}; shown: {} to {}", whole(shown.offset + 1), whole(shown.offset + here)),
    }
}

/// A form that a browser sends by itself; in a file the script listens to it.
fn filter_form(query: &ReportQuery, curated: bool, offline: bool) -> AnyView {
    let filter = &query.filter;
    let tags = options(TagFilter::choices().map(|tag| (tag.as_str(), tag.label())), filter.tag.as_str());
    let decisions = options(DecisionFilter::ALL.iter().map(|by| (by.as_str(), by.label())), filter.decision.as_str());
    let sorts = options(PairSort::ALL.iter().map(|sort| (sort.as_str(), sort.label())), filter.sort.as_str());
    let decisions = (curated || filter.decision != DecisionFilter::All)
        .then(|| view! { <label>"Decision " <select name="decision">{decisions}</select></label> });
    let all = (!offline && (address::is_filtered(query) || query.row.is_some()))
        .then(|| view! { <a href="?#pairs" rel="external">"Show all"</a> });
    view! {
        <form class="filters" id="pair-filter" method="get" action="#pairs" hidden=offline>
            <label>"Failure tag " <select name="tag">{tags}</select></label>
            {decisions}
            <label>"Sort by " <select name="sort">{sorts}</select></label>
            <label>"Search " <input type="search" name="text" maxlength="200" value=filter.text.clone()/></label>
            {(!offline).then(|| view! { <button type="submit">"Show"</button> })}
            {offline.then(|| view! { <button type="reset">"Show all"</button> })}
            {all}
            <a href="#metrics" rel="external">"What the tags mean"</a>
        </form>
    }
    .into_any()
}

/// Markup is short here: a file has thousands of these.
fn item(pair: &GeneratedPair, open: Option<u64>, offline: bool, curate: Option<&CurateConfig>) -> AnyView {
    let row = pair.source_row();
    let open = open == Some(row);
    let href = if offline { format!("#row-{row}") } else { address::row(row) };
    let (instruction, response) = texts(pair);
    let reference = pair.reference.clone().map(|reference| view! { <p>"Human reference: " {reference}</p> });
    let edited = pair.instruction() != pair.generated;
    let before = edited.then(|| view! { <p>"As it was generated: " {pair.generated.clone()}</p> });
    let baseline = pair.baseline.clone().map(shown);
    let baseline = baseline.map(|text| view! { <p>"Base model without the adapter: " {text}</p> });
    let likelihood = pair.likelihood.as_deref().map(|of| view! { <br/> {likelihood_line(of)} });
    // What the script of a file filters and sorts by.
    let key = |value: String| (offline && !value.is_empty()).then_some(value);
    let tags = pair.scores.tags.iter().map(|tag| tag.as_str()).collect::<Vec<_>>().join(" ");
    view! {
        <li
            id=format!("row-{row}")
            class=open.then_some("shown")
            data-pair=(!offline).then_some(pair.index)
            data-tags=key(tags)
            data-decision=key(pair.decision().map_or_else(String::new, |decision| decision.as_str().to_owned()))
            data-edited=edited.then_some("")
            data-figures=key(figures(pair))
        >
            <small><a href=href rel=(!offline).then_some("external")>"Row " {row}</a>{rouge(pair, "\n")} {badges(pair, curate)}</small>
            <details open=open>
                <summary>{instruction}</summary>
                {reference}
                {before}
                {baseline}
                {candidates(pair)}
                <small>{scores(pair)}{source(pair)}{likelihood}</small>
            </details>
            <p>{response}</p>
        </li>
    }
    .into_any()
}

/// ROUGE-L (`-`: none), copied run and words, for a script.
fn figures(pair: &GeneratedPair) -> String {
    let rouge = pair.scores.rouge_l.map_or_else(|| "-".to_owned(), |rouge| ((rouge * 1e5).round() / 1e5).to_string());
    format!("{rouge} {} {}", pair.scores.copied_run, pair.scores.words)
}

/// Instruction and response, with what both have in common marked.
fn texts(pair: &GeneratedPair) -> (AnyView, AnyView) {
    let instruction = pair.instruction();
    let (ours, theirs) = copied(instruction, &pair.response).into_iter().unzip();
    let instruction = match instruction.trim() {
        "" => "(empty)".into_any(),
        _ => marked(instruction, ours),
    };
    (instruction, marked(&pair.response, theirs))
}

fn rouge(pair: &GeneratedPair, before: &str) -> String {
    pair.scores.rouge_l.map_or_else(String::new, |rouge| format!("{before}ROUGE-L {}", figure(rouge)))
}

/// What was decided, and failure tags.
fn badges(pair: &GeneratedPair, curate: Option<&CurateConfig>) -> AnyView {
    let decision = match (pair.decision(), curate) {
        (Some(Decision::Keep), _) => Some("kept"),
        (Some(Decision::Drop), _) => Some("dropped"),
        (None, Some(config)) if !config.keeps(pair) => Some("dropped by settings"),
        (None, _) => None,
    };
    let edited = (pair.instruction() != pair.generated).then_some("edited");
    let plain =
        decision.into_iter().chain(edited).map(|text| view! { <span class="badge">{text}</span> " " }).collect_view();
    let tags = pair.scores.tags.iter().map(|tag| view! { <span class="tag">{tag.label()}</span> " " }).collect_view();
    (plain, tags).into_any()
}

/// Figures of the generated instruction, in one line.
fn scores(pair: &GeneratedPair) -> String {
    let scores = &pair.scores;
    let mut text = format!(
        "{}, copied run {}, coverage {}, density {}",
        counted(u64::from(scores.words), "word"),
        whole(u64::from(scores.copied_run)),
        percent(scores.coverage),
        figure(scores.density)
    );
    if pair.response_tokens_cut > 0 {
        let cut = counted(u64::from(pair.response_tokens_cut), "token");
        text.push_str(&format!("; the prompt left out {cut} of the response"));
    }
    text
}

/// The corpus row's own id and address.
fn source(pair: &GeneratedPair) -> String {
    let id = pair.source_id.as_ref().map_or_else(String::new, |id| format!("; id {id}"));
    let url = pair.url.as_ref().map_or_else(String::new, |url| format!("; {url}"));
    id + &url
}

fn pager(shown: &ReportPage, query: &ReportQuery, place: &Place) -> AnyView {
    let here = shown.report.pairs.len() as u64;
    let pages = shown.matching.div_ceil(ReportPage::PAIRS);
    if pages <= 1 {
        return ().into_any();
    }
    // On the page with all of them none is current.
    let current = (here < shown.matching).then_some(shown.offset / ReportPage::PAIRS + 1);
    let numbers = page_window(pages, current.unwrap_or(1))
        .into_iter()
        .map(|page| match page {
            Some(page) => {
                let mark = (current == Some(page)).then_some("page");
                let href = address::page(&query.filter, Some(page));
                view! { <a href=href rel="external" aria-current=mark>{page}</a> " " }.into_any()
            }
            None => view! { <span aria-hidden="true">"…"</span> " " }.into_any(),
        })
        .collect_view();
    let mark = current.is_none().then_some("page");
    // All at once are for the owner only.
    let all = matches!(place, Place::Own(_)).then(|| {
        view! { <a href=address::page(&query.filter, None) rel="external" aria-current=mark>"All on one page"</a> }
    });
    view! { <nav class="pager" aria-label="Pages of pairs">{numbers} {all}</nav> }.into_any()
}

/// Page numbers to link: the first, the last, and those around the current one; None for what is left out between.
fn page_window(pages: u64, current: u64) -> Vec<Option<u64>> {
    let mut window = Vec::new();
    for page in (1..=pages).filter(|page| *page == 1 || *page == pages || page.abs_diff(current) <= 2) {
        if let Some(Some(before)) = window.last()
            && before + 1 < page
        {
            window.push(None);
        }
        window.push(Some(page));
    }
    window
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_many_pages_links_the_ends_and_the_neighbours() {
        let some = |pages: &[u64]| pages.iter().map(|page| (*page > 0).then_some(*page)).collect::<Vec<_>>();
        assert_eq!(page_window(3, 2), some(&[1, 2, 3]));
        assert_eq!(page_window(50, 1), some(&[1, 2, 3, 0, 50]));
        assert_eq!(page_window(50, 25), some(&[1, 0, 23, 24, 25, 26, 27, 0, 50]));
        assert_eq!(page_window(50, 50), some(&[1, 0, 48, 49, 50]));
    }
}

#[cfg(all(test, feature = "ssr"))]
mod rendered {
    use super::super::document::tests::{page, pair};
    use super::*;
    use spec::{CuratedReport, Curation, Examples, PairFilter, Tag};

    fn html(shown: &ReportPage, query: &ReportQuery, place: &Place) -> String {
        Owner::new().with(|| all_pairs(shown, query, place).to_html().replace("<!>", ""))
    }

    #[test]
    fn the_form_shows_the_filter_that_holds_and_the_pager_keeps_it() {
        let mut shown = page(3);
        (shown.matching, shown.pairs, shown.offset) = (250, 400, 100);
        let filter =
            PairFilter { tag: TagFilter::Tag(Tag::Loop), text: "a \"b\"&c".to_owned(), ..PairFilter::default() };
        let query = ReportQuery { filter, page: 2, row: None };
        let own = html(&shown, &query, &Place::Own(1));
        assert!(own.contains("method=\"get\"") && own.contains("<option value=\"loop\" selected>"), "{own}");
        assert!(own.contains("value=\"a &quot;b&quot;&amp;c\""), "{own}");
        assert!(own.contains("250 of 400 pairs match; shown: 101 to 103"), "{own}");
        assert!(own.contains("?tag=loop&amp;text=a%20%22b%22%26c&amp;page=3#pairs"), "{own}");
        assert!(own.contains("page=all#pairs") && own.contains("aria-current=\"page\">2"), "{own}");
        let shared = html(&shown, &query, &Place::Shared("t".to_owned()));
        assert!(!shared.contains("page=all"), "{shared}");
    }

    #[test]
    fn the_row_that_is_asked_for_is_open_and_the_others_are_not() {
        let query = ReportQuery { row: Some(2), ..ReportQuery::default() };
        let shown = html(&page(3), &query, &Place::Own(1));
        assert_eq!(shown.matches("<details open>").count(), 1, "{shown}");
        let row = shown.split("<li id=\"row-2\"").nth(1).unwrap().split('>').next().unwrap();
        assert!(row.contains("class=\"shown\"") && shown.matches("class=\"shown\"").count() == 1, "{shown}");
        assert!(shown.contains("href=\"?row=3#row-3\""), "{shown}");
        let query = ReportQuery { row: Some(9), ..ReportQuery::default() };
        assert!(html(&page(3), &query, &Place::Own(1)).contains("Row 9 has no pair in this report."));
    }

    #[test]
    fn the_response_is_beside_the_instruction_whether_or_not_the_pair_is_open() {
        let shown = html(&page(1), &ReportQuery::default(), &Place::Own(1));
        let closed = shown.split("<details").nth(1).unwrap().split("</details>").next().unwrap();
        assert!(closed.contains("Instruction 0") && closed.contains("Reference 0") && !closed.contains("Response 0"));
        assert!(shown.contains("<p>Response 0</p>"), "{shown}");
    }

    #[test]
    fn decisions_and_edits_are_shown_and_can_be_filtered_where_there_was_a_curate_cell() {
        let mut shown = page(4);
        assert!(!html(&shown, &ReportQuery::default(), &Place::Own(1)).contains("name=\"decision\""));
        shown.report.curate = Some(CuratedReport { config: CurateConfig::default(), output: Default::default() });
        let pairs = &mut shown.report.pairs;
        pairs[0].curation = Some(Curation { decision: Some(Decision::Keep), ..Curation::default() });
        pairs[1].curation = Some(Curation {
            instruction: Some("A better one".to_owned()),
            decision: Some(Decision::Drop),
            ..Curation::default()
        });
        pairs[2].scores.tags = vec![Tag::Loop];
        let html = html(&shown, &ReportQuery::default(), &Place::Own(1));
        assert!(html.contains("name=\"decision\""), "{html}");
        for part in
            [">kept<", ">dropped<", ">edited<", ">dropped by settings<", "A better one", "As it was generated: "]
        {
            assert_eq!(html.matches(part).count(), 1, "{part}: {html}");
        }
    }

    #[test]
    fn examples_have_their_responses_and_links_to_nothing() {
        let mut shown = page(3);
        shown.examples = Examples { by_rouge: true, best: Some(pair(2)), median: Some(pair(1)), worst: None };
        let html = examples(&shown).to_html();
        for part in ["Best", "Median", "Response 2", "Response 1", "Reference 2", "row 3, ROUGE-L 0.250"] {
            assert!(html.contains(part), "{part}: {html}");
        }
        assert!(!html.contains("Worst"), "{html}");
    }

    #[test]
    fn hostile_texts_stay_texts() {
        let hostile = "</p></script><script>alert(1)</script><img src=x onerror=alert(1)>".to_owned();
        let mut shown = page(1);
        shown.report.pairs = vec![GeneratedPair {
            generated: hostile.clone(),
            response: hostile.clone(),
            reference: Some(hostile.clone()),
            source_id: Some(hostile.clone()),
            url: Some(hostile.clone()),
            curation: Some(Curation { instruction: Some(hostile.clone()), ..Curation::default() }),
            ..pair(0)
        }];
        let query =
            ReportQuery { filter: PairFilter { text: hostile, ..PairFilter::default() }, ..ReportQuery::default() };
        for place in [Place::Own(1), Place::Offline] {
            let html = html(&shown, &query, &place);
            assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("</script"), "{html}");
        }
    }
}
