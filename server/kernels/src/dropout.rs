//! Inverted dropout whose mask is a function of its seed: backward recomputes it instead of keeping it.

use crate::simd::vectorised;

#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// Fraction of values that become 0; 0 turns it off.
    pub rate: f64,
    pub seed: u64,
}

impl Dropout {
    /// What element `index` of the tensor is multiplied by. The index is mixed with both halves of the seed by
    /// MurmurHash3's finaliser, in 32-bit steps, so that eight or sixteen of them fit into a vector.
    #[inline(always)]
    pub fn factor(self, index: u32) -> f32 {
        let keep = (1.0 / (1.0 - self.rate)) as f32;
        let threshold = (self.rate * f64::from(u32::MAX)) as u32;
        let (low, high) = (self.seed as u32, (self.seed >> 32) as u32);
        let mut draw = index.wrapping_mul(0x9e37_79b1) ^ low;
        draw = (draw ^ (draw >> 16)).wrapping_mul(0x85eb_ca6b) ^ high;
        draw = (draw ^ (draw >> 13)).wrapping_mul(0xc2b2_ae35);
        draw ^= draw >> 16;
        if draw < threshold { 0.0 } else { keep }
    }

    /// `out = x * mask`, where `x[0]` is element `first` of the whole tensor.
    pub(crate) fn apply(self, x: &[f32], out: &mut [f32], first: usize) {
        vectorised(
            #[inline(always)]
            |_| {
                for (index, (out, x)) in (first as u32..).zip(out.iter_mut().zip(x)) {
                    *out = x * self.factor(index);
                }
            },
        );
    }
}
