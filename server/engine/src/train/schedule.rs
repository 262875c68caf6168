//! Learning-rate schedules, as transformers' `get_*_schedule_with_warmup` compute them.

use spec::{Schedule, TrainConfig};

/// The rate of one step (1-based): the factor is that of transformers at `step - 1` steps taken.
pub(super) fn learning_rate(config: &TrainConfig, step: u32, steps: u32) -> f64 {
    let taken = f64::from(step - 1);
    let warmup = f64::from(config.warmup_steps);
    if taken < warmup {
        return config.learning_rate * taken / warmup.max(1.0);
    }
    let progress = (taken - warmup) / (f64::from(steps) - warmup).max(1.0);
    config.learning_rate
        * match config.lr_scheduler {
            Schedule::Constant => 1.0,
            Schedule::Linear => (1.0 - progress).max(0.0),
            Schedule::Cosine => (0.5 * (1.0 + (std::f64::consts::PI * progress).cos())).max(0.0),
        }
}
