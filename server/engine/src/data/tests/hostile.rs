//! Files made to do harm, or broken on the way.

use super::*;

#[test]
fn gzip_is_known_by_its_bytes_and_a_cut_stream_is_an_error() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for number in 0..5000 {
        writeln!(encoder, "{{\"instruction\":\"a {number}\",\"response\":\"b\"}}").unwrap();
    }
    let bytes = encoder.finish().unwrap();
    let mut whole = tempfile::NamedTempFile::new().unwrap();
    whole.write_all(&bytes).unwrap();
    let prepared = prepare(whole.path(), None, &any()).unwrap();
    assert_eq!(prepared.pairs.len(), 5000);
    assert_eq!(prepared.sha256, crate::artifact::sha256(&bytes));

    for length in [5, bytes.len() / 2, bytes.len() - 3] {
        let mut cut = tempfile::NamedTempFile::new().unwrap();
        cut.write_all(&bytes[..length]).unwrap();
        let error = prepare(cut.path(), None, &any()).unwrap_err();
        assert_eq!(error.code(), spec::ErrorCode::MalformedFile);
        assert!(error.to_string().contains("ends before the stream"), "{length}: {error}");
        assert!(error.hint().contains("cut off"), "{length}: {error}");
    }
}

#[test]
fn a_gzip_bomb_and_an_endless_line_are_refused_without_being_held() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(b"{\"instruction\":\"a\",\"response\":\"b\"}\n").unwrap();
    for _ in 0..40 {
        encoder.write_all(&vec![b' '; 1 << 20]).unwrap();
    }
    let mut bomb = tempfile::NamedTempFile::new().unwrap();
    bomb.write_all(&encoder.finish().unwrap()).unwrap();
    let error = prepare(bomb.path(), None, &any()).unwrap_err();
    assert!(error.to_string().contains("16 MiB"), "{error}");

    let text = format!(
        "{{\"instruction\":\"a\",\"response\":\"b\"}}\n\"{}\"\n{{\"instruction\":\"c\",\"response\":\"d\"}}\n",
        "x".repeat(5 << 20)
    );
    let prepared = of(&text, &any());
    assert_eq!((prepared.pairs.len(), prepared.malformed_count, prepared.malformed[0].line), (2, 1, 2));
    assert!(prepared.malformed[0].problem.contains("longer than 4 MiB"));
}

#[test]
fn a_text_beyond_a_mebibyte_is_malformed() {
    let text = format!("{{\"instruction\":\"a\",\"response\":\"{}\"}}\n", "x".repeat((1 << 20) + 1));
    let prepared = of(&text, &any());
    assert_eq!((prepared.malformed_count, prepared.malformed[0].field.as_str()), (1, "response"));
}

#[test]
fn a_chain_of_two_hundred_thousand_messages_overflows_nothing() {
    let mut text = message("0", None, "prompter");
    for number in 1..200_000_u32 {
        let role = if number % 2 == 0 { "prompter" } else { "assistant" };
        text += &message(&number.to_string(), Some(&(number - 1).to_string()), role);
    }
    let prepared = of(&text, &any());
    assert_eq!((prepared.pairs.len(), prepared.first_turn_pairs), (100_000, 1));
}

#[test]
fn a_tree_nested_beyond_measure_is_malformed_and_the_next_is_kept() {
    let deep = format!(
        "{{\"message_tree_id\":\"t\",\"prompt\":{}{}}}\n",
        "{\"role\":\"prompter\",\"replies\":[".repeat(100_000),
        "]}".repeat(100_000)
    );
    let good = "{\"message_tree_id\":\"t\",\"prompt\":{\"message_id\":\"a\",\"role\":\"prompter\",\"text\":\"A\",\"labels\":{\"quality\":{\"value\":0.5}},\
                \"replies\":[{\"message_id\":\"b\",\"role\":\"assistant\",\"text\":\"B\",\"labels\":{\"quality\":{\"count\":1,\"value\":0.25}}},\
                {\"message_id\":\"c\",\"role\":\"assistant\",\"text\":3}]}}\n";
    let prepared = of(&(good.to_owned() + &deep + good), &any());
    assert_eq!(texts(&prepared), [("A", "B", 0), ("A", "B", 0)]);
    assert_eq!(prepared.pairs[0].quality, Some(0.75));
    assert_eq!(prepared.malformed_count, 3);
    assert_eq!(prepared.malformed[0].field, "prompt.replies[1].text");
    assert_eq!(prepared.malformed[1].field, "row");
}

