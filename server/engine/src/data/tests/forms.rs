//! Forms and spellings in which people have their rows.

use super::*;

fn read(text: &str) -> Vec<(String, String, u32)> {
    let prepared = of(text, &any());
    assert_eq!((prepared.malformed_count, prepared.dropped.len()), (0, 0), "{:?}", prepared.malformed);
    prepared.pairs.into_iter().map(|pair| (pair.instruction, pair.response, pair.turn)).collect()
}

fn row(instruction: &str, response: &str, turn: u32) -> (String, String, u32) {
    (instruction.to_owned(), response.to_owned(), turn)
}

fn bytes(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

#[test]
fn utf_16_is_read_in_both_byte_orders_with_or_without_a_mark() {
    let text = "{\"instruction\":\"é 😀\",\"response\":\"b\"}\r\n{\"instruction\":\"c\",\"response\":\"d\"}\r\n";
    let array = "[{\"instruction\":\"é 😀\",\"output\":\"b\"},\n {\"instruction\":\"c\",\"output\":\"d\"}]";
    for text in [text, array] {
        for mark in ["\u{feff}", ""] {
            for order in [u16::to_le_bytes, u16::to_be_bytes] {
                let file = bytes(&format!("{mark}{text}").encode_utf16().flat_map(order).collect::<Vec<u8>>());
                let prepared = prepare(file.path(), None, &any()).unwrap();
                assert_eq!(texts(&prepared), [("é 😀", "b", 0), ("c", "d", 0)]);
            }
        }
    }
}

#[test]
fn objects_that_span_lines_or_share_one_are_rows() {
    let known = [row("a {", "b", 0), row("c", "d", 0)];
    for text in [
        "{\n  \"instruction\": \"a {\",\n  \"response\": \"b\"\n}\n{\n  \"instruction\": \"c\",\n  \"response\": \"d\"\n}\n",
        "{\n\"instruction\": \"a {\",\n\"response\": \"b\"\n},\n{\n\"instruction\": \"c\",\n\"response\": \"d\"\n},\n",
        "{\"instruction\": \"a {\", \"response\": \"b\"}{\"instruction\": \"c\", \"response\": \"d\"}",
        "{\"instruction\": \"a {\", \"response\": \"b\"}\r{\"instruction\": \"c\", \"response\": \"d\"}\r",
        "{\"instruction\": \"a {\", \"response\": \"b\"},\n{\"instruction\": \"c\", \"response\": \"d\"},\n",
    ] {
        assert_eq!(read(text), known, "{text}");
    }
}

#[test]
fn a_broken_object_among_objects_that_span_lines_is_reported_and_the_others_are_kept() {
    let good = "{\n  \"instruction\": \"a\",\n  \"response\": \"b\"\n}\n";
    let text =
        format!("{good}{{\n  \"instruction\": \"never closed\",\n{good}no object\n{good}{{\n  \"instruction\": \"x\"");
    let prepared = of(&text, &any());
    assert_eq!(prepared.pairs.len(), 3);
    let found: Vec<_> = prepared.malformed.iter().map(|row| (row.line, row.problem.as_str())).collect();
    assert_eq!(found[0].0, 5);
    assert!(found[0].1.contains("not closed before line 7"), "{found:?}");
    assert_eq!(found[1].0, 11);
    assert_eq!(found[2].0, 16);
    assert!(found[2].1.contains("ends within this row"), "{found:?}");
}

#[test]
fn byte_order_marks_in_the_middle_are_no_part_of_a_row() {
    let line = "\u{feff}{\"instruction\":\"a\",\"response\":\"b\"}\n";
    assert_eq!(read(&line.repeat(3)), vec![row("a", "b", 0); 3]);
    let objects = "\u{feff}{\n\"instruction\":\"a\",\n\"response\":\"b\"}\n";
    assert_eq!(read(&objects.repeat(3)), vec![row("a", "b", 0); 3]);
}

#[test]
fn zeros_behind_a_gzip_stream_are_padding() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"{\"instruction\":\"a\",\"response\":\"b\"}\n").unwrap();
    let mut packed = encoder.finish().unwrap();
    packed.resize(packed.len().next_multiple_of(512), 0);
    assert_eq!(prepare(bytes(&packed).path(), None, &any()).unwrap().pairs.len(), 1);
}

