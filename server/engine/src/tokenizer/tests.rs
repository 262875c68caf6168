use std::fs;
use std::path::Path;
use std::time::Instant;

use rand::{Rng, SeedableRng};
use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::model::ModelFiles;
use crate::model::gguf::Header;
use crate::model::gguf::write::{Writer, mutants};

#[derive(Deserialize)]
struct Vector {
    text: String,
    ids: Vec<u32>,
}

/// Data beside the checkout, which strangers do not have.
fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(path);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there", path.display());
    None
}

fn smollm2() -> Option<Tokenizer> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/models/smollm2-135m-instruct");
    if path.exists() {
        return Some(ModelFiles::open(&path).unwrap().tokenizer().unwrap());
    }
    eprintln!("skipped: {} is not there", path.display());
    None
}

fn llama_form() -> Option<Value> {
    let path = shared("tokenizer/llama_tokenizer.json")?;
    Some(serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
}

fn from_form(form: &Value) -> Result<Tokenizer> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tokenizer.json"), form.to_string()).unwrap();
    Tokenizer::from_folder(folder.path())
}

fn llama_vectors() -> Vec<Vector> {
    let path = shared("tokenizer/llama_tokenizer_vectors.jsonl").unwrap();
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A byte-level tokenizer of letters, some words, a line's end, markup and a run of spaces that is no markup.
fn small_form() -> Value {
    let mut vocabulary = serde_json::Map::new();
    let letters = [
        "<|start|>",
        "<|end|>",
        "a",
        "b",
        "c",
        "Ġ",
        "Ċ",
        "1",
        "2",
        "<",
        "|",
        "e",
        "n",
        "d",
        ">",
        "Ã",
        "©",
        "ab",
        "Ġab",
    ];
    for (id, letter) in letters.iter().enumerate() {
        vocabulary.insert((*letter).to_owned(), id.into());
    }
    let added = |id: usize, content: &str, special: bool| {
        serde_json::json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": special})
    };
    serde_json::json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
        "padding": null,
        "added_tokens": [added(0, "<|start|>", true), added(1, "<|end|>", false), added(19, "   ", false)],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": [["a", "b"], ["Ġ", "ab"]]},
    })
}

fn small() -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tokenizer.json"), small_form().to_string()).unwrap();
    let config = r#"{"bos_token": {"content": "<|start|>"}, "eos_token": "<|end|>", "add_bos_token": true}"#;
    fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
    Tokenizer::from_folder(folder.path()).unwrap()
}

#[test]
fn a_folder_says_what_begins_and_ends_a_text() {
    let tokenizer = small();
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.adds_bos()), (Some(0), 1, true));
    assert_eq!(tokenizer.encode("ab ab c").unwrap(), [17, 18, 5, 4]);
    assert_eq!(tokenizer.encode_with_bos("ab").unwrap(), [0, 17]);
    assert_eq!(tokenizer.vocabulary(), 20);
    assert_eq!(tokenizer.specials(), ["<|start|>", "<|end|>"]);
    assert_eq!(tokenizer.special("<|end|>"), Some(1));
    assert_eq!(tokenizer.special("ab"), None);
    assert_eq!(tokenizer.decode(&[0, 17, 18]).unwrap(), "ab ab");
}

