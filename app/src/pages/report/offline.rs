//! The same report as one file: rendered with all pairs, with style sheet and script inside. Nothing of it is taken over
//! by WebAssembly.

use leptos::prelude::*;

use super::document::document;
use super::{Place, description};
use spec::{ReportPage, ReportQuery};

/// `style` and `script` become part of the file as they are; `policy` is its Content-Security-Policy.
pub fn offline_report(shown: &ReportPage, style: &'static str, script: &'static str, policy: String) -> String {
    let title = format!("{} · Backtranslate", shown.report.config.title);
    let description = description(&shown.report);
    let query = ReportQuery { page: 0, ..ReportQuery::default() };
    let body = Owner::new().with(|| {
        view! {
            <html lang="en">
                <head>
                    <meta charset="utf-8"/>
                    <meta http-equiv="Content-Security-Policy" content=policy/>
                    <meta name="viewport" content="width=device-width, initial-scale=1"/>
                    <meta name="color-scheme" content="light dark"/>
                    <meta name="robots" content="noindex"/>
                    <meta name="description" content=description/>
                    <title>{title}</title>
                    <style inner_html=style></style>
                </head>
                <body>
                    {document(shown, &query, &Place::Offline, None)}
                    <script inner_html=script></script>
                </body>
            </html>
        }
        .to_html()
    });
    // Marks for hydration, which does not happen here; a text cannot hold one, since `<` is escaped in texts.
    format!("<!DOCTYPE html>{}\n", body.replace("<!>", ""))
}

#[cfg(test)]
mod tests {
    use super::super::document::tests::{page, pair};
    use super::*;
    use spec::{GeneratedPair, Tag};

    fn file(shown: &ReportPage) -> String {
        offline_report(shown, "p { margin: 0 }", "\"a < b\";", "default-src 'none'".to_owned())
    }

    #[test]
    fn style_and_script_are_there_as_they_are_and_nothing_is_loaded() {
        let html = file(&page(2));
        assert!(html.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{html}");
        assert!(
            html.contains("<style>p { margin: 0 }</style>") && html.contains("<script>\"a < b\";</script>"),
            "{html}"
        );
        assert!(!html.contains(" src=") && !html.contains("<link") && !html.contains("<!>"), "{html}");
        let form = html.split("<form ").nth(1).unwrap().split('>').next().unwrap();
        assert!(form.contains(" hidden"), "the script shows it: {form}");
    }

    #[test]
    fn rows_carry_what_the_script_filters_by() {
        let mut shown = page(1);
        shown.report.pairs[0].scores.tags = vec![Tag::Loop, Tag::NoEnd];
        let html = file(&shown);
        let row = html.split("<li id=\"row-1\"").nth(1).unwrap().split('>').next().unwrap();
        for part in ["data-tags=\"loop no_end\"", "data-figures=\"0.25 0 2\""] {
            assert!(row.contains(part), "{part}: {row}");
        }
        assert!(!row.contains("data-decision") && html.contains("<a href=\"#row-1\""), "{row}");
    }

    #[test]
    fn a_hostile_title_stays_a_text() {
        let mut shown = page(1);
        shown.report.config.title = "</title><script>alert(1)</script>\"".to_owned();
        let html = file(&shown);
        assert_eq!((html.matches("<script").count(), html.matches("</title").count()), (1, 1), "{html}");
    }

    #[test]
    fn five_thousand_pairs_need_little_beside_their_texts() {
        let mut shown = page(0);
        let words =
            |from: u32, count: u32| (from..from + count).map(|word| format!("w{word}")).collect::<Vec<_>>().join(" ");
        shown.report.pairs = (0..5_000)
            .map(|index| {
                let mut pair = GeneratedPair {
                    generated: words(index, 15),
                    response: words(100_000 + index, 120),
                    reference: Some(words(200_000 + index, 15)),
                    ..pair(index)
                };
                if index % 5 == 0 {
                    pair.scores.tags = vec![Tag::NoEnd];
                }
                pair.scores.rouge_l = Some(f64::from(index) / 7_777.0);
                (pair.scores.coverage, pair.scores.density) = (f64::from(index) / 7_000.0, 0.1234);
                pair
            })
            .collect();
        let pairs = &shown.report.pairs;
        let texts: usize = pairs
            .iter()
            .map(|pair| pair.generated.len() + pair.response.len() + pair.reference.as_ref().map_or(0, String::len))
            .sum();
        let html = file(&shown);
        let beside = html.len() - texts;
        assert!(beside < 1_450_000, "{beside} bytes beside {texts} of texts; style sheet and script come on top");
    }
}
