//! A cell's form, made from its table of settings. A value that is refused stays in its field with the reason, and is not saved.

use leptos::prelude::*;

use super::files::file_field;
use super::model::model_field;
use crate::book::{Book, CellState};
use spec::{Choice, Group, Kind, Setting};

/// All settings of a cell: the primary ones, then one closed block for each other group.
pub fn form(book: Book, cell: CellState) -> AnyView {
    let settings = cell.kind.settings();
    let fields = move |group: Group| {
        let of_group = settings.iter().filter(|setting| setting.group == group);
        of_group.map(|setting| Field { book, cell, setting }.control()).collect_view()
    };
    let mut groups: Vec<Group> = Vec::new();
    for setting in settings {
        if setting.group != Group::Primary && !groups.contains(&setting.group) {
            groups.push(setting.group);
        }
    }
    let more = groups.into_iter().map(|group| {
        view! {
            <details class="more wide">
                <summary>{group.label()}</summary>
                <div class="fields">{fields(group)}</div>
            </details>
        }
    });
    view! { {fields(Group::Primary)} {more.collect_view()} }.into_any()
}

/// One setting of one cell.
#[derive(Clone, Copy)]
pub struct Field {
    pub book: Book,
    pub cell: CellState,
    pub setting: &'static Setting,
}

impl Field {
    /// None: a cell of this kind has no such setting.
    pub fn of(book: Book, cell: CellState, key: &str) -> Option<Self> {
        cell.kind.settings().iter().find(|setting| setting.key == key).map(|setting| Self { book, cell, setting })
    }

    pub fn id(self) -> String {
        format!("cell-{}-{}", self.cell.id, self.setting.key)
    }

    pub fn value(self) -> Memo<String> {
        Memo::new(move |_| self.cell.config.with(|config| config.get(self.setting.key)).unwrap_or_default())
    }

    /// Puts the text into the configuration; the answer is the reason why it was refused.
    pub fn write(self, text: &str) -> Option<String> {
        // Tried on a copy, so that a refused value is no edit.
        let mut config = self.cell.config.get_untracked();
        let accepted = config.set(self.setting.key, text).is_ok();
        if accepted == self.cell.invalid.with_untracked(|invalid| invalid.contains(self.setting.key)) {
            self.cell.invalid.update(|invalid| {
                if accepted {
                    invalid.remove(self.setting.key)
                } else {
                    invalid.insert(self.setting.key)
                };
            });
        }
        if !accepted {
            return Some(format!("This must be {}.", self.setting.limit()));
        }
        if self.cell.config.with_untracked(|known| *known != config) {
            self.book.edit(self.cell, |known| *known = config);
        }
        None
    }

    fn control(self) -> AnyView {
        match self.setting.rule.kind {
            Kind::File => file_field(self),
            Kind::Model => model_field(self),
            Kind::Set(choices) => self.set(choices),
            Kind::Whole { .. }
            | Kind::Number { .. }
            | Kind::Toggle
            | Kind::Choice(_)
            | Kind::Line { .. }
            | Kind::Text { .. } => self.single(),
        }
    }

    /// The help text, and the key that the setting has in an experiment file.
    pub fn help(self) -> AnyView {
        view! { <small id=format!("{}-help", self.id())>{self.setting.help} " " <code>{self.setting.key}</code></small> }
            .into_any()
    }

    fn single(self) -> AnyView {
        let (id, name, value) = (self.id(), self.setting.key, self.value());
        // What is being typed, until the field is left; then the configuration's own spelling shows again.
        let draft = RwSignal::new(None::<String>);
        let problem = RwSignal::new(None::<String>);
        let shown = move || draft.get().unwrap_or_else(|| value.get());
        let type_in = move |text: String| {
            problem.set(self.write(&text));
            draft.set(Some(text));
        };
        let leave = move |_| {
            if problem.with_untracked(Option::is_none) {
                draft.set(None);
            }
        };
        let help_id = format!("{id}-help");
        let invalid = move || problem.with(Option::is_some).then_some("true");
        let kind = self.setting.rule.kind;
        let element = match kind {
            Kind::Text { .. } => view! {
                <textarea id=id.clone() name=name rows="4" prop:value=shown aria-describedby=help_id aria-invalid=invalid
                    on:input=move |event| type_in(event_target_value(&event)) on:blur=leave></textarea>
            }
            .into_any(),
            Kind::Toggle => view! {
                <input id=id.clone() name=name type="checkbox" checked=value.get_untracked() == "true"
                    prop:checked=move || value.get() == "true" aria-describedby=help_id
                    on:change=move |event| problem.set(self.write(&event_target_checked(&event).to_string()))/>
            }
            .into_any(),
            Kind::Choice(choices) => {
                let options = choices
                    .iter()
                    .map(|Choice { value: option, label }| {
                        view! {
                            <option value=*option selected=value.get_untracked() == *option prop:selected=move || value.get() == *option>{*label}</option>
                        }
                    })
                    .collect_view();
                view! {
                    <select id=id.clone() name=name aria-describedby=help_id
                        on:change=move |event| problem.set(self.write(&event_target_value(&event)))>{options}</select>
                }
                .into_any()
            }
            _ => {
                let numeric = matches!(kind, Kind::Whole { .. } | Kind::Number { .. });
                view! {
                    <input id=id.clone() name=name type="text" autocomplete="off" value=value.get_untracked() prop:value=shown
                        inputmode=numeric.then_some("decimal") class:number=numeric aria-describedby=help_id aria-invalid=invalid
                        on:input=move |event| type_in(event_target_value(&event)) on:blur=leave/>
                }
                .into_any()
            }
        };
        view! {
            <div class="field" class:wide=matches!(kind, Kind::Text { .. }) class:toggle=matches!(kind, Kind::Toggle)>
                <label for=id>{self.setting.label}</label>
                {element}
                {self.help()}
                {move || problem.get().map(|text| view! { <p class="problem" role="alert">{text}</p> })}
            </div>
        }
        .into_any()
    }

