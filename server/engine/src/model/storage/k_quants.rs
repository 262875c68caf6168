//! ggml's k-quants: 256 values in sub-blocks of 16 or 32, whose scales are quantised themselves.

use super::f16;

/// Scales and offsets of 16 sub-blocks in four bits each, then two bits a value.
pub fn q2_k(block: &[u8; 84], values: &mut [f32; 256]) {
    let (scales, quants) = (&block[..16], &block[16..80]);
    let (scale, least) = (f16(block, 80), f16(block, 82));
    for (index, value) in values.iter_mut().enumerate() {
        let sub = scales[index / 16];
        let quant = quants[index / 128 * 32 + index % 32] >> (index % 128 / 32 * 2) & 3;
        *value = scale * f32::from(sub & 15) * f32::from(quant) - least * f32::from(sub >> 4);
    }
}

/// The third bits of all values, their low two bits, 16 scales in six bits each (low fours first, then the high twos).
pub fn q3_k(block: &[u8; 110], values: &mut [f32; 256]) {
    let (high, quants, packed) = (&block[..32], &block[32..96], &block[96..108]);
    let scale = f16(block, 108);
    let sub_scale = |sub: usize| {
        let low = if sub < 8 { packed[sub] & 15 } else { packed[sub - 8] >> 4 };
        let top = packed[8 + sub % 4] >> (sub / 4 * 2) & 3;
        scale * (f32::from(low | top << 4) - 32.0)
    };
    for (sub, values) in values.chunks_exact_mut(16).enumerate() {
        let scale = sub_scale(sub);
        for (within, value) in values.iter_mut().enumerate() {
            let index = sub * 16 + within;
            let low = quants[index / 128 * 32 + index % 32] >> (index % 128 / 32 * 2) & 3;
            let third = high[index % 32] >> (index / 32) & 1;
            *value = scale * (f32::from(low | third << 2) - 4.0);
        }
    }
}

pub fn q4_k(block: &[u8; 144], values: &mut [f32; 256]) {
    let (scale, least) = (f16(block, 0), f16(block, 2));
    let (packed, quants) = (&block[4..16], &block[16..]);
    for (sub, values) in values.chunks_exact_mut(32).enumerate() {
        let (sub_scale, sub_least) = scale_and_least(packed, sub);
        let (scale, least) = (scale * sub_scale, least * sub_least);
        let pairs = &quants[sub / 2 * 32..][..32];
        for (value, &pair) in values.iter_mut().zip(pairs) {
            *value = scale * f32::from(pair >> (sub % 2 * 4) & 15) - least;
        }
    }
}

pub fn q5_k(block: &[u8; 176], values: &mut [f32; 256]) {
    let (scale, least) = (f16(block, 0), f16(block, 2));
    let (packed, fifth, quants) = (&block[4..16], &block[16..48], &block[48..]);
    for (sub, values) in values.chunks_exact_mut(32).enumerate() {
        let (sub_scale, sub_least) = scale_and_least(packed, sub);
        let (scale, least) = (scale * sub_scale, least * sub_least);
        let pairs = &quants[sub / 2 * 32..][..32];
        for ((value, &pair), &fifth) in values.iter_mut().zip(pairs).zip(fifth) {
            let quant = pair >> (sub % 2 * 4) & 15 | (fifth >> sub & 1) << 4;
            *value = scale * f32::from(quant) - least;
        }
    }
}

pub fn q6_k(block: &[u8; 210], values: &mut [f32; 256]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let scale = f16(block, 208);
    for (sub, values) in values.chunks_exact_mut(16).enumerate() {
        let scale = scale * f32::from(scales[sub] as i8);
        for (within, value) in values.iter_mut().enumerate() {
            let index = sub * 16 + within;
            let (half, quarter, place) = (index / 128, index % 128 / 32, index % 32);
            let four = low[half * 64 + quarter % 2 * 32 + place] >> (quarter / 2 * 4) & 15;
            let two = high[half * 32 + place] >> (quarter * 2) & 3;
            *value = scale * (f32::from(four | two << 4) - 32.0);
        }
    }
}

/// Six-bit scale and offset of sub-block `sub` of 8, out of 12 bytes: the first four in the low bits of bytes 0-3 and
/// 4-7, the others in the halves of bytes 8-11 with their top bits in the top bits of bytes 0-7.
fn scale_and_least(packed: &[u8], sub: usize) -> (f32, f32) {
    let (scale, least) = if sub < 4 {
        (packed[sub] & 63, packed[sub + 4] & 63)
    } else {
        (packed[sub + 4] & 15 | packed[sub - 4] >> 6 << 4, packed[sub + 4] >> 4 | packed[sub] >> 6 << 4)
    };
    (f32::from(scale), f32::from(least))
}
