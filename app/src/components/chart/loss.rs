//! The loss of a training run: raw points faint, smoothed line on top, validation points; table and sentence beside.

use leptos::prelude::*;

use super::geometry::{MOST_DRAWN, Point, Scale, path, smooth, thin};
use crate::components::format::{counted, figure};
use spec::{EvaluationPoint, StepPoint};

/// Rows of the table alternative.
const MOST_ROWS: usize = 40;
/// Where the plot lies in the drawing, in percent of its width and height.
const LEFT: f64 = 10.0;
const WIDE: f64 = 88.0;
const TOP: f64 = 4.0;
const HIGH: f64 = 80.0;

#[component]
pub fn LossChart(
    #[prop(into)] steps: Signal<Vec<StepPoint>>,
    #[prop(into)] evaluations: Signal<Vec<EvaluationPoint>>,
    /// Sliders and switches; a frozen report has none.
    #[prop(optional)]
    controls: bool,
) -> impl IntoView {
    let smoothing = RwSignal::new(0.6_f64);
    let log = RwSignal::new(false);
    let count = move || steps.with(Vec::len);
    view! {
        <figure class="chart" data-chart="loss" data-points=count>
            <figcaption>
                <strong>"Loss"</strong>
                " in nats per supervised token. "
                <span>{move || steps.with(|steps| evaluations.with(|evaluations| summary(steps, evaluations)))}</span>
            </figcaption>
            {move || steps.with(|steps| {
                evaluations.with(|evaluations| drawing(steps, evaluations, smoothing.get(), log.get()))
            })}
            <p class="legend">
                <span class="key raw">"each step"</span>
                <span class="key smooth">"smoothed"</span>
                <span class="key validation">"validation pairs"</span>
            </p>
            {controls.then(|| view! {
                <div class="controls">
                    <label>
                        "Smoothing " <output>{move || match smoothing.get() {
                            0.0 => "raw".to_owned(),
                            factor => format!("{factor:.2}"),
                        }}</output>
                        <input type="range" min="0" max="0.98" step="0.02" value="0.6"
                            on:input=move |event| if let Ok(factor) = event_target_value(&event).parse() { smoothing.set(factor) }/>
                    </label>
                    <label class="toggle">
                        <input type="checkbox" on:change=move |event| log.set(event_target_checked(&event))/>
                        " Logarithmic"
                    </label>
                </div>
            })}
            <details>
                <summary>"The same as a table"</summary>
                {move || steps.with(|steps| evaluations.with(|evaluations| table(steps, evaluations)))}
            </details>
        </figure>
    }
    .into_any()
}

/// What the chart shows, in one sentence.
fn summary(steps: &[StepPoint], evaluations: &[EvaluationPoint]) -> String {
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
        return "No step has been made yet.".to_owned();
    };
    let lowest = steps.iter().map(|step| step.loss).fold(f64::INFINITY, f64::min);
    let mut text = if steps.len() == 1 {
        format!("{} after the first step", figure(last.loss))
    } else {
        format!(
            "From {} at step {} to {} at step {} (lowest {})",
            figure(first.loss),
            first.step,
            figure(last.loss),
            last.step,
            figure(lowest)
        )
    };
    match (evaluations.first(), evaluations.last()) {
        (Some(before), Some(after)) if before.step < after.step => {
            text.push_str(&format!("; validation from {} to {}.", figure(before.loss), figure(after.loss)));
        }
        (Some(only), _) => text.push_str(&format!("; validation {} at step {}.", figure(only.loss), only.step)),
        _ => text.push('.'),
    }
    text
}

