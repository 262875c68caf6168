//! Help, wrong commands, and who gets which exit status.

use crate::support::{command, json, plain};

#[test]
fn help_names_every_verb_and_shows_examples() {
    let help = plain(&["--help"]);
    assert_eq!(help.status, 0);
    for word in [
        "serve",
        "run",
        "resume",
        "replay",
        "data",
        "model",
        "train",
        "generate",
        "score",
        "runs",
        "export",
        "--json",
        "Examples:",
    ] {
        assert!(help.stdout.contains(word), "{word} is not in\n{}", help.stdout);
    }
}

#[test]
fn every_verb_has_a_help_of_its_own() {
    let verbs: [&[&str]; 15] = [
        &["serve"],
        &["run"],
        &["resume"],
        &["replay"],
        &["data", "inspect"],
        &["data", "prepare"],
        &["model", "fetch"],
        &["model", "inspect"],
        &["model", "score"],
        &["model", "logits"],
        &["train"],
        &["generate"],
        &["score"],
        &["runs"],
        &["export"],
    ];
    for verb in verbs {
        let help = plain(&[verb, &["--help"]].concat());
        assert_eq!(help.status, 0, "{verb:?}");
        assert!(help.stdout.contains("Usage:"), "{verb:?}");
    }
}

#[test]
fn a_wrong_command_is_status_2_and_json_where_json_was_asked_for() {
    let wrong = json(&["model", "inspect"]);
    assert_eq!(wrong.status, 2);
    assert_eq!(wrong.json()["error"]["code"], "usage");
    assert!(wrong.json()["error"]["message"].as_str().unwrap().contains("PATH"));
    let wrong = json(&["data", "inspect", "x", "--turns", "third"]);
    assert_eq!((wrong.status, wrong.json()["error"]["code"].as_str()), (2, Some("usage")));
    let wrong = plain(&["frobnicate"]);
    assert_eq!((wrong.status, wrong.stdout.as_str()), (2, ""));
}

#[test]
fn an_error_for_people_says_what_to_do_on_stderr() {
    let failed = plain(&["model", "inspect", "nowhere/at-all"]);
    assert_eq!((failed.status, failed.stdout.as_str()), (1, ""));
    assert!(
        failed.stderr.starts_with("error: ") && failed.stderr.contains("model fetch nowhere/at-all"),
        "{}",
        failed.stderr
    );
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_makes_no_noise() {
    use std::process::Stdio;
    let mut child = command().arg("--help").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");

    let model = crate::support::tiny_llama();
    let mut child =
        command().args(["model", "inspect", &model]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn terminal_escape_sequences_are_escaped_in_answers_errors_and_notes() {
    let folder = crate::support::Folder::new();
    let file = folder.write("rows.jsonl", r#"{"response":"a\u001bc","generated":"b \u001b[31m c","\u001b":1}"#);
    let bad = folder.write("bad.jsonl", "{\"response\":\"a\",\"generated\":\"b\"}\n{\"\u{1b}[2J\n");
    for arguments in [
        &["score", &file][..],
        &["score", &bad],
        &["data", "inspect", "a\u{1b}]0;owned\u{7}.jsonl"],
        &["data", "inspect", "a\nerror: everything is fine"],
        &["generate", "--model", "\u{202e}x", "--prompt-file", &file],
        &["frobnicate\u{1b}[31m"],
        &["score", "--\u{1b}[31m"],
    ] {
        let ran = plain(arguments);
        for text in [&ran.stdout, &ran.stderr] {
            let raw = text.chars().find(|&c| (c.is_control() && c != '\n') || c == '\u{202e}');
            assert_eq!(raw, None, "{arguments:?}: {text:?}");
            assert!(!text.contains("\nerror: everything"), "{text:?}");
        }
    }
    assert!(plain(&["score", &file]).stdout.contains("b \\u{1b}[31m c"));
    let score = json(&["score", &file]);
    assert_eq!(score.status, 0);
}

#[test]
fn a_wrong_flag_is_answered_with_the_right_one() {
    for (arguments, right) in [
        (&["train", "--leraning-rate", "1"][..], "--learning-rate"),
        (&["generate", "--max-new-token", "1"], "--max-new-tokens"),
        (&["generat"], "generate"),
    ] {
        let wrong = plain(arguments);
        assert_eq!(wrong.status, 2);
        assert!(wrong.stderr.contains(right), "{}", wrong.stderr);
    }
}
