//! Flags that several verbs share. Those of settings are made from the settings' tables.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, ValueEnum};
use spec::{AppError, DataConfig, GenerateConfig, Group, Kind, Setting, Settings, TrainConfig, Turns};

use super::Result;
use crate::models::{self, Source};

/// Which settings a verb has flags for.
pub trait FlagSet: Clone + Debug + Default {
    type Config: Settings;

    fn has(setting: &Setting) -> bool;
}

macro_rules! flag_sets {
    ($($(#[$doc:meta])* $name:ident of $config:ident: $has:expr;)*) => {
        $($(#[$doc])*
        #[derive(Clone, Debug, Default)]
        pub struct $name;

        impl FlagSet for $name {
            type Config = $config;

            fn has(setting: &Setting) -> bool {
                let has: fn(&Setting) -> bool = $has;
                has(setting)
            }
        })*
    };
}

flag_sets! {
    PairRule of DataConfig: |setting| !is_path(setting) && setting.group != Group::Split;
    Split of DataConfig: |setting| setting.group == Group::Split;
    Training of TrainConfig: |_| true;
    /// How large an adapter is.
    AdapterSize of TrainConfig: |setting| matches!(setting.key, "rank" | "target_modules");
    Generation of GenerateConfig: |setting| !is_path(setting);
}

/// Files and models have arguments of their own.
fn is_path(setting: &Setting) -> bool {
    matches!(setting.rule.kind, Kind::File | Kind::Model)
}

/// The settings that were given as flags, as text that was checked.
#[derive(Clone, Debug, Default)]
pub struct SettingFlags<S> {
    given: Vec<(&'static Setting, String)>,
    set: PhantomData<S>,
}

impl<S: FlagSet> SettingFlags<S> {
    fn settings() -> impl Iterator<Item = &'static Setting> {
        S::Config::SETTINGS.iter().filter(|setting| S::has(setting))
    }

    pub fn is_given(&self, key: &str) -> bool {
        self.given.iter().any(|(setting, _)| setting.key == key)
    }

    /// Puts what was given over a configuration from elsewhere.
    pub fn apply(&self, config: &mut S::Config) -> Result<()> {
        self.given.iter().try_for_each(|(setting, text)| config.set(setting.key, text))
    }
}

impl<S: FlagSet> Args for SettingFlags<S> {
    fn augment_args(command: Command) -> Command {
        let default = S::Config::default();
        Self::settings()
            .fold(command, |command, setting| command.arg(flag(setting, &default.get(setting.key).unwrap_or_default())))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<S: FlagSet> FromArgMatches for SettingFlags<S> {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        let given =
            Self::settings().filter_map(|setting| Some((setting, matches.get_one::<String>(setting.key)?.clone())));
        Ok(Self { given: given.collect(), set: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn flag(setting: &'static Setting, default: &str) -> Arg {
    let name = match setting.rule.kind {
        Kind::Whole { .. } => "N",
        Kind::Number { .. } => "NUMBER",
        Kind::Toggle => "BOOL",
        Kind::Choice(_) | Kind::Set(_) => "NAME",
        Kind::Line { .. } | Kind::Text { .. } | Kind::File | Kind::Model => "TEXT",
    };
    let default = match setting.rule.off {
        Some(off) if default.is_empty() => off.to_owned(),
        _ if default.contains('\n') => format!("{default:?}"),
        _ => default.to_owned(),
    };
    let arg = Arg::new(setting.key)
        .long(setting.flag())
        .aliases(setting.aliases.iter().map(|alias| alias.replace('_', "-")))
        .value_name(name)
        .help(format!("{} Accepts {} [default: {default}]", setting.help, setting.limit()))
        .help_heading(setting.group.label())
        .allow_negative_numbers(true)
        .value_parser(move |text: &str| match setting.check(text) {
            Ok(()) => Ok(text.to_owned()),
            Err(_) => Err(format!("it must be {}", setting.limit())),
        });
    match setting.rule.kind {
        // On its own it means true.
        Kind::Toggle => arg.num_args(0..=1).default_missing_value("true"),
        _ => arg,
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum NamedRule {
    /// As published: best-ranked English replies at any turn, quality above 0.6, more than 5 words, the best 3200
    Seed,
    /// The same, but only the first exchange of each conversation: the default here and of a data cell
    #[default]
    FirstTurn,
    /// Best-ranked English replies at any turn, whatever their quality and length
    Rank0,
    /// Every exchange
    All,
}

impl NamedRule {
    pub fn name(self) -> &'static str {
        match self {
            Self::Seed => "seed",
            Self::FirstTurn => "first-turn",
            Self::Rank0 => "rank0",
            Self::All => "all",
        }
    }

    fn config(self) -> DataConfig {
        let first_turn = DataConfig::default();
        match self {
            Self::FirstTurn => first_turn,
            Self::Seed => DataConfig { turns: Turns::Any, ..first_turn },
            Self::Rank0 => {
                DataConfig { turns: Turns::Any, quality_above: None, words_above: 0, limit: None, ..first_turn }
            }
            Self::All => DataConfig {
                turns: Turns::Any,
                language: String::new(),
                best_reply_only: false,
                quality_above: None,
                words_above: 0,
                limit: None,
                ..first_turn
            },
        }
    }
}

/// Which exchanges become pairs: a named rule, and what differs from it.
#[derive(Clone, Debug, Default, Args)]
pub struct RuleFlags {
    /// Start from this rule [default: first-turn]
    #[arg(long, value_enum, help_heading = "Pair rule")]
    pub rule: Option<NamedRule>,
    #[command(flatten)]
    pub settings: SettingFlags<PairRule>,
}

impl RuleFlags {
    /// Nothing is said about which exchanges to keep.
    pub fn is_default(&self) -> bool {
        self.rule.is_none() && self.settings.given.iter().all(|(setting, _)| setting.key == "format")
    }

    /// The rule on its own, from [`NamedRule::FirstTurn`], a data cell's own, if none is named.
    pub fn config(&self) -> Result<DataConfig> {
        let mut config = self.rule.unwrap_or_default().config();
        self.settings.apply(&mut config)?;
        Ok(config)
    }

    /// These flags over a configuration from elsewhere.
    pub fn over(&self, config: DataConfig) -> Result<DataConfig> {
        let mut config = match self.rule {
            Some(rule) => DataConfig {
                file: config.file,
                validation_split: config.validation_split,
                split_seed: config.split_seed,
                ..rule.config()
            },
            None => config,
        };
        self.settings.apply(&mut config)?;
        Ok(config)
    }
}

#[derive(Clone, Debug, Args)]
pub struct DeviceFlag {
    /// What computes: flex (the CPU), cuda:0, vulkan:0
    #[arg(long, default_value = "flex")]
    pub device: String,
}

#[derive(Clone, Debug, Args)]
pub struct DataFolderFlag {
    /// Where experiments, models and reports are kept
    #[arg(long, value_name = "DIR", default_value = "./data")]
    pub data: PathBuf,
}

/// A base model on this machine: a path, or the id of one that was fetched into the data folder.
pub fn model_path(model: &str, data: &Path) -> Result<PathBuf> {
    let path = Path::new(model);
    if path.exists() {
        return Ok(path.to_owned());
    }
    let source = Source::of(model);
    if let Some(folder) = source.as_ref().and_then(|source| models::present(&data.join("models"), source)) {
        return Ok(folder);
    }
    let hint = match source {
        Some(_) => format!("If it is a model's id, fetch it first: backtranslate model fetch {model}"),
        None => format!("Give a model folder, a GGUF file, or an id such as {}.", models::DEFAULT),
    };
    Err(AppError::not_found(format!("there is no model at {model}"), hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<S: FlagSet>(arguments: &[&str]) -> std::result::Result<SettingFlags<S>, clap::Error> {
        let command = SettingFlags::<S>::augment_args(Command::new("x"));
        let arguments = std::iter::once("x").chain(arguments.iter().copied());
        SettingFlags::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    /// Texts at both ends of a number's range, and texts beyond them.
    fn bounds(setting: &Setting) -> Option<([String; 2], [String; 2])> {
        match setting.rule.kind {
            Kind::Whole { min, max } => {
                let beyond = |by: i128, from: u64| (i128::from(from) + by).to_string();
                Some(([min.to_string(), max.to_string()], [beyond(-1, min), beyond(1, max)]))
            }
            Kind::Number { min, max } => {
                let inside = |bound: spec::Bound, next: f64| if bound.included { bound.value } else { next };
                let outside = |bound: spec::Bound, next: f64| if bound.included { next } else { bound.value };
                let good = [inside(min, min.value.next_up()), inside(max, max.value.next_down())];
                let bad = [outside(min, min.value.next_down()), outside(max, max.value.next_up())];
                Some((good.map(|value| value.to_string()), bad.map(|value| value.to_string())))
            }
            _ => None,
        }
    }

    fn flags_accept_what_settings_accept<S: FlagSet>() {
        for setting in SettingFlags::<S>::settings() {
            let Some((good, bad)) = bounds(setting) else { continue };
            for name in std::iter::once(&setting.key).chain(setting.aliases) {
                let flag = format!("--{}", name.replace('_', "-"));
                for text in &good {
                    let mut config = S::Config::default();
                    parse::<S>(&[&flag, text]).unwrap().apply(&mut config).unwrap();
                    let mut same = S::Config::default();
                    same.set(setting.key, text).unwrap();
                    assert_eq!(config.get(setting.key), same.get(setting.key));
                }
                for text in &bad {
                    let error = parse::<S>(&[&flag, text]).unwrap_err().to_string();
                    assert!(error.contains(&setting.limit()), "{flag} {text}: {error}");
                }
            }
        }
    }

    #[test]
    fn every_flag_takes_the_bounds_of_its_setting_and_nothing_beyond() {
        flags_accept_what_settings_accept::<PairRule>();
        flags_accept_what_settings_accept::<Split>();
        flags_accept_what_settings_accept::<Training>();
        flags_accept_what_settings_accept::<Generation>();
    }

    #[test]
    fn a_toggle_needs_no_value_and_takes_one() {
        let given = |arguments: &[&str]| {
            let mut config = TrainConfig::default();
            parse::<Training>(arguments).unwrap().apply(&mut config).unwrap();
            config.gradient_checkpointing
        };
        assert!(given(&["--gradient-checkpointing"]) && given(&["--recompute-layers", "--rank", "4"]));
        assert!(!given(&["--gradient-checkpointing", "false"]) && !given(&[]));
    }

    #[test]
    fn help_has_range_and_default_and_hides_earlier_spellings() {
        let help = SettingFlags::<Training>::augment_args(Command::new("x")).render_long_help().to_string();
        assert!(help.contains("--max-seq-length") && !help.contains("--max-length"), "{help}");
        assert!(help.contains("a whole number from 1 to 1024 [default: 16]"), "{help}");
        assert!(help.contains("[default: q_proj, v_proj]") && help.contains("or `none` [default: none]"), "{help}");
    }
}
