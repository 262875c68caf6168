//! Cross-entropy over the vocabulary without logits that outlive a tile. The gradient of a row's loss is `softmax(h Wᵀ)
//! W - W[target]`, which is attention with W as keys and values, so it is computed as flash attention is (Dao et al.,
//! arXiv:2205.14135): tile by tile of the vocabulary, with a running maximum and sum.

use rayon::prelude::*;

use crate::exp::exponentials;
use crate::simd::{Level, vectorised};
use crate::tile::{self, LANES, Left, Right, lanes, lanes_mut, strips};

/// Rows of one task, vocabulary entries of one tile, and parts of the vocabulary. All fixed, so that a result does not
/// depend on the number of threads.
const ROWS: usize = 512;
const TILE: usize = 256;
const PARTS: usize = 8;

/// Partial results of some rows over one part of the vocabulary.
struct Part {
    largest: Vec<f32>,
    /// Sums of exp(logit - largest).
    sums: Vec<f32>,
    /// The target's logit, if the target is in this part; else -inf.
    targets: Vec<f32>,
    /// Σ exp(logit - largest) W: [rows, hidden]; empty if no gradient is wanted.
    weighted: Vec<f32>,
}

/// Loss of each row in nats, and the gradient of `scale` times their sum: [rows, columns]. hidden: [rows, columns],
/// weight: [vocabulary, columns].
pub fn with_gradient(hidden: &[f32], weight: &[f32], targets: &[u32], scale: f32) -> (Vec<f32>, Vec<f32>) {
    let mut losses = vec![0.0; targets.len()];
    let mut gradient = vec![0.0; hidden.len()];
    let Some(columns) = columns(hidden, weight, targets) else { return (losses, gradient) };
    let parts = parts(hidden, weight, columns, targets, true);
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
pub fn losses(hidden: &[f32], weight: &[f32], targets: &[u32]) -> Vec<f32> {
    let mut losses = vec![0.0; targets.len()];
    let Some(columns) = columns(hidden, weight, targets) else { return losses };
    let parts = parts(hidden, weight, columns, targets, false);
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

/// One row over all parts.
fn total(parts: &[Part], row: usize) -> Total {
    let largest = parts.iter().fold(f32::NEG_INFINITY, |largest, part| largest.max(part.largest[row]));
    let sum = parts.iter().map(|part| part.sums[row] * (part.largest[row] - largest).exp()).sum();
    let target = parts.iter().fold(f32::NEG_INFINITY, |target, part| target.max(part.targets[row]));
    Total { largest, sum, target }
}

/// The width of the hidden states, after checking the sizes; None if there are no rows.
fn columns(hidden: &[f32], weight: &[f32], targets: &[u32]) -> Option<usize> {
    let columns = hidden.len().checked_div(targets.len())?;
    assert!(
        columns > 0 && hidden.len() == columns * targets.len(),
        "hidden is [rows, columns] with a target for each row"
    );
    let vocabulary = weight.len() / columns;
    assert!(
        targets.iter().all(|&target| (target as usize) < vocabulary),
        "targets are below the vocabulary's {vocabulary}"
    );
    Some(columns)
}

/// By blocks of rows, and within each by parts of the vocabulary.
fn parts(hidden: &[f32], weight: &[f32], columns: usize, targets: &[u32], with_gradient: bool) -> Vec<Part> {
    let vocabulary = weight.len() / columns;
    let size = vocabulary.div_ceil(PARTS);
    let blocks: Vec<Vec<f32>> =
        hidden.par_chunks(ROWS * columns).map(|hidden| strips::<LANES>(hidden, columns)).collect();
    let tasks: Vec<(usize, usize)> =
        (0..blocks.len()).flat_map(|block| (0..PARTS).map(move |part| (block, part * size))).collect();
    tasks
        .into_par_iter()
        .with_max_len(1)
        .map_init(Vec::new, |tile, (block, first)| {
            let targets = &targets[block * ROWS..targets.len().min((block + 1) * ROWS)];
            let end = (first + size).min(vocabulary);
            part(&blocks[block], weight, columns, targets, first.min(end)..end, tile, with_gradient)
        })
        .collect()
}

fn part(
    strips: &[f32],
    weight: &[f32],
    columns: usize,
    targets: &[u32],
    entries: std::ops::Range<usize>,
    tile: &mut Vec<f32>,
    with_gradient: bool,
) -> Part {
    let rows = targets.len();
    let width = rows.next_multiple_of(LANES);
    let mut part = Part {
        largest: vec![f32::NEG_INFINITY; width],
        sums: vec![0.0; width],
        targets: vec![f32::NEG_INFINITY; rows],
        weighted: vec![0.0; if with_gradient { rows * columns } else { 0 }],
    };
    tile.resize(TILE * width, 0.0);
    for first in entries.clone().step_by(TILE) {
        let count = TILE.min(entries.end - first);
        let weight = &weight[first * columns..(first + count) * columns];
        let tile = &mut tile[..count * width];
        vectorised(
            #[inline(always)]
            |level| {
                let by_entry = Left { values: weight, row: columns, step: 1 };
                for (strip, hidden) in strips.chunks_exact(columns * LANES).enumerate() {
                    tile::rows(
                        level,
                        (count, columns),
                        by_entry,
                        Right { values: hidden, row: LANES },
                        #[inline(always)]
                        |entry, logits| *lanes_mut(&mut tile[entry * width + strip * LANES..]) = *logits,
                    );
                }
                for (row, target) in targets.iter().enumerate() {
                    let target = (*target as usize).wrapping_sub(first);
                    if target < count {
                        part.targets[row] = tile[target * width + row];
                    }
                }
                for strip in (0..width).step_by(LANES) {
                    let shrink = accumulate(level, tile, width, strip, &mut part);
                    for (row, shrink) in (strip..rows).zip(shrink) {
                        if with_gradient && shrink != 1.0 {
                            for value in &mut part.weighted[row * columns..(row + 1) * columns] {
                                *value *= shrink;
                            }
                        }
                    }
                }
                if with_gradient {
                    add_weighted(level, tile, width, weight, columns, &mut part.weighted);
                }
            },
        );
    }
    part
}

/// weighted [rows, columns] += the tile's columns as rows, times W.
#[inline(always)]
fn add_weighted(level: Level, tile: &[f32], width: usize, weight: &[f32], columns: usize, weighted: &mut [f32]) {
    let (count, rows) = (weight.len() / columns, weighted.len() / columns);
    let whole = columns - columns % LANES;
    for column in (0..whole).step_by(LANES) {
        tile::rows(
            level,
            (rows, count),
            Left { values: tile, row: 1, step: width },
            Right { values: &weight[column..], row: columns },
            #[inline(always)]
            |row, sums: &[f32; LANES]| {
                let weighted = lanes_mut(&mut weighted[row * columns + column..]);
                for lane in 0..LANES {
                    weighted[lane] += sums[lane];
                }
            },
        );
    }
    for column in whole..columns {
        for row in 0..rows {
            let along = (0..count).map(|entry| tile[entry * width + row] * weight[entry * columns + column]);
            weighted[row * columns + column] += along.sum::<f32>();
        }
    }
}

/// Replaces a strip's logits by exp(logit - largest) and adds them to the sums; returns the factors by which earlier
/// terms shrink since the maximum has grown.
#[inline(always)]
fn accumulate(level: Level, tile: &mut [f32], width: usize, strip: usize, part: &mut Part) -> [f32; LANES] {
    let before = *lanes(&part.largest[strip..]);
    let (largest, sums) = exponentials(level, tile, (width, strip), before);
    let mut shrink = [1.0; LANES];
    let part_sums = lanes_mut(&mut part.sums[strip..]);
    for lane in 0..LANES {
        if before[lane] != largest[lane] {
            shrink[lane] = (before[lane] - largest[lane]).exp();
        }
        part_sums[lane] = part_sums[lane] * shrink[lane] + sums[lane];
    }
    *lanes_mut(&mut part.largest[strip..]) = largest;
    shrink
}
