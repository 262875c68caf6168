//! Limits of the system under which a run cannot be stored.
#![cfg(unix)]

use std::process::Command;

use crate::support::{Folder, finish, json, pairs, tiny_llama};

/// In blocks of 512 bytes: the database fits when it is new, but not with the log of a training.
const FILE_SIZE_LIMIT: u32 = 600;

#[test]
fn a_limit_on_file_sizes_fails_the_run_with_a_reason_and_later_it_resumes() {
    let folder = Folder::new();
    let pairs = folder.write("pairs.jsonl", &pairs(60));
    let model = tiny_llama();
    let settings =
        "max_steps = 900\nepochs = 200\ncheckpoint_every = 50\nsamples = 0\nbatch_size = 1\naccumulation = 1";
    let experiment = folder.write(
        "experiment.toml",
        &format!(
            "[experiment]\nname = \"Long\"\n[data]\nfile = {pairs:?}\nlanguage = \"\"\n[model]\nmodel = {model:?}\n[train]\n{settings}\n\
             [generate]\nlimit = 1\nmax_new_tokens = 4\n"
        ),
    );
    let data = folder.path("data");
    let limited = format!("ulimit -f {FILE_SIZE_LIMIT}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &limited, env!("CARGO_BIN_EXE_backtranslate")]);
    let ran = finish(command.args(["--json", "run", &experiment, "--data", &data]).output().unwrap());
    let error = ran.error("io");
    assert!(error["message"].as_str().unwrap().contains("train (run 3)"), "{error}");

    json(&["resume", "3", "--data", &data]).ok();
}
