//! Row-wise and element-wise kernels on plain slices. Rows are shared out over the threads in fixed blocks, and each
//! row is summed in one order, so results do not depend on how many threads there are.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::super::Dropout;
use super::exp::sigmoid;
use super::product::filled;
use super::simd::{Level, vectorised};

/// Partial sums per row: enough for the widest vectors to add side by side.
const LANES: usize = 16;
/// Rows that one task takes at a time.
const ROWS_PER_TASK: usize = 32;

/// Makes `[rows, columns]` block by block; `write` gets the first row's number and the block, every value of which it sets.
fn by_rows(size: usize, columns: usize, write: impl Fn(Level, usize, &mut [MaybeUninit<f32>]) + Sync) -> Vec<f32> {
    filled(size, |out| {
        out.par_chunks_mut(columns * ROWS_PER_TASK).enumerate().for_each(|(block, rows)| {
            vectorised(
                #[inline(always)]
                |level| write(level, block * ROWS_PER_TASK, rows),
            );
        });
    })
}

/// Changes `[rows, columns]` block by block.
fn change_rows(values: &mut [f32], columns: usize, change: impl Fn(usize, &mut [f32]) + Sync) {
    values.par_chunks_mut(columns * ROWS_PER_TASK).enumerate().for_each(|(block, rows)| {
        vectorised(
            #[inline(always)]
            |_| change(block * ROWS_PER_TASK, rows),
        );
    });
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

/// Σ a b w
#[inline(always)]
fn dot_weighted(a: &[f32], b: &[f32], w: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let ((a_blocks, a_rest), (b_blocks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let (w_blocks, w_rest) = w.as_chunks::<LANES>();
    for ((a, b), w) in a_blocks.iter().zip(b_blocks).zip(w_blocks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane] * w[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).zip(w_rest).map(|((a, b), w)| a * b * w).sum();
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
        |_, first, rows| {
            let x = &x[first * columns..first * columns + rows.len()];
            for (y, x) in rows.chunks_exact_mut(columns).zip(x.chunks_exact(columns)) {
                let scale = inverse_rms(x, eps);
                for ((y, x), weight) in y.iter_mut().zip(x).zip(weight) {
                    y.write(x * scale * weight);
                }
            }
        },
    )
}

/// `into` += dx
pub(super) fn rms_norm_backward(x: &[f32], weight: &[f32], dy: &[f32], eps: f32, into: &mut [f32]) {
    let columns = weight.len();
    change_rows(
        into,
        columns,
        #[inline(always)]
        |first, rows| {
            let range = first * columns..first * columns + rows.len();
            let (x, dy) = (&x[range.clone()], &dy[range]);
            for ((dx, x), dy) in
                rows.chunks_exact_mut(columns).zip(x.chunks_exact(columns)).zip(dy.chunks_exact(columns))
            {
                let scale = inverse_rms(x, eps);
                let along = dot_weighted(dy, x, weight) * scale * scale * scale / columns as f32;
                for (((dx, x), dy), weight) in dx.iter_mut().zip(x).zip(dy).zip(weight) {
                    *dx += dy * weight * scale - x * along;
                }
            }
        },
    );
}

/// cos, sin: [rows, head_dim / 2]. `back`: the inverse rotation.
pub(super) fn rope(x: &mut [f32], columns: usize, cos: &[f32], sin: &[f32], head_dim: usize, back: bool) {
    let half = head_dim / 2;
    let sign = if back { -1.0 } else { 1.0 };
    change_rows(
        x,
        columns,
        #[inline(always)]
        |first, rows| {
            for (offset, x) in rows.chunks_exact_mut(columns).enumerate() {
                let row = first + offset;
                let (cos, sin) = (&cos[row * half..(row + 1) * half], &sin[row * half..(row + 1) * half]);
                for x in x.chunks_exact_mut(head_dim) {
                    let (firsts, seconds) = x.split_at_mut(half);
                    for i in 0..half {
                        let (a, b, sin) = (firsts[i], seconds[i], sin[i] * sign);
                        firsts[i] = a * cos[i] - b * sin;
                        seconds[i] = b * cos[i] + a * sin;
                    }
                }
            }
        },
    );
}

pub(super) fn swiglu(gate: &[f32], up: &[f32], columns: usize) -> Vec<f32> {
    by_rows(
        gate.len(),
        columns,
        #[inline(always)]
        |level, first, rows| {
            let range = first * columns..first * columns + rows.len();
            for ((y, gate), up) in rows.iter_mut().zip(&gate[range.clone()]).zip(&up[range]) {
                y.write(gate * sigmoid(level, *gate) * up);
            }
        },
    )
}

/// `dy`, which becomes dup, and dgate.
pub(super) fn swiglu_backward(gate: &[f32], up: &[f32], dy: &mut [f32], columns: usize) -> Vec<f32> {
    let block = columns * ROWS_PER_TASK;
    filled(gate.len(), |dgate| {
        dgate.par_chunks_mut(block).zip(dy.par_chunks_mut(block)).enumerate().for_each(|(index, (dgate, dy))| {
            let range = index * block..index * block + dgate.len();
            let (gate, up) = (&gate[range.clone()], &up[range]);
            vectorised(
                #[inline(always)]
                |level| {
                    for (((dgate, dy), gate), up) in dgate.iter_mut().zip(dy).zip(gate).zip(up) {
                        let sigmoid = sigmoid(level, *gate);
                        let silu = gate * sigmoid;
                        dgate.write(*dy * up * (sigmoid + silu * (1.0 - sigmoid)));
                        *dy *= silu;
                    }
                },
            );
        });
    })
}

/// Inverted dropout of values that stand at `first` and behind in the whole tensor: the mask is a function of the seed and the
/// place alone.
pub(super) fn drop_rows(x: &[f32], out: &mut [f32], first: usize, dropout: Dropout) {
    vectorised(
        #[inline(always)]
        |_| {
            for (place, (out, x)) in (first as u32..).zip(out.iter_mut().zip(x)) {
                *out = x * dropout.factor(place);
            }
        },
    );
}
