//! What is measured: for each row our command, the peers' on the same work, and the figure that the row is held to.

use super::Setting;

pub struct Row {
    pub name: &'static str,
    pub about: &'static str,
    /// Pointer into our measurement, without its first slash.
    pub figure: &'static str,
    pub ours: fn(&Setting) -> Vec<String>,
    pub peer_figure: &'static str,
    pub peers: &'static [Peer],
    /// At least so many times the best peer; without peers, so much.
    pub least: Option<f64>,
    /// `least` is an upper bound.
    pub lower: bool,
    /// Not a matter of time: once is enough.
    pub once: bool,
}

pub struct Peer {
    pub name: &'static str,
    pub script: &'static str,
    pub arguments: fn(&Setting) -> Vec<String>,
}

const PEFT: Peer =
    Peer { name: "PyTorch+PEFT", script: "train_peft.py", arguments: |_| words("--batch 4 --seq 512 --steps 4") };
const PEFT_COMPILED: Peer = Peer {
    name: "PyTorch+PEFT compiled",
    script: "train_peft.py",
    arguments: |_| words("--batch 4 --seq 512 --steps 4 --compile"),
};
const PEFT_PAIRS: Peer = Peer {
    name: "PyTorch+PEFT padded",
    script: "train_peft.py",
    arguments: |setting| [vec!["--pairs".to_owned(), pairs(setting)], words("--limit 32 --seq 512")].concat(),
};
const LLAMA_F16: Peer = Peer {
    name: "llama.cpp F16",
    script: "generate_llamacpp.py",
    arguments: |setting| [vec![lima(setting)], words("--format F16")].concat(),
};
const LLAMA_Q8: Peer = Peer {
    name: "llama.cpp Q8_0",
    script: "generate_llamacpp.py",
    arguments: |setting| [vec![lima(setting)], words("--format Q8_0")].concat(),
};
/// Its whole time less its prompts' is 4 x 63 tokens: the first of each row is drawn from the prompt.
const LLAMA_Q8_ALONE: Peer = Peer {
    name: "llama.cpp Q8_0",
    script: "generate_llamacpp.py",
    arguments: |setting| [vec![lima(setting)], words("--format Q8_0 --parallel 1 --n 4 --new 64")].concat(),
};

const ROW: Row = Row {
    name: "",
    about: "",
    figure: "tokens_per_s",
    ours: |_| Vec::new(),
    peer_figure: "tokens_per_s",
    peers: &[],
    least: None,
    lower: false,
    once: false,
};

