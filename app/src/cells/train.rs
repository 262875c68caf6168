//! The train cell: the recipe, and a run as it goes.

use leptos::prelude::*;

use crate::book::CellState;
use crate::components::chart::LossChart;
use crate::components::facts::{fact, facts, hash, noted};
use crate::components::format::{bytes, counted, figure, percent, seconds, whole};
use spec::{
    CellOutput, LossOn, MaskedToken, SampleText, StepPoint, TargetIntegrity, TrainConfig, TrainOutput, Truncation,
};

pub fn brief(config: &TrainConfig) -> String {
    let length = config.max_steps.map_or_else(
        || counted(u64::from(config.epochs), "epoch"),
        |steps| format!("max {}", counted(u64::from(steps), "step")),
    );
    let faults = match (config.loss_on, config.truncation) {
        (LossOn::All, Truncation::Right) => ", loss on the full sequence, truncated right",
        (LossOn::All, _) => ", loss on the full sequence",
        (_, Truncation::Right) => ", truncated right",
        _ => "",
    };
    format!(
        "{length}, LoRA rank {}, learning rate {}, {} per step{faults}",
        config.rank,
        config.learning_rate,
        counted(u64::from(config.batch_size) * u64::from(config.gradient_accumulation_steps), "pair")
    )
}

/// What a run shows, from its first step on.
pub fn live(cell: CellState) -> AnyView {
    let curve = cell.part(|run| run.curve.clone());
    let evaluations = cell.part(|run| run.evaluations.clone());
    let last = cell.part(|run| (run.last_step, run.state.is_over()));
    let integrity = cell.part(|run| run.integrity.clone());
    let checkpoints = cell.part(|run| run.checkpoints.clone());
    let samples = cell.part(|run| run.samples.clone());
    let output = cell.part(|run| run.output.clone());
    let any_step = Memo::new(move |_| curve.with(|curve| curve.as_ref().is_some_and(|curve| !curve.is_empty())));
    let curve = Signal::derive(move || curve.get().unwrap_or_default());
    let evaluations = Signal::derive(move || evaluations.get().unwrap_or_default());
    view! {
        // A finished run has its own metrics below.
        {move || match (last.get(), output.get().flatten()) {
            (Some((Some(step), over)), None) => metrics(step, over).into_any(),
            _ => ().into_any(),
        }}
        {move || any_step.get().then(|| view! { <LossChart curve evaluations controls=true/> })}
        {move || match output.get().flatten() {
            Some(CellOutput::Train(output)) => result(output),
            _ => ().into_any(),
        }}
        {move || integrity.get().flatten().map(integrity_block)}
        {move || samples.get().filter(|samples| !samples.is_empty()).map(|samples| sample_texts(&samples))}
        {move || checkpoints.get().filter(|marks| !marks.is_empty()).map(|marks| {
            let list = marks.iter().map(|mark| view! { <li>{format!("step {}", mark.step)}</li> }).collect_view();
            view! {
                <details>
                    <summary>{counted(marks.len() as u64, "checkpoint")}</summary>
                    <ul class="inline">{list}</ul>
                </details>
            }
        })}
    }
    .into_any()
}

fn metrics(step: StepPoint, over: bool) -> AnyView {
    let share = f64::from(step.step) / f64::from(step.steps.max(1));
    let eta = if over { "–".to_owned() } else { seconds(step.eta_s) };
    facts(vec![
        noted("Step", format!("{} of {}", step.step, step.steps), "optimizer steps"),
        fact("Progress", percent(share)),
        fact("Epoch", format!("{:.2}", step.epoch)),
        noted("Train loss", figure(step.loss), "nats per supervised token"),
        fact("Elapsed", seconds(step.elapsed_s)),
        noted("ETA", eta, "at the speed since the start or resume"),
        noted("Speed", format!("{} tokens/s", figure(step.tokens_per_s)), "without padding"),
        fact("Learning rate", figure(step.learning_rate)),
        noted("Gradient norm", figure(step.gradient_norm), "before clipping"),
    ])
}

/// The metrics of a finished run, for the report too.
pub fn result(output: TrainOutput) -> AnyView {
    let validation = match (output.validation_loss_before, output.validation_loss) {
        (Some(before), Some(after)) => format!("{} → {}", figure(before), figure(after)),
        (None, Some(after)) => figure(after),
        _ => "not measured".to_owned(),
    };
    view! {
        {facts(vec![
            noted("Validation loss", validation, "before → after, nats per supervised token"),
            noted("Train loss", figure(output.loss), "of the last step"),
            fact("Trainable parameters", whole(output.trainable)),
            noted("Trainable %", format!("{:.4} %", output.trainable_percent), "of base model and adapter"),
            fact("Steps", whole(u64::from(output.steps))),
            fact("Tokens", whole(output.tokens)),
            fact("Time", seconds(output.seconds)),
            fact("Speed", format!("{} tokens/s", figure(output.tokens_per_s))),
            fact("Peak memory", bytes(output.peak_memory_bytes)),
        ])}
        <p class="note">
            "sha256 of the adapter " {hash(output.adapter_sha256)} ", of the template " {hash(output.template_sha256)}
        </p>
    }
    .into_any()
}

/// Nothing was shortened and nothing left out.
fn is_whole(of: &TargetIntegrity) -> bool {
    of.shortened + of.dropped + of.targets_cut + of.targets_lost == 0
}

