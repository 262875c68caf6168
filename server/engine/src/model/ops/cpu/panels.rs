//! `x Wᵀ` of many rows, on all threads. Some outputs' weights at a time are packed into panels as wide as a tile of sums, which
//! stay in a core's own cache while all rows go past them; the rows are read where they lie. So outputs are shared out first, and
//! rows only where there are too few outputs for all threads, since each task packs its own.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::product::{Out, filled};
use super::simd::{Level, fetch, transpose, vectorised};
use super::tile::{Left, Right, rows};

/// Panels of one task, at most: rows are read from farther away, and again for each task.
const PANELS: usize = 3;
/// As deep as what is packed at once may be, to stay near; a deeper product is added up in equal parts.
const DEPTH: usize = 2048;
/// Packing a panel takes as long as computing it for so many rows.
const PACKING: usize = 20;
/// Values of a line of the cache.
const LINE: usize = 16;

/// x: [rows, columns], w: [out, columns] -> `plus` (or nothing) + x Wᵀ: [rows, out]. A row's result does not depend on how many
/// others there are.
pub(super) fn linear(x: &[f32], w: &[f32], columns: usize, plus: Option<&[f32]>) -> Vec<f32> {
    let sizes = (x.len() / columns, columns, w.len() / columns);
    assert!(plus.is_none_or(|plus| plus.len() == sizes.0 * sizes.2));
    filled(sizes.0 * sizes.2, |y| match Level::best() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => spread::<32>(8, sizes, x, w, plus, y),
        _ => spread::<16>(6, sizes, x, w, plus, y),
    })
}

/// By panels of N outputs and strips of `strip` rows: what [`rows`] makes at once on this machine.
fn spread<const N: usize>(
    strip: usize,
    (m, k, n): (usize, usize, usize),
    x: &[f32],
    w: &[f32],
    plus: Option<&[f32]>,
    y: &mut [MaybeUninit<f32>],
) {
    let depth = k.div_ceil(k.div_ceil(DEPTH));
    let task = Task::best((m, n.div_ceil(N)), strip, rayon::current_num_threads());
    let places: Vec<(usize, usize)> = (0..n)
        .step_by(task.panels * N)
        .flat_map(|output| (0..m).step_by(task.rows).map(move |row| (row, output)))
        .collect();
    let y = Out::new(y);
    places.into_par_iter().with_max_len(1).for_each_init(Vec::new, |packed, (row, output)| {
        let (end, width) = (m.min(row + task.rows), n.min(output + task.panels * N) - output);
        vectorised(
            #[inline(always)]
            |level| {
                for first in (0..k).step_by(depth) {
                    let deep = depth.min(k - first);
                    pack::<N>(level, (&w[output * k + first..], k), (width, deep), packed);
                    let before = if first == 0 { plus.map(<[f32]>::as_ptr) } else { Some(y.at(0).cast_const()) };
                    for row in (row..end).step_by(strip) {
                        let count = strip.min(end - row);
                        let left = Left { values: &x[row * k + first..], row: k, step: 1 };
                        for (panel, values) in packed.chunks_exact(deep * N).enumerate() {
                            let place = row * n + output + panel * N;
                            let piece = Piece { y, before, place, row: n, width: N.min(width - panel * N) };
                            piece.fetch(count);
                            rows::<N>(
                                level,
                                (count, deep),
                                left,
                                Right { values, row: N },
                                #[inline(always)]
                                |row, sums| piece.put(row, sums),
                            );
                        }
                    }
                }
            },
        );
    });
}

/// How much of the output one task makes.
struct Task {
    panels: usize,
    rows: usize,
}

impl Task {
    /// With which all threads are done first, if each takes the next task when it is done with one.
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

/// Some rows of W, of which a part: [outputs, deep] -> [panels, deep, N], the last panel filled up with zeros.
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
        read(from, (width, deep));
        transpose(level, from, (width, deep), 1.0, (packed, N));
    }
}

/// Reads a value of each line in the order of memory, so that all lines are near when squares are taken from several rows in turn:
/// packing weights that come from memory takes half the time with it.
#[inline(always)]
fn read((w, row): (&[f32], usize), (rows, columns): (usize, usize)) {
    let sum: f32 = w.chunks(row).take(rows).flat_map(|row| row[..columns].iter().step_by(LINE)).sum();
    std::hint::black_box(sum);
}

/// Where a tile's sums go, and what they are added to.
#[derive(Clone, Copy)]
struct Piece {
    y: Out,
    before: Option<*const f32>,
    place: usize,
    row: usize,
    width: usize,
}

#[expect(unsafe_code, reason = "pieces of an output are written by several threads")]
impl Piece {
    /// Asks for the output's lines, so that they are here when the sums are made.
    #[inline(always)]
    fn fetch(self, rows: usize) {
        for row in 0..rows {
            for column in (0..self.width).step_by(LINE) {
                fetch(self.y.at(self.place + row * self.row + column));
            }
        }
    }

    #[inline(always)]
    fn put<const N: usize>(self, row: usize, sums: &[f32; N]) {
        let (mut sums, start) = (*sums, self.place + row * self.row);
        // SAFETY: the piece lies within the output, and within `before`, which is as long and whose values are set: those that
        // are the output's own by the part of the product before this one.
        unsafe {
            if let Some(before) = self.before {
                if self.width == N {
                    let before = before.add(start).cast::<[f32; N]>().read_unaligned();
                    for lane in 0..N {
                        sums[lane] += before[lane];
                    }
                } else {
                    for (lane, sum) in sums.iter_mut().enumerate().take(self.width) {
                        *sum += *before.add(start + lane);
                    }
                }
            }
            let y = self.y.at(start);
            if self.width == N {
                y.cast::<[f32; N]>().write_unaligned(sums);
            } else {
                y.copy_from_nonoverlapping(sums.as_ptr(), self.width);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agree<const N: usize>(strip: usize, (m, k, n): (usize, usize, usize)) {
        let values = |size: usize| -> Vec<f32> { (0..size).map(|i| (i * 29 % 13) as f32 - 6.0).collect() };
        let (x, w, plus) = (values(m * k), values(n * k), values(m * n));
        for plus in [None, Some(plus.as_slice())] {
            let y = filled(m * n, |y| spread::<N>(strip, (m, k, n), &x, &w, plus, y));
            for (place, y) in y.iter().enumerate() {
                let (row, output) = (place / n, place % n);
                let product: f32 = (0..k).map(|i| x[row * k + i] * w[output * k + i]).sum();
                let expected = product + plus.map_or(0.0, |plus| plus[place]);
                assert_eq!(*y, expected, "{m} x {k} x {n} at {row}, {output}"); // whole numbers: exact
            }
        }
    }

    #[test]
    fn panels_of_either_width_make_the_product_whatever_is_left_over() {
        for sizes in
            [(0, 4, 5), (1, 1, 1), (5, 3, 7), (40, 64, 96), (23, 70, 33), (9, 2 * DEPTH + 5, 50), (130, 17, 200)]
        {
            agree::<16>(6, sizes);
            agree::<32>(8, sizes);
        }
    }

    #[test]
    fn outputs_are_shared_out_first_and_rows_where_they_are_too_few() {
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
