//! Weights in eight bits for products with few rows, which read every weight once and do little with it: blocks of 32 along a row of
//! W, each with a scale in bf16, `w = scale * q`. A quarter of f32's bytes; docs/PERFORMANCE.md says what it costs in quality.
//!
//! They lie in panels of [`PANEL`] rows, column by column, so that a product with one row of x goes through memory in one stream with
//! the panel's sums side by side.

use rayon::prelude::*;

use super::simd::{LANES, add_products, prefetch, vectorised, widen};

/// Weights that share a scale.
pub(crate) const BLOCK: usize = 32;
/// Rows of W that lie side by side: enough sums at once to hide what a multiply-add takes.
pub(super) const PANEL: usize = 32;
const VECTORS: usize = PANEL / LANES;
/// How far ahead weights are asked for: about what is read while memory answers.
const AHEAD: usize = 4 << 10;

/// [out, columns]
pub(crate) struct Int8Matrix {
    /// [panels, columns, PANEL]; rows that only fill the last panel are 0.
    values: Vec<[i8; PANEL]>,
    /// bf16, the upper half of an f32: [panels, columns / BLOCK, PANEL].
    scales: Vec<[u16; PANEL]>,
    out: usize,
    columns: usize,
}

impl Int8Matrix {
    /// `columns` is a multiple of [`BLOCK`].
    pub(super) fn new(weight: &[f32], columns: usize) -> Self {
        let out = weight.len() / columns;
        let panels = out.div_ceil(PANEL);
        let mut values = vec![[0_i8; PANEL]; panels * columns];
        let mut scales = vec![[0_u16; PANEL]; panels * columns / BLOCK];
        let rows = weight.par_chunks(PANEL * columns);
        let places = values.par_chunks_mut(columns).zip(scales.par_chunks_mut(columns / BLOCK));
        rows.zip(places).for_each(|(rows, (values, scales))| {
            vectorised(
                #[inline(always)]
                |_| {
                    for (lane, row) in rows.chunks_exact(columns).enumerate() {
                        let blocks =
                            row.as_chunks::<BLOCK>().0.iter().zip(values.chunks_exact_mut(BLOCK)).zip(&mut *scales);
                        for ((weights, values), scales) in blocks {
                            let (scale, narrowed) = narrow(weights);
                            scales[lane] = scale;
                            values.iter_mut().zip(narrowed).for_each(|(values, value)| values[lane] = value);
                        }
                    }
                },
            );
        });
        Self { values, scales, out, columns }
    }

    pub(super) fn out(&self) -> usize {
        self.out
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// One panel as f32: [columns, PANEL].
    #[inline(always)]
    pub(super) fn widen(&self, fused: bool, panel: usize, into: &mut [[f32; PANEL]]) {
        let (values, scales) = self.panel(panel);
        for ((values, into), scales) in values.chunks_exact(BLOCK).zip(into.chunks_exact_mut(BLOCK)).zip(scales) {
            let scales = scales.map(widened);
            for (values, into) in values.iter().zip(into) {
                for vector in 0..VECTORS {
                    *part_mut(into, vector) = widen(fused, part(values, vector), part(&scales, vector));
                }
            }
        }
    }

    /// The whole matrix as f32: [out, columns].
    pub(super) fn widened(&self) -> Vec<f32> {
        let mut rows = vec![0.0; self.out * self.columns];
        rows.par_chunks_mut(PANEL * self.columns).enumerate().for_each_init(Vec::new, |panel, (number, rows)| {
            panel.resize(self.columns, [0.0; PANEL]);
            vectorised(
                #[inline(always)]
                |fused| self.widen(fused, number, panel),
            );
            for (lane, row) in rows.chunks_exact_mut(self.columns).enumerate() {
                row.iter_mut().zip(&*panel).for_each(|(value, column)| *value = column[lane]);
            }
        });
        rows
    }

    /// Products of one row of x with a panel's rows; the sums go in the same order as a tile's of widened weights.
    #[inline(always)]
    pub(super) fn dots(&self, fused: bool, x: &[f32], panel: usize) -> [f32; PANEL] {
        let (values, scales) = self.panel(panel);
        let mut sums = [[0.0_f32; LANES]; VECTORS];
        for ((values, x), scales) in values.chunks_exact(BLOCK).zip(x.as_chunks::<BLOCK>().0).zip(scales) {
            let scales = scales.map(widened);
            for (values, x) in values.iter().zip(x) {
                prefetch(values, AHEAD);
                for (vector, sums) in sums.iter_mut().enumerate() {
                    let weights = widen(fused, part(values, vector), part(&scales, vector));
                    *sums = add_products(fused, &[*x; LANES], &weights, *sums);
                }
            }
        }
        let mut all = [0.0; PANEL];
        for (vector, sums) in sums.iter().enumerate() {
            *part_mut(&mut all, vector) = *sums;
        }
        all
    }

    fn panel(&self, panel: usize) -> (&[[i8; PANEL]], &[[u16; PANEL]]) {
        let blocks = self.columns / BLOCK;
        (&self.values[panel * self.columns..][..self.columns], &self.scales[panel * blocks..][..blocks])
    }
}

#[inline(always)]
fn part<T>(values: &[T; PANEL], vector: usize) -> &[T; LANES] {
    &values.as_chunks().0[vector]
}

#[inline(always)]
fn part_mut<T>(values: &mut [T; PANEL], vector: usize) -> &mut [T; LANES] {
    &mut values.as_chunks_mut().0[vector]
}

/// A block's scale and values.
#[inline(always)]
fn narrow(weights: &[f32; BLOCK]) -> (u16, [i8; BLOCK]) {
    let mut largest = [0.0_f32; LANES];
    for part in weights.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            let size = part[lane].abs();
            largest[lane] = if size > largest[lane] { size } else { largest[lane] };
        }
    }
    let largest = largest.into_iter().fold(0.0, f32::max);
    // Rounded up, so that the largest stays within 127.
    let scale = ((largest / 127.0).to_bits().saturating_add(0xffff) >> 16) as u16;
    let inverse = if scale == 0 { 0.0 } else { 1.0 / widened(scale) };
    // Adding 1.5 * 2^23 rounds to a whole number, which then stands in the lowest bits.
    (scale, weights.map(|weight| (weight * inverse + 12_582_912.0).to_bits() as i8))
}

#[inline(always)]
fn widened(scale: u16) -> f32 {
    f32::from_bits(u32::from(scale) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_off_by_half_a_step_of_its_block_at_most() {
        let weight: Vec<f32> =
            (0..40 * 64).map(|i| ((i * 37 % 101) as f32 - 50.0) * 10_f32.powi(i / 640 - 2)).collect();
        let found = Int8Matrix::new(&weight, 64).widened();
        for (block, found) in weight.chunks(BLOCK).zip(found.chunks(BLOCK)) {
            let largest = block.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            for (expected, found) in block.iter().zip(found) {
                assert!((expected - found).abs() <= largest / 127.0 * 0.51, "{expected} became {found}");
            }
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        assert_eq!(Int8Matrix::new(&[0.0; 3 * 32], 32).widened(), [0.0; 3 * 32]);
    }
}
