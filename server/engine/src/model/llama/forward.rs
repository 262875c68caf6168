//! Forward: token ids of a packed batch to hidden states, saving the activations that backward needs.

use burn::tensor::{Int, Tensor, TensorData};
use spec::Projection;

use super::{Int8Weights, Llama, LoraSet};
use crate::Result;
use crate::control::Control;
use crate::model::ops::{Dropout, Lora, Rope, int8_linear, linear, linear_decode, rms_norm, swiglu};
use crate::random::mix;

/// The parameters of one forward or backward pass beside the frozen weights.
pub(crate) struct Pass<'a> {
    pub(crate) rope: Rope,
    pub(crate) lora: Option<&'a LoraSet>,
    pub(crate) dropout: DropoutSeed,
    pub(crate) matmul: Matmul<'a>,
    /// Checked before each layer: one layer of a large batch takes long.
    pub(crate) control: &'a Control,
}

/// The kernel of a pass's matmuls. Chosen by the caller, not by the number of tokens, so that a row's result does not
/// depend on how many other rows there are.
#[derive(Clone, Copy)]
pub(crate) enum Matmul<'a> {
    /// f32, for whole sequences.
    Prefill,
    /// f32, for one token of each row.
    Decode,
    /// int8 for either, with these weights.
    Int8(&'a Int8Weights),
}

/// The dropout of one forward pass; each projection derives its own.
#[derive(Clone, Copy)]
pub(crate) struct DropoutSeed {
    pub(crate) rate: f64,
    pub(crate) seed: u64,
}

impl DropoutSeed {
    pub(crate) const OFF: Self = Self { rate: 0.0, seed: 0 };

    pub(super) fn of(self, layer: usize, projection: Projection) -> Dropout {
        Dropout { rate: self.rate, seed: mix(self.seed ^ mix((layer * 7 + projection as usize) as u64 + 1)) }
    }
}

/// What one layer's backward needs beside its input; cheap norms and products are recomputed instead. In the last
/// layer, all but keys and values are of the supervised rows only.
pub(super) struct LayerActivations {
    pub(super) q: Tensor<2>,       // [tokens, heads * head_dim], rotated
    pub(super) k: Tensor<2>,       // [tokens, kv_heads * head_dim], rotated
    pub(super) v: Tensor<2>,       // [tokens, kv_heads * head_dim]
    pub(super) context: Tensor<2>, // [tokens, heads * head_dim], attention's output
    pub(super) middle: Tensor<2>,  // [tokens, hidden], after attention
    pub(super) gate: Tensor<2>,    // [tokens, ffn]
    pub(super) up: Tensor<2>,      // [tokens, ffn]
}

pub(super) struct SavedLayer {
    pub(super) x: Tensor<2>, // [tokens, hidden]
    /// None with gradient checkpointing: recomputed in backward.
    pub(super) activations: Option<LayerActivations>,
}

/// What forward saves for backward.
pub(crate) struct SavedActivations {
    pub(super) layers: Vec<SavedLayer>,
    /// [rows, hidden], before the last norm.
    pub(super) last: Tensor<2>,
    /// The tokens whose next token is supervised.
    pub(super) rows: Tensor<1, Int>,
}

impl Llama {
    /// Sizes in bytes of the tensors of [`SavedActivations`] of this many tokens, in the order of their allocation, so
    /// that the allocator reuses reserved blocks of these sizes. With gradient checkpointing, one recomputed layer is
    /// included.
    pub(crate) fn activation_bytes(&self, tokens: usize, checkpointing: bool) -> Vec<usize> {
        let config = &self.config;
        let (q, kv) = (config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim);
        let (hidden, ffn) = (config.hidden_size, config.intermediate_size);
        let (x, inner) = (vec![hidden], [q, kv, kv, q, hidden, ffn, ffn]);
        let layers = config.num_hidden_layers;
        let saved = if checkpointing {
            [x.repeat(layers), inner.to_vec()].concat()
        } else {
            [x, inner.to_vec()].concat().repeat(layers)
        };
        saved.into_iter().map(|width| tokens * width * size_of::<f32>()).collect()
    }
}

/// Attention as the caller arranges it (within segments, over a cache): layer, q, k, v -> context.
pub(crate) type Attend<'a> = &'a mut dyn FnMut(usize, &Tensor<2>, &Tensor<2>, &Tensor<2>) -> Tensor<2>;

