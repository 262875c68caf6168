//! What two texts share: the longest common subsequence (ROUGE-L) and the fragments copied from one to the other.
//!
//! Works on numbered words; time is bounded because their number is (see [`super::interner::MOST_WORDS`]).

use std::collections::HashMap;

/// ROUGE-L's F1 with equal weights (Lin 2004, section 3.2, beta = 1): `2 P R / (P + R)` with `P = LCS / |a|` and
/// `R = LCS / |b|`. 0 where either is empty.
pub fn rouge_l(a: &[u32], b: &[u32]) -> f64 {
    if a.is_empty() || b.is_empty() { 0.0 } else { 2.0 * longest_common(a, b) as f64 / (a.len() + b.len()) as f64 }
}

/// Length of the longest common subsequence, 64 cells at once (Hyyrö 2004, "Bit-parallel LCS-length computation
/// revisited"): a zero bit marks a row in which the length grows.
fn longest_common(a: &[u32], b: &[u32]) -> usize {
    let blocks = a.len().div_ceil(64);
    let mut places: HashMap<u32, Vec<u64>> = HashMap::new();
    for (place, &word) in a.iter().enumerate() {
        places.entry(word).or_insert_with(|| vec![0; blocks])[place / 64] |= 1 << (place % 64);
    }
    let mut row = vec![u64::MAX; blocks];
    for word in b {
        let Some(matches) = places.get(word) else { continue };
        let mut carry = false;
        for (cells, &matches) in row.iter_mut().zip(matches) {
            let shared = *cells & matches;
            let (sum, first) = cells.overflowing_add(shared);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            carry = first || second;
            *cells = sum | (*cells & !matches);
        }
    }
    // Cells beyond the text's end match nothing, and so stay one whatever is carried into them.
    row.iter().map(|cells| cells.count_zeros() as usize).sum()
}

/// What a text took from a source.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Copying {
    /// Longest run of words that is also in the source.
    pub longest_run: usize,
    pub coverage: f64,
    pub density: f64,
}

/// Extractive fragments (Grusky et al., arXiv:1804.11283, section 3): from left to right, the longest run of the text's
/// words that is in the source. Coverage is the share of the text's words in fragments, density the sum of
/// the fragments' squared lengths over the text's words. All 0 for a text without words.
pub fn copying(text: &[u32], source: &[u32]) -> Copying {
    let runs = runs(text, source);
    let (mut covered, mut squares, mut at) = (0, 0, 0);
    while at < runs.len() {
        covered += runs[at];
        squares += runs[at] * runs[at];
        at += runs[at].max(1);
    }
    let words = text.len().max(1) as f64;
    Copying {
        longest_run: runs.iter().copied().max().unwrap_or(0),
        coverage: covered as f64 / words,
        density: squares as f64 / words,
    }
}

/// For every word of the text: how long a run that begins with it is somewhere in the source.
fn runs(text: &[u32], source: &[u32]) -> Vec<usize> {
    let mut runs = vec![0; text.len()];
    // Of the text's next word: the run that begins with it at each place of the source.
    let mut next = vec![0_u32; source.len() + 1];
    for (place, word) in text.iter().enumerate().rev() {
        let mut longest = 0;
        for (at, other) in source.iter().enumerate() {
            // Place `at + 1` still holds the next word's run: places are overwritten from the front.
            next[at] = if word == other { next[at + 1] + 1 } else { 0 };
            longest = longest.max(next[at]);
        }
        runs[place] = longest as usize;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(a: &[u32], b: &[u32]) -> usize {
        let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
        for (i, x) in a.iter().enumerate() {
            for (j, y) in b.iter().enumerate() {
                table[i + 1][j + 1] = if x == y { table[i][j] + 1 } else { table[i][j + 1].max(table[i + 1][j]) };
            }
        }
        table[a.len()][b.len()]
    }

    #[test]
    fn the_bit_parallel_length_is_that_of_the_plain_table() {
        let mut state = 1_u64;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % below
        };
        for words in [1, 2, 5, 40] {
            for length in [0, 1, 63, 64, 65, 127, 128, 200] {
                let a: Vec<u32> = (0..length).map(|_| draw(words) as u32).collect();
                let b: Vec<u32> = (0..draw(150)).map(|_| draw(words) as u32).collect();
                assert_eq!(longest_common(&a, &b), slow(&a, &b), "{a:?} {b:?}");
                assert_eq!(longest_common(&b, &a), slow(&a, &b));
            }
        }
    }

    #[test]
    fn rouge_l_of_a_known_case() {
        // police killed the gunman / police kill the gunman (Lin 2004): 3 of 4 words on each side.
        assert_eq!(rouge_l(&[1, 2, 3, 4], &[1, 5, 3, 4]), 0.75);
        assert_eq!(rouge_l(&[1, 2], &[1, 2]), 1.0);
        assert_eq!(rouge_l(&[], &[1]), 0.0);
        assert_eq!(rouge_l(&[1], &[2]), 0.0);
    }

    #[test]
    fn fragments_are_taken_greedily_from_the_left() {
        // Text 1 2 3 9 4 5, source 4 5 1 2 3: fragments 1 2 3 and 4 5.
        let found = copying(&[1, 2, 3, 9, 4, 5], &[4, 5, 1, 2, 3]);
        assert_eq!(found, Copying { longest_run: 3, coverage: 5.0 / 6.0, density: 13.0 / 6.0 });
        assert_eq!(copying(&[], &[1]), Copying::default());
        assert_eq!(copying(&[1], &[]), Copying::default());
    }
}
