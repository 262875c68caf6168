//! Cross-entropy over the vocabulary without logits that outlive a tile. The gradient of a row's loss is
//! `softmax(h Wᵀ) W - W[target]`, which is attention with W as keys and values, so it is computed as flash attention is (Dao et
//! al., arXiv:2205.14135): tile by tile of the vocabulary, with a running maximum and sum.

use rayon::prelude::*;

use super::exp::exp;
use super::product::{Into, View, product};
use super::simd::vectorised;

/// Rows of one task, vocabulary entries of one tile, and parts that the vocabulary is cut into. All fixed, so that a result does
/// not depend on the number of threads.
const ROWS: usize = 512;
const TILE: usize = 512;
const PARTS: usize = 8;

/// What one part of the vocabulary says of some rows.
struct Part {
    largest: Vec<f32>,
    /// Of exp(logit - largest).
    sums: Vec<f32>,
    /// The target's logit, where the target is in this part.
    targets: Vec<f32>,
    /// Σ exp(logit - largest) W: [rows, hidden]; empty where no gradient is asked for.
    weighted: Vec<f32>,
}

/// Loss of each row in nats, and the gradient of `scale` times their sum: [rows, columns]. hidden: [rows, columns],
/// weight: [vocabulary, columns].
pub(super) fn loss(hidden: &[f32], weight: &[f32], targets: &[u32], scale: f32) -> (Vec<f32>, Vec<f32>) {
    let columns = hidden.len() / targets.len();
    let mut losses = vec![0.0; targets.len()];
    let mut gradient = vec![0.0; hidden.len()];
    let parts = parts(hidden, weight, targets, true);
    losses
        .par_chunks_mut(ROWS)
        .zip(gradient.par_chunks_mut(ROWS * columns))
        .zip(targets.par_chunks(ROWS))
        .zip(parts.par_chunks(PARTS))
        .for_each(|(((losses, gradient), targets), parts)| {
            for (row, gradient) in gradient.chunks_exact_mut(columns).enumerate() {
                let total = total(parts, row);
                losses[row] = total.loss();
                let inverse = scale / total.sum;
                for part in parts {
                    let factor = inverse * (part.largest[row] - total.largest).exp();
                    let weighted = &part.weighted[row * columns..(row + 1) * columns];
                    for (gradient, weighted) in gradient.iter_mut().zip(weighted) {
                        *gradient += factor * weighted;
                    }
                }
                let target = targets[row] as usize;
                for (gradient, weight) in gradient.iter_mut().zip(&weight[target * columns..(target + 1) * columns]) {
                    *gradient -= scale * weight;
                }
            }
        });
    (losses, gradient)
}

/// Loss of each row in nats.
pub(super) fn losses(hidden: &[f32], weight: &[f32], targets: &[u32]) -> Vec<f32> {
    let parts = parts(hidden, weight, targets, false);
    let mut losses = vec![0.0; targets.len()];
    for (losses, parts) in losses.chunks_mut(ROWS).zip(parts.chunks(PARTS)) {
        for (row, loss) in losses.iter_mut().enumerate() {
            *loss = total(parts, row).loss();
        }
    }
    losses
}

struct Total {
    largest: f32,
    sum: f32,
    target: f32,
}

impl Total {
    fn loss(&self) -> f32 {
        self.sum.ln() + (self.largest - self.target)
    }
}

/// A row over all parts.
fn total(parts: &[Part], row: usize) -> Total {
    let largest = parts.iter().fold(f32::NEG_INFINITY, |largest, part| largest.max(part.largest[row]));
    let sum = parts.iter().map(|part| part.sums[row] * (part.largest[row] - largest).exp()).sum();
    let target = parts.iter().fold(f32::NEG_INFINITY, |target, part| target.max(part.targets[row]));
    Total { largest, sum, target }
}

/// Block of rows by block of rows, and within each by the vocabulary's parts.
fn parts(hidden: &[f32], weight: &[f32], targets: &[u32], with_gradient: bool) -> Vec<Part> {
    let columns = hidden.len() / targets.len();
    let vocabulary = weight.len() / columns;
    let size = vocabulary.div_ceil(PARTS);
    let tasks: Vec<(usize, usize)> =
        (0..targets.len()).step_by(ROWS).flat_map(|row| (0..PARTS).map(move |part| (row, part * size))).collect();
    tasks
        .into_par_iter()
        .with_max_len(1)
        .map_init(Vec::new, |tile, (row, first)| {
            let rows = ROWS.min(targets.len() - row);
            let hidden = &hidden[row * columns..(row + rows) * columns];
            let end = (first + size).min(vocabulary);
            part(hidden, weight, columns, &targets[row..row + rows], first.min(end)..end, tile, with_gradient)
        })
        .collect()
}

fn part(
    hidden: &[f32],
    weight: &[f32],
    columns: usize,
    targets: &[u32],
    entries: std::ops::Range<usize>,
    tile: &mut Vec<f32>,
    with_gradient: bool,
) -> Part {
    let rows = targets.len();
    let mut part = Part {
        largest: vec![f32::NEG_INFINITY; rows],
        sums: vec![0.0; rows],
        targets: vec![f32::NEG_INFINITY; rows],
        weighted: vec![0.0; if with_gradient { rows * columns } else { 0 }],
    };
    let view = View::new(0, columns);
    for first in entries.clone().step_by(TILE) {
        let width = TILE.min(entries.end - first);
        tile.resize(rows * width, 0.0);
        let (of_weight, of_tile) = (View::new(first * columns, columns), View::new(0, width));
        let logits = (rows, columns, width);
        product(logits, 1.0, (hidden, view), (weight, of_weight.transposed()), (tile, of_tile), Into::Empty);
        for (row, logits) in tile.chunks_exact_mut(width).enumerate() {
            let target = (targets[row] as usize).wrapping_sub(first);
            if let Some(logit) = logits.get(target) {
                part.targets[row] = *logit;
            }
            let (before, largest, sum) = exponentials(logits, part.largest[row]);
            let shrink = if before == largest { 1.0 } else { (before - largest).exp() };
            part.largest[row] = largest;
            part.sums[row] = part.sums[row] * shrink + sum;
            if with_gradient && shrink != 1.0 {
                for value in &mut part.weighted[row * columns..(row + 1) * columns] {
                    *value *= shrink;
                }
            }
        }
        if with_gradient {
            let sums = (rows, width, columns);
            product(sums, 1.0, (tile, of_tile), (weight, of_weight), (&mut part.weighted, view), Into::Sum);
        }
    }
    part
}

/// Turns logits into exp(logit - largest); gives the maximum before, the one now, and the sum.
fn exponentials(logits: &mut [f32], before: f32) -> (f32, f32, f32) {
    vectorised(
        #[inline(always)]
        |_| {
            let mut highest = [before; 16];
            let (blocks, rest) = logits.as_chunks::<16>();
            for block in blocks {
                for lane in 0..16 {
                    highest[lane] = highest[lane].max(block[lane]);
                }
            }
            let largest = highest.iter().chain(rest).fold(before, |largest, logit| largest.max(*logit));
            let mut lanes = [0.0_f32; 16];
            let (blocks, rest) = logits.as_chunks_mut::<16>();
            for block in blocks {
                for lane in 0..16 {
                    block[lane] = exp(block[lane] - largest);
                    lanes[lane] += block[lane];
                }
            }
            let mut sum: f32 = lanes.iter().sum();
            for logit in rest {
                *logit = exp(*logit - largest);
                sum += *logit;
            }
            (before, largest, sum)
        },
    )
}
