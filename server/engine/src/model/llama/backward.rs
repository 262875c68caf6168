//! Backward: from dL/dhidden to the gradients of the LoRA factors, layer by layer in reverse. The frozen weights get no
//! gradients, and nothing below the lowest adapted projection is computed.

use std::cell::LazyCell;
use std::collections::BTreeMap;

use burn::tensor::{IndexingUpdateOp, Int, Tensor};
use spec::Projection;

use super::Llama;
use super::forward::{LayerActivations, Pass, SavedActivations};
use crate::Result;
use crate::model::ops::{
    FactorGradients, Lora, Segments, attention, attention_backward, linear_backward, rms_norm, rms_norm_backward,
    swiglu, swiglu_backward,
};

pub(crate) type Gradients = BTreeMap<(usize, Projection), FactorGradients>;

impl Llama {
    /// dhidden: [rows, hidden], the gradient of what [`Llama::hidden_saving`] returned; `segments` by layer, as its
    /// `attend` used them. Frees the saved activations layer by layer.
    pub(crate) fn backward<'a>(
        &self,
        saved: SavedActivations,
        dhidden: Tensor<2>,
        pass: &Pass<'_>,
        segments: &dyn Fn(usize) -> &'a Segments,
    ) -> Result<Gradients> {
        let mut gradients = Gradients::new();
        let lowest = pass.lora.and_then(|set| set.factors.keys().next()).map_or(0, |(layer, _)| *layer);
        let (kernels, zeros) = (self.device.kernels, dhidden.zeros_like());
        let mut dx = rms_norm_backward(kernels, saved.last, &self.norm, self.config.rms_norm_eps, dhidden, zeros);
        for (index, layer) in saved.layers.into_iter().enumerate().skip(lowest).rev() {
            pass.control.check()?;
            let segments = segments(index);
            let rows = Some(&saved.rows).filter(|_| index + 1 == self.layers.len());
            let mut attend = |_: usize, q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>| attention(q, k, v, segments);
            let recompute = || self.layer_activations(index, &layer.x, pass, &mut attend, rows);
            let activations = layer.activations.unwrap_or_else(recompute);
            let back = LayerBackward { llama: self, index, pass, segments, rows, needs_dx: index > lowest };
            match back.run(&layer.x, activations, dx, &mut gradients) {
                Some(next) => dx = next,
                None => break,
            }
        }
        Ok(gradients)
    }
}

struct LayerBackward<'a> {
    llama: &'a Llama,
    index: usize,
    pass: &'a Pass<'a>,
    segments: &'a Segments,
    /// In the last layer: the rows of its activations.
    rows: Option<&'a Tensor<1, Int>>,
    needs_dx: bool,
}

impl LayerBackward<'_> {
    /// x, the layer's input: [tokens, hidden], and dy: [tokens, hidden] (in the last layer [rows, hidden]) -> dL/dx,
    /// unless nothing below needs it.
    fn run(
        &self,
        x: &Tensor<2>,
        activations: LayerActivations,
        dy: Tensor<2>,
        gradients: &mut Gradients,
    ) -> Option<Tensor<2>> {
        use Projection::{DownProj, GateProj, KProj, OProj, QProj, UpProj, VProj};
        let layer = &self.llama.layers[self.index];
        let (kernels, eps) = (self.llama.device.kernels, self.llama.config.rms_norm_eps);
        let LayerActivations { q, k, v, context, middle, gate, up } = activations;

        let product = || swiglu(kernels, gate.clone(), up.clone());
        let dproduct = self.through(DownProj, product, dy.clone(), None, gradients);
        let (dgate, dup) = swiglu_backward(kernels, gate, up, dproduct);
        let normed = || rms_norm(kernels, middle.clone(), &layer.ffn_norm, eps);
        let dnormed = self.through(GateProj, normed, dgate, None, gradients);
        let dnormed = self.through(UpProj, normed, dup, Some(dnormed), gradients);
        let dmiddle = rms_norm_backward(kernels, middle, &layer.ffn_norm, eps, dnormed, dy);

        let dcontext = self.through(OProj, || context.clone(), dmiddle.clone(), None, gradients);
        let [dq, dk, dv] = attention_backward([&q, &k, &v, &context, &dcontext], self.segments);
        let rope = &self.pass.rope;
        let (dq, dk) =
            (self.rows.map_or_else(|| rope.clone(), |rows| rope.at(rows)).rotate_back(dq), rope.rotate_back(dk));
        let normed = LazyCell::new(|| rms_norm(kernels, x.clone(), &layer.attention_norm, eps));
        let normed = || Tensor::clone(&normed);
        let normed_queries = || match self.rows {
            Some(rows) => normed().select(0, rows.clone()),
            None => normed(),
        };
        if !self.needs_dx {
            self.lora(QProj, normed_queries, dq, gradients);
            self.lora(KProj, normed, dk, gradients);
            self.lora(VProj, normed, dv, gradients);
            return None;
        }
        let dnormed = self.scatter(self.through(QProj, normed_queries, dq, None, gradients), x);
        let dmiddle = self.scatter(dmiddle, x);
        let dnormed = self.through(KProj, normed, dk, Some(dnormed), gradients);
        let dnormed = self.through(VProj, normed, dv, Some(dnormed), gradients);
        Some(rms_norm_backward(kernels, x.clone(), &layer.attention_norm, eps, dnormed, dmiddle))
    }

    fn adapter(&self, projection: Projection) -> Option<Lora<'_>> {
        self.llama.lora_on(self.index, projection, self.pass)
    }

    /// A gradient of `rows` as one of all tokens, zero elsewhere.
    fn scatter(&self, of_rows: Tensor<2>, x: &Tensor<2>) -> Tensor<2> {
        match self.rows {
            Some(rows) => x.zeros_like().select_assign(0, rows.clone(), of_rows, IndexingUpdateOp::Add),
            None => of_rows,
        }
    }

    /// dL/d(input) of one projection, its LoRA included, plus `dx` (if any). The input is computed only if a LoRA needs
    /// it.
    fn through(
        &self,
        projection: Projection,
        input: impl Fn() -> Tensor<2>,
        dy: Tensor<2>,
        dx: Option<Tensor<2>>,
        gradients: &mut Gradients,
    ) -> Tensor<2> {
        let weight = self.llama.layers[self.index].weight(projection);
        let dx = linear_backward(self.llama.device.kernels, dy.clone(), weight, dx);
        let Some(lora) = self.adapter(projection) else { return dx };
        let (dx, gradient) = lora.backward(dx, input(), dy);
        gradients.insert((self.index, projection), gradient);
        dx
    }

    /// The gradients of a projection's LoRA, if it has one, without dL/dx.
    fn lora(&self, projection: Projection, input: impl Fn() -> Tensor<2>, dy: Tensor<2>, gradients: &mut Gradients) {
        if let Some(lora) = self.adapter(projection) {
            let x = input();
            let (_, gradient) = lora.backward(x.zeros_like(), x, dy);
            gradients.insert((self.index, projection), gradient);
        }
    }
}
