//! Failure tags: each a rule that a person can check by reading. They mark what to look at; none is proof.

use super::interner::MOST_WORDS;
use super::overlap::Copying;
use super::{COPIED_RUN, ScoreInput};
use crate::words;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    /// The text holds a label or mark of a prompt: `Response:`, `Instruction:` (with a capital), `### Response`,
    /// `### Instruction`, an unfilled slot, or a chat mark such as `<|im_start|>` or `[INST]`.
    TemplateLeak,
    /// The text repeats what it was given: its first eight words (all, where it has four to seven) are the response's
    /// first, or the whole of it, four words at least, is in the response in one piece.
    Echo,
    /// A run of at least [`COPIED_RUN`] words is in the response.
    Copied,
    /// Nothing is asked: no question mark, no sentence that begins with a verb of request ("Describe ...") or as a
    /// question does ("How to ...", "Is there ..."), no such verb after a comma, no phrase such as "I want" or
    /// "please". The steps of a list are not looked at. Texts mostly in other than Latin letters are not judged.
    NotAnInstruction,
    /// No words.
    Empty,
    /// Known to have been cut off by the length limit.
    NoEnd,
    /// A block of 1 to 40 pieces (between white space) comes three times or more in a row and fills at least 12
    /// pieces, or a line of four words or more comes three times.
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

/// Words that must agree with the response's first for an echo, and the fewest that can.
const ECHO_WORDS: usize = 8;
const LEAST_ECHO_WORDS: usize = 4;
/// A loop's longest block, fewest repetitions and fewest pieces in all.
const LONGEST_BLOCK: usize = 40;
const LEAST_REPEATS: usize = 3;
const LEAST_LOOPED: usize = 12;
const LEAST_LINE_WORDS: usize = 4;

const LEAKS: [&str; 16] = [
    "Response:",
    "Instruction:",
    "RESPONSE:",
    "INSTRUCTION:",
    "### Response",
    "### Instruction",
    "{response}",
    "{instruction}",
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|user|>",
    "<|assistant|>",
    "[INST]",
    "[/INST]",
    "</s>",
];

/// Verbs of request: they ask at the beginning of a sentence.
const VERBS: &str = "act add adapt adjust advise amend analyse analyze annotate answer apply argue arrange ask assess \
assume brainstorm break build calculate cite classify clarify collect come combine comment compare compile complete \
compose compute conduct consider construct continue contrast convert convince correct craft create critique debug \
decide deduce define demonstrate derive describe design detail determine develop diagnose differentiate discuss \
distinguish divide draft draw edit elaborate enumerate estimate evaluate examine execute expand explain explore \
express extend extract figure fill find finish fix focus format formulate generate get give guess guide help highlight \
identify illustrate imagine implement improve include infer inform insert instruct interpret introduce invent justify \
keep let list listen make match mention modify name offer optimize order organize outline paraphrase pick plan play \
predict prepare present pretend print proofread propose prove provide quote rank rate read rearrange recite recommend \
reconstruct reduce refactor rephrase replace reply report research respond restate return review revise rewrite \
roleplay run say search select send share shorten show simplify simulate solve sort specify spell split suggest \
summarise summarize take talk teach tell think transform transcribe translate treat try update use using verify \
visualize walk write";

/// Those that ask at the beginning of a clause as well ("Given two numbers, compute ..."); an answer's own advice
/// ("in that case, use ...") begins with others.
const CLAUSE_VERBS: &str = "analyse analyze answer calculate classify compare complete compose compute convert create \
define describe design discuss draft elaborate enumerate estimate evaluate explain extract find generate give help \
identify implement imagine list name outline paraphrase predict pretend propose prove provide recommend rephrase \
respond rewrite solve suggest summarise summarize tell translate write";

/// Auxiliaries: a sentence that begins with one is a question, and so is one whose question word comes before one.
const AUXILIARIES: &str = "am are aren can could couldn did didn do does doesn don had has have is isn m may might must \
re s shall should shouldn to was wasn were weren will won would wouldn";

const QUESTION_WORDS: &str = "how what when where which who whom whose why";

/// Words after which a request may still begin: "Now list ...", "Hi, explain ...".
const OPENERS: &str = "also and but hello hey hi next now ok okay please so thanks then";

/// Phrases that ask wherever they are.
const REQUESTS: [&str; 26] = [
    "i want",
    "i need",
    "i would like",
    "i d like",
    "i wish",
    "i wonder",
    "i am wondering",
    "i m wondering",
    "i was wondering",
    "i am looking for",
    "i m looking for",
    "i am trying to",
    "i m trying to",
    "i am curious",
    "i m curious",
    "i don t understand",
    "i do not understand",
    "i don t know",
    "help me",
    "tell me",
    "give me",
    "show me",
    "can you",
    "could you",
    "would you",
    "please",
];

