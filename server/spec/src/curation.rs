//! What a person decides on generated pairs, which of them are shown, and the shapes in which they are taken away.

use serde::{Deserialize, Serialize};

use crate::setting::{Value as _, choices};
use crate::{AppError, GeneratedPair, ScoreSummary, Tag};

choices! {
    /// A person's decision on a pair.
    Decision {
        Keep "keep" "keep",
        Drop "drop" "drop",
    }
}

/// What a person decided on a pair and wrote to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Curation {
    pub decision: Option<Decision>,
    /// In place of the generated instruction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Curation {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// In bytes, of an edited instruction and of a note.
    pub const MAX_TEXT: usize = 1 << 16;
}

/// A change of one part of a pair's curation, so that two pages that change different parts both keep their changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurationChange {
    /// The pair's position among the rows that were used.
    pub index: u32,
    pub part: CurationPart,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CurationPart {
    /// None: undecided.
    Decision(Option<Decision>),
    /// None: as it was generated.
    Instruction(Option<String>),
    Note(String),
}

impl CurationPart {
    pub fn apply(&self, curation: &mut Curation) {
        match self {
            Self::Decision(decision) => curation.decision = *decision,
            Self::Instruction(instruction) => curation.instruction.clone_from(instruction),
            Self::Note(note) => curation.note.clone_from(note),
        }
    }

    /// The change that takes this one back.
    pub fn inverse(&self, before: &Curation) -> Self {
        match self {
            Self::Decision(_) => Self::Decision(before.decision),
            Self::Instruction(_) => Self::Instruction(before.instruction.clone()),
            Self::Note(_) => Self::Note(before.note.clone()),
        }
    }
}

/// Of all pairs of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurationCounts {
    pub pairs: u64,
    pub keep: u64,
    pub drop: u64,
    /// With an edited instruction.
    pub edited: u64,
}

impl CurationCounts {
    pub fn undecided(&self) -> u64 {
        self.pairs.saturating_sub(self.keep + self.drop)
    }
}

impl GeneratedPair {
    /// The edited instruction where there is one, else the generated one.
    pub fn instruction(&self) -> &str {
        let edited = self.curation.as_ref().and_then(|curation| curation.instruction.as_deref());
        edited.unwrap_or(&self.generated)
    }

    pub fn is_edited(&self) -> bool {
        self.curation.as_ref().is_some_and(|curation| curation.instruction.is_some())
    }

    /// What [`Self::instruction`] is better than: the generated text where a person wrote or picked another one, else the
    /// candidate that ranked last. None where there is neither.
    pub fn rejected(&self) -> Option<&str> {
        let last = self.candidates.last().map(|candidate| candidate.text.as_str());
        let rejected = if self.is_edited() { Some(self.generated.as_str()) } else { last };
        rejected.filter(|text| *text != self.instruction())
    }

    /// With a failure tag. Tags are those of the generated text, which an edit replaces.
    pub fn is_tagged(&self) -> bool {
        !self.scores.tags.is_empty() && self.instruction() == self.generated
    }

    pub fn decision(&self) -> Option<Decision> {
        self.curation.as_ref().and_then(|curation| curation.decision)
    }

    /// Row of the corpus file, 1-based. Older versions kept only the position among the rows that were used.
    pub fn source_row(&self) -> u64 {
        self.row.unwrap_or(u64::from(self.index) + 1)
    }
}

/// Which pairs are meant, by failure tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TagFilter {
    #[default]
    All,
    /// Without any tag.
    Untagged,
    /// With at least one.
    Tagged,
    Tag(Tag),
}

impl TagFilter {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "",
            Self::Untagged => "none",
            Self::Tagged => "any",
            Self::Tag(tag) => tag.as_str(),
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::All => "All",
            Self::Untagged => "No failure tag",
            Self::Tagged => "Any failure tag",
            Self::Tag(tag) => tag.label(),
        }
    }

    pub fn choices() -> impl Iterator<Item = Self> {
        [Self::All, Self::Untagged, Self::Tagged].into_iter().chain(Tag::ALL.iter().copied().map(Self::Tag))
    }
}

impl TryFrom<String> for TagFilter {
    type Error = AppError;