#[test]
fn bytes_that_are_not_utf8_are_a_malformed_row() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"\xef\xbb\xbf{\"instruction\":\"a\",\"response\":\"b\"}\r\n{\"instruction\":\"\xff\"}\n").unwrap();
    let prepared = prepare(file.path(), None, &any()).unwrap();
    assert_eq!((prepared.pairs.len(), prepared.malformed_count), (1, 1));
    assert!(prepared.malformed[0].problem.contains("UTF-8"));
}

#[test]
fn a_file_of_no_known_form_is_refused_by_what_it_holds() {
    let error = |text: &str| prepare(file(text).path(), None, &any()).unwrap_err();
    let unknown = error("{\"text\": \"a\", \"source\": 1}\n").to_string();
    assert!(unknown.contains("fields: text, source"), "{unknown}");
    assert_eq!(error("PAR1....").code(), spec::ErrorCode::Unsupported);
    assert_eq!(error("").code(), spec::ErrorCode::Empty);
    assert_eq!(error("\n \n").code(), spec::ErrorCode::Empty);
    assert_eq!(error("[]").code(), spec::ErrorCode::Empty);
    assert_eq!(error("not json\n").code(), spec::ErrorCode::MalformedFile);
    let absent = prepare(Path::new("/nowhere/at/all"), None, &any()).unwrap_err();
    assert_eq!(absent.code(), spec::ErrorCode::NotFound);
    assert_eq!(prepare(&std::env::temp_dir(), None, &any()).unwrap_err().code(), spec::ErrorCode::MalformedFile);
}

#[test]
fn blank_lines_without_end_are_refused_after_the_first_thousands() {
    let text = format!("{{\"response\":\"a\"}}\n{}", "\n".repeat(11_000));
    let error = read_corpus(file(&text).path(), None).unwrap_err().to_string();
    assert!(error.contains("line 10002: more than 10000 blank lines"), "{error}");
    let some = "{\"response\":\"a\"}\n".to_owned() + &"\r\n".repeat(9_000) + "{\"response\":\"b\"}\n";
    assert_eq!(read_corpus(file(&some).path(), None).unwrap().rows[1].row, 9_002);
}

#[test]
fn a_file_that_is_not_rows_is_named_for_what_it_is() {
    let error = |bytes: &[u8]| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        prepare(file.path(), None, &any()).unwrap_err()
    };
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 1234\n";
    for (bytes, name, hint) in [
        (&pointer[..], "a Git LFS pointer", "git lfs pull"),
        (b"<!DOCTYPE html>\n<html><title>Sign in</title>", "an HTML page", "web page"),
        (b"\xfd7zXZ\0....", "an xz file", "xz -d"),
        (b"BZh91AY&SY", "a bzip2 file", "bunzip2"),
        (b"\x28\xb5\x2f\xfd....", "a zstd file", "zstd -d"),
        (b"PK\x03\x04....", "a zip archive", "unzip"),
        (b"PAR1....", "a Parquet file", "read_parquet"),
        (b"\x80\x04\x95....", "a pickle", "Convert"),
        (&gzip(&[&[b'a'; 257][..], b"ustar", &[0; 250]].concat()), "a tar archive", "tar -xf"),
        (&gzip(pointer), "a Git LFS pointer", "git lfs pull"),
        (b"instruction,output\n\"How, really?\",\"Well.\"\n", "a CSV table", "read_csv"),
        (b"id\ttext\n1\tA page.\n", "a CSV table", "read_csv"),
        (b"A page about tea.\n\nAnother, about milk.\n", "plain text", "{\"response\""),
        (b"\xff\xfe\0\0{\0\0\0", "UTF-32", "iconv"),
    ] {
        let error = error(bytes);
        assert!(error.to_string().contains(name), "{name}: {error}");
        assert!(error.hint().contains(hint), "{name}: {}", error.hint());
    }
    let latin = error(b"{\"instruction\":\"caf\xe9\",\"response\":\"b\"}\n").to_string();
    assert!(latin.contains("byte 20 (0xe9) is not UTF-8"), "{latin}");
}

