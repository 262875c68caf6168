//! The machine's rate of matrix products, and each operation of a training step alone, at the step's sizes. For
//! benchmarks only.

use std::time::Instant;

use burn::tensor::{Distribution, Tensor};
use serde::Serialize;

use crate::control::Control;
use crate::device::Device;
use crate::model::LlamaConfig;
use crate::model::ops::{
    Dropout, Factors, Lora, Rope, Segments, attention, attention_backward, head_loss, linear, linear_backward,
    rms_norm, rms_norm_backward, swiglu, swiglu_backward,
};

/// One operation alone: the median of `times` calls.
#[derive(Debug, Serialize)]
pub struct Timing {
    pub name: &'static str,
    pub milliseconds: f64,
    /// How often a training step calls it.
    pub calls: usize,
    /// Floating-point operations of one call, in 10^9; 0 where memory bandwidth is the limit.
    pub gflop: f64,
}

impl Timing {
    pub fn gflops(&self) -> f64 {
        1e3 * self.gflop / self.milliseconds
    }
}

/// The rate of large f32 GEMMs on all threads in GFLOP/s: the best of several at the model's shapes. A training step is
/// compared with it.
pub fn gemm_peak(device: &Device, config: &LlamaConfig, tokens: usize) -> f64 {
    let (hidden, ffn) = (config.hidden_size, config.intermediate_size);
    let shapes = [(hidden, ffn), (ffn, hidden), (hidden, hidden), (2048, 2048)];
    let rate = |(input, out): (usize, usize)| {
        let (x, weight) = (random([tokens, input], device), random([out, input], device));
        let fastest =
            (0..7).map(|_| once(|| linear(device.kernels, x.clone(), &weight, None))).fold(f64::MAX, f64::min);
        2e-9 * (tokens * input * out) as f64 / fastest
    };
    shapes.map(rate).into_iter().fold(0.0, f64::max)
}

/// Every operation of a training step on sequences of these lengths with LoRAs of rank 16 on q and v and loss at every
/// position. Only those whose name contains `only`.
pub fn operations(device: &Device, config: &LlamaConfig, lengths: &[usize], times: usize, only: &str) -> Vec<Timing> {
    let kernels = device.kernels;
    let (hidden, ffn, layers) = (config.hidden_size, config.intermediate_size, config.num_hidden_layers);
    let (q_width, kv_width) =
        (config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim);
    let tokens: usize = lengths.iter().sum();
    let matrix = |columns| random([tokens, columns], device);
    let gflop = |input: usize, out: usize| 2e-9 * (tokens * input * out) as f64;
    let mut found = Vec::new();
    let mut time = |name, calls, gflop, work: &mut dyn FnMut() -> Tensor<2>| {
        if !str::contains(name, only) {
            return;
        }
        let mut seconds: Vec<f64> = (0..times).map(|_| once(&mut *work)).collect();
        seconds.sort_by(f64::total_cmp);
        found.push(Timing { name, milliseconds: 1e3 * seconds[seconds.len() / 2], calls, gflop });
    };

    let (x, y, wide, wider) = (matrix(hidden), matrix(hidden), matrix(ffn), matrix(ffn));
    let (k, v) = (matrix(kv_width), matrix(kv_width));
    let q = matrix(q_width);
    for (name, back_name, [out, input], calls) in [
        ("q and o projection", "q and o projection, backward", [q_width, hidden], 2 * layers),
        ("k and v projection", "k and v projection, backward", [kv_width, hidden], 2 * layers),
        ("gate and up projection", "gate and up projection, backward", [ffn, hidden], 2 * layers),
        ("down projection", "down projection, backward", [hidden, ffn], layers),
    ] {
        let weight = random([out, input], device);
        let (input_x, output_dy) = (matrix(input), matrix(out));
        time(name, calls, gflop(input, out), &mut || linear(kernels, input_x.clone(), &weight, None));
        time(back_name, calls, gflop(input, out), &mut || linear_backward(kernels, output_dy.clone(), &weight, None));
    }
    let segments =
        Segments::new(lengths, config.num_attention_heads, config.num_key_value_heads, config.head_dim, device);
    // Two products of the causal half.
    let pairs: usize = lengths.iter().map(|length| length * (length + 1) / 2).sum();
    let scores = 4e-9 * (pairs * q_width) as f64;
    let context = attention(&q, &k, &v, &segments);
    time("attention", layers, scores, &mut || attention(&q, &k, &v, &segments));
    time("attention, backward", layers, 2.5 * scores, &mut || {
        let [dq, _, _] = attention_backward([&q, &k, &v, &context, &q], &segments);
        dq
    });
    let norm = Tensor::<1>::ones([hidden], &device.inner);
    time("RMSNorm", 4 * layers + 1, 0.0, &mut || rms_norm(kernels, x.clone(), &norm, 1e-5));
    time("RMSNorm, backward", 2 * layers + 1, 0.0, &mut || {
        rms_norm_backward(kernels, x.clone(), &norm, 1e-5, y.clone(), x.clone())
    });
    let positions: Vec<usize> = lengths.iter().flat_map(|&length| 0..length).collect();
    let rope = Rope::new(&positions, config.head_dim, config.rope_theta, device);
    time("RoPE on q", 2 * layers, 0.0, &mut || rope.rotate(q.clone()));
    time("RoPE on k", 2 * layers, 0.0, &mut || rope.rotate(k.clone()));
    time("SwiGLU", layers, 0.0, &mut || swiglu(kernels, wide.clone(), wider.clone()));
    time("SwiGLU, backward", layers, 0.0, &mut || {
        swiglu_backward(kernels, wide.clone(), wider.clone(), wide.clone()).0
    });
    for (name, back_name, out) in
        [("LoRA on q", "LoRA on q, backward", q_width), ("LoRA on v", "LoRA on v, backward", kv_width)]
    {
        let factors = Factors { a: random([16, hidden], device), b: random([out, 16], device) };
        let lora = Lora { kernels, factors: &factors, scale: 2.0, dropout: Dropout { rate: 0.1, seed: 1 } };
        let dy = matrix(out);
        time(name, layers, gflop(hidden + out, 16), &mut || lora.add(dy.clone(), x.clone()));
        time(back_name, layers, 2.0 * gflop(hidden + out, 16), &mut || {
            lora.backward(y.clone(), x.clone(), dy.clone()).0
        });
    }
    let head = random([config.vocab_size, hidden], device);
    let targets: Vec<u32> = (0..tokens as u32).map(|row| row * 31 % config.vocab_size as u32).collect();
    time("head and cross-entropy", 1, 2.0 * gflop(hidden, config.vocab_size), &mut || {
        head_loss(kernels, &x, &head, &targets, 1.0, &Control::default()).expect("nothing stops it").gradient
    });
    found
}

fn random(shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::random(shape, Distribution::Uniform(-0.1, 0.1), &device.inner)
}

/// Seconds of one call, the result included: a value is read back, since some devices compute asynchronously.
fn once(mut work: impl FnMut() -> Tensor<2>) -> f64 {
    let started = Instant::now();
    let made = work();
    let one = made.clone().narrow(0, 0, 1).narrow(1, 0, 1).into_data();
    let seconds = started.elapsed().as_secs_f64();
    drop((one, made));
    seconds
}
