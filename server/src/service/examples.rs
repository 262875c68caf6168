//! Which pairs of a report are its examples.

use spec::{CurateConfig, Decision};

use crate::store::Ranked;

/// Positions among the pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    pub by_rouge: bool,
    pub best: Option<usize>,
    pub median: Option<usize>,
    pub worst: Option<usize>,
}

/// Fewer than three pairs with a reference have no best, median and worst.
const NEEDED: usize = 3;

/// Of the pairs that are kept, where any are.
pub fn choose(pairs: &[Ranked], curate: Option<&CurateConfig>) -> Chosen {
    let kept = |pair: &Ranked| match curate {
        Some(config) => config.keeps_with(pair.decision, pair.tagged),
        None => pair.decision != Some(Decision::Drop),
    };
    let mut from: Vec<usize> = (0..pairs.len()).filter(|at| kept(&pairs[*at])).collect();
    if from.is_empty() {
        from = (0..pairs.len()).collect();
    }
    let with_rouge: Vec<usize> = from.iter().copied().filter(|at| pairs[*at].rouge.is_some()).collect();
    let by_rouge = with_rouge.len() >= NEEDED;
    // Best first; positions break ties.
    if by_rouge {
        from = with_rouge;
        let rouge = |at: &usize| pairs[*at].rouge.unwrap_or_default();
        from.sort_by(|a, b| rouge(b).total_cmp(&rouge(a)));
    } else {
        from.sort_by_key(|at| pairs[*at].copied);
    }
    let best = from.iter().position(|at| !pairs[*at].tagged).or((!from.is_empty()).then_some(0));
    let best = best.map(|place| from.remove(place));
    let worst = from.pop();
    // Of the rest, which lacks both ends.
    let median = from.get(from.len() / 2).copied();
    Chosen { by_rouge, best, median, worst }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(rouge: Option<f64>, copied: u32, tagged: bool) -> Ranked {
        Ranked { rouge, copied, tagged, decision: None }
    }

    #[test]
    fn the_best_example_has_no_tag_where_any_pair_has_none() {
        let pairs = [(0.9, true), (0.1, false), (0.5, false), (0.7, false), (0.3, true)]
            .map(|(rouge, tagged)| ranked(Some(rouge), 0, tagged));
        let chosen = choose(&pairs, None);
        assert_eq!(chosen, Chosen { by_rouge: true, best: Some(3), median: Some(2), worst: Some(1) });
        let all_tagged = pairs.map(|pair| Ranked { tagged: true, ..pair });
        assert_eq!(choose(&all_tagged, None).best, Some(0));
    }

    #[test]
    fn without_references_the_least_copied_is_the_best() {
        let pairs = [9, 0, 4].map(|copied| ranked(None, copied, false));
        let chosen = choose(&pairs, None);
        assert_eq!(chosen, Chosen { by_rouge: false, best: Some(1), median: Some(2), worst: Some(0) });
        assert_eq!(choose(&[], None), Chosen::default());
        let one = Chosen { best: Some(0), ..Chosen::default() };
        assert_eq!(choose(&pairs[..1], None), one);
    }

    #[test]
    fn dropped_pairs_are_examples_only_where_nothing_is_kept() {
        let drop = |rouge| Ranked { decision: Some(Decision::Drop), ..ranked(Some(rouge), 0, false) };
        let keep = |rouge| Ranked { decision: Some(Decision::Keep), ..ranked(Some(rouge), 0, true) };
        let config = CurateConfig::default();
        let chosen = choose(&[drop(0.9), keep(0.5), keep(0.4), keep(0.3), drop(0.0)], Some(&config));
        assert_eq!((chosen.best, chosen.median, chosen.worst), (Some(1), Some(2), Some(3)));
        let dropped = [drop(0.1), drop(0.2), drop(0.3)];
        assert_eq!(choose(&dropped, Some(&config)).best, Some(2));
        // The settings drop undecided pairs with a tag.
        let tagged = [ranked(Some(0.9), 0, true), keep(0.2), keep(0.1), keep(0.3)];
        assert_eq!(choose(&tagged, Some(&config)).best, Some(3));
    }
}
