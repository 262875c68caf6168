//! Every hand-written backward against finite differences of its forward, and every fused kernel against its
//! composition, over odd shapes.

use burn::tensor::{Tensor, TensorData};
use rand::Rng;

use super::*;
use crate::control::Control;
use crate::device::Device;
use crate::device::Kernels::{Composed, Fused};
use crate::random::{Purpose, stream};

fn fused() -> Device {
    Device::open("flex").unwrap()
}

fn composed() -> Device {
    Device::open("flex:composed").unwrap()
}

fn tensor(values: Vec<f32>, shape: [usize; 2]) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, shape), &burn::tensor::Device::flex())
}

fn random(shape: [usize; 2], seed: u64) -> Tensor<2> {
    let mut random = stream(seed, Purpose::LoraInit, 0, 0);
    let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| random.random_range(-1.0..1.0)).collect();
    tensor(values, shape)
}

fn values(x: &Tensor<2>) -> Vec<f32> {
    x.to_data().try_to_vec().unwrap()
}

/// A scalar of any tensor: a fixed random weighting, so that no component's gradient can hide.
fn weigh(y: &Tensor<2>, weights: &Tensor<2>) -> f64 {
    values(y).iter().zip(values(weights)).map(|(a, b)| f64::from(*a) * f64::from(b)).sum()
}

/// Compares `gradient` with central differences of `loss` around `x` at a spread of components.
fn check_gradient(what: &str, x: &Tensor<2>, gradient: &Tensor<2>, loss: impl Fn(Tensor<2>) -> f64) {
    let (base, gradient, shape) = (values(x), values(gradient), x.dims());
    assert_eq!(base.len(), gradient.len(), "{what}");
    let step = 5e-3_f32;
    for index in (0..base.len()).step_by((base.len() / 23).max(1)) {
        let at = |delta: f32| {
            let mut moved = base.clone();
            moved[index] += delta;
            loss(tensor(moved, shape))
        };
        let expected = (at(step) - at(-step)) / f64::from(2.0 * step);
        let found = f64::from(gradient[index]);
        let allowed = 2e-3 + 1e-2 * expected.abs();
        assert!((found - expected).abs() < allowed, "{what}[{index}]: {found} but differences say {expected}");
    }
}

#[test]
fn rms_norm_backward_agrees_with_differences() {
    let (x, dy) = (random([5, 7], 1), random([5, 7], 2));
    let weight: Tensor<1> = random([1, 7], 3).reshape([7]);
    let dx = rms_norm_backward(Fused, x.clone(), &weight, 1e-5, dy.clone(), x.zeros_like());
    check_gradient("x", &x, &dx, |x| weigh(&rms_norm(Fused, x, &weight, 1e-5), &dy));
}

#[test]
fn swiglu_backward_agrees_with_differences() {
    let (gate, up, dy) = (random([3, 11], 1) * 3.0, random([3, 11], 2), random([3, 11], 3));
    let (dgate, dup) = swiglu_backward(Fused, gate.clone(), up.clone(), dy.clone());
    check_gradient("gate", &gate, &dgate, |gate| weigh(&swiglu(Fused, gate, up.clone()), &dy));
    check_gradient("up", &up, &dup, |up| weigh(&swiglu(Fused, gate.clone(), up), &dy));
}

#[test]
fn the_inverse_rotation_gives_back_what_was_rotated() {
    let x = random([4, 2 * 6], 1);
    let rope = Rope::new(&[0, 1, 17, 4000], 6, 10_000.0, &fused());
    let there_and_back = rope.rotate_back(rope.rotate(x.clone()));
    for (a, b) in values(&x).iter().zip(values(&there_and_back)) {
        assert!((a - b).abs() < 1e-5);
    }
    // Position 0 is not rotated.
    assert_eq!(values(&rope.rotate(x.clone()))[..12], values(&x)[..12]);
}

