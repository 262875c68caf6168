//! Keys and values of the tokens that one row has read and written, per layer, in room that is made once.

use burn::tensor::{Device, Tensor};

use crate::model::LlamaConfig;

pub(super) struct RowCache {
    layers: Vec<(Tensor<3>, Tensor<3>)>, // keys and values, [kv_heads, capacity, head_dim]
    length: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl RowCache {
    pub(super) fn new(config: &LlamaConfig, capacity: usize, device: &Device) -> Self {
        let (kv_heads, head_dim) = (config.num_key_value_heads, config.head_dim);
        let room = || Tensor::zeros([kv_heads, capacity, head_dim], device);
        let layers = (0..config.num_hidden_layers).map(|_| (room(), room())).collect();
        Self { layers, length: 0, kv_heads, head_dim }
    }

    /// Tokens held.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Appends `new` tokens' keys and values, [new, kv_heads * head_dim], to one layer. [`Self::advance`] counts them once
    /// all layers have them.
    pub(super) fn push(&mut self, layer: usize, keys: Tensor<2>, values: Tensor<2>) {
        let new = keys.dims()[0];
        let place = [0..self.kv_heads, self.length..self.length + new, 0..self.head_dim];
        let split = |x: Tensor<2>| x.reshape([new, self.kv_heads, self.head_dim]).permute([1, 0, 2]);
        let (keys, values) = (split(keys), split(values));
        let room = &mut self.layers[layer];
        // Taken out and put back, so that the assignment finds the room unshared and writes in place.
        let empty = || Tensor::empty([1, 1, 1], &keys.device());
        let (old_keys, old_values) = std::mem::replace(room, (empty(), empty()));
        *room = (old_keys.slice_assign(place.clone(), keys), old_values.slice_assign(place, values));
    }

    pub(super) fn advance(&mut self, new: usize) {
        self.length += new;
    }

    /// Keys and values of the tokens held and the `new` ones just pushed: [kv_heads, length, head_dim].
    pub(super) fn read(&self, layer: usize, new: usize) -> (Tensor<3>, Tensor<3>) {
        let (keys, values) = &self.layers[layer];
        let upto = self.length + new;
        (keys.clone().narrow(1, 0, upto), values.clone().narrow(1, 0, upto))
    }
}
