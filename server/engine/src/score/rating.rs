//! Figures of people's grades: agreement between raters, and how a metric goes with them.

use spec::{Interval, Mean};

/// Spearman's rank correlation with a 95 % interval by Fisher's transformation (standard error sqrt((1 + r^2 / 2) / (n - 3)),
/// Bonett & Wright 2000). None for fewer than four values or where one side is constant.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<Mean> {
    let count = a.len().min(b.len());
    if count < 4 {
        return None;
    }
    let (a, b) = (ranks(&a[..count]), ranks(&b[..count]));
    let middle = (count as f64 + 1.0) / 2.0;
    let sum = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - middle) * (y - middle)).sum::<f64>();
    let spread = (sum(&a, &a) * sum(&b, &b)).sqrt();
    if spread == 0.0 {
        return None;
    }
    let correlation = (sum(&a, &b) / spread).clamp(-1.0, 1.0);
    let error = ((1.0 + correlation * correlation / 2.0) / (count as f64 - 3.0)).sqrt();
    // At 1 and -1 the transformation has no value.
    let z = correlation.clamp(-0.999_999, 0.999_999).atanh();
    let interval = Interval { low: (z - 1.96 * error).tanh(), high: (z + 1.96 * error).tanh() };
    Some(Mean { mean: correlation, interval: Some(interval) })
}

/// 1-based; equal values share the mean of their ranks.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut at = 0;
    while at < order.len() {
        let end = (at..order.len()).find(|&next| values[order[next]] != values[order[at]]).unwrap_or(order.len());
        let shared = (at + 1 + end) as f64 / 2.0;
        order[at..end].iter().for_each(|&place| ranks[place] = shared);
        at = end;
    }
    ranks
}

/// Krippendorff's alpha for interval data (Krippendorff 2011): 1 is perfect agreement, 0 is chance. Each unit holds the grades
/// that one text got. None where no text has two grades, or all grades are equal.
pub fn krippendorff_alpha(units: &[Vec<f64>]) -> Option<f64> {
    let units: Vec<&Vec<f64>> = units.iter().filter(|grades| grades.len() >= 2).collect();
    let all: Vec<f64> = units.iter().flat_map(|grades| grades.iter().copied()).collect();
    let count = all.len() as f64;
    if units.is_empty() {
        return None;
    }
    // Sum over ordered pairs of the squared difference.
    let squares = |values: &[f64]| {
        let (sum, squares) =
            values.iter().fold((0.0, 0.0), |(sum, squares), value| (sum + value, squares + value * value));
        2.0 * (values.len() as f64 * squares - sum * sum)
    };
    let observed: f64 = units.iter().map(|grades| squares(grades) / (grades.len() as f64 - 1.0)).sum::<f64>() / count;
    let expected = squares(&all) / (count * (count - 1.0));
    (expected > 0.0).then(|| 1.0 - observed / expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_is_that_of_krippendorffs_own_example() {
        // Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section C: interval data, alpha 0.849.
        let raters: [[u8; 12]; 4] = [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
            [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
        ];
        let units: Vec<Vec<f64>> = (0..12)
            .map(|unit| raters.iter().map(|rater| rater[unit]).filter(|grade| *grade > 0).map(f64::from).collect())
            .collect();
        let alpha = krippendorff_alpha(&units).unwrap();
        assert!((alpha - 0.849).abs() < 0.001, "{alpha}");
        assert_eq!(krippendorff_alpha(&[vec![3.0], vec![2.0]]), None);
        assert_eq!(krippendorff_alpha(&[vec![3.0, 3.0], vec![3.0, 3.0]]), None);
    }

    #[test]
    fn rank_correlation_takes_ties_and_its_interval_shrinks_with_more_pairs() {
        // By hand: ranks 1, 2.5, 2.5, 4, 5 and 2, 1, 3, 4.5, 4.5; 7.5 / 9.5.
        let found = spearman(&[1.0, 2.0, 2.0, 4.0, 5.0], &[2.0, 1.0, 3.0, 4.0, 4.0]).unwrap();
        assert!((found.mean - 7.5 / 9.5).abs() < 1e-9, "{found:?}");
        let line: Vec<f64> = (0..40).map(f64::from).collect();
        let noisy: Vec<f64> = (0..40).map(|at| f64::from(at + (at * 17) % 23)).collect();
        let (few, many) = (spearman(&line[..8], &noisy[..8]).unwrap(), spearman(&line, &noisy).unwrap());
        let width = |mean: Mean| mean.interval.unwrap().high - mean.interval.unwrap().low;
        assert!(width(many) < width(few));
        assert!(spearman(&line[..3], &line[..3]).is_none() && spearman(&line, &[1.0; 40]).is_none());
        let exact = spearman(&line, &line).unwrap();
        assert!(exact.mean == 1.0 && exact.interval.unwrap().high <= 1.0);
    }
}
