//! GEMM by the `gemm` crate: on one thread for the parts of a kernel, or on all threads, each with whole rows of its
//! own. An element's order of summation depends on its row and column alone, not on how many other rows there are.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use crate::output::{SharedOutput, written};

/// Fewer rows than this are not worth a thread; the columns are divided instead.
const MIN_ROWS: usize = 32;
const MIN_COLUMNS: usize = 64;
/// Rows are divided in multiples of this: whole tiles of the `gemm` crate, few enough that threads finish together.
const ROW_STEP: usize = 6;
/// Columns are divided in whole cache lines.
const COLUMN_STEP: usize = 16;

/// How a matrix lies in a slice: element (i, j) at `start + i * row + j * column`.
#[derive(Clone, Copy)]
pub(crate) struct View {
    start: usize,
    row: usize,
    column: usize,
}

impl View {
    pub(crate) fn new(start: usize, row: usize) -> Self {
        Self { start, row, column: 1 }
    }

    pub(crate) fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }

    /// The same matrix without its first rows and columns.
    fn offset(self, row: usize, column: usize) -> Self {
        Self { start: self.start + row * self.row + column * self.column, ..self }
    }

    fn end(&self, rows: usize, columns: usize) -> usize {
        self.start + (rows - 1) * self.row + (columns - 1) * self.column + 1
    }
}

/// What the output is multiplied by before the product is added to it.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Beta {
    /// The output is overwritten without being read.
    Zero,
    One,
}

/// dy: [rows, out], w: [out, columns] -> dx = dy W: [rows, columns].
pub fn linear_backward(dy: &[f32], w: &[f32], columns: usize) -> Vec<f32> {
    let (sizes, dy, w) = backward_factors(dy, w, columns);
    // SAFETY: a product with Beta::Zero writes every element of its output.
    unsafe { written(sizes.0 * sizes.2, |dx| parallel_gemm(sizes, dy, w, dx)) }
}

/// As [`linear_backward`], added to `dx`: [rows, columns].
pub fn linear_backward_add(dy: &[f32], w: &[f32], columns: usize, dx: &mut [f32]) {
    let (sizes, dy, w) = backward_factors(dy, w, columns);
    assert_eq!(dx.len(), sizes.0 * sizes.2, "dx is [rows, columns]");
    divided(sizes, dy, w, SharedOutput::new(dx), Beta::One);
}

type Sizes = (usize, usize, usize);
type Factor<'a> = (&'a [f32], View);

fn backward_factors<'a>(dy: &'a [f32], w: &'a [f32], columns: usize) -> (Sizes, Factor<'a>, Factor<'a>) {
    let out = w.len() / columns;
    ((dy.len() / out, out, columns), (dy, View::new(0, out)), (w, View::new(0, columns)))
}

/// `output [m, n] = scale * a [m, k] b [k, n] + beta * output` on this thread.
pub(crate) fn gemm(
    sizes: Sizes,
    scale: f32,
    a: Factor<'_>,
    b: Factor<'_>,
    (output, view): (&mut [f32], View),
    beta: Beta,
) {
    let (m, _, n) = sizes;
    if m == 0 || n == 0 {
        return;
    }
    assert!(view.end(m, n) <= output.len());
    // SAFETY: the output's bounds are asserted, and it is borrowed mutably.
    unsafe { unchecked(sizes, scale, a, b, (SharedOutput::new(output), view), beta) }
}

/// `output [m, n] = a [m, k] b [k, n]` on all threads; writes every element of `output`, which is contiguous.
fn parallel_gemm(sizes: Sizes, a: Factor<'_>, b: Factor<'_>, output: &mut [MaybeUninit<f32>]) {
    assert_eq!(output.len(), sizes.0 * sizes.2);
    divided(sizes, a, b, SharedOutput::uninit(output), Beta::Zero);
}

/// The output is contiguous and has m * n elements, which the callers assert.
fn divided((m, k, n): Sizes, (a, a_view): Factor<'_>, (b, b_view): Factor<'_>, output: SharedOutput, beta: Beta) {
    let threads = rayon::current_num_threads();
    let part = |all: usize, step: usize, least: usize| all.div_ceil(threads).next_multiple_of(step).max(least);
    let (rows, columns) = if m >= n.min(2 * MIN_ROWS) {
        (part(m, ROW_STEP, MIN_ROWS), n)
    } else {
        (m, part(n, COLUMN_STEP, MIN_COLUMNS))
    };
    let parts: Vec<(usize, usize)> = (0..m)
        .step_by(rows.max(1))
        .flat_map(|row| (0..n).step_by(columns.max(1)).map(move |column| (row, column)))
        .collect();
    parts.into_par_iter().with_max_len(1).for_each(|(row, column)| {
        let sizes = (rows.min(m - row), k, columns.min(n - column));
        let a = (a, a_view.offset(row, 0));
        let b = (b, b_view.offset(0, column));
        // SAFETY: the parts are disjoint and within the output's m x n elements.
        unsafe { unchecked(sizes, 1.0, a, b, (output, View::new(0, n).offset(row, column)), beta) }
    });
}

/// # Safety
///
/// The output has room for `output_view` of m x n, and nothing else reads or writes these elements meanwhile.
unsafe fn unchecked(
    (m, k, n): Sizes,
    scale: f32,
    (a, a_view): Factor<'_>,
    (b, b_view): Factor<'_>,
    (output, output_view): (SharedOutput, View),
    beta: Beta,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(k > 0 && a_view.end(m, k) <= a.len() && b_view.end(k, n) <= b.len());
    // SAFETY: the factors' bounds are asserted, the output's are the caller's promise; with Beta::Zero it is not read.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            output.at(output_view.start),
            output_view.column as isize,
            output_view.row as isize,
            beta == Beta::One,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backward_of_a_projection_is_the_plain_product_over_odd_shapes() {
        let values = |size: usize| -> Vec<f32> { (0..size).map(|i| (i * 29 % 13) as f32 - 6.0).collect() };
        for (rows, out, columns) in [(0, 3, 4), (1, 1, 1), (5, 3, 7), (70, 33, 200), (200, 17, 9)] {
            let (dy, w, before) = (values(rows * out), values(out * columns), values(rows * columns));
            let dx = linear_backward(&dy, &w, columns);
            let mut sum = before.clone();
            linear_backward_add(&dy, &w, columns, &mut sum);
            for (index, dx) in dx.iter().enumerate() {
                let (row, column) = (index / columns, index % columns);
                let expected: f32 = (0..out).map(|i| dy[row * out + i] * w[i * columns + column]).sum();
                assert_eq!(*dx, expected, "{rows} x {out} x {columns} at {row}, {column}"); // integers: exact
                assert_eq!(sum[index], before[index] + expected);
            }
        }
    }
}
