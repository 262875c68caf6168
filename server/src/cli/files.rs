//! Files that a person names on the command line: texts to read (prompts, texts to score, experiment files), and outputs.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use spec::AppError;

use super::Result;
use crate::adapter;

/// Larger texts are a mistake: no context is that long.
const MAX_BYTES: u64 = 16 << 20;

/// UTF-8, or UTF-16 with a byte order mark. The mark is not part of the text.
pub fn read_text(path: &Path) -> Result<String> {
    let io = |error| adapter::error(engine::Error::io(path)(error));
    let mut bytes = Vec::new();
    // Bounded while reading, since a pipe does not say its size.
    File::open(path).map_err(io)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(AppError::too_large(
            format!("{} has more than {MAX_BYTES} bytes, the most that is read as a text", path.display()),
            "Give a shorter text.",
        ));
    }
    decode(bytes).map_err(|problem| {
        AppError::malformed_file(
            format!("{}: {problem}", path.display()),
            "Give a text in UTF-8 (or in UTF-16 with a byte order mark).",
        )
    })
}

/// Refuses an output file that cannot be written, before the work for it is done.
pub fn check_output(file: &Path) -> Result<()> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(AppError::not_found(
            format!("{} cannot be written: there is no folder {}", file.display(), folder.display()),
            "Create the folder, or write to another file.",
        ));
    }
    let is_other = std::fs::metadata(file).is_ok_and(|found| !found.is_file());
    if is_other || file.file_name().is_none() {
        return Err(adapter::invalid("--output", file.display(), "the path of a file"));
    }
    Ok(())
}

/// Or what is wrong.
fn decode(bytes: Vec<u8>) -> std::result::Result<String, String> {
    let text = match bytes.as_slice() {
        [0xff, 0xfe, text @ ..] => utf_16(text, u16::from_le_bytes)?,
        [0xfe, 0xff, text @ ..] => utf_16(text, u16::from_be_bytes)?,
        [0xef, 0xbb, 0xbf, text @ ..] => utf_8(text.to_vec(), 3)?,
        _ => utf_8(bytes, 0)?,
    };
    match text.find('\0') {
        // Valid in both encodings, but in no text.
        Some(place) => Err(format!("byte {} is NUL: it is UTF-16 without a byte order mark, or not a text", place + 1)),
        None => Ok(text),
    }
}

fn utf_8(bytes: Vec<u8>, before: usize) -> std::result::Result<String, String> {
    String::from_utf8(bytes)
        .map_err(|error| format!("byte {} is not UTF-8", before + error.utf8_error().valid_up_to() + 1))
}

fn utf_16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> std::result::Result<String, String> {
    let units = bytes.chunks(2).map(|pair| <[u8; 2]>::try_from(pair).map(unit));
    let units: Vec<u16> =
        units.collect::<std::result::Result<_, _>>().map_err(|_| "it is UTF-16 with half a character at its end")?;
    String::from_utf16(&units).map_err(|_| "it begins as UTF-16, but holds half of a surrogate pair".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_text() {
        assert_eq!(decode(b"\xef\xbb\xbfHello".to_vec()).unwrap(), "Hello");
        assert_eq!(decode("Hello \u{feff}there".into()).unwrap(), "Hello \u{feff}there");
        assert_eq!(decode(Vec::new()).unwrap(), "");
    }

    #[test]
    fn utf_16_is_read_by_its_byte_order_mark_and_called_by_its_name_without_one() {
        assert_eq!(decode(b"\xff\xfeH\0i\0".to_vec()).unwrap(), "Hi");
        assert_eq!(decode(b"\xfe\xff\0H\0i".to_vec()).unwrap(), "Hi");
        for bytes in [&b"H\0i\0"[..], b"\xff\xfeH", b"\xff\xfe\0\xd8H\0"] {
            assert!(decode(bytes.to_vec()).unwrap_err().contains("UTF-16"), "{bytes:?}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_named_by_their_place() {
        assert!(decode(b"caf\xe9".to_vec()).unwrap_err().contains("byte 4"));
    }
}
