//! Sampling: the same seed writes the same text, whoever is written beside it; streams and stops keep their word.

use std::collections::BTreeMap;

use engine::generate::{GenerateEvent, GenerateRow, GeneratedRow, generate};
use engine::model::BaseModel;
use engine::{Control, Stop};
use spec::{GenerateConfig, WeightFormat};

use crate::greedy::{greedy, row, write};
use crate::support::{golden_pairs, load, shared, short_template, tiny, tiny_with};

fn rows(model: &BaseModel) -> Vec<GenerateRow> {
    let template = short_template(&model.tokenizer);
    let prompts = golden_pairs().into_iter().map(|pair| pair.response);
    (10..)
        .zip(prompts)
        .map(|(index, response)| GenerateRow {
            index,
            prompt: template.encode_prompt(&model.tokenizer, &response, 200).unwrap(),
        })
        .collect()
}

fn sampled(batch_size: u32, seed: u64) -> GenerateConfig {
    GenerateConfig {
        temperature: 0.9,
        top_p: 0.95,
        top_k: 100,
        repetition_penalty: 1.1,
        max_new_tokens: 40,
        batch_size,
        seed,
        ..GenerateConfig::default()
    }
}

fn ids(rows: &BTreeMap<u32, GeneratedRow>) -> Vec<&[u32]> {
    rows.values().map(|row| row.ids.as_slice()).collect()
}

#[test]
fn a_rows_text_depends_on_its_seed_and_not_on_its_neighbours() {
    let model = tiny();
    let rows = rows(&model);
    let alone = write(&model, None, &rows, &sampled(1, 5));
    for batch_size in [2, 3, 5, 8, 100] {
        assert_eq!(write(&model, None, &rows, &sampled(batch_size, 5)), alone, "batch {batch_size}");
    }
    let mut others = rows.clone();
    others.reverse();
    others.retain(|row| row.index % 2 == 0);
    for (index, found) in write(&model, None, &others, &sampled(3, 5)) {
        assert_eq!(found, alone[&index]);
    }
    let another_seed = write(&model, None, &rows, &sampled(8, 6));
    assert!(ids(&alone).iter().zip(ids(&another_seed)).all(|(a, b)| **a != *b));
}

#[test]
fn candidates_have_texts_of_their_own_and_the_first_is_that_of_a_single_one() {
    let model = tiny();
    let rows = rows(&model);
    let alone = write(&model, None, &rows, &sampled(4, 5));
    let many = write(&model, None, &rows, &GenerateConfig { candidates: 3, ..sampled(4, 5) });
    for (index, row) in &many {
        assert_eq!((&row.ids, &row.text, row.stopped_by), {
            let first = &alone[index];
            (&first.ids, &first.text, first.stopped_by)
        });
        assert_eq!(row.others.len(), 2);
        assert!(row.others.iter().all(|other| other.ids != row.ids), "row {index}");
        assert_ne!(row.others[0].ids, row.others[1].ids, "row {index}");
    }
    for batch_size in [1, 7, 100] {
        let again = write(&model, None, &rows, &GenerateConfig { candidates: 3, ..sampled(batch_size, 5) });
        assert_eq!(again, many, "batch {batch_size}");
    }
}

#[test]
fn rows_with_the_same_prompt_get_texts_of_their_own() {
    let model = tiny();
    let prompt = rows(&model)[0].prompt.ids.clone();
    let found = write(&model, None, &[row(1, &prompt), row(2, &prompt)], &sampled(2, 5));
    assert_ne!(found[&1].ids, found[&2].ids);
}

#[test]
fn a_very_low_temperature_and_a_single_candidate_are_greedy() {
    let model = tiny();
    let rows = rows(&model);
    let most_likely = write(&model, None, &rows, &greedy(20, 8));
    for config in [
        GenerateConfig { temperature: 1.0, top_k: 1, ..greedy(20, 8) },
        GenerateConfig { temperature: 1.0, top_p: 1e-9, ..greedy(20, 8) },
    ] {
        assert_eq!(ids(&write(&model, None, &rows, &config)), ids(&most_likely));
    }
}

#[test]
fn streamed_text_is_a_beginning_of_the_rows_text_and_the_stop_token_is_not_in_it() {
    let model = tiny();
    let rows = rows(&model);
    let mut streamed: BTreeMap<u32, String> = BTreeMap::new();
    let mut finished = 0;
    let config = GenerateConfig { max_new_tokens: 300, ..sampled(4, 5) };
    generate(&model, None, &rows, &[2], &config, &Control::default(), &mut |event| match event {
        GenerateEvent::Token { index, text } => {
            assert!(!text.is_empty());
            streamed.entry(index).or_default().push_str(&text);
        }
        GenerateEvent::Row(row) => {
            let text = streamed.remove(&row.index).unwrap_or_default();
            assert!(row.text.starts_with(&text), "{:?} is not where {text:?} begins", row.text);
            assert!(!row.ids.contains(&2));
            assert_eq!(row.ended(), row.ids.len() < 300);
            finished += 1;
        }
    })
    .unwrap();
    assert_eq!((finished, streamed.len()), (rows.len(), 0));
}

