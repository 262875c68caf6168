use super::*;

fn kinds() -> impl Iterator<Item = (CellKind, &'static Setting)> {
    CellKind::ALL.into_iter().flat_map(|kind| kind.settings().iter().map(move |setting| (kind, setting)))
}

/// Texts at the bounds of a setting, and texts just beyond them.
fn at_and_beyond(setting: &Setting) -> (Vec<String>, Vec<String>) {
    let (mut good, mut bad) = match setting.rule.kind {
        Kind::Whole { min, max } => {
            let mut bad = vec!["-1".to_owned(), "1.5".to_owned(), "abc".to_owned(), "18446744073709551616".to_owned()];
            bad.extend(min.checked_sub(1).map(|below| below.to_string()));
            bad.extend(max.checked_add(1).map(|beyond| beyond.to_string()));
            (vec![min.to_string(), max.to_string()], bad)
        }
        Kind::Number { min, max } => {
            let (mut good, mut bad) =
                (vec![], vec!["NaN".to_owned(), "inf".to_owned(), "1,5".to_owned(), "x".to_owned()]);
            for (bound, inside, outside) in
                [(min, min.value.next_up(), min.value.next_down()), (max, max.value.next_down(), max.value.next_up())]
            {
                if bound.included { &mut good } else { &mut bad }.push(bound.value.to_string());
                good.push(inside.to_string());
                bad.push(outside.to_string());
            }
            (good, bad)
        }
        Kind::Toggle => (vec!["true".to_owned(), "false".to_owned()], vec!["yes".to_owned(), "1".to_owned()]),
        Kind::Choice(choices) | Kind::Set(choices) => {
            let good = choices.iter().map(|choice| choice.value.to_owned()).collect();
            (good, vec!["no such choice".to_owned(), "q_proj,,v_proj".to_owned()])
        }
        Kind::Line { max_chars } => {
            (vec!["x".to_owned(), "é".repeat(max_chars)], vec!["x".repeat(max_chars + 1), "a\nb".to_owned()])
        }
        Kind::Text { max_bytes, slot: Some(slot), .. } => {
            let full = format!("{}{}", slot.place, "x".repeat(max_bytes - slot.place.len()));
            let bad = vec![
                format!("{full}x"),
                "none of it".to_owned(),
                slot.place.repeat(2),
                format!("{}{}", slot.place, slot.other),
            ];
            (vec![slot.place.to_owned(), full], bad)
        }
        Kind::Text { max_bytes, may_be_blank, slot: None } => {
            let (mut good, mut bad) = (vec![" a\n".to_owned(), "x".repeat(max_bytes)], vec!["x".repeat(max_bytes + 1)]);
            if may_be_blank { &mut good } else { &mut bad }.push(String::new());
            (good, bad)
        }
        Kind::File | Kind::Model => (vec!["sample-pairs".to_owned()], vec![" ".to_owned()]),
    };
    match (setting.rule.off, setting.rule.kind) {
        (Some(off), _) => good.extend([String::new(), off.to_owned()]),
        (None, Kind::Text { .. }) => {}
        (None, _) => bad.push(String::new()),
    }
    (good, bad)
}

#[test]
fn every_setting_accepts_its_bounds_and_refuses_what_lies_beyond() {
    for (kind, setting) in kinds() {
        let (good, bad) = at_and_beyond(setting);
        for text in good {
            let mut config = CellConfig::default_of(kind);
            config.set(setting.key, &text).unwrap_or_else(|error| panic!("{} {text:?}: {error}", setting.key));
            config.validate().unwrap();
            let shown = config.get(setting.key).unwrap();
            let mut again = CellConfig::default_of(kind);
            again.set(setting.key, &shown).unwrap();
            assert_eq!(again, config, "{} {text:?} {shown:?}", setting.key);
        }
        for text in bad {
            let mut config = CellConfig::default_of(kind);
            let error = config.set(setting.key, &text).expect_err(setting.key);
            assert!(error.message.starts_with(setting.key) && error.message.contains("it must be"), "{error}");
            assert_eq!(config, CellConfig::default_of(kind), "a refused value changes nothing");
        }
    }
}

#[test]
fn defaults_are_accepted_and_keys_and_flags_are_unique() {
    for kind in CellKind::ALL {
        CellConfig::default_of(kind).validate().unwrap();
        let mut names: Vec<String> = Vec::new();
        for setting in kind.settings() {
            names.extend([setting.flag().replace('-', "_")]);
            names.extend(setting.aliases.iter().map(|&alias| alias.to_owned()));
            assert!(setting.help.ends_with('.') && !setting.label.is_empty(), "{}", setting.key);
        }
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "{kind:?}");
    }
}

