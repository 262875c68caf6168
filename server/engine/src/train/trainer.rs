//! The training loop: for each step the micro-batches' gradients, normalised by the step's supervised tokens, then one
//! AdamW update, then whatever is due (validation, checkpoint, samples).

use std::time::Instant;

use burn::tensor::Tensor;
use sha2::{Digest, Sha256};

use super::batch::{Packed, Plan, Sequence, encode};
use super::checkpoint::{self, JobIdentity, State};
use super::optimizer::{AdamW, accumulate, global_norm};
use super::schedule::learning_rate;
use super::{Step, TrainConfig, TrainEvent, TrainJob, TrainOutcome};
use crate::control::{Control, Stop};
use crate::generate::{GenerateConfig, GenerateEvent, GenerateRow, generate_with};
use crate::lora::{Adapter, Lock, fresh, read_factors};
use crate::memory;
use crate::model::llama::{DropoutSeed, Gradients, LoraSet, Pass, Products};
use crate::model::ops::{Rope, Segments, attention, head_loss, target_log_probs};
use crate::random::{Purpose, derive};
use crate::{Error, Result, artifact};

/// New tokens of a sample: enough to see what it has learnt.
const SAMPLE_TOKENS: usize = 64;

pub(super) struct Trainer<'a> {
    job: &'a TrainJob<'a>,
    config: &'a TrainConfig,
    control: &'a Control,
    on_event: &'a mut dyn FnMut(TrainEvent),
    sequences: Vec<Sequence>,
    validation: Vec<Sequence>,
    plan: Plan,
    steps: u32,
    set: LoraSet,
    optimizer: AdamW,
    state: State,
    started: Instant,
    session: Session,
}

/// What this session has done, for speed and ETA.
#[derive(Default)]
struct Session {
    steps: u32,
    tokens: u64,
    /// Seconds in steps alone, without validation, checkpoints and samples.
    step_seconds: f64,
}

/// One optimizer step's sums.
struct StepSums {
    loss: f64,
    gradients: Gradients,
    tokens: u64,
    supervised: u64,
}

/// The sequences of a packed batch by layer: in the last one only what predicts a supervised token asks.
struct LayerSegments {
    all: Segments,
    last: Segments,
    layers: usize,
}

impl LayerSegments {
    fn of(&self, layer: usize) -> &Segments {
        if layer + 1 == self.layers { &self.last } else { &self.all }
    }
}

impl<'a> Trainer<'a> {
    pub(super) fn prepare(
        job: &'a TrainJob<'a>,
        control: &'a Control,
        on_event: &'a mut dyn FnMut(TrainEvent),
    ) -> Result<Self> {
        let (model, config) = (job.model, job.config);
        on_event(TrainEvent::Phase("encoding the pairs"));
        let (sequences, integrity) = encode(model, job.template, job.train, config)?;
        on_event(TrainEvent::Integrity(integrity));
        if sequences.is_empty() {
            return Err(Error::Empty(format!(
                "none of the {} training pairs is left to train on: no target fits into max_length {}",
                job.train.len(),
                config.max_length
            )));
        }
        let (validation, _) = encode(model, job.template, job.validation, config)?;
        let plan = Plan::new(sequences.len(), (config.batch_size, config.accumulation), config.seed);
        let all = plan.steps_per_epoch().saturating_mul(config.epochs);
        let steps = config.max_steps.map_or(all, |most| most.min(all));

        let identity = JobIdentity {
            lock: Lock::of(model, job.template),
            settings: serde_json::to_string(config).expect("plain data"),
            data_sha256: hash_of(&sequences, &validation),
        };
        let found = checkpoint::newest(job.folder, &identity, config, model)?;
        let (state, set, optimizer) = match found {
            Some(found) => {
                on_event(TrainEvent::Resumed { step: found.0.step });
                found
            }
            None => {
                let device = &model.llama.device;
                let set = match job.initial_factors {
                    Some(path) => LoraSet {
                        scale: config.lora.scale(),
                        factors: read_factors(path, &config.lora, &model.config, device)?,
                    },
                    None => fresh(&config.lora, &model.config, config.seed, device),
                };
                let optimizer = AdamW::new(&set, config.weight_decay);
                let state = State {
                    step: 0,
                    loss: 0.0,
                    validation_loss_before: None,
                    validation_loss: None,
                    evaluation_due: false,
                    job: identity,
                };
                (state, set, optimizer)
            }
        };
        Ok(Self {
            job,
            config,
            control,
            on_event,
            sequences,
            validation,
            plan,
            steps,
            set,
            optimizer,
            state,
            started: Instant::now(),
            session: Session::default(),
        })
    }