#[test]
#[cfg(unix)]
fn a_pipe_is_read_and_special_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let text = "{\"instruction\":\"a\",\"response\":\"b\"}\n".repeat(20_000);
    let writer = std::thread::spawn({
        let (pipe, text) = (pipe.clone(), text.clone());
        move || std::fs::write(pipe, text).unwrap()
    });
    let prepared = prepare(&pipe, None, &any()).unwrap();
    writer.join().unwrap();
    assert_eq!((prepared.pairs.len(), prepared.sha256), (20_000, crate::artifact::sha256(text.as_bytes())));
    let refused = prepare(Path::new("/dev/null"), None, &any()).unwrap_err();
    assert!(refused.to_string().contains("not a regular file"), "{refused}");
}

/// One small file of each form.
const FORMS: [&str; 8] = [
    "{\"message_id\":\"a\",\"parent_id\":null,\"role\":\"prompter\",\"text\":\"A \\u00e9\",\"lang\":\"en\",\"labels\":{\"name\":[\"quality\"],\"value\":[0.5],\"count\":[3]}}\n\
     {\"message_id\":\"b\",\"parent_id\":\"a\",\"role\":\"assistant\",\"text\":\"B\",\"rank\":0,\"deleted\":false}\n",
    "{\"message_tree_id\":\"t\",\"prompt\":{\"message_id\":\"a\",\"role\":\"prompter\",\"text\":\"A\",\"replies\":\
     [{\"message_id\":\"b\",\"role\":\"assistant\",\"text\":\"B\",\"labels\":{\"quality\":{\"value\":1}},\"replies\":[]}]}}\n",
    "{\"conversations\":[\"A\",\"B\",\"C\"],\"source\":\"s\"}\n",
    "{\"instruction\":\"A\",\"response\":\"B\",\"turn\":0,\"quality\":1.5e0}\n",
    "[{\"instruction\":\"A\",\"input\":\"\",\"output\":\"B\"},\n{\"instruction\":\"C\",\"output\":\"D\"}]\n",
    "{\"response\":\"A\"}\n\n{\"response\":\"B\"}",
    "{\n  \"instruction\": \"A\",\n  \"response\": \"B\",\n  \"history\": [[\"C\", \"D\"]]\n}\n{\n  \"response\": NaN\n}\n",
    "{\"response\":\"A \\ud83d\",\"generated\":\"B\",\"lang\":\"en\",\"language\":\"English\",\"id\":7}\n",
];

#[test]
fn three_hundred_broken_files_of_each_form_give_rows_or_an_error() {
    let mut state = 7_u64;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mutant");
    for form in FORMS {
        for _ in 0..300 {
            let mut bytes = form.as_bytes().to_vec();
            for _ in 0..=draw(4) {
                if bytes.is_empty() {
                    break;
                }
                let place = draw(bytes.len());
                match draw(5) {
                    0 => bytes[place] = draw(256) as u8,
                    1 => drop(bytes.remove(place)),
                    2 => bytes.insert(place, b"{}[],:\"\\\n0n"[draw(11)]),
                    3 => bytes.truncate(place + 1),
                    _ => {
                        let other = draw(bytes.len());
                        bytes.swap(place, other);
                    }
                }
            }
            std::fs::write(&path, &bytes).unwrap();
            for format in [None, Some(Format::ALL[draw(5)])] {
                if let Ok(prepared) = prepare(&path, format, &any()) {
                    assert!(prepared.malformed_count <= prepared.rows + bytes.len() as u64);
                }
            }
            // Any outcome will do, as long as there is one.
            let _ = read_corpus(&path, None);
            let _ = read_pairs(&path);
            let _ = read_scored(&path);
        }
    }
}
