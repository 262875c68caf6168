//! The cells that a new experiment starts with.

use spec::{
    CellConfig, CurateConfig, DataConfig, GenerateConfig, LossOn, ModelConfig, NoteConfig, Preset, ReportConfig,
    Schedule, TemplateConfig, TrainConfig, Truncation, Turns,
};

pub const QUICK_START_NAME: &str = "Quick start";

const QUICK_START_NOTE: &str = "\
This notebook teaches a small language model to work backwards: it reads a response and writes the instruction \
that the response could have been written for.

Press \"Run all\". The cells below use the sample data and the default model, and finish in a few minutes on a \
laptop CPU:

1. Data: conversations become (instruction, response) pairs.
2. Model: the base model is downloaded once and described.
3. Train: a LoRA adapter learns to predict the instruction from the response.
4. Generate: the trained model writes an instruction for each response of another file.
5. Curate: you decide which pairs to keep, and edit them. What you leave undecided is kept, unless it carries a \
failure tag.
6. Report: a snapshot of pairs, metrics and provenance that can be shared by a link.

Change any setting and the cells below it are marked stale, with the reason.";

const SEED_RECIPE_NOTE: &str = "\
The settings of a 2024 report on instruction backtranslation, kept as they were to show their effect. Run it beside \
the quick start and compare the reports. What goes wrong, and which setting causes it:

- Training and generation use different templates. The model learns \"Instruction: (response) Response: \
(instruction)\" and is prompted with \"Response: (response) Instruction:\". 93 % of the report's 243 outputs contain \
\"Response:\" (template; failure tag template_leak).
- The loss covers every token, although only about 13 % of them belong to the instruction (loss_on = all).
- No end marker is trained, so 165 of 243 outputs ran to the token limit (template.end = none).
- Sequences are truncated right at 512 tokens: 15 % of its pairs are longer, and 10.6 % lose the whole \
instruction (truncation = right).
- Any turn of a conversation is used, so many instructions only make sense after earlier turns (turns = any).

As in the report: rank 16, alpha 32, dropout 0.1 on q_proj and v_proj, batches of 4 x 4, learning rate 5e-4, 5 epochs. \
Where the report is silent, its trainer's defaults hold: a linear schedule without warmup, no weight decay, \
gradients clipped at norm 1. It used TinyLlama-1.1B in half precision; choose that model below if it is on this machine.";

pub fn cells(preset: Preset) -> Vec<CellConfig> {
    match preset {
        Preset::QuickStart => quick_start(),
        Preset::SeedRecipe => seed_recipe(),
        Preset::Empty => Vec::new(),
    }
}

fn quick_start() -> Vec<CellConfig> {
    vec![
        note(QUICK_START_NOTE),
        CellConfig::Data(DataConfig::default()),
        CellConfig::Model(ModelConfig::default()),
        CellConfig::Train(TrainConfig::default()),
        CellConfig::Generate(GenerateConfig::default()),
        CellConfig::Curate(CurateConfig::default()),
        CellConfig::Report(ReportConfig { title: QUICK_START_NAME.to_owned(), ..ReportConfig::default() }),
    ]
}

fn seed_recipe() -> Vec<CellConfig> {
    vec![
        note(SEED_RECIPE_NOTE),
        CellConfig::Data(DataConfig { turns: Turns::Any, limit: Some(3200), ..DataConfig::default() }),
        CellConfig::Model(ModelConfig::default()),
        CellConfig::Train(TrainConfig {
            rank: 16,
            alpha: 32.0,
            dropout: 0.1,
            template: TemplateConfig::seed_recipe(),
            max_seq_length: 512,
            truncation: Truncation::Right,
            loss_on: LossOn::All,
            epochs: 5,
            max_steps: None,
            batch_size: 4,
            gradient_accumulation_steps: 4,
            learning_rate: 5e-4,
            lr_scheduler: Schedule::Linear,
            warmup_steps: 0,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            eval_steps: None,
            save_steps: None,
            ..TrainConfig::default()
        }),
        CellConfig::Generate(GenerateConfig {
            temperature: 0.7,
            top_p: 0.9,
            top_k: 50,
            repetition_penalty: 1.0,
            max_new_tokens: 512,
            ..GenerateConfig::default()
        }),
        CellConfig::Curate(CurateConfig::default()),
        CellConfig::Report(ReportConfig { title: "Seed recipe (2024)".to_owned(), ..ReportConfig::default() }),
    ]
}

fn note(text: &str) -> CellConfig {
    CellConfig::Note(NoteConfig { text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_has_settings_that_are_accepted() {
        for preset in [Preset::QuickStart, Preset::SeedRecipe, Preset::Empty] {
            for config in cells(preset) {
                config.validate().unwrap_or_else(|error| panic!("{preset:?}: {error}"));
            }
        }
    }

    #[test]
    fn no_preset_says_anything_about_the_data_in_its_report() {
        for preset in [Preset::QuickStart, Preset::SeedRecipe] {
            let report = cells(preset).into_iter().find_map(|config| match config {
                CellConfig::Report(config) => Some(config),
                _ => None,
            });
            let report = report.unwrap();
            assert_eq!((report.summary.as_str(), report.data_notice.as_str()), ("", ""), "{preset:?}");
        }
    }
}
