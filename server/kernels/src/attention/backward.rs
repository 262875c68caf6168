//! Backward: head by head, recomputing each block's probabilities from q and k.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::{BLOCK, Sequence, Shape, Span, blocks, dot, exp_scores, packed, store, strips, tiled, transpose_block};
use crate::output::written;
use crate::simd::{transpose, vectorised};
use crate::tile::{LANES, Left, Right, lanes, lanes_mut, rows};

/// Forward's inputs and output, and the output's gradient.
#[derive(Clone, Copy)]
pub struct Saved<'a> {
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub y: &'a [f32],
    pub dy: &'a [f32],
}

#[derive(Default)]
struct Scratch {
    /// [head_dim, BLOCK]
    q: Vec<f32>,
    dy: Vec<f32>,
    /// [keys, BLOCK], exp(score - max): probabilities times each query's sum.
    p: Vec<f32>,
    /// [keys, BLOCK]
    ds: Vec<f32>,
    /// [head_dim, BLOCK]
    transposed: Vec<f32>,
    /// [BLOCK, padded head_dim]
    q_rows: Vec<f32>,
    dy_rows: Vec<f32>,
}

/// Gradients of one query head of one sequence, and its share of its key/value head's.
struct HeadGradients {
    dq: Vec<f32>, // [queries, head_dim]
    dk: Vec<f32>, // [keys that a query attends to, padded head_dim]
    dv: Vec<f32>,
}

/// [dq, dk, dv]
pub fn backward(saved: Saved<'_>, sequences: &[Sequence], shape: Shape) -> [Vec<f32>; 3] {
    let spans = packed(saved.k, saved.v, sequences, shape);
    let mut tasks: Vec<(usize, usize)> =
        (0..spans.len()).flat_map(|span| (0..shape.heads).map(move |head| (span, head))).collect();
    // The longest first, so that threads finish together.
    tasks.sort_by_key(|&(span, _)| std::cmp::Reverse(spans[span].length));
    let mut parts: Vec<((usize, usize), HeadGradients)> = tasks
        .into_par_iter()
        .with_max_len(1)
        .map_init(Scratch::default, |scratch, task| (task, backward_head(saved, shape, spans[task.0], task.1, scratch)))
        .collect();
    parts.sort_unstable_by_key(|(task, _)| *task);

    let (dim, padded) = (shape.head_dim, padded(shape.head_dim));
    let part = |span: usize, head: usize| &parts[span * shape.heads + head].1;
    let queries: Vec<usize> = sequences.iter().map(|sequence| sequence.queries).collect();
    let lengths: Vec<usize> = sequences.iter().map(|sequence| sequence.length).collect();
    // SAFETY: the heads cover a row.
    let dq = unsafe {
        gather(shape.q_width, &queries, |span, row, out| {
            for (head, out) in out.chunks_exact_mut(dim).enumerate() {
                out.write_copy_of_slice(&part(span, head).dq[row * dim..][..dim]);
            }
        })
    };
    // In the order of the heads, whichever was finished first.
    let sum = |of: fn(&HeadGradients) -> &[f32]| {
        let write = |span: usize, row: usize, out: &mut [MaybeUninit<f32>]| {
            if row >= spans[span].past + spans[span].length {
                out.fill(MaybeUninit::new(0.0)); // no query attends to it
                return;
            }
            for (kv_head, out) in out.chunks_exact_mut(dim).enumerate() {
                let share = |member: usize| &of(part(span, kv_head * shape.group + member))[row * padded..][..dim];
                let out = out.write_copy_of_slice(share(0));
                for member in 1..shape.group {
                    for (out, share) in out.iter_mut().zip(share(member)) {
                        *out += share;
                    }
                }
            }
        };
        // SAFETY: the key/value heads cover a row, and a row is filled or has a share of each.
        unsafe { gather(shape.kv_width, &lengths, write) }
    };
    [dq, sum(|part| &part.dk), sum(|part| &part.dv)]
}

/// A matrix with rows of `width`, `counts[i]` of them for span i; `write` gets the span, the row within it, and the
/// row's elements.
///
/// # Safety
///
/// `write` must write every element.
unsafe fn gather(
    width: usize,
    counts: &[usize],
    write: impl Fn(usize, usize, &mut [MaybeUninit<f32>]) + Sync,
) -> Vec<f32> {
    let fill = |all: &mut [MaybeUninit<f32>]| {
        let numbers = counts.iter().enumerate().flat_map(|(number, &count)| (0..count).map(move |row| (number, row)));
        let rows: Vec<_> = numbers.zip(all.chunks_exact_mut(width)).collect();
        rows.into_par_iter().with_min_len(BLOCK).for_each(|((span, row), out)| write(span, row, out));
    };
    // SAFETY: there are as many rows as counted, and the caller promises that each is written.
    unsafe { written(counts.iter().sum::<usize>() * width, fill) }
}

/// The head's dimension rounded up to whole registers.
fn padded(dim: usize) -> usize {
    dim.next_multiple_of(LANES)
}

