//! A product's innermost piece, for kernels whose matrices are too small or lie too oddly for a general one: `M x N` sums that
//! stay in registers, N of them side by side in vectors. Each sum is made in the order of k, whatever is beside it.

use super::simd::multiply_add;

/// Columns of most tiles: two vectors of eight. With six rows their sums leave four registers for what is multiplied.
pub(super) const LANES: usize = 16;
pub(super) const ROWS: usize = 6;

/// Element (i, k) of the left factor lies at `i * row + k * step`; of the right, (k, j) at `k * row + j`, and all N columns exist.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub(super) values: &'a [f32],
    pub(super) row: usize,
    pub(super) step: usize,
}

#[derive(Clone, Copy)]
pub(super) struct Right<'a> {
    pub(super) values: &'a [f32],
    pub(super) row: usize,
}

/// Gives each row of `left [m, k] right [k, N]` to `take`, in order, made M at a time.
#[inline(always)]
pub(super) fn rows_by<const M: usize, const N: usize>(
    fused: bool,
    (m, k): (usize, usize),
    left: Left<'_>,
    right: Right<'_>,
    mut take: impl FnMut(usize, &[f32; N]),
) {
    if m == 0 || k == 0 {
        return;
    }
    assert!((m - 1) * left.row + (k - 1) * left.step < left.values.len());
    assert!((k - 1) * right.row + N <= right.values.len());
    let mut first = 0;
    macro_rules! take_rows {
        ($rows:expr) => {
            while m - first >= $rows {
                for (offset, sums) in tile::<{ $rows }, N>(fused, k, first, left, right).iter().enumerate() {
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

/// [`rows_by`] for tiles of the usual size.
#[inline(always)]
pub(super) fn rows(
    fused: bool,
    sizes: (usize, usize),
    left: Left<'_>,
    right: Right<'_>,
    take: impl FnMut(usize, &[f32; LANES]),
) {
    rows_by::<ROWS, LANES>(fused, sizes, left, right, take);
}

/// The caller has checked the bounds for rows `first..first + M` and all of k.
#[inline(always)]
#[expect(unsafe_code, reason = "a check for each element would cost more than its product")]
fn tile<const M: usize, const N: usize>(
    fused: bool,
    k: usize,
    first: usize,
    left: Left<'_>,
    right: Right<'_>,
) -> [[f32; N]; M] {
    let mut sums = [[0.0_f32; N]; M];
    let left_start = left.values.as_ptr().wrapping_add(first * left.row);
    let right_start = right.values.as_ptr();
    for step in 0..k {
        // SAFETY: `rows_by` has asserted that the last row and column of both factors lie within their slices.
        let b: [f32; N] = unsafe { right_start.add(step * right.row).cast::<[f32; N]>().read_unaligned() };
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: as above.
            let a = unsafe { *left_start.add(i * left.row + step * left.step) };
            for lane in 0..N {
                sums[lane] = multiply_add(fused, a, b[lane], sums[lane]);
            }
        }
    }
    sums
}
