//! Training and validation pairs, divided by conversation tree.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::Pair;
use crate::{Error, Result};

#[derive(Clone, Debug)]
pub struct Split {
    pub train: Vec<Pair>,
    pub validation: Vec<Pair>,
}

/// By conversation tree: a tree's side depends on the seed and its own id alone, so that pairs added later move
/// nothing. One exception keeps small files usable: with a fraction above 0 and at least two trees, a side that would
/// be empty gets the one tree whose draw lies nearest to it. Both sides keep the pairs' order.
///
/// `validation_fraction` is the expected share of trees, 0 <= fraction < 1.
pub fn split(pairs: Vec<Pair>, validation_fraction: f64, seed: u64) -> Result<Split> {
    if !(0.0..1.0).contains(&validation_fraction) {
        return Err(Error::invalid("validation_fraction", validation_fraction, "at least 0 and below 1"));
    }
    if pairs.is_empty() {
        return Err(Error::Empty("no pairs are left after the pair rule".to_owned()));
    }
    let mut draws: BTreeMap<String, f64> = BTreeMap::new();
    for pair in &pairs {
        if !draws.contains_key(&pair.tree) {
            draws.insert(pair.tree.clone(), draw(seed, &pair.tree));
        }
    }
    let mut least = f64::INFINITY;
    let mut most = f64::NEG_INFINITY;
    for &draw in draws.values() {
        least = least.min(draw);
        most = most.max(draw);
    }
    let held_out = |tree: &str| {
        let draw = draws[tree];
        if validation_fraction == 0.0 || draws.len() < 2 {
            false
        } else if least >= validation_fraction {
            draw == least
        } else if most < validation_fraction {
            draw != most
        } else {
            draw < validation_fraction
        }
    };
    let (validation, train) = pairs.into_iter().partition(|pair| held_out(&pair.tree));
    Ok(Split { train, validation })
}

/// Uniform in 0..1, from the seed and the tree's id.
fn draw(seed: u64, tree: &str) -> f64 {
    let mut hash = Sha256::new();
    hash.update(b"split\0");
    hash.update(seed.to_le_bytes());
    hash.update(tree.as_bytes());
    let digest = hash.finalize();
    let bits = digest.iter().take(8).fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte));
    // 53 bits: exact in an f64, and never 1.
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}
