//! `cargo xtask screenshots`: the README's picture, taken of the real product while it trains.

use std::path::Path;

use anyhow::Result;

use crate::{browser, build, page, say};

pub fn take(model: Option<&Path>) -> Result<()> {
    page::build()?;
    let server = build::server()?;
    say::doing("Taking pictures into docs/images");
    // Playwright runs in a folder of its own.
    let model = model.map(std::path::absolute).transpose()?.map(|path| path.to_string_lossy().into_owned());
    let mut environment = vec![("SCREENSHOTS", "1")];
    environment.extend(model.as_deref().map(|path| ("BASE_MODEL", path)));
    browser::playwright(&server, &["screenshots.spec.ts"], &environment)
}
