//! The curve of a training run: its steps in buckets of equal width, so that a run of any length keeps its shape.

use serde::{Deserialize, Serialize};

use crate::StepPoint;

/// Buckets kept of a run. Where there would be more, the width doubles.
const MAX_BUCKETS: usize = 512;
/// A resumed run goes back to one of its newest checkpoints.
const MAX_MARKS: usize = 16;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct StepCurve {
    /// Steps of a full bucket: a power of two. Bucket `n` holds the steps after `n * width`.
    pub width: u32,
    /// In order of their steps, each with at least one.
    pub buckets: Vec<StepBucket>,
    /// The newest bucket as it was at each of the newest checkpoints. A resumed run repeats the steps after its
    /// checkpoint, and they replace those that were counted before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    marks: Vec<StepBucket>,
}

/// Consecutive steps taken together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepBucket {
    /// First and last step, 1-based.
    pub first: u32,
    pub last: u32,
    /// Steps counted, usually all from `first` to `last`.
    pub count: u32,
    /// Loss, in nats per supervised token.
    pub min: f64,
    pub max: f64,
    pub mean: f64,
    /// Means over the same steps.
    pub learning_rate: f64,
    pub gradient_norm: f64,
    pub tokens_per_s: f64,
}

/// What may be stored under a curve's name.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Buckets {
        width: u32,
        buckets: Vec<StepBucket>,
        #[serde(default)]
        marks: Vec<StepBucket>,
    },
    /// Of versions that kept single steps, and of long runs only some of them.
    Steps(Vec<StepPoint>),
}

impl From<Stored> for StepCurve {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Buckets { width, buckets, marks } => Self { width: width.max(1), buckets, marks },
            Stored::Steps(steps) if steps.windows(2).all(|two| two[0].step + 1 == two[1].step) => Self::of(steps),
            // Some are missing, and a curve through the others would be false.
            Stored::Steps(_) => Self::default(),
        }
    }
}

impl Default for StepCurve {
    fn default() -> Self {
        Self { width: 1, buckets: Vec::new(), marks: Vec::new() }
    }
}

impl StepBucket {
    fn of(step: &StepPoint) -> Self {
        // A value that is not finite cannot be drawn, and cannot be stored as JSON.
        let finite = |value: f64| if value.is_finite() { value } else { 0.0 };
        Self {
            first: step.step,
            last: step.step,
            count: 1,
            min: step.loss,
            max: step.loss,
            mean: step.loss,
            learning_rate: finite(step.learning_rate),
            gradient_norm: finite(step.gradient_norm),
            tokens_per_s: finite(step.tokens_per_s),
        }
    }

    /// Takes in the steps that follow.
    fn merge(&mut self, next: &Self) {
        let count = self.count + next.count;
        let share = f64::from(next.count) / f64::from(count.max(1));
        let mean = |ours: f64, theirs: f64| ours + (theirs - ours) * share;
        *self = Self {
            first: self.first,
            last: next.last,
            count,
            min: self.min.min(next.min),
            max: self.max.max(next.max),
            mean: mean(self.mean, next.mean),
            learning_rate: mean(self.learning_rate, next.learning_rate),
            gradient_norm: mean(self.gradient_norm, next.gradient_norm),
            tokens_per_s: mean(self.tokens_per_s, next.tokens_per_s),
        };
    }

    /// Number of the bucket of this width that it lies in.
    fn place(&self, width: u32) -> u32 {
        self.last.saturating_sub(1) / width.max(1)
    }
}

impl StepCurve {
    /// The curve of all these steps, in the order in which they were logged.
    pub fn of(steps: impl IntoIterator<Item = StepPoint>) -> Self {
        let mut curve = Self::default();
        for step in steps {
            curve.push(&step);
        }
        curve
    }

    /// Takes in the next step, or one that a resumed run repeats: then all from it on are replaced.
    pub fn push(&mut self, step: &StepPoint) {
        if !step.loss.is_finite() {
            return;
        }
        self.forget_from(step.step);
        let bucket = StepBucket::of(step);
        match self.buckets.last_mut() {
            Some(last) if last.place(self.width) == bucket.place(self.width) => last.merge(&bucket),
            _ => self.buckets.push(bucket),
        }
        if self.buckets.len() > MAX_BUCKETS {
            self.double();
        }
    }

