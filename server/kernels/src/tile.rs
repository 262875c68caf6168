//! GEMM micro-kernel: `M x N` sums in registers, for kernels whose matrices are too small or too oddly strided for a
//! general GEMM. Each sum is added up in the order of k, however many rows are computed with it.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m512};

use crate::simd::{Level, Plain, Vector, transpose, vectorised};

/// Columns of most tiles: one register of AVX-512, two of AVX2.
pub(crate) const LANES: usize = 16;

/// Element (i, k) of the left factor lies at `i * row + k * step`; of the right, (k, j) at `k * row + j`, and all N
/// columns exist.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) row: usize,
    pub(crate) step: usize,
}

#[derive(Clone, Copy)]
pub(crate) struct Right<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) row: usize,
}

/// The first `LANES` of `values`.
#[inline(always)]
pub(crate) fn lanes(values: &[f32]) -> &[f32; LANES] {
    values.first_chunk().expect("a strip is whole")
}

#[inline(always)]
pub(crate) fn lanes_mut(values: &mut [f32]) -> &mut [f32; LANES] {
    values.first_chunk_mut().expect("a strip is whole")
}

/// Rows interleaved as right factors: [rows, columns] -> [strips, columns, N]; the last strip is padded with zeros.
pub(crate) fn strips<const N: usize>(x: &[f32], columns: usize) -> Vec<f32> {
    let mut strips = vec![0.0; (x.len() / columns).next_multiple_of(N) * columns];
    vectorised(
        #[inline(always)]
        |level| {
            for (strip, x) in strips.chunks_exact_mut(columns * N).zip(x.chunks(N * columns)) {
                transpose(level, (x, columns), (x.len() / columns, columns), 1.0, (strip, N));
            }
        },
    );
    strips
}

/// Calls `take` with each row of `left [m, k] right [k, N]`, in order; N is 8, 16 or 32.
#[inline(always)]
pub(crate) fn rows<const N: usize>(
    level: Level,
    sizes: (usize, usize),
    left: Left<'_>,
    right: Right<'_>,
    take: impl FnMut(usize, &[f32; N]),
) {
    // As many rows at a time as leave registers for the factors.
    match (level, N) {
        #[cfg(target_arch = "x86_64")]
        (Level::Avx512, 32) => rows_by::<__m512, 8, 2, N>(sizes, left, right, take),
        #[cfg(target_arch = "x86_64")]
        (Level::Avx512, 16) => rows_by::<__m512, 16, 1, N>(sizes, left, right, take),
        #[cfg(target_arch = "x86_64")]
        (Level::Avx512 | Level::Avx2, 8) => rows_by::<__m256, 12, 1, N>(sizes, left, right, take),
        #[cfg(target_arch = "x86_64")]
        (Level::Avx2, 32) => rows_by::<__m256, 3, 4, N>(sizes, left, right, take),
        #[cfg(target_arch = "x86_64")]
        (Level::Avx512 | Level::Avx2, _) => rows_by::<__m256, 6, 2, N>(sizes, left, right, take),
        (Level::Plain, 8) => rows_by::<Plain, 12, 1, N>(sizes, left, right, take),
        (Level::Plain, 32) => rows_by::<Plain, 3, 4, N>(sizes, left, right, take),
        (Level::Plain, _) => rows_by::<Plain, 6, 2, N>(sizes, left, right, take),
    }
}

/// M rows at a time, of `VECTORS` registers each: N columns.
#[inline(always)]
fn rows_by<V: Vector, const M: usize, const VECTORS: usize, const N: usize>(
    (m, k): (usize, usize),
    left: Left<'_>,
    right: Right<'_>,
    mut take: impl FnMut(usize, &[f32; N]),
) {
    if m == 0 || k == 0 {
        return;
    }
    assert_eq!(N, VECTORS * V::LANES, "columns fill whole registers");
    assert!((m - 1) * left.row + (k - 1) * left.step < left.values.len());
    assert!((k - 1) * right.row + N <= right.values.len());
    let mut first = 0;
    macro_rules! take_rows {
        ($rows:expr) => {
            while m - first >= $rows {
                for (offset, sums) in tile::<V, { $rows }, VECTORS, N>(k, first, left, right).iter().enumerate() {
                    take(first + offset, sums);
                }
                first += $rows;
            }
        };
    }
    take_rows!(M);
    take_rows!(4);
    take_rows!(2);
    take_rows!(1);
}

/// Bounds are not checked per element, which would cost more than the product: `rows_by` has checked them for rows
/// `first..first + M` and all of k.
#[inline(always)]
fn tile<V: Vector, const M: usize, const VECTORS: usize, const N: usize>(
    k: usize,
    first: usize,
    left: Left<'_>,
    right: Right<'_>,
) -> [[f32; N]; M] {
    let mut sums = [[V::splat(0.0); VECTORS]; M];
    let left_start = left.values.as_ptr().wrapping_add(first * left.row);
    let right_start = right.values.as_ptr();
    for step in 0..k {
        // SAFETY: `rows_by` has asserted that the last row and column of both factors lie within their slices.
        let b = unsafe { &*right_start.wrapping_add(step * right.row).cast::<[f32; N]>() };
        let b: [V; VECTORS] = std::array::from_fn(|vector| V::load(&b[vector * V::LANES..]));
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: as above.
            let a = V::splat(unsafe { *left_start.wrapping_add(i * left.row + step * left.step) });
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = sum.plus_product(a, b);
            }
        }
    }
    let mut out = [[0.0; N]; M];
    for (out, sums) in out.iter_mut().zip(sums) {
        for (out, sum) in out.chunks_exact_mut(V::LANES).zip(sums) {
            sum.store(out);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agree<const N: usize>(level: Level, (m, k): (usize, usize)) {
        let (left_row, right_row) = (k + 1, N + 5);
        let values = |size: usize| -> Vec<f32> { (0..size).map(|i| (i * 31 % 17) as f32 - 8.0).collect() };
        let (a, b) = (values(m * left_row), values(k * right_row));
        let (left, right) = (Left { values: &a, row: left_row, step: 1 }, Right { values: &b, row: right_row });
        let mut seen = 0;
        rows::<N>(level, (m, k), left, right, |row, sums| {
            assert_eq!(row, seen, "rows come in order");
            seen += 1;
            for (column, sum) in sums.iter().enumerate() {
                let expected: f32 = (0..k).map(|i| a[row * left_row + i] * b[i * right_row + column]).sum();
                assert_eq!(*sum, expected, "{m} x {k} x {N} at {row}, {column}"); // whole numbers: exact
            }
        });
        assert_eq!(seen, m);
    }

    #[test]
    fn every_instruction_set_of_this_machine_gives_the_same_rows() {
        for sizes in [(1, 1), (5, 3), (16, 64), (31, 7), (47, 20)] {
            for level in Level::supported() {
                agree::<8>(level, sizes);
                agree::<16>(level, sizes);
                agree::<32>(level, sizes);
            }
        }
    }
}
