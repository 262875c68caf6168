//! `exp` in f32 that the compiler can vectorise: 2^(x log2 e), with the integer part in the exponent's bits and a
//! polynomial for the fraction. Relative error below 1.2e-7 on [-87, 88]; smaller arguments give 0.

use crate::simd::{Level, multiply_add};
use crate::tile::{LANES, lanes, lanes_mut};

const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts, so that `x - n ln 2` keeps its digits (Cody, Waite 1980).
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Adding it rounds to an integer, which is then in the lowest bits, with the exponent's bias of 127 added.
const ROUND: f32 = 12_582_912.0 + 127.0; // 1.5 * 2^23, and the bias
/// Minimax polynomial of e^r on |r| <= ln 2 / 2 with p(0) = 1, from the highest power down; relative error 2e-9.
const POLYNOMIAL: [f32; 7] = [0.001_384_360_8, 0.008_374_196, 0.041_668_005, 0.166_664_3, 0.499_999_94, 1.0, 1.0];

#[inline(always)]
pub(crate) fn exp(level: Level, x: f32) -> f32 {
    // Below -88 the exponent's bits are 0, and so is the power.
    let clamped = x.clamp(-88.0, 88.0);
    let rounded = multiply_add(level, clamped, LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = multiply_add(level, n, -LN_2_LOW, multiply_add(level, n, -LN_2_HIGH, clamped));
    let mut p = POLYNOMIAL[0];
    for coefficient in &POLYNOMIAL[1..] {
        p = multiply_add(level, p, r, *coefficient);
    }
    // Not a cast of n: it would not vectorise, since casts handle NaN.
    p * f32::from_bits(rounded.to_bits() << 23)
}

#[inline(always)]
pub(crate) fn sigmoid(level: Level, x: f32) -> f32 {
    1.0 / (1.0 + exp(level, -x))
}

/// Replaces `LANES` columns of a matrix with row stride `width`, from column `strip` on, by exp(value - max) with each
/// column's maximum, which starts at `largest`; returns the maxima and the columns' sums.
#[inline(always)]
pub(crate) fn exponentials(
    level: Level,
    values: &mut [f32],
    (width, strip): (usize, usize),
    mut largest: [f32; LANES],
) -> ([f32; LANES], [f32; LANES]) {
    for row in values.chunks_exact(width) {
        let values = lanes(&row[strip..]);
        for lane in 0..LANES {
            largest[lane] = if values[lane] > largest[lane] { values[lane] } else { largest[lane] };
        }
    }
    let mut sums = [0.0; LANES];
    for row in values.chunks_exact_mut(width) {
        let values = lanes_mut(&mut row[strip..]);
        for lane in 0..LANES {
            values[lane] = exp(level, values[lane] - largest[lane]);
        }
        for lane in 0..LANES {
            sums[lane] += values[lane];
        }
    }
    (largest, sums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::vectorised;

    fn check(exp: impl Fn(f32) -> f32) {
        let mut x = -87.0_f32;
        while x < 88.0 {
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < 1.2e-7, "exp({x}) is off by {error}");
            x += 0.0137;
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(1000.0).is_finite());
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn exp_is_right_to_seven_digits_and_zero_far_below() {
        check(|x| exp(Level::Plain, x));
        vectorised(
            #[inline(always)]
            |level| check(|x| exp(level, x)),
        );
    }
}
