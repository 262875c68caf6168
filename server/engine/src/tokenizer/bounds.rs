//! How much longer a `tokenizer.json` can make a text: a file of some kilobytes can ask for a billionfold. Steps that
//! are not known, and steps that together could do so, are refused before anything is built.

use std::path::Path;

use serde_json::Value;

use crate::{Error, Result};

/// Above any token of a real vocabulary, which has runs of spaces and dashes as its longest.
pub const MAX_TOKEN: usize = 1 << 12;
/// Of a text's bytes after all steps. Real ones reach 50, for the letter that compatibility decomposition makes
/// longest.
const MAX_GROWTH: f64 = 50.0;
/// Put before a text, or around each of its pieces.
const MAX_AFFIX: usize = 64;
const MAX_STEPS: usize = 64;
const MAX_DEPTH: usize = 4;

/// What makes one step, and the fields that hold the steps of a sequence.
const PARTS: [(&str, &str); 3] =
    [("normalizer", "normalizers"), ("pre_tokenizer", "pretokenizers"), ("decoder", "decoders")];

pub fn check(path: &Path, form: &Value) -> Result<()> {
    let mut growth = 1.0;
    let mut seen: Vec<&str> = Vec::new();
    for (part, steps) in PARTS {
        let mut found = Vec::new();
        flatten(path, part, steps, &form[part], 0, &mut found)?;
        if part == "decoder" {
            growth = 1.0;
        }
        for step in found {
            let kind = step["type"].as_str().unwrap_or_default();
            let factor = growth_of(path, part, kind, step)?;
            // These change nothing the second time.
            if !(matches!(kind, "NFC" | "NFD" | "NFKC" | "NFKD" | "Lowercase") && seen.contains(&kind)) {
                growth *= factor;
            }
            seen.push(kind);
        }
        if growth > MAX_GROWTH {
            let problem = format!("can make a text {growth:.0} times as long; at most {MAX_GROWTH} times is accepted");
            return Err(Error::malformed(path, part, problem));
        }
    }
    for affix in ["continuing_subword_prefix", "end_of_word_suffix"] {
        check_affix(path, "model", affix, &form["model"][affix])?;
    }
    Ok(())
}

fn flatten<'a>(
    path: &Path,
    part: &str,
    steps: &str,
    step: &'a Value,
    depth: usize,
    found: &mut Vec<&'a Value>,
) -> Result<()> {
    if step.is_null() {
        return Ok(());
    }
    if step["type"] != "Sequence" {
        found.push(step);
        if found.len() > MAX_STEPS {
            return Err(Error::malformed(path, part, format!("has more than {MAX_STEPS} steps")));
        }
        return Ok(());
    }
    if depth == MAX_DEPTH {
        return Err(Error::malformed(path, part, format!("nests more than {MAX_DEPTH} deep")));
    }
    let mut inner = step[steps].as_array().into_iter().flatten();
    inner.try_for_each(|step| flatten(path, part, steps, step, depth + 1, found))
}

/// The most bytes that one byte of a text becomes.
fn growth_of(path: &Path, part: &str, kind: &str, step: &Value) -> Result<f64> {
    Ok(match (part, kind) {
        ("normalizer" | "decoder", "Replace") => replacement(path, part, step)?,
        ("normalizer", "Prepend") => {
            check_affix(path, part, "prepend", &step["prepend"])?;
            1.0
        }
        // Unicode's own bounds, in UTF-8 bytes.
        ("normalizer", "NFC" | "NFD") => 3.0,
        ("normalizer", "NFKC" | "NFKD") => 11.0,
        ("normalizer", "Lowercase") => 1.5,
        // Spaces around Chinese letters, then decomposition.
        ("normalizer", "BertNormalizer") => 5.0,
        ("normalizer" | "pre_tokenizer", "ByteLevel") => 2.0,
        // One letter for a space.
        ("pre_tokenizer", "Metaspace") => {
            check_affix(path, part, "replacement", &step["replacement"])?;
            step["replacement"].as_str().map_or(1, str::len) as f64
        }
        ("normalizer", "Strip" | "StripAccents" | "Nmt") => 1.0,
        (
            "pre_tokenizer",
            "Split" | "Digits" | "Whitespace" | "WhitespaceSplit" | "Punctuation" | "BertPreTokenizer"
            | "CharDelimiterSplit" | "UnicodeScripts" | "FixedLength" | "Delimiter",
        ) => 1.0,
        ("decoder", "ByteLevel" | "ByteFallback" | "Fuse" | "Strip" | "Metaspace") => 1.0,
        // They put a space between pieces at most.
        ("decoder", "BPEDecoder" | "WordPiece" | "CTC") => 2.0,
        _ => {
            let what = format!("a {part} of type {kind:.40}");
            return Err(Error::unsupported(path, what, "the tokenizers of known Llamas are"));
        }
    })
}

