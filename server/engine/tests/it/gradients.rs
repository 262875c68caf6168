//! Gradients of every factor by finite differences of the loss, through the public interface alone.
//!
//! Training shows a gradient's norm, not the gradient. But where clipping leaves it far below Adam's epsilon, the
//! first step is linear in it, `rate * g / (|g| + epsilon)`, and can be read back from the factors.

use std::fs;
use std::path::Path;

use engine::data::Pair;
use engine::model::BaseModel;
use engine::template::Template;
use engine::train::{TrainJob, train};
use engine::{Control, Stop};
use spec::{Projection, RunEvent, TrainConfig};

use crate::lora::run;
use crate::support::{Factors, full_batch, golden_pairs, golden_path, short_template, tiny};

const ADAM_EPSILON: f64 = 1e-8;
const CLIP: f64 = 1e-8;
/// What `clip / (norm + …)` has in its denominator, as in torch.
const CLIP_EPSILON: f64 = 1e-6;

struct Bench {
    model: BaseModel,
    template: Template,
    pairs: Vec<Pair>,
    config: TrainConfig,
}

impl Bench {
    fn new() -> Self {
        let model = tiny();
        let template = short_template(&model.tokenizer);
        let config = TrainConfig {
            learning_rate: 1.0,
            weight_decay: 0.0,
            max_grad_norm: CLIP,
            ..full_batch(Projection::ALL.to_vec(), 1)
        };
        Self { model, template, pairs: golden_pairs(), config }
    }

    fn job<'a>(&'a self, folder: &'a Path, initial: &'a Path) -> TrainJob<'a> {
        TrainJob {
            model: &self.model,
            template: &self.template,
            train: &self.pairs,
            // The loss at step 0 on the same pairs is the training loss, and costs no write.
            validation: &self.pairs,
            config: &self.config,
            folder,
            initial_factors: Some(initial),
        }
    }

    fn gradient(&self, at: &Factors) -> Factors {
        let folder = tempfile::tempdir().unwrap();
        let initial = folder.path().join("initial.safetensors");
        at.write(&initial);
        let (_, steps) = run(&self.job(folder.path(), &initial));
        let mut gradient = Factors::read(&folder.path().join("adapter/adapter_model.safetensors"));
        let unclip = (steps[0].gradient_norm + CLIP_EPSILON) / CLIP;
        for (name, (_, values)) in &mut gradient.tensors {
            for (value, start) in values.iter_mut().zip(&at.tensors[name].1) {
                let moved = f64::from(*start) - f64::from(*value);
                *value = (moved * ADAM_EPSILON / (1.0 - moved.abs()) * unclip) as f32;
            }
        }
        gradient
    }

    fn loss(&self, at: &Factors) -> f64 {
        let folder = tempfile::tempdir().unwrap();
        let initial = folder.path().join("initial.safetensors");
        at.write(&initial);
        let (control, mut found) = (Control::default(), None);
        let stopped = train(&self.job(folder.path(), &initial), &control, &mut |event| {
            if let RunEvent::Evaluation { loss, .. } = event {
                found = Some(loss);
                control.stop(Stop::Discard);
            }
        });
        assert_eq!(stopped.unwrap_err().code(), spec::ErrorCode::Stopped);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is written before the first step");
        found.unwrap()
    }

    /// The slope of the loss in a direction within one tensor, by central differences.
    fn slope(&self, at: &Factors, tensor: &str, direction: &[f32]) -> f64 {
        let reach = 1e-3;
        let moved = |by: f32| {
            let mut moved = at.clone();
            for (value, direction) in moved.tensors.get_mut(tensor).unwrap().1.iter_mut().zip(direction) {
                *value += by * direction;
            }
            self.loss(&moved)
        };
        (moved(reach) - moved(-reach)) / (2.0 * f64::from(reach))
    }
}

#[test]
fn gradients_of_all_factors_are_pefts_and_those_of_finite_differences() {
    let bench = Bench::new();
    let start = Factors::read(&golden_path("lora/all_seven.initial.safetensors"));
    let gradient = bench.gradient(&start);

    let (difference, tensor) =
        gradient.largest_difference(&Factors::read(&golden_path("lora/all_seven.gradients.safetensors")));
    eprintln!("gradients: largest difference from PEFT {difference:.1e} in {tensor}");
    assert!(difference < 1e-4, "{tensor}: {difference:e}");

    let mut worst: f64 = 0.0;
    for (index, (tensor, (_, values))) in gradient.tensors.iter().enumerate() {
        // Signs by a hash: a fixed direction that knows nothing of the gradient.
        let direction: Vec<f32> = (0..values.len() as u64)
            .map(|place| {
                let hash = (place + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15 ^ (index as u64)).count_ones();
                if hash % 2 == 0 { 1.0 } else { -1.0 }
            })
            .collect();
        let exact: f64 = values.iter().zip(&direction).map(|(a, b)| f64::from(a * b)).sum();
        let measured = bench.slope(&start, tensor, &direction);
        // Losses carry about seven digits, their difference over 2e-3 three fewer.
        let allowed = 0.01 * exact.abs() + 3e-3;
        assert!((exact - measured).abs() < allowed, "{tensor}: gradient {exact}, finite difference {measured}");
        worst = worst.max((exact - measured).abs());
    }
    eprintln!("gradients: {} tensors, largest difference from finite differences {worst:.1e}", gradient.tensors.len());
}
