//! LoRA training against PEFT (`reference/lora.py`, `reference/lora_smollm2.py`): equal factors at the start, no
//! dropout and the same sequences in each step must give equal losses, gradient norms and factors.

use std::collections::BTreeMap;
use std::path::Path;

use engine::Control;
use engine::data::Pair;
use engine::generate::GenerateRow;
use engine::lora::{Adapter, LoraConfig};
use engine::model::BaseModel;
use engine::template::Template;
use engine::train::{TrainJob, TrainOutcome, train};
use serde::Deserialize;
use spec::{LossOn, Projection, RunEvent, Schedule, StepPoint, TrainConfig, TrainOutput, Truncation};

use crate::greedy::{greedy, row, write};
use crate::support::{
    Factors, GoldenPair, full_batch, golden, golden_path, load, relative, short_template, smollm2_path, template, tiny,
};

/// Relative for losses and norms, absolute for factors. Tighter than is asked for (1e-3): what is seen is below 1e-5.
const TOLERANCE: f64 = 1e-4;
/// A token that leads by less may rightly fall either way after 20 steps that round differently.
const CLEAR_LEAD: f64 = 0.02;

#[derive(Deserialize)]
struct Tiny {
    pairs: Vec<GoldenPair>,
    cases: Vec<Case>,
    schedules: BTreeMap<String, Vec<f64>>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    initial: String,
    r#final: String,
    targets: Vec<Projection>,
    clip_norm: Option<f64>,
    loss_on_all: bool,
    trainable: u64,
    supervised_tokens: u64,
    losses: Vec<f64>,
    gradient_norms: Vec<f64>,
    greedy: Vec<Written>,
}

#[derive(Deserialize)]
struct Written {
    ids: Vec<u32>,
    ended: bool,
    smallest_lead: f64,
}

pub fn run(job: &TrainJob<'_>) -> (TrainOutput, Vec<StepPoint>) {
    let mut steps = Vec::new();
    let outcome = train(job, &Control::default(), &mut |event| {
        if let RunEvent::Step { step } = event {
            steps.push(step);
        }
    })
    .unwrap();
    let TrainOutcome::Done(output) = outcome else { panic!("{outcome:?}") };
    (output, steps)
}

fn assert_encodes(model: &BaseModel, template: &Template, pairs: &[GoldenPair]) {
    for pair in pairs {
        let encoded = template.encode_pair(&model.tokenizer, &pair.pair(), 512, Truncation::Response).unwrap().unwrap();
        assert_eq!((&encoded.ids, encoded.prompt_len), (&pair.ids, pair.prompt_len), "{:?}", pair.instruction);
    }
}

fn assert_agree(name: &str, steps: &[StepPoint], losses: &[f64], norms: &[f64]) {
    assert_eq!(steps.len(), losses.len());
    let (mut worst_loss, mut worst_norm): (f64, f64) = (0.0, 0.0);
    for ((step, &loss), &norm) in steps.iter().zip(losses).zip(norms) {
        worst_loss = worst_loss.max(relative(step.loss, loss));
        worst_norm = worst_norm.max(relative(step.gradient_norm, norm));
        let place = format!("{name}, step {}", step.step);
        assert!(worst_loss < TOLERANCE, "{place}: loss {} against PEFT's {loss}", step.loss);
        assert!(worst_norm < TOLERANCE, "{place}: gradient norm {} against PEFT's {norm}", step.gradient_norm);
    }
    eprintln!("{name}: largest relative differences: losses {worst_loss:.1e}, gradient norms {worst_norm:.1e}");
}

/// The greedy answers of what was learnt, where PEFT's own were not a matter of rounding.
fn assert_writes(model: &BaseModel, adapter: &Adapter, pairs: &[GoldenPair], case: &Case) {
    let rows: Vec<GenerateRow> =
        (0..).zip(pairs).map(|(index, pair)| row(index, &pair.ids[..pair.prompt_len])).collect();
    let found = write(model, Some(adapter), &rows, &greedy(16, 4));
    let mut compared = 0;
    for (written, row) in case.greedy.iter().zip(found.values()) {
        if written.smallest_lead > CLEAR_LEAD {
            assert_eq!((&row.ids, row.ended()), (&written.ids, written.ended), "{}, pair {}", case.name, row.index);
            compared += 1;
        }
    }
    assert!(compared >= 2, "{}: only {compared} rows with a clear lead", case.name);
}