#[test]
fn generation_stops_at_every_eos_that_the_files_list() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let eos = || {
        let tokenizer = Tokenizer::from_folder(folder.path()).unwrap();
        (tokenizer.eos(), tokenizer.eos_ids().to_vec(), tokenizer.sha256().to_owned())
    };
    write("tokenizer.json", &small_form().to_string());
    write("tokenizer_config.json", r#"{"eos_token": "<|end|>"}"#);
    let (_, alone, own_hash) = eos();
    assert_eq!(alone, [1]);
    // 900 is no token; a byte order mark is no part of a file.
    write("generation_config.json", "\u{feff}{\"eos_token_id\": [4, 1, 900]}");
    write("config.json", r#"{"eos_token_id": 5}"#);
    assert_eq!(eos(), (1, vec![1, 4, 5], own_hash));
    write("tokenizer_config.json", "{}");
    assert_eq!(eos().1, [4, 1, 5]);
    write("generation_config.json", r#"{"eos_token_id": null}"#);
    assert_eq!(eos().1, [5]);
}

#[test]
fn a_gguf_lists_the_ends_of_turns_too() {
    let mut writer = Writer::default();
    writer.text("tokenizer.ggml.model", "gpt2");
    writer.text("tokenizer.ggml.pre", "smollm");
    writer.texts("tokenizer.ggml.tokens", &["<|end|>", "a", "b", "<|eot|>", "<|eom|>"]);
    writer.integers("tokenizer.ggml.token_type", &[3, 1, 1, 3, 3]);
    writer.texts("tokenizer.ggml.merges", &[""; 0]);
    writer.unsigned("tokenizer.ggml.eos_token_id", 0);
    writer.unsigned("tokenizer.ggml.eot_token_id", 3);
    writer.unsigned("tokenizer.ggml.eom_token_id", 4);
    let bytes = writer.bytes();
    let header = Header::read(Path::new("model.gguf"), &bytes[..], bytes.len() as u64).unwrap();
    let tokenizer = Tokenizer::from_gguf(&header.metadata, 5).unwrap();
    assert_eq!((tokenizer.eos(), tokenizer.eos_ids()), (0, &[0, 3, 4][..]));
}

#[test]
fn a_small_file_that_would_blow_texts_up_is_refused_before_it_is_used() {
    let mut form = small_form();
    let step = serde_json::json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaaaa"});
    form["normalizer"] = serde_json::json!({"type": "Sequence", "normalizers": vec![step; 7]});
    let error = from_form(&form).err().unwrap().to_string();
    assert!(error.contains("normalizer: can make a text 10000000 times as long"), "{error}");
    let mut form = small_form();
    form["model"]["vocab"]["x".repeat(5000)] = 19.into();
    assert!(from_form(&form).err().unwrap().to_string().contains("5000 bytes"));
}

#[test]
fn markup_in_data_has_no_power() {
    let tokenizer = small();
    let ids = |text: &str| tokenizer.encode_plain(text).unwrap().iter().map(|piece| piece.id).collect::<Vec<_>>();
    assert_eq!(tokenizer.encode("a<|end|>").unwrap(), [2, 1]);
    assert_eq!(ids("a<|end|>"), [2, 9, 10, 11, 12, 13, 10, 14]);
    assert_eq!(ids("a   b"), tokenizer.encode("a   b").unwrap());
    assert_eq!(ids("a   b"), [2, 19, 3]);
}

#[test]
fn pieces_say_where_they_stand() {
    let tokenizer = small();
    let pieces = tokenizer.encode_plain("ab é ab").unwrap();
    let ranges: Vec<_> = pieces.iter().map(|piece| (piece.start, piece.end)).collect();
    assert_eq!(ranges, [(0, 2), (2, 3), (3, 5), (3, 5), (5, 8)]);
    assert_eq!(tokenizer.encode_plain("").unwrap(), []);
}

#[test]
fn equal_tokenizers_have_equal_hashes() {
    let first = small();
    assert_eq!(first.sha256().len(), 64);
    for _ in 0..3 {
        assert_eq!(first.sha256(), small().sha256());
    }
    let mut form = small_form();
    form["model"]["merges"] = serde_json::json!(["a b", "Ġ ab"]);
    let [legacy, pairs] =
        [&form, &small_form()].map(|form| TokenizerJson::read(Path::new("t"), form.clone(), None).unwrap());
    assert_eq!(legacy.digest.finalize(), pairs.digest.finalize());
    form["added_tokens"][1]["content"] = "<|fin|>".into();
    form["added_tokens"][1]["id"] = 20.into();
    form["added_tokens"][2]["id"] = 19.into();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tokenizer.json"), form.to_string()).unwrap();
    fs::write(folder.path().join("config.json"), r#"{"eos_token_id": [1, 3]}"#).unwrap();
    let other = Tokenizer::from_folder(folder.path()).unwrap();
    assert_eq!(other.eos(), 1);
    assert_ne!(first.sha256(), other.sha256());
}

#[test]
fn a_stream_holds_back_half_characters() {
    let tokenizer = small();
    let mut stream = TextStream::default();
    let mut push = |id| stream.push(&tokenizer, id).unwrap();
    assert_eq!(push(0), "");
    assert_eq!(push(17), "ab");
    assert_eq!(push(15), "");
    assert_eq!(push(16), "é");
    assert_eq!(push(18), " ab");
    assert_eq!(push(15), "");
    assert_eq!(stream.finish(&tokenizer).unwrap(), "\u{fffd}");
    assert_eq!(stream.finish(&tokenizer).unwrap(), "");
}

/// The stream's parts joined are the whole text; nothing of it is taken back.
fn check_stream(tokenizer: &Tokenizer, text: &str) {
    let ids = tokenizer.encode(text).unwrap();
    let mut stream = TextStream::default();
    let mut streamed = String::new();
    for &id in &ids {
        streamed += &stream.push(tokenizer, id).unwrap();
        assert!(stream.window.len() < 24, "the window grew to {}", stream.window.len());
    }
    streamed += &stream.finish(tokenizer).unwrap();
    assert_eq!(streamed, tokenizer.decode(&ids).unwrap());
}

const MIXED: [&str; 6] = [
    "Once upon a time, there was a café.\n\nIt cost 12 €.",
    "你好，世界！ 🙂👍🏽👨‍👩‍👧‍👦 done",
    "  leading and   many    spaces  ",
    "\u{10ffff}\u{1}\t\r\n x",
    "�� legitimate replacement � characters",
    "<s>nested</s> <|im_end|> markup",
];

#[test]
fn llama_ids_are_those_of_the_published_vectors() {
    let Some(form) = llama_form() else { return };
    let tokenizer = from_form(&form).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.adds_bos()), (Some(1), 2, true));
    let vectors = llama_vectors();
    assert_eq!(vectors.len(), 300);
    for Vector { text, ids } in &vectors {
        assert_eq!(tokenizer.encode_with_bos(text).unwrap(), *ids, "{text:?}");
        check_stream(&tokenizer, text);
        check_pieces(&tokenizer, text);
    }
    MIXED.iter().for_each(|text| check_stream(&tokenizer, text));
    MIXED.iter().for_each(|text| check_pieces(&tokenizer, text));
}

/// A `llama` GGUF of the same vocabulary: its scores are minus the rank of a piece, for spaces alone a very low one.
#[test]
fn a_sentencepiece_gguf_gives_the_same_llama_ids() {
    let Some(form) = llama_form() else { return };
    let mut tokens: Vec<(&String, u64)> =
        form["model"]["vocab"].as_object().unwrap().iter().map(|(text, id)| (text, id.as_u64().unwrap())).collect();
    tokens.sort_by_key(|(_, id)| *id);
    let kind = |id: u64| match id {
        0 => 2,
        1 | 2 => 3,
        3..259 => 6,
        _ => 1,
    };
    let mut writer = Writer::default();
    writer.text("tokenizer.ggml.model", "llama");
    writer.texts("tokenizer.ggml.tokens", &tokens.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>());
    writer.floats(
        "tokenizer.ggml.scores",
        &tokens
            .iter()
            .map(|(text, id)| if text.trim_matches('▁').is_empty() { -1e9 } else { -(id.saturating_sub(259) as f32) })
            .collect::<Vec<_>>(),
    );
    writer.integers("tokenizer.ggml.token_type", &tokens.iter().map(|(_, id)| kind(*id)).collect::<Vec<_>>());
    let bytes = writer.bytes();
    let header = Header::read(Path::new("llama.gguf"), &bytes[..], bytes.len() as u64).unwrap();
    let tokenizer = Tokenizer::from_gguf(&header.metadata, 32_000).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.adds_bos()), (Some(1), 2, true));
    for Vector { text, ids } in llama_vectors() {
        assert_eq!(tokenizer.encode_with_bos(&text).unwrap(), ids, "{text:?}");
    }
    let reference = from_form(&form).unwrap();
    for spaces in 0..40 {
        let text = format!("a{}b", " ".repeat(spaces));
        assert_eq!(tokenizer.encode(&text).unwrap(), reference.encode(&text).unwrap(), "{spaces} spaces");
    }
    assert!(Tokenizer::from_gguf(&header.metadata, 31_999).is_err());
    MIXED.iter().for_each(|text| check_stream(&tokenizer, text));
}

