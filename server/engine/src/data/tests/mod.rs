//! Conversation files of every form, against the known counts, and hostile ones.

use std::io::Write as _;
use std::path::PathBuf;

use super::*;

mod forms;
mod hostile;

/// A file beside the repository that not everyone has.
fn shared(name: &str) -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/data").join(name))
        .find(|path| path.exists());
    if found.is_none() {
        eprintln!("skipped: {name} is not there");
    }
    found
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// Takes whatever is an exchange.
fn any() -> PairRule {
    PairRule {
        language: None,
        best_reply_only: false,
        quality_above: None,
        words_above: 0,
        first_turn_only: false,
        limit: None,
    }
}

fn seed_rule() -> PairRule {
    PairRule {
        language: Some("en".to_owned()),
        best_reply_only: true,
        quality_above: Some(0.6),
        words_above: 5,
        first_turn_only: false,
        limit: Some(3200),
    }
}

fn of(text: &str, rule: &PairRule) -> Prepared {
    prepare(file(text).path(), None, rule).unwrap()
}

fn texts(prepared: &Prepared) -> Vec<(&str, &str, u32)> {
    prepared.pairs.iter().map(|pair| (pair.instruction.as_str(), pair.response.as_str(), pair.turn)).collect()
}

fn dropped(prepared: &Prepared) -> Vec<(&'static str, u64)> {
    prepared.dropped.iter().map(|(&reason, &count)| (reason, count)).collect()
}

#[test]
fn oasst1_gives_418_best_replies_160_good_pairs_and_69_first_turns_in_both_forms() {
    for (name, format, orphans) in [
        ("oasst1/oasst1_en_validation.messages.jsonl", Format::OasstMessages, Some(&3)),
        ("oasst1/oasst1_en_validation.trees.jsonl", Format::OasstTrees, None),
    ] {
        let Some(path) = shared(name) else { return };
        let best = PairRule { language: Some("en".to_owned()), best_reply_only: true, ..any() };
        let all = prepare(&path, None, &best).unwrap();
        assert_eq!((all.format, all.pairs.len(), all.malformed_count), (format, 418, 0));
        assert_eq!(all.dropped.get("orphan"), orphans);

        let good = prepare(&path, None, &seed_rule()).unwrap();
        assert_eq!((good.pairs.len(), good.first_turn_pairs), (160, 69));
        assert!(good.pairs.is_sorted_by(|a, b| a.quality >= b.quality));
        assert!(good.pairs.iter().all(|pair| pair.quality > Some(1.2)));

        let first = prepare(&path, None, &PairRule { first_turn_only: true, limit: Some(50), ..seed_rule() }).unwrap();
        assert_eq!((first.pairs.len(), first.dropped["not_first_turn"], first.dropped["limit"]), (50, 91, 19));
    }
}

#[test]
fn messages_and_trees_of_the_same_conversations_give_the_same_pairs() {
    let (Some(flat), Some(nested)) =
        (shared("oasst1/oasst1_en_validation.messages.jsonl"), shared("oasst1/oasst1_en_validation.trees.jsonl"))
    else {
        return;
    };
    let sorted = |path: &Path| {
        let mut pairs = prepare(path, None, &seed_rule()).unwrap().pairs;
        pairs.sort_by(|a, b| (&a.response, &a.instruction).cmp(&(&b.response, &b.instruction)));
        pairs
    };
    assert_eq!(sorted(&flat), sorted(&nested));
}

#[test]
fn the_lima_file_gives_300_corpus_rows_and_counts_the_others() {
    let Some(path) = shared("lima/lima_330.jsonl") else { return };
    let corpus = read_corpus(&path, None).unwrap();
    assert_eq!((corpus.rows.len(), corpus.dropped["not_two_turns"], corpus.malformed_count), (300, 30, 0));
    assert!(corpus.rows.iter().all(|row| row.reference.is_some()));
    let ten = read_corpus(&path, Some(10)).unwrap();
    assert_eq!((ten.rows.as_slice(), ten.dropped["limit"]), (&corpus.rows[..10], 290));

    let prepared = prepare(&path, None, &PairRule { first_turn_only: true, ..seed_rule() }).unwrap();
    assert_eq!(prepared.format, Format::Lima);
    assert_eq!(prepared.dropped["unanswered"], 1);
    let few = prepared.dropped.get("too_few_words").copied().unwrap_or(0);
    assert!(prepared.first_turn_pairs + few >= 330, "{:?}", prepared.dropped);
}

