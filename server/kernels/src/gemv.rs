//! GEMV for the few rows of a decoding step: `x Wᵀ`, reading the weights once, in place, on all threads. A packed GEMM
//! would first copy every weight, which costs more than the product. The rows of x are interleaved in SIMD registers,
//! and each sum goes in the order of the columns, however many rows there are.

use rayon::prelude::*;

use crate::simd::vectorised;
use crate::tile::{Left, Right, rows, strips};

/// Rows of W of one task: a multiple of every register tile's rows.
const TASK: usize = 96;
/// Outputs of at least this many values are transposed by all threads.
const PARALLEL_TRANSPOSE: usize = 1 << 16;

/// x: [rows, columns], w: [out, columns] -> x Wᵀ: [rows, out]. A row's result does not depend on the other rows.
pub fn linear_decode(x: &[f32], w: &[f32], columns: usize) -> Vec<f32> {
    let out = w.len() / columns;
    let rows = x.len() / columns;
    // [out, rows], so that each task writes a contiguous part.
    let mut transposed = vec![0.0; rows * out];
    if rows <= 8 {
        fill::<8>(x, w, columns, &mut transposed);
    } else {
        fill::<16>(x, w, columns, &mut transposed);
    }
    if rows == 1 {
        return transposed;
    }
    let mut y = vec![0.0; rows * out];
    let transpose = |(row, y): (usize, &mut [f32])| {
        for (y, values) in y.iter_mut().zip(transposed.chunks_exact(rows)) {
            *y = values[row];
        }
    };
    if y.len() < PARALLEL_TRANSPOSE {
        y.chunks_exact_mut(out).enumerate().for_each(transpose);
    } else {
        y.par_chunks_exact_mut(out).enumerate().for_each(transpose);
    }
    y
}

/// N rows of x interleaved; y: [out, rows].
fn fill<const N: usize>(x: &[f32], weights: &[f32], columns: usize, y: &mut [f32]) {
    let count = x.len() / columns;
    if count == 0 {
        return;
    }
    let strips = strips::<N>(x, columns);
    y.par_chunks_mut(TASK * count).zip(weights.par_chunks(TASK * columns)).for_each(|(y, weights)| {
        vectorised(
            #[inline(always)]
            |level| {
                let left = Left { values: weights, row: columns, step: 1 };
                for (strip, x) in strips.chunks_exact(N * columns).enumerate() {
                    let right = Right { values: x, row: N };
                    rows::<N>(level, (y.len() / count, columns), left, right, |out, sums| {
                        store(sums, strip * N, &mut y[out * count..(out + 1) * count]);
                    });
                }
            },
        );
    });
}

/// One output's values of the rows from `first` on; lanes beyond the last row are dropped.
#[inline(always)]
fn store<const N: usize>(sums: &[f32; N], first: usize, y: &mut [f32]) {
    let y = &mut y[first..];
    match y.first_chunk_mut::<N>() {
        Some(y) => *y = *sums,
        None => y.iter_mut().zip(sums).for_each(|(y, sum)| *y = *sum),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoding_product_is_the_plain_one_and_a_row_does_not_depend_on_the_others() {
        let values = |size: usize| -> Vec<f32> { (0..size).map(|i| (i * 29 % 13) as f32 - 6.0).collect() };
        for (rows, columns, out) in
            [(0, 3, 2), (1, 3, 1), (1, 64, 7), (5, 32, 65), (8, 40, 129), (41, 64, 33), (130, 9, 600)]
        {
            let (x, w) = (values(rows * columns), values(out * columns));
            let y = linear_decode(&x, &w, columns);
            for (index, y) in y.iter().enumerate() {
                let (row, output) = (index / out, index % out);
                let expected: f32 = (0..columns).map(|i| x[row * columns + i] * w[output * columns + i]).sum();
                assert_eq!(*y, expected, "{rows} x {columns} x {out} at {row}, {output}"); // integers: exact
            }
            if rows > 0 {
                assert_eq!(linear_decode(&x[..columns], &w, columns), y[..out]);
            }
        }
    }
}
