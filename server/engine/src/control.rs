//! Stopping from outside: a flag that long loops check between small steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::{Error, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Save what an exact resume needs, then stop.
    Save,
    /// Stop; only what is saved already is kept.
    Discard,
}

/// Cheap to clone; all clones share one flag.
#[derive(Clone, Debug, Default)]
pub struct Control(Arc<AtomicU8>);

impl Control {
    pub fn stop(&self, stop: Stop) {
        let code = match stop {
            Stop::Save => 1,
            Stop::Discard => 2,
        };
        // Discard wins over Save, whichever came first.
        self.0.fetch_max(code, Ordering::Relaxed);
    }

    /// [`Error::Stopped`] once a stop was asked for.
    pub(crate) fn check(&self) -> Result<()> {
        self.asked().map_or(Ok(()), |_| Err(Error::Stopped))
    }

    pub fn asked(&self) -> Option<Stop> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Stop::Save),
            _ => Some(Stop::Discard),
        }
    }
}
