//! `replay`: generates the pairs of a run anew and says whether the texts are the same.

use clap::Args;
use serde_json::json;
use spec::{AppError, MatchPairs, PairFilter, ReplayPairs, Replayed};

use super::Result;
use super::flags::{DataFolderFlag, DeviceFlag};
use super::output::{Output, excerpt};
use super::run::with_service;

/// Characters of a text that differs.
const SHOWN: usize = 100;

#[derive(Debug, Args)]
#[command(after_help = "\
Files, weights, adapter and settings are those that the run used, checked by their hashes. Exit status: 0 if every text is the same.")]
pub struct Replay {
    /// Number of a generate run, or of a curate or report run made of one, as `runs` lists it
    run: i64,
    /// Only these rows of the corpus file
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    rows: Vec<u64>,
    #[command(flatten)]
    folder: DataFolderFlag,
    #[command(flatten)]
    device: DeviceFlag,
}

impl Replay {
    /// Whether all texts are the same.
    pub fn run(&self, output: &Output) -> Result<bool> {
        let mut same = false;
        with_service(&self.folder, &self.device, |service, runtime| {
            let run = service.generate_run_of(self.run)?;
            let all = runtime.block_on(service.ask(MatchPairs { run, filter: PairFilter::default() }))?;
            let wanted: Vec<u32> = all
                .pairs
                .iter()
                .filter(|(_, row)| self.rows.is_empty() || self.rows.contains(row))
                .map(|(index, _)| *index)
                .collect();
            if wanted.is_empty() {
                return Err(AppError::not_found(
                    format!("Run {} has no pair of these rows.", self.run),
                    "`backtranslate export RUN -o -` prints its rows.",
                ));
            }
            let mut replayed = Vec::with_capacity(wanted.len());
            for indexes in wanted.chunks(Replayed::MOST) {
                let part = ReplayPairs { run, indexes: indexes.to_vec() };
                replayed.extend(runtime.block_on(service.ask(part))?);
                tracing::info!(done = replayed.len(), of = wanted.len(), "replayed");
            }
            let different: Vec<&Replayed> = replayed.iter().filter(|pair| !pair.is_identical()).collect();
            same = different.is_empty();
            let answer = json!({
                "run": run,
                "replayed": replayed.len(),
                "identical": replayed.len() - different.len(),
                "different": different,
            });
            output.answer(&answer, |text| {
                let same = replayed.len() - different.len();
                text.line(format_args!("{same} of {} pairs came out identical", replayed.len()));
                for pair in &different {
                    text.line(format_args!("row {}", pair.row));
                    text.line(format_args!("  before  {}", excerpt(&pair.generated, SHOWN)));
                    text.line(format_args!("  now     {}", excerpt(&pair.again, SHOWN)));
                }
            })
        })?;
        Ok(same)
    }
}
