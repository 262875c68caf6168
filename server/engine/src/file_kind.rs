//! What a file is by its first bytes, for messages: a file that is not what its name says should be named for what it
//! is.

use std::path::Path;

use crate::Error;

/// First bytes that [`FileKind::of`] needs to see.
pub const HEAD_BYTES: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    GitLfsPointer,
    Html,
    Xml,
    Pickle,
    Gzip,
    Zip,
    Xz,
    Bzip2,
    Zstd,
    Lz4,
    SevenZip,
    Tar,
    Parquet,
    Arrow,
    Sqlite,
    Hdf5,
    Numpy,
    Pdf,
    Utf32,
    Gguf,
    Safetensors,
}

/// First bytes that are in no text and no other format.
const SIGNATURES: [(&[u8], FileKind); 19] = [
    (b"\x1f\x8b", FileKind::Gzip),
    (b"PK\x03\x04", FileKind::Zip),
    (b"\xfd7zXZ\0", FileKind::Xz),
    (b"BZh", FileKind::Bzip2),
    (b"\x28\xb5\x2f\xfd", FileKind::Zstd),
    (b"\x04\x22\x4d\x18", FileKind::Lz4),
    (b"7z\xbc\xaf\x27\x1c", FileKind::SevenZip),
    (b"PAR1", FileKind::Parquet),
    (b"ARROW1\0\0", FileKind::Arrow),
    (b"SQLite format 3\0", FileKind::Sqlite),
    (b"\x89HDF\r\n\x1a\n", FileKind::Hdf5),
    (b"\x93NUMPY", FileKind::Numpy),
    (b"%PDF-", FileKind::Pdf),
    (b"GGUF", FileKind::Gguf),
    (b"\xff\xfe\0\0", FileKind::Utf32),
    (b"\0\0\xfe\xff", FileKind::Utf32),
    (b"{\0\0\0", FileKind::Utf32),
    (b"[\0\0\0", FileKind::Utf32),
    (b"version https://git-lfs.github.com/spec/", FileKind::GitLfsPointer),
];