/// The tags of a text; `copied` and the numbered words are those of the same pair.
pub fn tags(input: &ScoreInput<'_>, copied: &Copying, generated: &[u32], response: &[u32]) -> Vec<Tag> {
    let text = input.generated;
    let empty = generated.is_empty();
    let found = |tag| match tag {
        Tag::TemplateLeak => LEAKS.iter().any(|leak| text.contains(leak)),
        Tag::Echo => is_echo(copied, generated, response),
        Tag::Copied => copied.longest_run >= COPIED_RUN,
        Tag::NotAnInstruction => !empty && !asks(text),
        Tag::Empty => empty,
        Tag::NoEnd => input.ended == Some(false),
        Tag::Loop => loops(text),
    };
    Tag::ALL.into_iter().filter(|&tag| found(tag)).collect()
}

fn is_echo(copied: &Copying, generated: &[u32], response: &[u32]) -> bool {
    if generated.len() < LEAST_ECHO_WORDS {
        return false;
    }
    let head = &generated[..generated.len().min(ECHO_WORDS)];
    response.starts_with(head) || copied.longest_run == generated.len()
}

fn asks(text: &str) -> bool {
    if text.contains(['?', '？', '؟', '¿', '՞']) {
        return true;
    }
    let letters = text.chars().filter(|letter| letter.is_alphabetic()).count();
    let latin = text.chars().filter(char::is_ascii_alphabetic).count();
    if 2 * latin < letters {
        return true;
    }
    let text: String = text.chars().take(8 * MOST_WORDS).collect::<String>().to_lowercase();
    // Further steps of a list are an answer's as often as a request's: only the text's first line counts whatever it
    // is.
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate();
    let begins = lines.filter(|(place, line)| *place == 0 || !is_step(line)).any(|(_, line)| {
        sentences(line).any(|sentence| {
            let mut clauses = sentence.split([',', ';', ':', '"']);
            clauses.next().is_some_and(begins_a_request) || clauses.any(asks_in_passing)
        })
    });
    begins || {
        let joined = words::of(&text).fold(String::from(" "), |joined, word| joined + word + " ");
        REQUESTS.iter().any(|request| joined.contains(&format!(" {request} ")))
    }
}

fn begins_a_request(clause: &str) -> bool {
    let mut words =
        words::of(clause).skip_while(|word| is_in(OPENERS, word) || word.chars().all(|letter| letter.is_ascii_digit()));
    match (words.next(), words.next()) {
        (Some(first), second) if is_in(QUESTION_WORDS, first) => {
            second.is_none_or(|second| is_in(AUXILIARIES, second) || first == "how")
        }
        (Some(first), _) => is_in(VERBS, first) || (is_in(AUXILIARIES, first) && !matches!(first, "to" | "re" | "s")),
        (None, _) => false,
    }
}

/// A clause behind a comma: less passes for a request there.
fn asks_in_passing(clause: &str) -> bool {
    let mut words = words::of(clause).skip_while(|word| is_in(OPENERS, word));
    match (words.next(), words.next()) {
        (Some("how" | "why"), Some(second)) => is_in(AUXILIARIES, second),
        (Some(first), _) => is_in(CLAUSE_VERBS, first),
        (None, _) => false,
    }
}

fn is_in(list: &str, word: &str) -> bool {
    list.split(' ').any(|known| known == word)
}

/// An entry of a list: "- Open it", "2. Open it".
fn is_step(line: &str) -> bool {
    let rest = line.trim_start_matches(|letter: char| letter.is_ascii_digit());
    line.starts_with(['-', '*', '•', '#', '`', '|']) || (rest.len() < line.len() && rest.starts_with(['.', ')']))
}

/// Parts of a line that end in a full stop or an exclamation mark before a space.
fn sentences(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = text.match_indices(['.', '!']).map(|(place, _)| place + 1).find(|&end| text[end..].starts_with(' '));
        rest = end.map(|end| &text[end..]);
        Some(&text[..end.unwrap_or(text.len())])
    })
}

fn loops(text: &str) -> bool {
    let pieces: Vec<&str> = words::pieces(text).take(MOST_WORDS).collect();
    let repeats = |block: usize| {
        let mut same = 0;
        (block..pieces.len()).any(|at| {
            same = if pieces[at] == pieces[at - block] { same + 1 } else { 0 };
            let looped = same + block;
            looped >= LEAST_LOOPED && looped / block >= LEAST_REPEATS
        })
    };
    (1..=LONGEST_BLOCK).any(repeats) || repeats_a_line(text)
}

fn repeats_a_line(text: &str) -> bool {
    let mut counts = std::collections::HashMap::new();
    text.lines().map(str::trim).take(MOST_WORDS).any(|line| {
        let count: &mut usize = counts.entry(line).or_default();
        *count += 1;
        *count >= LEAST_REPEATS && words::pieces(line).nth(LEAST_LINE_WORDS - 1).is_some()
    })
}