    fn try_from(text: String) -> Result<Self, AppError> {
        Self::choices().find(|filter| filter.as_str() == text).ok_or_else(|| {
            let known: Vec<&str> = Self::choices().map(Self::as_str).filter(|text| !text.is_empty()).collect();
            AppError::invalid_setting(
                format!("There is no failure tag {text:?}."),
                format!("The tags are: {}; none for pairs without one.", known.join(", ")),
            )
        })
    }
}

impl From<TagFilter> for String {
    fn from(filter: TagFilter) -> Self {
        filter.as_str().to_owned()
    }
}

choices! {
    /// Which pairs are meant, by what a person decided.
    DecisionFilter {
        All "" "All",
        Keep "keep" "Kept",
        Drop "drop" "Dropped",
        Undecided "undecided" "Undecided",
        /// With an edited instruction.
        Edited "edited" "Edited",
    }
}

choices! {
    PairSort {
        Index "index" "Row",
        RougeDescending "rouge_descending" "ROUGE-L, highest first",
        RougeAscending "rouge_ascending" "ROUGE-L, lowest first",
        CopiedDescending "copied_descending" "Most copied first",
        LengthDescending "length_descending" "Longest first",
        LengthAscending "length_ascending" "Shortest first",
    }
}

/// Which pairs are meant, in which order. An address holds it as its query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PairFilter {
    pub tag: TagFilter,
    pub decision: DecisionFilter,
    /// Only pairs whose text holds this, in any case; empty: all.
    pub text: String,
    pub sort: PairSort,
}

impl Default for PairFilter {
    fn default() -> Self {
        Self { tag: TagFilter::All, decision: DecisionFilter::All, text: String::new(), sort: PairSort::Index }
    }
}

impl PairFilter {
    /// Of the text that pairs are searched for, in bytes.
    pub const MAX_TEXT: usize = 1_000;
    /// Of an address's query.
    pub const NAMES: [&str; 4] = ["tag", "decision", "text", "sort"];

    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it only sorts.
    pub fn shows_all(&self) -> bool {
        Self { sort: PairSort::Index, ..self.clone() }.is_default()
    }

    /// Names and values that differ from the defaults, for an address; not escaped.
    pub fn to_query(&self) -> Vec<(&'static str, String)> {
        let parts = [
            ("tag", self.tag.as_str().to_owned()),
            ("decision", self.decision.as_str().to_owned()),
            ("text", self.text.clone()),
            ("sort", self.sort.as_str().to_owned()),
        ];
        let usual = PairSort::Index.as_str();
        parts.into_iter().filter(|(_, value)| !value.is_empty() && value != usual).collect()
    }

    /// Reads one name and value of an address. What is not understood means everything, so that an old link still opens.
    pub fn read_query(&mut self, name: &str, value: &str) {
        match name {
            "tag" => self.tag = TagFilter::try_from(value.to_owned()).unwrap_or_default(),
            "decision" => self.decision = DecisionFilter::read(value).unwrap_or(DecisionFilter::All),
            "text" => self.text = value.chars().take(Self::MAX_TEXT / 4).collect(),
            "sort" => self.sort = PairSort::read(value).unwrap_or(PairSort::Index),
            _ => {}
        }
    }