impl Llama {
    pub(super) fn lora_on<'a>(&self, layer: usize, projection: Projection, pass: &'a Pass<'_>) -> Option<Lora<'a>> {
        let set = pass.lora?;
        let factors = set.factors.get(&(layer, projection))?;
        let dropout = pass.dropout.of(layer, projection);
        Some(Lora { kernels: self.device.kernels, factors, scale: set.scale, dropout })
    }

    /// ids -> normed hidden states [tokens, hidden].
    pub(crate) fn hidden(&self, ids: &[u32], pass: &Pass<'_>, attend: Attend<'_>) -> Result<Tensor<2>> {
        self.hidden_at(ids, pass, attend, None)
    }

    /// As [`Self::hidden`], for these rows only: [rows, hidden]. In the last layer only keys and values are computed
    /// for the others, and `attend` gets the queries of these rows.
    pub(crate) fn hidden_at(
        &self,
        ids: &[u32],
        pass: &Pass<'_>,
        attend: Attend<'_>,
        rows: Option<&[usize]>,
    ) -> Result<Tensor<2>> {
        let mut x = self.embed(ids);
        let rows = rows.map(|rows| self.indices(rows.iter().map(|&row| row as i64).collect()));
        for index in 0..self.layers.len() {
            pass.control.check()?;
            let wanted = rows.as_ref().filter(|_| index + 1 == self.layers.len());
            let activations = self.layer_activations(index, &x, pass, attend, wanted);
            drop(x);
            x = self.layer_output(index, &activations, pass);
        }
        Ok(rms_norm(self.device.kernels, x, &self.norm, self.config.rms_norm_eps))
    }

    /// As [`Self::hidden_at`], with the activations that [`Llama::backward`] takes. With `checkpointing` (activation
    /// checkpointing) only each layer's input is saved: a quarter of the memory, for most of another forward pass.
    pub(crate) fn hidden_saving(
        &self,
        ids: &[u32],
        pass: &Pass<'_>,
        attend: Attend<'_>,
        rows: &[usize],
        checkpointing: bool,
    ) -> Result<(Tensor<2>, SavedActivations)> {
        let mut x = self.embed(ids);
        let rows = self.indices(rows.iter().map(|&row| row as i64).collect());
        let mut layers = Vec::with_capacity(self.layers.len());
        for index in 0..self.layers.len() {
            pass.control.check()?;
            let wanted = Some(&rows).filter(|_| index + 1 == self.layers.len());
            let activations = self.layer_activations(index, &x, pass, attend, wanted);
            let next = self.layer_output(index, &activations, pass);
            layers.push(SavedLayer { x, activations: (!checkpointing).then_some(activations) });
            x = next;
        }
        let hidden = rms_norm(self.device.kernels, x.clone(), &self.norm, self.config.rms_norm_eps);
        Ok((hidden, SavedActivations { layers, last: x, rows }))
    }

    /// [tokens, hidden]
    fn embed(&self, ids: &[u32]) -> Tensor<2> {
        self.embedding.clone().select(0, self.indices(ids.iter().map(|&id| i64::from(id)).collect()))
    }

    fn indices(&self, indices: Vec<i64>) -> Tensor<1, Int> {
        let length = indices.len();
        Tensor::from_data(TensorData::new(indices, [length]), &self.device.inner)
    }

    /// One layer up to gate and up; with `wanted`, all but keys and values for these rows only.
    pub(super) fn layer_activations(
        &self,
        index: usize,
        x: &Tensor<2>,
        pass: &Pass<'_>,
        attend: Attend<'_>,
        wanted: Option<&Tensor<1, Int>>,
    ) -> LayerActivations {
        let layer = &self.layers[index];
        let (kernels, eps) = (self.device.kernels, self.config.rms_norm_eps);
        let project = |projection, x: &Tensor<2>| self.project(index, projection, x.clone(), None, pass);

        let normed = rms_norm(kernels, x.clone(), &layer.attention_norm, eps);
        let k = pass.rope.rotate(project(Projection::KProj, &normed));
        let v = project(Projection::VProj, &normed);
        let (x, q) = match wanted {
            None => (x.clone(), pass.rope.rotate(project(Projection::QProj, &normed))),
            Some(rows) => {
                let q = project(Projection::QProj, &normed.select(0, rows.clone()));
                (x.clone().select(0, rows.clone()), pass.rope.at(rows).rotate(q))
            }
        };
        let context = attend(index, &q, &k, &v);
        let middle = self.project(index, Projection::OProj, context.clone(), Some(x), pass);

        let normed = rms_norm(kernels, middle.clone(), &layer.ffn_norm, eps);
        let gate = project(Projection::GateProj, &normed);
        let up = project(Projection::UpProj, &normed);
        LayerActivations { q, k, v, context, middle, gate, up }
    }

