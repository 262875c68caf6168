//! Runs one cell, blocking, with the engine: configuration and inputs in, events and one output out.
//!
//! Knows nothing of the store, of HTTP or of queues: whoever calls keeps the run log. `State` and `Output`
//! events are the caller's to write.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::Control;
use spec::{AppError, CellConfig, CellKind, CellOutput, GeneratedPair, Rating, RunEvent, RunView};

use crate::resources::Resources;

pub mod curate;
pub mod data;
mod duplicates;
pub mod generate;
mod histogram;
mod model;
mod model_cache;
pub mod ratings;
pub mod report;
pub mod train;

pub use model_cache::ModelCache;

/// One run to execute. Whoever queues runs makes it; the cells read it.
pub struct RunContext {
    pub run: i64,
    /// Name of the experiment, for its report.
    pub experiment: String,
    pub config: CellConfig,
    /// This run's artifacts; exists.
    pub folder: PathBuf,
    pub inputs: Vec<Input>,
    /// Finished by an earlier, interrupted execution of this run: they are not generated again.
    pub done_pairs: Vec<GeneratedPair>,
    /// Seconds that earlier executions of this run took together.
    pub earlier_s: f64,
    pub control: Control,
}

/// What runs share: files and base models by id, and the model that was loaded last.
pub struct Session {
    pub resources: Arc<Resources>,
    pub models: ModelCache,
}

/// A finished run of a cell that this one builds on.
pub struct Input {
    pub kind: CellKind,
    pub config: CellConfig,
    pub output: CellOutput,
    pub folder: PathBuf,
    pub view: RunView,
    /// All pairs of a generate run, by row; empty for other kinds.
    pub pairs: Vec<GeneratedPair>,
    /// Of those pairs, by people who did not know who wrote them.
    pub ratings: Vec<Rating>,
}

#[expect(clippy::large_enum_variant, reason = "one is made per run")]
pub enum Ended {
    Done(CellOutput),
    /// Stopped by its control; what was saved stays.
    Stopped,
}

/// Malformed rows that an error names.
const MAX_ROWS_IN_ERROR: usize = 5;

pub type Result<T, E = AppError> = std::result::Result<T, E>;

pub fn execute(session: &mut Session, context: &RunContext, emit: &mut dyn FnMut(RunEvent)) -> Result<Ended> {
    // A stored configuration may be of a version with other ranges.
    context.config.validate()?;
    let ended = match &context.config {
        CellConfig::Data(config) => data::execute(session, context, config, emit),
        CellConfig::Model(config) => model::execute(session, context, config, emit),
        CellConfig::Train(config) => train::execute(session, context, config, emit),
        CellConfig::Generate(config) => generate::execute(session, context, config, emit),
        CellConfig::Curate(config) => curate::execute(context, config, emit),
        CellConfig::Report(config) => report::execute(session, context, config, emit),
        CellConfig::Note(_) => Err(AppError::invalid_setting("a note cannot be run", "Run the cells around it.")),
    };
    match ended {
        // Whether a stop reaches the engine before or after its last step makes no difference to the person.
        Err(error) if error.code == spec::ErrorCode::Stopped => Ok(Ended::Stopped),
        ended => ended,
    }
}

pub(crate) fn phase(emit: &mut dyn FnMut(RunEvent), text: impl Into<String>) {
    emit(RunEvent::Phase { text: text.into() });
}

/// The input of this kind; `needs_run` where there is none.
fn input(inputs: &[Input], kind: CellKind) -> Result<&Input> {
    inputs.iter().find(|input| input.kind == kind).ok_or_else(|| {
        AppError::needs_run(
            format!("there is no finished {} run to build on", kind.as_str()),
            format!("Run the {} cell first.", kind.as_str()),
        )
    })
}

/// The configuration and output of an input, in one go; a store that mixed them up is a fault of ours, not a panic.
macro_rules! parts {
    ($inputs:expr, $kind:ident) => {{
        let found = $crate::work::input($inputs, spec::CellKind::$kind)?;
        match (&found.config, &found.output) {
            (spec::CellConfig::$kind(config), spec::CellOutput::$kind(output)) => Ok((found, config, output)),
            _ => Err(spec::AppError::internal(
                concat!("the stored ", stringify!($kind), " run holds another kind of output"),
                "Run that cell again.",
            )),
        }?
    }};
}
pub(crate) use parts;

/// "; malformed: 2 (line 1: response: …; line 3: …)", or nothing.
fn malformed_rows(count: u64, first: &[spec::MalformedRow]) -> String {
    if count == 0 {
        return String::new();
    }
    let rows: Vec<String> = first
        .iter()
        .take(MAX_ROWS_IN_ERROR)
        .map(|row| format!("line {}: {}: {}", row.line, row.field, row.problem))
        .collect();
    let more = if count > rows.len() as u64 { "; …" } else { "" };
    format!("; malformed: {count} ({}{more})", rows.join("; "))
}

/// Refuses a file of an earlier run that is no longer what that run wrote. Runs of earlier versions kept no hash.
fn check_file(path: &Path, expected: &str, kind: CellKind) -> Result<()> {
    if expected.is_empty() {
        return Ok(());
    }
    let found = engine::artifact::sha256_file(path).map_err(crate::adapter::error)?;
    if found == expected { Ok(()) } else { Err(changed(path, expected, &found, kind)) }
}

/// `path` was written by a run of a cell of this kind.
fn changed(path: &Path, expected: &str, found: &str, kind: CellKind) -> AppError {
    let kind = kind.as_str();
    AppError::corrupt(
        format!("{}: its sha256 is {found}, but it was {expected} when the {kind} cell wrote it", path.display()),
        format!("The file was changed or damaged since. Run the {kind} cell again, or restore the file."),
    )
}

/// Progress events at most every 100 ms, and always the last.
fn progress<'a>(emit: &'a mut dyn FnMut(RunEvent)) -> impl FnMut(u64, u64) + 'a {
    let mut last: Option<std::time::Instant> = None;
    move |done, total| {
        let due = last.is_none_or(|at| at.elapsed().as_millis() >= 100);
        if due || done == total {
            last = Some(std::time::Instant::now());
            emit(RunEvent::Progress { done, total });
        }
    }
}