#[test]
fn what_python_writes_for_missing_numbers_and_cut_emoji_keeps_its_row() {
    let text =
        "{\"instruction\": \"NaN \\ud83d\", \"response\": \"\\ude00 b\", \"quality\": NaN, \"rank\": -Infinity}\n";
    assert_eq!(read(text), [row("NaN \u{fffd}", "\u{fffd} b", 0)]);
}

#[test]
fn lang_and_language_are_two_fields_and_either_may_fit() {
    let english = PairRule { language: Some("en".to_owned()), ..any() };
    for (fields, kept) in [
        ("\"lang\": \"en\", \"language\": \"English\"", 1),
        ("\"lang\": \"English\", \"language\": \"en\"", 1),
        ("\"lang\": null, \"language\": \"en\"", 1),
        ("\"language\": \"fi\"", 0),
        ("\"lang\": \"fi\", \"language\": \"Finnish\"", 0),
        ("\"lang\": \"\"", 1),
    ] {
        let prepared = of(&format!("{{\"instruction\": \"a\", \"response\": \"b\", {fields}}}\n"), &english);
        assert_eq!((prepared.pairs.len(), prepared.malformed_count), (kept, 0), "{fields}");
    }
}

#[test]
fn field_names_may_be_in_upper_case() {
    assert_eq!(read("{\"INSTRUCTION\": \"a\", \"RESPONSE\": \"b\", \"SOURCE\": \"s\"}\n"), [row("a", "b", 0)]);
    assert_eq!(read("{\"Instruction\": \"a\", \"Input\": \"i\", \"Output\": \"b\"}\n"), [row("a\n\ni", "b", 0)]);
    let both =
        "{\"Instruction\": \"other\", \"instruction\": \"a\", \"INSTRUCTION\": \"other\", \"response\": \"b\"}\n";
    assert_eq!(read(both), [row("a", "b", 0)]);
}

#[test]
fn what_an_instruction_is_about_joins_it_in_every_form() {
    for (subject, response) in
        [("context", "response"), ("input", "response"), ("input", "output"), ("context", "output")]
    {
        let text = format!("{{\"instruction\": \"When?\", \"{subject}\": \"Since 1931.\", \"{response}\": \"b\"}}\n");
        assert_eq!(read(&text), [row("When?\n\nSince 1931.", "b", 0)]);
    }
    assert_eq!(
        read("{\"instruction\": \"a\", \"context\": \" \", \"input\": null, \"response\": \"b\"}\n"),
        [row("a", "b", 0)]
    );
}

#[test]
fn exchanges_of_a_history_come_before_the_rows_own() {
    let text = "{\"instruction\": \"Why?\", \"input\": \"\", \"output\": \"The sun.\", \
                \"history\": [[\"Is it cold?\", \"Yes.\"], [\"Where?\", \"Here.\"]]}\n";
    assert_eq!(read(text), [row("Is it cold?", "Yes.", 0), row("Where?", "Here.", 1), row("Why?", "The sun.", 2)]);
    let prepared = of(text, &any());
    assert!(prepared.pairs.iter().all(|pair| pair.tree == prepared.pairs[0].tree));
    let first = of(text, &PairRule { first_turn_only: true, ..any() });
    assert_eq!((texts(&first), dropped(&first)), (vec![("Is it cold?", "Yes.", 0)], vec![("not_first_turn", 2)]));
    assert_eq!(read("{\"instruction\": \"a\", \"output\": \"b\", \"history\": []}\n"), [row("a", "b", 0)]);
    let wrong = of("{\"instruction\": \"a\", \"output\": \"b\", \"history\": [[\"a\"]]}\n", &any());
    assert_eq!(wrong.malformed[0].field, "history");
}

#[test]
fn ids_may_be_whole_numbers() {
    let prepared = of("{\"instruction\": \"a\", \"response\": \"b\", \"tree\": 9007199254740993}\n", &any());
    assert_eq!(prepared.pairs[0].tree, "9007199254740993");
    let text = "{\"message_id\": 1, \"parent_id\": null, \"role\": \"prompter\", \"text\": \"q\"}\n\
                {\"message_id\": 2, \"parent_id\": 1, \"role\": \"assistant\", \"text\": \"r\"}\n";
    assert_eq!(read(text), [row("q", "r", 0)]);
    let prepared = of("{\"instruction\": \"a\", \"response\": \"b\", \"tree\": 7.0}\n", &any());
    assert_eq!(prepared.pairs[0].tree, "7");
    let wrong = of("{\"instruction\": \"a\", \"response\": \"b\", \"tree\": 1.5}\n", &any());
    assert_eq!(wrong.malformed[0].problem, "it is a number; it must be text or a whole number");
}