fn replacement(path: &Path, part: &str, step: &Value) -> Result<f64> {
    let content = step["content"].as_str().map_or(0, str::len);
    match step["pattern"]["String"].as_str() {
        Some("") => Err(Error::malformed(path, part, "replaces the empty text, which is everywhere")),
        Some(pattern) => Ok((content as f64 / pattern.len() as f64).max(1.0)),
        // A regular expression may match nothing, between any two letters.
        None => Ok(content as f64 + 1.0),
    }
}

fn check_affix(path: &Path, part: &str, field: &str, affix: &Value) -> Result<()> {
    match affix.as_str().map_or(0, str::len) {
        length if length > MAX_AFFIX => {
            let problem = format!("is {length} bytes long; the limit is {MAX_AFFIX}");
            Err(Error::malformed(path, format!("{part} {field}"), problem))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(form: &Value) -> Result<()> {
        check(Path::new("tokenizer.json"), form)
    }

    fn replace(pattern: &Value, content: &str) -> Value {
        json!({"type": "Replace", "pattern": pattern, "content": content})
    }

    #[test]
    fn steps_that_multiply_a_text_are_refused() {
        let ten = replace(&json!({"String": "a"}), "aaaaaaaaaa");
        let byte_level = json!({"type": "ByteLevel"});
        for (part, steps, bomb) in [
            ("normalizer", "normalizers", vec![ten.clone(); 7]),
            ("decoder", "decoders", vec![ten.clone(); 2]),
            ("normalizer", "normalizers", vec![replace(&json!({"Regex": ""}), &"a".repeat(60))]),
            ("normalizer", "normalizers", vec![replace(&json!({"String": ""}), "a")]),
            ("normalizer", "normalizers", vec![json!({"type": "Prepend", "prepend": "a".repeat(1000)})]),
            ("pre_tokenizer", "pretokenizers", vec![byte_level.clone(); 6]),
            ("normalizer", "normalizers", vec![json!({"type": "Sequence", "normalizers": vec![ten; 3]})]),
            ("pre_tokenizer", "pretokenizers", vec![json!({"type": "Digits"}); 100]),
        ] {
            let error = checked(&json!({part: {"type": "Sequence", steps: bomb}})).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
        let nested = (0..6).fold(byte_level, |inner, _| json!({"type": "Sequence", "pretokenizers": [inner]}));
        assert!(checked(&json!({"pre_tokenizer": nested})).unwrap_err().to_string().contains("deep"));
        let prefix = json!({"model": {"continuing_subword_prefix": "#".repeat(65)}});
        assert!(checked(&prefix).unwrap_err().to_string().contains("continuing_subword_prefix"));
        let unknown = json!({"normalizer": {"type": "Precompiled", "precompiled_charsmap": ""}});
        assert_eq!(checked(&unknown).unwrap_err().code(), spec::ErrorCode::Unsupported);
    }

    #[test]
    fn the_tokenizers_of_known_llamas_pass() {
        let mark = replace(&json!({"String": " "}), "▁");
        let split = json!({"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Isolated", "invert": false});
        for form in [
            json!({"normalizer": null, "model": {"continuing_subword_prefix": null}}),
            json!({"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, mark]},
                "decoder": {"type": "Sequence", "decoders": [replace(&json!({"String": "▁"}), " "),
                    {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip"}]}}),
            json!({"normalizer": {"type": "NFC"}, "pre_tokenizer": {"type": "Sequence",
                "pretokenizers": [split, {"type": "Digits"}, {"type": "ByteLevel"}]}, "decoder": {"type": "ByteLevel"}}),
            json!({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "NFKC"},
                {"type": "Lowercase"}]}, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁"}}),
        ] {
            checked(&form).unwrap();
        }
    }
}
