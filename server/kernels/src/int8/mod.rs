//! int8 quantization of frozen weights and, on the fly, of activations: blocks of 32 values along a row share a scale,
//! `w = scale * q`. A block's products are summed as integers, for which processors have dot-product instructions at
//! several times the rate of f32, and a weight takes a quarter of f32's bytes. docs/PERFORMANCE.md has the cost in
//! quality.
//!
//! Weights are packed in panels of [`PANEL`] rows, four columns at a time, which is the operand layout of those
//! instructions. A result depends on its row and the weights alone: each sum goes block by block in the order of the
//! columns.

mod tile;

use std::mem::MaybeUninit;

use rayon::prelude::*;

use crate::output::written;
use crate::simd::vectorised;
use tile::{Instructions, Panel, tile};

/// Values that share a scale; the columns of a matrix are a multiple of it.
pub const BLOCK: usize = 32;
/// Rows of W that are interleaved.
const PANEL: usize = 32;
/// Columns that one dot-product instruction adds up.
const GROUP: usize = 4;
const GROUPS: usize = BLOCK / GROUP;
/// From this many rows of x on, threads take rows; below, panels.
const MANY_ROWS: usize = 64;
/// Rows of x of one task: few enough to stay in the cache over all panels.
const TASK_ROWS: usize = 96;
/// Blocks of x that one task quantizes: several rows, since one alone is not worth a thread.
const TASK_BLOCKS: usize = 512;
/// Panels of one task with few rows.
const TASK_PANELS: usize = 3;

/// Four columns of a panel's rows.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Group([[i8; GROUP]; PANEL]);

/// Frozen weights: [out, columns].
pub struct Int8Matrix {
    /// [panels, columns / GROUP]; the last panel is padded with zeros.
    values: Vec<Group>,
    /// bf16, the upper half of an f32: [panels, columns / BLOCK].
    scales: Vec<[u16; PANEL]>,
    out: usize,
    columns: usize,
}

impl Int8Matrix {
    /// Quantizes weight: [out, columns].
    pub fn new(weight: &[f32], columns: usize) -> Self {
        assert!(columns.is_multiple_of(BLOCK), "{columns} columns in blocks of {BLOCK}");
        let out = weight.len() / columns;
        let panels = out.div_ceil(PANEL);
        let mut values = vec![Group([[0; GROUP]; PANEL]); panels * columns / GROUP];
        let mut scales = vec![[0_u16; PANEL]; panels * columns / BLOCK];
        let rows = weight.par_chunks(PANEL * columns);
        let panels = values.par_chunks_mut(columns / GROUP).zip(scales.par_chunks_mut(columns / BLOCK));
        rows.zip(panels).for_each(|(rows, (values, scales))| {
            vectorised(
                #[inline(always)]
                |_| {
                    for (lane, row) in rows.chunks_exact(columns).enumerate() {
                        let blocks = values.chunks_exact_mut(GROUPS).zip(&mut *scales);
                        for (weights, (values, scales)) in row.as_chunks::<BLOCK>().0.iter().zip(blocks) {
                            // Rounded up, so that the largest stays within 127.
                            scales[lane] = ((largest(weights) / 127.0).to_bits().saturating_add(0xffff) >> 16) as u16;
                            let quantized = quantize(weights, widened(scales[lane]));
                            for (values, quantized) in values.iter_mut().zip(quantized.as_chunks::<GROUP>().0) {
                                values.0[lane] = *quantized;
                            }
                        }
                    }
                },
            );
        });
        Self { values, scales, out, columns }
    }

    /// Rows of W.
    pub fn out(&self) -> usize {
        self.out
    }

    fn panel(&self, panel: usize) -> Panel<'_> {
        let (groups, blocks) = (self.columns / GROUP, self.columns / BLOCK);
        Panel {
            values: self.values[panel * groups..][..groups].as_chunks().0,
            scales: &self.scales[panel * blocks..][..blocks],
        }
    }
}

/// Quantized rows of x: [rows, columns].
struct Int8Rows {
    /// [rows, columns / BLOCK] of each.
    values: Vec<[i8; BLOCK]>,
    scales: Vec<f32>,
    sums: Vec<i32>,
    blocks: usize,
}