#[test]
fn a_row_without_language_rank_or_quality_passes_except_in_oasst1() {
    let words = "one two three four five six";
    let pair = format!("{{\"instruction\": \"{words}\", \"response\": \"{words}\"}}\n");
    assert_eq!(of(&pair, &seed_rule()).pairs.len(), 1);

    let messages = format!(
        "{}\n{}\n",
        format_args!("{{\"message_id\":\"a\",\"role\":\"prompter\",\"lang\":\"en\",\"text\":\"{words}\"}}"),
        format_args!(
            "{{\"message_id\":\"b\",\"parent_id\":\"a\",\"role\":\"assistant\",\"lang\":\"en\",\"text\":\"{words}\"}}"
        ),
    );
    assert_eq!(dropped(&of(&messages, &seed_rule())), [("no_rank", 1)]);
    let unranked = PairRule { best_reply_only: false, ..seed_rule() };
    assert_eq!(dropped(&of(&messages, &unranked)), [("no_quality", 1)]);
    assert_eq!(of(&messages, &any()).pairs.len(), 1);
}

#[test]
fn every_reason_to_drop_an_exchange_is_counted_once() {
    let row = |more: &str| format!("{{\"instruction\":\"a b c\",\"response\":\"d e f\"{more}}}\n");
    let text = [
        row(",\"lang\":\"fi\",\"rank\":3"),
        row(",\"rank\":1"),
        row(",\"response_quality\":0.6,\"instruction_quality\":0.9"),
        row(",\"turn\":1"),
        row(",\"first_turn\":false"),
        row(",\"quality\":1.5,\"lang\":\"en\",\"rank\":0"),
        row(",\"quality\":1.7"),
        "{\"instruction\":\"a b\",\"response\":\"d e f\"}\n".to_owned(),
        "{\"instruction\":\" \",\"response\":\"d e f\"}\n".to_owned(),
    ]
    .concat();
    let rule = PairRule { words_above: 2, first_turn_only: true, limit: Some(1), ..seed_rule() };
    let prepared = of(&text, &rule);
    assert_eq!(
        dropped(&prepared),
        [
            ("empty_text", 1),
            ("language", 1),
            ("limit", 1),
            ("not_best_reply", 1),
            ("not_first_turn", 2),
            ("quality", 1),
            ("too_few_words", 1),
        ]
    );
    assert_eq!((prepared.rows, prepared.pairs[0].quality), (9, Some(1.7)));
}

#[test]
fn pairs_are_sorted_by_quality_with_ties_in_file_order_and_unrated_last() {
    let row = |text: &str, quality: &str| format!("{{\"instruction\":\"{text}\",\"response\":\"r\"{quality}}}\n");
    let text = row("a", "") + &row("b", ",\"quality\":1") + &row("c", ",\"quality\":2") + &row("d", ",\"quality\":1");
    let prepared = of(&text, &any());
    let order: String = prepared.pairs.iter().map(|pair| pair.instruction.as_str()).collect();
    assert_eq!(order, "cbda");
}

#[test]
fn malformed_rows_are_reported_with_line_and_field_and_the_rest_is_kept() {
    let text = "{\"instruction\":\"a\",\"response\":\"b\"}\n\
                \n\
                {\"instruction\":\"a\",\"response\":7}\n\
                {\"instruction\":\"a\"\n\
                [1]\n\
                {\"response\":\"b\"}\n\
                {\"instruction\":\"a\",\"response\":\"b\",\"turn\":-1}\n\
                {\"instruction\":\"a\",\"response\":\"b\"}";
    let prepared = of(text, &any());
    assert_eq!((prepared.rows, prepared.pairs.len(), prepared.malformed_count), (7, 2, 5));
    let found: Vec<_> = prepared.malformed.iter().map(|row| (row.line, row.field.as_str())).collect();
    assert_eq!(found, [(3, "response"), (4, "row"), (5, "row"), (6, "instruction"), (7, "turn")]);
    assert_eq!(prepared.malformed[0].problem, "it is a number; it must be text");
    assert_eq!(prepared.malformed[3].problem, "it is missing");
}

#[test]
fn only_the_first_twenty_malformed_rows_are_reported_and_all_are_counted() {
    let text = format!("{{\"instruction\":\"a\",\"response\":\"b\"}}\n{}", "{\n".repeat(500));
    let prepared = of(&text, &any());
    assert_eq!((prepared.malformed_count, prepared.malformed.len()), (500, 20));
}

