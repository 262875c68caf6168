//! Attention's gradients: head by head, which makes each block's probabilities again from what forward was given.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::super::super::attention::Place;
use super::super::product::filled;
use super::super::simd::{transpose, vectorised};
use super::super::tile::{LANES, Left, Right, lanes, lanes_mut, rows};
use super::{BLOCK, Shape, Span, blocks, dot, exp_scores, packed, store, strips, tiled, turn};

/// What backward is made from: forward's inputs and output, and dL/doutput.
#[derive(Clone, Copy)]
pub(crate) struct Trace<'a> {
    pub(crate) q: &'a [f32],
    pub(crate) k: &'a [f32],
    pub(crate) v: &'a [f32],
    pub(crate) y: &'a [f32],
    pub(crate) dy: &'a [f32],
}

#[derive(Default)]
struct Scratch {
    /// [head_dim, BLOCK]
    q: Vec<f32>,
    dy: Vec<f32>,
    /// [keys, BLOCK], exp(score - largest): probabilities but for each query's sum.
    p: Vec<f32>,
    /// [keys, BLOCK]
    ds: Vec<f32>,
    /// [head_dim, BLOCK]
    turned: Vec<f32>,
    /// [BLOCK, padded head_dim]
    q_rows: Vec<f32>,
    dy_rows: Vec<f32>,
}

/// Gradients of one query head of one sequence, and its share of its key/value head's.
struct HeadGradients {
    dq: Vec<f32>, // [queries, head_dim]
    dk: Vec<f32>, // [keys that a query looks at, padded head_dim]
    dv: Vec<f32>,
}

/// [dq, dk, dv]
pub(crate) fn backward(trace: Trace<'_>, places: &[Place], shape: Shape) -> [Vec<f32>; 3] {
    let spans = packed(trace.k, trace.v, places, shape);
    let mut tasks: Vec<(usize, usize)> =
        (0..spans.len()).flat_map(|span| (0..shape.heads).map(move |head| (span, head))).collect();
    // The longest first, so that no thread is left with one at the end.
    tasks.sort_by_key(|&(span, _)| std::cmp::Reverse(spans[span].length));
    let mut parts: Vec<((usize, usize), HeadGradients)> = tasks
        .into_par_iter()
        .with_max_len(1)
        .map_init(Scratch::default, |scratch, task| (task, backward_head(trace, shape, spans[task.0], task.1, scratch)))
        .collect();
    parts.sort_unstable_by_key(|(task, _)| *task);

    let (dim, padded) = (shape.head_dim, padded(shape.head_dim));
    let part = |span: usize, head: usize| &parts[span * shape.heads + head].1;
    let queries: Vec<usize> = places.iter().map(|place| place.queries).collect();
    let lengths: Vec<usize> = places.iter().map(|place| place.length).collect();
    let dq = gather(shape.q_width, &queries, |span, row, out| {
        for (head, out) in out.chunks_exact_mut(dim).enumerate() {
            out.write_copy_of_slice(&part(span, head).dq[row * dim..][..dim]);
        }
    });
    // In the order of the heads, whichever was done first.
    let sum = |of: fn(&HeadGradients) -> &[f32]| {
        gather(shape.kv_width, &lengths, |span, row, out| {
            if row >= spans[span].past + spans[span].length {
                out.fill(MaybeUninit::new(0.0)); // no query looks at it
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
        })
    };
    [dq, sum(|part| &part.dk), sum(|part| &part.dv)]
}

/// Rows of `width`, as many of each span as `counts` says; `write` gets the span, the row within it, and every value to set.
fn gather(width: usize, counts: &[usize], write: impl Fn(usize, usize, &mut [MaybeUninit<f32>]) + Sync) -> Vec<f32> {
    filled(counts.iter().sum::<usize>() * width, |all| {
        let numbers = counts.iter().enumerate().flat_map(|(number, &count)| (0..count).map(move |row| (number, row)));
        let rows: Vec<_> = numbers.zip(all.chunks_exact_mut(width)).collect();
        rows.into_par_iter().with_min_len(BLOCK).for_each(|((span, row), out)| write(span, row, out));
    })
}

/// The head's dimension as the columns of whole vectors.
fn padded(dim: usize) -> usize {
    dim.next_multiple_of(LANES)
}

fn backward_head(trace: Trace<'_>, shape: Shape, span: Span<'_>, head: usize, scratch: &mut Scratch) -> HeadGradients {
    let Trace { q, y, dy, .. } = trace;
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
        scratch.turned.resize(dim * BLOCK, 0.0);
        let scale = shape.scale();
        let Scratch { q: scaled, dy: dy_turned, p, ds, turned, q_rows, dy_rows } = scratch;
        vectorised(
            #[inline(always)]
            |level| {
                turn(level, &q[start..], shape.q_width, (count, dim), scale, scaled);
                turn(level, &dy[start..], shape.q_width, (count, dim), 1.0, dy_turned);
                // The sum of p * dp over the keys is the product of the output's row and its gradient (Dao et al.,
                // arXiv:2205.14135).
                let mut along = [0.0; BLOCK];
                for (row, along) in along.iter_mut().enumerate().take(count) {
                    let place = start + row * shape.q_width..start + row * shape.q_width + dim;
                    *along = dot(level, &y[place.clone()], &dy[place]);
                }
                for strip in strips(count) {
                    let seen = tiled(past + (strip + LANES).min(count), all);
                    let queries = Right { values: &scaled[strip..], row: BLOCK };
                    let sums = exp_scores(level, (seen, dim), keys, queries, (&mut *p, strip), past + strip);
                    let along = *lanes(&along[strip..]);
                    let inverse = sums.map(|sum| 1.0 / sum);
                    let factor = inverse.map(|inverse| inverse * scale);
                    // What `p` lacks to be probabilities, the outputs' gradients get instead.
                    for (dy, inverse) in dy_rows[strip * padded..].chunks_exact_mut(padded).zip(inverse) {
                        for dy in dy {
                            *dy *= inverse;
                        }
                    }
                    let gradients = Right { values: &dy_turned[strip..], row: BLOCK };
                    rows(
                        level,
                        (seen, dim),
                        values,
                        gradients,
                        #[inline(always)]
                        |key, dp: &[f32; LANES]| {
                            // By value: a compiler must take slices behind references for the same memory.
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
                            store(turned, feature, strip, sums);
                        },
                    );
                }
                for (weights, right, into) in [(&*p, &*dy_rows, &mut part.dv), (&*ds, &*q_rows, &mut part.dk)] {
                    // Keys before the block's own are seen by all of its queries; of its own, a strip by that strip's and later ones.
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
                transpose(level, (turned, BLOCK), (dim, count), 1.0, (&mut part.dq[first * dim..], dim));
            },
        );
    }
    part
}

/// Rows of `x` with their columns filled up to whole vectors: [rows, padded dim].
fn pad(x: &[f32], width: usize, dim: usize, rows: usize, into: &mut Vec<f32>) {
    let padded = padded(dim);
    // What is behind a row is 0 once and for all.
    into.resize(BLOCK * padded, 0.0);
    for row in 0..rows {
        into[row * padded..][..dim].copy_from_slice(&x[row * width..][..dim]);
    }
}