#[test]
fn attention_backward_agrees_with_differences_in_every_sequence() {
    let (heads, kv_heads, head_dim) = (6, 2, 4);
    let segments = Segments::new(&[1, 5, 3], heads, kv_heads, head_dim, &fused());
    let (q, k, v) = (random([9, heads * head_dim], 1), random([9, 8], 2), random([9, 8], 3));
    let dy = random([9, heads * head_dim], 4);
    let y = attention(&q, &k, &v, &segments);
    let [dq, dk, dv] = attention_backward([&q, &k, &v, &y, &dy], &segments);
    check_gradient("q", &q, &dq, |q| weigh(&attention(&q, &k, &v, &segments), &dy));
    check_gradient("k", &k, &dk, |k| weigh(&attention(&q, &k, &v, &segments), &dy));
    check_gradient("v", &v, &dv, |v| weigh(&attention(&q, &k, &v, &segments), &dy));
}

#[test]
fn a_packed_sequence_sees_nothing_of_its_neighbours() {
    let (q, k, v) = (random([7, 8], 1), random([7, 4], 2), random([7, 4], 3));
    let packed = attention(&q, &k, &v, &Segments::new(&[4, 3], 2, 1, 4, &fused()));
    let alone = Segments::new(&[3], 2, 1, 4, &fused());
    let tail = |x: &Tensor<2>| x.clone().narrow(0, 4, 3);
    let single = attention(&tail(&q), &tail(&k), &tail(&v), &alone);
    for (a, b) in values(&tail(&packed)).iter().zip(values(&single)) {
        assert!((a - b).abs() < 1e-6);
    }
}

/// Two rows in three passes over a cache against attention over the whole sequences: all queries of the first pass, the
/// last query alone, then one token each.
#[test]
fn attention_over_a_cache_is_attention_over_the_whole() {
    let config = crate::model::LlamaConfig {
        vocab_size: 8,
        hidden_size: 16,
        intermediate_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 6,
        num_key_value_heads: 2,
        head_dim: 20,
        max_position_embeddings: 512,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        tie_word_embeddings: true,
    };
    let lengths = [90, 33];
    let passes = [[70, 30], [19, 2], [1, 1]];
    let (q, k, v) = (random([123, 120], 1), random([123, 40], 2), random([123, 40], 3));
    let whole = attention(&q, &k, &v, &Segments::new(&lengths, 6, 2, 20, &fused()));
    for device in &[fused(), composed()] {
        let mut caches = lengths.map(|length| KvCache::new(&config, length, device));
        let (mut first, mut second) = (0, lengths[0]);
        for (pass, new) in passes.into_iter().enumerate() {
            let part = |x: &Tensor<2>, from: [usize; 2], count: [usize; 2]| {
                Tensor::cat(vec![x.clone().narrow(0, from[0], count[0]), x.clone().narrow(0, from[1], count[1])], 0)
            };
            let ends = [first + new[0] - 1, second + new[1] - 1];
            let (from, count) = if pass == 1 { (ends, [1, 1]) } else { ([first, second], new) };
            let (k, v) = (part(&k, [first, second], new), part(&v, [first, second], new));
            let [one, two] = &mut caches;
            let found = attend_cached(&mut [one, two], 0, &part(&q, from, count), &k, &v, &new);
            assert!(difference(&found, &part(&whole, from, count)) < 1e-5, "pass {pass}");
            caches.iter_mut().zip(new).for_each(|(cache, new)| cache.advance(new));
            first += new[0];
            second += new[1];
        }
        let mut other = KvCache::new(&config, 90, device);
        other.copy_prefix(&caches[0], 89);
        let last = |x: &Tensor<2>| x.clone().narrow(0, 89, 1);
        let found = attend_cached(&mut [&mut other], 0, &last(&q), &last(&k), &last(&v), &[1]);
        assert!(difference(&found, &last(&whole)) < 1e-5, "after a prefix");
    }
}

#[test]
fn head_loss_is_the_cross_entropy_and_its_gradient_agrees_with_differences() {
    // More rows than a chunk, so that chunking is part of what is checked.
    let (rows, vocabulary, hidden_size) = (330, 13, 5);
    let (hidden, weight) = (random([rows, hidden_size], 1), random([vocabulary, hidden_size], 2));
    let targets: Vec<u32> = (0..rows as u32).map(|row| row * 7 % 13).collect();
    let loss = head_loss(Fused, &hidden, &weight, &targets, 0.5, &Control::default()).unwrap();
    let log_probs = target_log_probs(Fused, &hidden, &weight, &targets);
    let sum: f64 = -log_probs.iter().map(|value| f64::from(*value)).sum::<f64>();
    assert!((loss.sum - sum).abs() < 1e-4);
    check_gradient("hidden", &hidden, &loss.gradient, |hidden| {
        0.5 * -target_log_probs(Fused, &hidden, &weight, &targets).iter().map(|value| f64::from(*value)).sum::<f64>()
    });
}

