//! The page's one connection to the server's run logs. Events only; commands are server functions.
//!
//! `client` keeps the connection, `backoff` says when to try again, `feed` sorts what arrived into run views.

mod backoff;
mod client;
mod feed;

pub use client::{Socket, SocketState};
pub use feed::{Feed, Gap};
