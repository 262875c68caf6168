//! Stopping, and going on exactly: a resumed run is the run that was never stopped, to the last bit.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use engine::data::Pair;
use engine::model::BaseModel;
use engine::template::Template;
use engine::train::{TrainJob, TrainOutcome, train};
use engine::{Control, Error, Stop};
use spec::{Projection, RunEvent, Schedule, StepPoint, TrainConfig, TrainOutput};

use crate::support::{full_batch, golden_pairs, load, pair, short_template, smollm2_path, tiny, tiny_with};

/// Seven pairs, one at a time and two to a step: four epochs of four steps, the last step of each a short one.
struct Bench {
    model: BaseModel,
    template: Template,
    train: Vec<Pair>,
    validation: Vec<Pair>,
    config: TrainConfig,
}

/// What one call of `train` gave.
struct Session {
    result: Result<TrainOutcome, Error>,
    resumed: Option<u32>,
    steps: Vec<StepPoint>,
    evaluations: Vec<(u32, f64)>,
    checkpoints: Vec<u32>,
    warnings: Vec<String>,
}

impl Session {
    fn done(&self) -> &TrainOutput {
        match self.result.as_ref().unwrap() {
            TrainOutcome::Done(output) => output,
            TrainOutcome::Stopped { step } => panic!("stopped after step {step}"),
        }
    }

    fn stopped_at(&self) -> Option<u32> {
        match self.result.as_ref().unwrap() {
            TrainOutcome::Done(_) => None,
            TrainOutcome::Stopped { step } => Some(*step),
        }
    }

    /// What must be equal to the bit.
    fn figures(&self) -> Vec<(u32, u64, u64, u64)> {
        self.steps
            .iter()
            .map(|s| (s.step, s.loss.to_bits(), s.gradient_norm.to_bits(), s.learning_rate.to_bits()))
            .collect()
    }
}

impl Bench {
    fn new() -> Self {
        let model = tiny();
        let template = short_template(&model.tokenizer);
        let mut train = golden_pairs();
        let validation = train.split_off(7);
        let config = TrainConfig {
            dropout: 0.2,
            epochs: 4,
            batch_size: 1,
            gradient_accumulation_steps: 2,
            lr_scheduler: Schedule::Cosine,
            warmup_steps: 2,
            max_grad_norm: 1.0,
            seed: 20,
            ..full_batch(vec![Projection::QProj, Projection::DownProj], 1)
        };
        Self { model, template, train, validation, config }
    }

    fn run(&self, folder: &Path, on: impl Fn(&RunEvent, &Control)) -> Session {
        let job = TrainJob {
            model: &self.model,
            template: &self.template,
            train: &self.train,
            validation: &self.validation,
            config: &self.config,
            folder,
            initial_factors: None,
        };
        let control = Control::default();
        let (mut resumed, mut steps, mut evaluations, mut checkpoints) = (None, Vec::new(), Vec::new(), Vec::new());
        let mut warnings = Vec::new();
        let result = train(&job, &control, &mut |event| {
            on(&event, &control);
            match event {
                RunEvent::Phase { text } => {
                    resumed = resumed.or(text.strip_prefix("resuming after step ").and_then(|step| step.parse().ok()));
                }
                RunEvent::Warning { text } => warnings.push(text),
                RunEvent::Step { step } => steps.push(step),
                RunEvent::Evaluation { step, loss, .. } => evaluations.push((step, loss)),
                RunEvent::Checkpoint { step, name } => {
                    assert!(folder.join("checkpoints").join(name).join("manifest.json").exists());
                    checkpoints.push(step);
                }
                _ => {}
            }
        });
        Session { result, resumed, steps, evaluations, checkpoints, warnings }
    }
}

fn at_step(wanted: u32, stop: Stop) -> impl Fn(&RunEvent, &Control) {
    move |event, control| {
        if matches!(event, RunEvent::Step { step } if step.step == wanted) {
            control.stop(stop);
        }
    }
}

fn nothing(_: &RunEvent, _: &Control) {}

