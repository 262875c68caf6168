//! int8 micro-kernel: some rows of x times a panel of weights, by the best instructions of the machine.
//!
//! All of them add up the same integers and round in the same places, except on machines without a fused multiply-add.

use super::{BLOCK, GROUP, GROUPS, Group, PANEL, Row, widened};
use crate::simd::{self, multiply_add};

#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    /// By block.
    pub(super) values: &'a [[Group; GROUPS]],
    pub(super) scales: &'a [[u16; PANEL]],
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Instructions {
    /// Dot products of four bytes, in registers of 64 bytes.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// The same in registers of 32 bytes.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Plain,
}

impl Instructions {
    #[cfg(target_arch = "x86_64")]
    pub(super) const ALL: [Self; 4] = [Self::Avx512Vnni, Self::AvxVnni, Self::Avx2, Self::Plain];
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) const ALL: [Self; 1] = [Self::Plain];

    pub(super) fn best() -> Self {
        Self::ALL.into_iter().find(|instructions| instructions.is_supported()).unwrap_or(Self::Plain)
    }

    /// Whether sums of six rows stay in registers. Four do everywhere.
    pub(super) fn is_tall(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni | Self::AvxVnni => true,
            _ => false,
        }
    }

    pub(super) fn is_supported(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => is_x86_feature_detected!("avxvnni") && Self::Avx2.is_supported(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Self::Plain => true,
        }
    }
}

/// Products of some rows with a panel. `instructions` are supported by this machine.
pub(super) fn tile<const M: usize>(
    instructions: Instructions,
    panel: Panel<'_>,
    rows: &[Row<'_>; M],
) -> [[f32; PANEL]; M] {
    debug_assert!(instructions.is_supported());
    match instructions {
        // SAFETY: `best` has detected the instructions; the tests ask first.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512Vnni => unsafe { x86::avx512_vnni(panel, rows) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Instructions::AvxVnni => unsafe { x86::avx_vnni(panel, rows) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 => unsafe { x86::avx2(panel, rows) },
        Instructions::Plain => plain(panel, rows),
    }
}

fn plain<const M: usize>(panel: Panel<'_>, rows: &[Row<'_>; M]) -> [[f32; PANEL]; M] {
    let mut sums = [[0.0; PANEL]; M];
    for (block, (groups, scales)) in panel.values.iter().zip(panel.scales).enumerate() {
        for (row, sums) in rows.iter().zip(&mut sums) {
            let mut whole = [0_i32; PANEL];
            for (group, x) in groups.iter().zip(row.values[block].as_chunks::<GROUP>().0) {
                for (whole, weights) in whole.iter_mut().zip(&group.0) {
                    for (weight, x) in weights.iter().zip(x) {
                        *whole += i32::from(*weight) * i32::from(*x);
                    }
                }
            }
            for ((sum, whole), scale) in sums.iter_mut().zip(whole).zip(scales) {
                let scale = widened(*scale) * row.scales[block];
                *sum = multiply_add(simd::Level::Plain, whole as f32, scale, *sum);
            }
        }
    }
    sums
}

