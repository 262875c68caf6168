//! Executors without an engine, and outputs that look like an engine's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use server::jobs::MakeExecutor;
use server::work::{Ended, RunContext};
use spec::*;

pub type Emit<'a> = &'a mut dyn FnMut(RunEvent);
pub type Work = Arc<dyn Fn(&RunContext, Emit<'_>) -> Result<Ended, AppError> + Send + Sync>;

pub fn executor(work: Work) -> MakeExecutor {
    Box::new(move || {
        let work = Arc::clone(&work);
        Box::new(move |assignment, emit| work(assignment, emit))
    })
}

/// Finishes every run at once.
pub fn obedient() -> Work {
    Arc::new(|assignment, emit| Ok(finish(assignment, emit)))
}

/// Opened once by the test; work waits at it, and goes on early when it is told to stop.
#[derive(Clone, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    pub fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// False where the run was told to stop first.
    pub fn wait(&self, assignment: &RunContext) -> bool {
        while !self.0.load(Ordering::SeqCst) {
            if assignment.control.asked().is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }
}

/// Runs of this kind wait at the gate; others finish at once.
pub fn gated(kind: CellKind, gate: &Gate) -> Work {
    let gate = gate.clone();
    Arc::new(move |assignment, emit| {
        if assignment.config.kind() == kind && !gate.wait(assignment) {
            return Ok(Ended::Stopped);
        }
        Ok(finish(assignment, emit))
    })
}

pub fn finish(assignment: &RunContext, emit: Emit<'_>) -> Ended {
    let kind = assignment.config.kind();
    emit(RunEvent::Phase { text: format!("working on the {} cell", kind.as_str()) });
    if kind == CellKind::Generate {
        let done: Vec<u32> = assignment.done_pairs.iter().map(|pair| pair.index).collect();
        for index in (0..PAIRS).filter(|index| !done.contains(index)) {
            emit(RunEvent::Pair { pair: pair(index) });
        }
    }
    if kind == CellKind::Report {
        std::fs::write(assignment.folder.join("report.json"), report(assignment).to_string()).unwrap();
    }
    Ended::Done(output(kind))
}

pub const PAIRS: u32 = 7;

fn candidates() -> Vec<Candidate> {
    let candidate = |text: &str, rank_score| Candidate { text: text.to_owned(), rank_score, ..Candidate::default() };
    vec![candidate("Write text 4", 0.5), candidate("Write another text 4", 0.25)]
}

/// The tags, figures and texts differ from pair to pair.
pub fn pair(index: u32) -> GeneratedPair {
    let tags = if index.is_multiple_of(2) { vec![] } else { vec![Tag::Echo, Tag::NoEnd] };
    GeneratedPair {
        index,
        response: format!("Response number {index} about Ärger."),
        reference: (index < 3).then(|| format!("Reference {index}")),
        generated: format!("Write text {index}"),
        tokens: 4,
        ended: tags.is_empty(),
        row: Some(u64::from(index) + 1),
        scores: PairScores {
            words: 10 - index,
            rouge_l: (index < 3).then(|| f64::from(index) / 10.0),
            copied_run: index,
            coverage: 0.5,
            density: 1.0,
            tags,
        },
        // One pair has what the base model and further candidates add.
        baseline: (index == 4).then(|| "What the base model wrote".to_owned()),
        likelihood: (index == 4).then(|| {
            let beside = |generated| PerText { generated, reference: Some(0.5), ..PerText::default() };
            Box::new(PairLikelihood {
                cycle: beside(0.25),
                pmi: beside(0.75),
                rank: beside(1.0),
                ranked: 7,
                grade: beside(3.0),
            })
        }),
        candidates: if index == 4 { candidates() } else { Vec::new() },
        ..GeneratedPair::default()
    }
}

pub fn step(step: u32) -> RunEvent {
    RunEvent::Step {
        step: StepPoint {
            step,
            steps: 1_000,
            epoch: 0.1,
            loss: 2.0,
            learning_rate: 1e-3,
            gradient_norm: 1.0,
            supervised_tokens: 10,
            tokens: 10,
            tokens_per_s: 100.0,
            elapsed_s: 1.0,
            eta_s: 1.0,
        },
    }
}

pub fn output(kind: CellKind) -> CellOutput {
    serde_json::from_value(match kind {
        CellKind::Data => json!({
            "type": "data", "format": "pairs", "rows": 10, "pairs": 10, "first_turn_pairs": 10, "train_pairs": 9,
            "validation_pairs": 1, "train_trees": 9, "validation_trees": 1, "dropped": [], "malformed_count": 0, "malformed": [],
            "instruction_lengths": [], "response_lengths": [], "examples": [], "sha256": "d"
        }),
        CellKind::Model => json!({
            "type": "model", "id": "tiny", "architecture": "LlamaForCausalLM", "parameters": 1, "hidden_size": 1, "layers": 1,
            "heads": 1, "kv_heads": 1, "ffn_size": 1, "vocabulary": 1, "context": 1, "tied_head": true, "stored_as": "F32",
            "size_bytes": 1, "sha256": "m", "tokenizer_sha256": "t"
        }),
        CellKind::Train => json!({
            "type": "train", "steps": 3, "loss": 1.0, "validation_loss_before": 2.0, "validation_loss": 1.5, "trainable": 1,
            "trainable_percent": 0.1, "tokens": 1, "seconds": 1.0, "tokens_per_s": 1.0, "peak_memory_bytes": 1,
            "adapter_sha256": "a", "template_sha256": "x"
        }),
        CellKind::Generate => json!({
            "type": "generate", "pairs": PAIRS, "seconds": 1.0, "tokens": 10,
            "scores": serde_json::to_value(ScoreSummary::default()).unwrap()
        }),
        CellKind::Curate => json!({
            "type": "curate", "counts": { "pairs": PAIRS, "keep": 0, "drop": 0, "edited": 0 }, "kept": PAIRS,
            "dropped_by_settings": 0, "curation_sha256": "", "pairs_sha256": ""
        }),
        CellKind::Report | CellKind::Note => json!({ "type": "report", "title": "A report", "pairs": PAIRS }),
    })
    .expect("outputs as the wire has them")
}

fn report(assignment: &RunContext) -> serde_json::Value {
    let output = |kind: CellKind| serde_json::to_value(output(kind)).unwrap();
    let pairs: Vec<GeneratedPair> = assignment.inputs.iter().flat_map(|input| input.pairs.clone()).collect();
    json!({
        "created_ms": 1, "experiment": assignment.experiment, "config": ReportConfig::default(),
        "data": output(CellKind::Data), "data_config": DataConfig::default(), "model": output(CellKind::Model),
        "train": output(CellKind::Train), "train_config": TrainConfig::default(), "integrity": TargetIntegrity::default(),
        "evaluations": [], "generate_config": GenerateConfig::default(), "scores": ScoreSummary::default(),
        "pairs": pairs,
        "provenance": {
            "version": "0", "device": "flex", "data_sha256": "", "model_sha256": "", "tokenizer_sha256": "", "template_sha256": "",
            "adapter_sha256": "", "corpus_sha256": "", "report_sha256": ""
        }
    })
}
