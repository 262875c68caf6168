//! How a setting's value is shown as text, and read from a text that its rule accepts.

use super::{Kind, Setting};

/// A value that is written and read as text.
pub trait Value: Sized {
    const OFF: Option<&'static str> = None;

    fn show(&self) -> String;
    /// Of a text that the setting's rule accepts.
    fn read(text: &str) -> Option<Self>;
}

macro_rules! plain_values {
    ($($type:ty),*) => {
        $(impl Value for $type {
            fn show(&self) -> String {
                self.to_string()
            }
            fn read(text: &str) -> Option<Self> {
                text.trim().parse().ok()
            }
        })*
    };
}
plain_values!(bool, u32, u64, f64);

impl Value for String {
    fn show(&self) -> String {
        self.clone()
    }
    fn read(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl<T: Value> Value for Option<T> {
    const OFF: Option<&'static str> = Some("none");

    fn show(&self) -> String {
        self.as_ref().map(Value::show).unwrap_or_default()
    }
    fn read(text: &str) -> Option<Self> {
        if text.is_empty() { Some(None) } else { T::read(text).map(Some) }
    }
}

impl<T: Value + Ord> Value for Vec<T> {
    fn show(&self) -> String {
        self.iter().map(Value::show).collect::<Vec<_>>().join(", ")
    }
    /// Sorted and without repeats, so that equal sets are equal values.
    fn read(text: &str) -> Option<Self> {
        let mut items = text.split(',').map(T::read).collect::<Option<Vec<T>>>()?;
        items.sort();
        items.dedup();
        Some(items)
    }
}

/// The text that a value is read from, once its setting accepts it.
pub(crate) fn normal<'a>(setting: &Setting, text: &'a str) -> &'a str {
    if setting.is_off(text) {
        return "";
    }
    match setting.rule.kind {
        Kind::Text { .. } => text,
        _ => text.trim(),
    }
}
