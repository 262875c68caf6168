use std::path::Path;

use super::*;

fn tags_of(response: &str, generated: &str) -> Vec<Tag> {
    score_pair(&ScoreInput { response, generated, reference: None, ended: None }).tags
}

const RESPONSE: &str = "Bread rises because yeast eats sugar and gives off gas, and the gas stretches the dough.";

#[test]
fn a_good_instruction_has_no_tags() {
    for good in [
        "Why does bread rise?",
        "Explain in one sentence what makes dough grow.",
        "I baked a loaf yesterday and it stayed flat. I would like to understand the chemistry.",
        "Hi, write me a short note on yeast",
        "Now list three more",
        "My class is about baking: describe the role of yeast.",
        "How to store yeast",
        "Given a bag of flour and some water, compute the hydration.",
        "In a cold kitchen, how can I make dough rise",
        "パンはなぜ膨らむのですか",
    ] {
        assert_eq!(tags_of(RESPONSE, good), [], "{good}");
    }
}

#[test]
fn template_leak_marks_labels_slots_and_chat_marks() {
    for leak in [
        "Why does bread rise?\n\nResponse: Because of yeast.",
        "### Instruction\nWhy does bread rise?",
        "Write about {response}",
        "Why does bread rise?<|im_end|>",
        "[INST] Why does bread rise? [/INST]",
    ] {
        assert!(tags_of(RESPONSE, leak).contains(&Tag::TemplateLeak), "{leak}");
    }
    for clean in [
        "Write a response to this letter.",
        "Follow this instruction: add salt. Why?",
        "Grade the response: is it good?",
    ] {
        assert!(!tags_of(RESPONSE, clean).contains(&Tag::TemplateLeak), "{clean}");
    }
}

#[test]
fn echo_marks_the_response_from_its_beginning_or_a_text_that_stands_in_it_whole() {
    let starts = "Bread rises because yeast eats sugar and gives heat. Why?";
    assert!(tags_of(RESPONSE, starts).contains(&Tag::Echo));
    assert!(tags_of(RESPONSE, "the gas stretches the dough").contains(&Tag::Echo));
    assert!(!tags_of(RESPONSE, "Bread rises because yeast eats what?").contains(&Tag::Echo));
    assert!(!tags_of(RESPONSE, "the gas stretches").contains(&Tag::Echo));
    assert!(!tags_of(RESPONSE, "Why does it rise when yeast eats sugar?").contains(&Tag::Echo));
}

#[test]
fn copied_begins_at_a_run_of_eight_words() {
    let eight = "Why is it that yeast eats sugar and gives off gas, and";
    assert!(tags_of(RESPONSE, eight).contains(&Tag::Copied));
    assert!(!tags_of(RESPONSE, "Why is it that yeast eats sugar and gives off gas?").contains(&Tag::Copied));
}

#[test]
fn not_an_instruction_marks_texts_that_ask_for_nothing() {
    for statement in
        ["The city lies on a river and has many bridges.", "Thank you very much.", "1. Yeast 2. Sugar 3. Flour"]
    {
        assert_eq!(tags_of(RESPONSE, statement), [Tag::NotAnInstruction], "{statement}");
    }
}

#[test]
fn empty_marks_texts_without_words_and_nothing_else_is_said_of_them() {
    for empty in ["", " \n", "...", "* * *"] {
        assert_eq!(tags_of(RESPONSE, empty), [Tag::Empty], "{empty:?}");
    }
    assert!(!tags_of(RESPONSE, "Why?").contains(&Tag::Empty));
}

#[test]
fn no_end_is_said_only_where_it_is_known() {
    let of = |ended| score_pair(&ScoreInput { response: RESPONSE, generated: "Why?", reference: None, ended }).tags;
    assert_eq!(of(Some(false)), [Tag::NoEnd]);
    assert_eq!(of(Some(true)), []);
    assert_eq!(of(None), []);
}

#[test]
fn loop_marks_blocks_that_repeat_in_a_row_and_lines_that_return() {
    let is_loop = |text: &str| tags_of(RESPONSE, text).contains(&Tag::Loop);
    assert!(is_loop(&"why ".repeat(12)));
    assert!(is_loop(&format!("Explain yeast. {}", "What is the gas? ".repeat(3))));
    assert!(is_loop("What is yeast made of?\nA\nWhat is yeast made of?\nB\nWhat is yeast made of?\nC"));
    assert!(is_loop(&"* ".repeat(30)));
    assert!(!is_loop("Write very, very, very slowly about bread."));
    assert!(!is_loop("What is the gas? What is the gas? Tell me!"));
    assert!(!is_loop("a\na\na\na\na"));
}

#[test]
fn scores_of_a_pair_are_those_worked_out_by_hand() {
    let scores = score_pair(&ScoreInput {
        response: "one two three four",
        generated: "Two THREE five, four?",
        reference: Some("three four"),
        ended: None,
    });
    assert_eq!((scores.words, scores.copied_run), (4, 2));
    assert_eq!((scores.coverage, scores.density), (0.75, 5.0 / 4.0));
    assert_eq!(scores.rouge_l, Some(4.0 / 6.0));
}