#[test]
fn a_stopped_generation_keeps_the_rows_that_it_gave_out() {
    let model = tiny();
    let rows = rows(&model);
    let whole = write(&model, None, &rows, &sampled(1, 5));
    let (control, mut given) = (Control::default(), Vec::new());
    let stopped = generate(&model, None, &rows, &[2], &sampled(1, 5), &control, &mut |event| {
        if let GenerateEvent::Row(row) = event {
            given.push(row);
            if given.len() == 3 {
                control.stop(Stop::Save);
            }
        }
    });
    assert_eq!(stopped.unwrap_err().code(), spec::ErrorCode::Stopped);
    assert_eq!(given.len(), 3);
    assert!(given.iter().all(|row| *row == whole[&row.index]));
}

#[test]
fn what_does_not_fit_into_the_models_context_is_refused_with_the_limit() {
    let model = tiny();
    let long = row(0, &[5; 2040]);
    let config = greedy(9, 1);
    let error = generate(&model, None, &[long], &[2], &config, &Control::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("at most 8"), "{error}");
}

#[test]
fn weights_in_eight_bits_write_texts_that_do_not_depend_on_the_batch_and_are_refused_where_they_do_not_fit() {
    let model = tiny();
    let rows = rows(&model);
    let int8 = |batch_size| GenerateConfig { weights: WeightFormat::Int8, ..sampled(batch_size, 5) };
    if model.device.spec() != "flex" {
        return;
    }
    let alone = write(&model, None, &rows, &int8(1));
    for batch_size in [3, 8, 20] {
        assert_eq!(write(&model, None, &rows, &int8(batch_size)), alone, "batch {batch_size}");
    }
    // Its feed-forward width, 172, is not a multiple of 32.
    let Some(folder) = shared("models/stories260k") else { return };
    let stories = load(&folder);
    let config = GenerateConfig { weights: WeightFormat::Int8, ..greedy(4, 1) };
    let error = generate(&stories, None, &[row(0, &[1])], &[2], &config, &Control::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().starts_with("weights"), "{error}");
}

#[test]
fn weights_that_are_not_finite_give_an_error_and_never_a_figure_or_a_text() {
    let ids = [1, 5, 6, 7, 8];
    for tensor in ["model.layers.0.self_attn.v_proj.weight", "model.norm.weight", "lm_head.weight"] {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38] {
            let model = tiny_with(tensor, value);
            let what = format!("{value} in {tensor}");
            let errors = [
                model.score(&ids).err(),
                model.logits(&ids, 3).err(),
                model.score_int8(&[ids.to_vec()]).err(),
                generate(&model, None, &[row(1, &ids)], &[], &greedy(4, 1), &Control::default(), &mut |event| {
                    panic!("{what}: {event:?}")
                })
                .err(),
            ];
            for (call, error) in ["score", "logits", "score_int8", "generate"].into_iter().zip(errors) {
                // A huge finite weight may still give finite results, which are then right; and a logit of minus infinity
                // is a probability of zero.
                let Some(error) = error else {
                    let zero_probability = tensor == "lm_head.weight" && value == f32::NEG_INFINITY;
                    let right = value.is_finite() || zero_probability || call == "score_int8";
                    assert!(right, "{what}: {call} gave a result");
                    continue;
                };
                assert_eq!(error.code(), spec::ErrorCode::NonFinite, "{what}: {call}: {error}");
            }
        }
    }
}

#[test]
fn any_of_several_stop_ids_ends_a_row() {
    let model = tiny();
    let rows = rows(&model);
    let config = greedy(20, 8);
    let free = write(&model, None, &rows, &config);
    let (first, second) = (free[&10].ids[3], free[&11].ids[5]);
    let mut found = BTreeMap::new();
    generate(&model, None, &rows, &[first, second], &config, &Control::default(), &mut |event| {
        if let GenerateEvent::Row(row) = event {
            found.insert(row.index, row);
        }
    })
    .unwrap();
    for (index, row) in &found {
        let whole = &free[index].ids;
        let end = whole.iter().position(|id| *id == first || *id == second);
        assert_eq!(row.ids, whole[..end.unwrap_or(whole.len())], "row {index}");
        assert_eq!(row.stopped_by, end.map(|end| whole[end]), "row {index}");
    }
    assert!(found[&10].ended() && found[&11].ended());
}

#[test]
fn a_prompt_that_leaves_too_little_of_the_context_is_refused_with_what_is_left() {
    let model = tiny();
    let context = model.config.max_position_embeddings;
    for (prompt, left) in [(context - 2, "at most 2"), (context, "at most 0"), (context + 1, "tokens long")] {
        let rows = [row(1, &vec![5; prompt])];
        let config = greedy(3, 1);
        let error = generate(&model, None, &rows, &[], &config, &Control::default(), &mut |_| {}).unwrap_err();
        assert_eq!(error.code(), spec::ErrorCode::InvalidSetting);
        assert!(error.to_string().contains(left), "{error}");
    }
}
