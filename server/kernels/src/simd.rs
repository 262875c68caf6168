//! Run-time dispatch: compiles a kernel for AVX-512, for AVX2 with FMA, and for the plain target, and picks the best
//! that the machine has. On other architectures there is only the plain target.

use std::mem::MaybeUninit;

/// The instruction set that a kernel is compiled for.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Plain,
}

impl Level {
    #[inline(always)]
    pub(crate) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            let wide = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            return if wide { Self::Avx512 } else { Self::Avx2 };
        }
        Self::Plain
    }

    /// All that this machine supports.
    #[cfg(test)]
    pub(crate) fn supported() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        match Self::best() {
            Self::Avx512 => return vec![Self::Avx512, Self::Avx2, Self::Plain],
            Self::Avx2 => return vec![Self::Avx2, Self::Plain],
            Self::Plain => {}
        }
        vec![Self::Plain]
    }

    /// Whether a fused multiply-add is one instruction; otherwise it would be a call into libm.
    #[inline(always)]
    fn is_fused(self) -> bool {
        match self {
            Self::Plain => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "x86_64")]
            _ => true,
        }
    }
}

/// Runs `work`, compiled for the best instruction set of this machine, which it is given. `work` and what it calls must
/// be `#[inline(always)]`: what is not inlined is compiled for the plain target.
#[inline(always)]
pub(crate) fn vectorised<R>(work: impl FnOnce(Level) -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn avx512<R>(work: impl FnOnce(Level) -> R) -> R {
            work(Level::Avx512)
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2<R>(work: impl FnOnce(Level) -> R) -> R {
            work(Level::Avx2)
        }
        match Level::best() {
            // SAFETY: `best` has detected all of its features.
            Level::Avx512 => return unsafe { avx512(work) },
            // SAFETY: as above.
            Level::Avx2 => return unsafe { avx2(work) },
            Level::Plain => {}
        }
    }
    work(Level::Plain)
}

/// `a * b + c`
#[inline(always)]
pub(crate) fn multiply_add(level: Level, a: f32, b: f32, c: f32) -> f32 {
    if level.is_fused() { a.mul_add(b, c) } else { a * b + c }
}