#[test]
fn a_run_stopped_anywhere_and_resumed_is_the_run_that_was_not_stopped() {
    let bench = Bench::new();
    let whole = tempfile::tempdir().unwrap();
    let uninterrupted = bench.run(whole.path(), nothing);
    let outcome = uninterrupted.done();
    assert_eq!((outcome.steps, uninterrupted.resumed), (16, None));
    assert_eq!(uninterrupted.steps.len(), 16);
    assert_eq!(uninterrupted.checkpoints, [4, 8, 12, 16]);
    let figures = uninterrupted.figures();

    // In the middle of an epoch, at its end, just after it, before the last step, and after it (the validation is due).
    for stop_at in [1, 6, 8, 9, 15, 16] {
        let folder = tempfile::tempdir().unwrap();
        let first = bench.run(folder.path(), at_step(stop_at, Stop::Save));
        assert_eq!(first.stopped_at(), Some(stop_at));
        assert!(!folder.path().join("adapter").exists());
        assert_eq!(first.figures(), figures[..stop_at as usize]);

        let second = bench.run(folder.path(), nothing);
        let resumed = second.done();
        assert_eq!(second.resumed, Some(stop_at));
        assert_eq!(second.figures(), figures[stop_at as usize..], "stopped at {stop_at}");
        assert_eq!(resumed.adapter_sha256, outcome.adapter_sha256);
        assert_eq!(
            (resumed.loss.to_bits(), resumed.validation_loss),
            (outcome.loss.to_bits(), outcome.validation_loss)
        );
        assert_eq!(resumed.validation_loss_before, outcome.validation_loss_before);
        assert_eq!(
            [first.evaluations.clone(), second.evaluations.clone()].concat(),
            uninterrupted.evaluations,
            "stopped at {stop_at}"
        );
    }
}

#[test]
fn a_run_may_be_stopped_many_times() {
    let bench = Bench::new();
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let uninterrupted = bench.run(whole.path(), nothing);
    let mut figures = Vec::new();
    for stop_at in [3, 5, 11] {
        figures.extend(bench.run(parts.path(), at_step(stop_at, Stop::Save)).figures());
    }
    let last = bench.run(parts.path(), nothing);
    figures.extend(last.figures());
    assert_eq!(figures, uninterrupted.figures());
    assert_eq!(last.done().adapter_sha256, uninterrupted.done().adapter_sha256);
}

#[test]
fn a_run_stopped_by_another_thread_at_any_moment_goes_on_exactly() {
    let bench = Bench::new();
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let uninterrupted = bench.run(whole.path(), nothing);
    let (mut figures, mut evaluations) = (Vec::new(), Vec::new());
    let mut sessions = 0;
    let outcome = loop {
        // Ever later, so that the run comes to its end on any machine.
        let delay = Duration::from_millis(2 + sessions);
        let session = bench.run(parts.path(), |event, control| {
            if matches!(event, RunEvent::Phase { text } if text == "training") {
                let control = control.clone();
                thread::spawn(move || {
                    thread::sleep(delay);
                    control.stop(Stop::Save);
                });
            }
        });
        figures.extend(session.figures());
        // A session that ended before its first step was saved has measured the start in vain.
        evaluations.retain(|(step, _)| !session.evaluations.iter().any(|(again, _)| again == step));
        evaluations.extend(session.evaluations.clone());
        sessions += 1;
        if session.stopped_at().is_none() {
            break session.done().clone();
        }
    };
    eprintln!("{sessions} sessions");
    assert_eq!(figures, uninterrupted.figures());
    assert_eq!(evaluations, uninterrupted.evaluations);
    assert_eq!(outcome.adapter_sha256, uninterrupted.done().adapter_sha256);
}

#[test]
fn a_run_that_was_cut_off_goes_on_from_its_newest_checkpoint() {
    let mut bench = Bench::new();
    bench.config.save_steps = Some(3);
    let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let uninterrupted = bench.run(whole.path(), nothing);
    assert_eq!(uninterrupted.checkpoints, [3, 4, 6, 8, 9, 12, 15, 16]);
    let first = bench.run(cut.path(), at_step(7, Stop::Discard));
    assert_eq!(first.result.unwrap_err().code(), spec::ErrorCode::Stopped);
    let second = bench.run(cut.path(), nothing);
    assert_eq!(second.resumed, Some(6));
    assert_eq!(second.figures(), uninterrupted.figures()[6..]);
    assert_eq!(second.done().adapter_sha256, uninterrupted.done().adapter_sha256);
}

