//! `x Wᵀ` for few rows of x, as in decoding: the weights are read once, in place, by all threads. A general matrix
//! product would first copy every weight into its packed form, which costs more than the product itself.

use rayon::prelude::*;

use super::simd::{multiply_add, vectorised};

/// Beyond so many rows packing pays.
pub(super) const MOST_ROWS: usize = 16;
const LANES: usize = 8;
/// Rows of x and of W whose products are summed in registers at once: 4 x 2 sums of 8 lanes.
const X_ROWS: usize = 4;
/// Weight rows of one task.
const TASK: usize = 64;

/// x: [rows, columns], w: [out, columns] -> [rows, out].
pub(super) fn linear(x: &[f32], w: &[f32], columns: usize) -> Vec<f32> {
    let (rows, out) = (x.len() / columns, w.len() / columns);
    // Transposed while it is made, so that each task owns a piece: [out, rows].
    let mut turned = vec![0.0; rows * out];
    turned.par_chunks_mut(TASK * rows).zip(w.par_chunks(TASK * columns)).for_each(|(y, w)| {
        vectorised(
            #[inline(always)]
            |fused| block(fused, x, w, columns, rows, y),
        );
    });
    let mut y = vec![0.0; rows * out];
    for (column, values) in turned.chunks_exact(rows).enumerate() {
        for (row, value) in values.iter().enumerate() {
            y[row * out + column] = *value;
        }
    }
    y
}

#[inline(always)]
fn block(fused: bool, x: &[f32], w: &[f32], columns: usize, rows: usize, y: &mut [f32]) {
    for (w, y) in w.chunks(2 * columns).zip(y.chunks_mut(2 * rows)) {
        let first = &w[..columns];
        // An odd last row is paired with itself.
        let second = if w.len() > columns { &w[columns..] } else { first };
        let paired = w.len() > columns;
        let mut row = 0;
        while row < rows {
            let count = X_ROWS.min(rows - row);
            // Missing rows repeat the last one: the sums are the same work, and nothing reads them.
            let at = |i: usize| {
                let row = row + i.min(count - 1);
                &x[row * columns..(row + 1) * columns]
            };
            let sums = dots(fused, [at(0), at(1), at(2), at(3)], [first, second]);
            for i in 0..count {
                y[row + i] = sums[0][i];
                if paired {
                    y[rows + row + i] = sums[1][i];
                }
            }
            row += count;
        }
    }
}

/// All products of four vectors with two.
#[inline(always)]
fn dots(fused: bool, x: [&[f32]; X_ROWS], w: [&[f32]; 2]) -> [[f32; X_ROWS]; 2] {
    let mut sums = [[[0.0_f32; LANES]; X_ROWS]; 2];
    let x_parts = x.map(|x| x.as_chunks::<LANES>());
    let w_parts = w.map(|w| w.as_chunks::<LANES>());
    let blocks = w_parts[0].0.len();
    let [x0, x1, x2, x3] = x_parts.map(|(chunks, _)| &chunks[..blocks]);
    let [w0, w1] = w_parts.map(|(chunks, _)| &chunks[..blocks]);
    for block in 0..blocks {
        for (w, sums) in [w0[block], w1[block]].iter().zip(&mut sums) {
            for (x, sums) in [x0[block], x1[block], x2[block], x3[block]].iter().zip(sums) {
                for lane in 0..LANES {
                    sums[lane] = multiply_add(fused, x[lane], w[lane], sums[lane]);
                }
            }
        }
    }
    let mut totals = [[0.0; X_ROWS]; 2];
    for (j, totals) in totals.iter_mut().enumerate() {
        for (i, total) in totals.iter_mut().enumerate() {
            let rest: f32 = x_parts[i].1.iter().zip(w_parts[j].1).map(|(x, w)| x * w).sum();
            *total = sums[j][i].iter().sum::<f32>() + rest;
        }
    }
    totals
}
