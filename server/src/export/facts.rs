//! What a dataset card says of how pairs came about, as far as the runs and the report still know it.

use spec::{
    CellConfig, CellKind, CellOutput, CorpusSummary, DataConfig, DataOutput, GenerateConfig, ModelOutput, Report,
    ScoreSummary, TrainConfig, TrainOutput,
};

use super::Result;
use crate::store::{RunRow, Store, StoreError};

#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// What the author of a report wrote of its data.
    pub data_notice: String,
    pub summary: String,
    pub data: Option<(DataConfig, DataOutput)>,
    pub model: Option<ModelOutput>,
    pub train: Option<(TrainConfig, TrainOutput)>,
    pub generate: Option<GenerateConfig>,
    pub corpus: CorpusSummary,
    /// Of all pairs of the run, whatever is exported of them.
    pub scores: Option<ScoreSummary>,
}

impl Facts {
    pub fn of_report(report: Report) -> Self {
        Self {
            data_notice: report.config.data_notice,
            summary: report.config.summary,
            data: Some((report.data_config, report.data)),
            model: Some(report.model),
            train: Some((report.train_config, report.train)),
            generate: Some(report.generate_config),
            corpus: report.corpus,
            scores: Some(report.scores),
        }
    }

    /// Of a generate run. Runs that it was built on and that were deleted since leave gaps.
    pub fn of_run(store: &Store, generate: &RunRow) -> Result<Self> {
        let mut facts = Self::default();
        if let CellConfig::Generate(config) = &generate.config {
            facts.generate = Some(config.clone());
        }
        if let Some(CellOutput::Generate(output)) = store.view(generate)?.output {
            facts.corpus = output.corpus;
            facts.scores = Some(*output.scores);
        }
        let train = input(store, generate, CellKind::Train)?;
        if let Some((CellConfig::Train(config), CellOutput::Train(output))) = output_of(store, train.as_ref())? {
            facts.train = Some((config, output));
        }
        let model = input(store, generate, CellKind::Model)?;
        if let Some((_, CellOutput::Model(output))) = output_of(store, model.as_ref())? {
            facts.model = Some(output);
        }
        let data = match &train {
            Some(train) => input(store, train, CellKind::Data)?,
            None => None,
        };
        if let Some((CellConfig::Data(config), CellOutput::Data(output))) = output_of(store, data.as_ref())? {
            facts.data = Some((config, output));
        }
        Ok(facts)
    }
}

fn input(store: &Store, run: &RunRow, kind: CellKind) -> Result<Option<RunRow>> {
    let Some(input) = run.inputs.iter().find(|input| input.kind == kind) else { return Ok(None) };
    match store.run(input.run) {
        Ok(row) => Ok(Some(row)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn output_of(store: &Store, run: Option<&RunRow>) -> Result<Option<(CellConfig, CellOutput)>> {
    let Some(run) = run else { return Ok(None) };
    Ok(store.view(run)?.output.map(|output| (run.config.clone(), output)))
}
