//! Words of a text, in two senses: pieces between white space, and runs of letters, digits and underscores.
//!
//! In scripts that put no spaces between words (Chinese, Japanese, Thai, …) each letter counts as a word: cutting
//! such a text into words takes a dictionary, and as one word it would compare with nothing.

pub fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Lower-cased runs of `\w`, as every score counts them. `lowered` is the text in lower case.
pub fn of(lowered: &str) -> impl Iterator<Item = &str> {
    lowered.split(|letter| !is_word(letter)).flat_map(cut)
}

pub fn count(text: &str) -> usize {
    of(&text.to_lowercase()).count()
}

/// Pieces between white space with whatever is in them, as a length is counted.
pub fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace().flat_map(|piece| {
        // Punctuation beside letters that count alone is no piece of its own.
        let has_unspaced = piece.contains(is_unspaced);
        cut(piece).filter(move |part| !has_unspaced || part.contains(is_word))
    })
}

/// Whether the letter's script is written without spaces between words.
fn is_unspaced(letter: char) -> bool {
    letter >= '\u{e00}'
        && matches!(letter,
            '\u{e00}'..='\u{eff}' // Thai, Lao
            | '\u{1000}'..='\u{109f}' // Burmese
            | '\u{1780}'..='\u{17ff}' // Khmer
            | '\u{1950}'..='\u{19df}' | '\u{1a20}'..='\u{1aaf}' | '\u{aa80}'..='\u{aadf}' // Tai scripts
            | '\u{a980}'..='\u{a9df}' // Javanese
            | '\u{2e80}'..='\u{2fdf}' | '\u{3005}'..='\u{3007}' | '\u{3021}'..='\u{3029}' // radicals, 々〆〇, numerals
            | '\u{3041}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{ff66}'..='\u{ff9f}' // kana
            | '\u{3105}'..='\u{312f}' | '\u{31a0}'..='\u{31bf}' // Bopomofo
            | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' // Han
            | '\u{a000}'..='\u{a48f}' // Yi
            | '\u{1b000}'..='\u{1b16f}' | '\u{20000}'..='\u{3ffff}' // kana and Han beyond the first plane
        )
        && is_word(letter)
}

/// A run cut so that every letter of an unspaced script is alone; an empty run gives nothing.
fn cut(run: &str) -> impl Iterator<Item = &str> {
    let mut rest = run;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let end = if is_unspaced(first) { first.len_utf8() } else { rest.find(is_unspaced).unwrap_or(rest.len()) };
        let (part, behind) = rest.split_at(end);
        rest = behind;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lower_cased_runs_of_letters_digits_and_underscores() {
        let text = "Don't SHOUT: naïve_x 3.5—ja, Ünlü!".to_lowercase();
        assert_eq!(of(&text).collect::<Vec<_>>(), ["don", "t", "shout", "naïve_x", "3", "5", "ja", "ünlü"]);
        assert_eq!(count(" *** \n"), 0);
    }

    #[test]
    fn a_letter_of_a_script_without_spaces_is_a_word() {
        assert_eq!(of("请问gpt4是什么？").collect::<Vec<_>>(), ["请", "问", "gpt4", "是", "什", "么"]);
        assert_eq!(of("パンは、なぜ").collect::<Vec<_>>(), ["パ", "ン", "は", "な", "ぜ"]);
        assert_eq!(of("ชาทำ ").count(), 4);
        assert_eq!(of("한국어 단어 слова слово").count(), 4);
    }

    #[test]
    fn pieces_are_what_white_space_divides() {
        assert_eq!(pieces("Don't -- shout: a.b").collect::<Vec<_>>(), ["Don't", "--", "shout:", "a.b"]);
        assert_eq!(pieces("茶是，GPT-4 做的。 ok").collect::<Vec<_>>(), ["茶", "是", "，GPT-4", "做", "的", "ok"]);
        assert_eq!(pieces(" \n").count(), 0);
    }
}
