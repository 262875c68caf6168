//! A vocabulary's entries as a person may read them: byte-level alphabets turned back, word marks shown as spaces.

/// The text of one entry; bytes that are no whole character show as U+FFFD.
pub fn text(token: &str, byte_level: bool) -> String {
    if byte_level {
        let bytes: Option<Vec<u8>> = token.chars().map(byte_of).collect();
        return bytes.map_or_else(|| token.to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned());
    }
    match fallback_byte(token) {
        Some(byte) => String::from_utf8_lossy(&[byte]).into_owned(),
        None => token.replace('▁', " "),
    }
}

/// `<0x0A>` stands for a byte.
fn fallback_byte(token: &str) -> Option<u8> {
    let hexadecimal = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if hexadecimal.len() == 2 { u8::from_str_radix(hexadecimal, 16).ok() } else { None }
}

/// GPT-2's alphabet: printable Latin-1 stands for itself, the 68 other bytes for the characters from U+0100 on.
fn byte_of(letter: char) -> Option<u8> {
    match letter {
        '!'..='~' | '¡'..='¬' | '®'..='ÿ' => Some(letter as u8),
        '\u{100}'..='\u{120}' => Some((letter as u32 - 0x100) as u8),
        '\u{121}'..='\u{142}' => Some((letter as u32 - 0x121 + 0x7f) as u8),
        '\u{143}' => Some(0xad),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_has_every_byte_once() {
        let mut bytes: Vec<u8> = (0..0x200).filter_map(char::from_u32).filter_map(byte_of).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
    }

    #[test]
    fn entries_are_readable() {
        assert_eq!(text("ĠFrance", true), " France");
        assert_eq!(text("Ċ", true), "\n");
        assert_eq!(text("Ã©", true), "é");
        assert_eq!(text("Ã", true), "\u{fffd}");
        assert_eq!(text("▁France", false), " France");
        assert_eq!(text("<0x0A>", false), "\n");
        assert_eq!(text("<0xE4>", false), "\u{fffd}");
        assert_eq!(text("<0xé>", false), "<0xé>");
    }
}
