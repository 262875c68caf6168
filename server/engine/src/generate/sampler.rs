//! From logits to the next token, on the host: penalty, temperature, top-k, top-p, one draw. The order and the
//! meaning of each are transformers'.

use std::collections::BTreeSet;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::random::{Purpose, stream};
use spec::GenerateConfig;

pub(super) struct Sampler {
    random: ChaCha8Rng,
    /// Ids in the prompt or written; only kept where there is a penalty.
    seen: BTreeSet<u32>,
}

impl Sampler {
    pub(super) fn new(config: &GenerateConfig, index: u32, candidate: u32, prompt: &[u32]) -> Self {
        let seen = if config.repetition_penalty == 1.0 { BTreeSet::new() } else { prompt.iter().copied().collect() };
        Self { random: stream(config.seed, Purpose::Sampling, u64::from(index), u64::from(candidate)), seen }
    }

    /// logits: [vocabulary]. None where none of them is finite.
    pub(super) fn next(&mut self, logits: &mut [f32], config: &GenerateConfig) -> Option<u32> {
        let penalty = config.repetition_penalty as f32;
        for &id in &self.seen {
            let logit = &mut logits[id as usize];
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
        let id = if config.temperature == 0.0 { highest(logits)? } else { self.draw(logits, config)? };
        if penalty != 1.0 {
            self.seen.insert(id);
        }
        Some(id)
    }

    fn draw(&mut self, logits: &[f32], config: &GenerateConfig) -> Option<u32> {
        let mut kept = candidates(logits, config.top_k as usize);
        if kept.is_empty() {
            return None;
        }
        kept.sort_unstable_by(descending);
        let largest = f64::from(kept[0].1);
        let weights: Vec<f64> =
            kept.iter().map(|(_, logit)| ((f64::from(*logit) - largest) / config.temperature).exp()).collect();
        let total: f64 = weights.iter().sum();
        // The smallest set whose probability reaches top_p; the most likely token always stays.
        let mut reached = 0.0;
        let mut nucleus = 0;
        for weight in &weights {
            reached += weight;
            nucleus += 1;
            if reached >= config.top_p * total {
                break;
            }
        }
        let mut point = self.random.random::<f64>() * weights[..nucleus].iter().sum::<f64>();
        for ((id, _), weight) in kept.iter().zip(&weights[..nucleus]) {
            point -= weight;
            if point < 0.0 {
                return Some(*id);
            }
        }
        Some(kept[nucleus - 1].0)
    }
}

/// Equal logits by id, so that the order (and with it the text) never depends on the sort.
fn descending(a: &(u32, f32), b: &(u32, f32)) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// The `top_k` finite logits that come first, or all of them, in no order. One pass: what lies below the smallest of the k
/// best so far is not looked at again.
fn candidates(logits: &[f32], top_k: usize) -> Vec<(u32, f32)> {
    let finite = (0..).zip(logits.iter().copied()).filter(|(_, logit)| logit.is_finite());
    if top_k == 0 {
        return finite.collect();
    }
    let mut kept = Vec::with_capacity((4 * top_k).min(logits.len()));
    let mut floor = f32::NEG_INFINITY;
    let shrink = |kept: &mut Vec<(u32, f32)>| {
        if kept.len() > top_k {
            kept.select_nth_unstable_by(top_k - 1, descending);
            kept.truncate(top_k);
        }
    };
    for (id, logit) in finite {
        if logit < floor {
            continue;
        }
        kept.push((id, logit));
        if kept.len() == 4 * top_k {
            shrink(&mut kept);
            floor = kept.iter().fold(f32::INFINITY, |floor, (_, logit)| floor.min(*logit));
        }
    }
    shrink(&mut kept);
    kept
}

/// The id of the largest logit; of equals, the first.
fn highest(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(u32, f32)> = None;
    for (id, &logit) in (0..).zip(logits) {
        if logit.is_finite() && best.is_none_or(|(_, value)| logit > value) {
            best = Some((id, logit));
        }
    }
    best.map(|(id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::super::greedy;
    use super::*;

    fn config() -> GenerateConfig {
        GenerateConfig { temperature: 1.0, ..greedy() }
    }

    fn draws(config: &GenerateConfig, logits: &[f32], times: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(config, 0, 0, &[]);
        (0..times).map(|_| sampler.next(&mut logits.to_vec(), config).unwrap()).collect()
    }

    #[test]
    fn greedy_takes_the_largest_and_of_equals_the_first() {
        let config = greedy();
        assert_eq!(draws(&config, &[0.0, 3.0, 3.0, f32::NAN], 1), [1]);
    }

    #[test]
    fn top_k_and_top_p_leave_out_what_they_should() {
        let logits = [0.0_f32, 1.0, 2.0, 3.0];
        let top_2 = GenerateConfig { top_k: 2, ..config() };
        assert!(draws(&top_2, &logits, 200).iter().all(|id| [2, 3].contains(id)));
        // softmax of 0..3 is .032 .087 .237 .644: 0.6 keeps one token, 0.7 two.
        let narrow = GenerateConfig { top_p: 0.6, ..config() };
        assert!(draws(&narrow, &logits, 200).iter().all(|id| *id == 3));
        let wider = GenerateConfig { top_p: 0.7, ..config() };
        let drawn = draws(&wider, &logits, 400);
        assert!(drawn.contains(&2) && drawn.contains(&3) && !drawn.contains(&1));
    }

    #[test]
    fn the_k_best_are_those_of_a_full_sort() {
        let logits: Vec<f32> = (0..5000_u32).map(|i| ((i * 7919) % 613) as f32 / 7.0).chain([f32::NAN]).collect();
        let mut all: Vec<(u32, f32)> = candidates(&logits, 0);
        all.sort_unstable_by(descending);
        for top_k in [1, 2, 50, 4999, 6000] {
            let mut kept = candidates(&logits, top_k);
            kept.sort_unstable_by(descending);
            assert_eq!(kept, all[..top_k.min(all.len())]);
        }
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let drawn = draws(&config(), &[0.0, (3.0_f32).ln()], 4000);
        let share = drawn.iter().filter(|id| **id == 1).count() as f64 / 4000.0;
        assert!((share - 0.75).abs() < 0.03, "{share}");
    }

    #[test]
    fn a_row_draws_from_a_stream_of_its_own() {
        let config = config();
        let logits = [0.0_f32; 64];
        let of = |index| {
            let mut sampler = Sampler::new(&config, index, 0, &[]);
            (0..16).map(|_| sampler.next(&mut logits.to_vec(), &config).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
    }

    #[test]
    fn the_penalty_pushes_seen_tokens_down_whatever_their_sign() {
        let config = GenerateConfig { repetition_penalty: 2.0, ..greedy() };
        let mut sampler = Sampler::new(&config, 0, 0, &[0]);
        assert_eq!(sampler.next(&mut [1.5, 1.0, -9.0], &config), Some(1));
        // Now 0 and 1 have been seen: 1.5 / 2, 1.0 / 2 against 0.8.
        assert_eq!(sampler.next(&mut [1.5, 1.0, 0.8], &config), Some(2));
    }

    #[test]
    fn nothing_finite_is_an_answer_not_a_panic() {
        assert_eq!(Sampler::new(&config(), 0, 0, &[]).next(&mut [f32::NAN, f32::INFINITY], &config()), None);
    }
}