#[test]
fn an_exported_none_is_no_parent() {
    for none in ["\"None\"", "\"null\"", "\"\"", "\"nan\"", "NaN", "null"] {
        let root = format!("{{\"message_id\":\"a\",\"parent_id\":{none},\"role\":\"prompter\",\"text\":\"q\"}}\n");
        assert_eq!(read(&(root + &message("b", Some("a"), "assistant"))), [row("q", "text b", 0)], "{none}");
    }
}

#[test]
fn what_oasst1_itself_rejects_is_counted_by_reason() {
    let exchange = |id: &str, more: &str| {
        let reply = message(&format!("{id}r"), Some(id), "assistant");
        message(id, None, "prompter") + &reply.replace("\"role\"", &format!("{more},\"role\""))
    };
    let text = [
        exchange("a", "\"review_result\":false"),
        exchange("b", "\"tree_state\":\"aborted_low_grade\""),
        exchange("c", "\"synthetic\":true"),
        exchange("d", "\"labels\":{\"name\":[\"quality\",\"spam\"],\"value\":[0.9,1.0]}"),
        exchange("e", "\"labels\":{\"spam\":{\"value\":0.6,\"count\":3}}"),
        exchange("f", "\"deleted\":true"),
        exchange(
            "g",
            "\"review_result\":true,\"tree_state\":\"ready_for_export\",\"synthetic\":false,\"labels\":{\"spam\":0.5}",
        ),
        exchange("h", "\"review_result\":null,\"labels\":{\"name\":[\"spam\"],\"value\":[NaN]}"),
    ]
    .concat();
    let prepared = of(&text, &any());
    assert_eq!(prepared.pairs.iter().map(|pair| pair.tree.as_str()).collect::<Vec<_>>(), ["g", "h"]);
    let known = [("deleted", 1), ("failed_review", 1), ("spam", 2), ("synthetic", 1), ("tree_not_ready", 1)];
    assert_eq!(dropped(&prepared), known);

    let tree = "{\"message_tree_id\":\"t\",\"tree_state\":\"halted_by_moderator\",\"prompt\":{\"message_id\":\"a\",\"role\":\"prompter\",\
                \"text\":\"A\",\"replies\":[{\"message_id\":\"b\",\"role\":\"assistant\",\"text\":\"B\"}]}}\n";
    assert_eq!(dropped(&of(tree, &any())), [("tree_not_ready", 1)]);
}

#[test]
fn other_forms_are_refused_by_name_and_fields() {
    for (text, name, hint) in [
        (
            "{\"conversations\": [{\"from\": \"human\", \"value\": \"a\"}]}",
            "ShareGPT (fields: conversations;",
            "instruction",
        ),
        (
            "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}",
            "chat messages (fields: messages)",
            "instruction",
        ),
        ("{\"prompt\": \"a\", \"completion\": \"b\"}", "prompt and completion (fields: prompt, completion)", "Rename"),
        ("{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}", "preferences", "chosen to response"),
        ("{\"question\": \"a\", \"answer\": \"b\"}", "question and answer", "Rename"),
        ("{\"text\": \"a\", \"meta\": {}}", "plain texts (fields: text, meta)", "rename the field to response"),
        ("{\"title\": \"a\", \"body\": \"b\"}", "the form of its rows (fields: title, body)", "Rename"),
    ] {
        for error in
            [prepare(file(text).path(), None, &any()).unwrap_err(), read_corpus(file(text).path(), None).unwrap_err()]
        {
            assert_eq!(error.code(), spec::ErrorCode::Unsupported);
            assert!(error.to_string().contains(name), "{error}");
            assert!(error.hint().contains(hint), "{}", error.hint());
        }
    }
}

#[test]
fn what_generate_writes_can_be_trained_on_scored_and_written_for_again() {
    let text = "{\"index\":0,\"response\":\"Tea.\",\"reference\":\"Say tea\",\"generated\":\"Name a drink\",\"ended\":false}\n";
    assert_eq!(read(text), [row("Name a drink", "Tea.", 0)]);
    let corpus = read_corpus(file(text).path(), None).unwrap();
    assert_eq!(corpus.rows[0].reference.as_deref(), Some("Say tea"));
    let scored = read_scored(file(text).path()).unwrap();
    let known = ScoredRow {
        row: 1,
        response: "Tea.".to_owned(),
        generated: "Name a drink".to_owned(),
        reference: Some("Say tea".to_owned()),
        ended: Some(false),
    };
    assert_eq!(scored.rows, [known]);
}

