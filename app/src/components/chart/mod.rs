//! Charts as plain SVG, drawn alike on the server and in the page: no script library, no inline styles.

mod geometry;
mod histogram;
mod loss;

pub use histogram::histogram;
pub use loss::LossChart;
