//! Fields of a cell's form. A field is a line of a table: label, help, how to read it from the configuration and how to
//! write it there. What does not parse stays in the field with its error and is not saved.

use std::fmt::Display;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::str::FromStr;

use leptos::prelude::*;

use crate::book::{Book, CellState};
use spec::*;

/// A configuration as a part of any cell's.
pub trait Part: Sized + 'static {
    fn of(config: &CellConfig) -> Option<&Self>;
    fn of_mut(config: &mut CellConfig) -> Option<&mut Self>;
}

macro_rules! part {
    ($($variant:ident $name:ident),*) => {
        $(impl Part for $name {
            fn of(config: &CellConfig) -> Option<&Self> {
                if let CellConfig::$variant(part) = config { Some(part) } else { None }
            }
            fn of_mut(config: &mut CellConfig) -> Option<&mut Self> {
                if let CellConfig::$variant(part) = config { Some(part) } else { None }
            }
        })*
    };
}
part!(Data DataConfig, Model ModelConfig, Train TrainConfig, Generate GenerateConfig, Report ReportConfig, Note NoteConfig);

/// Value and label of a choice.
pub type Choices = &'static [(&'static str, &'static str)];

#[derive(Clone, Copy)]
pub enum Input {
    Line,
    Long,
    Number,
    Toggle,
    Choice(Choices),
}

/// Label, name of the field in the configuration, help.
pub type Label = (&'static str, &'static str, &'static str);

pub struct Form<T> {
    pub book: Book,
    pub cell: CellState,
    part: PhantomData<fn() -> T>,
}

impl<T> Clone for Form<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Form<T> {}

pub type Problem = Result<(), String>;

/// Writes what was parsed.
pub fn put<V>(slot: &mut V, value: Result<V, String>) -> Problem {
    *slot = value?;
    Ok(())
}

impl<T: Part> Form<T> {
    pub fn new(book: Book, cell: CellState) -> Self {
        Self { book, cell, part: PhantomData }
    }

    pub fn value<V: PartialEq + Default + Send + Sync + 'static>(self, get: fn(&T) -> V) -> Memo<V> {
        Memo::new(move |_| self.cell.config.with(|config| T::of(config).map(get).unwrap_or_default()))
    }

    pub fn edit(self, change: impl FnOnce(&mut T)) {
        self.book.edit(self.cell, |config| {
            if let Some(part) = T::of_mut(config) {
                change(part);
            }
        });
    }

    pub fn field(self, label: Label, input: Input, get: fn(&T) -> String, set: fn(&mut T, &str) -> Problem) -> AnyView {
        let value = self.value(get);
        let write = Callback::new(move |text: String| -> Problem {
            let mut answer = Ok(());
            // Tried on a copy, so that what does not parse is no edit.
            let mut config = self.cell.config.get_untracked();
            if let Some(part) = T::of_mut(&mut config) {
                answer = set(part, &text);
            }
            if answer.is_ok() && self.cell.config.with_untracked(|known| *known != config) {
                self.book.edit(self.cell, |known| *known = config);
            }
            answer
        });
        control(format!("cell-{}-{}", self.cell.id, label.1), label, input, value.into(), write)
    }
}

fn control(id: String, label: Label, input: Input, value: Signal<String>, write: Callback<String, Problem>) -> AnyView {
    let (title, name, help) = label;
    // What is being typed, until the field is left; then the configuration's own spelling shows again.
    let draft = RwSignal::new(None::<String>);
    let problem = RwSignal::new(None::<String>);
    let shown = move || draft.get().unwrap_or_else(|| value.get());
    let type_in = move |text: String| {
        problem.set(write.run(text.clone()).err());
        draft.set(Some(text));
    };
    let leave = move |_| {
        if problem.with_untracked(Option::is_none) {
            draft.set(None);
        }
    };
    let help_id = format!("{id}-help");
    let invalid = move || problem.with(Option::is_some).then_some("true");
    let element = match input {
        Input::Line | Input::Number => view! {
            <input id=id.clone() name=name type="text" autocomplete="off" value=value.get_untracked() prop:value=shown
                inputmode=matches!(input, Input::Number).then_some("decimal") class:number=matches!(input, Input::Number)
                aria-describedby=help_id.clone() aria-invalid=invalid
                on:input=move |event| type_in(event_target_value(&event)) on:blur=leave/>
        }
        .into_any(),
        Input::Long => view! {
            <textarea id=id.clone() name=name rows="4" prop:value=shown aria-describedby=help_id.clone() aria-invalid=invalid
                on:input=move |event| type_in(event_target_value(&event)) on:blur=leave></textarea>
        }
        .into_any(),
        Input::Toggle => view! {
            <input id=id.clone() name=name type="checkbox" checked=value.get_untracked() == "true"
                prop:checked=move || value.get() == "true" aria-describedby=help_id.clone()
                on:change=move |event| problem.set(write.run(event_target_checked(&event).to_string()).err())/>
        }
        .into_any(),
        Input::Choice(choices) => {
            let options = choices
                .iter()
                .map(|(option, text)| {
                    view! {
                        <option value=*option selected=value.get_untracked() == *option prop:selected=move || value.get() == *option>{*text}</option>
                    }
                })
                .collect_view();
            view! {
                <select id=id.clone() name=name aria-describedby=help_id.clone()
                    on:change=move |event| problem.set(write.run(event_target_value(&event)).err())>{options}</select>
            }
            .into_any()
        }
    };
    let wide = matches!(input, Input::Long);
    let toggle = matches!(input, Input::Toggle);
    view! {
        <div class="field" class:wide=wide class:toggle=toggle>
            <label for=id>{title}</label>
            {element}
            <small id=help_id>{help}</small>
            {move || problem.get().map(|text| view! { <p class="problem" role="alert">{text}</p> })}
        </div>
    }
    .into_any()
}

/// A number within limits.
pub fn number<N: FromStr + PartialOrd + Display>(text: &str, limits: RangeInclusive<N>) -> Result<N, String> {
    match text.trim().parse::<N>() {
        Ok(value) if limits.contains(&value) => Ok(value),
        _ => Err(format!("“{}” is not a number from {} to {}.", text.trim(), limits.start(), limits.end())),
    }
}

/// The same, where nothing is a value too.
pub fn optional<N: FromStr + PartialOrd + Display>(text: &str, limits: RangeInclusive<N>) -> Result<Option<N>, String> {
    if text.trim().is_empty() { Ok(None) } else { number(text, limits).map(Some) }
}

pub fn show<N: Display>(value: &Option<N>) -> String {
    value.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// The spelling of an enumeration's value on the wire.
pub fn spelling(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

pub fn from_spelling<E: serde::de::DeserializeOwned>(text: &str) -> Result<E, String> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
        .map_err(|_| format!("“{text}” is not a choice here."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_their_limits_are_refused_with_the_limits() {
        assert_eq!(number::<u32>(" 16 ", 1..=256), Ok(16));
        assert_eq!(number::<u32>("-1", 1..=256), Err("“-1” is not a number from 1 to 256.".to_owned()));
        assert!(number::<f64>("NaN", 0.0..=1.0).is_err());
        assert_eq!(optional::<u32>("", 1..=9), Ok(None));
    }

    #[test]
    fn choices_are_spelled_as_on_the_wire() {
        assert_eq!(spelling(&Truncation::Response), "response");
        assert_eq!(from_spelling::<Turns>("any"), Ok(Turns::Any));
        assert!(from_spelling::<Turns>("none").is_err());
    }
}
