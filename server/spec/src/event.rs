//! The run log: what a run says while it goes, numbered densely from 1, kept by the server.

use serde::{Deserialize, Serialize};

use crate::{AppError, CellOutput, GeneratedPair, TargetIntegrity};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    Queued,
    Running,
    /// Stop was asked for; the run is saving what it has.
    Stopping,
    Done,
    Failed,
    /// Stopped by a person.
    Stopped,
    /// Cut off by the end of the server's process.
    Interrupted,
}

impl RunState {
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Stopped | Self::Interrupted)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Interrupted => "interrupted",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoggedEvent {
    pub run: i64,
    /// 1, 2, 3, … without gaps within a run.
    pub seq: u64,
    pub at_ms: i64,
    pub event: RunEvent,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RunEvent {
    State {
        state: RunState,
        error: Option<AppError>,
    },
    /// What the run is doing now: "reading the base model", …
    Phase {
        text: String,
    },
    /// Something that does not end the run and that people should know: a damaged checkpoint was skipped.
    Warning {
        text: String,
    },
    Progress {
        done: u64,
        total: u64,
    },
    /// What became of the training targets when the pairs were encoded.
    Integrity {
        integrity: TargetIntegrity,
    },
    Step {
        step: StepPoint,
    },
    Evaluation {
        step: u32,
        loss: f64,
        tokens: u64,
    },
    Checkpoint {
        step: u32,
        name: String,
    },
    /// An instruction that the model, as trained so far, wrote for a validation response.
    Sample {
        step: u32,
        index: u32,
        response: String,
        reference: String,
        generated: String,
    },
    /// Text that arrived for pairs in the making, in order.
    Tokens {
        deltas: Vec<TokenDelta>,
        tokens_per_s: f64,
    },
    Pair {
        pair: GeneratedPair,
    },
    Output {
        output: CellOutput,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenDelta {
    /// Row of the corpus.
    pub index: u32,
    pub text: String,
}

/// One optimizer step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepPoint {
    /// 1-based.
    pub step: u32,
    pub steps: u32,
    pub epoch: f64,
    /// Nats per supervised token.
    pub loss: f64,
    pub learning_rate: f64,
    /// Global gradient norm before clipping.
    pub gradient_norm: f64,
    pub supervised_tokens: u64,
    /// Real (not padding) tokens.
    #[serde(default)]
    pub tokens: u64,
    /// Real (not padding) tokens per second over this step.
    pub tokens_per_s: f64,
    pub elapsed_s: f64,
    /// Seconds left, from this session's speed only.
    pub eta_s: f64,
}

/// First message of a socket client, and any later one that adds a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientFrame {
    /// Send everything of this run after `after_seq`, then what follows live.
    Run {
        run: i64,
        after_seq: u64,
    },
    /// Say when something of this experiment changes.
    Experiment {
        experiment: i64,
    },
    /// Say when something of any experiment changes.
    Experiments,
    Ping,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one is made for each message")]
pub enum ServerFrame {
    Event {
        event: LoggedEvent,
    },
    /// In place of events that this client was too slow for; replaces what it held of the run.
    Snapshot {
        view: Box<crate::RunView>,
    },
    /// Cells or runs of the experiment changed: fetch the notebook again.
    Changed {
        experiment: i64,
    },
    /// Every few seconds, since a page cannot see protocol pings.
    Heartbeat,
    Error {
        error: AppError,
    },
}

impl ServerFrame {
    /// In place of an experiment's id: any of them may have changed. Ids start at 1.
    pub const ANY_EXPERIMENT: i64 = 0;
}
