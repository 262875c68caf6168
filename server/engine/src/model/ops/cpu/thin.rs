//! `x Wᵀ` for few rows of x, as in decoding: the weights are read once, in place, by all threads. A general matrix
//! product would first copy every weight into its packed form, which costs more than the product itself. The rows of x
//! lie side by side in vectors, and each sum goes in the order of the columns, however many rows there are.

use rayon::prelude::*;

use super::simd::vectorised;
use super::tile::{Left, Right, rows, strips};

/// Rows of W of one task: of whole tiles.
const TASK: usize = 96;
/// From so many values on, threads share the turning of the output.
const MANY: usize = 1 << 16;

/// x: [rows, columns], weights: [out, columns] -> [rows, out].
pub(super) fn linear(x: &[f32], weights: &[f32], columns: usize) -> Vec<f32> {
    let out = weights.len() / columns;
    let rows = x.len() / columns;
    // Transposed while it is made, so that each task owns a piece: [out, rows].
    let mut turned = vec![0.0; rows * out];
    if rows <= 8 {
        fill::<8>(x, weights, columns, &mut turned);
    } else {
        fill::<16>(x, weights, columns, &mut turned);
    }
    if rows == 1 {
        return turned;
    }
    let mut y = vec![0.0; rows * out];
    let turn = |(row, y): (usize, &mut [f32])| {
        for (y, values) in y.iter_mut().zip(turned.chunks_exact(rows)) {
            *y = values[row];
        }
    };
    if y.len() < MANY {
        y.chunks_exact_mut(out).enumerate().for_each(turn);
    } else {
        y.par_chunks_exact_mut(out).enumerate().for_each(turn);
    }
    y
}

/// N rows of x side by side; y: [out, rows].
fn fill<const N: usize>(x: &[f32], weights: &[f32], columns: usize, y: &mut [f32]) {
    let count = x.len() / columns;
    let strips = strips::<N>(x, columns);
    y.par_chunks_mut(TASK * count).zip(weights.par_chunks(TASK * columns)).for_each(|(y, weights)| {
        vectorised(
            #[inline(always)]
            |level| {
                let left = Left { values: weights, row: columns, step: 1 };
                for (strip, x) in strips.chunks_exact(N * columns).enumerate() {
                    let right = Right { values: x, row: N };
                    rows::<N>(level, (y.len() / count, columns), left, right, |out, sums| {
                        put(sums, strip * N, &mut y[out * count..(out + 1) * count]);
                    });
                }
            },
        );
    });
}

/// One output's values of the rows from `first` on; lanes that have no row are left out.
#[inline(always)]
fn put<const N: usize>(sums: &[f32; N], first: usize, y: &mut [f32]) {
    let y = &mut y[first..];
    match y.first_chunk_mut::<N>() {
        Some(y) => *y = *sums,
        None => y.iter_mut().zip(sums).for_each(|(y, sum)| *y = *sum),
    }
}
