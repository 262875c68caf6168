//! Every command that a page or a headless verb sends to the server, with the type of its answer.
//!
//! A new command is one line in this list and one arm in the server's `service::commands`.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    AppError, CellKind, CompareQuery, Comparison, CurationChange, CurationCounts, DataFile, Decision,
    ExperimentSummary, GenerateRun, GeneratedPair, Grades, MatchingPairs, ModelChoice, Notebook, PairFilter, PairsPage,
    PairsQuery, Preset, RatingItem, RatingSummary, Replayed, Report, ReportQuery, RunView, ShareLink, StaleReason,
    StopMode, SystemInfo,
};

/// A command's struct: its parameters, its name on the wire, and what answers it.
pub trait Request: Serialize + Into<Command> + Send + 'static {
    type Answer: Serialize + DeserializeOwned + Send + 'static;
    const NAME: &'static str;
}

macro_rules! commands {
    ($(
        $(#[$doc:meta])*
        $name:ident $type:ident { $($(#[$field_doc:meta])* $field:ident: $field_type:ty),* $(,)? } -> $answer:ty;
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $type {
                $($(#[$field_doc])* pub $field: $field_type,)*
            }

            impl Request for $type {
                type Answer = $answer;
                const NAME: &'static str = stringify!($name);
            }

            impl From<$type> for Command {
                fn from(request: $type) -> Self {
                    Self::$type(request)
                }
            }
        )*

        #[derive(Clone, Debug, PartialEq)]
        pub enum Command {
            $($type($type),)*
        }

        impl Command {
            pub const NAMES: &[&str] = &[$($type::NAME,)*];

            #[cfg(test)]
            const TYPES: &[&str] = &[$(stringify!($type),)*];

            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$type(_) => $type::NAME,)*
                }
            }

            /// Reads the parameters of the command with this name. None: there is no such command.
            pub fn read<'de, D: Deserializer<'de>>(name: &str, parameters: D) -> Option<Result<Self, D::Error>> {
                match name {
                    $($type::NAME => Some($type::deserialize(parameters).map(Self::$type)),)*
                    _ => None,
                }
            }
        }
    };
}

commands! {
    open_experiments OpenExperiments {} -> ExperimentsPage;
    create_experiment CreateExperiment { name: String, preset: Preset, key: IdempotencyKey } -> i64;
    rename_experiment RenameExperiment { experiment: i64, name: String } -> ();
    /// Refused (`conflict`) while one of its runs is active. Deletes its runs and their artifacts.
    delete_experiment DeleteExperiment { experiment: i64 } -> ();

    /// A notebook with all that its page needs beside it.
    open_notebook OpenNotebook { experiment: i64 } -> NotebookPage;
    get_notebook GetNotebook { experiment: i64 } -> Notebook;
    add_cell AddCell {
        experiment: i64,
        kind: CellKind,
        /// 0-based; beyond the end means at the end.
        position: u32,
    } -> Notebook;
    /// Changes single settings of a cell, so that two pages that edit different settings both keep their edits.
    save_cell SaveCell {
        cell: i64,
        /// Setting and its new value as text, as `CellConfig::set` reads it. All are applied, or none.
        changes: Vec<(String, String)>,
        /// Identifies the sending page.
        client: IdempotencyKey,
        /// Increases with every save of this client. A setting that this client changed with the same or a higher
        /// number stays as it is: a repeated or overtaken request changes nothing.
        number: u64,
    } -> SavedCell;
    move_cell MoveCell { cell: i64, position: u32 } -> Notebook;
    delete_cell DeleteCell { cell: i64 } -> Notebook;

    /// Queues this cell and, before it, those of its inputs that are stale or never ran.
    run_cell RunCell {
        cell: i64,
        /// Also trains again where an input is a stale training; without it such a request is refused.
        retrain: bool,
        key: IdempotencyKey,
    } -> Notebook;
    /// Queues every cell that is stale, failed or never ran.
    run_all RunAll { experiment: i64, key: IdempotencyKey } -> Notebook;
    stop_run StopRun { run: i64, mode: StopMode } -> ();
    /// Continues a stopped, failed or interrupted training or generation from what it saved.
    resume_run ResumeRun { run: i64, key: IdempotencyKey } -> Notebook;
    get_run GetRun { run: i64 } -> RunView;
    list_pairs ListPairs { query: PairsQuery } -> PairsPage;
    /// The pairs of a generate run that the filter shows, in its order: index, and row of the corpus file (1-based). A
    /// page that decides on pairs keeps this list, since a decision may take a pair out of the filter.
    match_pairs MatchPairs { run: i64, filter: PairFilter } -> MatchingPairs;
    /// These pairs, in this order. At most 200.
    get_pairs GetPairs { run: i64, indexes: Vec<u32> } -> Vec<GeneratedPair>;
    /// Changes what a person decided on pairs of a generate run. All are applied, or none.
    curate_pairs CuratePairs {
        run: i64,
        changes: Vec<CurationChange>,
    } -> CurationCounts;
    /// Decides on every pair that the filter shows. Answers with the changes that take it back.
    decide_matching DecideMatching { run: i64, filter: PairFilter, decision: Option<Decision> } -> Vec<CurationChange>;
    /// Adds the pairs that a curate run kept to the data files, to train on. Repeated, it gives the same file.
    add_kept_pairs AddKeptPairs { run: i64 } -> DataFile;

    /// Every generate run with pairs, newest first.
    list_generate_runs ListGenerateRuns {} -> Vec<GenerateRun>;
    compare_runs CompareRuns { query: CompareQuery } -> Comparison;

    /// The texts of a generate run that are rated, in an order of the rater's own, without who wrote them.
    get_rating_items GetRatingItems { run: i64, rater: String } -> Vec<RatingItem>;
    /// `item` is one of [`GetRatingItems`] for this rater. Replaces earlier grades.
    rate_item RateItem { run: i64, rater: String, item: u32, grades: Grades } -> ();
    /// None where nobody rated.
    get_rating_summary GetRatingSummary { run: i64 } -> Option<RatingSummary>;

    /// Generates these pairs of a finished generate run anew, at most [`Replayed::MOST`], and compares the texts.
    replay_pairs ReplayPairs { run: i64, indexes: Vec<u32> } -> Vec<Replayed>;

    list_models ListModels {} -> Vec<ModelChoice>;
    list_files ListFiles {} -> Vec<DataFile>;

    /// `run` is one of a report cell.
    open_report OpenReport { run: i64, query: ReportQuery } -> ReportPage;
    share_report ShareReport { run: i64 } -> ShareLink;
    list_shares ListShares { run: i64 } -> Vec<ShareLink>;
    revoke_share RevokeShare { share: i64 } -> ();
    /// What a share link opens. Unknown, malformed and revoked tokens give the same `not_found`.
    open_shared_report OpenSharedReport { token: String, query: ReportQuery } -> ReportPage;
}

impl Command {
    /// Commands that need no session. Everything else is refused to guests.
    pub fn is_public(name: &str) -> bool {
        name == OpenSharedReport::NAME
    }
}

/// Chosen by the client, the same for every attempt of one command: the server carries the command out once.
/// The empty key is no key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// In bytes.
    pub const MAX_LENGTH: usize = 64;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for IdempotencyKey {
    type Error = AppError;

    fn try_from(key: String) -> Result<Self, AppError> {
        if key.len() <= Self::MAX_LENGTH {
            return Ok(Self(key));
        }
        Err(AppError::too_large(
            format!("The idempotency key has {} bytes; the limit is {}.", key.len(), Self::MAX_LENGTH),
            "Use a shorter random text, such as a UUID.",
        ))
    }
}

/// All that the list of experiments shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExperimentsPage {
    pub experiments: Vec<ExperimentSummary>,
    pub system: SystemInfo,
}

/// All that a notebook shows at first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotebookPage {
    pub notebook: Notebook,
    pub models: Vec<ModelChoice>,
    pub files: Vec<DataFile>,
    pub system: SystemInfo,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedCell {
    /// Of the cell's configuration; increases with every change, whoever made it.
    pub version: u64,
    /// Why the newest run of each cell no longer matches; cells that are not here match.
    pub stale: Vec<(i64, Vec<StaleReason>)>,
}

/// A report with one page of its pairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportPage {
    /// Holds the shown pairs only.
    pub report: Report,
    /// Pairs in the whole report.
    pub pairs: u64,
    /// Pairs that match the filter, on all pages.
    pub matching: u64,
    /// Position of the first shown pair among those that match.
    pub offset: u64,
    /// The experiment that the report was made in; for its owner only.
    pub experiment: Option<i64>,
    #[serde(default)]
    pub examples: Examples,
}

/// Three pairs that show the range of what was generated; of the kept ones, if any are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Examples {
    /// Ranked by ROUGE-L, highest first; else by the longest copied run, shortest first.
    pub by_rouge: bool,
    /// The first without a failure tag, if there is one.
    pub best: Option<GeneratedPair>,
    pub median: Option<GeneratedPair>,
    pub worst: Option<GeneratedPair>,
}