/// What the max sequence length did to the pairs, worst first.
pub fn integrity_sentence(of: &TargetIntegrity) -> String {
    let mut harm = Vec::new();
    let mut add = |count: u64, what: String| {
        if count > 0 {
            harm.push(what);
        }
    };
    add(of.targets_lost, format!("{} lost the whole target", counted(of.targets_lost, "pair")));
    add(of.targets_cut, format!("{} lost a part of the target", counted(of.targets_cut, "pair")));
    add(of.dropped, format!("{} left out, since the target alone does not fit", counted(of.dropped, "pair")));
    add(of.shortened, format!("{} with a shortened response", counted(of.shortened, "pair")));
    let pairs = counted(of.pairs, "pair");
    let mut text = match harm.is_empty() {
        true => format!("All {pairs} fit without truncation."),
        false => format!("Of {pairs}: {}.", harm.join("; ")),
    };
    if !harm.is_empty() && of.targets_cut + of.targets_lost == 0 {
        text.push_str(" Every target that is trained on is complete.");
    }
    text.push_str(&format!(" {} of {} are supervised.", whole(of.supervised_tokens), counted(of.tokens, "token")));
    text
}

fn integrity_block(integrity: TargetIntegrity) -> AnyView {
    let sentence = integrity_sentence(&integrity);
    let harmed = !is_whole(&integrity);
    let examples =
        integrity.examples.into_iter().map(|tokens| view! { <p class="tokens">{masked(tokens)}</p> }).collect_view();
    view! {
        <section class="integrity" class:harmed=harmed aria-label="Truncation">
            <p><strong>"Truncation. "</strong>{sentence}</p>
            <details>
                <summary>"Training sequences: supervised tokens are underlined"</summary>
                {examples}
            </details>
        </section>
    }
    .into_any()
}

fn masked(tokens: Vec<MaskedToken>) -> AnyView {
    // Neighbours of one kind share an element: pages stay small.
    let mut runs = Vec::<(bool, String)>::new();
    for token in tokens {
        match runs.last_mut() {
            Some((supervised, text)) if *supervised == token.supervised => text.push_str(&token.text),
            _ => runs.push((token.supervised, token.text)),
        }
    }
    runs.into_iter()
        .map(|(supervised, text)| match supervised {
            true => view! { <span class="supervised">{text}</span> }.into_any(),
            false => view! { <span>{text}</span> }.into_any(),
        })
        .collect_view()
        .into_any()
}

fn sample_texts(samples: &[SampleText]) -> AnyView {
    let mut indices = samples.iter().map(|sample| sample.index).collect::<Vec<_>>();
    indices.sort_unstable();
    indices.dedup();
    let blocks = indices
        .into_iter()
        .filter_map(|index| {
            let of_this = samples.iter().filter(|sample| sample.index == index).collect::<Vec<_>>();
            let (first, newest) = (of_this.first()?, of_this.last()?);
            let steps = counted(of_this.len() as u64, "checkpoint");
            let rows = of_this
                .iter()
                .map(|sample| {
                    view! {
                        <tr>
                            <th scope="row" class="number">{sample.step}</th>
                            <td class="text">{sample.generated.clone()}</td>
                        </tr>
                    }
                })
                .collect_view();
            Some(view! {
                <dl class="texts">
                    <div>
                        <dt>{format!("Generated at step {}", newest.step)}</dt>
                        <dd class="text">{newest.generated.clone()}</dd>
                    </div>
                    <div><dt>"Human reference"</dt><dd class="text">{first.reference.clone()}</dd></div>
                </dl>
                <details>
                    <summary>{format!("The response, and the generated instruction at {steps}")}</summary>
                    <p class="text">{first.response.clone()}</p>
                    <table>
                        <thead>
                            <tr><th scope="col" class="number">"Step"</th><th scope="col">"Generated"</th></tr>
                        </thead>
                        <tbody>{rows}</tbody>
                    </table>
                </details>
            })
        })
        .collect_view();
    view! {
        <section class="sample-block" aria-label="Samples">
            <h3>"Sample generations on validation pairs"</h3>
            {blocks}
        </section>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_on_truncation_counts_what_was_shortened_and_left_out() {
        let whole = TargetIntegrity { pairs: 138, tokens: 9000, supervised_tokens: 2000, ..Default::default() };
        assert!(is_whole(&whole) && integrity_sentence(&whole).starts_with("All 138 pairs fit without truncation. "));
        let short = TargetIntegrity { shortened: 133, dropped: 5, ..whole.clone() };
        assert!(!is_whole(&short));
        assert!(
            integrity_sentence(&short).starts_with(
                "Of 138 pairs: 5 pairs left out, since the target alone does not fit; 133 pairs with a shortened \
                 response. Every target that is trained on is complete."
            ),
            "{}",
            integrity_sentence(&short)
        );
        let harmed = TargetIntegrity { targets_cut: 1, targets_lost: 2, ..whole };
        let text = integrity_sentence(&harmed);
        assert!(
            text.starts_with("Of 138 pairs: 2 pairs lost the whole target; 1 pair lost a part of the target."),
            "{text}"
        );
        assert!(!text.contains("complete") && !is_whole(&harmed), "{text}");
    }

    #[cfg(feature = "ssr")]
    #[test]
    fn shortened_responses_are_not_shown_as_good() {
        let html = integrity_block(TargetIntegrity { pairs: 2, shortened: 1, ..Default::default() }).to_html();
        assert!(html.contains("harmed"), "{html}");
        let html = integrity_block(TargetIntegrity { pairs: 2, ..Default::default() }).to_html();
        assert!(!html.contains("harmed"), "{html}");
    }

    #[cfg(feature = "ssr")]
    #[test]
    fn neighbouring_tokens_share_an_element_and_stay_texts() {
        let token = |text: &str, supervised| MaskedToken { text: text.to_owned(), supervised };
        let html =
            masked(vec![token("<b>", false), token("x", false), token("what", true), token("?", true)]).to_html();
        assert!(html.contains("what?") && html.contains("&lt;b&gt;x"), "{html}");
    }
}