/// Prefetches the cache line of `address` without waiting; any address will do.
#[inline(always)]
pub(crate) fn prefetch(address: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has the instruction, and it accesses no memory.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// An element of an output, initialised or not.
pub(crate) trait Element {
    fn set(&mut self, value: f32);
}

impl Element for f32 {
    #[inline(always)]
    fn set(&mut self, value: f32) {
        *self = value;
    }
}

impl Element for MaybeUninit<f32> {
    #[inline(always)]
    fn set(&mut self, value: f32) {
        self.write(value);
    }
}

/// `into[j, i] = scale * from[i, j]` for `from: [rows, columns]`; both slices come with their row stride. Squares of 8
/// x 8 are transposed in registers.
#[inline(always)]
pub(crate) fn transpose<E: Element>(
    level: Level,
    (from, from_row): (&[f32], usize),
    (rows, columns): (usize, usize),
    scale: f32,
    (into, into_row): (&mut [E], usize),
) {
    const SIDE: usize = 8;
    let (whole_rows, whole_columns) = (rows - rows % SIDE, columns - columns % SIDE);
    for row in (0..whole_rows).step_by(SIDE) {
        for column in (0..whole_columns).step_by(SIDE) {
            let square = std::array::from_fn(|i| {
                from[(row + i) * from_row + column..].first_chunk().expect("whole squares have whole rows")
            });
            for (j, values) in transposed(level, square, scale).into_iter().enumerate() {
                let targets: &mut [E; SIDE] =
                    into[(column + j) * into_row + row..].first_chunk_mut().expect("whole squares have whole rows");
                for i in 0..SIDE {
                    targets[i].set(values[i]);
                }
            }
        }
    }
    for row in 0..rows {
        let first = if row < whole_rows { whole_columns } else { 0 };
        for column in first..columns {
            into[column * into_row + row].set(scale * from[row * from_row + column]);
        }
    }
}

#[inline(always)]
fn transposed(level: Level, square: [&[f32; 8]; 8], scale: f32) -> [[f32; 8]; 8] {
    match level {
        Level::Plain => std::array::from_fn(|j| std::array::from_fn(|i| scale * square[i][j])),
        #[cfg(target_arch = "x86_64")]
        _ => x86::transposed(square, scale),
    }
}

/// A SIMD register, for loops that the compiler does not vectorise as intended. Only to be used within [`vectorised`]
/// at a [`Level`] that has it.
pub(crate) trait Vector: Copy {
    const LANES: usize;

    fn splat(value: f32) -> Self;

    /// The first [`Self::LANES`] of `values`.
    fn load(values: &[f32]) -> Self;

    fn store(self, values: &mut [f32]);

    /// `self + a * b`
    fn plus_product(self, a: Self, b: Self) -> Self;
}

/// Eight values in whatever registers the target has.
#[derive(Clone, Copy)]
pub(crate) struct Plain([f32; 8]);

impl Vector for Plain {
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; 8])
    }

    #[inline(always)]
    fn load(values: &[f32]) -> Self {
        Self(*values.first_chunk().expect("a whole vector"))
    }

    #[inline(always)]
    fn store(self, values: &mut [f32]) {
        *values.first_chunk_mut().expect("a whole vector") = self.0;
    }

    #[inline(always)]
    fn plus_product(self, a: Self, b: Self) -> Self {
        Self(std::array::from_fn(|lane| multiply_add(Level::Plain, a.0[lane], b.0[lane], self.0[lane])))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Vector;

    macro_rules! vector {
        ($type:ty, $lanes:literal, $splat:ident, $load:ident, $store:ident, $fmadd:ident) => {
            impl Vector for $type {
                const LANES: usize = $lanes;

                #[inline(always)]
                fn splat(value: f32) -> Self {
                    // SAFETY: `Vector` is used only at a level that has the instruction.
                    unsafe { $splat(value) }
                }

                #[inline(always)]
                fn load(values: &[f32]) -> Self {
                    assert!(values.len() >= $lanes);
                    // SAFETY: as in `splat`; the length is checked.
                    unsafe { $load(values.as_ptr()) }
                }

                #[inline(always)]
                fn store(self, values: &mut [f32]) {
                    assert!(values.len() >= $lanes);
                    // SAFETY: as in `splat`; the length is checked.
                    unsafe { $store(values.as_mut_ptr(), self) }
                }

                #[inline(always)]
                fn plus_product(self, a: Self, b: Self) -> Self {
                    // SAFETY: as in `splat`.
                    unsafe { $fmadd(a, b, self) }
                }
            }
        };
    }

    /// Only to be used at a level that has AVX2.
    #[inline(always)]
    #[expect(clippy::multiple_unsafe_ops_per_block, reason = "one instruction sequence with one requirement")]
    pub(super) fn transposed(square: [&[f32; 8]; 8], scale: f32) -> [[f32; 8]; 8] {
        let mut out = [[0.0; 8]; 8];
        // Loops instead of closures: a closure that is not inlined would be compiled without AVX2.
        // SAFETY: the caller is at a level that has AVX2, and a row has eight values.
        unsafe {
            let scale = _mm256_set1_ps(scale);
            let mut rows = [scale; 8];
            for i in 0..8 {
                rows[i] = _mm256_mul_ps(_mm256_loadu_ps(square[i].as_ptr()), scale);
            }
            // Interleave pairs of rows, then groups of four, each within 128-bit lanes; then exchange the lanes.
            let mut pairs = [[scale; 2]; 4];
            for i in 0..4 {
                let (a, b) = (rows[2 * i], rows[2 * i + 1]);
                pairs[i] = [_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)];
            }
            let mut fours = [[scale; 4]; 2];
            for i in 0..2 {
                let (a, b) = (pairs[2 * i], pairs[2 * i + 1]);
                fours[i] = [
                    _mm256_shuffle_ps::<0x44>(a[0], b[0]),
                    _mm256_shuffle_ps::<0xee>(a[0], b[0]),
                    _mm256_shuffle_ps::<0x44>(a[1], b[1]),
                    _mm256_shuffle_ps::<0xee>(a[1], b[1]),
                ];
            }
            for j in 0..4 {
                let (a, b) = (fours[0][j], fours[1][j]);
                _mm256_storeu_ps(out[j].as_mut_ptr(), _mm256_permute2f128_ps::<0x20>(a, b));
                _mm256_storeu_ps(out[j + 4].as_mut_ptr(), _mm256_permute2f128_ps::<0x31>(a, b));
            }
        }
        out
    }

    vector!(__m256, 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps);
    vector!(__m512, 16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transpose_is_right_for_whole_squares_and_for_the_remainder() {
        for (rows, columns) in [(8, 8), (16, 24), (13, 9), (3, 5), (64, 17)] {
            let (from_row, into_row) = (columns + 3, rows + 2);
            let from: Vec<f32> = (0..rows * from_row).map(|i| i as f32).collect();
            let mut into = vec![-1.0; columns * into_row];
            vectorised(
                #[inline(always)]
                |level| transpose(level, (&from, from_row), (rows, columns), 2.0, (&mut into, into_row)),
            );
            for (index, value) in into.iter().enumerate() {
                let (column, row) = (index / into_row, index % into_row);
                let expected = if row < rows { 2.0 * from[row * from_row + column] } else { -1.0 };
                assert_eq!(*value, expected, "{rows} x {columns} at {row}, {column}");
            }
        }
    }
}