#[test]
fn lora_backward_agrees_with_differences_with_and_without_dropout() {
    for rate in [0.0, 0.4] {
        let dropout = Dropout { rate, seed: 7 };
        let (x, weight, dy) = (random([6, 5], 1), random([3, 5], 2), random([6, 3], 3));
        let factors = Factors { a: random([2, 5], 4), b: random([3, 2], 5) };
        let forward = |x: Tensor<2>, factors: &Factors| {
            Lora { kernels: Fused, factors, scale: 2.0, dropout }.add(linear(Fused, x.clone(), &weight, None), x)
        };
        let frozen = linear_backward(Fused, dy.clone(), &weight, None);
        let (dx, gradients) =
            Lora { kernels: Fused, factors: &factors, scale: 2.0, dropout }.backward(frozen, x.clone(), dy.clone());
        check_gradient("x", &x, &dx, |x| weigh(&forward(x, &factors), &dy));
        check_gradient("A", &factors.a, &gradients.a, |a| {
            weigh(&forward(x.clone(), &Factors { a, b: factors.b.clone() }), &dy)
        });
        check_gradient("B", &factors.b, &gradients.b, |b| {
            weigh(&forward(x.clone(), &Factors { a: factors.a.clone(), b }), &dy)
        });
    }
}

#[test]
fn dropout_drops_its_share_and_keeps_the_mean() {
    let x = Tensor::<2>::ones([200, 50], &fused().inner);
    let eye: Tensor<2> = Tensor::<1>::ones([50], &fused().inner).unsqueeze::<2>();
    let factors = Factors { a: eye, b: Tensor::ones([1, 1], &fused().inner) };
    let zero = Tensor::<2>::zeros([1, 50], &fused().inner);
    let lora = Lora { kernels: Fused, factors: &factors, scale: 1.0, dropout: Dropout { rate: 0.25, seed: 3 } };
    let dropped = values(&lora.add(linear(Fused, x.clone(), &zero, None), x));
    let mean = dropped.iter().sum::<f32>() / dropped.len() as f32 / 50.0;
    assert!((mean - 1.0).abs() < 0.02, "{mean}");
}

/// Largest difference relative to the larger of 1 and the value.
fn difference(a: &Tensor<2>, b: &Tensor<2>) -> f32 {
    assert_eq!(a.dims(), b.dims());
    values(a).iter().zip(values(b)).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f32::max)
}

#[test]
fn fused_kernels_equal_their_compositions_over_odd_shapes() {
    for (rows, columns) in [(1, 6), (3, 18), (33, 34), (130, 576)] {
        let (x, dy) = (random([rows, columns], 1) * 4.0, random([rows, columns], 2));
        let up = random([rows, columns], 3);
        let weight: Tensor<1> = random([1, columns], 4).reshape([columns]);
        let norm = |kernels| rms_norm(kernels, x.clone(), &weight, 1e-5);
        assert!(difference(&norm(Fused), &norm(Composed)) < 1e-5);
        let norm_backward = |kernels| rms_norm_backward(kernels, x.clone(), &weight, 1e-5, dy.clone(), up.clone());
        assert!(difference(&norm_backward(Fused), &norm_backward(Composed)) < 1e-5);
        let glu = |kernels| swiglu(kernels, x.clone(), up.clone());
        assert!(difference(&glu(Fused), &glu(Composed)) < 1e-5);
        let glu_backward = |kernels| swiglu_backward(kernels, x.clone(), up.clone(), dy.clone());
        let ((dgate, dup), (dgate_composed, dup_composed)) = (glu_backward(Fused), glu_backward(Composed));
        assert!(difference(&dgate, &dgate_composed) < 1e-5 && difference(&dup, &dup_composed) < 1e-5);
        let positions: Vec<usize> = (0..rows).map(|row| row * 3).collect();
        let rotated = |device: &Device| Rope::new(&positions, 2, 10_000.0, device).rotate(x.clone());
        assert!(difference(&rotated(&fused()), &rotated(&composed())) < 1e-6);
    }
}