fn check(name: &str) {
    let golden: Tiny = golden("lora.json");
    let case = golden.cases.into_iter().find(|case| case.name == name).unwrap();
    let model = tiny();
    let template = short_template(&model.tokenizer);
    assert_encodes(&model, &template, &golden.pairs);

    let pairs: Vec<Pair> = golden.pairs.iter().map(GoldenPair::pair).collect();
    let config = TrainConfig {
        max_grad_norm: case.clip_norm.unwrap_or(0.0),
        loss_on: if case.loss_on_all { LossOn::All } else { LossOn::Target },
        ..full_batch(case.targets.clone(), 20)
    };
    let folder = tempfile::tempdir().unwrap();
    let initial = golden_path("lora").join(&case.initial);
    let (outcome, steps) = run(&TrainJob {
        model: &model,
        template: &template,
        train: &pairs,
        validation: &[],
        config: &config,
        folder: folder.path(),
        initial_factors: Some(&initial),
    });
    assert_eq!(outcome.trainable, case.trainable);
    assert!(steps.iter().all(|step| step.supervised_tokens == case.supervised_tokens));
    assert_agree(name, &steps, &case.losses, &case.gradient_norms);

    let trained = Factors::read(&folder.path().join("adapter/adapter_model.safetensors"));
    let (difference, tensor) = trained.largest_difference(&Factors::read(&golden_path("lora").join(&case.r#final)));
    eprintln!("{name}: largest difference of a trained factor {difference:.1e} in {tensor}");
    assert!(difference < TOLERANCE, "{name}: {tensor} differs by {difference:e}");

    let adapter = Adapter::load(&folder.path().join("adapter"), &model).unwrap();
    assert_writes(&model, &adapter, &golden.pairs, &case);
}

#[test]
fn twenty_steps_on_all_seven_projections_are_pefts() {
    check("all_seven");
}

#[test]
fn twenty_clipped_steps_are_pefts() {
    check("all_seven_clipped");
}

#[test]
fn twenty_steps_on_queries_and_values_are_pefts() {
    check("q_v");
}

#[test]
fn twenty_steps_with_loss_on_every_token_are_pefts() {
    check("q_v_all_tokens");
}

#[test]
fn schedules_are_those_of_transformers() {
    let schedules = golden::<Tiny>("lora.json").schedules;
    let model = tiny();
    let template = short_template(&model.tokenizer);
    let pairs = [crate::support::pair("Say yes.", "Yes.")];
    for (lr_scheduler, name) in
        [(Schedule::Constant, "constant"), (Schedule::Linear, "linear"), (Schedule::Cosine, "cosine")]
    {
        let config = TrainConfig { lr_scheduler, warmup_steps: 5, ..full_batch(vec![Projection::QProj], 20) };
        let folder = tempfile::tempdir().unwrap();
        let (_, steps) = run(&TrainJob {
            model: &model,
            template: &template,
            train: &pairs,
            validation: &[],
            config: &config,
            folder: folder.path(),
            initial_factors: None,
        });
        assert_eq!(steps.len(), 20);
        for (step, share) in steps.iter().zip(&schedules[name]) {
            let expected = config.learning_rate * share;
            assert!((step.learning_rate - expected).abs() < 1e-9, "{name}, step {}", step.step);
        }
    }
}

#[test]
fn an_adapter_beside_the_weights_and_one_merged_into_them_give_the_same_logits() {
    let model = tiny();
    let template = short_template(&model.tokenizer);
    let pairs: Vec<Pair> = crate::support::golden_pairs();
    let folder = tempfile::tempdir().unwrap();
    let initial = golden_path("lora/all_seven.initial.safetensors");
    run(&TrainJob {
        model: &model,
        template: &template,
        train: &pairs,
        validation: &[],
        config: &full_batch(Projection::ALL.to_vec(), 3),
        folder: folder.path(),
        initial_factors: Some(&initial),
    });
    let adapter = Adapter::load(&folder.path().join("adapter"), &model).unwrap();
    let ids = model.tokenizer.encode("R: Boil the water, add salt, then the pasta.\nI: What").unwrap();
    let base = model.logits(&ids, ids.len()).unwrap().concat();
    let beside = model.logits_with(&adapter, &ids, ids.len()).unwrap().concat();
    let merged = model.logits_merged(&adapter, &ids, ids.len()).unwrap().concat();
    let largest = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest(&beside, &merged) < 1e-4, "{}", largest(&beside, &merged));
    assert!(largest(&base, &merged) > 0.5, "the adapter must change something to be a test");
}

#[derive(Deserialize)]
struct SmolLm2 {
    pairs: Vec<GoldenPair>,
    rank: u32,
    alpha: f64,
    learning_rate: f64,
    trainable: u64,
    supervised_tokens: u64,
    losses: Vec<f64>,
    gradient_norms: Vec<f64>,
}

#[test]
fn three_steps_on_smollm2_are_pefts() {
    let Some(path) = smollm2_path() else { return };
    let golden: SmolLm2 = golden("lora_smollm2.json");
    let model = load(&path);
    let template = template("Response: {response}\n\nInstruction: ", "{instruction}", &model.tokenizer);
    assert_encodes(&model, &template, &golden.pairs);

    let config = TrainConfig {
        rank: golden.rank,
        alpha: golden.alpha,
        batch_size: 2,
        learning_rate: golden.learning_rate,
        ..full_batch(vec![Projection::QProj, Projection::VProj], 3)
    };
    assert_eq!(LoraConfig::from(&config).trainable(&model.config), golden.trainable);
    let folder = tempfile::tempdir().unwrap();
    let initial = folder.path().join("initial.safetensors");
    counted_factors(&model, golden.rank as usize).write(&initial);
    let pairs: Vec<Pair> = golden.pairs.iter().map(GoldenPair::pair).collect();
    let (_, steps) = run(&TrainJob {
        model: &model,
        template: &template,
        train: &pairs,
        validation: &[],
        config: &config,
        folder: &folder.path().join("run"),
        initial_factors: Some(&initial),
    });
    assert!(steps.iter().all(|step| step.supervised_tokens == golden.supervised_tokens));
    assert_agree("smollm2", &steps, &golden.losses, &golden.gradient_norms);
}

/// The factors that `reference/lora_smollm2.py` starts from: too large to commit, so made from a counter on both sides.
fn counted_factors(model: &BaseModel, rank: usize) -> Factors {
    let config = &model.config;
    let mut tensors = BTreeMap::new();
    for layer in 0..config.num_hidden_layers {
        for (name, out) in [
            ("q_proj", config.num_attention_heads * config.head_dim),
            ("v_proj", config.num_key_value_heads * config.head_dim),
        ] {
            let prefix = format!("base_model.model.model.layers.{layer}.self_attn.{name}");
            tensors.insert(format!("{prefix}.lora_A.weight"), (vec![rank, config.hidden_size], Vec::new()));
            tensors.insert(format!("{prefix}.lora_B.weight"), (vec![out, rank], Vec::new()));
        }
    }
    let mut counter = 0;
    for (name, (shape, values)) in &mut tensors {
        let scale = if name.contains("lora_A") { 1.0 / 16.0 } else { 1.0 / 32.0 };
        *values = (0..shape.iter().product::<usize>() as u64)
            .map(|index| ((splitmix64(counter + index) >> 40) as f64 / f64::from(1 << 24) - 0.5) as f32 * scale)
            .collect();
        counter += values.len() as u64;
    }
    Factors { tensors }
}

fn splitmix64(n: u64) -> u64 {
    let golden_ratio = 0x9E37_79B9_7F4A_7C15_u64;
    let mut z = n.wrapping_mul(golden_ratio).wrapping_add(golden_ratio);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[test]
fn initial_factors_of_another_shape_are_refused() {
    let model = tiny();
    let template = short_template(&model.tokenizer);
    let pairs = crate::support::golden_pairs();
    let folder = tempfile::tempdir().unwrap();
    let refuse = |config: &TrainConfig, initial: &Path| {
        let job = TrainJob {
            model: &model,
            template: &template,
            train: &pairs,
            validation: &[],
            config,
            folder: folder.path(),
            initial_factors: Some(initial),
        };
        train(&job, &Control::default(), &mut |_| {}).unwrap_err().to_string()
    };
    let mut wider = full_batch(vec![Projection::QProj, Projection::VProj], 1);
    wider.rank = 8;
    let message = refuse(&wider, &golden_path("lora/q_v.initial.safetensors"));
    assert!(message.contains("q_proj"), "{message}");
    let message = refuse(&full_batch(Projection::ALL.to_vec(), 1), &golden_path("lora/q_v.initial.safetensors"));
    assert!(message.contains("_proj"), "{message}");
}