fn backward_head(saved: Saved<'_>, shape: Shape, span: Span<'_>, head: usize, scratch: &mut Scratch) -> HeadGradients {
    let Saved { q, y, dy, .. } = saved;
    let (dim, padded, length) = (shape.head_dim, padded(shape.head_dim), span.length);
    let all = span.past + length;
    let mut part =
        HeadGradients { dq: vec![0.0; length * dim], dk: vec![0.0; all * padded], dv: vec![0.0; all * padded] };
    let start_of_head = head / shape.group * span.kv_head;
    let by_key = |values| Left { values, row: span.kv_row, step: 1 };
    let (keys, values) = (by_key(&span.keys[start_of_head..]), by_key(&span.values[start_of_head..]));
    let keys_by_feature = Left { row: 1, step: span.kv_row, ..keys };
    for (first, count) in blocks(length) {
        let past = span.past + first;
        let height = tiled(past + count, all);
        let start = (span.queries + first) * shape.q_width + head * dim;
        pad(&q[start..], shape.q_width, dim, count, &mut scratch.q_rows);
        pad(&dy[start..], shape.q_width, dim, count, &mut scratch.dy_rows);
        scratch.p.resize(height * BLOCK, 0.0);
        scratch.ds.resize(height * BLOCK, 0.0);
        scratch.transposed.resize(dim * BLOCK, 0.0);
        let scale = shape.scale();
        let Scratch { q: scaled, dy: dy_transposed, p, ds, transposed, q_rows, dy_rows } = scratch;
        vectorised(
            #[inline(always)]
            |level| {
                transpose_block(level, &q[start..], shape.q_width, (count, dim), scale, scaled);
                transpose_block(level, &dy[start..], shape.q_width, (count, dim), 1.0, dy_transposed);
                // The sum of p * dp over the keys is the product of the output's row and its gradient (Dao et al.,
                // arXiv:2205.14135).
                let mut along = [0.0; BLOCK];
                for (row, along) in along.iter_mut().enumerate().take(count) {
                    let row = start + row * shape.q_width..start + row * shape.q_width + dim;
                    *along = dot(level, &y[row.clone()], &dy[row]);
                }
                for strip in strips(count) {
                    let seen = tiled(past + (strip + LANES).min(count), all);
                    let queries = Right { values: &scaled[strip..], row: BLOCK };
                    let sums = exp_scores(level, (seen, dim), keys, queries, (&mut *p, strip), past + strip);
                    let along = *lanes(&along[strip..]);
                    let inverse = sums.map(|sum| 1.0 / sum);
                    let factor = inverse.map(|inverse| inverse * scale);
                    // `p` is not normalised; the outputs' gradients are divided by the sums instead.
                    for (dy, inverse) in dy_rows[strip * padded..].chunks_exact_mut(padded).zip(inverse) {
                        for dy in dy {
                            *dy *= inverse;
                        }
                    }
                    let gradients = Right { values: &dy_transposed[strip..], row: BLOCK };
                    rows(
                        level,
                        (seen, dim),
                        values,
                        gradients,
                        #[inline(always)]
                        |key, dp: &[f32; LANES]| {
                            // By value: the compiler must assume that slices behind references alias.
                            let (weights, mut gradients) = (*lanes(&p[key * BLOCK + strip..]), [0.0; LANES]);
                            for lane in 0..LANES {
                                gradients[lane] = weights[lane] * (dp[lane] - along[lane]) * factor[lane];
                            }
                            store(ds, key, strip, &gradients);
                        },
                    );
                    let weights = Right { values: &ds[strip..], row: BLOCK };
                    rows(
                        level,
                        (dim, seen),
                        keys_by_feature,
                        weights,
                        #[inline(always)]
                        |feature, sums| {
                            store(transposed, feature, strip, sums);
                        },
                    );
                }
                for (weights, right, into) in [(&*p, &*dy_rows, &mut part.dv), (&*ds, &*q_rows, &mut part.dk)] {
                    // All queries of the block attend to the keys before it; to a strip of its own keys, that strip's
                    // queries and later ones.
                    let before = (0..past).step_by(LANES).map(|key| (key, LANES.min(past - key), 0));
                    let own = strips(count).map(|strip| (past + strip, LANES.min(count - strip), strip));
                    for (key, keys, query) in before.chain(own) {
                        let left = Left { values: &weights[key * BLOCK + query..], row: BLOCK, step: 1 };
                        for column in (0..padded).step_by(LANES) {
                            rows(
                                level,
                                (keys, count - query),
                                left,
                                Right { values: &right[query * padded + column..], row: padded },
                                #[inline(always)]
                                |row, sums: &[f32; LANES]| {
                                    let into = lanes_mut(&mut into[(key + row) * padded + column..]);
                                    for lane in 0..LANES {
                                        into[lane] += sums[lane];
                                    }
                                },
                            );
                        }
                    }
                }
                transpose(level, (transposed, BLOCK), (dim, count), 1.0, (&mut part.dq[first * dim..], dim));
            },
        );
    }
    part
}

/// Rows of `x` with their columns padded to whole registers: [rows, padded dim].
fn pad(x: &[f32], width: usize, dim: usize, rows: usize, into: &mut Vec<f32>) {
    let padded = padded(dim);
    // The padding is zeroed once and never written.
    into.resize(BLOCK * padded, 0.0);
    for row in 0..rows {
        into[row * padded..][..dim].copy_from_slice(&x[row * width..][..dim]);
    }
}
