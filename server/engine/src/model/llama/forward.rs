//! Forward: token ids of a packed batch to hidden states, keeping per layer what backward needs.

use burn::tensor::{Int, Tensor, TensorData};

use super::super::ops::{Dropout, Lora, Rope, few_linear, int8_linear, linear, rms_norm, swiglu};
use super::{Int8Weights, Llama, LoraSet};
use crate::lora::Projection;
use crate::random::mix;

/// One way through the model: where the tokens stand and what is beside the frozen weights.
pub(crate) struct Pass<'a> {
    pub(crate) rope: Rope,
    pub(crate) lora: Option<&'a LoraSet>,
    pub(crate) dropout: DropoutSeed,
    pub(crate) products: Products<'a>,
}

/// By which kernels a pass makes its products. Told by the caller, not by the number of tokens: a row's result then does not
/// depend on how many others are beside it.
#[derive(Clone, Copy)]
pub(crate) enum Products<'a> {
    /// For whole sequences.
    Many,
    /// For one token of each row.
    Few,
    /// For either, with these weights.
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

/// What one layer's backward needs beside its input. Norms and products that are cheap are made again instead. In the last layer
/// there are only the rows that are supervised, but for keys and values.
pub(super) struct Inner {
    pub(super) q: Tensor<2>,       // [tokens, heads * head_dim], rotated
    pub(super) k: Tensor<2>,       // [tokens, kv_heads * head_dim], rotated
    pub(super) v: Tensor<2>,       // [tokens, kv_heads * head_dim]
    pub(super) context: Tensor<2>, // [tokens, heads * head_dim], attention's output
    pub(super) middle: Tensor<2>,  // [tokens, hidden], after attention
    pub(super) gate: Tensor<2>,    // [tokens, ffn]
    pub(super) up: Tensor<2>,      // [tokens, ffn]
}

pub(super) struct LayerTrace {
    pub(super) x: Tensor<2>, // [tokens, hidden]
    /// None where it is computed again in backward.
    pub(super) inner: Option<Inner>,
}

/// What the whole backward needs.
pub(crate) struct Trace {
    pub(super) layers: Vec<LayerTrace>,
    /// [rows, hidden], before the last norm.
    pub(super) last: Tensor<2>,
    /// The tokens that the loss is of.
    pub(super) rows: Tensor<1, Int>,
}

impl Llama {
    /// Sizes in bytes of the tensors of a [`Trace`] of so many tokens, in the order in which they are made: an allocator then puts them
    /// where it put blocks of these sizes. Where layers are computed again, one of them is among these.
    pub(crate) fn trace_bytes(&self, tokens: usize, recompute: bool) -> Vec<usize> {
        let config = &self.config;
        let (q, kv) = (config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim);
        let (hidden, ffn) = (config.hidden_size, config.intermediate_size);
        let (x, inner) = (vec![hidden], [q, kv, kv, q, hidden, ffn, ffn]);
        let layers = config.num_hidden_layers;
        let kept = if recompute {
            [x.repeat(layers), inner.to_vec()].concat()
        } else {
            [x, inner.to_vec()].concat().repeat(layers)
        };
        kept.into_iter().map(|width| tokens * width * size_of::<f32>()).collect()
    }
}

/// Attention as the caller arranges it (within segments, over a cache): layer, q, k, v -> context.
pub(crate) type Attend<'a> = &'a mut dyn FnMut(usize, &Tensor<2>, &Tensor<2>, &Tensor<2>) -> Tensor<2>;

impl Pass<'_> {
    pub(super) fn lora_on(&self, layer: usize, projection: Projection) -> Option<Lora<'_>> {
        let set = self.lora?;
        let factors = set.factors.get(&(layer, projection))?;
        Some(Lora { factors, scale: set.scale, dropout: self.dropout.of(layer, projection) })
    }
}

impl Llama {
    /// ids -> normed hidden states [tokens, hidden].
    pub(crate) fn hidden(&self, ids: &[u32], pass: &Pass<'_>, attend: Attend<'_>) -> Tensor<2> {
        self.hidden_at(ids, pass, attend, None)
    }

    /// As [`Self::hidden`], for some of the tokens alone: [rows, hidden]. In the last layer only keys and values are computed of
    /// the others, and `attend` gets the queries of these.
    pub(crate) fn hidden_at(
        &self,
        ids: &[u32],
        pass: &Pass<'_>,
        attend: Attend<'_>,
        rows: Option<&[usize]>,
    ) -> Tensor<2> {
        let mut x = self.embed(ids);
        let rows = rows.map(|rows| self.indices(rows.iter().map(|&row| row as i64).collect()));
        for index in 0..self.layers.len() {
            let wanted = rows.as_ref().filter(|_| index + 1 == self.layers.len());
            let inner = self.layer_inner(index, &x, pass, attend, wanted);
            drop(x);
            x = self.layer_end(index, &inner, pass);
        }
        rms_norm(x, &self.norm, self.config.rms_norm_eps)
    }

