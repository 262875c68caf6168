//! One module per kind of cell: its form and what it shows of a run. `frame` is what all have in common.

mod curate;
mod data;
mod files;
mod form;
mod frame;
mod generate;
mod model;
mod note;
mod progress;
mod report;
mod stop;
mod train;

pub use data::{dropped_rows, summary as data_summary};
pub use frame::CellView;
pub use generate::corpus_summary;
pub use model::name as model_name;
pub use report::Sharing;
pub use stop::StopDialog;
pub use train::{integrity_sentence, result as train_result};
