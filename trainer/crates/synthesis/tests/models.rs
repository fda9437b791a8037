// SPDX-License-Identifier: Apache-2.0

//! Text of a model: the same bytes again, selected by agreement, length, and novelty.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
#![allow(clippy::result_large_err, reason = "refusals are values here, not errors")]

mod common;

use common::NgramModel;
use pol_corpus::Refusal;
use pol_synthesis::{
    CertaintyMeasure, CertaintyQuestions, Consistency, Content, DrawnText, Family, Form,
    GENERATOR_VERSION, GeneratedText, ModelError, ModelIdentity, PromptSet, PromptSource, Recipe,
    Resources, SamplingParameters, Synthetic, TextFilter, TextModel, TextRequest,
};

/// Model that fails.
struct BrokenModel;

impl TextModel for BrokenModel {
    fn identity(&self) -> ModelIdentity {
        ModelIdentity::default()
    }

    fn generate(&self, _: &[TextRequest<'_>]) -> Result<Vec<GeneratedText>, ModelError> {
        Ok(Vec::new())
    }

    fn log_probabilities(&self, _: &str, _: &str) -> Result<Vec<i64>, ModelError> {
        Err(ModelError("it has no parameters".into()))
    }
}

/// A text about many things, with questions and answers for the model to imitate.
fn corpus() -> String {
    let recipe = Recipe::all_tasks([5; 32], 45);
    let texts = recipe
        .documents()
        .unwrap()
        .map(|made| String::from_utf8(made.unwrap().unwrap().document.bytes).unwrap());
    texts.collect::<Vec<_>>().join("\n")
}

fn drawn(model: &NgramModel, form: Form) -> DrawnText {
    DrawnText {
        form,
        model: model.identity(),
        prompts: PromptSource::Bundled,
        sampling: SamplingParameters { max_tokens: 120, ..SamplingParameters::default() },
        consistency: Consistency::NONE,
        filter: TextFilter { min_bytes: 2, ..TextFilter::default() },
    }
}

fn recipe(content: Content, documents: u32) -> Recipe {
    Recipe { version: GENERATOR_VERSION, seed: [6; 32], documents, content }
}

fn made(recipe: &Recipe, resources: Resources<'_>) -> Vec<Result<Synthetic, Refusal>> {
    recipe.open(resources).unwrap().documents().map(|made| made.unwrap()).collect()
}

fn text(made: &Synthetic) -> &str {
    std::str::from_utf8(&made.document.bytes).unwrap()
}

#[test]
fn texts_can_be_drawn_again() {
    let model = NgramModel::new(&corpus());
    let resources = Resources { model: Some(&model), prompts: None };
    for form in [Form::Continuation, Form::Instruction, Form::Dialogue { turns: 3 }] {
        let recipe = recipe(Content::Text(drawn(&model, form.clone())), 6);
        let first = made(&recipe, resources);
        assert_eq!(first, made(&recipe, resources));
        let synthesizer = recipe.open(resources).unwrap();
        for one in first.iter().flatten() {
            synthesizer.verify(&one.document).unwrap();
            assert_eq!(one.document.origin.source, format!("synthesis/{}", form.name()));
            assert!(one.certificate.is_none());
        }
        let texts: Vec<&str> = first.iter().flatten().map(text).collect();
        assert!(texts.len() > 2, "{first:?}");
        assert!((1..texts.len()).all(|at| texts[at] != texts[at - 1]));
        let turns = |text: &str| text.matches("User:").count() + text.matches("Assistant:").count();
        match form {
            Form::Continuation => {}
            Form::Instruction => assert!(texts.iter().all(|text| turns(text) == 2), "{texts:?}"),
            Form::Dialogue { .. } => assert!(texts.iter().all(|text| turns(text) == 4)),
        }
    }
}

#[test]
fn prompts_of_a_file_come_in_turn() {
    let model = NgramModel::new(&corpus());
    let set = PromptSet::parse(b"The first prompt\nThe second").unwrap();
    let mut content = drawn(&model, Form::Continuation);
    content.prompts = PromptSource::File(*set.digest());
    let recipe = recipe(Content::Text(content), 3);
    let synthesizer = recipe.open(Resources { model: Some(&model), prompts: Some(&set) }).unwrap();
    for (index, start) in [(0, "The first prompt"), (1, "The second"), (2, "The first prompt")] {
        let made = synthesizer.document(index).unwrap().unwrap();
        assert!(text(&made).starts_with(start));
    }
}

#[test]
fn samples_have_to_agree() {
    let model = NgramModel::new(&corpus());
    let resources = Resources { model: Some(&model), prompts: None };
    let mut content = drawn(&model, Form::Instruction);
    content.consistency = Consistency { samples: 4, agree: 4, min_overlap: 900_000 };
    let refused = made(&recipe(Content::Text(content.clone()), 4), resources);
    assert!(refused.iter().all(|made| {
        made.as_ref().is_err_and(|refusal| refusal.reason.contains("samples of the model agree"))
    }));
    // Without randomness all samples are equal.
    content.sampling.temperature = 0;
    let agreed = made(&recipe(Content::Text(content), 4), resources);
    assert!(agreed.iter().flatten().count() > 0, "{agreed:?}");
}

#[test]
fn short_and_repeated_texts_are_refused() {
    let model = NgramModel::new(&corpus());
    let set = PromptSet::parse(b"The same prompt each time").unwrap();
    let resources = Resources { model: Some(&model), prompts: Some(&set) };
    let mut content = drawn(&model, Form::Continuation);
    content.prompts = PromptSource::File(*set.digest());
    content.sampling.temperature = 0;
    let recipe = recipe(Content::Text(content.clone()), 3);
    let all = made(&recipe, resources);
    let first = all[0].as_ref().unwrap();
    for refused in &all[1..] {
        let refusal = refused.as_ref().unwrap_err();
        assert!(refusal.reason.contains("100 % of the text occurred"), "{}", refusal.reason);
        assert_eq!(refusal.origin.source, "synthesis/pretrained");
    }
    // A run that goes on after a stop remembers what was kept before.
    let rest = recipe.open(resources).unwrap().documents().resume(1, [text(first)]);
    assert_eq!(rest.map(|made| made.unwrap()).collect::<Vec<_>>(), all[1..]);

    content.filter.min_bytes = 10_000;
    let short = Recipe { content: Content::Text(content), ..recipe };
    assert!(
        made(&short, resources).iter().all(|made| {
            made.as_ref().is_err_and(|refusal| refusal.reason.contains("are wanted"))
        })
    );
}

#[test]
fn certainty_is_measured() {
    // The model has seen such answers, and is right at times.
    let model = NgramModel::new(
        "Answer: yes, it must be true\nAnswer: it cannot be decided\n\
         Answer: yes, it must be true\n",
    );
    let resources = Resources { model: Some(&model), prompts: None };
    for measure in [CertaintyMeasure::Agreement { samples: 3 }, CertaintyMeasure::LogProbability] {
        let questions = CertaintyQuestions {
            model: model.identity(),
            families: vec![Family::Logic],
            levels: (1, 2),
            sampling: SamplingParameters { max_tokens: 32, ..Default::default() },
            measure,
            examples: 1,
            calibration: 64,
            bins: 4,
        };
        let recipe = recipe(Content::Certainty(questions), 8);
        let synthesizer = recipe.open(resources).unwrap();
        let calibration = synthesizer.calibration().unwrap().clone();
        let (answers, right) = calibration
            .bins
            .iter()
            .fold((0, 0), |(answers, right), bin| (answers + bin.answers, right + bin.right));
        assert_eq!(answers, 64);
        assert!(calibration.bins.len() > 1, "{calibration:?}");
        assert!((1..64).contains(&right), "{calibration:?}");
        for index in 0..8 {
            let made = synthesizer.document(index).unwrap().unwrap();
            synthesizer.verify(&made.document).unwrap();
            let text = text(&made);
            let stated = |bin: &pol_synthesis::CalibrationBin| {
                let percent = (bin.certainty() + 5_000) / 10_000;
                text.contains(&format!(" {percent} "))
            };
            assert!(calibration.bins.iter().any(stated), "{text}");
            assert_eq!(made.document.origin.source, "synthesis/certainty");
            let agrees = text.contains("the answer is right") || text.contains("confirms the");
            let wrong = text.contains("the answer is wrong") || text.contains("another answer");
            assert!(agrees != wrong, "{text}");
        }
    }
}

/// Model that reads short prompts only.
struct ShortModel(NgramModel, usize);

impl TextModel for ShortModel {
    fn identity(&self) -> ModelIdentity {
        self.0.identity()
    }

