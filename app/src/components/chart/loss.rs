//! The loss of a training run: means of equally many steps, their range, a smoothed line and validation points, with a
//! sentence and a table.

use leptos::prelude::*;

use super::geometry::{Point, Scale, band, path, smooth};
use crate::components::format::{counted, figure};
use spec::{EvaluationPoint, StepBucket, StepCurve};

/// Rows of the table alternative.
const MOST_ROWS: usize = 40;
/// Where the plot lies in the drawing, in percent of its width and height.
const LEFT: f64 = 10.0;
const WIDE: f64 = 88.0;
const TOP: f64 = 4.0;
const HIGH: f64 = 80.0;

#[component]
pub fn LossChart(
    #[prop(into)] curve: Signal<StepCurve>,
    #[prop(into)] evaluations: Signal<Vec<EvaluationPoint>>,
    /// Sliders and switches; a frozen report has none.
    #[prop(optional)]
    controls: bool,
) -> impl IntoView {
    let smoothing = RwSignal::new(0.6_f64);
    let log = RwSignal::new(false);
    let count = move || curve.with(StepCurve::steps);
    let width = Memo::new(move |_| curve.with(|curve| curve.width));
    view! {
        <figure class="chart" data-chart="loss" data-points=count>
            <figcaption>
                <strong>"Loss"</strong>
                " in nats per supervised token. "
                <span>{move || curve.with(|curve| evaluations.with(|evaluations| summary(curve, evaluations)))}</span>
            </figcaption>
            {move || curve.with(|curve| {
                evaluations.with(|evaluations| drawing(curve, evaluations, smoothing.get(), log.get()))
            })}
            <p class="legend">
                {move || match width.get() {
                    1 => view! { <span class="key raw">"train loss"</span> }.into_any(),
                    width => view! {
                        <span class="key band">{format!("min to max of {width} steps")}</span>
                        <span class="key raw">{format!("train loss, mean of {width} steps")}</span>
                    }
                    .into_any(),
                }}
                <span class="key smooth">"smoothed (EMA)"</span>
                <span class="key validation">"validation loss"</span>
            </p>
            {controls.then(|| controls_of(smoothing, log))}
            <details>
                <summary>"Show as table"</summary>
                {move || curve.with(|curve| evaluations.with(|evaluations| table(curve, evaluations)))}
            </details>
        </figure>
    }
    .into_any()
}

fn controls_of(smoothing: RwSignal<f64>, log: RwSignal<bool>) -> AnyView {
    let value = move || match smoothing.get() {
        0.0 => "off".to_owned(),
        factor => format!("{factor:.2}"),
    };
    let slide = move |event| {
        if let Ok(factor) = event_target_value(&event).parse() {
            smoothing.set(factor);
        }
    };
    view! {
        <div class="controls">
            // The value is beside the label, not in it: an <output> would be what the label names.
            <label>
                "Smoothing "
                <input type="range" min="0" max="0.98" step="0.02" value="0.6" aria-valuetext=value on:input=slide/>
            </label>
            <span class="number" aria-hidden="true">{value}</span>
            <label class="toggle">
                <input type="checkbox" on:change=move |event| log.set(event_target_checked(&event))/>
                " Log scale"
            </label>
        </div>
    }
    .into_any()
}

/// What the chart shows, in one sentence.
fn summary(curve: &StepCurve, evaluations: &[EvaluationPoint]) -> String {
    let (Some(first), Some(last)) = (curve.buckets.first(), curve.buckets.last()) else {
        return "No step has been made yet.".to_owned();
    };
    let lowest = curve.buckets.iter().map(|bucket| bucket.min).fold(f64::INFINITY, f64::min);
    let mut text = match curve.buckets.len() {
        1 => format!("{} at {}", figure(last.mean), span(last)),
        _ => format!(
            "From {} at {} to {} at {} (lowest {}{})",
            figure(first.mean),
            span(first),
            figure(last.mean),
            span(last),
            figure(lowest),
            if curve.width > 1 { " at a single step" } else { "" }
        ),
    };
    match (evaluations.first(), evaluations.last()) {
        (Some(before), Some(after)) if before.step < after.step => {
            text.push_str(&format!("; validation loss from {} to {}.", figure(before.loss), figure(after.loss)));
        }
        (Some(only), _) => text.push_str(&format!("; validation loss {} at step {}.", figure(only.loss), only.step)),
        _ => text.push('.'),
    }
    text
}

