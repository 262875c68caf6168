//! The train cell: the recipe, and a run as it goes.

use leptos::prelude::*;

use super::form::{Choices, Form, Input, from_spelling, number, optional, put, show, spelling};
use crate::book::CellState;
use crate::components::chart::LossChart;
use crate::components::facts::{fact, facts, hash, noted};
use crate::components::format::{bytes, counted, figure, percent, seconds, whole};
use spec::{
    CellOutput, LossOn, MaskedToken, Projection, SampleText, StepPoint, TargetIntegrity, TrainConfig, TrainOutput,
    Truncation,
};

const SCHEDULES: Choices = &[("constant", "constant"), ("linear", "linear to zero"), ("cosine", "cosine to zero")];
const LOSS_ON: Choices = &[("target", "the instruction and its end marker"), ("all", "every token (as in 2024)")];
const TRUNCATIONS: Choices =
    &[("response", "shorten the response, keep the target whole"), ("right", "cut on the right (as in 2024)")];

pub fn form(form: Form<TrainConfig>) -> AnyView {
    view! {
        {form.field(("Epochs", "epochs", "How often every pair is seen."), Input::Number,
            |c| c.epochs.to_string(), |c, text| put(&mut c.epochs, number(text, 1..=1000)))}
        {form.field(("Most steps", "max_steps", "Stop after so many optimizer steps. Empty: as many as the epochs have."), Input::Number,
            |c| show(&c.max_steps), |c, text| put(&mut c.max_steps, optional(text, 1..=10_000_000)))}
        {form.field(("Learning rate", "learning_rate", "Of AdamW, at the top of its schedule."), Input::Number,
            |c| c.learning_rate.to_string(), |c, text| put(&mut c.learning_rate, number(text, 0.0..=1.0)))}
        {form.field(("Schedule", "schedule", "How the learning rate goes after the warm-up."), Input::Choice(SCHEDULES),
            |c| spelling(&c.schedule), |c, text| put(&mut c.schedule, from_spelling(text)))}
        {form.field(("Warm-up steps", "warmup_steps", "Steps in which the learning rate rises from zero."), Input::Number,
            |c| c.warmup_steps.to_string(), |c, text| put(&mut c.warmup_steps, number(text, 0..=1_000_000)))}
        {form.field(("Batch size", "batch_size", "Pairs in one forward pass; more need more memory."), Input::Number,
            |c| c.batch_size.to_string(), |c, text| put(&mut c.batch_size, number(text, 1..=1024)))}
        {form.field(("Accumulation", "accumulation", "Forward passes in one optimizer step, weighted by their supervised tokens."), Input::Number,
            |c| c.accumulation.to_string(), |c, text| put(&mut c.accumulation, number(text, 1..=1024)))}
        {form.field(("Longest sequence", "max_length", "In tokens, response, template and instruction together."), Input::Number,
            |c| c.max_length.to_string(), |c, text| put(&mut c.max_length, number(text, 8..=131_072)))}
        {form.field(("Rank", "rank", "Of the adapter's factors; more can hold more."), Input::Number,
            |c| c.rank.to_string(), |c, text| put(&mut c.rank, number(text, 1..=1024)))}
        {form.field(("Alpha", "alpha", "The adapter counts alpha / rank times."), Input::Number,
            |c| c.alpha.to_string(), |c, text| put(&mut c.alpha, number(text, 0.0..=100_000.0)))}
        {form.field(("Dropout", "dropout", "Share of the adapter's inputs that a step leaves out."), Input::Number,
            |c| c.dropout.to_string(), |c, text| put(&mut c.dropout, number(text, 0.0..=0.9)))}
        {projections(form)}
        <details class="more wide">
            <summary>"More settings: loss, template, checkpoints"</summary>
            <div class="fields">{more(form)}</div>
        </details>
    }
    .into_any()
}

