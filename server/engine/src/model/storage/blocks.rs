//! ggml's layouts of 32 values: one scale (and one offset) in f16, then the quantised values; of two values that share
//! a byte, the low half belongs to the first 16.

use super::f16;

pub fn q8_0(block: &[u8; 34], values: &mut [f32; 32]) {
    let scale = f16(block, 0);
    for (value, &quant) in values.iter_mut().zip(&block[2..]) {
        *value = scale * f32::from(quant as i8);
    }
}

pub fn q4_0(block: &[u8; 18], values: &mut [f32; 32]) {
    let scale = f16(block, 0);
    for (index, &pair) in block[2..].iter().enumerate() {
        values[index] = scale * (f32::from(pair & 15) - 8.0);
        values[index + 16] = scale * (f32::from(pair >> 4) - 8.0);
    }
}

pub fn q4_1(block: &[u8; 20], values: &mut [f32; 32]) {
    let (scale, least) = (f16(block, 0), f16(block, 2));
    for (index, &pair) in block[4..].iter().enumerate() {
        values[index] = scale * f32::from(pair & 15) + least;
        values[index + 16] = scale * f32::from(pair >> 4) + least;
    }
}

pub fn q5_0(block: &[u8; 22], values: &mut [f32; 32]) {
    let scale = f16(block, 0);
    for (index, quant) in five_bits(&block[2..]) {
        values[index] = scale * (f32::from(quant) - 16.0);
    }
}

pub fn q5_1(block: &[u8; 24], values: &mut [f32; 32]) {
    let (scale, least) = (f16(block, 0), f16(block, 2));
    for (index, quant) in five_bits(&block[4..]) {
        values[index] = scale * f32::from(quant) + least;
    }
}

/// Four bytes with the fifth bits of all 32 values, then 16 bytes with the low four bits.
fn five_bits(quants: &[u8]) -> impl Iterator<Item = (usize, u8)> + '_ {
    let fifth = move |index: usize| (quants[index / 8] >> (index % 8) & 1) << 4;
    let low = quants[4..].iter().enumerate();
    low.flat_map(move |(index, &pair)| [(index, pair & 15 | fifth(index)), (index + 16, pair >> 4 | fifth(index + 16))])
}