    /// As [`Self::hidden_at`], with the trace that [`Llama::backward`] takes. With `recompute` it keeps each layer's input
    /// alone: a quarter of the memory, for most of another forward pass.
    pub(crate) fn hidden_traced(
        &self,
        ids: &[u32],
        pass: &Pass<'_>,
        attend: Attend<'_>,
        rows: &[usize],
        recompute: bool,
    ) -> (Tensor<2>, Trace) {
        let mut x = self.embed(ids);
        let rows = self.indices(rows.iter().map(|&row| row as i64).collect());
        let mut layers = Vec::with_capacity(self.layers.len());
        for index in 0..self.layers.len() {
            let wanted = Some(&rows).filter(|_| index + 1 == self.layers.len());
            let inner = self.layer_inner(index, &x, pass, attend, wanted);
            let next = self.layer_end(index, &inner, pass);
            layers.push(LayerTrace { x, inner: (!recompute).then_some(inner) });
            x = next;
        }
        let hidden = rms_norm(x.clone(), &self.norm, self.config.rms_norm_eps);
        (hidden, Trace { layers, last: x, rows })
    }

    /// [tokens, hidden]
    fn embed(&self, ids: &[u32]) -> Tensor<2> {
        self.embedding.clone().select(0, self.indices(ids.iter().map(|&id| i64::from(id)).collect()))
    }

    fn indices(&self, indices: Vec<i64>) -> Tensor<1, Int> {
        let length = indices.len();
        Tensor::from_data(TensorData::new(indices, [length]), &self.device)
    }

    /// One layer up to its gate; with `wanted`, of these rows alone but for keys and values.
    pub(super) fn layer_inner(
        &self,
        index: usize,
        x: &Tensor<2>,
        pass: &Pass<'_>,
        attend: Attend<'_>,
        wanted: Option<&Tensor<1, Int>>,
    ) -> Inner {
        let layer = &self.layers[index];
        let eps = self.config.rms_norm_eps;
        let project = |projection, x: &Tensor<2>| self.project(index, projection, x.clone(), None, pass);

        let normed = rms_norm(x.clone(), &layer.attention_norm, eps);
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

        let normed = rms_norm(middle.clone(), &layer.ffn_norm, eps);
        let gate = project(Projection::GateProj, &normed);
        let up = project(Projection::UpProj, &normed);
        Inner { q, k, v, context, middle, gate, up }
    }

    /// The layer's output: [tokens, hidden].
    fn layer_end(&self, index: usize, inner: &Inner, pass: &Pass<'_>) -> Tensor<2> {
        let product = swiglu(inner.gate.clone(), inner.up.clone());
        self.project(index, Projection::DownProj, product, Some(inner.middle.clone()), pass)
    }

    /// `into` (or nothing) + the projection of x, its LoRA included.
    fn project(
        &self,
        index: usize,
        projection: Projection,
        x: Tensor<2>,
        into: Option<Tensor<2>>,
        pass: &Pass<'_>,
    ) -> Tensor<2> {
        let weight = self.layers[index].weight(projection);
        match (pass.lora_on(index, projection), pass.products) {
            (Some(lora), _) => lora.add(linear(x.clone(), weight, into), x),
            (None, Products::Many) => linear(x, weight, into),
            (None, Products::Few) => few_linear(x, weight, into),
            (None, Products::Int8(small)) => int8_linear(x, small.projection(index, projection), into),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::BaseModel;
    use super::super::super::ops::{Segments, attention};
    use super::*;
    use crate::device::Device;

    #[test]
    fn a_trace_holds_the_bytes_that_are_reserved_for_it() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
        let model = BaseModel::load(&path, &Device::open("flex").unwrap(), &mut |_, _| {}).unwrap();
        let (config, device) = (&model.config, &model.llama.device);
        let ids = [5, 6, 7, 8, 9, 10, 11];
        let rope = Rope::new(&[0, 1, 2, 3, 4, 5, 6], config.head_dim, config.rope_theta, device);
        let pass = Pass { rope, lora: None, dropout: DropoutSeed::OFF, products: Products::Many };
        let segments =
            Segments::new(&[7], config.num_attention_heads, config.num_key_value_heads, config.head_dim, device);
        for recompute in [false, true] {
            let attend = &mut |_: usize, q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>| attention(q, k, v, &segments);
            let (_, trace) = model.llama.hidden_traced(&ids, &pass, attend, &[0, 1, 2, 3, 4, 5, 6], recompute);
            let mut held = Vec::new();
            for LayerTrace { x, inner } in trace.layers {
                held.push(x);
                if let Some(Inner { q, k, v, context, middle, gate, up }) = inner {
                    held.extend([q, k, v, context, middle, gate, up]);
                }
            }
            let held: Vec<usize> = held.iter().map(|x| x.dims()[0] * x.dims()[1] * 4).collect();
            let mut reserved = model.llama.trace_bytes(7, recompute);
            for size in held {
                let place = reserved.iter().position(|&reserved| reserved == size).expect("each tensor has its block");
                reserved.remove(place);
            }
            let again = if recompute { 7 } else { 0 };
            assert_eq!(reserved.len(), again, "what one layer computed again holds");
        }
    }
}
