//! Declaring settings: what a declared group can do, and the macros that declare groups and enumerations.

use super::Setting;
use crate::AppError;

/// A group of settings, such as a cell's configuration. Implemented by [`settings!`].
pub trait Settings: Sized + Default + 'static {
    /// Of every setting, those of nested tables included.
    const SETTINGS: &'static [Setting];

    /// The value as text; "no value" is the empty text. None: no setting has this key.
    fn get(&self, key: &str) -> Option<String>;

    /// Reads the value from text. Refuses an unknown key, and a value that is not accepted; nothing changes then.
    fn set(&mut self, key: &str, text: &str) -> Result<(), AppError>;

    /// By key or an earlier spelling.
    fn find(name: &str) -> Option<&'static Setting> {
        Self::SETTINGS.iter().find(|setting| setting.is_called(name))
    }

    /// Every setting with its value for a reader, in the table's order. "No value" is its word.
    fn values(&self) -> Vec<(&'static Setting, String)> {
        let value = |setting: &'static Setting| match self.get(setting.key).unwrap_or_default() {
            empty if empty.is_empty() => (setting, setting.rule.off.unwrap_or_default().to_owned()),
            text => (setting, text),
        };
        Self::SETTINGS.iter().map(value).collect()
    }

    /// Refuses the first value that is not accepted.
    fn validate(&self) -> Result<(), AppError> {
        Self::SETTINGS.iter().try_for_each(|setting| setting.check(&self.get(setting.key).unwrap_or_default()))
    }
}

/// The refusal of a key that no setting has; names the most similar one.
pub fn unknown_setting(key: &str, settings: &[Setting]) -> AppError {
    let nearest = settings.iter().map(|setting| (distance(key, setting.key), setting.key)).min();
    let hint = match nearest {
        Some((distance, nearest)) if distance <= key.len().max(3) / 2 => format!("Did you mean {nearest}?"),
        _ => {
            let keys: Vec<&str> = settings.iter().map(|setting| setting.key).collect();
            format!("The settings are: {}.", keys.join(", "))
        }
    };
    AppError::invalid_setting(format!("there is no setting {key}"), hint)
}

/// Levenshtein's distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(x != y);
            let best = changed.min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], best);
        }
    }
    row[b.len()]
}

pub(crate) const fn total(parts: &[&[Setting]]) -> usize {
    let (mut at, mut sum) = (0, 0);
    while at < parts.len() {
        sum += parts[at].len();
        at += 1;
    }
    sum
}

pub(crate) const fn join<const N: usize>(parts: &[&[Setting]]) -> [Setting; N] {
    let mut joined = [parts[0][0]; N];
    let (mut part, mut to) = (0, 0);
    while part < parts.len() {
        let mut at = 0;
        while at < parts[part].len() {
            joined[to] = parts[part][at];
            to += 1;
            at += 1;
        }
        part += 1;
    }
    joined
}

/// Declares a group of settings. Each is
/// `key ["earlier spelling"]: type = default, Group, rule, "label", "help";`
/// and the struct, its default, its table and its access by text come from that. The prefix stands before the keys of a nested table.
macro_rules! settings {
    ($(#[$meta:meta])* $name:ident $prefix:literal {
        $($field:ident $([$($alias:literal),+])? : $type:ty = $default:expr, $group:ident, $rule:expr, $label:literal, $help:literal;)*
        $(.. $nested:ident: $nested_type:ty;)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            $(#[doc = $help] $($(#[serde(alias = $alias)])+)? pub $field: $type,)*
            $(pub $nested: $nested_type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* $($nested: <$nested_type>::default(),)* }
            }
        }

        impl $crate::setting::Settings for $name {
            const SETTINGS: &'static [$crate::setting::Setting] = {
                use $crate::setting::{Setting, Value, join, total};
                const OWN: &[Setting] = &[$(Setting {
                    key: concat!($prefix, stringify!($field)),
                    aliases: &[$($($alias),+)?],
                    label: $label,
                    help: $help,
                    group: $crate::setting::Group::$group,
                    rule: $rule.or_off(<$type as Value>::OFF),
                }),*];
                const PARTS: &[&[Setting]] = &[OWN $(, <$nested_type as $crate::setting::Settings>::SETTINGS)*];
                const ALL: [Setting; total(PARTS)] = join(PARTS);
                &ALL
            };

            fn get(&self, key: &str) -> Option<String> {
                let key = Self::find(key)?.key;
                $(if key == concat!($prefix, stringify!($field)) {
                    return Some($crate::setting::Value::show(&self.$field));
                })*
                $(if let Some(text) = self.$nested.get(key) {
                    return Some(text);
                })*
                None
            }

            fn set(&mut self, key: &str, text: &str) -> Result<(), $crate::AppError> {
                let setting = Self::find(key).ok_or_else(|| $crate::setting::unknown_setting(key, Self::SETTINGS))?;
                setting.check(text)?;
                $(if setting.key == concat!($prefix, stringify!($field)) {
                    let value = $crate::setting::Value::read($crate::setting::normal(setting, text));
                    self.$field = value.ok_or_else(|| setting.refusal(text))?;
                    return Ok(());
                })*
                $(if <$nested_type>::find(setting.key).is_some() {
                    return self.$nested.set(setting.key, text);
                })*
                Err($crate::setting::unknown_setting(key, Self::SETTINGS))
            }
        }
    };
}
pub(crate) use settings;

/// Declares an enumeration whose values can be chosen: each with its spelling and label.
macro_rules! choices {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident $value:literal $label:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $value)] $variant,)+
        }

        impl $name {
            pub const ALL: &[$name] = &[$(Self::$variant),+];
            pub const CHOICES: &[$crate::setting::Choice] =
                &[$($crate::setting::Choice { value: $value, label: $label }),+];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $value,)+
                }
            }

            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)+
                }
            }
        }

        impl $crate::setting::Value for $name {
            fn show(&self) -> String {
                self.as_str().to_owned()
            }
            fn read(text: &str) -> Option<Self> {
                let word = text.trim().replace('-', "_");
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }
    };
}
pub(crate) use choices;
