//! Randomness by purpose: every consumer derives its own stream from the run's seed, so that none depends on
//! how much another has drawn, and a resumed run draws what the uninterrupted one would have.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What a stream is for. The number is part of the derivation: never renumber.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    LoraInit = 1,
    Shuffle = 2,
    Dropout = 3,
    Sampling = 4,
}

/// The 64-bit seed of the stream (seed, purpose, a, b): splitmix64 over the parts.
pub(crate) fn derive(seed: u64, purpose: Purpose, a: u64, b: u64) -> u64 {
    let mut state = seed;
    for part in [purpose as u64, a, b] {
        state = mix(state ^ mix(part.wrapping_add(0x9e37_79b9_7f4a_7c15)));
    }
    state
}

pub(crate) fn stream(seed: u64, purpose: Purpose, a: u64, b: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(derive(seed, purpose, a, b))
}

/// The finaliser of splitmix64 (Steele, Lea, Flood 2014): a bijection with good avalanche.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_different_purposes_and_steps_differ() {
        let base = derive(1, Purpose::Dropout, 0, 0);
        for other in [
            derive(1, Purpose::Shuffle, 0, 0),
            derive(1, Purpose::Dropout, 1, 0),
            derive(1, Purpose::Dropout, 0, 1),
            derive(2, Purpose::Dropout, 0, 0),
        ] {
            assert_ne!(base, other);
        }
    }
}