/// One of them.
#[derive(Clone, Copy)]
struct Row<'a> {
    values: &'a [[i8; BLOCK]],
    scales: &'a [f32],
    /// The sum of each block's values.
    sums: &'a [i32],
}

impl Int8Rows {
    fn new(x: &[f32], columns: usize) -> Self {
        let x = x.as_chunks::<BLOCK>().0;
        let mut rows = Self {
            values: vec![[0; BLOCK]; x.len()],
            scales: vec![0.0; x.len()],
            sums: vec![0; x.len()],
            blocks: columns / BLOCK,
        };
        let (values, scales) = (rows.values.par_chunks_mut(TASK_BLOCKS), rows.scales.par_chunks_mut(TASK_BLOCKS));
        values.zip(scales).zip(rows.sums.par_chunks_mut(TASK_BLOCKS)).zip(x.par_chunks(TASK_BLOCKS)).for_each(
            |(((values, scales), sums), x)| {
                vectorised(
                    #[inline(always)]
                    |_| {
                        for (((values, scale), sum), x) in values.iter_mut().zip(scales).zip(sums).zip(x) {
                            *scale = largest(x) / 127.0;
                            *values = quantize(x, *scale);
                            *sum = values.iter().map(|value| i32::from(*value)).sum();
                        }
                    },
                );
            },
        );
        rows
    }

    fn row(&self, row: usize) -> Row<'_> {
        let blocks = row * self.blocks..(row + 1) * self.blocks;
        Row { values: &self.values[blocks.clone()], scales: &self.scales[blocks.clone()], sums: &self.sums[blocks] }
    }
}

/// x Wᵀ; x: [rows, columns] -> [rows, out].
pub fn linear(x: &[f32], weight: &Int8Matrix) -> Vec<f32> {
    let (columns, out) = (weight.columns, weight.out);
    let count = x.len() / columns;
    let x = Int8Rows::new(x, columns);
    if count >= MANY_ROWS {
        let write = |y: &mut [MaybeUninit<f32>]| {
            y.par_chunks_mut(TASK_ROWS * out).enumerate().for_each(|(task, y)| {
                for panel in 0..out.div_ceil(PANEL) {
                    let (first, width) = (panel * PANEL, PANEL.min(out - panel * PANEL));
                    sums(weight.panel(panel), &x, task * TASK_ROWS, y.len() / out, |row, sums| {
                        y[row * out + first..][..width].write_copy_of_slice(&sums[..width]);
                    });
                }
            });
        };
        // SAFETY: each task writes its rows for every panel, and the panels cover the outputs.
        return unsafe { written(count * out, write) };
    }
    // [panels, rows, PANEL], so that each task writes a contiguous part.
    let mut panels = vec![[0.0; PANEL]; out.div_ceil(PANEL) * count];
    panels.par_chunks_mut(TASK_PANELS * count).enumerate().for_each(|(task, panels)| {
        for (panel, y) in panels.chunks_exact_mut(count).enumerate() {
            sums(weight.panel(task * TASK_PANELS + panel), &x, 0, count, |row, sums| y[row] = *sums);
        }
    });
    let mut y = vec![0.0; count * out];
    for (row, y) in y.chunks_exact_mut(out).enumerate() {
        for (panel, y) in y.chunks_mut(PANEL).enumerate() {
            y.copy_from_slice(&panels[panel * count + row][..y.len()]);
        }
    }
    y
}

