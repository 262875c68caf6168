//! Pairs as token ids, their order in each epoch, and packed batches of them.

use rand::seq::SliceRandom;
use spec::{LossOn, MaskedToken, TargetIntegrity, TrainConfig};

use crate::data::Pair;
use crate::model::BaseModel;
use crate::random::{Purpose, stream};
use crate::template::{EncodedPair, Template};
use crate::{Error, Result};

/// Pairs that are shown token by token.
const EXAMPLES: usize = 3;

/// A sequence with the positions that are supervised: the loss is on `ids[first_target..]`, each predicted from what
/// precedes it.
pub(super) struct Sequence {
    pub(super) ids: Vec<u32>,
    first_target: usize,
}

impl Sequence {
    pub(super) fn supervised(&self) -> usize {
        self.ids.len() - self.first_target
    }

    /// The number of input tokens. The last token is a target only.
    pub(super) fn inputs(&self) -> usize {
        self.ids.len() - 1
    }
}

/// The sequences of a batch, one after another, without padding.
pub(super) struct Packed {
    pub(super) ids: Vec<u32>,
    pub(super) lengths: Vec<usize>,
    pub(super) positions: Vec<usize>,
    /// Rows of the packed batch that predict a supervised token, and that token.
    pub(super) rows: Vec<usize>,
    /// The same by sequence: the first such row within it, and how many.
    pub(super) queries: Vec<(usize, usize)>,
    pub(super) targets: Vec<u32>,
}

impl Packed {
    pub(super) fn new<'a>(sequences: impl IntoIterator<Item = &'a Sequence>) -> Self {
        let mut packed = Self {
            ids: Vec::new(),
            lengths: Vec::new(),
            positions: Vec::new(),
            rows: Vec::new(),
            queries: Vec::new(),
            targets: Vec::new(),
        };
        for sequence in sequences {
            let start = packed.ids.len();
            for position in sequence.first_target..sequence.ids.len() {
                packed.rows.push(start + position - 1);
                packed.targets.push(sequence.ids[position]);
            }
            packed.queries.push((sequence.first_target - 1, sequence.supervised()));
            let inputs = sequence.inputs();
            packed.ids.extend_from_slice(&sequence.ids[..inputs]);
            packed.lengths.push(inputs);
            packed.positions.extend(0..inputs);
        }
        packed
    }

    /// All tokens of the sequences, targets included.
    pub(super) fn tokens(&self) -> usize {
        self.ids.len() + self.lengths.len()
    }
}

/// Encodes the pairs and counts what truncation did to them.
pub(super) fn encode(
    model: &BaseModel,
    template: &Template,
    pairs: &[Pair],
    config: &TrainConfig,
) -> Result<(Vec<Sequence>, TargetIntegrity)> {
    let context = model.config.max_position_embeddings;
    let max_length = config.max_seq_length as usize;
    if max_length > context {
        return Err(Error::invalid("max_seq_length", max_length, format!("at most {context}, the model's context")));
    }
    let mut sequences = Vec::with_capacity(pairs.len());
    let mut integrity = TargetIntegrity { pairs: pairs.len() as u64, ..TargetIntegrity::default() };
    for pair in pairs {
        let encoded = template.encode_pair(&model.tokenizer, pair, max_length, config.truncation)?;
        let Some(encoded) = encoded else {
            integrity.dropped += 1;
            continue;
        };
        integrity.shortened += u64::from(encoded.response_tokens_cut > 0);
        integrity.targets_cut += u64::from(encoded.target_tokens_cut > 0);
        integrity.targets_lost += u64::from(encoded.ids.len() <= encoded.prompt_len);
        let Some(sequence) = supervise(encoded, config.loss_on) else {
            continue;
        };
        integrity.tokens += sequence.ids.len() as u64;
        integrity.supervised_tokens += sequence.supervised() as u64;
        if integrity.examples.len() < EXAMPLES {
            integrity.examples.push(masked(model, &sequence));
        }
        sequences.push(sequence);
    }
    Ok((sequences, integrity))
}