#[test]
fn a_fused_lora_equals_its_composition_over_odd_shapes() {
    for (rows, input, out, rank) in [(1, 7, 5, 1), (3, 18, 33, 2), (129, 34, 9, 16), (300, 64, 48, 4)] {
        for rate in [0.0, 0.3] {
            let (x, y, dx) = (random([rows, input], 1), random([rows, out], 2), random([rows, input], 3));
            let dy = random([rows, out], 4);
            let factors = Factors { a: random([rank, input], 5), b: random([out, rank], 6) };
            let dropout = Dropout { rate, seed: 0x1234_5678_9abc_def0 };
            let lora = |kernels| Lora { kernels, factors: &factors, scale: 2.0, dropout };
            let what = format!("{rows} x {input} x {out}, rank {rank}, dropout {rate}");
            assert!(
                difference(&lora(Fused).add(y.clone(), x.clone()), &lora(Composed).add(y, x.clone())) < 1e-5,
                "{what}"
            );
            let (fused_dx, fused) = lora(Fused).backward(dx.clone(), x.clone(), dy.clone());
            let (composed_dx, composed) = lora(Composed).backward(dx, x, dy);
            assert!(difference(&fused_dx, &composed_dx) < 1e-5, "{what}: dx");
            assert!(difference(&fused.a, &composed.a) < 1e-4, "{what}: dA");
            assert!(difference(&fused.b, &composed.b) < 1e-4, "{what}: dB");
        }
    }
}

#[test]
fn projections_equal_plain_products_and_add_to_what_is_given() {
    for (rows, input, out) in [(1, 3, 1), (17, 40, 70), (33, 576, 192), (100, 30, 65), (70, 64, 1000)] {
        let (x, weight, y) = (random([rows, input], 1), random([out, input], 2), random([rows, out], 3));
        let plain = x.clone().matmul(weight.clone().transpose());
        assert!(difference(&linear(Fused, x.clone(), &weight, None), &plain) < 1e-5, "{rows} x {input} x {out}");
        let shared = y.clone();
        assert!(difference(&linear(Fused, x.clone(), &weight, Some(y.clone())), &(y.clone() + plain)) < 1e-5);
        assert_eq!(values(&shared), values(&random([rows, out], 3)), "a shared residual is not changed");
        let plain = y.clone().matmul(weight.clone());
        assert!(difference(&linear_backward(Fused, y.clone(), &weight, None), &plain) < 1e-5);
        assert!(difference(&linear_backward(Fused, y, &weight, Some(x.clone())), &(x + plain)) < 1e-5);
    }
}

#[test]
fn the_fused_head_equals_its_composition_over_odd_shapes() {
    for (rows, columns, vocabulary) in [(1, 5, 3), (7, 16, 100), (513, 24, 777), (40, 64, 5000)] {
        // Large enough that the running maximum moves between tiles.
        let (hidden, weight) = (random([rows, columns], 1) * 6.0, random([vocabulary, columns], 2));
        let targets: Vec<u32> = (0..rows as u32).map(|row| row * 97 % vocabulary as u32).collect();
        let loss = |kernels| head_loss(kernels, &hidden, &weight, &targets, 0.7, &Control::default()).unwrap();
        let (fused, composed) = (loss(Fused), loss(Composed));
        assert!(
            (fused.sum - composed.sum).abs() < 1e-5 * composed.sum.abs().max(1.0),
            "{} {}",
            fused.sum,
            composed.sum
        );
        assert!(difference(&fused.gradient, &composed.gradient) < 1e-5, "{rows} x {columns} x {vocabulary}");
        let log_probs: f64 = target_log_probs(Fused, &hidden, &weight, &targets).into_iter().map(f64::from).sum();
        assert!((log_probs + composed.sum).abs() < 1e-5 * composed.sum.abs().max(1.0));
    }
}