#[test]
fn near_equal_sentences_without_spaces_score_near_one() {
    let score = |generated, reference| {
        let response = "茶是用茶叶和热水做的饮料，味道很好。";
        score_pair(&ScoreInput { response, generated, reference: Some(reference), ended: None })
    };
    let chinese = score("请问茶是怎么做的？", "请问茶是怎样做的？");
    assert_eq!((chinese.words, chinese.rouge_l), (8, Some(7.0 / 8.0)));
    assert!(score("お茶はどう作りますか", "お茶をどう作りますか").rouge_l > Some(0.85));
    assert!(score("ชาทำอย่างไร", "ชาทำได้อย่างไร").rouge_l > Some(0.8));
    assert_eq!(score("Why tea?", "Why milk?").rouge_l, Some(0.5));
}

#[test]
fn a_summary_of_nothing_has_no_figures_and_does_not_divide_by_zero() {
    let none = summarise(&[], &[], 1);
    assert_eq!((none.pairs, none.reference, none.rouge_l, none.rouge_l_shuffled), (0, None, None, None));
    assert_eq!((none.generated.median_words, none.generated.distinct_2), (0.0, 0.0));
}

#[test]
fn distinct_is_counted_over_all_texts_together_and_the_median_skips_empty_texts() {
    let input = |generated| ScoreInput { response: "", generated, reference: None, ended: None };
    let inputs = ["what is a a", "what is", "", "why"].map(input);
    let scores = inputs.map(|input| score_pair(&input));
    let summary = summarise(&inputs, &scores, 1);
    assert_eq!(summary.generated.median_words, 2.0);
    assert_eq!((summary.generated.distinct_1, summary.generated.distinct_2), (4.0 / 7.0, 3.0 / 4.0));
}

#[test]
fn very_long_texts_are_scored_in_bounded_time() {
    let long = "same ".repeat(300_000);
    let scores = score_pair(&ScoreInput { response: &long, generated: &long, reference: Some(&long), ended: None });
    assert_eq!((scores.words, scores.rouge_l), (300_000, Some(1.0)));
}

/// The published outputs of the 2024 recipe: the figures of its report's analysis.
#[test]
fn the_published_outputs_give_the_known_figures() {
    let name = "shared/data/published/chongchen1999_tinyllama_lima_instructions.json";
    let found =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join(name)).find(|path| path.exists());
    let Some(path) = found else {
        eprintln!("skipped: {name} is not there");
        return;
    };
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let text = |row: &serde_json::Value, field: &str| row[field].as_str().unwrap().to_owned();
    let texts: Vec<[String; 3]> = rows
        .iter()
        .map(|row| [text(row, "response"), text(row, "generated_instruction"), text(row, "original_instruction")])
        .collect();
    let summary = |cut: &dyn Fn(&str) -> String| {
        let generated: Vec<String> = texts.iter().map(|[_, generated, _]| cut(generated)).collect();
        let inputs: Vec<_> = texts
            .iter()
            .zip(&generated)
            .map(|([response, _, reference], generated)| ScoreInput {
                response,
                generated,
                reference: Some(reference),
                ended: None,
            })
            .collect();
        let scores: Vec<_> = inputs.iter().map(score_pair).collect();
        summarise(&inputs, &scores, 1)
    };
    let near = |value: f64, known: f64, by: f64| assert!((value - known).abs() <= by, "{value} is not {known}");

    let whole = summary(&str::to_owned);
    let reference = whole.reference.as_ref().unwrap();
    assert_eq!((whole.pairs, whole.with_reference), (243, 243));
    assert_eq!((whole.generated.median_words, reference.median_words), (283.0, 42.0));
    near(whole.rouge_l.unwrap(), 0.0896, 0.00005);
    near(whole.rouge_l_shuffled.unwrap(), 0.057, 0.003);
    near(whole.generated.copied, 0.62, 0.01);
    near(reference.copied, 0.03, 0.005);
    near(whole.generated.distinct_2, 0.331, 0.001);
    near(reference.distinct_2, 0.743, 0.001);
    let count = |tag| whole.tags.iter().find(|(known, _)| *known == tag).unwrap().1;
    near(count(Tag::TemplateLeak) as f64 / 243.0, 0.93, 0.005);
    assert_eq!((count(Tag::NoEnd), count(Tag::Empty)), (0, 2));
    eprintln!("{whole:#?}");

    // "Cut at the first Response:": the paragraph behind that label, for there the recipe's model wrote its
    // instruction.
    let cut = summary(&|text| match text.split("Response:").nth(1) {
        Some(behind) => behind.trim().split("\n\n").next().unwrap_or_default().to_owned(),
        None => text.to_owned(),
    });
    near(cut.rouge_l.unwrap(), 0.1237, 0.00005);
}