/// None if no supervised token is left.
fn supervise(encoded: EncodedPair, loss_on: LossOn) -> Option<Sequence> {
    let first_target = match loss_on {
        LossOn::Target => encoded.prompt_len.max(1),
        LossOn::All => 1,
    };
    (encoded.ids.len() > first_target).then_some(Sequence { ids: encoded.ids, first_target })
}

fn masked(model: &BaseModel, sequence: &Sequence) -> Vec<MaskedToken> {
    let token = |(position, &id): (usize, &u32)| MaskedToken {
        text: model.tokenizer.piece_text(id),
        supervised: position >= sequence.first_target,
    };
    sequence.ids.iter().enumerate().map(token).collect()
}

/// Which sequences each step takes. An epoch's order is a function of the seed and the epoch alone, and is kept until
/// another epoch is asked for.
pub(super) struct Plan {
    sequences: usize,
    batch_size: usize,
    per_step: usize,
    seed: u64,
    epoch: Option<u32>,
    order: Vec<usize>,
}

impl Plan {
    pub(super) fn new(sequences: usize, (batch_size, accumulation): (usize, usize), seed: u64) -> Self {
        Self { sequences, batch_size, per_step: batch_size * accumulation, seed, epoch: None, order: Vec::new() }
    }

    pub(super) fn steps_per_epoch(&self) -> u32 {
        self.sequences.div_ceil(self.per_step) as u32
    }

    /// The micro-batches of a step; steps count from 1. The last step of an epoch may have fewer.
    pub(super) fn micro_batches(&mut self, step: u32) -> impl Iterator<Item = &[usize]> {
        let (epoch, within) = ((step - 1) / self.steps_per_epoch(), (step - 1) % self.steps_per_epoch());
        if self.epoch != Some(epoch) {
            self.order = (0..self.sequences).collect();
            self.order.shuffle(&mut stream(self.seed, Purpose::Shuffle, u64::from(epoch), 0));
            self.epoch = Some(epoch);
        }
        let first = within as usize * self.per_step;
        self.order[first..self.sequences.min(first + self.per_step)].chunks(self.batch_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_batch_computes_all_but_each_last_token_and_counts_them_all() {
        let sequence = |ids: &[u32], first_target| Sequence { ids: ids.to_vec(), first_target };
        let packed = Packed::new(&[sequence(&[5, 6, 7, 8], 2), sequence(&[9, 4], 1)]);
        assert_eq!(packed.ids, [5, 6, 7, 9]);
        assert_eq!(packed.lengths, [3, 1]);
        assert_eq!(packed.positions, [0, 1, 2, 0]);
        assert_eq!((packed.rows.as_slice(), packed.targets.as_slice()), ([1, 2, 3].as_slice(), [7, 8, 4].as_slice()));
        assert_eq!(packed.queries, [(1, 2), (0, 1)]);
        assert_eq!(packed.tokens(), 6);
    }

    #[test]
    fn a_plan_takes_each_sequence_once_an_epoch_in_a_different_order_each_time() {
        let mut plan = Plan::new(7, (2, 2), 3);
        assert_eq!(plan.steps_per_epoch(), 2);
        let mut step = |step| plan.micro_batches(step).map(<[usize]>::to_vec).collect::<Vec<_>>();
        let sizes = |step: &[Vec<usize>]| step.iter().map(Vec::len).collect::<Vec<_>>();
        let (first, second) = (step(1), step(2));
        assert_eq!((sizes(&first), sizes(&second)), (vec![2, 2], vec![2, 1]));
        let mut all = [first.concat(), second.concat()].concat();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6]);
        assert_ne!([step(3), step(4)], [first.clone(), second], "another epoch, another order");
        assert_eq!(step(1), first, "whatever was asked for in between");
    }
}
