//! Each kernel alone, at the sizes of a training or decoding step of SmolLM2-135M: the median of several calls.
//!
//! `cargo bench -p kernels` runs all, `cargo bench -p kernels -- attention` those whose name contains "attention".

use std::hint::black_box;
use std::time::Instant;

use kernels::attention::{self, Saved, Sequence, Shape};
use kernels::lora::{self, Lora};
use kernels::{Dropout, cross_entropy, elementwise, int8, linear, linear_backward, linear_decode};

const CALLS: usize = 7;
const LENGTH: usize = 512;
const SEQUENCES: usize = 4;
const TOKENS: usize = LENGTH * SEQUENCES;
const HIDDEN: usize = 576;
const FFN: usize = 1536;
const KV_WIDTH: usize = 192;
const HEAD_DIM: usize = 64;
const VOCABULARY: usize = 49_152;

/// Floating-point operations of a product, in 10^9.
fn gflop(m: usize, k: usize, n: usize) -> f64 {
    2e-9 * (m * k * n) as f64
}

fn values(size: usize) -> Vec<f32> {
    (0..size).map(|i| ((i * 7919 % 2003) as f32 - 1001.0) / 5000.0).collect()
}

#[expect(clippy::print_stdout, reason = "the timings are what this program is for")]
fn time<R>(name: &str, gflop: f64, mut kernel: impl FnMut() -> R) {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    if only.is_some_and(|only| !name.contains(&only)) {
        return;
    }
    let mut seconds: Vec<f64> = (0..CALLS)
        .map(|_| {
            let started = Instant::now();
            black_box(kernel());
            started.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let median = seconds[CALLS / 2];
    println!("{name:<32} {:>9.3} ms {:>7.0} GFLOP/s", 1e3 * median, gflop / median);
}

fn main() {
    let (x, wide, kv) = (values(TOKENS * HIDDEN), values(TOKENS * FFN), values(TOKENS * KV_WIDTH));
    let weight = values(FFN * HIDDEN);
    time("linear", gflop(TOKENS, HIDDEN, FFN), || linear(&x, &weight, HIDDEN, None));
    time("linear, backward", gflop(TOKENS, HIDDEN, FFN), || linear_backward(&wide, &weight, HIDDEN));
    time("linear_decode, 1 row", gflop(1, HIDDEN, FFN), || linear_decode(&x[..HIDDEN], &weight, HIDDEN));
    time("linear_decode, 16 rows", gflop(16, HIDDEN, FFN), || linear_decode(&x[..16 * HIDDEN], &weight, HIDDEN));
    let quantized = int8::Int8Matrix::new(&weight, HIDDEN);
    time("int8, prefill", gflop(TOKENS, HIDDEN, FFN), || int8::linear(&x, &quantized));
    time("int8, decode, 16 rows", gflop(16, HIDDEN, FFN), || int8::linear(&x[..16 * HIDDEN], &quantized));

    let (a, b) = (values(16 * HIDDEN), values(HIDDEN * 16));
    let lora = Lora { a: &a, b: &b, rank: 16, scale: 2.0, dropout: Dropout { rate: 0.1, seed: 1 } };
    let mut y = x.clone();
    time("LoRA", gflop(TOKENS, 2 * HIDDEN, 16), || lora::forward_add(&mut y, &x, lora));
    time("LoRA, backward", 2.0 * gflop(TOKENS, 2 * HIDDEN, 16), || lora::backward_add(&mut y, &x, &x, lora));

    let shape = Shape::new(HIDDEN, KV_WIDTH, HEAD_DIM);
    let sequences = [Sequence { length: LENGTH, first_query: 0, queries: LENGTH }; SEQUENCES];
    let scores = 2.0 * gflop(SEQUENCES * LENGTH * (LENGTH + 1) / 2, 1, HIDDEN);
    let context = attention::forward(&x, &kv, &kv, &sequences, shape);
    time("attention", scores, || attention::forward(&x, &kv, &kv, &sequences, shape));
    let saved = Saved { q: &x, k: &kv, v: &kv, y: &context, dy: &x };
    time("attention, backward", 2.5 * scores, || attention::backward(saved, &sequences, shape));

    let norm = vec![1.0; HIDDEN];
    time("RMSNorm", 0.0, || elementwise::rms_norm(&x, &norm, 1e-5));
    time("RMSNorm, backward", 0.0, || elementwise::rms_norm_backward_add(&x, &norm, &x, 1e-5, &mut y));
    time("SwiGLU", 0.0, || elementwise::swiglu(&wide, &wide, FFN));

    let head = values(VOCABULARY * HIDDEN);
    let targets: Vec<u32> = (0..TOKENS as u32).map(|row| row * 31 % VOCABULARY as u32).collect();
    time("cross-entropy with gradient", 2.0 * gflop(TOKENS, HIDDEN, VOCABULARY), || {
        cross_entropy::with_gradient(&x, &head, &targets, 1.0)
    });
}
