//! Projections: `x Wᵀ` and `dy W` on all threads, and the LoRA beside one: dropout, both thin products and the sum in
//! blocks of rows that stay in the cache.

use rayon::prelude::*;

use super::super::Dropout;
use super::elementwise::drop_rows;
use super::product::{Into, View, filled, product, spread, spread_sum};
use super::simd::{transpose, vectorised};

/// Rows that one task takes of a LoRA. Fixed, so that the gradients' sums do not depend on the number of threads.
const BLOCK: usize = 128;
/// Rows of a weight this far apart, or several times, fall on the same few places of the cache, so that going down a column of it is
/// slow: from so many rows of x on, it is worth it to transpose such a weight before the product reads it by columns.
const CROWDED: usize = 512;
const MANY: usize = 256;
/// Columns of one task of that: a line of the cache, so that no two threads read the same.
const TURN: usize = 16;

/// x: [rows, columns], w: [out, columns] -> `into` + x Wᵀ: [rows, out]; with `back`, x: [rows, out] -> `into` + x W.
pub(super) fn linear(x: &[f32], w: (&[f32], usize), back: bool) -> Vec<f32> {
    with_factors(x, w, back, |sizes, a, b| filled(sizes.0 * sizes.2, |out| spread(sizes, a, b, out)))
}

pub(super) fn linear_sum(x: &[f32], w: (&[f32], usize), back: bool, into: &mut [f32]) {
    with_factors(x, w, back, |sizes, a, b| spread_sum(sizes, a, b, into));
}

type Factor<'a> = (&'a [f32], View);

fn with_factors<R>(
    x: &[f32],
    (w, columns): (&[f32], usize),
    back: bool,
    product: impl FnOnce((usize, usize, usize), Factor<'_>, Factor<'_>) -> R,
) -> R {
    let out = w.len() / columns;
    let (along_out, along_columns) = (View::new(0, out), View::new(0, columns));
    if back {
        return product((x.len() / out, out, columns), (x, along_out), (w, along_columns));
    }
    let sizes = (x.len() / columns, columns, out);
    if sizes.0 >= MANY && columns.is_multiple_of(CROWDED) {
        return product(sizes, (x, along_columns), (&turned(w, columns), along_out));
    }
    product(sizes, (x, along_columns), (w, along_columns.transposed()))
}

/// [out, columns] -> [columns, out], by all threads.
fn turned(w: &[f32], columns: usize) -> Vec<f32> {
    let out = w.len() / columns;
    filled(w.len(), |turned| {
        turned.par_chunks_mut(TURN * out).enumerate().for_each(|(block, turned)| {
            let count = turned.len() / out;
            vectorised(
                #[inline(always)]
                |level| transpose(level, (&w[block * TURN..], columns), (out, count), 1.0, (turned, out)),
            );
        });
    })
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

/// y += scale * drop(x) Aᵀ Bᵀ. y: [rows, out], x: [rows, columns].
pub(super) fn lora(y: &mut [f32], x: &[f32], lora: Lora<'_>) {
    let (columns, out) = (lora.columns(), lora.out());
    y.par_chunks_mut(BLOCK * out).zip(x.par_chunks(BLOCK * columns)).enumerate().for_each_init(
        Scratch::default,
        |scratch, (block, (y, x))| {
            let rows = x.len() / columns;
            let (_, low) = lora.lower(x, block * BLOCK, scratch);
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
    let parts: Vec<(Vec<f32>, Vec<f32>)> = dx
        .par_chunks_mut(BLOCK * columns)
        .zip(x.par_chunks(BLOCK * columns))
        .zip(dy.par_chunks(BLOCK * out))
        .enumerate()
        .map_init(<(Scratch, Vec<f32>, Vec<f32>)>::default, |(scratch, dlow, back), (block, ((dx, x), dy))| {
            let rows = x.len() / columns;
            let (narrow, wide, of_dy) = (View::new(0, lora.rank), View::new(0, columns), View::new(0, out));
            let (mut da, mut db) = (vec![0.0; lora.a.len()], vec![0.0; lora.b.len()]);
            let (dropped, low) = lora.lower(x, block * BLOCK, scratch);
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
                drop_rows(back, &mut scratch.dropped, block * BLOCK * columns, lora.dropout);
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
