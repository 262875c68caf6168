//! Failure tags: each a rule that a person can check by reading. They mark what to look at; none is proof.

use super::overlap::Copying;
use super::words;
use super::{COPIED_RUN, ScoreInput};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    /// The text holds a label or mark of a prompt: `Response:`, `Instruction:` (with a capital), `### Response`,
    /// `### Instruction`, an unfilled slot, or a chat mark such as `<|im_start|>` or `[INST]`.
    TemplateLeak,
    /// The text repeats what it was given: its first eight words (all, where it has four to seven) are the response's
    /// first, or the whole of it, four words at least, stands in the response in one piece.
    Echo,
    /// A run of at least [`COPIED_RUN`] words stands in the response.
    Copied,
    /// Nothing is asked: no question mark, and no sentence, line or clause begins with a word that asks (a verb of
    /// request, a question word) or holds a phrase such as "I want" or "help me". Texts mostly in other than Latin
    /// letters are not judged.
    NotAnInstruction,
    /// No words.
    Empty,
    /// Known to have been cut off by the length limit.
    NoEnd,
    /// A block of 1 to 40 pieces (between white space) stands three times or more in a row and fills at least 12
    /// pieces, or a line of four words or more stands three times.
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

/// Words that ask when a sentence begins with them.
const ASKING: &str = "act add adapt adjust advise amend analyse analyze annotate answer apply argue arrange ask assess \
assume be brainstorm break build calculate can cite classify clarify collect come combine comment compare compile \
complete compose compute conduct consider construct continue contrast convert convince correct could craft create \
critique debug decide declare deduce define demonstrate derive describe design detail determine develop diagnose did \
differentiate discuss distinguish divide do does don draft draw edit elaborate enumerate estimate evaluate examine \
execute expand explain explore express extend extract figure fill find finish fix focus format formulate generate \
get give go guess guide had has have help highlight how identify illustrate imagine implement improve include infer \
inform insert instruct interpret introduce invent is isn justify keep label let list listen look make match may \
mention modify name note offer optimize order organize outline paraphrase pick plan play please point predict \
prepare present pretend print proofread propose prove provide put quote rank rate read rearrange recall recite \
recommend reconstruct reduce refactor rephrase replace reply report research respond restate return review revise \
rewrite roleplay run say search select send sequence share shorten should show simplify simulate solve sort specify \
spell split start state structure suggest sum summarise summarize take talk teach tell test think transform \
transcribe translate treat try turn update use using verify visualize walk was weren were what when where which who \
whom whose why will with work would write";

/// Phrases that ask wherever they stand.
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
    let text: String = text.chars().take(8 * words::MOST_WORDS).collect::<String>().to_lowercase();
    let begins = text.split(['.', '!', ':', ';', ',', '\n', '(', '"']).any(|clause| {
        let first = words::of(clause).find(|word| !word.chars().all(|letter| letter.is_ascii_digit()));
        // "Now list ...", "Then explain ...", "And write ...".
        let second = words::of(clause).nth(1);
        let leads = |word: &str| ASKING.split(' ').any(|asking| asking == word);
        match first {
            Some(
                "now" | "then" | "and" | "but" | "so" | "next" | "also" | "ok" | "okay" | "hi" | "hello" | "hey"
                | "thanks" | "to",
            ) => second.is_some_and(leads),
            Some(word) => leads(word),
            None => false,
        }
    });
    begins || {
        let joined = words::of(&text).fold(String::from(" "), |joined, word| joined + word + " ");
        REQUESTS.iter().any(|request| joined.contains(&format!(" {request} ")))
    }
}

fn loops(text: &str) -> bool {
    let pieces: Vec<&str> = text.split_whitespace().take(words::MOST_WORDS).collect();
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
    text.lines().map(str::trim).take(words::MOST_WORDS).any(|line| {
        let count: &mut usize = counts.entry(line).or_default();
        *count += 1;
        *count >= LEAST_REPEATS && line.split_whitespace().nth(LEAST_LINE_WORDS - 1).is_some()
    })
}