#[test]
fn a_damaged_checkpoint_is_reported_and_the_one_before_it_is_used() {
    let bench = Bench::new();
    let whole = tempfile::tempdir().unwrap();
    let uninterrupted = bench.run(whole.path(), nothing);
    for file in ["factors.safetensors", "first_moment.safetensors", "state.json", "manifest.json"] {
        let cut = tempfile::tempdir().unwrap();
        bench.run(cut.path(), at_step(10, Stop::Save));
        let damaged = cut.path().join("checkpoints/step-00000010").join(file);
        let mut bytes = fs::read(&damaged).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&damaged, bytes).unwrap();
        let second = bench.run(cut.path(), nothing);
        assert_eq!(second.resumed, Some(8), "{file}");
        assert_eq!(second.figures(), uninterrupted.figures()[8..], "{file}");
        let [warning] = second.warnings.as_slice() else { panic!("{file}: {:?}", second.warnings) };
        assert!(warning.contains("step-00000010 is damaged") && warning.ends_with("resuming from step 8"), "{warning}");
    }
}

#[test]
fn a_run_whose_checkpoints_are_all_damaged_does_not_start_over_unasked() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    bench.run(folder.path(), at_step(6, Stop::Save));
    for entry in fs::read_dir(folder.path().join("checkpoints")).unwrap() {
        fs::write(entry.unwrap().path().join("state.json"), "{}").unwrap();
    }
    for _ in 0..2 {
        let session = bench.run(folder.path(), nothing);
        assert_eq!(session.result.unwrap_err().code(), spec::ErrorCode::Corrupt);
        assert!(session.steps.is_empty());
    }
}

fn kept(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder.join("checkpoints")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_newest_checkpoints_and_the_one_with_the_lowest_evaluation_loss_are_kept() {
    let mut bench = Bench::new();
    bench.config.save_steps = Some(1);
    bench.config.eval_steps = Some(2);
    for keep in [1, 2, 3, 100] {
        bench.config.keep_checkpoints = keep;
        let folder = tempfile::tempdir().unwrap();
        let first = bench.run(folder.path(), at_step(9, Stop::Save));
        let second = bench.run(folder.path(), nothing);
        let evaluations = [first.evaluations, second.evaluations].concat();
        let after_start = evaluations.iter().filter(|(step, _)| *step > 0);
        let (best, _) = *after_start.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        let mut expected: Vec<u32> = (1..=16).filter(|step| step + keep > 16 || *step == best).collect();
        expected.dedup();
        let expected: Vec<String> = expected.into_iter().map(|step| format!("step-{step:08}")).collect();
        assert_eq!(kept(folder.path()), expected, "keep {keep}, best {best}");
    }
}

#[test]
fn tokens_and_seconds_of_a_resumed_run_are_those_of_all_its_sessions() {
    let bench = Bench::new();
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let uninterrupted = bench.run(whole.path(), nothing).done().clone();
    let mut seconds = 0.0;
    for stop_at in [3, 9] {
        let stopped = bench.run(parts.path(), at_step(stop_at, Stop::Save));
        assert!(stopped.steps.iter().all(|step| step.elapsed_s > seconds));
        seconds = stopped.steps.last().unwrap().elapsed_s;
    }
    let outcome = bench.run(parts.path(), nothing).done().clone();
    assert_eq!(outcome.tokens, uninterrupted.tokens);
    assert!(outcome.seconds > seconds);
}

#[test]
fn an_evaluation_that_is_not_finite_ends_the_run_before_it_is_reported() {
    for value in [f32::NAN, f32::INFINITY] {
        let bench = Bench { model: tiny_with("model.layers.1.mlp.up_proj.weight", value), ..Bench::new() };
        let folder = tempfile::tempdir().unwrap();
        let session = bench.run(folder.path(), nothing);
        let error = session.result.unwrap_err();
        assert_eq!(error.code(), spec::ErrorCode::NonFinite);
        assert!(error.to_string().contains("the evaluation loss at step 0"), "{error}");
        assert!(session.evaluations.is_empty() && session.steps.is_empty());
    }
}

#[test]
fn a_run_that_was_stopped_before_its_first_step_starts_from_the_beginning() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    let first = bench.run(folder.path(), |event, control| {
        if matches!(event, RunEvent::Integrity { .. }) {
            control.stop(Stop::Save);
        }
    });
    assert_eq!(first.stopped_at(), Some(0));
    assert!(first.steps.is_empty());
    let second = bench.run(folder.path(), nothing);
    assert_eq!((second.resumed, second.steps.len()), (None, 16));
    assert_eq!(second.evaluations.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [0, 4, 8, 12, 16]);
}

