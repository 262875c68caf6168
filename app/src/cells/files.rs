//! Choosing a file that the server knows, and bringing a new one.

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use web_sys::{File, HtmlInputElement, ProgressEvent, XmlHttpRequest};

use super::form::Field;
use crate::book::Book;
use crate::components::error::error_box;
use crate::components::format::bytes;
use spec::{AppError, DataFile};

#[derive(Clone, PartialEq)]
enum Upload {
    Idle,
    /// Percent.
    Sending(String, u32),
    Done(String),
    Failed(AppError),
}

/// A setting's value with a name in place of an id, where this is the id of a file or model that is here.
pub fn named(book: Book, field: &str, value: String) -> String {
    let name = match field {
        "file" => book.files.with(|files| files.iter().find(|file| file.id == value).map(|file| file.name.clone())),
        "model" => {
            book.models.with(|models| models.iter().find(|model| model.id == value).map(|model| model.name.clone()))
        }
        _ => None,
    };
    name.unwrap_or(value)
}

/// A choice among the files, and an upload beside it. An upload becomes the choice.
pub fn file_field(field: Field) -> AnyView {
    let (id, book, value) = (field.id(), field.book, field.value());
    let (help_id, upload_id) = (format!("{id}-help"), format!("{id}-upload"));
    let upload = RwSignal::new(Upload::Idle);
    let options = move || {
        let chosen = value.get();
        let mut files = book.files.get();
        if files.iter().all(|file| file.id != chosen) {
            files.push(DataFile {
                id: chosen.clone(),
                name: format!("{chosen} (not here)"),
                size_bytes: 0,
                added_ms: 0,
                notice: String::new(),
            });
        }
        files
            .into_iter()
            .map(|file| {
                let selected = file.id == chosen;
                let text =
                    if file.size_bytes > 0 { format!("{} ({})", file.name, bytes(file.size_bytes)) } else { file.name };
                view! { <option value=file.id selected=selected prop:selected=selected>{text}</option> }
            })
            .collect_view()
    };
    let done = Callback::new(move |file: DataFile| {
        upload.set(Upload::Done(file.name.clone()));
        book.files.update(|files| {
            files.retain(|known| known.id != file.id);
            files.push(file.clone());
        });
        field.write(&file.id);
        book.refetch_files();
    });
    let choose = move |event: leptos::ev::Event| {
        let input = event_target::<HtmlInputElement>(&event);
        if let Some(file) = input.files().and_then(|files| files.get(0)) {
            send(&file, upload, done);
        }
        // The same file can be chosen again after it was corrected.
        input.set_value("");
    };
    let status = move || match upload.get() {
        Upload::Idle => ().into_any(),
        Upload::Sending(name, percent) => view! {
            <p role="status">{format!("Sending {name}: {percent} %")} <progress max="100" value=percent></progress></p>
        }
        .into_any(),
        Upload::Done(name) => view! { <p role="status">{format!("{name}: uploaded and selected.")}</p> }.into_any(),
        Upload::Failed(error) => error_box(error).into_any(),
    };
    view! {
        <div class="field wide">
            <label for=id.clone()>{field.setting.label}</label>
            <div class="file">
                <select id=id name=field.setting.key aria-describedby=help_id
                    on:change=move |event| { field.write(&event_target_value(&event)); }>{options}</select>
                <label class="button" for=upload_id.clone()>"Upload a file…"</label>
                <input id=upload_id class="hidden" type="file" accept=".jsonl,.json,.gz,.ndjson" on:change=choose/>
            </div>
            {field.help()}
            {status}
        </div>
    }
    .into_any()
}

/// Sends a file and says how far it is. XMLHttpRequest, since `fetch` tells no progress of uploads.
fn send(file: &File, upload: RwSignal<Upload>, done: Callback<DataFile>) {
    let name = file.name();
    let no_answer = || {
        AppError::connection(
            "The file did not arrive: the connection broke.",
            "Check that the server runs, then choose the file again.",
        )
    };
    let Ok(request) = XmlHttpRequest::new() else { return upload.set(Upload::Failed(no_answer())) };
    upload.set(Upload::Sending(name.clone(), 0));
    let shown = name.clone();
    let progress = Closure::<dyn FnMut(ProgressEvent)>::new(move |event: ProgressEvent| {
        if event.total() > 0.0 {
            upload.try_set(Upload::Sending(shown.clone(), (100.0 * event.loaded() / event.total()) as u32));
        }
    });
    if let Ok(side) = request.upload() {
        side.set_onprogress(Some(progress.into_js_value().unchecked_ref()));
    }
    let answer = request.clone();
    let end = Closure::once_into_js(move || {
        let text = answer.response_text().ok().flatten().unwrap_or_default();
        match serde_json::from_str::<DataFile>(&text) {
            Ok(file) if answer.status().is_ok_and(|status| status < 300) => done.run(file),
            _ => {
                let status = answer.status().unwrap_or(0);
                let error = serde_json::from_str(&text).unwrap_or_else(|_| match status {
                    0 => no_answer(),
                    413 => AppError::too_large(
                        "The server does not take files of this size.",
                        "Split the file, or pack it as .gz.",
                    ),
                    _ => AppError::internal(
                        format!("The server refused the file (status {status})."),
                        "See the server's log.",
                    ),
                });
                upload.try_set(Upload::Failed(error));
            }
        }
    });
    request.set_onloadend(Some(end.unchecked_ref()));
    let address = format!("/upload?name={}", js_sys::encode_uri_component(&name));
    let sent = request.open("POST", &address).is_ok()
        && request.set_request_header("content-type", "application/octet-stream").is_ok()
        && request.send_with_opt_blob(Some(file)).is_ok();
    if !sent {
        upload.set(Upload::Failed(no_answer()));
    }
}