impl ReportPage {
    /// Pairs on one page.
    pub const PAIRS: u64 = 100;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Command, String> {
        let mut parameters = serde_json::Deserializer::from_str(text);
        Command::read(name, &mut parameters).unwrap().map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_the_types_in_snake_case_and_unique() {
        let snake = |name: &str| {
            let mut snake = String::new();
            for character in name.chars() {
                if character.is_uppercase() && !snake.is_empty() {
                    snake.push('_');
                }
                snake.push(character.to_ascii_lowercase());
            }
            snake
        };
        let types: Vec<String> = Command::TYPES.iter().map(|name| snake(name)).collect();
        assert_eq!(Command::NAMES, types);
        let mut names = Command::NAMES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Command::NAMES.len());
    }

    #[test]
    fn a_command_with_an_unknown_or_missing_field_is_refused_by_name() {
        let known = read("rename_experiment", r#"{"experiment":1,"name":"x"}"#).unwrap();
        assert_eq!(known, Command::RenameExperiment(RenameExperiment { experiment: 1, name: "x".to_owned() }));
        let unknown = read("rename_experiment", r#"{"experiment":1,"name":"x","extra":2}"#).unwrap_err();
        assert!(unknown.contains("extra"), "{unknown}");
        let missing = read("rename_experiment", r#"{"experiment":1}"#).unwrap_err();
        assert!(missing.contains("name"), "{missing}");
        let nested = read("list_pairs", r#"{"query":{"run":1,"colour":2}}"#).unwrap_err();
        assert!(nested.contains("colour"), "{nested}");
        assert!(Command::read("shutdown", &mut serde_json::Deserializer::from_str("{}")).is_none());
    }

    #[test]
    fn a_long_idempotency_key_is_refused() {
        let body = |length: usize| format!(r#"{{"experiment":1,"key":"{}"}}"#, "k".repeat(length));
        assert!(read("run_all", &body(64)).is_ok());
        assert!(read("run_all", &body(65)).unwrap_err().contains("limit is 64"));
    }

    #[test]
    fn guests_may_open_shared_reports_and_nothing_else() {
        let public: Vec<&&str> = Command::NAMES.iter().filter(|name| Command::is_public(name)).collect();
        assert_eq!(public, [&OpenSharedReport::NAME]);
    }
}
