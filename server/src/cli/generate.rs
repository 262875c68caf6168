//! `generate`: instructions for a file of responses, or the continuation of one prompt.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args};
use engine::Stop;
use engine::data::Corpus;
use engine::generate::{GenerateEvent, GenerateRow, GeneratedRow};
use engine::lora::Adapter;
use engine::template::{EncodedPrompt, Template};
use serde_json::{Value, json};
use spec::{AppError, ErrorCode, GenerateConfig, GeneratedPair, RunEvent, TemplateConfig};

use super::files::read_text;
use super::flags::{DataFolderFlag, DeviceFlag, Generation, SettingFlags, model_path};
use super::model::encode_prompt;
use super::output::{Output, Text, excerpt, grouped};
use super::progress::Progress;
use super::{Result, data, interrupt, summary};
use crate::adapter;
use crate::work::generate::Job;
use crate::work::{self, ModelCache};

mod partial;

use partial::Partial;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true), after_help = "\
--pairs takes LIMA rows with exactly two turns, rows with \"response\" (and optionally \"instruction\" or \"reference\"), or
Alpaca-form JSON. With an adapter its own template is used; without one the base model gets the default template, as a
baseline. --prompt-file is continued as it is; special tokens in it are recognized.

With -o FILE each finished row is saved in FILE.partial at once. After Ctrl-C, SIGTERM, SIGHUP or a crash the same command
resumes, and the complete FILE is the same as without the interruption. A stop also leaves the finished rows in FILE, if
there was no FILE before.

token_ids include the stop token if one was generated; \"ended\" says whether one was.

Examples:
  backtranslate generate --model model/ --prompt-file prompt.txt --greedy --max-new-tokens 32
  backtranslate generate --model model/ --adapter trained/adapter --pairs lima.jsonl --limit 20 -o written.jsonl")]
pub struct Generate {
    /// A model folder, a GGUF file, or the id of a fetched model
    #[arg(long, value_name = "PATH")]
    model: String,
    /// An adapter folder that training wrote; it knows its template
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Responses to write an instruction for
    #[arg(long, value_name = "FILE", group = "what")]
    pairs: Option<PathBuf>,
    /// A prompt to continue
    #[arg(long, value_name = "FILE", group = "what")]
    prompt_file: Option<PathBuf>,
    /// Also write the pairs, scored, to this file as JSONL; an interrupted job is resumed
    #[arg(short, long, value_name = "FILE", requires = "pairs")]
    output: Option<PathBuf>,
    /// Discard the finished rows of an interrupted job, and start again
    #[arg(long, requires = "output")]
    overwrite: bool,
    /// Greedy decoding: temperature 0
    #[arg(long, conflicts_with = "temperature")]
    greedy: bool,
    #[command(flatten)]
    settings: SettingFlags<Generation>,
    /// Maximum sequence length in tokens, prompt and instruction together, for --pairs [default: as in training]
    #[arg(long, alias = "max-length", value_name = "N")]
    max_seq_length: Option<u32>,
    #[command(flatten)]
    device: DeviceFlag,
    #[command(flatten)]
    folder: DataFolderFlag,
}

/// What to generate from, read before the model is loaded: a wrong path is refused at once.
enum Input {
    Corpus(Corpus, Option<Box<Partial>>),
    Prompt(String),
}

impl Generate {
    pub fn run(&self, output: &Output) -> Result<ExitCode> {
        let config = self.config()?;
        let input = self.input(&config)?;
        let path = model_path(&self.model, &self.folder.data)?;
        let mut models = ModelCache::new(&self.device.device);
        let mut progress = Progress::new();
        let base = models.model(&path, &mut |event| progress.event(&event))?;
        let lora =
            self.adapter.as_ref().map(|folder| Adapter::load(folder, base)).transpose().map_err(adapter::error)?;
        let text = match &lora {
            Some(lora) => lora.template.clone(),
            None => TemplateConfig::default(),
        };
        let template = Template::new(text, &base.tokenizer).map_err(adapter::error)?;
        if let Some(lora) = &lora {
            lora.check(base, &template).map_err(adapter::error)?;
        }
        let max_length = match (self.max_seq_length, &lora) {
            (Some(length), _) => length,
            (None, Some(lora)) => lora.max_seq_length,
            (None, None) => spec::TrainConfig::default().max_seq_length,
        };
        let job = Job { base, lora: lora.as_ref(), template: &template, max_length, config: &config };
        match input {
            Input::Corpus(corpus, partial) => {
                self.write_pairs(&job, &corpus, partial.map(|partial| *partial), progress, output)
            }
            Input::Prompt(prompt) => self.continue_prompt(&job, &prompt, progress, output),
        }
    }

    fn config(&self) -> Result<GenerateConfig> {
        let mut config = GenerateConfig::default();
        self.settings.apply(&mut config)?;
        if self.greedy {
            config.temperature = 0.0;
        }
        Ok(config)
    }