    pub(super) fn run(mut self) -> Result<TrainOutcome> {
        self.reserve()?;
        if self.state.step == 0 {
            self.evaluate()?;
            self.state.validation_loss_before = self.state.validation_loss;
        } else if self.state.evaluation_due {
            self.evaluate()?;
        }
        (self.on_event)(TrainEvent::Phase("training"));
        let mut saved = self.state.step;
        while self.state.step < self.steps {
            let step = self.state.step + 1;
            let clock = Instant::now();
            let Some(sums) = self.gradients(step)? else {
                return self.stop(saved);
            };
            self.update(step, &sums, clock)?;

            let (epoch_ends, last) = (step.is_multiple_of(self.plan.steps_per_epoch()), step == self.steps);
            let due = |every: Option<u32>| every.is_some_and(|every| step.is_multiple_of(every));
            if epoch_ends || last || due(self.config.evaluate_every) {
                self.evaluate()?;
            }
            if epoch_ends || last || due(self.config.checkpoint_every) {
                self.checkpoint()?;
                saved = step;
                self.sample()?;
            }
            if self.control.asked().is_some() && !last {
                return self.stop(saved);
            }
        }
        if self.state.evaluation_due {
            return self.stop(saved);
        }
        (self.on_event)(TrainEvent::Phase("writing the adapter"));
        let folder = self.job.folder.join("adapter");
        let lock = &self.state.job.lock;
        let prompts = (self.job.template.text(), self.config.max_length);
        let sha256 = Adapter::save(&folder, &self.config.lora, lock, prompts, &self.set)?;
        Ok(self.outcome(sha256, None))
    }

    /// Takes the memory of the largest batch to come, so that a run that does not fit fails before its first step, and none waits for
    /// pages when a batch is larger than all before it.
    fn reserve(&mut self) -> Result<()> {
        let model = self.job.model;
        if !model.device.is_cpu() {
            return Ok(()); // its memory is not this process's
        }
        (self.on_event)(TrainEvent::Phase("taking the memory of the largest batch"));
        let mut tokens = 0;
        for step in self.state.step + 1..=self.steps {
            for indices in self.plan.micro_batches(step) {
                tokens = tokens.max(indices.iter().map(|&index| self.sequences[index].read()).sum());
            }
        }
        let sizes = model.llama.trace_bytes(tokens, self.config.recompute_layers);
        let needed = sizes.iter().map(|&size| size as u64).sum();
        memory::reserve(&sizes).map_err(|available| Error::Memory { tokens, needed, available })
    }

    /// The sums of one step over its micro-batches; None when asked to stop in the middle of it.
    fn gradients(&mut self, step: u32) -> Result<Option<StepSums>> {
        let micro_batches: Vec<Vec<usize>> = self.plan.micro_batches(step).map(<[usize]>::to_vec).collect();
        let supervised: usize = micro_batches.iter().flatten().map(|&index| self.sequences[index].supervised()).sum();

        let mut sums = StepSums { loss: 0.0, gradients: Gradients::new(), tokens: 0, supervised: supervised as u64 };
        for (micro, indices) in micro_batches.iter().enumerate() {
            if self.control.asked().is_some() {
                return Ok(None);
            }
            let packed = Packed::new(indices.iter().map(|&index| &self.sequences[index]));
            let dropout = DropoutSeed {
                rate: self.config.lora.dropout,
                seed: derive(self.config.seed, Purpose::Dropout, u64::from(step), micro as u64),
            };
            let (loss, gradients) = self.micro_batch(&packed, dropout, 1.0 / supervised as f64);
            if !loss.is_finite() {
                let detail = format!("micro-batch {micro} with pairs {indices:?} of the encoded training data");
                return Err(Error::NonFinite { what: "the loss", step, detail });
            }
            sums.loss += loss / supervised as f64;
            sums.tokens += packed.tokens() as u64;
            accumulate(&mut sums.gradients, gradients);
        }
        Ok(Some(sums))
    }