/// `step 7`, or `steps 1 to 64 (mean)`.
fn span(bucket: &StepBucket) -> String {
    if bucket.first == bucket.last {
        format!("step {}", bucket.first)
    } else {
        format!("steps {} to {} (mean)", bucket.first, bucket.last)
    }
}

fn drawing(curve: &StepCurve, evaluations: &[EvaluationPoint], factor: f64, log: bool) -> AnyView {
    let middle = |bucket: &StepBucket| f64::from(bucket.first).midpoint(f64::from(bucket.last));
    let line = |value: fn(&StepBucket) -> f64| {
        curve.buckets.iter().map(|bucket| (middle(bucket), value(bucket))).collect::<Vec<Point>>()
    };
    let (means, low, high) = (line(|bucket| bucket.mean), line(|bucket| bucket.min), line(|bucket| bucket.max));
    let validation = evaluations.iter().map(|point| (f64::from(point.step), point.loss)).collect::<Vec<Point>>();
    let last_step = curve.buckets.last().map_or(1, |bucket| bucket.last);
    let end = validation.iter().map(|point| point.0).fold(f64::from(last_step), f64::max);
    let x = Scale { from: 0.0, to: end, log: false };
    let y = Scale::around(low.iter().chain(&high).chain(&validation).map(|point| point.1), log);
    let range = (curve.width > 1).then(|| view! { <path class="band" d=band(&low, &high, &x, &y)></path> });
    let faint = path(&means, &x, &y);
    let bold = path(&smooth(&means, factor), &x, &y);
    let joined = path(&validation, &x, &y);
    let dots = validation
        .iter()
        .filter_map(|(across, up)| Some((place(LEFT, WIDE, x.at(*across)?), place(TOP, HIGH, 1.0 - y.at(*up)?))))
        .map(|(cx, cy)| view! { <circle class="validation" cx=cx cy=cy r="3.5"></circle> })
        .collect_view();
    let across = x
        .ticks(5)
        .into_iter()
        .filter(|tick| tick.fract() == 0.0)
        .filter_map(|tick| Some((place(LEFT, WIDE, x.at(tick)?), format!("{tick}"))))
        .map(|(at, label)| view! { <text x=at y="90%" text-anchor="middle">{label}</text> })
        .collect_view();
    let up = y
        .ticks(4)
        .into_iter()
        .filter_map(|tick| Some((place(TOP, HIGH, 1.0 - y.at(tick)?), tick_label(tick))))
        .map(|(at, label)| {
            view! {
                <line class="grid" x1="10%" x2="98%" y1=at.clone() y2=at.clone()></line>
                <text x="9%" y=at dy="0.32em" text-anchor="end">{label}</text>
            }
        })
        .collect_view();
    let label = format!("Line chart: {}", summary(curve, evaluations));
    let side = "0 0 1000 1000";
    view! {
        <svg class="plot" width="100%" height="260" role="img" aria-label=label>
            {up}
            {across}
            <text class="axis" x="54%" y="98%" text-anchor="middle">"optimizer step"</text>
            <svg x="10%" y="4%" width="88%" height="80%" viewBox=side preserveAspectRatio="none" overflow="visible">
                {range}
                <path class="raw" d=faint></path>
                <path class="smooth" d=bold></path>
                <path class="validation" d=joined></path>
            </svg>
            {dots}
        </svg>
    }
    .into_any()
}

fn place(start: f64, length: f64, fraction: f64) -> String {
    format!("{:.2}%", start + length * fraction)
}

