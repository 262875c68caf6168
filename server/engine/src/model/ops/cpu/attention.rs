//! Causal grouped-query attention in blocks of query rows: a block's scores live in a buffer of `BLOCK x length`, never
//! more, and only columns that the block may look at are computed. Backward makes the probabilities again.

use rayon::prelude::*;

use super::exp::exp;
use super::simd::vectorised;

/// Query rows whose scores are held at once.
const BLOCK: usize = 64;

#[derive(Clone, Copy)]
pub(super) struct Shape {
    q_width: usize,
    kv_width: usize,
    head_dim: usize,
    heads: usize,
    group: usize,
}

impl Shape {
    pub(super) fn new(q_width: usize, kv_width: usize, head_dim: usize) -> Self {
        Self { q_width, kv_width, head_dim, heads: q_width / head_dim, group: q_width / kv_width }
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

/// A strided matrix within a slice: element (i, j) at `start + i * row + j * column`.
#[derive(Clone, Copy)]
struct View {
    start: usize,
    row: usize,
    column: usize,
}

impl View {
    fn new(start: usize, row: usize) -> Self {
        Self { start, row, column: 1 }
    }

    fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }

    fn end(&self, rows: usize, columns: usize) -> usize {
        self.start + (rows - 1) * self.row + (columns - 1) * self.column + 1
    }
}

/// `out [m, n] (+)= scale * a [m, k] b [k, n]` on one thread.
#[expect(unsafe_code, reason = "gemm takes pointers; the bounds of all three are asserted first")]
fn product(
    (m, k, n): (usize, usize, usize),
    scale: f32,
    (a, a_view): (&[f32], View),
    (b, b_view): (&[f32], View),
    (out, out_view): (&mut [f32], View),
    add: bool,
) {
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    assert!(a_view.end(m, k) <= a.len() && b_view.end(k, n) <= b.len() && out_view.end(m, n) <= out.len());
    let strides = |view: View| (view.column as isize, view.row as isize);
    let (a_strides, b_strides, out_strides) = (strides(a_view), strides(b_view), strides(out_view));
    // SAFETY: the assertion above keeps every element of the three strided matrices within its slice.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out[out_view.start..].as_mut_ptr(),
            out_strides.0,
            out_strides.1,
            add,
            a[a_view.start..].as_ptr(),
            a_strides.0,
            a_strides.1,
            b[b_view.start..].as_ptr(),
            b_strides.0,
            b_strides.1,
            1.0,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Row `r` of the block sees columns `0..=first + r`; the rest become 0.
fn causal_softmax(scores: &mut [f32], width: usize, first: usize) {
    vectorised(
        #[inline(always)]
        |_| {
            for (row, scores) in scores.chunks_exact_mut(width).enumerate() {
                let (seen, unseen) = scores.split_at_mut(first + row + 1);
                let largest = seen.iter().fold(f32::NEG_INFINITY, |largest, score| largest.max(*score));
                let mut lanes = [0.0_f32; 16];
                let (blocks, rest) = seen.as_chunks_mut::<16>();
                for block in blocks {
                    for lane in 0..16 {
                        block[lane] = exp(block[lane] - largest);
                        lanes[lane] += block[lane];
                    }
                }
                let mut sum: f32 = lanes.iter().sum();
                for score in rest {
                    *score = exp(*score - largest);
                    sum += *score;
                }
                let inverse = 1.0 / sum;
                for score in seen {
                    *score *= inverse;
                }
                unseen.fill(0.0);
            }
        },
    );
}

/// scores <- probabilities * (dprobabilities - along) * scale, row by row.
fn softmax_backward(probabilities: &[f32], dprobabilities: &mut [f32], width: usize, scale: f32) {
    vectorised(
        #[inline(always)]
        |_| {
            for (p, dp) in probabilities.chunks_exact(width).zip(dprobabilities.chunks_exact_mut(width)) {
                let mut lanes = [0.0_f32; 16];
                let (p_blocks, p_rest) = p.as_chunks::<16>();
                let (dp_blocks, dp_rest) = dp.as_chunks::<16>();
                for (p, dp) in p_blocks.iter().zip(dp_blocks) {
                    for lane in 0..16 {
                        lanes[lane] += p[lane] * dp[lane];
                    }
                }
                let rest: f32 = p_rest.iter().zip(dp_rest).map(|(p, dp)| p * dp).sum();
                let along = lanes.iter().sum::<f32>() + rest;
                for (dp, p) in dp.iter_mut().zip(p) {
                    *dp = p * (*dp - along) * scale;
                }
            }
        },
    );
}

/// A block of query rows of one sequence.
struct Rows<'a> {
    /// First token of the sequence in the packed batch.
    sequence: usize,
    /// First row of the block within the sequence.
    first: usize,
    out: &'a mut [f32],
}

/// q: [tokens, heads * head_dim], k, v: [tokens, kv_heads * head_dim] -> [tokens, heads * head_dim].
pub(super) fn forward(q: &[f32], k: &[f32], v: &[f32], lengths: &[usize], shape: Shape) -> Vec<f32> {
    let mut out = vec![0.0; q.len()];
    let mut blocks = Vec::new();
    let (mut rest, mut sequence) = (out.as_mut_slice(), 0);
    for &length in lengths {
        for first in (0..length).step_by(BLOCK) {
            let rows = BLOCK.min(length - first);
            let (block, after) = rest.split_at_mut(rows * shape.q_width);
            rest = after;
            blocks.push(Rows { sequence, first, out: block });
        }
        sequence += length;
    }
    blocks
        .into_par_iter()
        .for_each_init(Vec::new, |scores, mut block| forward_block(q, k, v, shape, scores, &mut block));
    out
}

fn forward_block(q: &[f32], k: &[f32], v: &[f32], shape: Shape, scores: &mut Vec<f32>, block: &mut Rows<'_>) {
    let rows = block.out.len() / shape.q_width;
    let width = block.first + rows;
    scores.resize(rows * width, 0.0);
    for head in 0..shape.heads {
        let q_view = View::new((block.sequence + block.first) * shape.q_width + head * shape.head_dim, shape.q_width);
        let kv_view = View::new(block.sequence * shape.kv_width + head / shape.group * shape.head_dim, shape.kv_width);
        let scores_view = View::new(0, width);
        let sizes = (rows, shape.head_dim, width);
        product(sizes, shape.scale(), (q, q_view), (k, kv_view.transposed()), (scores, scores_view), false);
        causal_softmax(scores, width, block.first);
        let out_view = View::new(head * shape.head_dim, shape.q_width);
        product(
            (rows, width, shape.head_dim),
            1.0,
            (scores, scores_view),
            (v, kv_view),
            (&mut *block.out, out_view),
            false,
        );
    }
}

/// Gradients of one key/value head of one sequence and of the query heads that share it.
struct HeadGradients {
    sequence: usize,
    length: usize,
    kv_head: usize,
    dq: Vec<f32>, // [length, group * head_dim]
    dk: Vec<f32>, // [length, head_dim]
    dv: Vec<f32>,
}

/// Flat: dq, dk, dv.
pub(super) fn backward(q: &[f32], k: &[f32], v: &[f32], dy: &[f32], lengths: &[usize], shape: Shape) -> Vec<f32> {
    let kv_heads = shape.kv_width / shape.head_dim;
    let mut tasks = Vec::new();
    let mut sequence = 0;
    for &length in lengths {
        tasks.extend((0..kv_heads).map(|kv_head| (sequence, length, kv_head)));
        sequence += length;
    }
    // The longest first, so that no thread is left with one at the end.
    tasks.sort_by_key(|(_, length, _)| std::cmp::Reverse(*length));
    let parts: Vec<HeadGradients> = tasks
        .into_par_iter()
        .with_max_len(1)
        .map(|(sequence, length, kv_head)| backward_head(q, k, v, dy, shape, sequence, length, kv_head))
        .collect();

    let mut flat = vec![0.0; q.len() + 2 * k.len()];
    let (dq, rest) = flat.split_at_mut(q.len());
    let (dk, dv) = rest.split_at_mut(k.len());
    for part in parts {
        let group_width = shape.group * shape.head_dim;
        for row in 0..part.length {
            let token = part.sequence + row;
            let place = |width: usize, size: usize| {
                token * width + part.kv_head * size..token * width + (part.kv_head + 1) * size
            };
            dq[place(shape.q_width, group_width)].copy_from_slice(&part.dq[row * group_width..(row + 1) * group_width]);
            let own = row * shape.head_dim..(row + 1) * shape.head_dim;
            dk[place(shape.kv_width, shape.head_dim)].copy_from_slice(&part.dk[own.clone()]);
            dv[place(shape.kv_width, shape.head_dim)].copy_from_slice(&part.dv[own]);
        }
    }
    flat
}

#[expect(clippy::too_many_arguments, reason = "four tensors and the place of one head in them")]
fn backward_head(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    dy: &[f32],
    shape: Shape,
    sequence: usize,
    length: usize,
    kv_head: usize,
) -> HeadGradients {
    let dim = shape.head_dim;
    let group_width = shape.group * dim;
    let mut part = HeadGradients {
        sequence,
        length,
        kv_head,
        dq: vec![0.0; length * group_width],
        dk: vec![0.0; length * dim],
        dv: vec![0.0; length * dim],
    };
    let (mut p, mut dp) = (Vec::new(), Vec::new());
    let kv_view = View::new(sequence * shape.kv_width + kv_head * dim, shape.kv_width);
    let own_view = View::new(0, dim);
    for member in 0..shape.group {
        let head = kv_head * shape.group + member;
        for first in (0..length).step_by(BLOCK) {
            let rows = BLOCK.min(length - first);
            let width = first + rows;
            p.resize(rows * width, 0.0);
            dp.resize(rows * width, 0.0);
            let block = View::new(0, width);
            let q_view = View::new((sequence + first) * shape.q_width + head * dim, shape.q_width);
            let scores = (rows, dim, width);
            product(scores, shape.scale(), (q, q_view), (k, kv_view.transposed()), (&mut p, block), false);
            causal_softmax(&mut p, width, first);
            let sums = (width, rows, dim);
            product(sums, 1.0, (&p, block.transposed()), (dy, q_view), (&mut part.dv, own_view), true);
            product(scores, 1.0, (dy, q_view), (v, kv_view.transposed()), (&mut dp, block), false);
            softmax_backward(&p, &mut dp, width, shape.scale());
            let dq_view = View::new(first * group_width + member * dim, group_width);
            product((rows, width, dim), 1.0, (&dp, block), (k, kv_view), (&mut part.dq, dq_view), false);
            product(sums, 1.0, (&dp, block.transposed()), (q, q_view), (&mut part.dk, own_view), true);
        }
    }
    part
}