#[test]
fn alpaca_is_read_as_an_array_and_as_lines_with_the_input_below_the_instruction() {
    let first = "{\"instruction\": \"Sum up.\", \"input\": \"A, ] text \\\"[\\\\\", \"output\": \"B\"}";
    let second = "{\"instruction\": \"Say hi.\", \"input\": \"\",\n \"output\": \"Hi.\"}";
    let array = format!("[\n{first},\n{second}\n]\n");
    let lines = format!("{first}\n{}\n", second.replace('\n', ""));
    for text in [array, lines] {
        let prepared = of(&text, &any());
        assert_eq!(prepared.format, Format::Alpaca);
        assert_eq!(texts(&prepared), [("Sum up.\n\nA, ] text \"[\\", "B", 0), ("Say hi.", "Hi.", 0)]);
    }
}

#[test]
fn a_malformed_element_of_an_array_is_named_and_the_others_are_kept() {
    let text = "[{\"instruction\":\"a\",\"output\":\"b\"},\n {\"instruction\":\"a\",\"output\":null}, {\"instruction\" \"a\"},,\n\
                {\"instruction\":\"c\",\"output\":\"d\"}] x\ny";
    let prepared = of(text, &any());
    assert_eq!(texts(&prepared), [("a", "b", 0), ("c", "d", 0)]);
    let found: Vec<_> = prepared.malformed.iter().map(|row| (row.line, row.field.as_str())).collect();
    assert_eq!(found, [(2, "[1].output"), (2, "[2].row"), (2, "[3].row"), (3, "[5].row")]);

    let cut = of("[{\"instruction\":\"a\",\"output\":\"b\"},\n{\"instruction\":\"a\",\"out", &any());
    assert_eq!((cut.pairs.len(), cut.malformed_count), (1, 1));
    assert!(cut.malformed[0].problem.contains("ends within"));
}

fn message(id: &str, parent: Option<&str>, role: &str) -> String {
    let parent = parent.map_or("null".to_owned(), |parent| format!("\"{parent}\""));
    format!("{{\"message_id\":\"{id}\",\"parent_id\":{parent},\"role\":\"{role}\",\"text\":\"text {id}\"}}\n")
}

#[test]
fn orphans_duplicates_cycles_and_loose_replies_are_counted_and_never_followed() {
    let text = [
        message("a", None, "prompter"),
        message("b", Some("a"), "assistant"),
        message("b", Some("a"), "assistant"),
        message("c", Some("gone"), "assistant"),
        message("d", Some("gone"), "prompter"),
        message("e", Some("d"), "assistant"),
        message("f", Some("g"), "prompter"),
        message("g", Some("f"), "assistant"),
        message("h", Some("h"), "assistant"),
        message("i", Some("b"), "assistant"),
        message("j", None, "assistant"),
        message("k", Some("g"), "prompter"),
    ]
    .concat();
    let prepared = of(&text, &any());
    assert_eq!(texts(&prepared), [("text a", "text b", 0), ("text d", "text e", 1)]);
    assert_eq!(dropped(&prepared), [("cycle", 4), ("duplicate_id", 1), ("no_instruction", 2), ("orphan", 2)]);
}

#[test]
fn replies_may_stand_before_what_they_answer_and_turns_count_exchanges() {
    let text = [
        message("d", Some("c"), "assistant"),
        message("b", Some("a"), "assistant"),
        message("c", Some("b"), "prompter"),
        message("a", None, "prompter"),
    ]
    .concat();
    let prepared = of(&text, &any());
    assert_eq!(texts(&prepared), [("text c", "text d", 1), ("text a", "text b", 0)]);
    assert!(prepared.pairs.iter().all(|pair| pair.tree == "a"));
}

#[test]
fn a_corpus_takes_rows_with_or_without_an_instruction() {
    let text =
        "{\"response\":\"a\"}\n{\"response\":\"b\",\"instruction\":\"c\"}\n{\"response\":\" \"}\n{\"response\":null}\n";
    let corpus = read_corpus(file(text).path(), None).unwrap();
    let row = |row: u64, response: &str, reference: Option<&str>| CorpusRow {
        row,
        source_id: None,
        url: None,
        source: None,
        response: response.to_owned(),
        reference: reference.map(ToOwned::to_owned),
    };
    assert_eq!(corpus.rows, [row(1, "a", None), row(2, "b", Some("c"))]);
    assert_eq!((corpus.rows_read, corpus.dropped["empty_text"], corpus.malformed_count), (4, 1, 1));
    assert_eq!(corpus.dropped_rows, [DroppedRow { row: 3, reason: "empty_text" }]);
    let sources =
        [" web ", "", &"x".repeat(101)].map(|source| format!("{{\"response\":\"a\",\"source\":\"{source}\"}}\n"));
    let named = read_corpus(file(&(sources.concat() + "{\"response\":\"a\",\"source\":7}\n")).path(), None).unwrap();
    let named: Vec<Option<&str>> = named.rows.iter().map(|row| row.source.as_deref()).collect();
    assert_eq!(named, [Some("web"), None, None, None]);
    let flat = message("a", None, "prompter");
    assert_eq!(read_corpus(file(&flat).path(), None).unwrap_err().code(), spec::ErrorCode::Unsupported);
}