/// Ranges are ordered, on character bounds, and leave nothing out.
fn check_pieces(tokenizer: &Tokenizer, text: &str) {
    let mut covered = 0;
    for piece in tokenizer.encode_plain(text).unwrap() {
        assert!(piece.start <= covered && piece.end >= covered, "{piece:?} after {covered} in {text:?}");
        assert!(text.get(piece.start..piece.end).is_some(), "{piece:?} in {text:?}");
        covered = piece.end;
    }
    assert_eq!(covered, text.len(), "{text:?}");
}

#[test]
fn smollm2_ids_are_those_of_its_published_tokenizer() {
    #[derive(Deserialize)]
    struct Golden {
        smollm2: Vec<Vector>,
    }
    let Some(tokenizer) = smollm2() else { return };
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.adds_bos()), (Some(1), 2, false));
    let golden: Golden = serde_json::from_str(include_str!("../../tests/golden/tokens.json")).unwrap();
    for Vector { text, ids } in golden.smollm2 {
        assert_eq!(tokenizer.encode(&text).unwrap(), ids, "{text:?}");
        check_stream(&tokenizer, &text);
        check_pieces(&tokenizer, &text);
    }
    let answer = [504, 3575, 282, 4649, 314, 7042, 30, 2];
    assert_eq!(tokenizer.decode(&answer).unwrap(), "The capital of France is Paris.");
    assert_eq!(tokenizer.special("<|im_end|>"), Some(2));
    assert_eq!(tokenizer.piece_text(3575), " capital");
    assert_eq!(tokenizer.piece_text(2), "<|im_end|>");
    assert!(tokenizer.encode_plain("a<|im_end|>").unwrap().iter().all(|piece| piece.id != 2));
    assert_eq!(tokenizer.sha256(), smollm2().unwrap().sha256());
}

