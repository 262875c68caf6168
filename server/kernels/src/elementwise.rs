//! Row-wise and element-wise kernels: RMSNorm, RoPE, SwiGLU. Threads take fixed blocks of rows.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use crate::exp::sigmoid;
use crate::output::written;
use crate::simd::{Level, vectorised};

/// Partial sums of a row: enough for the widest registers.
const LANES: usize = 16;
/// Rows that one task takes at a time.
const ROWS_PER_TASK: usize = 32;

/// A matrix `[rows, columns]`, written block by block: `write` gets the block's first row and its elements.
///
/// # Safety
///
/// `write` must write every element of its block.
unsafe fn by_rows(
    size: usize,
    columns: usize,
    write: impl Fn(Level, usize, &mut [MaybeUninit<f32>]) + Sync,
) -> Vec<f32> {
    assert!(size.is_multiple_of(columns), "{size} values in rows of {columns}");
    let write = |out: &mut [MaybeUninit<f32>]| {
        out.par_chunks_mut(columns * ROWS_PER_TASK).enumerate().for_each(|(block, rows)| {
            vectorised(
                #[inline(always)]
                |level| write(level, block * ROWS_PER_TASK, rows),
            );
        });
    };
    // SAFETY: the chunks cover the output, and the caller promises that each is written.
    unsafe { written(size, write) }
}

/// Updates `[rows, columns]` in place, block by block.
fn update_rows(values: &mut [f32], columns: usize, change: impl Fn(usize, &mut [f32]) + Sync) {
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

/// x: [rows, columns], weight: [columns] -> [rows, columns].
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let columns = weight.len();
    // SAFETY: blocks are whole rows, x has the output's size, and each row is as long as the weight.
    unsafe {
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
}

/// dx += dL/dx. x, dy, dx: [rows, columns], weight: [columns].
pub fn rms_norm_backward_add(x: &[f32], weight: &[f32], dy: &[f32], eps: f32, dx: &mut [f32]) {
    let columns = weight.len();
    update_rows(
        dx,
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

/// Rotates x: [rows, columns] in place. cos, sin: [rows, head_dim / 2]. `inverse`: back, which is also the gradient.
pub fn rope(x: &mut [f32], columns: usize, cos: &[f32], sin: &[f32], head_dim: usize, inverse: bool) {
    let half = head_dim / 2;
    let sign = if inverse { -1.0 } else { 1.0 };
    update_rows(
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

/// gate, up: [rows, columns] -> silu(gate) * up.
pub fn swiglu(gate: &[f32], up: &[f32], columns: usize) -> Vec<f32> {
    // SAFETY: both inputs are sliced to the block's length, so the zip ends with the block.
    unsafe {
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
}

/// Returns dgate and turns `dy` into dup. All: [rows, columns].
pub fn swiglu_backward(gate: &[f32], up: &[f32], dy: &mut [f32], columns: usize) -> Vec<f32> {
    assert!(gate.len() == dy.len() && up.len() == dy.len(), "gate, up and dy have one shape");
    let block = columns * ROWS_PER_TASK;
    let write = |dgate: &mut [MaybeUninit<f32>]| {
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
    };
    // SAFETY: dgate, dy, gate and up have one length and are cut into the same chunks.
    unsafe { written(gate.len(), write) }
}
