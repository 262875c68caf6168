//! Packed GEMM: `x Wᵀ` for many rows, on all threads. A task packs the weights of some outputs into panels as wide as a
//! register tile; the panels stay in its core's L2 while all rows are multiplied with them, and rows of x are read in
//! place. The outputs are divided among the threads first, the rows only where there are too few outputs, since each
//! task packs its own weights.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use crate::output::{SharedOutput, written};
use crate::simd::{Level, prefetch, transpose, vectorised};
use crate::tile::{Left, Right, rows};

/// Most panels of one task: more would not fit into L2, fewer would read the rows of x more often.
const PANELS: usize = 3;
/// Most columns that are packed at once, so that the panels fit into L2; a deeper product is added up in equal parts.
const DEPTH: usize = 2048;
/// Packing one panel costs as much as computing this many rows of it.
const PACKING: usize = 20;
/// Values of a cache line.
const LINE: usize = 16;

/// x: [rows, columns], w: [out, columns] -> x Wᵀ + `residual` (if any): [rows, out]. A row's result does not depend on
/// the other rows.
pub fn linear(x: &[f32], w: &[f32], columns: usize, residual: Option<&[f32]>) -> Vec<f32> {
    let sizes = (x.len() / columns, columns, w.len() / columns);
    assert!(residual.is_none_or(|residual| residual.len() == sizes.0 * sizes.2), "the residual is [rows, out]");
    // SAFETY: each task writes all rows and outputs of its part, and the parts cover the output.
    unsafe {
        written(sizes.0 * sizes.2, |y| match Level::best() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => packed_gemm::<32>(8, sizes, x, w, residual, y),
            _ => packed_gemm::<16>(6, sizes, x, w, residual, y),
        })
    }
}

/// By panels of N outputs and strips of `strip` rows: the size of this machine's register tile ([`rows`]).
fn packed_gemm<const N: usize>(
    strip: usize,
    (m, k, n): (usize, usize, usize),
    x: &[f32],
    w: &[f32],
    residual: Option<&[f32]>,
    y: &mut [MaybeUninit<f32>],
) {
    assert_eq!(y.len(), m * n);
    let depth = k.div_ceil(k.div_ceil(DEPTH));
    let task = Task::best((m, n.div_ceil(N)), strip, rayon::current_num_threads());
    let parts: Vec<(usize, usize)> = (0..n)
        .step_by(task.panels * N)
        .flat_map(|output| (0..m).step_by(task.rows).map(move |row| (row, output)))
        .collect();
    let y = SharedOutput::uninit(y);
    parts.into_par_iter().with_max_len(1).for_each_init(Vec::new, |packed, (row, output)| {
        let (end, width) = (m.min(row + task.rows), n.min(output + task.panels * N) - output);
        vectorised(
            #[inline(always)]
            |level| {
                for first in (0..k).step_by(depth) {
                    let deep = depth.min(k - first);
                    pack::<N>(level, (&w[output * k + first..], k), (width, deep), packed);
                    let addend = if first == 0 { residual.map(<[f32]>::as_ptr) } else { Some(y.at(0).cast_const()) };
                    for row in (row..end).step_by(strip) {
                        let count = strip.min(end - row);
                        let left = Left { values: &x[row * k + first..], row: k, step: 1 };
                        for (panel, values) in packed.chunks_exact(deep * N).enumerate() {
                            let start = row * n + output + panel * N;
                            let target = TileTarget { y, addend, start, row: n, width: N.min(width - panel * N) };
                            target.prefetch(count);
                            rows::<N>(
                                level,
                                (count, deep),
                                left,
                                Right { values, row: N },
                                #[inline(always)]
                                |row, sums| target.store(row, sums),
                            );
                        }
                    }
                }
            },
        );
    });
}

/// How much of the output one task computes.
struct Task {
    panels: usize,
    rows: usize,
}

impl Task {
    /// The division that finishes first, if each thread takes the next task when it has finished one.
    fn best((rows, panels): (usize, usize), strip: usize, threads: usize) -> Self {
        let tasks = (1..=PANELS).rev().flat_map(|panels| {
            (1..=threads)
                .map(move |parts| Self { panels, rows: rows.div_ceil(parts).next_multiple_of(strip).max(strip) })
        });
        let time = |task: &Self| {
            let count = panels.div_ceil(task.panels) * rows.div_ceil(task.rows);
            count.div_ceil(threads) * task.panels * (task.rows + PACKING)
        };
        tasks.min_by_key(time).expect("there is at least one thread")
    }
}

