//! Opening files that strangers wrote: what a file is gets checked before it is opened and before it is believed.

use std::borrow::Cow;
use std::fs::{File, FileType};
use std::io::{Read, Seek};
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::file_kind::{FileKind, HEAD_BYTES};
use crate::{Error, Result};

/// A regular file and its size. Anything else is refused before it is opened: opening a FIFO waits for its writer.
pub fn open_regular(path: &Path) -> Result<(File, u64)> {
    let about = std::fs::metadata(path).map_err(Error::io(path))?;
    if !about.is_file() {
        return Err(not_a_file(path, about.file_type()));
    }
    let file = File::open(path).map_err(Error::io(path))?;
    let size = file.metadata().map_err(Error::io(path))?.len();
    Ok((file, size))
}

pub fn not_a_file(path: &Path, kind: FileType) -> Error {
    let (found, hint) = if kind.is_dir() {
        ("it is a folder; a file is needed", "Name the file in it that is meant.")
    } else {
        ("it is not a regular file", "Name a regular file: pipes, sockets and devices are not read here.")
    };
    Error::malformed(path, "kind", found).with_hint(hint)
}

/// The first bytes of a file, which is left at its start.
pub fn head(path: &Path, mut file: &File) -> Result<Vec<u8>> {
    file.rewind().map_err(Error::io(path))?;
    let mut head = Vec::new();
    file.take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(Error::io(path))?;
    file.rewind().map_err(Error::io(path))?;
    Ok(head)
}

/// A whole regular file of at most `limit` bytes.
pub fn read_small(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (file, _) = open_regular(path)?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(Error::io(path))?;
    if bytes.len() as u64 > limit {
        return Err(Error::malformed(path, "size", format!("it has more than {limit} bytes, the limit")));
    }
    Ok(bytes)
}

/// A JSON file of at most `limit` bytes, with or without a byte order mark.
pub fn read_json<T: DeserializeOwned>(path: &Path, limit: u64) -> Result<T> {
    parse_json(path, &read_small(path, limit)?)
}

/// The same from its bytes; `path` is for messages.
pub fn parse_json<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    if let Some(kind) = FileKind::of(bytes) {
        return Err(kind.error(path, "JSON", "a JSON file is needed here"));
    }
    let text = text(bytes).map_err(|at| Error::malformed(path, format!("byte {}", at + 1), "it is not UTF-8"))?;
    serde_json::from_str(&text).map_err(|error| {
        let place = format!("line {}", error.line());
        match error.classify() {
            serde_json::error::Category::Eof => Error::truncated(path, place, error.to_string()),
            _ => Error::malformed(path, place, error.to_string()),
        }
    })
}

/// UTF-8, or UTF-16 with a byte order mark, without the mark. Else the place of the first byte that is neither.
fn text(bytes: &[u8]) -> Result<Cow<'_, str>, usize> {
    match encoding_rs::Encoding::for_bom(bytes) {
        Some((encoding, length)) if encoding != encoding_rs::UTF_8 => {
            Ok(encoding.decode_without_bom_handling(&bytes[length..]).0)
        }
        mark => {
            let length = mark.map_or(0, |(_, length)| length);
            std::str::from_utf8(&bytes[length..]).map(Cow::Borrowed).map_err(|error| length + error.valid_up_to())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn json_is_read_with_a_byte_order_mark_and_in_utf_16() {
        let utf_16 = |bytes: fn(u16) -> [u8; 2]| "\u{feff}{\"a\": \"é\"}".encode_utf16().flat_map(bytes).collect();
        let forms: [Vec<u8>; 4] = [
            "{\"a\": \"é\"}".into(),
            "\u{feff}{\"a\": \"é\"}".into(),
            utf_16(u16::to_le_bytes),
            utf_16(u16::to_be_bytes),
        ];
        for bytes in forms {
            let read: serde_json::Value = read_json(file(&bytes).path(), 100).unwrap();
            assert_eq!(read, serde_json::json!({"a": "é"}), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_not_json_is_named() {
        let refused = |bytes: &[u8]| read_json::<serde_json::Value>(file(bytes).path(), 200).unwrap_err();
        let pointer = refused(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
        assert!(pointer.to_string().contains("it is a Git LFS pointer, not JSON"), "{pointer}");
        assert!(pointer.hint().contains("git lfs pull"));
        assert!(refused(b"<!doctype html><html>").hint().contains("web page"));
        assert!(refused(b"{\"a\": [1, 2").hint().contains("incomplete"));
        assert!(refused(b"{\"a\": \"\xff\"}").to_string().contains("byte 8: it is not UTF-8"));
        assert!(refused(&[b' '; 300]).to_string().contains("more than 200 bytes"));
    }

    #[test]
    #[cfg(unix)]
    fn folders_and_special_files_are_refused_without_being_opened() {
        use std::os::unix::net::UnixListener;
        let folder = tempfile::tempdir().unwrap();
        assert!(open_regular(folder.path()).unwrap_err().to_string().contains("it is a folder"));
        let socket = folder.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        assert!(open_regular(&socket).unwrap_err().to_string().contains("not a regular file"));
        // A FIFO without a writer: opening it would wait for ever.
        let fifo = folder.path().join("config.json");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        assert!(read_small(&fifo, 10).unwrap_err().to_string().contains("not a regular file"));
    }
}