#[cfg(target_arch = "x86_64")]
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "loads and stores of the two halves of one array")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{BLOCK, GROUP, Group, PANEL, Panel, Row};

    /// The instructions multiply unsigned by signed bytes. A signed byte becomes an unsigned one by adding 128, which
    /// flips its highest bit; this adds 128 times the sum of the other factor's values to a dot product.
    const OFFSET: i32 = 128;

    /// Four values of a row as one operand.
    #[inline(always)]
    fn four(values: &[i8; BLOCK], group: usize) -> i32 {
        i32::from_ne_bytes(values.as_chunks::<GROUP>().0[group].map(|value| value as u8))
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn avx512_vnni<const M: usize>(panel: Panel<'_>, rows: &[Row<'_>; M]) -> [[f32; PANEL]; M] {
        let flip = _mm512_set1_epi8(-128);
        let mut sums = [[_mm512_setzero_ps(); 2]; M];
        for (block, (groups, scales)) in panel.values.iter().zip(panel.scales).enumerate() {
            let mut whole: [[__m512i; 2]; M] =
                std::array::from_fn(|row| [_mm512_set1_epi32(-OFFSET * rows[row].sums[block]); 2]);
            for (number, Group(weights)) in groups.iter().enumerate() {
                let address: *const __m512i = weights.as_ptr().cast();
                // SAFETY: a group is 128 bytes.
                let halves = unsafe { [_mm512_loadu_si512(address), _mm512_loadu_si512(address.add(1))] };
                let halves = halves.map(|half| _mm512_xor_si512(half, flip));
                for (row, whole) in rows.iter().zip(&mut whole) {
                    let x = _mm512_set1_epi32(four(&row.values[block], number));
                    whole[0] = _mm512_dpbusd_epi32(whole[0], halves[0], x);
                    whole[1] = _mm512_dpbusd_epi32(whole[1], halves[1], x);
                }
            }
            let address: *const __m256i = scales.as_ptr().cast();
            // SAFETY: the scales are 64 bytes.
            let scales = unsafe { [_mm256_loadu_si256(address), _mm256_loadu_si256(address.add(1))] };
            let scales = scales.map(|half| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half))));
            for ((row, whole), sums) in rows.iter().zip(&whole).zip(&mut sums) {
                let scale = _mm512_set1_ps(row.scales[block]);
                for half in 0..2 {
                    let scale = _mm512_mul_ps(scales[half], scale);
                    sums[half] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole[half]), scale, sums[half]);
                }
            }
        }
        let mut out = [[0.0; PANEL]; M];
        for (out, sums) in out.iter_mut().zip(sums) {
            // SAFETY: a row of the output is 32 floats.
            unsafe {
                _mm512_storeu_ps(out.as_mut_ptr(), sums[0]);
                _mm512_storeu_ps(out.as_mut_ptr().add(16), sums[1]);
            }
        }
        out
    }

    /// In registers of 32 bytes, 16 of the panel's rows at a time. `$start`: a block's initial sum, from the sum of the
    /// row's values; `$dot` adds four products to each sum.
    macro_rules! by_32_bytes {
        ($name:ident, $features:literal, $start:expr, $prepare:expr, $dot:expr) => {
            #[target_feature(enable = $features)]
            pub(super) fn $name<const M: usize>(panel: Panel<'_>, rows: &[Row<'_>; M]) -> [[f32; PANEL]; M] {
                let mut out = [[0.0; PANEL]; M];
                for half in 0..2 {
                    let mut sums = [[_mm256_setzero_ps(); 2]; M];
                    for (block, (groups, scales)) in panel.values.iter().zip(panel.scales).enumerate() {
                        let mut whole: [[__m256i; 2]; M] =
                            std::array::from_fn(|row| [_mm256_set1_epi32($start(rows[row].sums[block])); 2]);
                        for (number, Group(weights)) in groups.iter().enumerate() {
                            let address: *const __m256i = weights.as_ptr().cast();
                            // SAFETY: a group is 128 bytes, aligned to 64.
                            let weights = unsafe {
                                [_mm256_load_si256(address.add(half * 2)), _mm256_load_si256(address.add(half * 2 + 1))]
                            };
                            let prepared = weights.map(|weights| $prepare(weights));
                            for (row, whole) in rows.iter().zip(&mut whole) {
                                let x = _mm256_set1_epi32(four(&row.values[block], number));
                                for part in 0..2 {
                                    whole[part] = $dot(whole[part], weights[part], prepared[part], x);
                                }
                            }
                        }
                        let address: *const __m128i = scales.as_ptr().cast();
                        // SAFETY: the scales are 64 bytes.
                        let scales = unsafe {
                            [_mm_loadu_si128(address.add(half * 2)), _mm_loadu_si128(address.add(half * 2 + 1))]
                        };
                        let scales = scales
                            .map(|part| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(part))));
                        for ((row, whole), sums) in rows.iter().zip(&whole).zip(&mut sums) {
                            let scale = _mm256_set1_ps(row.scales[block]);
                            for part in 0..2 {
                                let scale = _mm256_mul_ps(scales[part], scale);
                                sums[part] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole[part]), scale, sums[part]);
                            }
                        }
                    }
                    for (out, sums) in out.iter_mut().zip(sums) {
                        // SAFETY: a row of the output is 32 floats.
                        unsafe {
                            _mm256_storeu_ps(out.as_mut_ptr().add(half * 16), sums[0]);
                            _mm256_storeu_ps(out.as_mut_ptr().add(half * 16 + 8), sums[1]);
                        }
                    }
                }
                out
            }
        };
    }

    by_32_bytes!(
        avx_vnni,
        "avx2,fma,avxvnni",
        |sum: i32| -OFFSET * sum,
        |weights| _mm256_xor_si256(weights, _mm256_set1_epi8(-128)),
        |whole, _, flipped, x| _mm256_dpbusd_avx_epi32(whole, flipped, x)
    );

    // [`avx_vnni`] in the encoding of AVX-512 processors, so that it is tested on these too.
    #[cfg(test)]
    by_32_bytes!(
        avx512_vnni_by_32_bytes,
        "avx2,fma,avx512vl,avx512vnni",
        |sum: i32| -OFFSET * sum,
        |weights| _mm256_xor_si256(weights, _mm256_set1_epi8(-128)),
        |whole, _, flipped, x| _mm256_dpbusd_epi32(whole, flipped, x)
    );

    // Products of |w| and x with w's sign: sums of two fit into 16 bits, since neither is below -127.
    by_32_bytes!(avx2, "avx2,fma", |_: i32| 0, |weights| _mm256_abs_epi8(weights), |whole, weights, sizes, x| {
        let pairs = _mm256_maddubs_epi16(sizes, _mm256_sign_epi8(x, weights));
        _mm256_add_epi32(whole, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::int8::{Int8Matrix, Int8Rows};

    fn random(size: usize, seed: usize) -> Vec<f32> {
        (0..size)
            .map(|i| (((i + seed) * 7919 % 4001) as f32 - 2000.0) * 10_f32.powi((i / 320 % 5) as i32 - 2))
            .collect()
    }

    fn same<const M: usize>(what: &str, found: &[[f32; PANEL]; M], expected: &[[f32; PANEL]; M]) {
        for (found, expected) in found.as_flattened().iter().zip(expected.as_flattened()) {
            assert!((found - expected).abs() <= expected.abs() * 1e-5 + 1e-2, "{what}: {found} for {expected}");
        }
    }

    #[test]
    fn all_instructions_of_this_machine_give_the_same() {
        let (weight, x) = (Int8Matrix::new(&random(40 * 96, 1), 96), Int8Rows::new(&random(6 * 96, 2), 96));
        let rows: [Row<'_>; 6] = std::array::from_fn(|row| x.row(row));
        for panel in 0..2 {
            let panel = weight.panel(panel);
            let expected = plain(panel, &rows);
            for instructions in Instructions::ALL.into_iter().filter(|instructions| instructions.is_supported()) {
                same(&format!("{instructions:?}"), &tile(instructions, panel, &rows), &expected);
            }
            #[cfg(target_arch = "x86_64")]
            if Instructions::Avx512Vnni.is_supported()
                && Instructions::Avx2.is_supported()
                && is_x86_feature_detected!("avx512vl")
            {
                // SAFETY: its features are detected.
                same("32 bytes", &unsafe { x86::avx512_vnni_by_32_bytes(panel, &rows) }, &expected);
            }
        }
    }
}
