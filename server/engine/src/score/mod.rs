//! Figures of generated instructions that need no model: ROUGE-L, copying, diversity, failure tags.
//!
//! Words are lower-cased runs of `\w`. Knows nothing of tokens or models.

#[derive(Clone, Copy, Debug)]
pub struct ScoreInput<'a> {
    pub response: &'a str,
    pub generated: &'a str,
    pub reference: Option<&'a str>,
    /// Ended by its end marker; None where that is not known (a file of texts).
    pub ended: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    TemplateLeak,
    Echo,
    Copied,
    NotAnInstruction,
    Empty,
    NoEnd,
    Loop,
}

impl Tag {
    pub const ALL: [Tag; 7] =
        [Self::TemplateLeak, Self::Echo, Self::Copied, Self::NotAnInstruction, Self::Empty, Self::NoEnd, Self::Loop];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::TemplateLeak => "template_leak",
            Self::Echo => "echo",
            Self::Copied => "copied",
            Self::NotAnInstruction => "not_an_instruction",
            Self::Empty => "empty",
            Self::NoEnd => "no_end",
            Self::Loop => "loop",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct PairScores {
    pub words: usize,
    /// F1 against the reference, 0..=1.
    pub rouge_l: Option<f64>,
    /// Longest run of words that also stands in the response.
    pub copied_run: usize,
    /// Extractive coverage and density (Grusky et al., arXiv:1804.11283, section 3).
    pub coverage: f64,
    pub density: f64,
    pub tags: Vec<Tag>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TextFigures {
    pub median_words: f64,
    /// Share with a copied run of at least [`COPIED_RUN`] words.
    pub copied: f64,
    pub coverage: f64,
    pub density: f64,
    pub distinct_1: f64,
    pub distinct_2: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub pairs: usize,
    pub with_reference: usize,
    pub generated: TextFigures,
    pub reference: Option<TextFigures>,
    pub rouge_l: Option<f64>,
    /// Mean ROUGE-L against another pair's reference (a fixed derangement by `seed`).
    pub rouge_l_shuffled: Option<f64>,
    /// In [`Tag::ALL`]'s order, zeros included.
    pub tags: Vec<(Tag, usize)>,
    pub without_tags: usize,
}

pub const COPIED_RUN: usize = 8;

pub fn score_pair(input: &ScoreInput<'_>) -> PairScores {
    let _ = input;
    todo!()
}

pub fn summarise(inputs: &[ScoreInput<'_>], scores: &[PairScores], seed: u64) -> Summary {
    let _ = (inputs, scores, seed);
    todo!()
}