    fn input(&self, config: &GenerateConfig) -> Result<Input> {
        match (&self.pairs, &self.prompt_file) {
            (Some(file), _) => {
                let partial = self.output.as_deref().map(Partial::open).transpose()?;
                Ok(Input::Corpus(work::generate::corpus(file, config.limit)?, partial.map(Box::new)))
            }
            (None, Some(file)) => Ok(Input::Prompt(read_text(file)?)),
            (None, None) => Err(adapter::invalid("--pairs", "missing", "given, or --prompt-file")),
        }
    }

    /// One prompt as it is, stopped by EOS.
    fn continue_prompt(
        &self,
        job: &Job<'_>,
        prompt: &str,
        mut progress: Progress,
        output: &Output,
    ) -> Result<ExitCode> {
        let ids = encode_prompt(job.base, prompt)?;
        let prompt_tokens = ids.len();
        let (context, max_new_tokens) = (job.base.config.max_position_embeddings, job.config.max_new_tokens);
        if prompt_tokens + max_new_tokens as usize > context {
            return Err(adapter::invalid(
                "--max-new-tokens",
                max_new_tokens,
                &format!(
                    "at most {} after this prompt of {prompt_tokens} tokens, since the context is {context}",
                    context.saturating_sub(prompt_tokens)
                ),
            ));
        }
        let rows = [GenerateRow { index: 0, prompt: EncodedPrompt { ids, response_tokens_cut: 0 } }];
        let mut finished: Option<GeneratedRow> = None;
        let mut tokens = 0;
        engine::generate::generate(
            job.base,
            job.lora,
            &rows,
            job.base.tokenizer.eos_ids(),
            job.config,
            &interrupt::control(),
            &mut |event| match event {
                GenerateEvent::Token { .. } => {
                    tokens += 1;
                    progress.count("generating", tokens, u64::from(max_new_tokens));
                }
                GenerateEvent::Row(row) => finished = Some(row),
            },
        )
        .map_err(adapter::error)?;
        drop(progress);
        let Some(row) = finished else {
            return Err(adapter::error(engine::Error::Empty("the model generated nothing".to_owned())));
        };
        let answer = json!({
            "model": self.model,
            "adapter": self.adapter,
            "rows": [{
                "index": 0,
                "prompt_tokens": prompt_tokens,
                "token_ids": with_stop(&row),
                "text": row.text,
                "ended": row.ended(),
            }],
        });
        output.answer(&answer, |text| text.block(&row.text))?;
        Ok(ExitCode::SUCCESS)
    }

