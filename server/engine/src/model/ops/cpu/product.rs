//! Matrix products by the `gemm` crate: on one thread for the pieces of a kernel, or on all of them, each with whole
//! rows of its own. An element is summed in an order that depends on its own row and column alone, so a row's
//! result does not depend on how many others there are.

use std::mem::MaybeUninit;

use rayon::prelude::*;

/// Fewer rows than this are not worth a thread; their columns are shared out instead.
const LEAST_ROWS: usize = 32;
const LEAST_COLUMNS: usize = 64;
/// Rows are shared out in these: whole tiles of the products, so small that no thread waits long for another. Columns in whole lines of
/// the cache.
const ROWS: usize = 6;
const COLUMNS: usize = 16;

/// How a matrix lies within a slice: element (i, j) at `start + i * row + j * column`.
#[derive(Clone, Copy)]
pub(super) struct View {
    start: usize,
    row: usize,
    column: usize,
}

impl View {
    pub(super) fn new(start: usize, row: usize) -> Self {
        Self { start, row, column: 1 }
    }

    pub(super) fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }

    /// The same matrix without its first rows and columns.
    fn from(self, row: usize, column: usize) -> Self {
        Self { start: self.start + row * self.row + column * self.column, ..self }
    }

    fn end(&self, rows: usize, columns: usize) -> usize {
        self.start + (rows - 1) * self.row + (columns - 1) * self.column + 1
    }
}

/// What a product is added to.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Into {
    /// Whatever stood there is not read.
    Empty,
    Sum,
}

/// `out [m, n] (+)= scale * a [m, k] b [k, n]` on this thread.
pub(super) fn product(
    sizes: (usize, usize, usize),
    scale: f32,
    (a, a_view): (&[f32], View),
    (b, b_view): (&[f32], View),
    (out, out_view): (&mut [f32], View),
    into: Into,
) {
    let (m, _, n) = sizes;
    if m == 0 || n == 0 {
        return;
    }
    assert!(out_view.end(m, n) <= out.len());
    raw(sizes, scale, (a, a_view), (b, b_view), (Out(out.as_mut_ptr()), out_view), into);
}

/// `out [m, n] = a [m, k] b [k, n]` on all threads; `out` is contiguous and gets every element.
pub(super) fn spread(sizes: (usize, usize, usize), a: (&[f32], View), b: (&[f32], View), out: &mut [MaybeUninit<f32>]) {
    shared_out(sizes, a, b, Out::new(out), out.len(), Into::Empty);
}

/// `out [m, n] += a [m, k] b [k, n]` on all threads; `out` is contiguous.
pub(super) fn spread_sum(sizes: (usize, usize, usize), a: (&[f32], View), b: (&[f32], View), out: &mut [f32]) {
    shared_out(sizes, a, b, Out(out.as_mut_ptr()), out.len(), Into::Sum);
}

fn shared_out(
    (m, k, n): (usize, usize, usize),
    (a, a_view): (&[f32], View),
    (b, b_view): (&[f32], View),
    out: Out,
    size: usize,
    into: Into,
) {
    assert!(size >= m * n);
    let threads = rayon::current_num_threads();
    let part = |all: usize, step: usize, least: usize| all.div_ceil(threads).next_multiple_of(step).max(least);
    let (rows, columns) =
        if m >= n.min(2 * LEAST_ROWS) { (part(m, ROWS, LEAST_ROWS), n) } else { (m, part(n, COLUMNS, LEAST_COLUMNS)) };
    let places: Vec<(usize, usize)> =
        (0..m).step_by(rows).flat_map(|row| (0..n).step_by(columns).map(move |column| (row, column))).collect();
    places.into_par_iter().with_max_len(1).for_each(|(row, column)| {
        let sizes = (rows.min(m - row), k, columns.min(n - column));
        let a = (a, a_view.from(row, 0));
        let b = (b, b_view.from(0, column));
        raw(sizes, 1.0, a, b, (out, View::new(0, n).from(row, column)), into);
    });
}

/// An output whose parts several threads write, each its own.
#[derive(Clone, Copy)]
pub(super) struct Out(*mut f32);

impl Out {
    pub(super) fn new(values: &mut [MaybeUninit<f32>]) -> Self {
        Self(values.as_mut_ptr().cast())
    }

    pub(super) fn at(self, place: usize) -> *mut f32 {
        self.0.wrapping_add(place)
    }
}

#[expect(unsafe_code, reason = "parts of an output are written by several threads")]
// SAFETY: each thread writes the rows and columns that are its own, and nothing reads before all are done.
unsafe impl Send for Out {}
#[expect(unsafe_code, reason = "parts of an output are written by several threads")]
// SAFETY: as above.
unsafe impl Sync for Out {}

/// The caller has checked that the output has room for `out_view` of m x n.
#[expect(
    unsafe_code,
    reason = "gemm takes pointers; the factors' bounds are asserted first, the output's by the callers"
)]
fn raw(
    (m, k, n): (usize, usize, usize),
    scale: f32,
    (a, a_view): (&[f32], View),
    (b, b_view): (&[f32], View),
    (out, out_view): (Out, View),
    into: Into,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(k > 0 && a_view.end(m, k) <= a.len() && b_view.end(k, n) <= b.len());
    // SAFETY: the assertions keep every element of the three strided matrices within its slice. With `Into::Empty` the
    // output is written without being read.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.0.add(out_view.start),
            out_view.column as isize,
            out_view.row as isize,
            into == Into::Sum,
            a[a_view.start..].as_ptr(),
            a_view.column as isize,
            a_view.row as isize,
            b[b_view.start..].as_ptr(),
            b_view.column as isize,
            b_view.row as isize,
            1.0,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// A vector of `size` values, every one of which `write` must set.
#[expect(unsafe_code, reason = "zeroing what is overwritten at once costs as much as a norm")]
pub(super) fn filled(size: usize, write: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut values = Vec::with_capacity(size);
    write(&mut values.spare_capacity_mut()[..size]);
    // SAFETY: `write` has set all of them; every caller in this folder writes whole rows, and the tests compare them.
    unsafe { values.set_len(size) };
    values
}
