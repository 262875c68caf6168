//! An experiment file: TOML tables of settings, with paths in place of ids.
//!
//! Every table is checked against the settings of its kind of cell: an unknown key, a value of another type and a value out of range
//! are refused with their line. A setting that can be off is turned off with its word (`"none"`).

use std::ops::Range;
use std::path::{Path, PathBuf};

use spec::{
    AppError, CellConfig, CurateConfig, DataConfig, GenerateConfig, Kind, ModelConfig, ReportConfig, Setting, Settings,
    TrainConfig, invalid, unknown_setting,
};
use toml::de::{DeTable, DeValue};

use super::Result;
use crate::adapter;
use crate::models::Source;
use crate::resources::Resources;

/// Larger is no experiment.
const MAX_BYTES: u64 = 1 << 20;
const TABLES: &str = "experiment, data, model, train, generate, curate, report";

#[derive(Clone, Debug, PartialEq)]
pub struct ExperimentFile {
    pub name: String,
    pub data: DataConfig,
    pub model: ModelConfig,
    pub train: TrainConfig,
    pub generate: GenerateConfig,
    pub curate: CurateConfig,
    pub report: ReportConfig,
}

impl Default for ExperimentFile {
    fn default() -> Self {
        Self {
            name: "Experiment".to_owned(),
            data: DataConfig::default(),
            model: ModelConfig::default(),
            train: TrainConfig::default(),
            generate: GenerateConfig::default(),
            curate: CurateConfig::default(),
            report: ReportConfig::default(),
        }
    }
}

/// What is wrong, and where in the text.
struct Problem {
    at: Option<Range<usize>>,
    error: AppError,
}

impl ExperimentFile {
    pub fn read(path: &Path) -> Result<Self> {
        let size = std::fs::metadata(path).map_err(|error| adapter::error(engine::Error::io(path)(error)))?.len();
        if size > MAX_BYTES {
            return Err(adapter::error(engine::Error::malformed(
                path,
                "size",
                format!("{size} bytes; an experiment file has at most {MAX_BYTES}"),
            )));
        }
        Self::parse(path, &super::files::read_text(path)?)
    }

    fn parse(path: &Path, text: &str) -> Result<Self> {
        parse(text).map_err(|Problem { at, error }| {
            let place = match at {
                Some(span) => format!("line {}", text[..span.start.min(text.len())].matches('\n').count() + 1),
                None => "the file".to_owned(),
            };
            AppError::new(error.code, format!("{}: {place}: {}", path.display(), error.message), error.hint)
        })
    }

    /// The cells, with files and models taken into the data folder; `folder` is what paths are relative to.
    pub fn cells(&self, folder: &Path, resources: &Resources) -> Result<Vec<CellConfig>> {
        let mut data = self.data.clone();
        data.file = file(&data.file, "data.file", folder, resources)?;
        let mut generate = self.generate.clone();
        generate.file = file(&generate.file, "generate.file", folder, resources)?;
        let model = ModelConfig { model: model(&self.model.model, folder, resources)? };
        Ok(vec![
            CellConfig::Data(data),
            CellConfig::Model(model),
            CellConfig::Train(self.train.clone()),
            CellConfig::Generate(generate),
            CellConfig::Curate(self.curate.clone()),
            CellConfig::Report(self.report.clone()),
        ])
    }
}

fn parse(text: &str) -> std::result::Result<ExperimentFile, Problem> {
    let document = DeTable::parse(text).map_err(|mut error| {
        error.set_input(Some(text));
        Problem {
            at: error.span(),
            error: AppError::malformed_file(error.message().trim(), "Correct the file's TOML."),
        }
    })?;
    let mut file = ExperimentFile::default();
    for (key, value) in document.get_ref() {
        let name: &str = key.get_ref();
        let DeValue::Table(table) = value.get_ref() else {
            let error = AppError::malformed_file(format!("{name} is no table"), format!("The tables are: {TABLES}."));
            return Err(Problem { at: Some(key.span()), error });
        };
        match name {
            "experiment" => file.name = experiment_name(table)?,
            "data" => read(&mut file.data, "", table)?,
            "model" => read(&mut file.model, "", table)?,
            "train" => read(&mut file.train, "", table)?,
            "generate" => read(&mut file.generate, "", table)?,
            "curate" => read(&mut file.curate, "", table)?,
            "report" => read(&mut file.report, "", table)?,
            _ => {
                let hint = format!("The tables are: {TABLES}.");
                return Err(Problem {
                    at: Some(key.span()),
                    error: AppError::malformed_file(format!("there is no table [{name}]"), hint),
                });
            }
        }
    }
    Ok(file)
}

fn experiment_name(table: &DeTable<'_>) -> std::result::Result<String, Problem> {
    let mut name = ExperimentFile::default().name;
    for (key, value) in table {
        let key_name: &str = key.get_ref();
        let error = match (key_name, value.get_ref()) {
            ("name", DeValue::String(text)) => {
                name = text.clone().into_owned();
                continue;
            }
            ("name", other) => invalid("name", type_name(other), "a text"),
            (other, _) => {
                AppError::malformed_file(format!("there is no setting {other}"), "[experiment] has only `name`.")
            }
        };
        return Err(Problem { at: Some(key.span()), error });
    }
    Ok(name)
}

