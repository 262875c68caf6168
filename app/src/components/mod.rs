//! Parts of pages that know wire types but no notebook.

pub mod base_model;
pub mod chart;
pub mod clipboard;
pub mod dialog;
pub mod diff;
pub mod download;
pub mod error;
pub mod facts;
pub mod focus;
pub mod format;
pub mod frame;
pub mod icon;
pub mod key;
pub mod options;
pub mod pair;
pub mod ratings;
pub mod scores;
pub mod settings;
pub mod state;
pub mod table;
pub mod theme;
