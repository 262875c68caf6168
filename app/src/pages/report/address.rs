//! Addresses within a report: pages, filters and single rows.

use spec::{PairFilter, ReportQuery};

/// Of a row, whatever filter is set: it outlives them.
pub fn row(row: u64) -> String {
    format!("?row={row}#row-{row}")
}

/// Of a page of the pairs that the filter shows; `all`: of all on one page.
pub fn page(filter: &PairFilter, page: Option<u64>) -> String {
    let mut parts: Vec<String> =
        filter.to_query().into_iter().map(|(name, value)| format!("{name}={}", escaped(&value))).collect();
    parts.push(page.map_or_else(|| "page=all".to_owned(), |page| format!("page={page}")));
    format!("?{}#pairs", parts.join("&"))
}

/// Whether it asks for anything but the first page of all pairs.
pub fn is_filtered(query: &ReportQuery) -> bool {
    !query.filter.is_default()
}

/// As it may stand in a query: everything but letters, digits and a few marks in percent form.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use spec::{PairSort, TagFilter};

    #[test]
    fn a_page_keeps_the_filter_and_escapes_what_is_searched() {
        let filter = PairFilter {
            tag: TagFilter::Untagged,
            text: "a&b #ö".to_owned(),
            sort: PairSort::RougeAscending,
            ..PairFilter::default()
        };
        assert_eq!(page(&filter, Some(3)), "?tag=none&text=a%26b%20%23%C3%B6&sort=rouge_ascending&page=3#pairs");
        assert_eq!(page(&PairFilter::default(), None), "?page=all#pairs");
        assert_eq!(row(12), "?row=12#row-12");
    }
}
