//! Beside [`super::panels`]: `dy W` on all threads, and the LoRA beside a projection: dropout, both thin products and the sum in
//! blocks of rows that stay in the cache.

use rayon::prelude::*;

use super::super::Dropout;
use super::elementwise::drop_rows;
use super::product::{Into, View, filled, product, spread, spread_sum};
use super::simd::vectorised;

/// Rows that one task takes of a LoRA, at most.
const BLOCK: usize = 128;
/// Its tasks come in whole fours, so that few threads are done at once.
const FOURS: usize = 4;
/// Fewer rows are not worth a task.
const LEAST_ROWS: usize = 16;

/// dy: [rows, out], w: [out, columns] -> dy W: [rows, columns].
pub(super) fn backward(dy: &[f32], (w, columns): (&[f32], usize)) -> Vec<f32> {
    let (sizes, dy, w) = factors(dy, w, columns);
    filled(sizes.0 * sizes.2, |dx| spread(sizes, dy, w, dx))
}

/// `dx` += dy W
pub(super) fn backward_sum(dy: &[f32], (w, columns): (&[f32], usize), dx: &mut [f32]) {
    let (sizes, dy, w) = factors(dy, w, columns);
    spread_sum(sizes, dy, w, dx);
}

type Factor<'a> = (&'a [f32], View);

fn factors<'a>(dy: &'a [f32], w: &'a [f32], columns: usize) -> ((usize, usize, usize), Factor<'a>, Factor<'a>) {
    let out = w.len() / columns;
    ((dy.len() / out, out, columns), (dy, View::new(0, out)), (w, View::new(0, columns)))
}

/// A LoRA's factors and what is done to its input.
#[derive(Clone, Copy)]
pub(super) struct Lora<'a> {
    pub(super) a: &'a [f32], // [rank, columns]
    pub(super) b: &'a [f32], // [out, rank]
    pub(super) rank: usize,
    pub(super) scale: f32,
    pub(super) dropout: Dropout,
}

impl Lora<'_> {
    fn columns(&self) -> usize {
        self.a.len() / self.rank
    }

    fn out(&self) -> usize {
        self.b.len() / self.rank
    }

    /// drop(x) of some rows, and drop(x) Aᵀ.
    fn lower<'b>(&self, x: &'b [f32], first: usize, scratch: &'b mut Scratch) -> (&'b [f32], &'b mut [f32]) {
        let columns = self.columns();
        let rows = x.len() / columns;
        let dropped = if self.dropout.rate == 0.0 {
            x
        } else {
            scratch.dropped.resize(x.len(), 0.0);
            drop_rows(x, &mut scratch.dropped, first * columns, self.dropout);
            &scratch.dropped
        };
        scratch.low.resize(rows * self.rank, 0.0);
        let view = View::new(0, columns);
        let sizes = (rows, columns, self.rank);
        let low = (scratch.low.as_mut_slice(), View::new(0, self.rank));
        product(sizes, 1.0, (dropped, view), (self.a, view.transposed()), low, Into::Empty);
        (dropped, &mut scratch.low)
    }
}

#[derive(Default)]
struct Scratch {
    dropped: Vec<f32>,
    low: Vec<f32>,
}

/// Rows of one task, by the number of rows alone: the gradients' sums do not depend on the number of threads.
fn block(rows: usize) -> usize {
    rows.div_ceil(rows.div_ceil(BLOCK).next_multiple_of(FOURS)).next_multiple_of(LEAST_ROWS)
}

/// y += scale * drop(x) Aᵀ Bᵀ. y: [rows, out], x: [rows, columns].
pub(super) fn lora(y: &mut [f32], x: &[f32], lora: Lora<'_>) {
    let (columns, out) = (lora.columns(), lora.out());
    let block = block(x.len() / columns);
    y.par_chunks_mut(block * out).zip(x.par_chunks(block * columns)).enumerate().for_each_init(
        Scratch::default,
        |scratch, (index, (y, x))| {
            let rows = x.len() / columns;
            let (_, low) = lora.lower(x, index * block, scratch);
            let low_view = View::new(0, lora.rank);
            let sizes = (rows, lora.rank, out);
            let b = (lora.b, low_view.transposed());
            product(sizes, lora.scale, (low, low_view), b, (y, View::new(0, out)), Into::Sum);
        },
    );
}

/// dx += drop(scale * dy B A), by the same mask; gives (dA, dB). dx, x: [rows, columns], dy: [rows, out].
pub(super) fn lora_backward(dx: &mut [f32], x: &[f32], dy: &[f32], lora: Lora<'_>) -> (Vec<f32>, Vec<f32>) {
    let (columns, out) = (lora.columns(), lora.out());
    let block = block(x.len() / columns);
    let parts: Vec<(Vec<f32>, Vec<f32>)> = dx
        .par_chunks_mut(block * columns)
        .zip(x.par_chunks(block * columns))
        .zip(dy.par_chunks(block * out))
        .enumerate()
        .map_init(<(Scratch, Vec<f32>, Vec<f32>)>::default, |(scratch, dlow, back), (index, ((dx, x), dy))| {
            let rows = x.len() / columns;
            let (narrow, wide, of_dy) = (View::new(0, lora.rank), View::new(0, columns), View::new(0, out));
            let (mut da, mut db) = (vec![0.0; lora.a.len()], vec![0.0; lora.b.len()]);
            let (dropped, low) = lora.lower(x, index * block, scratch);
            // dB = scale * dyᵀ low
            let sizes = (out, rows, lora.rank);
            product(sizes, lora.scale, (dy, of_dy.transposed()), (low, narrow), (&mut db, narrow), Into::Empty);
            // dlow = scale * dy B
            dlow.resize(rows * lora.rank, 0.0);
            let sizes = (rows, out, lora.rank);
            product(sizes, lora.scale, (dy, of_dy), (lora.b, narrow), (dlow, narrow), Into::Empty);
            // dA = dlowᵀ drop(x)
            let sizes = (lora.rank, rows, columns);
            product(sizes, 1.0, (dlow, narrow.transposed()), (dropped, wide), (&mut da, wide), Into::Empty);
            // dx += drop(dlow A)
            let sizes = (rows, lora.rank, columns);
            if lora.dropout.rate == 0.0 {
                product(sizes, 1.0, (dlow, narrow), (lora.a, wide), (dx, wide), Into::Sum);
            } else {
                back.resize(rows * columns, 0.0);
                product(sizes, 1.0, (dlow, narrow), (lora.a, wide), (back, wide), Into::Empty);
                scratch.dropped.resize(rows * columns, 0.0);
                drop_rows(back, &mut scratch.dropped, index * block * columns, lora.dropout);
                add(dx, &scratch.dropped);
            }
            (da, db)
        })
        .collect();
    // Summed in the order of the blocks, whichever was done first.
    let mut sums = (vec![0.0; lora.a.len()], vec![0.0; lora.b.len()]);
    for (da, db) in &parts {
        add(&mut sums.0, da);
        add(&mut sums.1, db);
    }
    sums
}

fn add(sum: &mut [f32], term: &[f32]) {
    vectorised(
        #[inline(always)]
        |_| {
            for (sum, term) in sum.iter_mut().zip(term) {
                *sum += term;
            }
        },
    );
}