fn pair(tree: &str, text: &str) -> Pair {
    Pair {
        instruction: text.to_owned(),
        response: "r\n\u{85}\u{2028}\u{2029}\"".to_owned(),
        tree: tree.to_owned(),
        turn: 0,
        quality: Some(0.1 + 0.2),
    }
}

#[test]
fn written_pairs_are_read_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seed.jsonl");
    let pairs = vec![pair("a", "one"), Pair { quality: None, turn: 3, ..pair("b", "two") }];
    let sha256 = write_pairs(&path, &pairs).unwrap();
    crate::artifact::verify_file(&path, &sha256).unwrap();
    assert_eq!(read_pairs(&path).unwrap(), pairs);
    let prepared = prepare(&path, None, &any()).unwrap();
    assert_eq!((prepared.format, prepared.pairs), (Format::Pairs, pairs));
    // One line a pair to every reader, whatever it takes for a line break.
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.split(['\n', '\u{85}', '\u{2028}', '\u{2029}']).count(), 3, "{text}");
    std::fs::write(&path, "{\"instruction\":\"a\"}\n").unwrap();
    assert_eq!(read_pairs(&path).unwrap_err().code(), spec::ErrorCode::MalformedFile);
}

#[test]
fn a_tree_stays_on_its_side_when_other_trees_come_or_go() {
    let pairs: Vec<_> = (0..400).map(|number| pair(&format!("tree {}", number / 2), &number.to_string())).collect();
    let whole = split(pairs.clone(), 0.25, 7).unwrap();
    assert_eq!(whole.train.len() + whole.validation.len(), 400);
    let held = whole.validation.len() as f64 / 400.0;
    assert!((0.15..0.35).contains(&held), "{held}");
    let trees = |pairs: &[Pair]| pairs.iter().map(|pair| pair.tree.clone()).collect::<std::collections::BTreeSet<_>>();
    assert!(trees(&whole.train).is_disjoint(&trees(&whole.validation)));

    let part = split(pairs.iter().rev().step_by(3).cloned().collect(), 0.25, 7).unwrap();
    assert!(trees(&part.validation).is_subset(&trees(&whole.validation)));
    assert!(trees(&part.train).is_subset(&trees(&whole.train)));
    assert_ne!(split(pairs, 0.25, 8).unwrap().validation, whole.validation);
}

#[test]
fn both_sides_of_a_split_get_a_tree_where_there_are_two() {
    for seed in 0..50 {
        for fraction in [0.001, 0.5, 0.999] {
            let two = split(vec![pair("a", "1"), pair("b", "2")], fraction, seed).unwrap();
            assert_eq!((two.train.len(), two.validation.len()), (1, 1));
        }
        let one = split(vec![pair("a", "1"), pair("a", "2")], 0.9, seed).unwrap();
        assert_eq!((one.train.len(), one.validation.len()), (2, 0));
        let none = split(vec![pair("a", "1"), pair("b", "2")], 0.0, seed).unwrap();
        assert_eq!((none.train.len(), none.validation.len()), (2, 0));
    }
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    for fraction in [1.0, -0.1, f64::NAN] {
        assert!(split(vec![pair("a", "1")], fraction, 1).unwrap_err().to_string().contains("validation_fraction"));
    }
    assert_eq!(split(Vec::new(), 0.1, 1).unwrap_err().code(), spec::ErrorCode::Empty);
    let row = "{\"instruction\":\"a\",\"response\":\"b\"}\n";
    for rule in [PairRule { quality_above: Some(f64::NAN), ..any() }, PairRule { limit: Some(0), ..any() }] {
        assert_eq!(prepare(file(row).path(), None, &rule).unwrap_err().code(), spec::ErrorCode::InvalidSetting);
    }
}