fn drawing(steps: &[StepPoint], evaluations: &[EvaluationPoint], factor: f64, log: bool) -> AnyView {
    let raw = steps.iter().map(|step| (f64::from(step.step), step.loss)).collect::<Vec<Point>>();
    let validation = evaluations.iter().map(|point| (f64::from(point.step), point.loss)).collect::<Vec<Point>>();
    let last = raw.iter().chain(&validation).map(|point| point.0).fold(1.0, f64::max);
    let x = Scale { from: 0.0, to: last, log: false };
    let y = Scale::around(raw.iter().chain(&validation).map(|point| point.1), log);
    let faint = path(&thin(&raw, MOST_DRAWN), &x, &y);
    let bold = path(&thin(&smooth(&raw, factor), MOST_DRAWN), &x, &y);
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
    let label = format!("Line chart: {}", summary(steps, evaluations));
    let side = "0 0 1000 1000";
    view! {
        <svg class="plot" width="100%" height="260" role="img" aria-label=label>
            {up}
            {across}
            <text class="axis" x="54%" y="98%" text-anchor="middle">"optimizer step"</text>
            <svg x="10%" y="4%" width="88%" height="80%" viewBox=side preserveAspectRatio="none" overflow="visible">
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

fn table(steps: &[StepPoint], evaluations: &[EvaluationPoint]) -> AnyView {
    let every = steps.len().div_ceil(MOST_ROWS).max(1);
    let note = match every {
        1 => counted(steps.len() as u64, "step"),
        _ => format!("Every {every}th of {}", counted(steps.len() as u64, "step")),
    };
    let shown = steps.iter().enumerate().filter(|(at, _)| at % every == 0 || at + 1 == steps.len());
    let rows = shown
        .map(|(_, step)| {
            view! {
                <tr>
                    <th scope="row" class="number">{step.step}</th>
                    <td class="number">{figure(step.loss)}</td>
                    <td class="number">{figure(step.learning_rate)}</td>
                    <td class="number">{figure(step.gradient_norm)}</td>
                </tr>
            }
        })
        .collect_view();
    let validation = evaluations
        .iter()
        .map(|point| {
            view! { <tr><th scope="row" class="number">{point.step}</th><td class="number">{figure(point.loss)}</td></tr> }
        })
        .collect_view();
    view! {
        <div class="scroll" tabindex="0" role="region" aria-label="Loss as a table">
            <table>
                <caption>{note}</caption>
                <thead>
                    <tr>
                        <th scope="col" class="number">"Step"</th>
                        <th scope="col" class="number">"Loss, nats per token"</th>
                        <th scope="col" class="number">"Learning rate"</th>
                        <th scope="col" class="number">"Gradient norm"</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
            {(!evaluations.is_empty()).then(|| view! {
                <table>
                    <caption>"Validation loss"</caption>
                    <thead>
                        <tr><th scope="col" class="number">"Step"</th><th scope="col" class="number">"Nats per token"</th></tr>
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

    fn step(step: u32, loss: f64) -> StepPoint {
        StepPoint {
            step,
            steps: 9,
            epoch: 0.5,
            loss,
            learning_rate: 1e-3,
            gradient_norm: 1.0,
            supervised_tokens: 100,
            tokens_per_s: 50.0,
            elapsed_s: 1.0,
            eta_s: 8.0,
        }
    }

    #[test]
    fn the_sentence_names_both_ends_the_lowest_and_the_validation() {
        let steps = [step(1, 3.0), step(2, 1.5), step(3, 2.0)];
        let evaluations = [EvaluationPoint { step: 0, loss: 3.1 }, EvaluationPoint { step: 3, loss: 2.2 }];
        assert_eq!(
            summary(&steps, &evaluations),
            "From 3.000 at step 1 to 2.000 at step 3 (lowest 1.500); validation from 3.100 to 2.200."
        );
        assert_eq!(summary(&[], &[]), "No step has been made yet.");
    }

    #[cfg(feature = "ssr")]
    #[test]
    fn the_chart_is_drawn_on_the_server_with_its_number_of_points_and_a_table() {
        let owner = Owner::new();
        let html = owner.with(|| {
            let steps = (1..=500).map(|at| step(at, 3.0 / f64::from(at))).collect::<Vec<_>>();
            view! { <LossChart steps=Signal::derive(move || steps.clone()) evaluations=Signal::derive(Vec::new)/> }
                .to_html()
        });
        assert!(html.contains("data-chart=\"loss\"") && html.contains("data-points=\"500\""), "{html}");
        assert!(html.contains("class=\"smooth\"") && html.contains("nats per supervised token"), "{html}");
        assert!(!html.contains("style=") && !html.contains("NaN"), "{html}");
    }
}
