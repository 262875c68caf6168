//! The tables of settings in docs/FORMATS.md are those of the program. `UPDATE_EXPECT=1 cargo test -p spec` rewrites them.

#![expect(clippy::disallowed_methods, reason = "a test needs no durable writes")]

use spec::{CellConfig, CellKind, Setting};

/// The tables begin after this line; the kind is in it.
fn begin(kind: CellKind) -> String {
    format!("<!-- settings of {}: made from server/spec/src/config.rs -->\n", kind.as_str())
}

const END: &str = "<!-- end of settings -->";

fn table(kind: CellKind) -> String {
    let default = CellConfig::default_of(kind);
    let mut table = String::from("\n| key | default | values | meaning |\n|---|---|---|---|\n");
    for setting in kind.settings() {
        table += &row(setting, &default.get(setting.key).unwrap_or_default());
    }
    table + "\n"
}

fn row(setting: &Setting, default: &str) -> String {
    let default = match setting.rule.off {
        Some(off) if default.is_empty() => off.to_owned(),
        _ => default.replace('\n', "\\n"),
    };
    let default = if default.is_empty() { "empty".to_owned() } else { format!("`{default}`") };
    let mut key = format!("`{}`", setting.key);
    for alias in setting.aliases {
        key += &format!(" (also `{alias}`)");
    }
    format!("| {key} | {default} | {} | {}: {} |\n", setting.limit(), setting.label, setting.help)
}

#[test]
fn the_tables_of_settings_in_the_documentation_are_those_of_the_program() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/FORMATS.md");
    let found = std::fs::read_to_string(path).unwrap();
    let mut text = found.clone();
    for kind in CellKind::ALL.into_iter().filter(|kind| *kind != CellKind::Note) {
        let from = text.find(&begin(kind)).unwrap_or_else(|| panic!("no table of {kind:?}")) + begin(kind).len();
        let to = from + text[from..].find(END).unwrap();
        text.replace_range(from..to, &table(kind));
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, text).unwrap();
    } else {
        assert!(
            found == text,
            "docs/FORMATS.md differs: UPDATE_EXPECT=1 cargo test -p spec --release rewrites its tables"
        );
    }
}
