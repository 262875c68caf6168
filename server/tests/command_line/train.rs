//! `train`, `run` and `resume` on a tiny model.

use serde_json::Value;

use crate::support::{Folder, json, pairs, tiny_llama};

fn train(folder: &Folder, data: &str, output: &str, more: &[&str]) -> crate::support::Ran {
    let model = tiny_llama();
    let fixed = [
        "train",
        "--model",
        &model,
        "--data",
        data,
        "-o",
        output,
        "--max-length",
        "256",
        "--batch-size",
        "2",
        "--checkpoint-every",
        "2",
        "--samples",
        "0",
        "--models-in",
        &folder.path("data"),
    ];
    json(&[&fixed[..], more].concat())
}

#[test]
fn an_adapter_is_all_that_generation_needs_and_it_is_bound_to_its_base() {
    let folder = Folder::new();
    let data = folder.write("pairs.jsonl", &pairs(12));
    let output = folder.path("trained");
    let trained = train(&folder, &data, &output, &["--max-steps", "4"]).ok();
    assert_eq!(trained["output"]["steps"], 4);
    assert_eq!(trained["steps"].as_array().unwrap().len(), 4);
    let adapter = trained["adapter"].as_str().unwrap();
    let responses = folder.write("responses.jsonl", "{\"response\": \"The number that follows is 4.\"}\n");
    let arguments =
        ["generate", "--model", &tiny_llama(), "--adapter", adapter, "--pairs", &responses, "--max-new-tokens", "8"];
    assert_eq!(json(&arguments).ok()["template_sha256"], trained["output"]["template_sha256"]);

    // A base model that differs in one weight.
    let other = folder.root().join("other");
    std::fs::create_dir(&other).unwrap();
    for entry in std::fs::read_dir(tiny_llama()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, other.join(path.file_name().unwrap())).unwrap();
    }
    let weights = other.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let other = other.to_str().unwrap();
    let arguments =
        ["generate", "--model", other, "--adapter", adapter, "--pairs", &responses, "--max-new-tokens", "8"];
    json(&arguments).error("template_lock");
}

#[test]
fn the_same_command_again_goes_on_exactly_where_it_was_stopped() {
    let folder = Folder::new();
    let data = folder.write("pairs.jsonl", &pairs(12));
    let losses = |ran: &Value| -> Vec<String> {
        ran["steps"].as_array().unwrap().iter().map(|step| format!("{} {}", step["step"], step["loss"])).collect()
    };
    let whole = train(&folder, &data, &folder.path("whole"), &["--max-steps", "6", "--dropout", "0.1"]).ok();
    // Cut off after its first checkpoint: what is later is taken away, as if it had never been.
    let cut = folder.path("cut");
    train(&folder, &data, &cut, &["--max-steps", "6", "--dropout", "0.1"]).ok();
    let checkpoints = folder.root().join("cut/checkpoints");
    for entry in std::fs::read_dir(&checkpoints).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with("step-00000002") {
            std::fs::remove_dir_all(path).unwrap();
        }
    }
    if !checkpoints.join("step-00000002").exists() {
        println!("skipped: only newer checkpoints are kept");
        return;
    }
    std::fs::remove_dir_all(folder.root().join("cut/adapter")).unwrap();
    let resumed = train(&folder, &data, &cut, &["--max-steps", "6", "--dropout", "0.1"]).ok();
    assert_eq!(losses(&resumed), losses(&whole)[2..]);
    assert_eq!(resumed["output"]["adapter_sha256"], whole["output"]["adapter_sha256"]);
}

#[test]
fn a_senseless_setting_is_refused_by_name_before_anything_is_loaded() {
    let folder = Folder::new();
    let data = folder.write("pairs.jsonl", &pairs(12));
    for (flag, value) in [("--rank", "0"), ("--learning-rate", "NaN"), ("--epochs", "0")] {
        let message = train(&folder, &data, &folder.path("out"), &[flag, value]).usage();
        assert!(message.contains(flag), "{message}");
    }
    assert!(!folder.root().join("out").exists());
}