    fn write_pairs(
        &self,
        job: &Job<'_>,
        corpus: &Corpus,
        mut partial: Option<Partial>,
        progress: Progress,
        output: &Output,
    ) -> Result<ExitCode> {
        let mut finished = Finished::default();
        if let Some(partial) = &mut partial {
            finished.rows = partial.begin(identity(job, corpus), self.overwrite)?;
            finished.rows.retain(|row| (row.index as usize) < corpus.rows.len());
        }
        if !finished.rows.is_empty() {
            progress.line(&format!("resuming: {} of {} rows are finished", finished.rows.len(), corpus.rows.len()));
        }
        let stopped = generate_rows(job, corpus, &mut finished, partial.as_mut(), progress)?;
        let Finished { rows, pairs } = finished;
        let saved_to = match partial {
            Some(partial) if stopped => Some(partial.stop(&pairs)?),
            Some(partial) => {
                partial.finish(&pairs)?;
                self.output.clone()
            }
            None => None,
        };
        let answer = Answer { command: self, job, corpus, pairs: &pairs, rows: &rows, stopped, saved_to };
        if stopped {
            output.stopped(answer.json(), &answer.stop_error(), |text| answer.text(text))?;
            return Ok(ExitCode::FAILURE);
        }
        output.answer(&answer.json(), |text| answer.text(text))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What the model wrote, and the pairs made of it; in the order of the corpus at the end.
#[derive(Default)]
struct Finished {
    rows: Vec<GeneratedRow>,
    pairs: Vec<GeneratedPair>,
}

/// Generates for the rows that are not finished yet, each saved at once; true if it was stopped before the last.
fn generate_rows(
    job: &Job<'_>,
    corpus: &Corpus,
    finished: &mut Finished,
    mut partial: Option<&mut Partial>,
    mut progress: Progress,
) -> Result<bool> {
    let Finished { rows, pairs } = finished;
    let control = interrupt::control();
    for row in rows.iter() {
        pairs.push(work::generate::scored(row, &corpus.rows[row.index as usize], job, &control)?);
    }
    let mut failed_save = None;
    let outcome = work::generate::run(
        job,
        &corpus.rows,
        pairs,
        &mut |row| {
            rows.push(row.clone());
            if let Some(Err(error)) = partial.as_mut().map(|partial| partial.push(row)) {
                // Rows that cannot be saved are not worth the time that they take.
                failed_save.get_or_insert(error);
                control.stop(Stop::Save);
            }
        },
        &control,
        &mut |event: RunEvent| progress.event(&event),
    );
    let outcome = outcome.and_then(|_| {
        work::generate::evaluate(job, &corpus.rows, pairs, &control, &mut |event: RunEvent| progress.event(&event))
    });
    rows.sort_by_key(|row| row.index);
    pairs.sort_by_key(|pair| pair.index);
    match (failed_save, outcome) {
        (Some(error), _) => Err(error),
        (None, Ok(_)) => Ok(false),
        (None, Err(error)) if error.code == ErrorCode::Stopped => Ok(true),
        (None, Err(error)) => Err(error),
    }
}

/// What makes the rows of two commands the same. The batch size and the device are no part of it.
fn identity(job: &Job<'_>, corpus: &Corpus) -> Value {
    let mut settings = json!(job.config);
    if let Value::Object(settings) = &mut settings {
        // What does not change the rows; a single candidate needs no rank.
        settings.retain(|name, _| !matches!(name.as_str(), "file" | "batch_size" | "evaluated_pairs"));
        if job.config.candidates == 1 {
            settings.retain(|name, _| !matches!(name.as_str(), "candidates" | "rank_by"));
        }
    }
    json!({
        "base_model_sha256": job.base.sha256,
        "tokenizer_sha256": job.base.tokenizer.sha256(),
        "adapter_sha256": job.lora.map(|lora| &lora.sha256),
        "template_sha256": job.template.sha256(),
        "corpus_sha256": corpus.sha256,
        "max_length": job.max_length,
        "settings": settings,
    })
}

/// What is printed at the end, or at a stop.
struct Answer<'a> {
    command: &'a Generate,
    job: &'a Job<'a>,
    corpus: &'a Corpus,
    pairs: &'a [GeneratedPair],
    rows: &'a [GeneratedRow],
    stopped: bool,
    saved_to: Option<PathBuf>,
}

impl Answer<'_> {
    fn json(&self) -> Value {
        let rows = self.pairs.iter().zip(self.rows).map(|(pair, row)| {
            json!({
                "index": pair.index,
                "row": pair.row,
                "source_id": pair.source_id,
                "url": pair.url,
                "token_ids": with_stop(row),
                "text": row.text,
                "generated": pair.generated,
                "ended": pair.ended,
                "response_tokens_cut": pair.response_tokens_cut,
                "response": pair.response,
                "reference": pair.reference,
                "scores": pair.scores,
                "candidates": pair.candidates,
                "baseline": pair.baseline,
                "likelihood": pair.likelihood,
            })
        });
        let dropped_rows = self.corpus.dropped_rows.iter().map(|row| json!({ "row": row.row, "reason": row.reason }));
        json!({
            "model": self.command.model,
            "adapter": self.command.adapter,
            "template_sha256": self.job.template.sha256(),
            "corpus": {
                "file": self.command.pairs,
                "sha256": self.corpus.sha256,
                "rows_read": self.corpus.rows_read,
                "responses": self.corpus.rows.len(),
                "dropped": self.corpus.dropped,
                "dropped_rows": dropped_rows.collect::<Vec<_>>(),
                "malformed_count": self.corpus.malformed_count,
                "malformed": self.corpus.malformed,
            },
            "state": if self.stopped { "stopped" } else { "done" },
            "output": self.saved_to,
            "scores": summary::json(&work::generate::summary(self.pairs)),
            "rows": rows.collect::<Vec<_>>(),
        })
    }

    fn text(&self, text: &mut Text) {
        for pair in self.pairs {
            text.line(format_args!("{:>4}  {}", pair.index, excerpt(&pair.generated, 150)));
        }
        text.line("");
        if !self.pairs.is_empty() {
            summary::print(text, &work::generate::summary(self.pairs));
        }
        data::left_out(text, &self.corpus.dropped, self.corpus.malformed_count, &self.corpus.malformed);
        if let Some(file) = &self.saved_to {
            text.field("written to", file.display());
        }
    }

    fn stop_error(&self) -> AppError {
        let (done, all) = (self.pairs.len() as u64, self.corpus.rows.len() as u64);
        AppError::stopped(
            format!("generation was stopped after {} of {} rows", grouped(done), grouped(all)),
            match &self.saved_to {
                Some(file) => format!("The finished rows are in {}. The same command resumes.", file.display()),
                None => "With -o FILE an interrupted job can be resumed.".to_owned(),
            },
        )
    }
}

fn with_stop(row: &GeneratedRow) -> Vec<u32> {
    row.ids.iter().copied().chain(row.stopped_by).collect()
}
