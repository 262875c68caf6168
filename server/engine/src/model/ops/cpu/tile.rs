//! A product's innermost piece, for kernels whose matrices are too small or lie too oddly for a general one: `M x N` sums that
//! stay in registers, N of them side by side in vectors.

use super::simd::multiply_add;

/// Sums side by side: two vectors of eight.
pub(super) const LANES: usize = 16;
/// Rows of sums: 6 x 2 vectors leave four registers for what is multiplied.
const ROWS: usize = 6;

/// Element (i, k) of the left factor lies at `start + i * row + k * step`; of the right, (k, j) at `start + k * row + j`, and all
/// [`LANES`] columns exist.
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

/// Gives each row of `left [m, k] right [k, LANES]` to `take`, in order.
#[inline(always)]
pub(super) fn rows(
    fused: bool,
    (m, k): (usize, usize),
    left: Left<'_>,
    right: Right<'_>,
    mut take: impl FnMut(usize, &[f32; LANES]),
) {
    if m == 0 || k == 0 {
        return;
    }
    assert!((m - 1) * left.row + (k - 1) * left.step < left.values.len());
    assert!((k - 1) * right.row + LANES <= right.values.len());
    let mut first = 0;
    while first < m {
        macro_rules! take_rows {
            ($rows:literal) => {{
                for (offset, sums) in tile::<$rows>(fused, k, first, left, right).iter().enumerate() {
                    take(first + offset, sums);
                }
            }};
        }
        match m - first {
            1 => take_rows!(1),
            2 => take_rows!(2),
            3 => take_rows!(3),
            4 => take_rows!(4),
            5 => take_rows!(5),
            _ => take_rows!(6),
        }
        first += ROWS;
    }
}

/// The caller has checked the bounds for rows `first..first + M` and all of k.
#[inline(always)]
#[expect(unsafe_code, reason = "a check for each element would cost more than its product")]
fn tile<const M: usize>(fused: bool, k: usize, first: usize, left: Left<'_>, right: Right<'_>) -> [[f32; LANES]; M] {
    let mut sums = [[0.0_f32; LANES]; M];
    let left_start = left.values.as_ptr().wrapping_add(first * left.row);
    let right_start = right.values.as_ptr();
    for step in 0..k {
        // SAFETY: `rows` has asserted that the last row and column of both factors lie within their slices.
        let b: [f32; LANES] = unsafe { right_start.add(step * right.row).cast::<[f32; LANES]>().read_unaligned() };
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: as above.
            let a = unsafe { *left_start.add(i * left.row + step * left.step) };
            for lane in 0..LANES {
                sums[lane] = multiply_add(fused, a, b[lane], sums[lane]);
            }
        }
    }
    sums
}
