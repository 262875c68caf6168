//! Two generate runs, joined by response: what differs in settings, figures and texts.

use std::collections::HashMap;

use spec::{
    AppError, CellConfig, CellKind, CompareQuery, ComparedRun, Comparison, GenerateRun, GeneratedPair, PairFilter,
};

use super::Core;
use crate::store::{PairSource, RunRow, StoreError};
use crate::work;

/// The generated text and the position of each pair of a run, by response. A response that occurs more than once is
/// joined in the order of its occurrences.
type ByResponse = HashMap<String, Vec<GeneratedPair>>;

impl Core {
    pub(super) fn compare(&self, query: &CompareQuery) -> Result<Comparison, AppError> {
        let (left, right) = (self.generated(query.left)?, self.generated(query.right)?);
        let mut of_right = ByResponse::new();
        for pair in self.pairs_of(query.right)?.into_iter().rev() {
            of_right.entry(pair.response.clone()).or_default().push(pair);
        }
        let mut joined: Vec<(GeneratedPair, GeneratedPair)> = Vec::new();
        let mut alone = 0;
        for pair in self.pairs_of(query.left)? {
            match of_right.get_mut(&pair.response).and_then(Vec::pop) {
                Some(other) => joined.push((pair, other)),
                None => alone += 1,
            }
        }
        let alone_right = of_right.values().map(|pairs| pairs.len() as u64).sum();
        let side = |row: &RunRow, pick: fn(&(GeneratedPair, GeneratedPair)) -> &GeneratedPair, alone: u64| {
            let pairs: Vec<GeneratedPair> = joined.iter().map(|pair| pick(pair).clone()).collect();
            Ok::<_, AppError>(ComparedRun {
                run: self.described(row, pairs.len() as u64 + alone)?,
                settings: self.settings_of(row)?,
                scores: work::generate::summary(&pairs),
                alone,
            })
        };
        let (left, right) = (side(&left, |pair| &pair.0, alone)?, side(&right, |pair| &pair.1, alone_right)?);
        let total = joined.len() as u64;
        let is_different = |(left, right): &(GeneratedPair, GeneratedPair)| left.generated != right.generated;
        let different = joined.iter().filter(|pair| is_different(pair)).count() as u64;
        let offset = u64::from(query.page.max(1) - 1) * Comparison::ROWS;
        let rows = joined
            .into_iter()
            .filter(|pair| !query.only_different || is_different(pair))
            .skip(offset as usize)
            .take(Comparison::ROWS as usize)
            .collect();
        Ok(Comparison { left, right, joined: total, different, offset, rows })
    }

    fn generated(&self, run: i64) -> Result<RunRow, AppError> {
        let row = self.store.run(run)?;
        if row.config.kind() == CellKind::Generate {
            return Ok(row);
        }
        Err(AppError::not_found(format!("Run {run} generated no pairs."), "Choose runs of Generate cells."))
    }

    fn pairs_of(&self, run: i64) -> Result<Vec<GeneratedPair>, AppError> {
        let mut pairs = Vec::new();
        self.store.visit_pairs(PairSource::Generated, run, &PairFilter::default(), |pair| {
            pairs.extend(pair.ok());
            Ok::<(), StoreError>(())
        })?;
        Ok(pairs)
    }

    fn described(&self, row: &RunRow, pairs: u64) -> Result<GenerateRun, AppError> {
        let experiment = self.store.experiment_name(row.experiment)?;
        Ok(GenerateRun { run: row.id, experiment, created_ms: row.created_ms, pairs })
    }

    /// The settings of the run and of its training, each with its kind of cell.
    fn settings_of(&self, row: &RunRow) -> Result<Vec<(String, String)>, AppError> {
        let mut settings = Vec::new();
        for input in row.inputs.iter().filter(|input| input.kind == CellKind::Train) {
            // A training that was deleted is not named; its adapter's hash is in the report.
            if let Ok(train) = self.store.run(input.run) {
                settings.extend(self.named_settings(&train.config));
            }
        }
        settings.extend(self.named_settings(&row.config));
        Ok(settings)
    }

    fn named_settings(&self, config: &CellConfig) -> Vec<(String, String)> {
        let kind = config.kind().as_str();
        let name = |key: &str, value: String| match key {
            "file" => self.resources.file_name(&value).unwrap_or(value),
            _ => value,
        };
        let values = config.values().into_iter();
        values.map(|(setting, value)| (format!("{kind}.{}", setting.key), name(setting.key, value))).collect()
    }
}
