//! The page's one connection to the server's run logs. Events only; commands go by POST.
//!
//! `client` keeps the connection, `backoff` says when to try again, `feed` sorts what arrived into run views, `page` holds
//! the connection that the shown page has.

mod backoff;
mod client;
mod feed;
pub mod page;

pub use client::SocketState;
pub use feed::{Feed, Gap};
