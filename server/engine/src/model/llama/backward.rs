//! Backward: from dL/dhidden to the gradients of the LoRA factors, layer by layer in reverse. The frozen weights get
//! none, and what lies below the lowest adapted projection is not computed.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use super::super::ops::{
    FactorGradients, Segments, attention, attention_backward, linear_backward, rms_norm, rms_norm_backward, swiglu,
    swiglu_backward,
};
use super::Llama;
use super::forward::{Inner, Pass, Trace};
use crate::lora::Projection;

pub(crate) type Gradients = BTreeMap<(usize, Projection), FactorGradients>;

impl Llama {
    /// dhidden: [tokens, hidden], of the normed hidden states. Consumes the trace, layer by layer.
    pub(crate) fn backward(&self, trace: Trace, dhidden: Tensor<2>, pass: &Pass<'_>, segments: &Segments) -> Gradients {
        let mut gradients = Gradients::new();
        let lowest = pass.lora.and_then(|set| set.factors.keys().next()).map_or(0, |(layer, _)| *layer);
        let none = dhidden.zeros_like();
        let mut dx = rms_norm_backward(trace.last, &self.norm, self.config.rms_norm_eps, dhidden, none);
        for (index, layer) in trace.layers.into_iter().enumerate().skip(lowest).rev() {
            let mut attend = |_: usize, q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>| attention(q, k, v, segments);
            let inner = layer.inner.unwrap_or_else(|| self.layer_inner(index, &layer.x, pass, &mut attend, None));
            let back = LayerBackward { llama: self, index, pass, segments, needs_dx: index > lowest };
            match back.run(&layer.x, inner, dx, &mut gradients) {
                Some(next) => dx = next,
                None => break,
            }
        }
        gradients
    }
}

struct LayerBackward<'a> {
    llama: &'a Llama,
    index: usize,
    pass: &'a Pass<'a>,
    segments: &'a Segments,
    needs_dx: bool,
}

impl LayerBackward<'_> {
    /// x, the layer's input, and dy: [tokens, hidden] -> dL/dx, unless nothing below needs it.
    fn run(&self, x: &Tensor<2>, inner: Inner, dy: Tensor<2>, gradients: &mut Gradients) -> Option<Tensor<2>> {
        use Projection::{DownProj, GateProj, KProj, OProj, QProj, UpProj, VProj};
        let layer = &self.llama.layers[self.index];
        let eps = self.llama.config.rms_norm_eps;
        let Inner { q, k, v, context, middle, gate, up } = inner;

        let product = || swiglu(gate.clone(), up.clone());
        let dproduct = self.through(DownProj, product, dy.clone(), None, gradients);
        let (dgate, dup) = swiglu_backward(gate, up, dproduct);
        let normed = || rms_norm(middle.clone(), &layer.ffn_norm, eps);
        let dnormed = self.through(GateProj, normed, dgate, None, gradients);
        let dnormed = self.through(UpProj, normed, dup, Some(dnormed), gradients);
        let dmiddle = rms_norm_backward(middle, &layer.ffn_norm, eps, dnormed, dy);

        let dcontext = self.through(OProj, || context.clone(), dmiddle.clone(), None, gradients);
        let [dq, dk, dv] = attention_backward([&q, &k, &v, &context, &dcontext], self.segments);
        let (dq, dk) = (self.pass.rope.rotate_back(dq), self.pass.rope.rotate_back(dk));
        let normed = || rms_norm(x.clone(), &layer.attention_norm, eps);
        if !self.needs_dx {
            for (projection, dy) in [(QProj, dq), (KProj, dk), (VProj, dv)] {
                self.lora(projection, normed, dy, gradients);
            }
            return None;
        }
        let dnormed = self.through(QProj, normed, dq, None, gradients);
        let dnormed = self.through(KProj, normed, dk, Some(dnormed), gradients);
        let dnormed = self.through(VProj, normed, dv, Some(dnormed), gradients);
        Some(rms_norm_backward(x.clone(), &layer.attention_norm, eps, dnormed, dmiddle))
    }

    /// `into` (or nothing) + dL/d(input) of one projection, its LoRA included. The input is made only where a LoRA needs it.
    fn through(
        &self,
        projection: Projection,
        input: impl Fn() -> Tensor<2>,
        dy: Tensor<2>,
        into: Option<Tensor<2>>,
        gradients: &mut Gradients,
    ) -> Tensor<2> {
        let weight = self.llama.layers[self.index].weight(projection);
        let dx = linear_backward(dy.clone(), weight, into);
        let Some(lora) = self.pass.lora_on(self.index, projection) else { return dx };
        let (dx, gradient) = lora.backward(dx, input(), dy);
        gradients.insert((self.index, projection), gradient);
        dx
    }

    /// The gradients of a projection's LoRA alone, where it has one.
    fn lora(&self, projection: Projection, input: impl Fn() -> Tensor<2>, dy: Tensor<2>, gradients: &mut Gradients) {
        if let Some(lora) = self.pass.lora_on(self.index, projection) {
            let x = input();
            let (_, gradient) = lora.backward(x.zeros_like(), x, dy);
            gradients.insert((self.index, projection), gradient);
        }
    }
}
