//! The model cell: which base model, and what it is.

use leptos::prelude::*;

use super::form::Field;
use crate::components::facts::{fact, facts, hash, noted};
use crate::components::format::{bytes, whole};
use spec::{ModelChoice, ModelConfig, ModelOutput};

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
                view! { <option value=model.id selected=selected prop:selected=selected>{format!("{}{size}{place}", model.name)}</option> }
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

pub fn brief(config: &ModelConfig) -> String {
    config.model.clone()
}

pub fn output(output: ModelOutput) -> AnyView {
    let heads = format!("{} for queries, {} for keys and values", output.heads, output.kv_heads);
    view! {
        {facts(vec![
            fact("Model", output.id),
            fact("Architecture", output.architecture),
            fact("Parameters", whole(output.parameters)),
            fact("Layers", whole(u64::from(output.layers))),
            fact("Hidden size", whole(u64::from(output.hidden_size))),
            fact("Feed-forward size", whole(u64::from(output.ffn_size))),
            fact("Heads", heads),
            fact("Vocabulary", whole(u64::from(output.vocabulary))),
            noted("Context", whole(u64::from(output.context)), "tokens"),
            fact("Output head", if output.tied_head { "tied to the embedding" } else { "of its own" }),
            noted("Stored as", output.stored_as, "computed in 32 bits"),
            fact("Size", bytes(output.size_bytes)),
        ])}
        <p class="note">"sha256 of the weights " {hash(output.sha256)} ", of the tokenizer " {hash(output.tokenizer_sha256)}</p>
    }
    .into_any()
}
