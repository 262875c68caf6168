//! What the base model without the adapter says of the evaluated pairs: its own instructions as a baseline, and its
//! likelihoods, each beside the human reference and another pair's instruction.

use leptos::prelude::*;

use super::format::{counted, figure, percent, whole};
use super::table::figures_table;
use spec::{BaselineFigures, BaselineSummary, JudgeSummary, LikelihoodSummary, Mean, MeansPerText, ScoreSummary};

/// Nothing where nothing was evaluated.
pub fn base_model(scores: &ScoreSummary) -> AnyView {
    let baseline = scores.baseline.as_deref().map(baseline_table);
    let likelihood = scores.likelihood.as_deref().map(likelihood_table);
    view! { {baseline} {likelihood} }.into_any()
}

/// `0.190 [0.150, 0.230]`, the 95 % interval in brackets.
pub fn with_interval(mean: &Mean, show: fn(f64) -> String) -> String {
    match mean.interval {
        Some(interval) => format!("{} [{}, {}]", show(mean.mean), show(interval.low), show(interval.high)),
        None => show(mean.mean),
    }
}

fn baseline_table(summary: &BaselineSummary) -> AnyView {
    let row = |name: &'static str, how: &'static str, show: &dyn Fn(&BaselineFigures) -> String| {
        let (generated, baseline) = (show(&summary.generated), show(&summary.baseline));
        view! {
            <tr>
                <th scope="row">{name} " " <span class="note">{how}</span></th>
                <td class="number">{generated}</td>
                <td class="number">{baseline}</td>
            </tr>
        }
    };
    let rouge = summary.generated.rouge_l.is_some().then(|| {
        row("ROUGE-L", "F1 against the human reference, mean", &|of| {
            of.rouge_l.map_or_else(|| "–".to_owned(), |mean| with_interval(&mean, figure))
        })
    });
    let gain = summary.rouge_l_gain.map(|gain| {
        let above = gain.interval.is_some_and(|interval| interval.low > 0.0);
        let says = if above { "The adapter raises ROUGE-L" } else { "ROUGE-L is not clearly above the base model's" };
        view! { <p>{format!("{says}: difference {}.", with_interval(&gain, figure))}</p> }
    });
    let caption = format!(
        "With and without the adapter, on the same {} (95 % intervals in brackets)",
        counted(summary.pairs, "response")
    );
    let rows = view! {
        {rouge}
        {row("Without failure tags", "but for the token limit, which is not known of both", &|of| whole(of.without_tags))}
        {row("Copied ≥ 8-gram", "share with 8 or more words in a row copied from the response", &|of| percent(of.copied))}
        {row("Median words", "per instruction", &|of| figure(of.median_words))}
    }
    .into_any();
    let heads = ["Metric", "With the adapter", "Base model alone"];
    view! {
        {figures_table("Baseline of the base model", caption, &heads, rows)}
        {gain}
    }
    .into_any()
}

fn likelihood_table(summary: &LikelihoodSummary) -> AnyView {
    let row = |name: &'static str, how: String, means: &MeansPerText, show: fn(f64) -> String| {
        let optional =
            |mean: &Option<Mean>| mean.as_ref().map_or_else(|| "–".to_owned(), |mean| with_interval(mean, show));
        let (generated, reference) = (with_interval(&means.generated, show), optional(&means.reference));
        let shuffled = optional(&means.shuffled);
        view! {
            <tr>
                <th scope="row">{name} " " <span class="note">{how}</span></th>
                <td class="number">{generated}</td>
                <td class="number">{reference}</td>
                <td class="number">{shuffled}</td>
            </tr>
        }
    };
    let cycle =
        "gain in the response's log-likelihood from its instruction (the way back of the backtranslation), nats per \
                 response token"
            .to_owned();
    let pmi = "pointwise mutual information (Church & Hanks, 1990): gain in the instruction's log-likelihood from its response, nats per \
               instruction token"
        .to_owned();
    let pick_out = format!(
        "share of instructions that are more likely after their own response than after any other of {}",
        whole(summary.ranked)
    );
    let judge = summary.judge.as_ref().filter(|judge| judge.qualifies());
    let grade =
        judge.map(|judge| row("Grade", "by the base model as a judge, 1 to 5".to_owned(), &judge.grade, figure));
    let caption =
        format!("Likelihoods under the base model, {} (95 % intervals in brackets)", counted(summary.pairs, "pair"));
    let rows = view! {
        {row("Cycle score", cycle, &summary.cycle, figure)}
        {row("PMI", pmi, &summary.pmi, figure)}
        {row("Pick-out rate", pick_out, &summary.picked_out, percent)}
        {grade}
    }
    .into_any();
    let heads = ["Metric", "Generated", "Human reference", "Shuffled"];
    view! {
        {figures_table("Likelihoods under the base model", caption, &heads, rows)}
        <p class="note">
            "Measured without the adapter, so that it does not judge itself. Shuffled is another pair's generated instruction \
             with the same response (pick-out rate: chance): a value that is not clearly above it means nothing."
        </p>
        {summary.judge.as_ref().map(qualification)}
    }
    .into_any()
}

/// Whether the grades may be believed.
fn qualification(judge: &JudgeSummary) -> AnyView {
    let separation = with_interval(&judge.separation, percent);
    let text = if judge.qualifies() {
        format!(
            "The judge grades a reference with its own response higher than one with another response in {separation} of \
             cases (chance 50 %)."
        )
    } else {
        format!(
            "Grades by the base model as a judge are not shown: it tells references with their own response from shuffled \
             ones in {separation} of cases, which is not clearly above chance (50 %)."
        )
    };
    view! { <p class="note">{text}</p> }.into_any()
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;
    use spec::Interval;

    fn mean(mean: f64, low: f64, high: f64) -> Mean {
        Mean { mean, interval: Some(Interval { low, high }) }
    }

    #[test]
    fn grades_show_only_where_the_judge_tells_right_from_shuffled() {
        let with = |low| {
            let judge = JudgeSummary { separation: mean(0.6, low, 0.7), ..JudgeSummary::default() };
            let likelihood = LikelihoodSummary { pairs: 20, ranked: 20, judge: Some(judge), ..Default::default() };
            base_model(&ScoreSummary { likelihood: Some(Box::new(likelihood)), ..ScoreSummary::default() }).to_html()
        };
        let unfit = with(0.48);
        assert!(unfit.contains("are not shown") && !unfit.contains("as a judge, 1 to 5"), "{unfit}");
        let fit = with(0.52);
        assert!(fit.contains("grades a reference") && fit.contains("as a judge, 1 to 5"), "{fit}");
    }

    #[test]
    fn a_gain_that_may_be_none_is_called_so() {
        let with = |low| {
            let summary =
                BaselineSummary { pairs: 20, rouge_l_gain: Some(mean(0.05, low, 0.1)), ..BaselineSummary::default() };
            base_model(&ScoreSummary { baseline: Some(Box::new(summary)), ..ScoreSummary::default() }).to_html()
        };
        assert!(with(-0.01).contains("not clearly above") && with(0.01).contains("raises ROUGE-L"));
        assert_eq!(with_interval(&Mean { mean: 0.5, interval: None }, percent), percent(0.5));
    }
}