fn experiment(folder: &Folder) -> String {
    folder.write("pairs.jsonl", &pairs(12));
    folder.write(
        "responses.jsonl",
        "{\"response\": \"The number is 4.\", \"instruction\": \"What follows 3?\"}\n{\"response\": \"Nine.\"}\n",
    );
    folder.write(
        "experiment.toml",
        &format!(
            "[experiment]\nname = \"Tiny\"\n[data]\nfile = \"pairs.jsonl\"\n[model]\nmodel = {:?}\n\
             [train]\nmax_length = 256\nmax_steps = 3\nbatch_size = 2\nsamples = 0\n\
             [generate]\nfile = \"responses.jsonl\"\nmax_new_tokens = 8\n[report]\ntitle = \"Tiny report\"\n",
            tiny_llama()
        ),
    )
}

#[test]
fn an_experiment_file_runs_to_a_report_that_hashes_to_what_it_says() {
    let folder = Folder::new();
    let file = experiment(&folder);
    let ran = json(&["run", &file, "--data", &folder.path("data")]).ok();
    let kinds: Vec<_> = ran["cells"].as_array().unwrap().iter().map(|cell| cell["state"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["done"; 6]);
    let text = std::fs::read_to_string(ran["report"].as_str().unwrap()).unwrap();
    let report: spec::Report = serde_json::from_str(&text).unwrap();
    assert_eq!((report.config.title.as_str(), report.pairs.len()), ("Tiny report", 2));
    let stored = serde_json::from_str(&text).unwrap();
    assert_eq!(server::work::report::report_sha256(stored), report.provenance.report_sha256);
    let run = ran["cells"][2]["run"].to_string();
    json(&["resume", &run, "--data", &folder.path("data")]).error("conflict");
    json(&["resume", "999", "--data", &folder.path("data")]).error("not_found");

    let generate = ran["cells"][3]["run"].to_string();
    let replayed = json(&["replay", &generate, "--data", &folder.path("data")]).ok();
    assert_eq!((&replayed["replayed"], &replayed["identical"]), (&2.into(), &2.into()), "{replayed}");
    let of_report = json(&["replay", &ran["cells"][5]["run"].to_string(), "--data", &folder.path("data")]).ok();
    assert_eq!(of_report, replayed, "a report leads to the run that it was made of");
    let one = json(&["replay", &generate, "--rows", "2", "--data", &folder.path("data")]).ok();
    assert_eq!(one["replayed"], 1, "{one}");
    json(&["replay", &generate, "--rows", "7", "--data", &folder.path("data")]).error("not_found");
    json(&["replay", &run, "--data", &folder.path("data")]).error("not_found");
    // Where a text is another one, it is shown, and the exit status says so.
    let database = rusqlite::Connection::open(folder.root().join("data/backtranslate.sqlite")).unwrap();
    let change = "UPDATE pairs SET pair = json_set(pair, '$.generated', 'Another text') WHERE run = ?1 AND row = 0";
    assert_eq!(database.execute(change, [&generate]).unwrap(), 1);
    drop(database);
    let differs = crate::support::plain(&["replay", &generate, "--data", &folder.path("data")]);
    assert!(differs.status == 1 && differs.stdout.contains("1 of 2 pairs came out identical"), "{}", differs.stdout);
    assert!(differs.stdout.contains("Another text"), "{}", differs.stdout);
}

#[test]
fn runs_of_the_service_are_computed_by_a_thread_of_rayons_pool() {
    let folder = Folder::new();
    let file = experiment(&folder);
    let mut command = crate::support::command();
    command.env("RUST_LOG", "info").env("NO_COLOR", "1");
    let output = command.args(["--json", "run", &file, "--data", &folder.path("data")]).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    let begun: Vec<&str> = log.lines().filter(|line| line.contains("run begins")).collect();
    assert!(begun.len() == 6 && begun.iter().all(|line| line.contains("in_pool=true")), "{log}");
    assert!(!log.contains("not in rayon's pool"), "{log}");
}

#[test]
fn an_experiment_file_that_says_nonsense_is_refused_with_its_place() {
    let folder = Folder::new();
    let file = folder.write("x.toml", "[train]\nlearning_rte = 1\n");
    let error = json(&["run", &file, "--data", &folder.path("data")]).error("malformed_file");
    assert!(error["message"].as_str().unwrap().contains("line 2"), "{error}");
    let file = folder.write("y.toml", "[data]\nfile = \"nowhere.jsonl\"\n");
    let error = json(&["run", &file, "--data", &folder.path("data")]).error("invalid_setting");
    assert!(error["message"].as_str().unwrap().contains("data.file"), "{error}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_resume_finishes() {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;
    let folder = Folder::new();
    let file = experiment(&folder);
    let text = std::fs::read_to_string(&file).unwrap().replace("max_steps = 3", "epochs = 100");
    std::fs::write(&file, text).unwrap();
    let mut child = crate::support::command()
        .args(["--json", "run", &file, "--data", &folder.path("data")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let started = lines.by_ref().any(|line| line.unwrap().contains("step 1/"));
    assert!(started, "training never began");
    crate::support::signal(&child, "INT");
    // Keep reading, so that the program never waits for its reader.
    let rest = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
    let output = child.wait_with_output().unwrap();
    let stderr = rest.join().unwrap().join("\n");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}\n{stderr}"));
    assert_eq!(
        (output.status.code(), answer["error"]["code"].as_str()),
        (Some(1), Some("stopped")),
        "{answer}\n{stderr}"
    );
    let hint = answer["error"]["hint"].as_str().unwrap();
    let run = hint.split("backtranslate resume ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();

    // Training resumes, and the cells after it follow.
    let resumed = json(&["resume", run, "--data", &folder.path("data")]);
    let answer = resumed.ok();
    assert!(answer["cells"].as_array().unwrap().iter().all(|cell| cell["state"] == "done"), "{answer}");
    assert_eq!(answer["cells"][2]["run"].to_string(), run);
    assert!(std::fs::exists(answer["report"].as_str().unwrap()).unwrap());
    assert!(resumed.stderr.contains("resuming after step"), "{}", resumed.stderr);
}

#[test]
fn a_resume_with_another_learning_rate_names_both_rates() {
    let folder = Folder::new();
    let data = folder.write("pairs.jsonl", &pairs(12));
    let output = folder.path("trained");
    train(&folder, &data, &output, &["--max-steps", "2"]).ok();
    std::fs::remove_dir_all(folder.root().join("trained/adapter")).unwrap();
    let error = train(&folder, &data, &output, &["--max-steps", "2", "--learning-rate", "5e-4", "--rank", "8"]);
    let error = error.error("conflict");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("learning_rate was 0.001 and is 0.0005"), "{message}");
    assert!(message.contains("rank was 16 and is 8") && message.contains("step-00000002"), "{message}");
}

/// A terminal that was closed: its SIGHUP saves, and `nohup` keeps it from doing anything.
#[cfg(unix)]
#[test]
fn a_closed_terminal_saves_unless_nohup_asks_to_go_on() {
    let folder = Folder::new();
    let data = folder.write("pairs.jsonl", &pairs(12));
    let start = |program: &mut std::process::Command, output: &str, steps: &str| {
        program.args([
            "--json",
            "train",
            "--model",
            &tiny_llama(),
            "--data",
            &data,
            "-o",
            output,
            "--max-steps",
            steps,
        ]);
        program.args(["--epochs", "1000", "--max-length", "256", "--batch-size", "2", "--checkpoint-every", "none"]);
        program.args(["--samples", "0", "--models-in", &folder.path("data")]);
        let stderr = std::fs::File::create(format!("{output}.log")).unwrap();
        program.stdout(std::process::Stdio::piped()).stderr(stderr).spawn().unwrap()
    };
    let after_first_step = |child: &mut std::process::Child, output: &str| {
        while !std::fs::read_to_string(format!("{output}.log")).unwrap().contains("step 1/") {
            assert!(child.try_wait().unwrap().is_none(), "training never began");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        crate::support::signal(child, "HUP");
    };
    let answer = |child: std::process::Child| -> Value {
        serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap()
    };
    if crate::support::ignores_hangup() {
        return;
    }
    let output = folder.path("closed");
    let mut child = start(&mut crate::support::command(), &output, "100000");
    after_first_step(&mut child, &output);
    let error = answer(child)["error"].clone();
    assert_eq!(error["code"], "stopped");
    let step = error["message"].as_str().unwrap().split("after step ").nth(1).unwrap();
    let step: u32 = step.split(';').next().unwrap().parse().unwrap();
    assert!(folder.root().join(format!("closed/checkpoints/step-{step:08}")).is_dir(), "{error}");

    let output = folder.path("nohup");
    let mut nohup = std::process::Command::new("nohup");
    nohup.arg(env!("CARGO_BIN_EXE_backtranslate"));
    let mut child = start(&mut nohup, &output, "60");
    after_first_step(&mut child, &output);
    assert_eq!(answer(child)["output"]["steps"], 60);
}