/// Calls `take` with the products of `count` rows, from `first` on, and a panel.
fn sums(panel: Panel<'_>, x: &Int8Rows, first: usize, count: usize, mut take: impl FnMut(usize, &[f32; PANEL])) {
    let instructions = Instructions::best();
    let mut done = 0;
    macro_rules! take_rows {
        ($rows:expr) => {
            while count - done >= $rows {
                let rows: [Row<'_>; $rows] = std::array::from_fn(|row| x.row(first + done + row));
                for (row, sums) in tile(instructions, panel, &rows).iter().enumerate() {
                    take(done + row, sums);
                }
                done += $rows;
            }
        };
    }
    if instructions.is_tall() {
        take_rows!(6);
    }
    take_rows!(4);
    take_rows!(2);
    take_rows!(1);
}

/// The largest magnitude; NaN and infinity count as the largest, so that neither is lost.
#[inline(always)]
fn largest(values: &[f32; BLOCK]) -> f32 {
    let magnitude = |value: f32| value.to_bits() & 0x7fff_ffff;
    f32::from_bits(values.iter().fold(0, |largest, value| largest.max(magnitude(*value))))
}

#[inline(always)]
fn quantize(values: &[f32; BLOCK], scale: f32) -> [i8; BLOCK] {
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    // Adding 1.5 * 2^23 rounds to an integer, which is then in the lowest bits.
    values.map(|value| (value * inverse + 12_582_912.0).to_bits() as i8)
}

#[inline(always)]
fn widened(scale: u16) -> f32 {
    f32::from_bits(u32::from(scale) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(size: usize) -> Vec<f32> {
        (0..size).map(|i| ((i * 37 % 101) as f32 - 50.0) * 10_f32.powi((i / 640 % 4) as i32 - 2)).collect()
    }

    #[test]
    fn a_value_is_off_by_half_a_step_of_its_block_at_most() {
        for block in values(80 * BLOCK).as_chunks::<BLOCK>().0 {
            let scale = largest(block) / 127.0;
            for (value, quantized) in block.iter().zip(quantize(block, scale)) {
                let found = f32::from(quantized) * scale;
                assert!((value - found).abs() <= scale * 0.5001, "{value} became {found} in steps of {scale}");
            }
        }
    }

    #[test]
    fn a_weight_is_off_by_half_a_step_of_its_block_at_most() {
        let (out, columns) = (40, 64);
        let weight = values(out * columns);
        let matrix = Int8Matrix::new(&weight, columns);
        for (row, weights) in weight.chunks(columns).enumerate() {
            let (panel, lane) = (matrix.panel(row / PANEL), row % PANEL);
            for (block, weights) in weights.as_chunks::<BLOCK>().0.iter().enumerate() {
                let scale = widened(panel.scales[block][lane]);
                let found = panel.values[block].iter().flat_map(|group| group.0[lane]);
                for (weight, found) in weights.iter().zip(found) {
                    let found = f32::from(found) * scale;
                    assert!((weight - found).abs() <= largest(weights) / 127.0 * 0.51, "{weight} became {found}");
                }
            }
        }
    }

    #[test]
    fn a_product_is_near_the_one_in_f64_and_zeros_give_zero() {
        let (out, columns) = (70, 96);
        let (weight, x) = (values(out * columns), values(7 * columns));
        let found = linear(&x, &Int8Matrix::new(&weight, columns));
        for (row, found) in x.chunks(columns).zip(found.chunks(out)) {
            for (weight, found) in weight.chunks(columns).zip(found) {
                let products = || row.iter().zip(weight).map(|(x, w)| f64::from(*x) * f64::from(*w));
                let (expected, size) = (products().sum::<f64>(), products().map(f64::abs).sum::<f64>());
                assert!((f64::from(*found) - expected).abs() <= size * 0.02, "{found} for {expected}");
            }
        }
        assert_eq!(linear(&[0.0; 64], &Int8Matrix::new(&values(3 * 32), 32)), [0.0; 6]);
        assert_eq!(linear(&values(64), &Int8Matrix::new(&[0.0; 96], 32)), [0.0; 6]);
    }

    #[test]
    fn nan_and_infinity_stay_in_their_row() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = values(70 * 32);
            x[40] = bad;
            let y = linear(&x, &Int8Matrix::new(&values(5 * 32), 32));
            let finite = |y: &[f32]| y.iter().all(|y| y.is_finite());
            assert!(y[5..10].iter().all(|y| !y.is_finite()), "{bad} was lost: {:?}", &y[5..10]);
            assert!(finite(&y[..5]) && finite(&y[10..]));
        }
    }
}
