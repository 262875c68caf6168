//! Lengths in words as a histogram with round bin edges and an open-ended last bin.

use spec::Bin;

const MOST_BINS: usize = 20;

/// Equal bins of a round width up to the 98th percentile; the last one reaches to the longest.
pub fn word_lengths<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<Bin> {
    let mut lengths: Vec<usize> = texts.map(|text| engine::words::pieces(text).count()).collect();
    lengths.sort_unstable();
    let Some(longest) = lengths.last().copied() else { return Vec::new() };
    let usual = lengths[(lengths.len() - 1) * 98 / 100];
    let width = round_width(usual + 1);
    let mut bins: Vec<Bin> = (0..=usual / width)
        .map(|bin| Bin { from: (bin * width) as f64, to: ((bin + 1) * width) as f64, count: 0 })
        .collect();
    let last = bins.len() - 1;
    for length in &lengths {
        bins[(length / width).min(last)].count += 1;
    }
    bins[last].to = bins[last].to.max((longest + 1) as f64);
    bins
}

/// The smallest of 1, 2, 5, 10, 20, 50, … that covers `span` with at most [`MOST_BINS`] bins.
fn round_width(span: usize) -> usize {
    let mut decade = 1;
    loop {
        for step in [1, 2, 5] {
            if step * decade * MOST_BINS >= span {
                return step * decade;
            }
        }
        decade *= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_lands_in_exactly_one_bin() {
        let texts: Vec<String> = (0..300).map(|words| "w ".repeat(words)).chain(["w ".repeat(9_000)]).collect();
        let bins = word_lengths(texts.iter().map(String::as_str));
        assert_eq!(bins.iter().map(|bin| bin.count).sum::<u64>(), 301);
        assert!(bins.len() <= MOST_BINS);
        assert!(bins.windows(2).all(|two| two[0].to == two[1].from));
        assert_eq!(bins.last().map(|bin| bin.to), Some(9_001.0));
    }

    #[test]
    fn no_texts_give_no_bins() {
        assert!(word_lengths(std::iter::empty()).is_empty());
    }
}
