//! The vocabulary of the whole program, defined once: settings with their ranges, events, metrics, errors, and what
//! crosses between page and server. Plain data; the only behaviour is validation and the fold of a run's log.
//!
//! Depends on serde only and compiles to WebAssembly. Knows nothing of burn, SQL or HTTP. Whole numbers are `u32`, `i64` or `u64` (never `usize`),
//! times are milliseconds since the Unix epoch, fractions are 0..=1.

#![forbid(unsafe_code)]

mod command;
mod config;
mod curation;
mod curve;
mod error;
mod event;
mod export;
mod notebook;
mod rating;
mod report;
mod setting;
mod view;

pub use command::*;
pub use config::*;
pub use curation::*;
pub use curve::*;
pub use error::*;
pub use event::*;
pub use export::*;
pub use notebook::*;
pub use rating::*;
pub use report::*;
pub use setting::{Bound, Choice, Group, Kind, Rule, Setting, Settings, Slot, Value, invalid, unknown_setting};
pub use view::*;
