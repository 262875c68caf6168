//! Forward: blocks of queries, and single queries (decoding) by a kernel of their own.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::{BLOCK, Shape, Span, blocks, dot, exp_scores, store, strips, tiled, transpose_block};
use crate::exp::exp;
use crate::output::written;
use crate::simd::{Level, transpose, vectorised};
use crate::tile::{LANES, Left, Right, rows};

/// Up to `BLOCK` queries of one sequence.
struct Block<'a> {
    span: Span<'a>,
    /// First of them within the sequence's queries.
    first: usize,
    rows: usize,
    out: &'a mut [MaybeUninit<f32>],
}

#[derive(Default)]
struct Scratch {
    /// [head_dim, BLOCK]
    q: Vec<f32>,
    /// [keys, BLOCK]
    p: Vec<f32>,
    /// [head_dim, BLOCK]
    transposed: Vec<f32>,
}

/// q: [queries, heads * head_dim] in the order of the spans -> the same.
pub(crate) fn over_spans(q: &[f32], spans: &[Span<'_>], shape: Shape) -> Vec<f32> {
    let queries: usize = spans.iter().map(|span| span.length).sum();
    assert_eq!(q.len(), queries * shape.q_width, "q has {queries} queries");
    // SAFETY: the spans' queries are all rows, each is written by one block or as a single, and both write all heads.
    unsafe { written(q.len(), |out| fill(q, spans, shape, out)) }
}

fn fill(q: &[f32], spans: &[Span<'_>], shape: Shape, out: &mut [MaybeUninit<f32>]) {
    let mut whole = Vec::new();
    let mut singles = Vec::new();
    let mut rest = out;
    for &span in spans {
        if span.length == 1 {
            let (out, after) = rest.split_at_mut(shape.q_width);
            rest = after;
            singles.extend(out.chunks_exact_mut(shape.group * shape.head_dim).enumerate().map(|part| (span, part)));
            continue;
        }
        for (first, rows) in blocks(span.length) {
            let (out, after) = rest.split_at_mut(rows * shape.q_width);
            rest = after;
            whole.push(Block { span, first, rows, out });
        }
    }
    // The longest first, so that threads finish together.
    whole.sort_by_key(|block| std::cmp::Reverse(block.span.past + block.first));
    whole.into_par_iter().with_max_len(1).for_each_init(Scratch::default, |scratch, mut block| {
        for head in 0..shape.heads {
            forward_head(q, shape, head, scratch, &mut block);
        }
    });
    singles.into_par_iter().with_min_len(2).for_each_init(Vec::new, |scores, (span, (kv_head, out))| {
        one_query(q, span, shape, kv_head, scores, out);
    });
}

/// A single query's heads of one key/value head, as in decoding, where a block would have one column of `LANES`.
fn one_query(
    q: &[f32],
    span: Span<'_>,
    shape: Shape,
    kv_head: usize,
    scores: &mut Vec<f32>,
    out: &mut [MaybeUninit<f32>],
) {
    let (dim, group, width) = (shape.head_dim, shape.group, span.kv_row);
    let seen = span.past + 1;
    let q = &q[span.queries * shape.q_width + kv_head * group * dim..][..group * dim];
    let (keys, values) = (&span.keys[kv_head * span.kv_head..], &span.values[kv_head * span.kv_head..]);
    scores.resize(group * seen, 0.0);
    vectorised(
        #[inline(always)]
        |level| {
            for key in 0..seen {
                let features = &keys[key * width..][..dim];
                for (member, q) in q.chunks_exact(dim).enumerate() {
                    scores[member * seen + key] = dot(level, q, features) * shape.scale();
                }
            }
            for scores in scores.chunks_exact_mut(seen) {
                softmax(level, scores);
            }
            for first in (0..dim - dim % LANES).step_by(LANES) {
                let left = Left { values: scores, row: seen, step: 1 };
                let right = Right { values: &values[first..], row: width };
                rows(
                    level,
                    (group, seen),
                    left,
                    right,
                    #[inline(always)]
                    |member, sums: &[f32; LANES]| {
                        out[member * dim + first..][..LANES].write_copy_of_slice(sums);
                    },
                );
            }
            for feature in dim - dim % LANES..dim {
                for (member, scores) in scores.chunks_exact(seen).enumerate() {
                    let along = scores.iter().enumerate().map(|(key, score)| score * values[key * width + feature]);
                    out[member * dim + feature].write(along.sum());
                }
            }
        },
    );
}

#[inline(always)]
fn softmax(level: Level, scores: &mut [f32]) {
    let largest = scores.iter().fold(f32::NEG_INFINITY, |largest, score| largest.max(*score));
    let mut sums = [0.0_f32; LANES];
    let (blocks, rest) = scores.as_chunks_mut::<LANES>();
    for block in blocks {
        for (score, sum) in block.iter_mut().zip(&mut sums) {
            *score = exp(level, *score - largest);
            *sum += *score;
        }
    }
    let mut sum: f32 = sums.iter().sum();
    for score in rest {
        *score = exp(level, *score - largest);
        sum += *score;
    }
    let inverse = 1.0 / sum;
    for score in scores {
        *score *= inverse;
    }
}

fn forward_head(q: &[f32], shape: Shape, head: usize, scratch: &mut Scratch, block: &mut Block<'_>) {
    let dim = shape.head_dim;
    let (span, first, count) = (block.span, block.first, block.rows);
    let start = (span.queries + first) * shape.q_width + head * dim;
    let past = span.past + first;
    let start_of_head = head / shape.group * span.kv_head;
    let keys = Left { values: &span.keys[start_of_head..], row: span.kv_row, step: 1 };
    let values = Left { values: &span.values[start_of_head..], row: 1, step: span.kv_row };
    let all = span.past + span.length;
    scratch.p.resize(tiled(past + count, all) * BLOCK, 0.0);
    scratch.transposed.resize(dim * BLOCK, 0.0);
    let Scratch { p, transposed, q: scaled, .. } = scratch;
    vectorised(
        #[inline(always)]
        |level| {
            transpose_block(level, &q[start..], shape.q_width, (count, dim), shape.scale(), scaled);
            for strip in strips(count) {
                let seen = past + (strip + LANES).min(count);
                let queries = Right { values: &scaled[strip..], row: BLOCK };
                let sums = exp_scores(level, (tiled(seen, all), dim), keys, queries, (&mut *p, strip), past + strip);
                let inverse = sums.map(|sum| 1.0 / sum);
                let weights = Right { values: &p[strip..], row: BLOCK };
                rows(
                    level,
                    (dim, seen),
                    values,
                    weights,
                    #[inline(always)]
                    |feature, sums| {
                        let mut out = *sums;
                        for lane in 0..LANES {
                            out[lane] *= inverse[lane];
                        }
                        store(transposed, feature, strip, &out);
                    },
                );
            }
            let out = &mut block.out[head * dim..];
            transpose(level, (transposed, BLOCK), (dim, count), 1.0, (out, shape.q_width));
        },
    );
}
