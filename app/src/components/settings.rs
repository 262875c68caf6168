//! Any configuration as a flat list of names and values, as its TOML file would name them.

use leptos::prelude::*;
use serde::Serialize;
use serde_json::Value;

/// `(name, value)` in the order of the fields; nested ones as `template.prompt`.
pub fn flatten(config: &impl Serialize) -> Vec<(String, String)> {
    let mut out = Vec::new();
    if let Ok(value) = serde_json::to_value(config) {
        walk("", &value, &mut out);
    }
    out.retain(|(name, _)| name != "kind");
    out
}

fn walk(name: &str, value: &Value, out: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                walk(&name, value, out);
            }
        }
        Value::Array(items) => {
            let items = items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned));
            out.push((name.to_owned(), items.collect::<Vec<_>>().join(", ")));
        }
        Value::Null => out.push((name.to_owned(), "none".to_owned())),
        Value::String(text) => out.push((name.to_owned(), text.clone())),
        other => out.push((name.to_owned(), other.to_string())),
    }
}

pub fn settings_table(caption: &'static str, config: &impl Serialize) -> AnyView {
    let rows = flatten(config)
        .into_iter()
        .map(|(name, value)| {
            view! { <tr><th scope="row"><code>{name}</code></th><td class="value">{value}</td></tr> }
        })
        .collect_view();
    view! {
        <div class="scroll" tabindex="0" role="group" aria-label=caption>
            <table class="settings">
                <caption>{caption}</caption>
                <thead><tr><th scope="col">"Setting"</th><th scope="col">"Value"</th></tr></thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;
    use spec::{CellConfig, GenerateConfig, TrainConfig};

    #[test]
    fn nested_fields_are_named_with_dots_and_lists_are_joined() {
        let rows = flatten(&TrainConfig::default());
        let value = |name: &str| rows.iter().find(|row| row.0 == name).map(|row| row.1.as_str());
        assert_eq!(value("targets"), Some("q_proj, v_proj"));
        assert_eq!(value("template.end"), Some("eos"));
        assert_eq!(value("max_steps"), Some("none"));
    }

    #[test]
    fn the_kind_of_a_cell_is_no_setting() {
        let rows = flatten(&CellConfig::Generate(GenerateConfig::default()));
        assert!(rows.iter().all(|row| row.0 != "kind") && rows.len() == 10, "{rows:?}");
    }
}
