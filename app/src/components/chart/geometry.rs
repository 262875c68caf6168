//! Scales, ticks, smoothing and paths. Pure numbers in, texts out; knows no signals and no elements.

use std::fmt::Write;

/// Side of the square that paths are drawn in; the SVG stretches it.
pub const SIDE: f64 = 1000.0;

pub type Point = (f64, f64);

/// Maps values to 0..=1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    pub from: f64,
    pub to: f64,
    pub log: bool,
}

impl Scale {
    /// Spans the finite values with a little air; a logarithmic scale spans the positive ones.
    pub fn around(values: impl Iterator<Item = f64>, log: bool) -> Self {
        let (low, high) = values
            .filter(|value| value.is_finite() && (!log || *value > 0.0))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return Self { from: if log { 0.1 } else { 0.0 }, to: 1.0, log };
        }
        if log {
            let air = (high / low).powf(0.05).max(1.02);
            return Self { from: low / air, to: high * air, log };
        }
        let air = if high > low { (high - low) * 0.06 } else { high.abs().max(1.0) * 0.1 };
        let from = if low >= 0.0 { (low - air).max(0.0) } else { low - air };
        Self { from, to: high + air, log }
    }

    /// 0 at `from`, 1 at `to`. None for what cannot be drawn.
    pub fn at(&self, value: f64) -> Option<f64> {
        if !value.is_finite() {
            return None;
        }
        let place = if self.log {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        place.is_finite().then(|| place.clamp(-0.05, 1.05))
    }

    /// Round values within the scale, about `wanted` of them.
    pub fn ticks(&self, wanted: usize) -> Vec<f64> {
        if self.log {
            let decades = self.to.log10().ceil() as i32 - self.from.log10().floor() as i32;
            let steps: &[f64] = if decades > 3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
            let list = (self.from.log10().floor() as i32..=self.to.log10().ceil() as i32)
                .flat_map(|exponent| steps.iter().map(move |step| step * 10f64.powi(exponent)))
                .filter(|tick| (self.from..=self.to).contains(tick))
                .collect::<Vec<_>>();
            if list.len() >= 2 {
                return list;
            }
        }
        let rough = (self.to - self.from) / wanted.max(1) as f64;
        let unit = 10f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * unit).find(|step| *step >= rough).unwrap_or(rough);
        if !(step.is_finite() && step > 0.0) {
            return Vec::new();
        }
        let first = (self.from / step).ceil() as i64;
        let last = (self.to / step).floor() as i64;
        (first..=last.min(first + 50)).map(|number| number as f64 * step).collect()
    }
}

/// Polyline through the points; a value that cannot be drawn interrupts it.
pub fn path(points: &[Point], x: &Scale, y: &Scale) -> String {
    let mut out = String::with_capacity(points.len() * 12);
    let mut pen_down = false;
    for (across, up) in points {
        let (Some(across), Some(up)) = (x.at(*across), y.at(*up)) else {
            pen_down = false;
            continue;
        };
        let command = if pen_down { 'L' } else { 'M' };
        // Writing to a String cannot fail.
        let _ = write!(out, "{command}{:.1} {:.1}", across * SIDE, (1.0 - up) * SIDE);
        pen_down = true;
    }
    out
}

/// The area between two lines over the same places.
pub fn band(low: &[Point], high: &[Point], x: &Scale, y: &Scale) -> String {
    let outline = high.iter().chain(low.iter().rev()).copied().collect::<Vec<_>>();
    let mut out = path(&outline, x, y);
    if !out.is_empty() {
        out.push('Z');
    }
    out
}

/// Exponential moving average with the start's bias taken out; `factor` 0 returns the points as they are.
pub fn smooth(points: &[Point], factor: f64) -> Vec<Point> {
    let factor = factor.clamp(0.0, 0.99);
    let (mut mean, mut weight) = (0.0, 0.0);
    points
        .iter()
        .map(|(across, up)| {
            if !up.is_finite() {
                return (*across, *up);
            }
            mean = factor * mean + (1.0 - factor) * up;
            weight = factor * weight + (1.0 - factor);
            (*across, mean / weight)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_maps_its_ends_to_zero_and_one() {
        let scale = Scale { from: 2.0, to: 4.0, log: false };
        assert_eq!((scale.at(2.0), scale.at(3.0), scale.at(4.0)), (Some(0.0), Some(0.5), Some(1.0)));
        let scale = Scale { from: 1.0, to: 100.0, log: true };
        assert!((scale.at(10.0).expect("finite") - 0.5).abs() < 1e-12);
        assert_eq!(scale.at(f64::NAN), None);
    }

    #[test]
    fn scales_hold_for_nothing_for_one_value_and_for_no_positive_value() {
        for values in [vec![], vec![3.0], vec![0.0, 0.0], vec![f64::NAN, f64::INFINITY], vec![-1.0]] {
            for log in [false, true] {
                let scale = Scale::around(values.iter().copied(), log);
                assert!(scale.from < scale.to && scale.at(1.0).is_some(), "{values:?} {log} {scale:?}");
                assert!(scale.ticks(5).len() <= 52, "{values:?}");
            }
        }
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let ticks = Scale { from: 0.13, to: 3.9, log: false }.ticks(4);
        assert_eq!(ticks, [1.0, 2.0, 3.0]);
        let ticks = Scale { from: 0.8, to: 30.0, log: true }.ticks(4);
        assert_eq!(ticks, [1.0, 2.0, 5.0, 10.0, 20.0]);
    }

    #[test]
    fn a_path_breaks_at_values_that_cannot_be_drawn() {
        let scale = Scale { from: 0.0, to: 2.0, log: false };
        let text = path(&[(0.0, 0.0), (1.0, f64::NAN), (2.0, 2.0)], &scale, &scale);
        assert_eq!(text, "M0.0 1000.0M1000.0 0.0");
    }

    #[test]
    fn smoothing_by_nothing_changes_nothing_and_has_no_bias_at_the_start() {
        let points = [(1.0, 4.0), (2.0, 2.0), (3.0, 1.0)];
        assert_eq!(smooth(&points, 0.0), points);
        assert!((smooth(&points, 0.9)[0].1 - 4.0).abs() < 1e-12);
    }

    #[test]
    fn a_band_goes_along_the_upper_line_and_back_along_the_lower() {
        let scale = Scale { from: 0.0, to: 2.0, log: false };
        let text = band(&[(0.0, 0.0), (2.0, 0.0)], &[(0.0, 1.0), (2.0, 2.0)], &scale, &scale);
        assert_eq!(text, "M0.0 500.0L1000.0 0.0L1000.0 1000.0L0.0 1000.0Z");
        assert_eq!(band(&[], &[], &scale, &scale), "");
    }
}