fn tick_label(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() || text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn table(curve: &StepCurve, evaluations: &[EvaluationPoint]) -> AnyView {
    let rows_of = curve.coarser(MOST_ROWS);
    let steps = counted(curve.steps(), "step");
    let note = match rows_of.width {
        1 => format!("{steps}; each row: 1 step"),
        width => format!("{steps}; each row: {width} steps (the last has the rest)"),
    };
    let rows = rows_of
        .buckets
        .iter()
        .map(|bucket| {
            let steps = match bucket.first == bucket.last {
                true => bucket.first.to_string(),
                false => format!("{} to {}", bucket.first, bucket.last),
            };
            view! {
                <tr>
                    <th scope="row" class="number">{steps}</th>
                    <td class="number">{figure(bucket.mean)}</td>
                    <td class="number">{figure(bucket.min)}</td>
                    <td class="number">{figure(bucket.max)}</td>
                    <td class="number">{figure(bucket.learning_rate)}</td>
                    <td class="number">{figure(bucket.gradient_norm)}</td>
                    <td class="number">{figure(bucket.tokens_per_s)}</td>
                </tr>
            }
        })
        .collect_view();
    let validation = evaluations
        .iter()
        .map(|point| {
            view! {
                <tr>
                    <th scope="row" class="number">{point.step}</th>
                    <td class="number">{figure(point.loss)}</td>
                </tr>
            }
        })
        .collect_view();
    view! {
        <div class="scroll" tabindex="0" role="region" aria-label="Loss as a table">
            <table>
                <caption>{note}</caption>
                <thead>
                    <tr>
                        <th scope="col" class="number">"Steps"</th>
                        <th scope="col" class="number">"Train loss, mean"</th>
                        <th scope="col" class="number">"Min"</th>
                        <th scope="col" class="number">"Max"</th>
                        <th scope="col" class="number">"Learning rate"</th>
                        <th scope="col" class="number">"Gradient norm"</th>
                        <th scope="col" class="number">"Tokens/s"</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
            {(!evaluations.is_empty()).then(|| view! {
                <table>
                    <caption>"Validation loss"</caption>
                    <thead>
                        <tr>
                            <th scope="col" class="number">"Step"</th>
                            <th scope="col" class="number">"Nats per token"</th>
                        </tr>
                    </thead>
                    <tbody>{validation}</tbody>
                </table>
            })}
        </div>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;
    use spec::StepPoint;

    fn step(step: u32, loss: f64) -> StepPoint {
        StepPoint {
            step,
            steps: 9,
            epoch: 0.5,
            loss,
            learning_rate: 1e-3,
            gradient_norm: 1.0,
            supervised_tokens: 100,
            tokens: 100,
            tokens_per_s: 50.0,
            elapsed_s: 1.0,
            eta_s: 8.0,
        }
    }

    fn falling(steps: u32) -> StepCurve {
        StepCurve::of((1..=steps).map(|at| step(at, 8.0 / f64::from(at).sqrt())))
    }

    #[test]
    fn the_sentence_names_both_ends_the_lowest_and_the_validation() {
        let curve = StepCurve::of([step(1, 3.0), step(2, 1.5), step(3, 2.0)]);
        let evaluations = [EvaluationPoint { step: 0, loss: 3.1 }, EvaluationPoint { step: 3, loss: 2.2 }];
        assert_eq!(
            summary(&curve, &evaluations),
            "From 3.000 at step 1 to 2.000 at step 3 (lowest 1.500); validation loss from 3.100 to 2.200."
        );
        assert_eq!(summary(&StepCurve::default(), &[]), "No step has been made yet.");
        assert_eq!(summary(&StepCurve::of([step(1, 3.0)]), &[]), "3.000 at step 1.");
    }

    #[test]
    fn the_sentence_of_a_long_run_tells_means_and_says_so() {
        let text = summary(&falling(20_000), &[]);
        assert!(
            text.starts_with("From 1.825 at steps 1 to 64 (mean) to 0.057 at steps 19969 to 20000 (mean)"),
            "{text}"
        );
        assert!(text.ends_with("(lowest 0.057 at a single step)."), "{text}");
    }

    #[cfg(feature = "ssr")]
    #[test]
    fn the_chart_is_drawn_on_the_server_with_its_number_of_points_and_a_table() {
        let draw = |steps: u32| {
            Owner::new().with(|| {
                let curve = falling(steps);
                view! { <LossChart curve=Signal::derive(move || curve.clone()) evaluations=Signal::derive(Vec::new)/> }
                    .to_html()
            })
        };
        let html = draw(500);
        assert!(html.contains("data-chart=\"loss\"") && html.contains("data-points=\"500\""), "{html}");
        assert!(html.contains("class=\"smooth\"") && html.contains("nats per supervised token"), "{html}");
        assert!(!html.contains("style=") && !html.contains("NaN") && !html.contains("class=\"band\""), "{html}");
        for (steps, width, rows) in [(20_000, 64, 512), (200_000, 512, 8_192)] {
            let html = draw(steps);
            assert!(html.contains(&format!("data-points=\"{steps}\"")) && html.contains("class=\"band\""));
            assert!(html.contains(&format!("mean of {width} steps")), "{html}");
            assert!(html.contains(&format!("each row: {rows} steps")), "{html}");
        }
    }
}
