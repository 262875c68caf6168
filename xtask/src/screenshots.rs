//! `cargo xtask screenshots`: the README's pictures, taken from the real product on the tiny model.

use anyhow::Result;

use crate::{browser, build, page, say};

pub fn take() -> Result<()> {
    page::build()?;
    let server = build::server()?;
    say::doing("Taking pictures into docs/images");
    browser::playwright(&server, &["screenshots.spec.ts"], &[("SCREENSHOTS", "1")])
}
