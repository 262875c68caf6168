//! Backward: from dL/dhidden to the gradients of the LoRA factors, layer by layer in reverse. The frozen weights get
//! none, and what lies below the lowest adapted projection is not computed.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use super::super::ops::{
    FactorGradients, Segments, attention_backward, lora_backward, rms_norm, rms_norm_backward, swiglu, swiglu_backward,
};
use super::Llama;
use super::forward::{LayerTrace, Pass, Trace};
use crate::lora::Projection;

pub(crate) type Gradients = BTreeMap<(usize, Projection), FactorGradients>;

impl Llama {
    /// dhidden: [tokens, hidden], of the normed hidden states. Consumes the trace, layer by layer.
    pub(crate) fn backward(&self, trace: Trace, dhidden: Tensor<2>, pass: &Pass<'_>, segments: &Segments) -> Gradients {
        let mut gradients = Gradients::new();
        let lowest = pass.lora.and_then(|set| set.factors.keys().next()).map_or(0, |(layer, _)| *layer);
        let mut dx = rms_norm_backward(trace.last, &self.norm, self.config.rms_norm_eps, dhidden);
        for (index, layer) in trace.layers.into_iter().enumerate().skip(lowest).rev() {
            let back = LayerBackward { llama: self, index, pass, segments, needs_dx: index > lowest };
            match back.run(&layer, dx, &mut gradients) {
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
    /// dy: [tokens, hidden] -> dL/dx, unless nothing below needs it.
    fn run(&self, trace: &LayerTrace, dy: Tensor<2>, gradients: &mut Gradients) -> Option<Tensor<2>> {
        use Projection::{DownProj, GateProj, KProj, OProj, QProj, UpProj, VProj};
        let layer = &self.llama.layers[self.index];
        let eps = self.llama.config.rms_norm_eps;

        let product = || swiglu(trace.gate.clone(), trace.up.clone());
        let dproduct = self.through(DownProj, product, dy.clone(), gradients);
        let (dgate, dup) = swiglu_backward(trace.gate.clone(), trace.up.clone(), dproduct);
        let normed = || rms_norm(trace.middle.clone(), &layer.ffn_norm, eps);
        let dnormed = self.through(GateProj, normed, dgate, gradients) + self.through(UpProj, normed, dup, gradients);
        let dmiddle = dy + rms_norm_backward(trace.middle.clone(), &layer.ffn_norm, eps, dnormed);

        let dcontext = self.through(OProj, || trace.context.clone(), dmiddle.clone(), gradients);
        let (dq, dk, dv) = attention_backward(&trace.q, &trace.k, &trace.v, &dcontext, self.segments);
        let (dq, dk) = (self.pass.rope.rotate_back(dq), self.pass.rope.rotate_back(dk));
        let normed = || rms_norm(trace.x.clone(), &layer.attention_norm, eps);
        if !self.needs_dx {
            for (projection, dy) in [(QProj, dq), (KProj, dk), (VProj, dv)] {
                self.lora(projection, normed, dy, gradients);
            }
            return None;
        }
        let dnormed = self.through(QProj, normed, dq, gradients)
            + self.through(KProj, normed, dk, gradients)
            + self.through(VProj, normed, dv, gradients);
        Some(dmiddle + rms_norm_backward(trace.x.clone(), &layer.attention_norm, eps, dnormed))
    }

    /// dL/d(input) of one projection, its LoRA included. The input is made only where a LoRA needs it.
    fn through(
        &self,
        projection: Projection,
        input: impl Fn() -> Tensor<2>,
        dy: Tensor<2>,
        gradients: &mut Gradients,
    ) -> Tensor<2> {
        let frozen = dy.clone().matmul(self.llama.layers[self.index].weight(projection).clone());
        match self.lora(projection, input, dy, gradients) {
            Some(beside) => frozen + beside,
            None => frozen,
        }
    }

    fn lora(
        &self,
        projection: Projection,
        input: impl Fn() -> Tensor<2>,
        dy: Tensor<2>,
        gradients: &mut Gradients,
    ) -> Option<Tensor<2>> {
        let set = self.pass.lora?;
        let factors = set.factors.get(&(self.index, projection))?;
        let dropout = self.pass.dropout.of(self.index, projection);
        let (dx, gradient) = lora_backward(input(), dy, factors, set.scale, dropout);
        gradients.insert((self.index, projection), gradient);
        Some(dx)
    }
}
