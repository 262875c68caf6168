//! LoRA beside a projection: dropout, both low-rank products and the sum, in blocks of rows that stay in the cache.

use rayon::prelude::*;

use crate::Dropout;
use crate::gemm::{Beta, View, gemm};
use crate::simd::vectorised;

/// Most rows of one task.
const BLOCK: usize = 128;
/// The number of tasks is a multiple of this, so that two or four threads finish together.
const TASKS: usize = 4;
/// Fewer rows are not worth a task.
const MIN_ROWS: usize = 16;

/// The factors of one projection, their scale alpha / rank, and the dropout of their input.
#[derive(Clone, Copy)]
pub struct Lora<'a> {
    pub a: &'a [f32], // [rank, columns]
    pub b: &'a [f32], // [out, rank]
    pub rank: usize,
    pub scale: f32,
    pub dropout: Dropout,
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
            self.dropout.apply(x, &mut scratch.dropped, first * columns);
            &scratch.dropped
        };
        scratch.low.resize(rows * self.rank, 0.0);
        let view = View::new(0, columns);
        let sizes = (rows, columns, self.rank);
        let low = (scratch.low.as_mut_slice(), View::new(0, self.rank));
        gemm(sizes, 1.0, (dropped, view), (self.a, view.transposed()), low, Beta::Zero);
        (dropped, &mut scratch.low)
    }
}

#[derive(Default)]
struct Scratch {
    dropped: Vec<f32>,
    low: Vec<f32>,
}

/// Rows of one task: a function of the number of rows alone, so that the gradients' sums do not depend on the number of
/// threads.
fn block(rows: usize) -> usize {
    rows.div_ceil(rows.div_ceil(BLOCK).next_multiple_of(TASKS).max(1)).next_multiple_of(MIN_ROWS).max(MIN_ROWS)
}

/// y += scale * drop(x) Aᵀ Bᵀ. y: [rows, out], x: [rows, columns].
pub fn forward_add(y: &mut [f32], x: &[f32], lora: Lora<'_>) {
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
            gemm(sizes, lora.scale, (low, low_view), b, (y, View::new(0, out)), Beta::One);
        },
    );
}

/// dx += drop(scale * dy B A), with the mask of forward; returns (dA, dB). dx, x: [rows, columns], dy: [rows, out].
pub fn backward_add(dx: &mut [f32], x: &[f32], dy: &[f32], lora: Lora<'_>) -> (Vec<f32>, Vec<f32>) {
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
            gemm(sizes, lora.scale, (dy, of_dy.transposed()), (low, narrow), (&mut db, narrow), Beta::Zero);
            // dlow = scale * dy B
            dlow.resize(rows * lora.rank, 0.0);
            let sizes = (rows, out, lora.rank);
            gemm(sizes, lora.scale, (dy, of_dy), (lora.b, narrow), (dlow, narrow), Beta::Zero);
            // dA = dlowᵀ drop(x)
            let sizes = (lora.rank, rows, columns);
            gemm(sizes, 1.0, (dlow, narrow.transposed()), (dropped, wide), (&mut da, wide), Beta::Zero);
            // dx += drop(dlow A)
            let sizes = (rows, lora.rank, columns);
            if lora.dropout.rate == 0.0 {
                gemm(sizes, 1.0, (dlow, narrow), (lora.a, wide), (dx, wide), Beta::One);
            } else {
                back.resize(rows * columns, 0.0);
                gemm(sizes, 1.0, (dlow, narrow), (lora.a, wide), (back, wide), Beta::Zero);
                scratch.dropped.resize(rows * columns, 0.0);
                lora.dropout.apply(back, &mut scratch.dropped, index * block * columns);
                add(dx, &scratch.dropped);
            }
            (da, db)
        })
        .collect();
    // Summed in the order of the blocks, whichever was finished first.
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
