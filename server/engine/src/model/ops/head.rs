//! The language-model head and its cross-entropy, only at supervised positions and in chunks of them, so that the
//! `[positions, vocabulary]` logits never exist whole. The head is frozen: the gradient goes to the hidden states.

use burn::tensor::{Int, Tensor, TensorData, activation};

use super::extension;
use crate::Result;
use crate::control::Control;
use crate::device::Kernels;

/// Positions of one chunk of the composition: its logits take about 64 MB at a vocabulary of 49,152.
const CHUNK: usize = 320;
/// Positions that the fused kernel gets at once: between chunks a stop is noticed. A multiple of its blocks of rows.
const FUSED_CHUNK: usize = 4096;

pub(crate) struct HeadLoss {
    /// Sum over the positions, in nats.
    pub(crate) sum: f64,
    /// dL/dhidden for L = scale * sum: [positions, hidden].
    pub(crate) gradient: Tensor<2>,
}

/// hidden: [positions, hidden], weight: [vocabulary, hidden], one target id per position. Stops between chunks when
/// asked to.
pub(crate) fn head_loss(
    kernels: Kernels,
    hidden: &Tensor<2>,
    weight: &Tensor<2>,
    targets: &[u32],
    scale: f64,
    control: &Control,
) -> Result<HeadLoss> {
    match kernels {
        Kernels::Fused => fused(hidden, weight, targets, scale, control),
        Kernels::Composed => composed(hidden, weight, targets, scale, control),
    }
}

fn fused(hidden: &Tensor<2>, weight: &Tensor<2>, targets: &[u32], scale: f64, control: &Control) -> Result<HeadLoss> {
    let (mut sum, mut gradients) = (0.0, Vec::new());
    for (index, chunk) in targets.chunks(FUSED_CHUNK).enumerate() {
        control.check()?;
        let rows = hidden.clone().narrow(0, index * FUSED_CHUNK, chunk.len());
        let (losses, gradient) = extension::head_loss(&rows, weight, chunk, scale);
        sum = values(losses).into_iter().map(f64::from).fold(sum, |sum, loss| sum + loss);
        gradients.push(gradient);
    }
    let gradient = match gradients.len() {
        1 => gradients.swap_remove(0),
        _ => Tensor::cat(gradients, 0),
    };
    Ok(HeadLoss { sum, gradient })
}

fn composed(
    hidden: &Tensor<2>,
    weight: &Tensor<2>,
    targets: &[u32],
    scale: f64,
    control: &Control,
) -> Result<HeadLoss> {
    let device = hidden.device();
    let mut sum = 0.0;
    let mut gradients = Vec::with_capacity(targets.len().div_ceil(CHUNK));
    for (index, chunk) in targets.chunks(CHUNK).enumerate() {
        control.check()?;
        let rows = chunk.len();
        let logits = hidden.clone().narrow(0, index * CHUNK, rows).matmul(weight.clone().transpose());
        let log_probs = activation::log_softmax(logits, 1); // [rows, vocabulary]
        let picks = column(chunk, &device);
        let picked = log_probs.clone().gather(1, picks.clone());
        sum -= total(picked);
        // d(-log p[target]) / dlogits = softmax - onehot
        let minus_one = Tensor::<2>::full([rows, 1], -1.0, &device);
        let dlogits = log_probs.exp().scatter(1, picks, minus_one, burn::tensor::IndexingUpdateOp::Add);
        gradients.push(dlogits.matmul(weight.clone()) * scale);
    }
    Ok(HeadLoss { sum, gradient: Tensor::cat(gradients, 0) })
}

/// Log-probability of each target in nats, without gradients.
pub(crate) fn target_log_probs(kernels: Kernels, hidden: &Tensor<2>, weight: &Tensor<2>, targets: &[u32]) -> Vec<f32> {
    if kernels == Kernels::Fused {
        return values(extension::head_losses(hidden, weight, targets)).into_iter().map(|loss| -loss).collect();
    }
    let device = hidden.device();
    let mut all = Vec::with_capacity(targets.len());
    for (index, chunk) in targets.chunks(CHUNK).enumerate() {
        let logits = hidden.clone().narrow(0, index * CHUNK, chunk.len()).matmul(weight.clone().transpose());
        let picked = activation::log_softmax(logits, 1).gather(1, column(chunk, &device));
        all.extend(values(picked));
    }
    all
}

/// [rows, 1]
fn column(targets: &[u32], device: &burn::tensor::Device) -> Tensor<2, Int> {
    let ids: Vec<i64> = targets.iter().map(|&id| i64::from(id)).collect();
    Tensor::from_data(TensorData::new(ids, [targets.len(), 1]), device)
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_to_vec().expect("the engine's float tensors are f32")
}

/// Summed in f64 on the host: thousands of f32 terms would lose digits that the logs show.
fn total<const D: usize>(x: Tensor<D>) -> f64 {
    values(x).into_iter().map(f64::from).sum()
}