/// Puts a table's settings into a configuration. `prefix` stands before the keys of a nested table.
fn read<T: Settings>(config: &mut T, prefix: &str, table: &DeTable<'_>) -> std::result::Result<(), Problem> {
    let mut seen: Vec<&str> = Vec::new();
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        let at = Some(key.span());
        let nested = format!("{name}.");
        if T::SETTINGS.iter().any(|setting| setting.key.starts_with(&nested)) {
            let DeValue::Table(inner) = value.get_ref() else {
                return Err(Problem { at, error: invalid(&name, type_name(value.get_ref()), "a table") });
            };
            read(config, &nested, inner)?;
            continue;
        }
        let Some(setting) = T::find(&name) else {
            let AppError { message, hint, .. } = unknown_setting(&name, T::SETTINGS);
            return Err(Problem { at, error: AppError::malformed_file(message, hint) });
        };
        if seen.contains(&setting.key) {
            let message = format!("{} is given twice, once as {name}", setting.key);
            return Err(Problem { at, error: AppError::malformed_file(message, "Leave one of them out.") });
        }
        seen.push(setting.key);
        let set = match as_text(setting, value.get_ref()) {
            Some(text) => config.set(setting.key, &text),
            None => Err(invalid(setting.key, type_name(value.get_ref()), &setting.limit())),
        };
        set.map_err(|error| Problem { at, error })?;
    }
    Ok(())
}

