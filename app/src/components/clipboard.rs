//! Copying a text. In the page only.

use leptos::prelude::*;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{HtmlDocument, HtmlElement};

/// True once the text is on the clipboard. Where the browser gives no clipboard, as over plain HTTP, the text of
/// `shown` is selected, so that its reader can copy it.
pub async fn copy(text: &str, shown: Option<&HtmlElement>) -> bool {
    let navigator = window().navigator();
    // Absent on pages that are not in a secure context, whatever its type says.
    let clipboard = js_sys::Reflect::get(&navigator, &JsValue::from_str("clipboard")).unwrap_or(JsValue::UNDEFINED);
    if !clipboard.is_undefined() && JsFuture::from(navigator.clipboard().write_text(text)).await.is_ok() {
        return true;
    }
    let Some(shown) = shown else { return false };
    if let Ok(Some(selection)) = window().get_selection() {
        let _ = selection.select_all_children(shown);
    }
    // Deprecated, but what there is over plain HTTP.
    document().dyn_into::<HtmlDocument>().is_ok_and(|document| document.exec_command("copy").unwrap_or(false))
}
