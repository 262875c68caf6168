//! The page: app compiled to WebAssembly, its JavaScript glue, the style and the static files, in `target/site`.
//!
//! Does what cargo-leptos does, with nothing installed: wasm-bindgen is a library of this program, at the version
//! that `app` is pinned to. The names are those that leptos' `HydrationScripts` asks for.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use wasm_bindgen_cli_support::Bindgen;

use crate::{artifacts, command, say, workspace};

const TARGET: &str = "wasm32-unknown-unknown";
const OUTPUT_NAME: &str = "backtranslate";

/// What cargo is told for the page, here and where it is linted.
pub const CARGO_ARGUMENTS: [&str; 9] =
    ["-p", "app", "--lib", "--target", TARGET, "--features", "hydrate", "--profile", "wasm-release"];

/// Builds the page into `target/site`.
pub fn build() -> Result<()> {
    add_target()?;
    say::doing("Building the page (the first time takes a few minutes)");
    let started = Instant::now();
    let files = artifacts::build("app", &CARGO_ARGUMENTS)?;
    let wasm = files.into_iter().find(|file| file.extension() == Some(OsStr::new("wasm")));
    let wasm = wasm.context("cargo named no WebAssembly file of `app`")?;

    let site = workspace::site()?;
    let package = site.join("pkg");
    if package.exists() {
        fs::remove_dir_all(&package).with_context(|| format!("cannot empty {}", package.display()))?;
    }
    fs::create_dir_all(&package).with_context(|| format!("cannot make {}", package.display()))?;
    bind(&wasm, &package)?;
    copy(&workspace::root().join("style/main.css"), &package.join(format!("{OUTPUT_NAME}.css")))?;
    copy_tree(&workspace::root().join("public"), &site)?;
    compress_tree(&site)?;

    let size = fs::metadata(package.join(format!("{OUTPUT_NAME}.wasm")))?.len();
    let small = fs::metadata(package.join(format!("{OUTPUT_NAME}.wasm.br")))?.len();
    say::note(&format!(
        "{} ({} of WebAssembly, {} sent; {})",
        site.display(),
        say::size(size),
        say::size(small),
        say::duration(started.elapsed())
    ));
    Ok(())
}

/// Adds the standard library for WebAssembly where the toolchain lacks it.
pub fn add_target() -> Result<()> {
    let sysroot = command::stdout(command::tool("rustc").args(["--print", "sysroot"]).current_dir(workspace::root()))?;
    if Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).is_dir() {
        return Ok(());
    }
    say::doing("Adding the WebAssembly target to the Rust toolchain");
    command::run(command::tool("rustup").args(["target", "add", TARGET]).current_dir(workspace::root()))
}

/// Makes `backtranslate.js` and `backtranslate.wasm`. Not shrunk by wasm-opt: that takes two minutes here, and what is sent
/// (compressed) grows by a tenth.
fn bind(wasm: &Path, package: &Path) -> Result<()> {
    let mut bindgen = Bindgen::new();
    bindgen.input_path(wasm).out_name(OUTPUT_NAME).web(true)?;
    bindgen.typescript(false).remove_name_section(true).remove_producers_section(true);
    bindgen.generate(package).context("wasm-bindgen failed")?;
    // leptos asks for this name where LEPTOS_OUTPUT_NAME was set when it was compiled, as .cargo/config.toml does.
    let named = |suffix: &str| package.join(format!("{OUTPUT_NAME}{suffix}"));
    fs::rename(named("_bg.wasm"), named(".wasm")).context("wasm-bindgen made no WebAssembly file")
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for (source, target) in files_under(from)?.into_iter().map(|file| (from.join(&file), to.join(file))) {
        fs::create_dir_all(target.parent().unwrap_or(to))?;
        copy(&source, &target)?;
    }
    Ok(())
}

/// Writes `.br` and `.gz` beside every text and WebAssembly file: the server sends them as they are.
fn compress_tree(site: &Path) -> Result<()> {
    const WORTH_IT: [&str; 7] = ["css", "html", "js", "json", "svg", "txt", "wasm"];
    for file in files_under(site)? {
        if !file.extension().and_then(OsStr::to_str).is_some_and(|extension| WORTH_IT.contains(&extension)) {
            continue;
        }
        let path = site.join(&file);
        let bytes = fs::read(&path)?;
        fs::write(with_suffix(&path, "br"), brotli(&bytes)?)?;
        fs::write(with_suffix(&path, "gz"), gzip(&bytes)?)?;
    }
    Ok(())
}

fn brotli(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut small = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams { quality: 9, ..Default::default() };
    brotli::BrotliCompress(&mut &bytes[..], &mut small, &parameters)?;
    Ok(small)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// Every file under `folder`, relative to it; none where the folder is not there.
fn files_under(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(relative) = waiting.pop() {
        let Ok(entries) = fs::read_dir(folder.join(&relative)) else { continue };
        for entry in entries {
            let entry = entry?;
            let path = relative.join(entry.file_name());
            if entry.file_type()?.is_dir() { waiting.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    Ok(files)
}
