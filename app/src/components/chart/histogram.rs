//! Lengths as bars, with the same figures in a table.

use leptos::prelude::*;

use crate::components::format::{figure, whole};
use spec::Bin;

/// `unit` is what the bins measure, such as "words".
pub fn histogram(title: &'static str, unit: &'static str, bins: &[Bin]) -> AnyView {
    let most = bins.iter().map(|bin| bin.count).max().unwrap_or(0).max(1);
    let total = bins.iter().map(|bin| bin.count).sum::<u64>();
    let each = 100.0 / bins.len().max(1) as f64;
    let bars = bins
        .iter()
        .enumerate()
        .map(|(at, bin)| {
            let high = 100.0 * bin.count as f64 / most as f64;
            let (x, width) = (format!("{:.2}%", each * at as f64), format!("{:.2}%", (each * 0.86).max(0.2)));
            let (y, height) = (format!("{:.2}%", 100.0 - high), format!("{high:.2}%"));
            view! { <rect x=x y=y width=width height=height></rect> }
        })
        .collect_view();
    let from = bins.first().map(|bin| figure_edge(bin.from)).unwrap_or_default();
    let to = bins.last().map(|bin| figure_edge(bin.to)).unwrap_or_default();
    let peak = bins.iter().max_by_key(|bin| bin.count).map_or_else(String::new, |bin| {
        format!(
            "; the most frequent length is {1} to {2} {unit} ({0})",
            whole(bin.count),
            figure_edge(bin.from),
            figure_edge(bin.to)
        )
    });
    let sentence = format!("{} texts{peak}.", whole(total));
    let label = format!("Histogram: {title}. {sentence}");
    let rows = bins
        .iter()
        .map(|bin| {
            view! {
                <tr>
                    <th scope="row">{format!("{} to {}", figure_edge(bin.from), figure_edge(bin.to))}</th>
                    <td class="number">{whole(bin.count)}</td>
                </tr>
            }
        })
        .collect_view();
    view! {
        <figure class="chart histogram">
            <figcaption><strong>{title}</strong> " in " {unit} ". " {sentence}</figcaption>
            <svg class="plot" width="100%" height="90" role="img" aria-label=label>{bars}</svg>
            <p class="edges" aria-hidden="true"><span>{from}</span><span>{to}</span></p>
            <details>
                <summary>"Show as table"</summary>
                <table>
                    <thead><tr><th scope="col">{unit}</th><th scope="col" class="number">"Count"</th></tr></thead>
                    <tbody>{rows}</tbody>
                </table>
            </details>
        </figure>
    }
    .into_any()
}

fn figure_edge(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 { format!("{value:.0}") } else { figure(value) }
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_without_bins_is_still_a_figure() {
        assert!(histogram("Instructions", "words", &[]).to_html().contains("0 texts"));
    }

    #[test]
    fn the_highest_bar_fills_the_height() {
        let bins = vec![Bin { from: 0.0, to: 10.0, count: 5 }, Bin { from: 10.0, to: 20.0, count: 10 }];
        let html = histogram("Instructions", "words", &bins).to_html();
        assert!(html.contains("height=\"100.00%\"") && html.contains("height=\"50.00%\""), "{html}");
    }
}