/// [outputs, deep], some rows of W and a part of their columns -> [panels, deep, N], the last panel padded with zeros.
#[inline(always)]
fn pack<const N: usize>(
    level: Level,
    (w, row): (&[f32], usize),
    (outputs, deep): (usize, usize),
    packed: &mut Vec<f32>,
) {
    packed.resize(outputs.div_ceil(N) * deep * N, 0.0);
    for (panel, packed) in packed.chunks_exact_mut(deep * N).enumerate() {
        let width = N.min(outputs - panel * N);
        if width < N {
            packed.fill(0.0);
        }
        let from = (&w[panel * N * row..], row);
        touch(from, (width, deep));
        transpose(level, from, (width, deep), 1.0, (packed, N));
    }
}

/// Reads one value of each cache line in the order of memory: the transpose reads squares from several rows in turn,
/// which the hardware prefetcher does not follow. Packing weights that are not in a cache takes half the time with it.
#[inline(always)]
fn touch((w, row): (&[f32], usize), (rows, columns): (usize, usize)) {
    let sum: f32 = w.chunks(row).take(rows).flat_map(|row| row[..columns].iter().step_by(LINE)).sum();
    std::hint::black_box(sum);
}

/// Where a register tile is written: `width` columns from element `start` on, `row` elements from one row to the next.
#[derive(Clone, Copy)]
struct TileTarget {
    y: SharedOutput,
    /// What the sums are added to, of the output's shape: the residual, or the output itself after the first part of a
    /// deep product.
    addend: Option<*const f32>,
    start: usize,
    row: usize,
    width: usize,
}

impl TileTarget {
    /// Prefetches the output's lines while the sums are computed.
    #[inline(always)]
    fn prefetch(self, rows: usize) {
        for row in 0..rows {
            for column in (0..self.width).step_by(LINE) {
                prefetch(self.y.at(self.start + row * self.row + column));
            }
        }
    }

    #[inline(always)]
    fn store<const N: usize>(self, row: usize, sums: &[f32; N]) {
        let (mut sums, start) = (*sums, self.start + row * self.row);
        if let Some(addend) = self.addend {
            let addend = addend.wrapping_add(start);
            if self.width == N {
                // SAFETY: the tile lies within the addend, which is initialised: the residual is a slice, and the
                // output was written by this task's part of the product before this one.
                let addend = unsafe { addend.cast::<[f32; N]>().read_unaligned() };
                for lane in 0..N {
                    sums[lane] += addend[lane];
                }
            } else {
                for (lane, sum) in sums.iter_mut().enumerate().take(self.width) {
                    // SAFETY: as above.
                    *sum += unsafe { *addend.wrapping_add(lane) };
                }
            }
        }
        let y = self.y.at(start);
        if self.width == N {
            // SAFETY: the tile lies within the output, and within the part that this task alone writes.
            unsafe { y.cast::<[f32; N]>().write_unaligned(sums) };
        } else {
            // SAFETY: as above, `width` elements of it.
            unsafe { y.copy_from_nonoverlapping(sums.as_ptr(), self.width) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agree<const N: usize>(strip: usize, (m, k, n): (usize, usize, usize)) {
        let values = |size: usize| -> Vec<f32> { (0..size).map(|i| (i * 29 % 13) as f32 - 6.0).collect() };
        let (x, w, residual) = (values(m * k), values(n * k), values(m * n));
        for residual in [None, Some(residual.as_slice())] {
            // SAFETY: as in `linear`.
            let y = unsafe { written(m * n, |y| packed_gemm::<N>(strip, (m, k, n), &x, &w, residual, y)) };
            for (index, y) in y.iter().enumerate() {
                let (row, output) = (index / n, index % n);
                let product: f32 = (0..k).map(|i| x[row * k + i] * w[output * k + i]).sum();
                let expected = product + residual.map_or(0.0, |residual| residual[index]);
                assert_eq!(*y, expected, "{m} x {k} x {n} at {row}, {output}"); // integers: exact
            }
        }
    }

    #[test]
    fn panels_of_either_width_give_the_product_for_every_remainder() {
        for sizes in
            [(0, 4, 5), (1, 1, 1), (5, 3, 7), (40, 64, 96), (23, 70, 33), (9, 2 * DEPTH + 5, 50), (130, 17, 200)]
        {
            agree::<16>(6, sizes);
            agree::<32>(8, sizes);
        }
    }

    #[test]
    fn outputs_are_divided_first_and_rows_where_they_are_too_few() {
        let task = |rows, panels, threads| {
            let task = Task::best((rows, panels), 8, threads);
            (task.panels, task.rows)
        };
        assert_eq!(task(1000, 18, 2), (3, 1000), "six tasks of three panels each");
        assert_eq!(task(1000, 2, 2), (1, 1000));
        assert_eq!(task(1000, 1, 2), (1, 504), "half of the rows each");
        assert_eq!(task(1000, 6, 1), (3, 1000));
    }
}