    /// Loss sum in nats, and gradients of `scale` times it.
    fn micro_batch(&self, packed: &Packed, dropout: DropoutSeed, scale: f64) -> (f64, Gradients) {
        let llama = &self.job.model.llama;
        let (pass, segments) = self.pass(packed, dropout);
        let attend =
            &mut |index: usize, q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>| attention(q, k, v, segments.of(index));
        let (hidden, trace) =
            llama.hidden_traced(&packed.ids, &pass, attend, &packed.rows, self.config.recompute_layers);
        let head = head_loss(&hidden, &llama.head, &packed.targets, scale);
        (head.sum, llama.backward(trace, head.gradient, &pass, &|index| segments.of(index)))
    }

    fn pass(&self, packed: &Packed, dropout: DropoutSeed) -> (Pass<'_>, LayerSegments) {
        let config = &self.job.model.config;
        let device = &self.job.model.llama.device;
        let rope = Rope::new(&packed.positions, config.head_dim, config.rope_theta, device);
        let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
        let all = Segments::new(&packed.lengths, heads, kv_heads, config.head_dim, device);
        let last = all.with_queries(packed.queries.clone(), device);
        let segments = LayerSegments { all, last, layers: config.num_hidden_layers };
        (Pass { rope, lora: Some(&self.set), dropout, products: Products::Many }, segments)
    }

    fn update(&mut self, step: u32, sums: &StepSums, clock: Instant) -> Result<()> {
        let norm = global_norm(&sums.gradients);
        if !norm.is_finite() {
            let detail = format!("the loss was {}; try a smaller learning rate", sums.loss);
            return Err(Error::NonFinite { what: "the gradient norm", step, detail });
        }
        let clip = self.config.clip_norm;
        let scale = if clip > 0.0 && norm > clip { clip / (norm + 1e-6) } else { 1.0 };
        let rate = learning_rate(self.config, step, self.steps);
        self.optimizer.step(&mut self.set, &sums.gradients, rate, scale);
        self.state.step = step;
        self.state.loss = sums.loss;

        let seconds = clock.elapsed().as_secs_f64();
        self.session.steps += 1;
        self.session.tokens += sums.tokens;
        self.session.step_seconds += seconds;
        let per_step = self.session.step_seconds / f64::from(self.session.steps);
        (self.on_event)(TrainEvent::Step(Step {
            step,
            steps: self.steps,
            epoch: f64::from(step) / f64::from(self.plan.steps_per_epoch()),
            loss: sums.loss,
            learning_rate: rate,
            gradient_norm: norm,
            supervised_tokens: sums.supervised,
            tokens: sums.tokens,
            tokens_per_s: sums.tokens as f64 / seconds.max(1e-9),
            elapsed_s: self.started.elapsed().as_secs_f64(),
            eta_s: per_step * f64::from(self.steps - step),
        }));
        Ok(())
    }

