//! Generates pairs of a finished run anew, to show that they can be.

use engine::Control;
use spec::{AppError, CellConfig, CellKind, Replayed, RunState};

use super::{Core, Service};
use crate::store::PairSource;
use crate::work::{self, ModelCache, Session};

impl Service {
    /// The generate run whose pairs a run has: its own, or those that a curate or report run was made of. Blocks.
    pub fn generate_run_of(&self, run: i64) -> Result<i64, AppError> {
        let row = self.core.store.run(run)?;
        let input = row.inputs.iter().find(|input| input.kind == CellKind::Generate);
        Ok(input.map_or(run, |input| input.run))
    }
}

impl Core {
    /// With a model of its own, which is loaded for it; so not beside a run, whose memory and time it would take.
    pub(super) fn replay(&self, run: i64, indexes: &[u32]) -> Result<Vec<Replayed>, AppError> {
        let row = self.store.run(run)?;
        let CellConfig::Generate(config) = &row.config else {
            return Err(AppError::not_found(format!("Run {run} generated nothing."), "Name a generate run."));
        };
        if row.state != RunState::Done {
            return Err(AppError::conflict(format!("Run {run} is not done."), "Replay its pairs when it is."));
        }
        if indexes.is_empty() || indexes.len() > Replayed::MOST {
            return Err(AppError::invalid_setting(
                format!("{} pairs cannot be replayed in one go: 1 to {} can.", indexes.len(), Replayed::MOST),
                "Ask for fewer.",
            ));
        }
        let busy = || AppError::conflict("A run or another replay is computed.", "Try again when it is over.");
        let _alone = self.replays.try_lock().map_err(|_| busy())?;
        if self.jobs.is_busy() {
            return Err(busy());
        }
        let control = Control::default();
        let context = self.jobs.context_of(run, &control)?;
        let mut session = Session { resources: self.resources.clone(), models: ModelCache::new(self.device.clone()) };
        let again = work::generate::replay(&mut session, &context, config, indexes, &mut |_| {});
        drop(session);
        engine::memory::release_memory();
        let mut again = again?;
        again.sort_by_key(|pair| pair.index);
        let before = self.store.pairs_at(PairSource::Generated, run, indexes)?;
        let replayed = before.into_iter().filter_map(|pair| {
            let found = again.iter().find(|again| again.index == pair.index)?;
            let (index, row, again) = (pair.index, pair.source_row(), found.generated.clone());
            Some(Replayed { index, row, generated: pair.generated, again })
        });
        Ok(replayed.collect())
    }
}
