//! What a person decides on generated pairs.

use spec::{
    AppError, CellConfig, CellKind, CellOutput, Curation, CurationChange, CurationCounts, CurationPart, DataFile,
    Decision, GeneratedPair, MatchingPairs, PairFilter,
};

use super::{Core, fingerprint};
use crate::store::{PairSource, RunRow};
use crate::work;

/// Pairs in one answer.
const MAX_PAIRS: usize = 200;
/// Changes in one command.
const MAX_CHANGES: usize = 100_000;

impl Core {
    pub(super) fn curate_pairs(&self, run: i64, changes: &[CurationChange]) -> Result<CurationCounts, AppError> {
        if changes.len() > MAX_CHANGES {
            return Err(AppError::too_large(
                format!("The command has {} changes; the limit is {MAX_CHANGES}.", changes.len()),
                "Send them in parts.",
            ));
        }
        for change in changes {
            let (what, text) = match &change.part {
                CurationPart::Instruction(Some(text)) => ("instruction", text),
                CurationPart::Note(text) => ("note", text),
                CurationPart::Instruction(None) | CurationPart::Decision(_) => continue,
            };
            if text.len() > Curation::MAX_TEXT {
                return Err(AppError::too_large(
                    format!("The {what} has {} bytes; the limit is {}.", text.len(), Curation::MAX_TEXT),
                    "Shorten it.",
                ));
            }
            if what == "instruction" && text.trim().is_empty() {
                return Err(AppError::invalid_setting(
                    "The edited instruction is empty.",
                    "Write one, or take the edit back. To leave the pair out, drop it.",
                ));
            }
        }
        let experiment = self.generate_run(run)?;
        self.telling(experiment, run, || Ok(self.store.curate(run, changes)?))
    }

    pub(super) fn decide_matching(
        &self,
        run: i64,
        filter: &PairFilter,
        decision: Option<Decision>,
    ) -> Result<Vec<CurationChange>, AppError> {
        filter.check()?;
        let experiment = self.generate_run(run)?;
        self.telling(experiment, run, || Ok(self.store.decide_matching(run, filter, decision)?))
    }

    pub(super) fn match_pairs(&self, run: i64, filter: &PairFilter) -> Result<MatchingPairs, AppError> {
        filter.check()?;
        self.generate_run(run)?;
        Ok(self.store.matching_pairs(run, filter)?)
    }

    pub(super) fn get_pairs(&self, run: i64, indexes: &[u32]) -> Result<Vec<GeneratedPair>, AppError> {
        if indexes.len() > MAX_PAIRS {
            return Err(AppError::too_large(
                format!("The command asks for {} pairs; the limit is {MAX_PAIRS}.", indexes.len()),
                "Ask for fewer at a time.",
            ));
        }
        self.generate_run(run)?;
        Ok(self.store.pairs_at(PairSource::Generated, run, indexes)?)
    }

    /// Changes decisions, and tells the experiment's pages where that made a curate cell stale or fresh: a notebook is
    /// not fetched again for every pair that a person decides on.
    fn telling<T>(
        &self,
        experiment: i64,
        run: i64,
        change: impl FnOnce() -> Result<T, AppError>,
    ) -> Result<T, AppError> {
        let before = self.store.curation_sha256(run)?;
        let changed = change()?;
        let after = self.store.curation_sha256(run)?;
        let newest = self.store.newest_runs(experiment)?;
        let curates = newest.values().filter(|row| row.config.kind() == CellKind::Curate);
        let matches =
            |row: &RunRow, sha256: &str| fingerprint::identity(&row.identity) == fingerprint::identity(sha256);
        if before != after && curates.into_iter().any(|row| matches(row, &before) != matches(row, &after)) {
            self.jobs.notify_changed(experiment);
        }
        Ok(changed)
    }

    /// The experiment of a generate run; other runs have no pairs to decide on.
    fn generate_run(&self, run: i64) -> Result<i64, AppError> {
        let row = self.store.run(run)?;
        if row.config.kind() == CellKind::Generate {
            return Ok(row.experiment);
        }
        Err(AppError::not_found(format!("Run {run} generated no pairs."), "Decide on the pairs of a Generate cell."))
    }

    pub(super) fn add_kept_pairs(&self, run: i64) -> Result<DataFile, AppError> {
        let row = self.store.run(run)?;
        let (CellConfig::Curate(config), Some(CellOutput::Curate(output))) = (&row.config, &self.view_of(&row)?.output)
        else {
            return Err(AppError::needs_run(format!("Run {run} kept no pairs."), "Run the Curate cell first."));
        };
        let pairs = work::curate::read_pairs(&self.folders.path(run), &output.pairs_sha256)?;
        let name = format!("Kept pairs of {}.jsonl", self.store.experiment_name(row.experiment)?);
        let kept = pairs.into_iter().filter(|pair| config.keeps(pair));
        let notice = match row.inputs.iter().find(|input| input.kind == CellKind::Generate) {
            Some(generate) => self.notice_of_corpus(generate.run)?,
            None => String::new(),
        };
        self.resources.import_text(&name, &notice, &work::curate::training_rows(kept)?)
    }

    fn notice_of_corpus(&self, generate: i64) -> Result<String, AppError> {
        match self.view_of(&self.store.run(generate)?)?.output {
            Some(CellOutput::Generate(output)) => Ok(output.corpus.source.notice),
            _ => Ok(String::new()),
        }
    }
}