    fn evaluate(&mut self) -> Result<()> {
        if self.validation.is_empty() {
            return Ok(());
        }
        (self.on_event)(TrainEvent::Phase("measuring the validation loss"));
        self.state.evaluation_due = true;
        let llama = &self.job.model.llama;
        let (mut sum, mut tokens) = (0.0, 0);
        for sequences in self.validation.chunks(self.config.batch_size) {
            if self.control.asked().is_some() {
                return Ok(());
            }
            let packed = Packed::new(sequences);
            let (pass, segments) = self.pass(&packed, DropoutSeed::OFF);
            let attend =
                &mut |index: usize, q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>| attention(q, k, v, segments.of(index));
            let hidden = llama.hidden_at(&packed.ids, &pass, attend, Some(&packed.rows));
            let log_probs = target_log_probs(&hidden, &llama.head, &packed.targets);
            sum -= log_probs.iter().map(|&value| f64::from(value)).sum::<f64>();
            tokens += log_probs.len() as u64;
        }
        let loss = sum / tokens as f64;
        self.state.validation_loss = Some(loss);
        self.state.evaluation_due = false;
        (self.on_event)(TrainEvent::Evaluation { step: self.state.step, loss, tokens });
        (self.on_event)(TrainEvent::Phase("training"));
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<()> {
        let name = checkpoint::save(self.job.folder, &self.state, &self.set, &self.optimizer)?;
        (self.on_event)(TrainEvent::Checkpoint { step: self.state.step, name });
        Ok(())
    }

    /// Greedy instructions for the first validation responses, as the model is now.
    fn sample(&mut self) -> Result<()> {
        let pairs = &self.job.validation[..self.config.samples.min(self.job.validation.len())];
        if pairs.is_empty() || self.control.asked().is_some() {
            return Ok(());
        }
        (self.on_event)(TrainEvent::Phase("writing samples"));
        let most = self.job.model.config.max_position_embeddings.saturating_sub(SAMPLE_TOKENS);
        let mut rows = Vec::with_capacity(pairs.len());
        for (index, pair) in pairs.iter().enumerate() {
            let most_prompt = self.config.max_length.min(most);
            let prompt = self.job.template.encode_prompt(&self.job.model.tokenizer, &pair.response, most_prompt)?;
            rows.push(GenerateRow { index: index as u32, prompt });
        }
        let config = GenerateConfig::greedy(SAMPLE_TOKENS, rows.len());
        let merged = self.job.model.llama.merged(&self.set);
        let (step, mut samples) = (self.state.step, Vec::new());
        let written = generate_with(
            self.job.model,
            &merged,
            &rows,
            self.job.template.stop_ids(),
            &config,
            self.control,
            &mut |event| {
                if let GenerateEvent::Row(row) = event {
                    samples.push(row);
                }
            },
        );
        match written {
            Ok(()) | Err(Error::Stopped) => {}
            Err(error) => return Err(error),
        }
        for row in samples {
            let pair = &pairs[row.index as usize];
            (self.on_event)(TrainEvent::Sample {
                step,
                index: row.index as usize,
                response: pair.response.clone(),
                reference: pair.instruction.clone(),
                generated: self.job.template.extract(&row.text).to_owned(),
            });
        }
        (self.on_event)(TrainEvent::Phase("training"));
        Ok(())
    }

    /// Ends a run that was asked to stop; `saved` is the step of its newest checkpoint.
    fn stop(mut self, saved: u32) -> Result<TrainOutcome> {
        if self.control.asked() == Some(Stop::Discard) {
            return Err(Error::Stopped);
        }
        if self.state.step > saved {
            self.checkpoint()?;
        }
        let step = self.state.step;
        Ok(self.outcome(String::new(), Some(step)))
    }

    fn outcome(&self, adapter_sha256: String, stopped_at: Option<u32>) -> TrainOutcome {
        let (lora, model) = (&self.config.lora, &self.job.model.config);
        TrainOutcome {
            steps: self.state.step,
            loss: self.state.loss,
            validation_loss_before: self.state.validation_loss_before,
            validation_loss: self.state.validation_loss,
            trainable: lora.trainable(model),
            trainable_percent: lora.trainable_percent(model),
            tokens: self.session.tokens,
            seconds: self.started.elapsed().as_secs_f64(),
            peak_memory_bytes: memory::peak_bytes(),
            adapter_sha256,
            stopped_at,
        }
    }
}

fn hash_of(train: &[Sequence], validation: &[Sequence]) -> String {
    let mut hash = Sha256::new();
    for side in [train, validation] {
        hash.update((side.len() as u64).to_le_bytes());
        for sequence in side {
            hash.update((sequence.ids.len() as u64).to_le_bytes());
            hash.update((sequence.supervised() as u64).to_le_bytes());
            for id in &sequence.ids {
                hash.update(id.to_le_bytes());
            }
        }
    }
    artifact::hex(&hash.finalize())
}