#[test]
fn a_value_out_of_range_is_found_whoever_made_it() {
    let config = TrainConfig { alpha: 0.0, ..TrainConfig::default() };
    let error = config.validate().unwrap_err();
    assert_eq!(error.message, "alpha is 0; it must be a number greater than 0 and at most 1000000");
    let nan = GenerateConfig { temperature: f64::NAN, ..GenerateConfig::default() };
    assert!(nan.validate().unwrap_err().message.starts_with("temperature is NaN"));
    let none = TrainConfig { target_modules: vec![], ..TrainConfig::default() };
    assert!(none.validate().unwrap_err().message.starts_with("target_modules is empty"));
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let mut config = CellConfig::default_of(CellKind::Train);
    let error = config.set("learning_rte", "1").unwrap_err();
    assert_eq!(
        (error.message.as_str(), error.hint.as_str()),
        ("there is no setting learning_rte", "Did you mean learning_rate?")
    );
    assert!(config.set("x", "1").unwrap_err().hint.contains("epochs"));
    assert_eq!(config.get("x"), None);
}

#[test]
fn earlier_spellings_are_read_and_written_anew() {
    let old = r##"{"kind":"train","rank":8,"alpha":16.0,"targets":["v_proj","q_proj"],"template":{"prompt":"{response}","target":"{instruction}","end":"<end>","generation_prompt":null},
        "max_length":128,"accumulation":3,"schedule":"cosine","clip_norm":0.5,"evaluate_every":7,"checkpoint_every":null,"recompute_layers":true,"some_later_field":1}"##;
    let CellConfig::Train(config) = serde_json::from_str(old).unwrap() else { panic!() };
    assert_eq!(
        (config.max_seq_length, config.gradient_accumulation_steps, config.lr_scheduler),
        (128, 3, Schedule::Cosine)
    );
    assert_eq!((config.max_grad_norm, config.eval_steps, config.save_steps), (0.5, Some(7), None));
    assert!(config.gradient_checkpointing);
    assert_eq!(config.template.end, EndMarker::Text("<end>".to_owned()));
    let text = serde_json::to_string(&config).unwrap();
    assert!(text.contains("\"gradient_accumulation_steps\":3") && !text.contains("\"accumulation\""), "{text}");
    assert_eq!(serde_json::from_str::<TrainConfig>(&text).unwrap(), config);
    let mut by_text = TrainConfig::default();
    by_text.set("accumulation", "3").unwrap();
    assert_eq!(by_text.get("gradient_accumulation_steps").as_deref(), Some("3"));
}

#[test]
fn no_value_is_said_by_the_empty_text_or_by_its_word() {
    let mut data = DataConfig::default();
    for (key, word) in [("limit", "none"), ("quality_above", "none"), ("language", "any")] {
        data.set(key, word).unwrap();
        assert_eq!(data.get(key).as_deref(), Some(""), "{key}");
    }
    assert_eq!((data.limit, data.quality_above, data.language.as_str()), (None, None, ""));
}

#[test]
fn a_set_is_kept_in_order_and_without_repeats() {
    let mut train = TrainConfig::default();
    train.set("target_modules", "v-proj, q_proj,v_proj").unwrap();
    assert_eq!(train.target_modules, [Projection::QProj, Projection::VProj]);
}

#[test]
fn values_for_a_reader_name_what_is_off() {
    let config = CellConfig::default_of(CellKind::Train);
    let values = config.values();
    let value = |key: &str| values.iter().find(|(setting, _)| setting.key == key).map(|(_, value)| value.as_str());
    assert_eq!(value("target_modules"), Some("q_proj, v_proj"));
    assert_eq!((value("template.end"), value("max_steps")), (Some("eos"), Some("none")));
    assert_eq!(values.len(), CellKind::Train.settings().len());
}

#[test]
fn a_decision_wins_over_the_settings_and_an_edit_over_the_tags() {
    use crate::{Curation, Tag};

    let pair = |tags: Vec<Tag>, curation: Curation| GeneratedPair {
        generated: "Ask".to_owned(),
        scores: crate::PairScores { tags, ..Default::default() },
        curation: Some(curation),
        ..GeneratedPair::default()
    };
    let decided = |decision| Curation { decision: Some(decision), ..Curation::default() };
    let edited = Curation { instruction: Some("Ask better".to_owned()), ..Curation::default() };
    let config = CurateConfig::default();
    assert!(config.keeps(&pair(vec![], Curation::default())));
    assert!(!config.keeps(&pair(vec![Tag::Loop], Curation::default())));
    assert!(config.keeps(&pair(vec![Tag::Loop], edited)));
    assert!(config.keeps(&pair(vec![Tag::Loop], decided(Decision::Keep))));
    assert!(!config.keeps(&pair(vec![], decided(Decision::Drop))));
    let strict = CurateConfig { undecided: Decision::Drop, ..CurateConfig::default() };
    assert!(!strict.keeps(&pair(vec![], Curation::default())));
}
