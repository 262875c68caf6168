//! What training says while it goes, and what it leaves.

#[derive(Clone, Debug, PartialEq)]
pub enum TrainEvent {
    Phase(&'static str),
    /// Something that the person should know and that does not end the run: a damaged checkpoint was skipped.
    Warning(String),
    Integrity(Integrity),
    /// Training resumes from the checkpoint of this step.
    Resumed {
        step: u32,
    },
    Step(Step),
    /// `loss` in nats per supervised token.
    Evaluation {
        step: u32,
        loss: f64,
        tokens: u64,
    },
    Checkpoint {
        step: u32,
        name: String,
    },
    Sample {
        step: u32,
        index: usize,
        response: String,
        reference: String,
        generated: String,
    },
}

/// What encoding did to the training targets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Integrity {
    pub pairs: u64,
    /// Responses that were shortened so that the target fits.
    pub shortened: u64,
    /// Pairs left out since their target alone does not fit.
    pub dropped: u64,
    /// Pairs that lost target tokens, and those that lost all of them (only with `Truncation::Right`).
    pub targets_cut: u64,
    pub targets_lost: u64,
    pub tokens: u64,
    pub supervised_tokens: u64,
    /// The first pairs, token by token: text, supervised.
    pub examples: Vec<Vec<(String, bool)>>,
}

/// One optimizer step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// 1-based.
    pub step: u32,
    pub steps: u32,
    pub epoch: f64,
    /// Nats per supervised token.
    pub loss: f64,
    pub learning_rate: f64,
    /// Global norm before clipping.
    pub gradient_norm: f64,
    pub supervised_tokens: u64,
    pub tokens: u64,
    pub tokens_per_s: f64,
    /// Of all sessions of the run.
    pub elapsed_s: f64,
    /// From this session's speed only.
    pub eta_s: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TrainOutcome {
    pub steps: u32,
    /// Of the last step; 0 where there was none.
    pub loss: f64,
    pub validation_loss_before: Option<f64>,
    pub validation_loss: Option<f64>,
    pub trainable: u64,
    pub trainable_percent: f64,
    /// Of all sessions of the run.
    pub tokens: u64,
    /// Of all sessions of the run, without work that was lost and repeated.
    pub seconds: f64,
    /// The process's largest resident memory so far; 0 where the system does not tell.
    pub peak_memory_bytes: u64,
    pub adapter_sha256: String,
    /// Stopped by its control after saving a checkpoint; there is no adapter yet.
    pub stopped_at: Option<u32>,
}