pub const ROWS: &[Row] = &[
    Row {
        name: "train-all",
        about: "Training, batch 4 x 512, loss at all positions",
        ours: |setting| ours(setting, "train --batch 4 --seq 512 --steps 4"),
        peers: &[PEFT, PEFT_COMPILED],
        least: Some(1.6),
        ..ROW
    },
    Row {
        name: "train-last64",
        about: "The same with loss on the last 64 positions; the peer computes all logits, as it does",
        ours: |setting| ours(setting, "train --batch 4 --seq 512 --steps 4 --loss last64"),
        peers: &[PEFT, PEFT_COMPILED],
        least: Some(2.0),
        ..ROW
    },
    Row {
        name: "pairs",
        about: "Training on real pairs, loss on the instruction, against the recipe: padded, loss on all but padding",
        ours: |setting| [ours(setting, "pairs --limit 32 --loss last64 --pairs"), vec![pairs(setting)]].concat(),
        peers: &[PEFT_PAIRS],
        least: Some(4.0),
        ..ROW
    },
    Row {
        name: "pairs-all",
        about: "The same with the recipe's loss on our side too",
        ours: |setting| [ours(setting, "pairs --limit 32 --pairs"), vec![pairs(setting)]].concat(),
        peers: &[PEFT_PAIRS],
        ..ROW
    },
    Row {
        name: "generate",
        about: "Instructions for 16 responses, 48 new tokens each, sampling, in int8",
        figure: "instructions_per_s",
        ours: |setting| {
            [ours(setting, "generate --n 16 --batch 16 --new 48 --int8 --rows"), vec![lima(setting)]].concat()
        },
        peer_figure: "instructions_per_s",
        peers: &[LLAMA_F16, LLAMA_Q8],
        least: Some(1.5),
        ..ROW
    },
    Row {
        name: "generate-f32",
        about: "The same in f32",
        figure: "instructions_per_s",
        ours: |setting| [ours(setting, "generate --n 16 --batch 16 --new 48 --rows"), vec![lima(setting)]].concat(),
        peer_figure: "instructions_per_s",
        peers: &[LLAMA_F16, LLAMA_Q8],
        ..ROW
    },
    Row {
        name: "decode",
        about: "One row at a time, in int8, new tokens a second without the prompts",
        figure: "decode_tokens_per_s",
        ours: |setting| {
            [ours(setting, "generate --n 4 --batch 1 --new 64 --int8 --rows"), vec![lima(setting)]].concat()
        },
        peer_figure: "decode_tokens_per_s",
        peers: &[LLAMA_Q8_ALONE],
        least: Some(0.8),
        ..ROW
    },
    Row {
        name: "decode-f32",
        about: "The same in f32",
        figure: "decode_tokens_per_s",
        ours: |setting| [ours(setting, "generate --n 4 --batch 1 --new 64 --rows"), vec![lima(setting)]].concat(),
        peer_figure: "decode_tokens_per_s",
        peers: &[LLAMA_Q8_ALONE],
        ..ROW
    },
    Row {
        name: "int8",
        about: "Mean negative log-likelihood of 40 responses in int8, nats",
        figure: "nll_int8",
        ours: |setting| [ours(setting, "int8 --rows"), vec![lima(setting)]].concat(),
        once: true,
        ..ROW
    },
    Row {
        name: "peak",
        about: "A training step's arithmetic as a fraction of the rate of large products, measured in the same process",
        figure: "fraction_of_peak",
        ours: |setting| ours(setting, "train --batch 4 --seq 512 --steps 4"),
        least: Some(0.65),
        ..ROW
    },
    Row {
        name: "memory",
        about: "TinyLlama's dimensions, random weights, batch 4 x 512, gradient checkpointing: peak memory beside the weights, MB",
        figure: "beside_weights_mb",
        ours: |setting| memory(setting, "--recompute"),
        least: Some(3000.0),
        lower: true,
        once: true,
        ..ROW
    },
    Row {
        name: "memory-kept",
        about: "The same with every layer's trace kept",
        figure: "beside_weights_mb",
        ours: |setting| memory(setting, ""),
        once: true,
        ..ROW
    },
    Row {
        name: "recompute",
        about: "Training, batch 4 x 512, loss at all positions, gradient checkpointing",
        ours: |setting| ours(setting, "train --batch 4 --seq 512 --steps 3 --recompute"),
        ..ROW
    },
    Row {
        name: "composed",
        about: "Training, batch 4 x 512, loss at all positions, without the fused kernels",
        ours: |setting| ours(setting, "train --batch 4 --seq 512 --steps 2 --device flex:composed"),
        once: true,
        ..ROW
    },
    Row { name: "batch-1", about: "Cost of more tokens: batch 1 x 512", ours: |setting| sweep(setting, 1, 512), ..ROW },
    Row { name: "batch-8", about: "Cost of more tokens: batch 8 x 512", ours: |setting| sweep(setting, 8, 512), ..ROW },
    Row { name: "length-128", about: "Cost of length: batch 16 x 128", ours: |setting| sweep(setting, 16, 128), ..ROW },
    Row {
        name: "length-2048",
        about: "Cost of length: batch 1 x 2048",
        ours: |setting| sweep(setting, 1, 2048),
        ..ROW
    },
    Row {
        name: "flat",
        // Pages come in twos of MB: 4 is a leak of 2 kB a step.
        about: "Resident memory from step 2000 to step 4000 of a small model, growth in MB",
        figure: "growth_mb",
        ours: |_| {
            let tiny = crate::workspace::root().join("server/engine/tests/fixtures/tiny-llama");
            [words("flat --model"), vec![tiny.display().to_string()]].concat()
        },
        least: Some(4.0),
        lower: true,
        once: true,
        ..ROW
    },
    Row {
        name: "operations",
        about: "Each operation of a training step alone",
        figure: "step_ms",
        ours: |setting| ours(setting, "operations"),
        once: true,
        ..ROW
    },
];

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Our arguments with the model; what stands last in `text` may take a value that follows.
fn ours(setting: &Setting, text: &str) -> Vec<String> {
    let mut words = words(text);
    let rest = words.split_off(1);
    [words, vec!["--model".to_owned(), setting.model.display().to_string()], rest].concat()
}

fn sweep(setting: &Setting, batch: usize, length: usize) -> Vec<String> {
    ours(setting, &format!("train --steps 2 --loss last64 --batch {batch} --seq {length}"))
}

fn memory(setting: &Setting, how: &str) -> Vec<String> {
    let tokenizer = crate::workspace::root().join("server/engine/tests/fixtures/tiny-llama");
    let folders = [
        "--folder".to_owned(),
        setting.scratch.display().to_string(),
        "--tokenizer".to_owned(),
        tokenizer.display().to_string(),
    ];
    [words("memory"), folders.to_vec(), words(how)].concat()
}

fn pairs(setting: &Setting) -> String {
    setting.shared.join("data/oasst1/oasst1_en_validation.rank0_pairs.jsonl").display().to_string()
}

fn lima(setting: &Setting) -> String {
    setting.shared.join("data/lima/lima_330.jsonl").display().to_string()
}