/// None: the value is not of the setting's type.
fn as_text(setting: &Setting, value: &DeValue<'_>) -> Option<String> {
    match (setting.rule.kind, value) {
        (Kind::Whole { .. } | Kind::Number { .. }, DeValue::Integer(number)) => {
            i128::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
        }
        (Kind::Number { .. }, DeValue::Float(number)) => Some(number.as_str().to_owned()),
        (Kind::Toggle, DeValue::Boolean(on)) => Some(on.to_string()),
        (Kind::Set(_), DeValue::Array(items)) => {
            let items: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            Some(items?.join(","))
        }
        (Kind::Choice(_) | Kind::Line { .. } | Kind::Text { .. } | Kind::File | Kind::Model, DeValue::String(text)) => {
            Some(text.clone().into_owned())
        }
        (_, DeValue::String(text)) if setting.is_off(text) => Some(text.clone().into_owned()),
        _ => None,
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// An id that the data folder knows, or a path.
fn file(text: &str, field: &str, folder: &Path, resources: &Resources) -> Result<String> {
    if resources.file(text).is_ok() {
        return Ok(text.to_owned());
    }
    let path = folder.join(text);
    if !path.is_file() {
        return Err(invalid(
            field,
            format_args!("{text:?}, and there is no file {}", path.display()),
            "`sample-pairs`, `sample-responses`, or the path of a file, relative to the experiment file",
        ));
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(resources.import_file(&name, &path)?.id)
}

fn model(text: &str, folder: &Path, resources: &Resources) -> Result<String> {
    let path: PathBuf = folder.join(text);
    if resources.has_model(text) || Source::of(text) == Some(Source::Wheel) {
        return Ok(text.to_owned());
    }
    if path.exists() {
        return resources.import_model(&path);
    }
    if Source::of(text).is_some() {
        return Ok(text.to_owned());
    }
    Err(invalid(
        "model.model",
        format_args!("{text:?}, and there is nothing at {}", path.display()),
        "a model's id (smollm2-135m-instruct, owner/name) or the path of a model folder or GGUF file",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<ExperimentFile> {
        ExperimentFile::parse(Path::new("x.toml"), text)
    }

    fn example(name: &str) -> ExperimentFile {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
        ExperimentFile::read(&path).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(check("").unwrap(), ExperimentFile::default());
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_line() {
        let error = check("[data]\nwords_above = 3\n\n[train]\nlearning_rte = 1e-3\n").unwrap_err();
        assert_eq!(error.code, spec::ErrorCode::MalformedFile);
        assert!(error.message.contains("line 5") && error.message.contains("learning_rte"), "{error}");
        assert_eq!(error.hint, "Did you mean learning_rate?");
        let error = check("[trian]\n").unwrap_err();
        assert!(error.message.contains("line 1") && error.message.contains("trian"), "{error}");
        let error = check("[train]\nepochs = \"many\"\n").unwrap_err();
        assert!(error.message.contains("line 2"), "{error}");
    }

    #[test]
    fn settings_that_can_be_off_are_turned_off_with_none() {
        let file =
            check("[data]\nquality_above = \"none\"\nlimit = \"none\"\n[train]\nsave_steps = \"none\"\n").unwrap();
        assert_eq!((file.data.quality_above, file.data.limit, file.train.save_steps), (None, None, None));
        assert!(check("[data]\nwords_above = \"none\"\n").is_err());
    }

    #[test]
    fn values_out_of_range_or_of_another_type_are_refused_with_line_and_limit() {
        for (text, message) in [
            ("[train]\n\nrank = 0\n", "x.toml: line 3: rank is 0; it must be a whole number from 1 to 1024"),
            ("[train]\nrank = 16.0\n", "rank is a number with a fraction; it must be a whole number"),
            ("[train]\nrank = \"16\"\n", "rank is a string"),
            ("[train]\nalpha = nan\n", "alpha is nan; it must be a number greater than 0"),
            ("[train]\ntarget_modules = []\n", "target_modules is empty"),
            ("[train]\ntarget_modules = [\"head\"]\n", "one or more of q_proj"),
            ("[train.template]\nprompt = \"x\"\n", "line 2: template.prompt is \"x\""),
            ("[generate]\ntop_p = 0\n", "top_p is 0"),
            ("[data]\nlimit = 0\n", "limit is 0"),
        ] {
            let error = check(text).unwrap_err();
            assert_eq!(error.code, spec::ErrorCode::InvalidSetting, "{error}");
            assert!(error.message.contains(message), "{error}");
        }
    }

    #[test]
    fn earlier_spellings_are_read_but_not_beside_the_new_one() {
        let file = check("[train]\nmax_length = 64\naccumulation = 3\nclip_norm = 2\nschedule = \"cosine\"\n").unwrap();
        let train = &file.train;
        assert_eq!((train.max_seq_length, train.gradient_accumulation_steps, train.max_grad_norm), (64, 3, 2.0));
        let error = check("[train]\nmax_length = 64\nmax_seq_length = 64\n").unwrap_err();
        assert!(error.message.contains("max_seq_length is given twice"), "{error}");
    }

    fn every_setting_takes_its_bounds<T: Settings>(table: &str, of: fn(&ExperimentFile) -> &T) {
        for setting in T::SETTINGS {
            let (good, bad) = match setting.rule.kind {
                // TOML's whole numbers end at 2^63 - 1.
                Kind::Whole { min, max } => (
                    [min.to_string(), max.min(i64::MAX as u64).to_string()],
                    [(i128::from(min) - 1).to_string(), (i128::from(max) + 1).to_string()],
                ),
                Kind::Number { min, max } => {
                    let inside = |bound: spec::Bound, next: f64| if bound.included { bound.value } else { next };
                    let outside = |bound: spec::Bound, next: f64| if bound.included { next } else { bound.value };
                    let good = [inside(min, min.value.next_up()), inside(max, max.value.next_down())];
                    let bad = [outside(min, min.value.next_down()), outside(max, max.value.next_up())];
                    (good.map(|value| format!("{value:?}")), bad.map(|value| format!("{value:?}")))
                }
                _ => continue,
            };
            let text = |value: &str| match setting.key.split_once('.') {
                Some((inner, key)) => format!("[{table}.{inner}]\n{key} = {value}\n"),
                None => format!("[{table}]\n{} = {value}\n", setting.key),
            };
            for value in good {
                let mut same = T::default();
                same.set(setting.key, &value).unwrap();
                let file = check(&text(&value)).unwrap_or_else(|error| panic!("{} {value}: {error}", setting.key));
                assert_eq!(of(&file).get(setting.key), same.get(setting.key));
            }
            for value in bad {
                let error = check(&text(&value)).unwrap_err();
                assert!(error.message.contains("line 2") && error.message.contains(setting.key), "{error}");
            }
        }
    }

    #[test]
    fn every_table_takes_the_bounds_of_its_settings_and_nothing_beyond() {
        every_setting_takes_its_bounds("data", |file| &file.data);
        every_setting_takes_its_bounds("train", |file| &file.train);
        every_setting_takes_its_bounds("generate", |file| &file.generate);
    }

    #[test]
    fn both_examples_can_be_read_and_the_seed_recipe_is_the_published_one() {
        assert_eq!(example("quick-start.toml").data.file, "sample-pairs");
        let recipe = example("seed-recipe.toml");
        let train = &recipe.train;
        assert_eq!((train.rank, train.alpha, train.dropout), (16, 32.0, 0.1));
        assert_eq!(
            (train.max_seq_length, train.batch_size, train.gradient_accumulation_steps, train.epochs),
            (512, 4, 4, 5)
        );
        assert_eq!(train.learning_rate, 5e-4);
        assert_eq!(train.template, spec::TemplateConfig::seed_recipe());
        assert_eq!((train.loss_on, train.truncation), (spec::LossOn::All, spec::Truncation::Right));
    }

    #[test]
    fn paths_are_relative_to_the_file_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let resources = Resources::open(&folder.path().join("data")).unwrap();
        std::fs::write(folder.path().join("my.jsonl"), "{\"response\": \"r\"}\n").unwrap();
        let id = file("my.jsonl", "data.file", folder.path(), &resources).unwrap();
        assert!(resources.file(&id).is_ok());
        let error = file("other.jsonl", "data.file", folder.path(), &resources).unwrap_err();
        assert_eq!(error.code, spec::ErrorCode::InvalidSetting);
        assert!(error.message.contains("data.file") && error.message.contains("other.jsonl"));
    }
}