fn more(form: Form<TrainConfig>) -> AnyView {
    view! {
        {form.field(("Loss on", "loss_on", "The tokens that the model is taught to predict."), Input::Choice(LOSS_ON),
            |c| spelling(&c.loss_on), |c, text| put(&mut c.loss_on, from_spelling(text)))}
        {form.field(("Too long", "truncation", "What gives way where a pair does not fit."), Input::Choice(TRUNCATIONS),
            |c| spelling(&c.truncation), |c, text| put(&mut c.truncation, from_spelling(text)))}
        {form.field(("Weight decay", "weight_decay", "Of AdamW."), Input::Number,
            |c| c.weight_decay.to_string(), |c, text| put(&mut c.weight_decay, number(text, 0.0..=1.0)))}
        {form.field(("Largest gradient norm", "clip_norm", "Longer gradients are shortened to it. 0: never."), Input::Number,
            |c| c.clip_norm.to_string(), |c, text| put(&mut c.clip_norm, number(text, 0.0..=1_000_000.0)))}
        {form.field(("Seed", "seed", "Of the order, the dropout and the first factors."), Input::Number,
            |c| c.seed.to_string(), |c, text| put(&mut c.seed, number(text, 0..=u64::MAX)))}
        {form.field(("Validation every", "evaluate_every", "Steps. Empty: before the first step and after each epoch only."), Input::Number,
            |c| show(&c.evaluate_every), |c, text| put(&mut c.evaluate_every, optional(text, 1..=1_000_000)))}
        {form.field(("Checkpoint every", "checkpoint_every", "Steps. Empty: after each epoch only."), Input::Number,
            |c| show(&c.checkpoint_every), |c, text| put(&mut c.checkpoint_every, optional(text, 1..=1_000_000)))}
        {form.field(("Samples", "samples", "Validation pairs whose instruction is written at each checkpoint."), Input::Number,
            |c| c.samples.to_string(), |c, text| put(&mut c.samples, number(text, 0..=100)))}
        {form.field(("Recompute layers", "recompute_layers", "Compute each layer again on the way back: the same numbers in a quarter of the memory beside the weights, more slowly."), Input::Toggle,
            |c| c.recompute_layers.to_string(), |c, text| { c.recompute_layers = text == "true"; Ok(()) })}
        {form.field(("Prompt", "template.prompt", "What the model reads; holds {response} once."), Input::Long,
            |c| c.template.prompt.clone(), |c, text| holding(&mut c.template.prompt, text, "{response}"))}
        {form.field(("Target", "template.target", "What it is to write; holds {instruction} once."), Input::Long,
            |c| c.template.target.clone(), |c, text| holding(&mut c.template.target, text, "{instruction}"))}
        {form.field(("End marker", "template.end", "eos for the tokenizer's own, none, or a text."), Input::Line,
            |c| c.template.end.clone(), |c, text| { c.template.end = text.to_owned(); Ok(()) })}
        {form.field(("Prompt for generation", "template.generation_prompt", "Where it differs from training, as in 2024. Empty: the same."), Input::Long,
            |c| c.template.generation_prompt.clone().unwrap_or_default(), |c, text| {
                c.template.generation_prompt = (!text.is_empty()).then(|| text.to_owned());
                Ok(())
            })}
    }
    .into_any()
}

fn holding(slot: &mut String, text: &str, place: &str) -> Result<(), String> {
    if text.matches(place).count() != 1 {
        return Err(format!("It must hold {place} exactly once."));
    }
    slot.clear();
    slot.push_str(text);
    Ok(())
}