    fn fits(&self, prompt: &str) -> Result<bool, ModelError> {
        Ok(prompt.len() <= self.1)
    }

    fn generate(&self, requests: &[TextRequest<'_>]) -> Result<Vec<GeneratedText>, ModelError> {
        assert!(requests.iter().all(|request| request.prompt.len() <= self.1));
        self.0.generate(requests)
    }

    fn log_probabilities(&self, prompt: &str, continuation: &str) -> Result<Vec<i64>, ModelError> {
        self.0.log_probabilities(prompt, continuation)
    }
}

#[test]
fn texts_that_do_not_fit_the_model_are_refused() {
    let model = NgramModel::new(&corpus());
    let content = drawn(&model, Form::Dialogue { turns: 2 });
    let long = recipe(Content::Text(content), 40);
    let all = made(&long, Resources { model: Some(&model), prompts: None });
    // Some dialogues are too long for their second turn. The others are as before.
    let short = ShortModel(model, 130);
    let resources = Resources { model: Some(&short), prompts: None };
    let kept = made(&long, resources);
    let refused = |made: &Result<Synthetic, Refusal>| {
        made.as_ref().is_err_and(|refusal| refusal.reason.contains("it is too long, or empty"))
    };
    let count = kept.iter().filter(|made| refused(made)).count();
    assert!((1..40).contains(&count), "{count}");
    assert!(kept.iter().zip(&all).all(|(kept, all)| refused(kept) || kept == all));

    let questions = CertaintyQuestions {
        model: short.identity(),
        families: vec![Family::Arithmetic],
        levels: (1, 5),
        sampling: SamplingParameters { max_tokens: 8, ..Default::default() },
        measure: CertaintyMeasure::LogProbability,
        examples: 9,
        calibration: 16,
        bins: 2,
    };
    let recipe = recipe(Content::Certainty(questions), 1);
    let error = recipe.open(resources).err().unwrap().to_string();
    assert!(error.contains("give fewer examples, or lower levels"), "{error}");
}

#[test]
fn control_characters_are_no_text() {
    let model = NgramModel::new("\0a\u{1b}[1m\tb\r\n");
    let mut content = drawn(&model, Form::Continuation);
    content.filter.max_overlap = 1_000_000;
    let recipe = recipe(Content::Text(content), 4);
    let all = made(&recipe, Resources { model: Some(&model), prompts: None });
    let all: String = all.iter().flatten().map(text).collect();
    assert!(all.contains("a[1m\tb\n"), "{all:?}");
    assert!(!all.contains(['\0', '\u{1b}', '\r']), "{all:?}");
}

#[test]
fn texts_are_the_same_alone_and_together() {
    let model = NgramModel::new(&corpus());
    let resources = Resources { model: Some(&model), prompts: None };
    let mut content = drawn(&model, Form::Instruction);
    // Five prompts at a time, of which the last batch has less.
    content.consistency = Consistency { samples: 6, agree: 1, min_overlap: 1_000_000 };
    content.filter.max_overlap = 1_000_000;
    let recipe = recipe(Content::Text(content), 13);
    let together = made(&recipe, resources);
    let synthesizer = recipe.open(resources).unwrap();
    let alone: Vec<_> = (0..13).map(|index| synthesizer.document(index).unwrap()).collect();
    assert_eq!(together, alone);
    let rest = recipe.open(resources).unwrap().documents().resume(7, [""; 0]);
    assert_eq!(rest.map(|made| made.unwrap()).collect::<Vec<_>>(), together[7..]);
}

#[test]
fn failures_of_models_are_reported() {
    let mut content = drawn(&NgramModel::new("a"), Form::Continuation);
    content.model = ModelIdentity::default();
    let recipe = recipe(Content::Text(content), 1);
    let resources = Resources { model: Some(&BrokenModel), prompts: None };
    let error = recipe.open(resources).unwrap().document(0).unwrap_err().to_string();
    assert_eq!(error, "the model failed: it wrote 0 texts where 1 were asked for");
    assert!(BrokenModel.log_probabilities("", "").is_err());
}