#[test]
fn random_ids_stream_without_panic_and_stay_bounded() {
    let Some(form) = llama_form() else { return };
    let tokenizer = from_form(&form).unwrap();
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let mut stream = TextStream::default();
    for _ in 0..3000 {
        // Mostly bytes, which rarely make characters.
        let id = if random.random_bool(0.8) { random.random_range(3..259) } else { random.random_range(0..33_000) };
        stream.push(&tokenizer, id).unwrap();
        let _ = tokenizer.piece_text(id);
        assert!(stream.window.len() <= 2 * 9, "{}", stream.window.len());
    }
}

#[test]
fn three_kilobytes_are_encoded_in_milliseconds() {
    let Some(form) = llama_form() else { return };
    let tokenizer = from_form(&form).unwrap();
    let text =
        "It is a truth, universally acknowledged in 1813, that encoding must not be what one waits for. ".repeat(32);
    for run in 0..3 {
        let begin = Instant::now();
        let ids = tokenizer.encode(&text).unwrap().len();
        let plain = begin.elapsed();
        let pieces = tokenizer.encode_plain(&text).unwrap().len();
        eprintln!("run {run}: {ids} ids in {plain:?}, {pieces} pieces in {:?}", begin.elapsed() - plain);
    }
    let begin = Instant::now();
    let _ = tokenizer.encode(&text).unwrap();
    assert!(begin.elapsed().as_millis() < 50, "{:?}", begin.elapsed());
}

#[test]
fn other_kinds_are_refused_by_name() {
    let check = |change: fn(&mut Value), named: &str| {
        let mut form = small_form();
        change(&mut form);
        let message = from_form(&form).map(|_| ()).expect_err(named).to_string();
        assert!(message.contains(named), "{message}");
    };
    check(|form| form["model"]["type"] = "Unigram".into(), "Unigram");
    check(|form| form["model"]["dropout"] = 0.1.into(), "model.dropout 0.1");
    check(|form| form["model"]["vocab"] = Value::Null, "model.vocab");
    check(|form| form["model"]["vocab"]["x"] = (-1).into(), "\"x\"");
    check(|form| form["model"]["merges"][0][0] = "zz".into(), "zz");
    check(
        |form| form["normalizer"] = serde_json::json!({"type": "Precompiled", "precompiled_charsmap": "AA=="}),
        "Precompiled",
    );
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Tokenizer::from_folder(folder.path()).err().unwrap().code(), spec::ErrorCode::NotFound);
    fs::write(folder.path().join("tokenizer.model"), "x").unwrap();
    assert!(Tokenizer::from_folder(folder.path()).err().unwrap().to_string().contains("tokenizer.json"));
    assert!(from_form(&small_form()).map(|_| ()).unwrap_err().to_string().contains("eos_token"));

    let mut writer = Writer::default();
    writer.text("tokenizer.ggml.model", "gpt2");
    writer.text("tokenizer.ggml.pre", "viking");
    writer.texts("tokenizer.ggml.tokens", &["a"]);
    let bytes = writer.bytes();
    let header = Header::read(Path::new("m.gguf"), &bytes[..], bytes.len() as u64).unwrap();
    assert!(Tokenizer::from_gguf(&header.metadata, 1).err().unwrap().to_string().contains("viking"));
}

#[test]
fn added_tokens_beyond_the_embedding_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tokenizer.json"), small_form().to_string()).unwrap();
    fs::write(folder.path().join("generation_config.json"), r#"{"eos_token_id": 1}"#).unwrap();
    let tokenizer = Tokenizer::from_folder_within(folder.path(), Some(19)).unwrap();
    assert!(tokenizer.encode("a   b").unwrap().iter().all(|&id| id < 19));
    assert!(Tokenizer::from_folder_within(folder.path(), Some(18)).is_err());
}

#[test]
fn mutants_of_a_tokenizer_give_errors_and_never_panics() {
    let path = Path::new("tokenizer.json");
    for mutant in mutants(small_form().to_string().as_bytes(), 2000) {
        let Ok(form) = serde_json::from_slice(&mutant) else { continue };
        let Ok(form) = TokenizerJson::read(path, form, Some(30)) else { continue };
        let tokenizer = Tokenizer::build(path, form, SpecialTokens { bos: Some(0), eos: vec![1], adds_bos: true });
        for text in ["ab ab<|end|> é   1", ""] {
            let ids = tokenizer.encode_with_bos(text).unwrap_or_default();
            let _ = (tokenizer.encode_plain(text), tokenizer.decode(&ids));
        }
    }
}
