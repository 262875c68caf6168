//! The server from outside: real sockets, a data folder of its own for each test, and an executor that the test
//! writes, or the engine itself on the smallest model there is.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests may panic and need no durable writes")]

mod access;
mod compare;
mod curation;
mod curve;
mod data_folder;
mod end_to_end;
mod exports;
mod faults;
mod kept_reports;
mod live;
mod load;
mod pages;
mod rating;
mod reports;
mod runs;
mod saved_work;
mod shares;
mod support;
mod unreadable;
mod uploads;
mod version_0_1_0;
