//! A dataset as model hubs read one: `README.md`, a card with its facts in front, and the rows as Parquet.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use spec::{AppError, FileType};

use super::{Export, Result, Written, card, unwritable};
use crate::adapter::{self, io_error};
use crate::clock::now_ms;
use crate::store::Store;

const CARD: &str = "README.md";
const FOLDER: &str = "data";
const ROWS: &str = "train-00000-of-00001.parquet";

/// The folder as one packed file. An entry's size stands before it, so the rows are made in a temporary file.
pub fn archive<W: Write>(export: &Export, store: &Store, out: W) -> Result<Written> {
    let mut rows = tempfile::tempfile().map_err(unwritable)?;
    let written = export.write_rows(store, FileType::Parquet, &mut rows)?;
    let card = card::text(export, &written);
    pack(export, &card, &mut rows, out).map_err(unwritable)?;
    Ok(written)
}

fn pack<W: Write>(export: &Export, card: &str, rows: &mut File, out: W) -> std::io::Result<()> {
    let mut archive = tar::Builder::new(GzEncoder::new(out, Compression::fast()));
    let folder = export.stem();
    let seconds = u64::try_from(now_ms() / 1000).unwrap_or_default();
    let mut add = |name: String, size: u64, content: &mut dyn Read| {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(seconds);
        archive.append_data(&mut header, name, content)
    };
    let size = rows.seek(std::io::SeekFrom::End(0))?;
    rows.rewind()?;
    add(format!("{folder}/{CARD}"), card.len() as u64, &mut card.as_bytes())?;
    add(format!("{folder}/{FOLDER}/{ROWS}"), size, rows)?;
    archive.into_inner()?.finish()?.flush()
}

/// The folder itself.
pub fn folder(export: &Export, store: &Store, folder: &Path) -> Result<Written> {
    let holds_other = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if holds_other {
        return Err(AppError::conflict(
            format!("The folder {} holds files already.", folder.display()),
            "Choose another folder, or empty this one: a dataset must not mix with other files.",
        ));
    }
    let rows = folder.join(FOLDER);
    std::fs::create_dir_all(&rows).map_err(io_error(&rows))?;
    let written = to_file(&rows.join(ROWS), |out| export.write_rows(store, FileType::Parquet, out))?;
    engine::artifact::write(&folder.join(CARD), card::text(export, &written).as_bytes()).map_err(adapter::error)?;
    Ok(written)
}

/// A file that appears whole or not at all.
pub fn to_file(path: &Path, fill: impl FnOnce(&mut (dyn Write + Send)) -> Result<Written>) -> Result<Written> {
    let mut filled = Ok(Written::default());
    let kept = engine::artifact::write_with(path, |out| {
        filled = fill(out);
        // What went wrong is in `filled`; this only keeps the file from appearing.
        filled.as_ref().map(drop).map_err(|error| std::io::Error::other(error.message.clone()))
    });
    let written = filled?;
    kept.map_err(adapter::error)?;
    Ok(written)
}
