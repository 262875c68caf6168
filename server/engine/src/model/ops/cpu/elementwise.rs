//! Row-wise and element-wise kernels on plain slices. Rows are shared out over the threads in fixed blocks, and each
//! row is summed in one order, so results do not depend on how many threads there are.

use rayon::prelude::*;

use super::ROWS_PER_TASK;
use super::exp::sigmoid;
use super::simd::vectorised;
use crate::random::mix;

/// Partial sums per row: enough for the widest vectors to add side by side.
const LANES: usize = 16;

/// Fills `[rows, columns]` block by block; `fill` gets the first row's number and the block.
fn by_rows(size: usize, columns: usize, fill: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let mut out = vec![0.0; size];
    out.par_chunks_mut(columns * ROWS_PER_TASK).enumerate().for_each(|(block, rows)| {
        vectorised(
            #[inline(always)]
            |_| fill(block * ROWS_PER_TASK, rows),
        );
    });
    out
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[inline(always)]
fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    1.0 / (dot(x, x) / x.len() as f32 + eps).sqrt()
}

pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let columns = weight.len();
    by_rows(
        x.len(),
        columns,
        #[inline(always)]
        |first, rows| {
            let x = &x[first * columns..first * columns + rows.len()];
            for (y, x) in rows.chunks_exact_mut(columns).zip(x.chunks_exact(columns)) {
                let scale = inverse_rms(x, eps);
                for ((y, x), weight) in y.iter_mut().zip(x).zip(weight) {
                    *y = x * scale * weight;
                }
            }
        },
    )
}

pub(super) fn rms_norm_backward(x: &[f32], weight: &[f32], dy: &[f32], eps: f32) -> Vec<f32> {
    let columns = weight.len();
    by_rows(
        x.len(),
        columns,
        #[inline(always)]
        |first, rows| {
            let range = first * columns..first * columns + rows.len();
            let (x, dy) = (&x[range.clone()], &dy[range]);
            for ((dx, x), dy) in
                rows.chunks_exact_mut(columns).zip(x.chunks_exact(columns)).zip(dy.chunks_exact(columns))
            {
                let scale = inverse_rms(x, eps);
                for ((weighted, dy), weight) in dx.iter_mut().zip(dy).zip(weight) {
                    *weighted = dy * weight;
                }
                let along = dot(dx, x) * scale * scale * scale / columns as f32;
                for (dx, x) in dx.iter_mut().zip(x) {
                    *dx = *dx * scale - x * along;
                }
            }
        },
    )
}

/// cos, sin: [rows, head_dim / 2]. `back`: the inverse rotation.
pub(super) fn rope(x: &[f32], columns: usize, cos: &[f32], sin: &[f32], head_dim: usize, back: bool) -> Vec<f32> {
    let half = head_dim / 2;
    let sign = if back { -1.0 } else { 1.0 };
    by_rows(
        x.len(),
        columns,
        #[inline(always)]
        |first, rows| {
            for (offset, y) in rows.chunks_exact_mut(columns).enumerate() {
                let row = first + offset;
                let x = &x[row * columns..(row + 1) * columns];
                let (cos, sin) = (&cos[row * half..(row + 1) * half], &sin[row * half..(row + 1) * half]);
                for (y, x) in y.chunks_exact_mut(head_dim).zip(x.chunks_exact(head_dim)) {
                    let (y_first, y_second) = y.split_at_mut(half);
                    let (x_first, x_second) = x.split_at(half);
                    for i in 0..half {
                        let sin = sin[i] * sign;
                        y_first[i] = x_first[i] * cos[i] - x_second[i] * sin;
                        y_second[i] = x_second[i] * cos[i] + x_first[i] * sin;
                    }
                }
            }
        },
    )
}

pub(super) fn swiglu(gate: &[f32], up: &[f32], columns: usize) -> Vec<f32> {
    by_rows(
        gate.len(),
        columns,
        #[inline(always)]
        |first, rows| {
            let range = first * columns..first * columns + rows.len();
            for ((y, gate), up) in rows.iter_mut().zip(&gate[range.clone()]).zip(&up[range]) {
                *y = gate * sigmoid(*gate) * up;
            }
        },
    )
}

/// dgate, then dup.
pub(super) fn swiglu_backward(gate: &[f32], up: &[f32], dy: &[f32], columns: usize) -> Vec<f32> {
    let mut both = vec![0.0; 2 * gate.len()];
    let (dgate, dup) = both.split_at_mut(gate.len());
    let block = columns * ROWS_PER_TASK;
    dgate.par_chunks_mut(block).zip(dup.par_chunks_mut(block)).enumerate().for_each(|(index, (dgate, dup))| {
        let range = index * block..index * block + dgate.len();
        let (gate, up, dy) = (&gate[range.clone()], &up[range.clone()], &dy[range]);
        vectorised(
            #[inline(always)]
            |_| {
                for i in 0..dgate.len() {
                    let sigmoid = sigmoid(gate[i]);
                    let silu = gate[i] * sigmoid;
                    dup[i] = dy[i] * silu;
                    dgate[i] = dy[i] * up[i] * (sigmoid + silu * (1.0 - sigmoid));
                }
            },
        );
    });
    both
}

/// Two 32-bit draws from each mixed counter: the mask is a function of the seed and the place alone.
pub(super) fn dropout(x: &[f32], columns: usize, rate: f64, seed: u64) -> Vec<f32> {
    let keep = (1.0 / (1.0 - rate)) as f32;
    let threshold = (rate * f64::from(u32::MAX)) as u32;
    by_rows(
        x.len(),
        columns,
        #[inline(always)]
        |first, rows| {
            let start = first * columns;
            for (offset, y) in rows.iter_mut().enumerate() {
                let place = start + offset;
                let bits = mix(seed.wrapping_add((place as u64 / 2).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
                let draw = if place.is_multiple_of(2) { bits as u32 } else { (bits >> 32) as u32 };
                *y = if draw < threshold { 0.0 } else { x[place] * keep };
            }
        },
    )
}
