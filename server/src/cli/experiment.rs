//! An experiment file: TOML tables in the wire configuration's spelling, with paths in place of ids.
//!
//! A field that nobody knows is refused with its line; a setting that can be off is turned off with `"none"`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use spec::{CellConfig, DataConfig, GenerateConfig, ModelConfig, ReportConfig, TrainConfig};
use toml::de::{DeTable, DeValue};

use super::Result;
use crate::adapter;
use crate::models::Source;
use crate::resources::Resources;

/// Larger is no experiment.
const MOST_BYTES: u64 = 1 << 20;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExperimentFile {
    pub experiment: About,
    pub data: DataConfig,
    pub model: ModelConfig,
    pub train: TrainConfig,
    pub generate: GenerateConfig,
    pub report: ReportConfig,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct About {
    pub name: String,
}

impl Default for About {
    fn default() -> Self {
        Self { name: "Experiment".to_owned() }
    }
}

/// TOML has no null: these may hold `"none"`.
const CAN_BE_NONE: [&[&str]; 7] = [
    &["data", "quality_above"],
    &["data", "limit"],
    &["train", "max_steps"],
    &["train", "evaluate_every"],
    &["train", "checkpoint_every"],
    &["train", "template", "generation_prompt"],
    &["generate", "limit"],
];

impl ExperimentFile {
    pub fn read(path: &Path) -> Result<Self> {
        let size = std::fs::metadata(path).map_err(|error| adapter::error(engine::Error::io(path)(error)))?.len();
        if size > MOST_BYTES {
            return Err(adapter::error(engine::Error::malformed(
                path,
                "size",
                format!("{size} bytes; an experiment file has at most {MOST_BYTES}"),
            )));
        }
        Self::parse(path, &super::model::read_text(path)?)
    }

    fn parse(path: &Path, text: &str) -> Result<Self> {
        parse(text).map_err(|mut error| {
            error.set_input(Some(text));
            let place = match error.span() {
                Some(span) => format!("line {}", text[..span.start.min(text.len())].matches('\n').count() + 1),
                None => "the file".to_owned(),
            };
            adapter::error(engine::Error::malformed(path, place, error.message().trim()))
        })
    }

    /// The cells, with files and models taken into the data folder; `folder` is what paths are relative to.
    pub fn cells(&self, folder: &Path, resources: &Resources) -> Result<Vec<CellConfig>> {
        let mut data = self.data.clone();
        data.file = file(&data.file, "data.file", folder, resources)?;
        let mut generate = self.generate.clone();
        generate.file = file(&generate.file, "generate.file", folder, resources)?;
        let model = ModelConfig { model: model(&self.model.model, folder, resources)? };
        // Settings are refused here, before anything is queued.
        adapter::pair_rule(&data)?;
        adapter::train_config(&self.train)?;
        adapter::template(&self.train.template)?;
        adapter::generate_config(&generate)?;
        Ok(vec![
            CellConfig::Data(data),
            CellConfig::Model(model),
            CellConfig::Train(self.train.clone()),
            CellConfig::Generate(generate),
            CellConfig::Report(self.report.clone()),
        ])
    }
}

fn parse(text: &str) -> std::result::Result<ExperimentFile, toml::de::Error> {
    let mut document = DeTable::parse(text)?;
    let none: Vec<&[&str]> = CAN_BE_NONE.into_iter().filter(|path| take_none(document.get_mut(), path)).collect();
    let mut file = ExperimentFile::deserialize(toml::Deserializer::from(document))?;
    for path in none {
        match path {
            ["data", "quality_above"] => file.data.quality_above = None,
            ["data", "limit"] => file.data.limit = None,
            ["train", "max_steps"] => file.train.max_steps = None,
            ["train", "evaluate_every"] => file.train.evaluate_every = None,
            ["train", "checkpoint_every"] => file.train.checkpoint_every = None,
            ["train", "template", "generation_prompt"] => file.train.template.generation_prompt = None,
            _ => file.generate.limit = None,
        }
    }
    Ok(file)
}

/// Removes the setting where it is `"none"`, and says whether it was.
fn take_none(table: &mut DeTable<'_>, path: &[&str]) -> bool {
    match path {
        [] => false,
        [name] => {
            let is_none = table.get(*name).is_some_and(|value| value.get_ref().as_str() == Some("none"));
            if is_none {
                table.remove(*name);
            }
            is_none
        }
        [name, rest @ ..] => match table.get_mut(*name).map(|value| value.get_mut()) {
            Some(DeValue::Table(inner)) => take_none(inner, rest),
            _ => false,
        },
    }
}

/// An id that the data folder knows, or a path.
fn file(text: &str, field: &str, folder: &Path, resources: &Resources) -> Result<String> {
    if resources.file(text).is_ok() {
        return Ok(text.to_owned());
    }
    let path = folder.join(text);
    if !path.is_file() {
        return Err(adapter::invalid(
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
    Err(adapter::invalid(
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
        let error = check("[trian]\n").unwrap_err();
        assert!(error.message.contains("line 1") && error.message.contains("trian"), "{error}");
        let error = check("[train]\nepochs = \"many\"\n").unwrap_err();
        assert!(error.message.contains("line 2"), "{error}");
    }

    #[test]
    fn settings_that_can_be_off_are_turned_off_with_none() {
        let file = check("[data]\nquality_above = \"none\"\nlimit = \"none\"\n[train]\ncheckpoint_every = \"none\"\n")
            .unwrap();
        assert_eq!((file.data.quality_above, file.data.limit, file.train.checkpoint_every), (None, None, None));
        assert!(check("[data]\nwords_above = \"none\"\n").is_err());
    }

    #[test]
    fn both_examples_can_be_read_and_the_seed_recipe_is_the_published_one() {
        assert_eq!(example("quick-start.toml").data.file, "sample-pairs");
        let recipe = example("seed-recipe.toml");
        let train = &recipe.train;
        assert_eq!((train.rank, train.alpha, train.dropout), (16, 32.0, 0.1));
        assert_eq!((train.max_length, train.batch_size, train.accumulation, train.epochs), (512, 4, 4, 5));
        assert_eq!(train.learning_rate, 5e-4);
        assert_eq!(train.template, spec::TemplateConfig::seed_recipe());
        assert_eq!((train.loss_on, train.truncation), (spec::LossOn::All, spec::Truncation::Right));
        adapter::train_config(train).unwrap();
        adapter::generate_config(&recipe.generate).unwrap();
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
