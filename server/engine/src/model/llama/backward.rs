//! Backward: from dL/dhidden to the gradients of the LoRA factors, layer by layer in reverse. The frozen weights get
//! none, and what lies below the lowest adapted projection is not computed.

use std::cell::LazyCell;
use std::collections::BTreeMap;

use burn::tensor::{IndexingUpdateOp, Int, Tensor};

use super::super::ops::{
    FactorGradients, Segments, attention, attention_backward, linear_backward, rms_norm, rms_norm_backward, swiglu,
    swiglu_backward,
};
use super::Llama;
use super::forward::{Inner, Pass, Trace};
use crate::lora::Projection;

pub(crate) type Gradients = BTreeMap<(usize, Projection), FactorGradients>;

impl Llama {
    /// dhidden: [rows, hidden], of the normed hidden states that [`Llama::hidden_traced`] gave; `segments` by layer, as its `attend` had
    /// them. Consumes the trace, layer by layer.
    pub(crate) fn backward<'a>(
        &self,
        trace: Trace,
        dhidden: Tensor<2>,
        pass: &Pass<'_>,
        segments: &dyn Fn(usize) -> &'a Segments,
    ) -> Gradients {
        let mut gradients = Gradients::new();
        let lowest = pass.lora.and_then(|set| set.factors.keys().next()).map_or(0, |(layer, _)| *layer);
        let none = dhidden.zeros_like();
        let mut dx = rms_norm_backward(trace.last, &self.norm, self.config.rms_norm_eps, dhidden, none);
        for (index, layer) in trace.layers.into_iter().enumerate().skip(lowest).rev() {
            let segments = segments(index);
            let rows = Some(&trace.rows).filter(|_| index + 1 == self.layers.len());
            let mut attend = |_: usize, q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>| attention(q, k, v, segments);
            let inner = layer.inner.unwrap_or_else(|| self.layer_inner(index, &layer.x, pass, &mut attend, rows));
            let back = LayerBackward { llama: self, index, pass, segments, rows, needs_dx: index > lowest };
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
    /// In the last layer: the rows that its inner tensors are of.
    rows: Option<&'a Tensor<1, Int>>,
    needs_dx: bool,
}

impl LayerBackward<'_> {
    /// x, the layer's input: [tokens, hidden], and dy: [tokens, hidden] (in the last layer [rows, hidden]) -> dL/dx, unless nothing
    /// below needs it.
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
        let rope = &self.pass.rope;
        let (dq, dk) =
            (self.rows.map_or_else(|| rope.clone(), |rows| rope.at(rows)).rotate_back(dq), rope.rotate_back(dk));
        let normed = LazyCell::new(|| rms_norm(x.clone(), &layer.attention_norm, eps));
        let normed = || Tensor::clone(&normed);
        let asked = || match self.rows {
            Some(rows) => normed().select(0, rows.clone()),
            None => normed(),
        };
        if !self.needs_dx {
            self.lora(QProj, asked, dq, gradients);
            self.lora(KProj, normed, dk, gradients);
            self.lora(VProj, normed, dv, gradients);
            return None;
        }
        let dnormed = self.spread(self.through(QProj, asked, dq, None, gradients), x);
        let dmiddle = self.spread(dmiddle, x);
        let dnormed = self.through(KProj, normed, dk, Some(dnormed), gradients);
        let dnormed = self.through(VProj, normed, dv, Some(dnormed), gradients);
        Some(rms_norm_backward(x.clone(), &layer.attention_norm, eps, dnormed, dmiddle))
    }

    /// What is of the rows alone as a tensor of all tokens, as x is.
    fn spread(&self, of_rows: Tensor<2>, x: &Tensor<2>) -> Tensor<2> {
        match self.rows {
            Some(rows) => x.zeros_like().select_assign(0, rows.clone(), of_rows, IndexingUpdateOp::Add),
            None => of_rows,
        }
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
