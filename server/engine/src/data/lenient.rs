//! JSON as Python and JavaScript programs write it, made strict: `NaN` and `Infinity` become null, and the escape of
//! half a surrogate pair, which is no character, becomes U+FFFD.

/// None if there is nothing to change.
pub fn to_strict(text: &str) -> Option<String> {
    let mut strict = String::new();
    // Up to here `text` is in `strict`.
    let mut copied = 0;
    let mut at = 0;
    let mut in_text = false;
    let bytes = text.as_bytes();
    while let Some(&byte) = bytes.get(at) {
        let (length, replacement) = match byte {
            b'"' => {
                in_text = !in_text;
                (1, None)
            }
            b'\\' if in_text => match escaped_unit(bytes, at) {
                Some(0xd800..=0xdbff) if matches!(escaped_unit(bytes, at + 6), Some(0xdc00..=0xdfff)) => (12, None),
                Some(0xd800..=0xdfff) => (6, Some("\\ufffd")),
                _ => (2, None),
            },
            b'N' | b'I' | b'-' if !in_text => {
                let literal = ["NaN", "Infinity", "-Infinity"].into_iter().find(|word| text[at..].starts_with(word));
                literal.map_or((1, None), |word| (word.len(), Some("null")))
            }
            _ => (1, None),
        };
        if let Some(replacement) = replacement {
            strict.push_str(&text[copied..at]);
            strict.push_str(replacement);
            copied = at + length;
        }
        at += length;
    }
    (copied > 0).then(|| strict + &text[copied..])
}

/// The UTF-16 code unit of a `\uXXXX` that begins at `at`.
fn escaped_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_none_become_null_outside_texts_only() {
        let strict = |text: &str| to_strict(text);
        assert_eq!(
            strict(r#"{"a": NaN, "b": -Infinity, "c": [Infinity], "d": "NaN \" -Infinity"}"#).as_deref(),
            Some(r#"{"a": null, "b": null, "c": [null], "d": "NaN \" -Infinity"}"#)
        );
        assert_eq!(strict(r#"{"NaN": -1, "é\\": "\""}"#), None);
    }

    #[test]
    fn halves_of_surrogate_pairs_become_the_replacement_character() {
        let read = |text: &str| to_strict(text).map(|strict| serde_json::from_str::<String>(&strict).unwrap());
        assert_eq!(read(r#""a \ud83d""#).as_deref(), Some("a \u{fffd}"));
        assert_eq!(read(r#""\ude00\ud83d\ude00\ud83d\n""#).as_deref(), Some("\u{fffd}😀\u{fffd}\n"));
        assert_eq!(read(r#""\ud83d\ud83d\ude00""#).as_deref(), Some("\u{fffd}😀"));
        assert_eq!(read(r#""\\ud83d \ud83d\ude00""#), None);
        assert_eq!(read("\"\\ud83"), None);
    }
}