    /// The layer's output: [tokens, hidden].
    fn layer_output(&self, index: usize, activations: &LayerActivations, pass: &Pass<'_>) -> Tensor<2> {
        let LayerActivations { gate, up, middle, .. } = activations;
        let product = swiglu(self.device.kernels, gate.clone(), up.clone());
        self.project(index, Projection::DownProj, product, Some(middle.clone()), pass)
    }

    /// The projection of x, its LoRA included, plus `residual` (if any).
    fn project(
        &self,
        index: usize,
        projection: Projection,
        x: Tensor<2>,
        residual: Option<Tensor<2>>,
        pass: &Pass<'_>,
    ) -> Tensor<2> {
        let weight = self.layers[index].weight(projection);
        let kernels = self.device.kernels;
        match (self.lora_on(index, projection, pass), pass.matmul) {
            (Some(lora), _) => lora.add(linear(kernels, x.clone(), weight, residual), x),
            (None, Matmul::Prefill) => linear(kernels, x, weight, residual),
            (None, Matmul::Decode) => linear_decode(kernels, x, weight, residual),
            (None, Matmul::Int8(weights)) => int8_linear(x, weights.projection(index, projection), residual),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;

    use super::*;
    use crate::device::Device;
    use crate::model::BaseModel;
    use crate::model::ops::{Segments, attention};
    use crate::{Error, Stop};

    const IDS: [u32; 7] = [5, 6, 7, 8, 9, 10, 11];
    const ROWS: [usize; 7] = [0, 1, 2, 3, 4, 5, 6];

    fn tiny() -> BaseModel {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
        BaseModel::load(&path, &Device::open("flex").unwrap(), &mut |_, _| {}).unwrap()
    }

    fn pass<'a>(llama: &Llama, control: &'a Control) -> (Pass<'a>, Segments) {
        let config = &llama.config;
        let rope = Rope::new(&ROWS, config.head_dim, config.rope_theta, &llama.device);
        let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
        let segments = Segments::new(&[7], heads, kv_heads, config.head_dim, &llama.device);
        (Pass { rope, lora: None, dropout: DropoutSeed::OFF, matmul: Matmul::Prefill, control }, segments)
    }

    #[test]
    fn saved_activations_have_the_sizes_that_are_reserved_for_them() {
        let (llama, control) = (tiny().llama, Control::default());
        let (pass, segments) = pass(&llama, &control);
        for checkpointing in [false, true] {
            let attend = &mut |_: usize, q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>| attention(q, k, v, &segments);
            let (_, saved) = llama.hidden_saving(&IDS, &pass, attend, &ROWS, checkpointing).unwrap();
            let mut held = Vec::new();
            for SavedLayer { x, activations } in saved.layers {
                held.push(x);
                if let Some(LayerActivations { q, k, v, context, middle, gate, up }) = activations {
                    held.extend([q, k, v, context, middle, gate, up]);
                }
            }
            let held: Vec<usize> = held.iter().map(|x| x.dims()[0] * x.dims()[1] * 4).collect();
            let mut reserved = llama.activation_bytes(7, checkpointing);
            for size in held {
                let block = reserved.iter().position(|&reserved| reserved == size).expect("each tensor has its block");
                reserved.remove(block);
            }
            let recomputed = if checkpointing { 7 } else { 0 };
            assert_eq!(reserved.len(), recomputed, "the tensors of one recomputed layer");
        }
    }

    #[test]
    fn a_stop_ends_a_batch_at_the_next_layer_forward_and_backward() {
        let (llama, control) = (tiny().llama, Control::default());
        let (pass, segments) = pass(&llama, &control);
        let layers = Cell::new(0);
        let attend = &mut |_: usize, q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>| {
            layers.set(layers.get() + 1);
            attention(q, k, v, &segments)
        };
        let (hidden, saved) = llama.hidden_saving(&IDS, &pass, attend, &ROWS, false).unwrap();
        control.stop(Stop::Save);
        assert!(matches!(llama.hidden(&IDS, &pass, attend), Err(Error::Stopped)));
        assert!(matches!(llama.hidden_saving(&IDS, &pass, attend, &ROWS, false), Err(Error::Stopped)));
        assert!(matches!(llama.backward(saved, hidden, &pass, &|_| &segments), Err(Error::Stopped)));
        assert_eq!(layers.get(), llama.layers.len(), "no further layer is computed");
    }
}
