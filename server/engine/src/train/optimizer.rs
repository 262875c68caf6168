//! AdamW (Loshchilov, Hutter, arXiv:1711.05101) with torch's defaults, and clipping by the global norm.
//!
//! Moments are keyed by layer and projection, as the factors are, so that a saved state cannot be applied to the wrong
//! factor.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use spec::Projection;

use crate::model::llama::{Gradients, LoraSet};
use crate::model::ops::Factors;

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

type Moments = BTreeMap<(usize, Projection), Factors>;

pub(super) struct AdamW {
    pub(super) first: Moments,
    pub(super) second: Moments,
    /// Steps taken.
    pub(super) taken: u32,
    pub(super) weight_decay: f64,
}

impl AdamW {
    pub(super) fn new(set: &LoraSet, weight_decay: f64) -> Self {
        let zeros = || {
            let zero = |key: &(usize, Projection), pair: &Factors| {
                (*key, Factors { a: pair.a.zeros_like(), b: pair.b.zeros_like() })
            };
            set.factors.iter().map(|(key, pair)| zero(key, pair)).collect()
        };
        Self { first: zeros(), second: zeros(), taken: 0, weight_decay }
    }

    /// One step. `gradients` has every factor; `scale` is that of gradient clipping.
    pub(super) fn step(&mut self, set: &mut LoraSet, gradients: &Gradients, learning_rate: f64, scale: f64) {
        self.taken += 1;
        let update = Update {
            learning_rate,
            decay: 1.0 - learning_rate * self.weight_decay,
            correction_1: 1.0 - BETA_1.powi(self.taken as i32),
            correction_2: 1.0 - BETA_2.powi(self.taken as i32),
            scale,
        };
        for (key, pair) in &mut set.factors {
            let (Some(gradient), Some(first), Some(second)) =
                (gradients.get(key), self.first.get_mut(key), self.second.get_mut(key))
            else {
                continue;
            };
            update.apply(&mut pair.a, &mut first.a, &mut second.a, &gradient.a);
            update.apply(&mut pair.b, &mut first.b, &mut second.b, &gradient.b);
        }
    }
}

struct Update {
    learning_rate: f64,
    decay: f64,
    correction_1: f64,
    correction_2: f64,
    scale: f64,
}

impl Update {
    fn apply(&self, value: &mut Tensor<2>, first: &mut Tensor<2>, second: &mut Tensor<2>, gradient: &Tensor<2>) {
        let gradient = gradient.clone() * self.scale;
        *first = first.clone() * BETA_1 + gradient.clone() * (1.0 - BETA_1);
        *second = second.clone() * BETA_2 + gradient.clone() * gradient * (1.0 - BETA_2);
        let denominator = second.clone().sqrt() / self.correction_2.sqrt() + EPSILON;
        let change = first.clone() / denominator * (self.learning_rate / self.correction_1);
        *value = value.clone() * self.decay - change;
    }
}

/// Global L2 norm over all factors; sums per tensor in f32, over tensors in f64.
pub(super) fn global_norm(gradients: &Gradients) -> f64 {
    let square = |x: &Tensor<2>| -> f64 {
        let squared: f32 = (x.clone() * x.clone()).sum().into_scalar();
        f64::from(squared)
    };
    gradients.values().map(|pair| square(&pair.a) + square(&pair.b)).sum::<f64>().sqrt()
}

/// Adds one micro-batch's gradients to those of the step.
pub(super) fn accumulate(sum: &mut Gradients, gradients: Gradients) {
    for (key, gradient) in gradients {
        match sum.get_mut(&key) {
            Some(known) => {
                known.a = known.a.clone() + gradient.a;
                known.b = known.b.clone() + gradient.b;
            }
            None => {
                sum.insert(key, gradient);
            }
        }
    }
}