    pub fn check(&self) -> Result<(), AppError> {
        if self.text.len() <= Self::MAX_TEXT {
            return Ok(());
        }
        Err(AppError::too_large(
            format!("The search text has {} bytes; the limit is {}.", self.text.len(), Self::MAX_TEXT),
            "Search for a shorter part of it.",
        ))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PairsQuery {
    /// Of a generate cell.
    pub run: i64,
    pub offset: u32,
    /// At most 200.
    pub limit: u32,
    pub filter: PairFilter,
}

/// Which pairs of a report are shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReportQuery {
    pub filter: PairFilter,
    /// 1-based; 0 gives all pairs, to the owner only.
    pub page: u32,
    /// Row of the corpus file, 1-based: the page that holds it is shown, and the pair is open.
    pub row: Option<u64>,
}

impl Default for ReportQuery {
    fn default() -> Self {
        Self { filter: PairFilter::default(), page: 1, row: None }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairsPage {
    /// Pairs that match the query, on all pages.
    pub total: u64,
    pub pairs: Vec<GeneratedPair>,
    /// Of all pairs of the run, whatever the filter.
    #[serde(default)]
    pub counts: CurationCounts,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchingPairs {
    /// Index, and row of the corpus file (1-based), of each.
    pub pairs: Vec<(u32, u64)>,
    /// Of all pairs of the run, whatever the filter.
    pub counts: CurationCounts,
}

/// A generate run that can be compared with another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerateRun {
    pub run: i64,
    /// Name of its experiment.
    pub experiment: String,
    pub created_ms: i64,
    pub pairs: u64,
}

/// Which two generate runs are compared, and which rows are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompareQuery {
    pub left: i64,
    pub right: i64,
    /// Only responses whose generated instructions differ.
    pub only_different: bool,
    /// 1-based.
    pub page: u32,
}

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparedRun {
    pub run: GenerateRun,
    /// Of the generate run and, before it, of the training whose adapter it used; with names in place of ids.
    pub settings: Vec<(String, String)>,
    /// Of the responses that both runs have.
    pub scores: ScoreSummary,
    /// Responses that the other run does not have.
    pub alone: u64,
}

/// Two generate runs, joined by response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub left: ComparedRun,
    pub right: ComparedRun,
    /// Responses that both have.
    pub joined: u64,
    /// Of these, those whose generated instructions differ.
    pub different: u64,
    /// Position of the first shown row among those that are asked for.
    pub offset: u64,
    /// Left and right pair of the same response.
    pub rows: Vec<(GeneratedPair, GeneratedPair)>,
}

impl Comparison {
    /// Rows on one page.
    pub const ROWS: u64 = 50;
}

choices! {
    /// The columns of an exported row. Every shape also has `source_row` and `source_id`.
    RowShape {
        /// Instruction and response, with all scores and what was decided.
        Pairs "pairs" "Pairs with scores",
        /// `instruction`, `input` (empty), `output`.
        Alpaca "alpaca" "Alpaca",
        /// `conversations`: a list of `from` (human, gpt) and `value`.
        Sharegpt "sharegpt" "ShareGPT",
        /// `messages`: a list of `role` (user, assistant) and `content`.
        Messages "messages" "Messages (chat)",
        /// `prompt`, `completion`.
        PromptCompletion "prompt_completion" "Prompt and completion",
        /// `prompt` (the response), `chosen` and `rejected`: a person's instruction and the generated one, or the candidates
        /// that ranked first and last. Pairs with neither have no row.
        Preference "preference" "Preference (chosen, rejected)",
    }
}

choices! {
    FileType {
        Jsonl "jsonl" "JSONL",
        Csv "csv" "CSV",
        Parquet "parquet" "Parquet",
        /// A folder with a dataset card and one Parquet file, packed.
        Dataset "dataset" "Dataset with card (.tar.gz)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_survives_an_address() {
        let filter = PairFilter {
            tag: TagFilter::Tag(Tag::Loop),
            decision: DecisionFilter::Undecided,
            text: "a & b".to_owned(),
            sort: PairSort::RougeAscending,
        };
        let mut read = PairFilter::default();
        for (name, value) in filter.to_query() {
            read.read_query(name, &value);
        }
        assert_eq!(read, filter);
        assert_eq!(PairFilter::default().to_query(), []);
    }

    #[test]
    fn what_an_address_says_wrongly_means_everything() {
        let mut read = PairFilter::default();
        for (name, value) in [("tag", "blue"), ("decision", "maybe"), ("sort", "up"), ("colour", "red")] {
            read.read_query(name, value);
        }
        assert_eq!(read, PairFilter::default());
    }

    #[test]
    fn a_change_and_its_inverse_change_nothing() {
        let before = Curation { decision: Some(Decision::Keep), instruction: None, note: "why".to_owned() };
        for part in [
            CurationPart::Decision(Some(Decision::Drop)),
            CurationPart::Instruction(Some("Better.".to_owned())),
            CurationPart::Note(String::new()),
        ] {
            let mut curation = before.clone();
            let inverse = part.inverse(&curation);
            part.apply(&mut curation);
            assert_ne!(curation, before);
            inverse.apply(&mut curation);
            assert_eq!(curation, before);
        }
    }
}
