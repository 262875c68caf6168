//! The model cell: which base model, and what it is.

use leptos::prelude::*;

use super::files::named;
use super::form::Field;
use crate::book::{Book, CellState};
use crate::components::facts::{fact, facts, hash, noted};
use crate::components::format::{bytes, whole};
use spec::{CellOutput, ModelChoice, ModelConfig, ModelOutput};

/// A choice among the models that the server knows.
pub fn model_field(field: Field) -> AnyView {
    let (id, book, value) = (field.id(), field.book, field.value());
    let help_id = format!("{id}-help");
    let options = move || {
        let chosen = value.get();
        let mut models = book.models.get();
        if models.iter().all(|model| model.id != chosen) {
            models.push(ModelChoice { id: chosen.clone(), name: chosen.clone(), present: false, size_bytes: 0 });
        }
        models
            .into_iter()
            .map(|model| {
                let selected = model.id == chosen;
                let size = if model.size_bytes > 0 { format!(", {}", bytes(model.size_bytes)) } else { String::new() };
                let place = if model.present { "" } else { ", is fetched when the cell runs" };
                let text = format!("{}{size}{place}", model.name);
                view! { <option value=model.id selected=selected prop:selected=selected>{text}</option> }
            })
            .collect_view()
    };
    view! {
        <div class="field wide">
            <label for=id.clone()>{field.setting.label}</label>
            <select id=id name=field.setting.key aria-describedby=help_id
                on:change=move |event| { field.write(&event_target_value(&event)); }>{options}</select>
            {field.help()}
        </div>
    }
    .into_any()
}

pub fn brief(book: Book, config: &ModelConfig) -> String {
    named(book, "model", config.model.clone())
}

/// A model's name; its id in runs of versions that kept no name.
pub fn name(output: &ModelOutput) -> String {
    if output.name.is_empty() { output.id.clone() } else { output.name.clone() }
}

pub fn live(cell: CellState) -> AnyView {
    let shown = cell.part(|run| run.output.clone());
    (move || match shown.get().flatten() {
        Some(CellOutput::Model(shown)) => output(shown),
        _ => ().into_any(),
    })
    .into_any()
}

fn output(output: ModelOutput) -> AnyView {
    let grouped = if output.kv_heads < output.heads { "grouped-query attention" } else { "" };
    view! {
        {facts(vec![
            fact("Model", name(&output)),
            fact("Architecture", output.architecture),
            fact("Parameters", whole(output.parameters)),
            fact("Layers", whole(u64::from(output.layers))),
            fact("Hidden size", whole(u64::from(output.hidden_size))),
            fact("Intermediate size", whole(u64::from(output.ffn_size))),
            fact("Attention heads", whole(u64::from(output.heads))),
            noted("KV heads", whole(u64::from(output.kv_heads)), grouped),
            fact("Vocabulary size", whole(u64::from(output.vocabulary))),
            noted("Context length", whole(u64::from(output.context)), "tokens"),
            fact("LM head", if output.tied_head { "tied to the embeddings" } else { "untied" }),
            noted("Stored as", output.stored_as, "computed in float32"),
            fact("Size", bytes(output.size_bytes)),
        ])}
        <p class="note">
            "sha256 of the weights " {hash(output.sha256)} ", of the tokenizer " {hash(output.tokenizer_sha256)}
        </p>
    }
    .into_any()
}