fn projections(form: Form<TrainConfig>) -> AnyView {
    let boxes = Projection::ALL
        .into_iter()
        .map(|projection| {
            let chosen = Memo::new(move |_| {
                form.cell.config.with(|config| match config {
                    spec::CellConfig::Train(config) => config.targets.contains(&projection),
                    _ => false,
                })
            });
            let toggle = move |event| {
                let on = event_target_checked(&event);
                form.edit(|config| {
                    config.targets = Projection::ALL
                        .into_iter()
                        .filter(|other| if *other == projection { on } else { config.targets.contains(other) })
                        .collect();
                });
            };
            view! {
                <label class="toggle">
                    <input type="checkbox" checked=chosen.get_untracked() prop:checked=move || chosen.get() on:change=toggle/>
                    " " <code>{projection.as_str()}</code>
                </label>
            }
        })
        .collect_view();
    view! {
        <fieldset class="field wide">
            <legend>"Projections with an adapter"</legend>
            <div class="boxes">{boxes}</div>
            <small>"At least one; q_proj and v_proj are the recipe's."</small>
        </fieldset>
    }
    .into_any()
}

pub fn brief(config: &TrainConfig) -> String {
    let length = config.max_steps.map_or_else(
        || counted(u64::from(config.epochs), "epoch"),
        |steps| format!("at most {}", counted(u64::from(steps), "step")),
    );
    let faults = match (config.loss_on, config.truncation) {
        (LossOn::All, Truncation::Right) => ", loss on all tokens, cut on the right",
        (LossOn::All, _) => ", loss on all tokens",
        (_, Truncation::Right) => ", cut on the right",
        _ => "",
    };
    format!(
        "{length}, rank {}, learning rate {}, {} pairs a step{faults}",
        config.rank,
        config.learning_rate,
        config.batch_size * config.accumulation
    )
}

/// All that a run shows, from its first step on.
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
        // A finished run has its own figures below.
        {move || match (last.get(), output.get().flatten()) {
            (Some((Some(step), over)), None) => figures(step, over).into_any(),
            _ => ().into_any(),
        }}
        {move || any_step.get().then(|| view! { <LossChart curve evaluations controls=true/> })}
        {move || match output.get().flatten() {
            Some(CellOutput::Train(output)) => result(output).into_any(),
            _ => ().into_any(),
        }}
        {move || integrity.get().flatten().map(integrity_block)}
        {move || samples.get().filter(|samples| !samples.is_empty()).map(|samples| sample_texts(&samples))}
        {move || checkpoints.get().filter(|marks| !marks.is_empty()).map(|marks| {
            let list = marks.iter().map(|mark| view! { <li>{format!("step {}", mark.step)}</li> }).collect_view();
            view! { <details><summary>{counted(marks.len() as u64, "checkpoint")}</summary><ul class="inline">{list}</ul></details> }
        })}
    }
    .into_any()
}

fn figures(step: StepPoint, over: bool) -> AnyView {
    let share = f64::from(step.step) / f64::from(step.steps.max(1));
    let left = if over { "–".to_owned() } else { seconds(step.eta_s) };
    facts(vec![
        noted("Step", format!("{} of {}", step.step, step.steps), "optimizer steps"),
        fact("Done", percent(share)),
        fact("Epoch", format!("{:.2}", step.epoch)),
        noted("Loss", figure(step.loss), "nats per supervised token"),
        fact("Elapsed", seconds(step.elapsed_s)),
        noted("Left", left, "by this session's speed"),
        noted("Speed", figure(step.tokens_per_s), "tokens a second, padding not counted"),
        fact("Learning rate", figure(step.learning_rate)),
        noted("Gradient norm", figure(step.gradient_norm), "before clipping"),
    ])
}

/// The figures of a finished run, for the report too.
pub fn result(output: TrainOutput) -> AnyView {
    let validation = match (output.validation_loss_before, output.validation_loss) {
        (Some(before), Some(after)) => format!("{} → {}", figure(before), figure(after)),
        (None, Some(after)) => figure(after),
        _ => "not measured".to_owned(),
    };
    view! {
        {facts(vec![
            noted("Validation loss", validation, "before → after, nats per supervised token"),
            noted("Training loss", figure(output.loss), "of the last step"),
            noted("Trainable", whole(output.trainable), "parameters"),
            noted("Share", format!("{:.4} %", output.trainable_percent), "of base and adapter"),
            fact("Steps", whole(u64::from(output.steps))),
            fact("Tokens", whole(output.tokens)),
            fact("Time", seconds(output.seconds)),
            noted("Speed", figure(output.tokens_per_s), "tokens a second"),
            fact("Most memory", bytes(output.peak_memory_bytes)),
        ])}
        <p class="note">"sha256 of the adapter " {hash(output.adapter_sha256)} ", of the template " {hash(output.template_sha256)}</p>
    }
    .into_any()
}