#[test]
fn fused_attention_equals_the_composition_over_odd_shapes() {
    for (lengths, heads, kv_heads, head_dim) in
        [(vec![1], 1, 1, 2), (vec![5, 1, 70], 6, 2, 8), (vec![64, 65, 63], 3, 3, 16), (vec![200], 4, 1, 64)]
    {
        let tokens = lengths.iter().sum();
        let (q, k) = (random([tokens, heads * head_dim], 1) * 3.0, random([tokens, kv_heads * head_dim], 2) * 3.0);
        let (v, dy) = (random([tokens, kv_heads * head_dim], 3), random([tokens, heads * head_dim], 4));
        let segments = |device: &Device| Segments::new(&lengths, heads, kv_heads, head_dim, device);
        let (fused, composed) = (segments(&fused()), segments(&composed()));
        let y = attention(&q, &k, &v, &composed);
        assert!(difference(&attention(&q, &k, &v, &fused), &y) < 1e-5, "{lengths:?}");
        let fused = attention_backward([&q, &k, &v, &y, &dy], &fused);
        let composed = attention_backward([&q, &k, &v, &y, &dy], &composed);
        for (what, (a, b)) in ["q", "k", "v"].into_iter().zip(fused.iter().zip(&composed)) {
            assert!(difference(a, b) < 2e-5, "{lengths:?} d{what}: {}", difference(a, b));
        }
    }
}

#[test]
fn a_decoding_product_equals_the_general_one_and_does_not_depend_on_other_rows() {
    for (rows, columns, out) in
        [(1, 3, 1), (1, 64, 7), (5, 32, 65), (8, 576, 129), (16, 96, 64), (41, 64, 33), (130, 64, 33)]
    {
        let (x, weight) = (random([rows, columns], 1), random([out, columns], 2));
        let general = x.clone().matmul(weight.clone().transpose());
        let decoded = linear_decode(Fused, x.clone(), &weight, None);
        assert!(difference(&decoded, &general) < 1e-5, "{rows} x {columns} x {out}");
        let first = |x: &Tensor<2>| x.clone().narrow(0, 0, 1);
        assert_eq!(values(&linear_decode(Fused, first(&x), &weight, None)), values(&first(&decoded)));
        let Some(int8) = quantize(Fused, &weight) else { continue };
        let quantized = int8_linear(x.clone(), &int8, None);
        // Half a step of 1/127 for each weight; they are random and at most 1.
        assert!(
            difference(&quantized, &general) < 0.02 * (columns as f32).sqrt(),
            "{rows} x {columns} x {out} in int8"
        );
        assert_eq!(values(&int8_linear(first(&x), &int8, None)), values(&first(&quantized)));
    }
}

#[test]
fn queries_of_some_tokens_give_the_same_as_among_all() {
    let (heads, kv_heads, head_dim) = (6, 2, 8);
    let (lengths, queries) = ([70, 5, 90], vec![(3, 66), (4, 1), (40, 30)]);
    let rows: Vec<i64> = [(0, 3, 66), (70, 4, 1), (75, 40, 30)]
        .into_iter()
        .flat_map(|(start, first, count)| start + first..start + first + count)
        .collect();
    let rows = Tensor::<1, burn::tensor::Int>::from_data(TensorData::new(rows, [97]), &fused().inner);
    let (q, k, v) = (random([165, heads * head_dim], 1), random([165, 16], 2), random([165, 16], 3));
    let of_rows = |x: &Tensor<2>| x.clone().select(0, rows.clone());
    let (q_rows, dy) = (of_rows(&q), random([97, heads * head_dim], 4));
    // The other rows are no queries: their gradient is zero.
    let dy_all = q.zeros_like().select_assign(0, rows.clone(), dy.clone(), burn::tensor::IndexingUpdateOp::Add);
    let all_on = |device: &Device| Segments::new(&lengths, heads, kv_heads, head_dim, device);
    let all = all_on(&fused());
    let y_all = attention(&q, &k, &v, &all);
    let [dq_all, dk_all, dv_all] = attention_backward([&q, &k, &v, &y_all, &dy_all], &all);
    for device in [fused(), composed()] {
        let some = all_on(&device).with_queries(&queries, &device);
        let y = attention(&q_rows, &k, &v, &some);
        assert!(difference(&y, &of_rows(&y_all)) < 1e-5);
        let [dq, dk, dv] = attention_backward([&q_rows, &k, &v, &y, &dy], &some);
        assert!(difference(&dq, &of_rows(&dq_all)) < 2e-5);
        assert!(difference(&dk, &dk_all) < 2e-5 && difference(&dv, &dv_all) < 2e-5);
    }
}
