//! A configuration as a table: each setting with its label, the key that it has in an experiment file, and its value.

use leptos::prelude::*;
use spec::Setting;

/// `named` puts names in place of ids; it gets a setting's key and its value.
pub fn settings_table(
    caption: &'static str,
    values: Vec<(&'static Setting, String)>,
    named: impl Fn(&str, String) -> String,
) -> AnyView {
    let rows = values
        .into_iter()
        .map(|(setting, value)| {
            let value = named(setting.key, value);
            view! {
                <tr>
                    <th scope="row">{setting.label} " " <code>{setting.key}</code></th>
                    <td class="value">{value}</td>
                </tr>
            }
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