/// 1,024 sequences of 2,048 tokens: more than a terabyte with SmolLM2.
#[test]
#[cfg(target_os = "linux")]
fn a_run_whose_largest_batch_does_not_fit_is_refused_before_its_first_step() {
    let Some(path) = smollm2_path() else { return };
    let mut bench = Bench { model: load(&path), ..Bench::new() };
    bench.template = short_template(&bench.model.tokenizer);
    bench.train = vec![pair("Count the foxes.", &"A fox. ".repeat(1000)); 1024];
    (bench.config.batch_size, bench.config.max_seq_length) = (1024, 2048);
    let folder = tempfile::tempdir().unwrap();
    let session = bench.run(folder.path(), nothing);
    let error = session.result.unwrap_err();
    assert_eq!(error.code(), spec::ErrorCode::Memory);
    assert!(error.to_string().contains("2096128 tokens"), "{error}");
    assert!(session.steps.is_empty() && session.evaluations.is_empty());

    bench.config.batch_size = 1;
    bench.config.max_seq_length = 64;
    bench.config.max_steps = Some(1);
    assert_eq!(bench.run(folder.path(), nothing).done().steps, 1, "a refused run leaves nothing behind");
}

#[test]
fn a_cancelled_run_leaves_no_adapter() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    let session = bench.run(folder.path(), at_step(1, Stop::Discard));
    assert_eq!(session.result.unwrap_err().code(), spec::ErrorCode::Stopped);
    assert_eq!(session.steps.len(), 1);
    assert!(!folder.path().join("adapter").exists());
}

#[test]
fn a_checkpoint_of_other_settings_or_other_pairs_is_refused_rather_than_continued() {
    let mut bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    bench.run(folder.path(), at_step(5, Stop::Save));

    bench.config.learning_rate *= 2.0;
    let error = bench.run(folder.path(), nothing).result.unwrap_err();
    assert!(error.to_string().contains("learning_rate was 0.01 and is 0.02"), "{error}");

    bench.config.learning_rate /= 2.0;
    bench.train.swap(0, 1);
    let error = bench.run(folder.path(), nothing).result.unwrap_err();
    assert!(error.to_string().contains("data"), "{error}");
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let mut bench = Bench::new();
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let first = bench.run(folders[0].path(), nothing);
    let again = bench.run(folders[1].path(), nothing);
    assert_eq!(first.figures(), again.figures());
    assert_eq!(first.done().adapter_sha256, again.done().adapter_sha256);
    bench.config.seed += 1;
    assert_ne!(first.steps[1].loss, bench.run(folders[2].path(), nothing).steps[1].loss);
}

#[test]
fn gradient_checkpointing_gives_the_same_run_and_may_be_chosen_when_it_is_resumed() {
    let mut bench = Bench::new();
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kept = bench.run(whole.path(), nothing);
    let first = bench.run(parts.path(), at_step(8, Stop::Save));
    bench.config.gradient_checkpointing = true;
    let second = bench.run(parts.path(), nothing);
    assert_eq!(second.resumed, Some(8));
    assert_eq!([first.figures(), second.figures()].concat(), kept.figures());
    assert_eq!(second.done().adapter_sha256, kept.done().adapter_sha256);
}