#[test]
fn a_corpus_row_keeps_its_place_and_the_names_of_its_source() {
    let text = "\n{\"id\": \"doc-17\", \"url\": \"https://example.org/17\", \"response\": \"a\"}\n{\"response\": 5}\n{\"response\": \" \"}\n\
                {\"respons\": \"typo\"}\n{\"source_id\": 8, \"id\": 3, \"response\": \"b\", \"reference\": \"c\", \"instruction\": \"d\"}\n\
                {\"id\": {\"$oid\": \"x\"}, \"response\": \"e\"}\n{\"response\": \"f\"}\n";
    let corpus = read_corpus(file(text).path(), Some(3)).unwrap();
    let found: Vec<_> =
        corpus.rows.iter().map(|row| (row.row, row.source_id.as_deref(), row.reference.as_deref())).collect();
    assert_eq!(found, [(2, Some("doc-17"), None), (6, Some("8"), Some("c")), (7, None, None)]);
    assert_eq!(corpus.rows[0].url.as_deref(), Some("https://example.org/17"));
    assert_eq!((corpus.rows_read, corpus.malformed_count), (7, 2));
    assert_eq!(corpus.dropped, [("empty_text", 1), ("limit", 1)].into());
    assert_eq!(corpus.dropped_rows, [DroppedRow { row: 4, reason: "empty_text" }]);
    let array = read_corpus(file("[{\"response\":\n\"a\"},\n\n{\"response\":\"b\"}]").path(), None).unwrap();
    assert_eq!(array.rows.iter().map(|row| row.row).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn scored_rows_are_read_as_every_other_row_is() {
    let rows = |text: &str| {
        let read = read_scored(file(text).path()).unwrap();
        (read.rows.into_iter().map(|row| (row.generated, row.reference)).collect::<Vec<_>>(), read.malformed_count)
    };
    let known = |generated: &str, reference: Option<&str>| (generated.to_owned(), reference.map(ToOwned::to_owned));
    for text in [
        "\u{feff}{\"response\": \"r\", \"generated\": \"g\", \"reference\": \"o\"}\n",
        "{\"response\": \"r\", \"generated_instruction\": \"g\", \"original_instruction\": \"o\"}",
        "{\"output\": \"r\", \"generated\": \"g\", \"instruction\": \"o\"}",
        "[{\"response\": \"r\", \"generated\": \"g\", \"reference\": \"o\"}]",
    ] {
        assert_eq!(rows(text), (vec![known("g", Some("o"))], 0), "{text}");
    }
    assert_eq!(rows("{\"response\": \"r\", \"instruction\": \"g\"}\n"), (vec![known("g", None)], 0));
    let broken = "[{\"response\": \"r\", \"generated\": \"g\"}, {\"response\": \"x\", \"generated\": NaN}, {\"response\": \"r\", \"generated\": \"h\"}]";
    assert_eq!(rows(broken), (vec![known("g", None), known("h", None)], 1));
    let read =
        read_scored(file("\n{\"response\": \"r\", \"generated\": \"g\"}\nnonsense\n{\"generated\": \"g\"}\n").path())
            .unwrap();
    let found: Vec<_> = read.malformed.iter().map(|row| (row.line, row.field.as_str())).collect();
    assert_eq!(found, [(3, "row"), (4, "response")]);
    assert_eq!(read_scored(file("\n").path()).unwrap_err().code(), spec::ErrorCode::Empty);
}

#[test]
fn the_word_rule_counts_letters_where_no_spaces_are_written() {
    let five = PairRule { words_above: 5, ..any() };
    let text = "{\"instruction\": \"请问茶是怎么做的？\", \"response\": \"茶是用茶叶和热水做的。\"}\n\
                {\"instruction\": \"茶？\", \"response\": \"茶是用茶叶和热水做的。\"}\n";
    let prepared = of(text, &five);
    assert_eq!((prepared.pairs.len(), dropped(&prepared)), (1, vec![("too_few_words", 1)]));
}
