//! Rotary position embedding (Su et al., arXiv:2104.09864) in HF's rotate-half layout: feature `i` of a head is
//! rotated with feature `i + head_dim / 2` by the angle `position * theta^(-2i / head_dim)`.

use burn::tensor::{Int, Tensor, TensorData};

use super::extension;
use crate::device::{Device, Kernels};

/// Cosines and sines for the tokens of one packed batch.
#[derive(Clone)]
pub(crate) struct Rope {
    cos: Tensor<3>, // [tokens, 1, head_dim / 2]
    sin: Tensor<3>,
    head_dim: usize,
    kernels: Kernels,
}

impl Rope {
    pub(crate) fn new(positions: &[usize], head_dim: usize, theta: f64, device: &Device) -> Self {
        let half = head_dim / 2;
        // Angles in f64: at position 8000 an f32 angle is off by more than the tolerance of the logits.
        let frequencies: Vec<f64> = (0..half).map(|i| theta.powf(-2.0 * i as f64 / head_dim as f64)).collect();
        let mut cos = Vec::with_capacity(positions.len() * half);
        let mut sin = Vec::with_capacity(positions.len() * half);
        for &position in positions {
            for frequency in &frequencies {
                let (s, c) = (position as f64 * frequency).sin_cos();
                cos.push(c as f32);
                sin.push(s as f32);
            }
        }
        let shape = [positions.len(), 1, half];
        Self {
            cos: Tensor::from_data(TensorData::new(cos, shape), &device.inner),
            sin: Tensor::from_data(TensorData::new(sin, shape), &device.inner),
            head_dim,
            kernels: device.kernels,
        }
    }

    /// For these of the tokens.
    pub(crate) fn at(&self, rows: &Tensor<1, Int>) -> Self {
        let of = |angles: &Tensor<3>| angles.clone().select(0, rows.clone());
        Self { cos: of(&self.cos), sin: of(&self.sin), ..*self }
    }

    /// x: [tokens, heads * head_dim] -> the same, rotated.
    pub(crate) fn rotate(&self, x: Tensor<2>) -> Tensor<2> {
        self.apply(x, false)
    }

    /// The inverse rotation, which is also the backward: the rotation is orthogonal.
    pub(crate) fn rotate_back(&self, x: Tensor<2>) -> Tensor<2> {
        self.apply(x, true)
    }

    fn apply(&self, x: Tensor<2>, inverse: bool) -> Tensor<2> {
        match self.kernels {
            Kernels::Fused => extension::rope(x, &self.cos, &self.sin, self.head_dim, inverse),
            Kernels::Composed => self.composed(x, inverse),
        }
    }

    fn composed(&self, x: Tensor<2>, inverse: bool) -> Tensor<2> {
        let sin = if inverse { -self.sin.clone() } else { self.sin.clone() };
        let [tokens, features] = x.dims();
        let (heads, half) = (features / self.head_dim, self.head_dim / 2);
        let x = x.reshape([tokens, heads, self.head_dim]);
        let first = x.clone().narrow(2, 0, half);
        let second = x.narrow(2, half, half);
        let rotated = Tensor::cat(
            vec![
                first.clone() * self.cos.clone() - second.clone() * sin.clone(),
                second * self.cos.clone() + first * sin,
            ],
            2,
        );
        rotated.reshape([tokens, features])
    }
}
