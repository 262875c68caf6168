//! The address of a pair in the notebook: cell, row and filter are its query.

use leptos::prelude::*;
use leptos_router::hooks::use_query_map;

use spec::PairFilter;

/// Filter and row that the page's address asks for in this cell.
pub fn asked(cell: i64) -> (PairFilter, Option<u64>) {
    let mut filter = PairFilter::default();
    let query = use_query_map();
    let row = query.with_untracked(|query| {
        if query.get("cell").and_then(|text| text.parse::<i64>().ok()) != Some(cell) {
            return None;
        }
        for name in PairFilter::NAMES {
            if let Some(value) = query.get(name) {
                filter.read_query(name, &value);
            }
        }
        query.get("row").and_then(|row| row.parse().ok())
    });
    (filter, row)
}

/// The query of a pair's address. In a browser only.
pub fn query(cell: i64, row: u64, filter: &PairFilter) -> String {
    let mut query = format!("?cell={cell}&row={row}");
    for (name, value) in filter.to_query() {
        query += &format!("&{name}={}", String::from(js_sys::encode_uri_component(&value)));
    }
    query
}

/// Puts the query into the address without a step back in the history.
pub fn show(query: &str) {
    if let Ok(history) = window().history() {
        let _ = history.replace_state_with_url(&wasm_bindgen::JsValue::NULL, "", Some(query));
    }
}