    fn set(self, choices: &'static [Choice]) -> AnyView {
        let value = self.value();
        let problem = RwSignal::new(None::<String>);
        let chosen = move |choice: &str| value.get().split(", ").any(|one| one == choice);
        let boxes = choices
            .iter()
            .map(|choice| {
                let toggle = move |event| {
                    let on = event_target_checked(&event);
                    let all = choices.iter().filter(|other| if other.value == choice.value { on } else { chosen(other.value) });
                    let refused = self.write(&all.map(|other| other.value).collect::<Vec<_>>().join(","));
                    if refused.is_some() {
                        // The configuration keeps the last one; so does the box.
                        event_target::<web_sys::HtmlInputElement>(&event).set_checked(!on);
                        self.cell.invalid.update(|invalid| {
                            invalid.remove(self.setting.key);
                        });
                    }
                    problem.set(refused);
                };
                view! {
                    <label class="toggle">
                        <input type="checkbox" checked=chosen(choice.value) prop:checked=move || chosen(choice.value) on:change=toggle/>
                        " " <code>{choice.label}</code>
                    </label>
                }
            })
            .collect_view();
        view! {
            <fieldset class="field wide">
                <legend>{self.setting.label}</legend>
                <div class="boxes">{boxes}</div>
                {self.help()}
                {move || problem.get().map(|text| view! { <p class="problem" role="alert">{text}</p> })}
            </fieldset>
        }
        .into_any()
    }
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;
    use spec::{Cell, CellConfig, CellKind, Notebook, NotebookPage, SystemInfo};

    fn with_cell(kind: CellKind, look: impl FnOnce(Book, CellState)) {
        let cell = Cell {
            id: 1,
            version: 0,
            config: CellConfig::default_of(kind),
            run: None,
            stale: Vec::new(),
            missing_input: None,
            can_resume: false,
            discards: None,
        };
        let system = SystemInfo {
            version: String::new(),
            device: String::new(),
            device_description: String::new(),
            memory_bytes: 0,
            queued: 0,
            queue_limit: 1,
        };
        let notebook = Notebook { id: 1, name: String::new(), cells: vec![cell], kept_reports: Vec::new() };
        Owner::new().with(|| {
            let book = Book::new(NotebookPage { notebook, models: Vec::new(), files: Vec::new(), system });
            look(book, book.cells.get_untracked()[0]);
        });
    }

    #[test]
    fn a_form_has_a_labelled_field_for_every_setting() {
        for kind in CellKind::ALL {
            with_cell(kind, |book, cell| {
                let html = form(book, cell).to_html();
                for setting in kind.settings() {
                    assert!(html.contains(&format!("id=\"cell-1-{}", setting.key)), "{}: {html}", setting.key);
                    assert!(html.contains(setting.label), "{}", setting.label);
                }
            });
        }
    }

    #[test]
    fn every_field_takes_the_bounds_of_its_setting_and_nothing_beyond() {
        for kind in CellKind::ALL {
            with_cell(kind, |book, cell| {
                for setting in kind.settings() {
                    let (good, bad) = match setting.rule.kind {
                        Kind::Whole { min, max } => (
                            [min.to_string(), max.to_string()],
                            [(i128::from(min) - 1).to_string(), (i128::from(max) + 1).to_string()],
                        ),
                        Kind::Number { min, max } => {
                            let inside =
                                |bound: spec::Bound, next: f64| if bound.included { bound.value } else { next };
                            let outside =
                                |bound: spec::Bound, next: f64| if bound.included { next } else { bound.value };
                            let good = [inside(min, min.value.next_up()), inside(max, max.value.next_down())];
                            let bad = [outside(min, min.value.next_down()), outside(max, max.value.next_up())];
                            (good.map(|value| value.to_string()), bad.map(|value| value.to_string()))
                        }
                        _ => continue,
                    };
                    let field = Field { book, cell, setting };
                    for text in good {
                        assert_eq!(field.write(&text), None, "{} {text}", setting.key);
                        let number = |text: &str| text.parse::<f64>().unwrap();
                        assert_eq!(number(&field.value().get_untracked()), number(&text), "{}", setting.key);
                        cell.config.with_untracked(|config| config.validate()).unwrap();
                    }
                    for text in bad {
                        assert!(field.write(&text).is_some(), "{} {text}", setting.key);
                    }
                }
            });
        }
    }

    #[test]
    fn a_value_out_of_range_is_refused_with_the_limit_and_is_no_edit() {
        with_cell(CellKind::Train, |book, cell| {
            let field = Field::of(book, cell, "rank").unwrap();
            assert_eq!(field.write("0").as_deref(), Some("This must be a whole number from 1 to 1024."));
            assert_eq!(cell.edits.get_value(), 0);
            assert!(cell.invalid.get_untracked().contains("rank"));
            assert_eq!(field.value().get_untracked(), "16");
        });
    }
}