    /// A checkpoint was saved after this step: a resumed run may continue from here.
    pub fn mark(&mut self, step: u32) {
        let Some(newest) = self.buckets.last().filter(|bucket| bucket.last == step) else { return };
        self.marks.push(*newest);
        if self.marks.len() > MAX_MARKS {
            self.marks.remove(0);
        }
    }

    /// Steps counted.
    pub fn steps(&self) -> u64 {
        self.buckets.iter().map(|bucket| u64::from(bucket.count)).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// The same curve in at most about `most` buckets, for a table. Not to be pushed to.
    pub fn coarser(&self, most: usize) -> Self {
        let mut curve = Self { marks: Vec::new(), ..self.clone() };
        while curve.buckets.len() > most.max(1) {
            curve.double();
        }
        curve
    }

    /// The curve as a report keeps it: nothing is added to it any more.
    pub fn frozen(&self) -> Self {
        self.coarser(MAX_BUCKETS)
    }

    fn forget_from(&mut self, step: u32) {
        if self.buckets.last().is_none_or(|newest| newest.last < step) {
            return;
        }
        self.buckets.retain(|bucket| bucket.first < step);
        self.marks.retain(|mark| mark.last < step);
        if self.buckets.last().is_some_and(|bucket| bucket.last >= step) {
            // This bucket holds steps on both sides. Without a mark they cannot be told apart, and it starts again.
            self.buckets.pop();
            self.buckets.extend(self.marks.last().filter(|mark| mark.last + 1 == step).copied());
        }
    }

    fn double(&mut self) {
        let wide = self.width.saturating_mul(2);
        for mark in &mut self.marks {
            let before = self.buckets.iter().rfind(|bucket| bucket.last < mark.first);
            if let Some(before) = before.filter(|before| before.place(wide) == mark.place(wide)) {
                let mut merged = *before;
                merged.merge(mark);
                *mark = merged;
            }
        }
        let mut buckets = Vec::<StepBucket>::with_capacity(self.buckets.len() / 2 + 1);
        for bucket in &self.buckets {
            match buckets.last_mut() {
                Some(last) if last.place(wide) == bucket.place(wide) => last.merge(bucket),
                _ => buckets.push(*bucket),
            }
        }
        (self.width, self.buckets) = (wide, buckets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Falls, with noise that repeats itself nowhere.
    fn loss(step: u32) -> f64 {
        8.0 / f64::from(step).powf(0.2) + 0.3 * (f64::from(step) * 12.9898).sin()
    }

    fn point(step: u32, loss: f64) -> StepPoint {
        StepPoint {
            step,
            steps: 200_000,
            epoch: 0.5,
            loss,
            learning_rate: 1e-3 / f64::from(step),
            gradient_norm: f64::from(step % 7),
            supervised_tokens: 100,
            tokens: 100,
            tokens_per_s: 50.0,
            elapsed_s: 1.0,
            eta_s: 8.0,
        }
    }

    fn run(steps: std::ops::RangeInclusive<u32>) -> impl Iterator<Item = StepPoint> {
        steps.map(|step| point(step, loss(step)))
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * (1.0 + b.abs())
    }

    fn assert_true(curve: &StepCurve, value: impl Fn(u32) -> f64) {
        for bucket in &curve.buckets {
            let steps = bucket.first..=bucket.last;
            let values = steps.clone().map(&value).collect::<Vec<_>>();
            assert_eq!(values.len(), bucket.count as usize, "{bucket:?}");
            assert!(near(bucket.mean, values.iter().sum::<f64>() / values.len() as f64), "{bucket:?}");
            assert_eq!(bucket.min, values.iter().copied().fold(f64::INFINITY, f64::min), "{bucket:?}");
            assert_eq!(bucket.max, values.iter().copied().fold(f64::NEG_INFINITY, f64::max), "{bucket:?}");
            let norm = steps.clone().map(|step| f64::from(step % 7)).sum::<f64>() / f64::from(bucket.count);
            assert!(near(bucket.gradient_norm, norm), "{bucket:?}");
        }
    }

    #[test]
    fn every_bucket_of_a_long_run_holds_its_steps_true_mean_minimum_and_maximum() {
        for steps in [1, 511, 512, 513, 20_000, 200_000] {
            let curve = StepCurve::of(run(1..=steps));
            assert_true(&curve, loss);
            assert_eq!(curve.steps(), u64::from(steps));
            assert!(curve.buckets.len() <= MAX_BUCKETS, "{}", curve.buckets.len());
            assert!(steps <= 512 || curve.buckets.len() > MAX_BUCKETS / 2 - 1, "{}", curve.buckets.len());
            let full = &curve.buckets[..curve.buckets.len() - 1];
            assert!(full.iter().all(|bucket| bucket.count == curve.width), "equal widths at {steps}");
            assert!(curve.buckets.windows(2).all(|two| two[0].last + 1 == two[1].first), "no gap at {steps}");
        }
        assert_eq!(StepCurve::of(run(1..=20_000)).width, 64);
        assert_eq!(StepCurve::of(run(1..=200_000)).width, 512);
    }

    #[test]
    fn a_table_of_a_long_run_has_few_rows_with_true_means() {
        let curve = StepCurve::of(run(1..=20_000)).coarser(40);
        assert_eq!((curve.width, curve.buckets.len()), (512, 40));
        assert_true(&curve, loss);
    }

    #[test]
    fn a_resumed_run_replaces_the_steps_after_its_checkpoint() {
        // Cut off anywhere, at any width, with another loss in the steps that are lost.
        for (checkpoint_every, cut, end) in [(10, 37, 90), (7, 700, 1_500), (100, 5_049, 5_300), (33, 1_055, 9_000)] {
            let mut curve = StepCurve::default();
            let last = cut / checkpoint_every * checkpoint_every;
            for step in 1..=cut {
                curve.push(&point(step, if step > last { 99.0 } else { loss(step) }));
                if step % checkpoint_every == 0 {
                    curve.mark(step);
                }
            }
            for step in last + 1..=end {
                curve.push(&point(step, loss(step)));
                if step % checkpoint_every == 0 {
                    curve.mark(step);
                }
            }
            assert_true(&curve, loss);
            assert_eq!(curve.steps(), u64::from(end), "{checkpoint_every} {cut} {end}");
        }
    }

    #[test]
    fn a_checkpoint_is_still_exact_after_the_width_has_doubled() {
        let mut curve = StepCurve::default();
        for step in 1..=1_100 {
            curve.push(&point(step, if step > 509 { 99.0 } else { loss(step) }));
            if [500, 507, 509].contains(&step) {
                curve.mark(step);
            }
        }
        assert_eq!(curve.width, 4);
        for step in run(510..=1_100) {
            curve.push(&step);
        }
        assert_true(&curve, loss);
        assert_eq!(curve.steps(), 1_100);
    }

    #[test]
    fn steps_that_cannot_be_told_apart_are_left_out_not_mixed() {
        let mut curve = StepCurve::of(run(1..=1_100));
        for step in run(602..=1_100) {
            curve.push(&step);
        }
        assert_true(&curve, loss);
        assert_eq!(curve.steps(), 1_099, "step 601 shared its bucket with repeated ones");
    }

    #[test]
    fn a_run_that_starts_anew_or_in_the_middle_counts_its_own_steps_only() {
        let mut curve = StepCurve::of(run(1..=700).map(|step| StepPoint { loss: 99.0, ..step }));
        for step in run(1..=20) {
            curve.push(&step);
        }
        assert_true(&curve, loss);
        assert_eq!(curve.steps(), 20);
        let middle = StepCurve::of(run(301..=2_000));
        assert_true(&middle, loss);
        assert_eq!((middle.steps(), middle.buckets[0].first), (1_700, 301));
    }

    #[test]
    fn steps_stored_by_older_versions_are_taken_only_where_none_is_missing() {
        let stored = |steps: Vec<u32>| {
            let points = steps.into_iter().map(|step| point(step, loss(step))).collect::<Vec<_>>();
            serde_json::from_value::<StepCurve>(serde_json::to_value(points).unwrap()).unwrap()
        };
        assert_eq!(stored((1..=1_500).collect()), StepCurve::of(run(1..=1_500)));
        assert!(stored(vec![2, 9_741, 10_108]).is_empty());
        assert!(stored(Vec::new()).is_empty());
    }

    #[test]
    fn a_value_that_is_not_finite_never_reaches_a_stored_curve() {
        let mut curve = StepCurve::of([point(1, f64::NAN), point(2, f64::INFINITY)]);
        curve.push(&StepPoint { gradient_norm: f64::INFINITY, ..point(3, 1.0) });
        let text = serde_json::to_string(&curve).unwrap();
        assert!(!text.contains("null"), "{text}");
        assert_eq!(serde_json::from_str::<StepCurve>(&text).unwrap(), curve);
    }
}