/// What encoding did to the targets, in one sentence.
pub fn integrity_sentence(of: &TargetIntegrity) -> String {
    let kept = if of.targets_cut == 0 && of.targets_lost == 0 {
        "Every target is whole".to_owned()
    } else {
        format!(
            "{} lost a part of their target, {} all of it",
            counted(of.targets_cut, "pair"),
            counted(of.targets_lost, "pair")
        )
    };
    format!(
        "{kept}: {} encoded, {} with a shortened response, {} left out since the target alone does not fit. {} of {} are supervised.",
        counted(of.pairs, "pair"),
        whole(of.shortened),
        whole(of.dropped),
        whole(of.supervised_tokens),
        counted(of.tokens, "token")
    )
}

fn integrity_block(integrity: TargetIntegrity) -> AnyView {
    let sentence = integrity_sentence(&integrity);
    let harmed = integrity.targets_cut + integrity.targets_lost > 0;
    let examples =
        integrity.examples.into_iter().map(|tokens| view! { <p class="tokens">{masked(tokens)}</p> }).collect_view();
    view! {
        <section class="integrity" class:harmed=harmed aria-label="Target integrity">
            <p><strong>"Targets. "</strong>{sentence}</p>
            <details>
                <summary>"What the model is taught: supervised tokens are underlined"</summary>
                {examples}
            </details>
        </section>
    }
    .into_any()
}

fn masked(tokens: Vec<MaskedToken>) -> AnyView {
    // Neighbours of one kind stand in one element: pages stay small.
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
                    view! { <tr><th scope="row" class="number">{sample.step}</th><td class="text">{sample.generated.clone()}</td></tr> }
                })
                .collect_view();
            Some(view! {
                <dl class="texts">
                    <div><dt>{format!("Written by the model at step {}", newest.step)}</dt><dd class="text">{newest.generated.clone()}</dd></div>
                    <div><dt>"Written by a person"</dt><dd class="text">{first.reference.clone()}</dd></div>
                </dl>
                <details>
                    <summary>{format!("The response, and what the model wrote at {steps}")}</summary>
                    <p class="text">{first.response.clone()}</p>
                    <table>
                        <thead><tr><th scope="col" class="number">"Step"</th><th scope="col">"Written by the model"</th></tr></thead>
                        <tbody>{rows}</tbody>
                    </table>
                </details>
            })
        })
        .collect_view();
    view! { <section class="sample-block" aria-label="Samples"><h3>"Samples of validation pairs"</h3>{blocks}</section> }
        .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_on_targets_tells_harm_from_none() {
        let whole =
            TargetIntegrity { pairs: 140, shortened: 3, tokens: 9000, supervised_tokens: 2000, ..Default::default() };
        assert!(integrity_sentence(&whole).starts_with("Every target is whole: 140 pairs encoded, 3 with"));
        let harmed = TargetIntegrity { targets_cut: 1, targets_lost: 2, ..whole };
        assert!(integrity_sentence(&harmed).starts_with("1 pair lost a part of their target, 2 pairs all of it"));
    }

    #[test]
    fn templates_must_hold_their_place_once() {
        let mut slot = "x".to_owned();
        assert!(holding(&mut slot, "no place", "{response}").is_err());
        assert!(holding(&mut slot, "{response}{response}", "{response}").is_err());
        assert_eq!(slot, "x");
        assert!(holding(&mut slot, "a {response}", "{response}").is_ok());
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