impl FileKind {
    /// None for what may be JSON, and for what is not known.
    pub fn of(head: &[u8]) -> Option<Self> {
        if let Some((_, kind)) = SIGNATURES.iter().find(|(signature, _)| head.starts_with(signature)) {
            // A safetensors header of 123 or 91 bytes begins as UTF-32 does.
            return Some(if is_safetensors(head) { Self::Safetensors } else { *kind });
        }
        if matches!(head, [0x80, 2..=5, ..]) {
            return Some(Self::Pickle);
        }
        if is_safetensors(head) {
            return Some(Self::Safetensors);
        }
        if head.get(257..262) == Some(b"ustar") {
            return Some(Self::Tar);
        }
        let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
        let begins = |tag: &[u8]| text.len() >= tag.len() && text[..tag.len()].eq_ignore_ascii_case(tag);
        if begins(b"<!doctype html") || begins(b"<html") || begins(b"<head") {
            return Some(Self::Html);
        }
        begins(b"<?xml").then_some(Self::Xml)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::GitLfsPointer => "a Git LFS pointer",
            Self::Html => "an HTML page",
            Self::Xml => "an XML document",
            Self::Pickle => "a pickle",
            Self::Gzip => "a gzip file",
            Self::Zip => "a zip archive",
            Self::Xz => "an xz file",
            Self::Bzip2 => "a bzip2 file",
            Self::Zstd => "a zstd file",
            Self::Lz4 => "an lz4 file",
            Self::SevenZip => "a 7z archive",
            Self::Tar => "a tar archive",
            Self::Parquet => "a Parquet file",
            Self::Arrow => "an Arrow file",
            Self::Sqlite => "an SQLite database",
            Self::Hdf5 => "an HDF5 file",
            Self::Numpy => "a NumPy file",
            Self::Pdf => "a PDF document",
            Self::Utf32 => "text in UTF-32",
            Self::Gguf => "a GGUF file",
            Self::Safetensors => "a safetensors file",
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Self::GitLfsPointer => {
                "The real file was never downloaded: run `git lfs pull` in its repository, or download the file itself."
            }
            Self::Html => {
                "A web page was saved in place of the file, perhaps a login or error page: download the file itself."
            }
            Self::Xml => "An error message of a file server is often XML: open it, then download the file itself.",
            Self::Pickle => {
                "Convert it: `safetensors` for weights, JSONL for data. Reading a pickle runs the code in it."
            }
            Self::Gzip => "Unpack it first: `gunzip FILE`.",
            Self::Zip => "Unpack it first: `unzip FILE`.",
            Self::Xz => "Unpack it first: `xz -d FILE`.",
            Self::Bzip2 => "Unpack it first: `bunzip2 FILE`.",
            Self::Zstd => "Unpack it first: `zstd -d FILE`.",
            Self::Lz4 => "Unpack it first: `lz4 -d FILE`.",
            Self::SevenZip => "Unpack it first: `7z x FILE`.",
            Self::Tar => "Unpack it first: `tar -xf FILE`.",
            Self::Parquet => {
                "Convert it: in Python `pandas.read_parquet(IN).to_json(OUT, orient='records', lines=True)`."
            }
            Self::Arrow => "Convert it: in Python `datasets.Dataset.from_file(IN).to_json(OUT)`.",
            Self::Sqlite | Self::Hdf5 | Self::Numpy | Self::Pdf => "Export its rows as JSONL: one JSON object a line.",
            Self::Utf32 => "Convert it: `iconv -f UTF-32 -t UTF-8 IN > OUT`.",
            Self::Gguf => "Name it where a model is asked for.",
            Self::Safetensors => "Name its folder where a model is asked for.",
        }
    }

    /// That `path` is of this kind, where `expected` ("the weights") should be and `supported` says what can be read.
    pub fn error(self, path: &Path, expected: &str, supported: &str) -> Error {
        let error = match self {
            Self::GitLfsPointer | Self::Html | Self::Xml => {
                Error::malformed(path, "content", format!("it is {}, not {expected}", self.name()))
            }
            _ => Error::unsupported(path, self.name(), supported),
        };
        error.with_hint(self.hint())
    }
}

/// Eight bytes of length, then a JSON object.
fn is_safetensors(head: &[u8]) -> bool {
    let Some((length, rest)) = head.split_first_chunk::<8>() else { return false };
    u64::from_le_bytes(*length) < 1 << 32 && rest.starts_with(b"{\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_by_what_they_hold() {
        let tar = [&[b'a'; 257][..], b"ustar"].concat();
        for (head, kind) in [
            (&b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\n"[..], FileKind::GitLfsPointer),
            (b"\n <!DOCTYPE HTML><title>Sign in</title>", FileKind::Html),
            (b"\xef\xbb\xbf<html lang=en>", FileKind::Html),
            (b"<?xml version='1.0'?><Error>", FileKind::Xml),
            (b"\x80\x04\x95", FileKind::Pickle),
            (b"BZh91AY&SY", FileKind::Bzip2),
            (b"\xfd7zXZ\0\0", FileKind::Xz),
            (b"\x40\0\0\0\0\0\0\0{\"a.weight\":", FileKind::Safetensors),
            (b"{\0\0\0\0\0\0\0{\"a.weight\":", FileKind::Safetensors),
            (b"{\0\0\0\"\0\0\0", FileKind::Utf32),
            (&tar, FileKind::Tar),
        ] {
            assert_eq!(FileKind::of(head), Some(kind), "{head:?}");
        }
        for json in [&b"{\"a\": 1}"[..], b"[]", b"\xef\xbb\xbf{}", b"", b"text", b"{\0\"\0a\0"] {
            assert_eq!(FileKind::of(json), None, "{json:?}");
        }
    }
}
