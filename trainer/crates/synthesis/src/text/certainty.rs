// SPDX-License-Identifier: Apache-2.0

//! Questions about the model's own certainty, answered by measurement.
//!
//! The model answers questions with known answers, and each answer gets a score. Answers with
//! similar scores form a bin, and the share of right answers in it is the certainty of any later
//! answer with such a score (histogram binning: Zadrozny and Elkan 2001, "Obtaining Calibrated
//! Probability Estimates from Decision Trees and Naive Bayesian Classifiers"). Statements of
//! certainty in words follow Lin, Hilton and Evans 2022, "Teaching Models to Express Their
//! Uncertainty in Words".

use super::model::{
    GeneratedText, ModelIdentity, NO_FIT, SamplingParameters, TextModel, TextRequest, generate,
    prompts_at_once,
};
use crate::{
    draws::Draws,
    error::{ModelError, SynthesisError, in_range},
    tasks::{Family, Level, question_and_answer},
    words::Words,
};
use pol_primitives::{Hash, Ppm, prf::Prf};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Description of questions about the certainty of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, codec::Encode, codec::Decode)]
#[serde(deny_unknown_fields)]
pub struct CertaintyQuestions {
    /// Model that answers.
    pub model: ModelIdentity,
    /// Kinds of questions, in turn. Each question must have one right answer, which excludes graphs
    /// and planning.
    pub families: Vec<Family>,
    /// Lowest and highest level.
    pub levels: (u8, u8),
    /// Sampling parameters of the answers.
    #[serde(default = "short_answers")]
    pub sampling: SamplingParameters,
    /// Score of an answer.
    pub measure: CertaintyMeasure,
    /// Number of worked examples before each question, which show the form of an answer.
    #[serde(default)]
    pub examples: u8,
    /// Number of questions that calibrate.
    pub calibration: u32,
    /// Number of bins.
    pub bins: u8,
}

fn short_answers() -> SamplingParameters {
    SamplingParameters { max_tokens: 32, ..SamplingParameters::default() }
}

/// Score of an answer, which orders answers by certainty.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, codec::Encode, codec::Decode,
)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CertaintyMeasure {
    /// Number of samples with the most frequent answer, which is the model's.
    Agreement {
        /// Number of samples.
        samples: u8,
    },
    /// Mean logarithm of the probabilities of the answer's tokens.
    LogProbability,
}

/// Bin of answers with similar scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationBin {
    /// Lowest score of the bin.
    pub lowest: i64,
    /// Number of answers.
    pub answers: u32,
    /// Number of right ones.
    pub right: u32,
}

impl CalibrationBin {
    /// Returns the expected share of right answers, in millionths. One right and one wrong answer
    /// are added (Laplace's rule of succession), so that no small bin is certain.
    #[must_use]
    pub fn certainty(&self) -> Ppm {
        let share = (u64::from(self.right) + 1) * 1_000_000 / (u64::from(self.answers) + 2);
        Ppm::try_from(share).unwrap_or(1_000_000).min(1_000_000)
    }
}

/// Measured share of right answers by score.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Bins, by ascending score.
    pub bins: Vec<CalibrationBin>,
}

impl Calibration {
    /// Sorts `answers`, each a score and `true` if it is right, into bins of nearly equal size.
    /// Equal scores share a bin.
    #[must_use]
    pub fn new(mut answers: Vec<(i64, bool)>, bins: u8) -> Self {
        answers.sort_unstable();
        let size = answers.len().div_ceil(usize::from(bins.max(1))).max(1);
        let mut all: Vec<CalibrationBin> = Vec::new();
        let mut last = None;
        for (score, right) in answers {
            let is_full = all.last().is_none_or(|bin| bin.answers as usize >= size);
            if is_full && last != Some(score) {
                all.push(CalibrationBin { lowest: score, answers: 0, right: 0 });
            }
            if let Some(bin) = all.last_mut() {
                bin.answers += 1;
                bin.right += u32::from(right);
            }
            last = Some(score);
        }
        Self { bins: all }
    }

    /// Returns the bin of a score. Scores below all bins belong to the first.
    #[must_use]
    pub fn bin(&self, score: i64) -> Option<&CalibrationBin> {
        let above = self.bins.partition_point(|bin| bin.lowest <= score);
        self.bins.get(above.saturating_sub(1))
    }
}

/// Question with its right answer, the prompt that asks it, and the seed of the model's answers.
struct Question {
    question: String,
    right: String,
    prompt: String,
    seed: u64,
}

/// Question with its right answer, the answer of the model, and its score.
struct Answered {
    question: String,
    right: String,
    said: String,
    score: i64,
}

impl Answered {
    fn is_right(&self) -> bool {
        self.said == self.right
    }
}

/// Returns the first line of an answer, without blanks around it and without a full stop.
fn normalised(text: &str) -> String {
    let line = text.trim_start().lines().next().unwrap_or_default().trim_end();
    line.strip_suffix('.').unwrap_or(line).to_owned()
}

impl CertaintyQuestions {
    pub(crate) fn validate(&self) -> Result<(), SynthesisError> {
        validate_tasks(&self.families, self.levels)?;
        self.sampling.validate()?;
        if let CertaintyMeasure::Agreement { samples } = self.measure {
            in_range("measure.agreement.samples", samples.into(), 2, 64)?;
        }
        if let Some(family) = self.families.iter().find(|family| !family.has_one_answer()) {
            let range = format!("kinds of questions with one right answer, not {}", family.name());
            return Err(SynthesisError::Range { field: "families", range });
        }
        in_range("examples", self.examples.into(), 0, 16)?;
        in_range("calibration", self.calibration, 16, 1 << 20)?;
        in_range("bins", self.bins.into(), 1, 100)
    }

    /// Returns the number of questions to ask at a time.
    pub(crate) fn at_once(&self) -> u32 {
        prompts_at_once(self.samples())
    }

    fn samples(&self) -> u8 {
        match self.measure {
            CertaintyMeasure::Agreement { samples } => samples,
            CertaintyMeasure::LogProbability => 1,
        }
    }

    /// Asks the model the questions that calibrate.
    pub(crate) fn calibrate(
        &self,
        model: &dyn TextModel,
        seed: &Hash,
    ) -> Result<Calibration, SynthesisError> {
        // Their seed is another one, so that no question of a document calibrates.
        let seed = Draws::new(seed, u32::MAX).seed();
        let mut answers = Vec::new();
        let mut first = 0;
        while first < self.calibration {
            let end = first.saturating_add(self.at_once()).min(self.calibration);
            for answered in self.answers(model, &seed, first..end)? {
                let Some(answered) = answered else {
                    let reason = "a question is too long for it; give fewer examples, or lower \
                                  levels";
                    return Err(ModelError(reason.into()).into());
                };
                answers.push((answered.score, answered.is_right()));
            }
            first = end;
        }
        Ok(Calibration::new(answers, self.bins))
    }

    /// Makes the question at `index`.
    fn question(&self, seed: &Hash, index: u32) -> Question {
        let mut draws = Draws::new(seed, index);
        let (family, level) = draw_task(&self.families, self.levels, index, &mut draws);
        let (question, right) = question_and_answer(family, level, &mut draws);
        let examples = (0..self.examples).map(|_| {
            let (question, right) = question_and_answer(family, level, &mut draws.detached());
            format!("Question: {question}\nAnswer: {right}\n\n")
        });
        let prompt = examples.collect::<String>() + &format!("Question: {question}\nAnswer:");
        let seed = Prf::new("pol/synthesis/answer/1", seed, &[&index.to_le_bytes()]).next_u64();
        Question { question, right, prompt, seed }
    }

    /// Asks the questions at `indices` together. One that is too long for the model has no answer.
    fn answers(
        &self,
        model: &dyn TextModel,
        seed: &Hash,
        indices: Range<u32>,
    ) -> Result<Vec<Option<Answered>>, SynthesisError> {
        let (sampling, stop) = (&self.sampling, &["\n".to_owned()]);
        let (mut questions, mut requests) = (Vec::new(), Vec::new());
        for question in indices.map(|index| self.question(seed, index)) {
            let fits = model.fits(&question.prompt)?;
            questions.push((question, fits));
        }
        for (Question { prompt, seed, .. }, _) in questions.iter().filter(|(_, fits)| *fits) {
            let request = |stream| TextRequest { prompt, sampling, seed: *seed, stream, stop };
            requests.extend((0..self.samples().into()).map(request));
        }
        let texts = generate(model, &requests)?;
        let mut texts = texts.chunks(self.samples().into());
        let answer = |(question, fits)| {
            let samples = if fits { texts.next() } else { None };
            samples.map(|samples| self.answer(model, question, samples)).transpose()
        };
        questions.into_iter().map(answer).collect()
    }

    /// Returns the answer that most samples give, with its score.
    fn answer(
        &self,
        model: &dyn TextModel,
        question: Question,
        samples: &[GeneratedText],
    ) -> Result<Answered, SynthesisError> {
        let said: Vec<String> = samples.iter().map(|sample| normalised(&sample.text)).collect();
        let count = |answer: &String| said.iter().filter(|other| *other == answer).count();
        // Of equally frequent answers the first is the model's.
        let most =
            said.iter().rev().max_by_key(|answer| count(answer)).cloned().unwrap_or_default();
        let score = match self.measure {
            CertaintyMeasure::Agreement { .. } => i64::try_from(count(&most)).unwrap_or(i64::MAX),
            CertaintyMeasure::LogProbability => {
                let logs = model.log_probabilities(&question.prompt, &format!(" {most}"))?;
                let sum = logs.iter().fold(0i64, |sum, &log| sum.saturating_add(log));
                sum / i64::try_from(logs.len().max(1)).unwrap_or(i64::MAX)
            }
        };
        let Question { question, right, .. } = question;
        Ok(Answered { question, right, said: most, score })
    }

    /// Returns the texts at `indices`. Each is a text, or the reason for having none.
    pub(crate) fn draw(
        &self,
        model: &dyn TextModel,
        calibration: &Calibration,
        seed: &Hash,
        indices: Range<u32>,
    ) -> Result<Vec<Result<String, String>>, SynthesisError> {
        let answers = self.answers(model, seed, indices.clone())?;
        let text = |(index, answered): (u32, Option<Answered>)| {
            let answered = answered.ok_or(NO_FIT)?;
            let bin = calibration.bin(answered.score).ok_or("the calibration has no answers")?;
            if answered.said.is_empty() {
                return Err("the model left its answer empty".into());
            }
            let wording = Draws::new(seed, index).detached().seed();
            Ok(written(&answered, bin.certainty(), &mut Words::new(&wording)))
        };
        Ok(indices.zip(answers).map(text).collect())
    }
}

/// Writes a question, the model's answer, its measured certainty, and the right answer.
fn written(answered: &Answered, certainty: Ppm, words: &mut Words) -> String {
    let Answered { question, right, said, .. } = answered;
    // To the nearest percent.
    let percent = (certainty + 5_000) / 10_000;
    let asked = words.pick(&[
        "How certain are you of your answer?",
        "What is the probability that your answer is right?",
        "How sure are you, in percent?",
        "Before you look it up: how likely is it that you are right?",
    ]);
    let stated = words
        .pick(&[
            "I am _ % certain.",
            "Of a hundred such answers of mine, about _ are right.",
            "The probability is _ %.",
            "My answers to questions like this are right in _ % of cases.",
        ])
        .replace('_', &percent.to_string());
    let advice = match percent {
        0..=39 => words.pick(&[
            "This should be computed before anybody relies on it.",
            "Please do not rely on it without a check.",
        ]),
        40..=79 => words.pick(&["A check is advisable.", "It is worth checking."]),
        _ => words.pick(&["A check will most likely confirm it.", "I expect it to hold."]),
    };
    let checked = if answered.is_right() {
        words.pick(&["Checked: the answer is right.", "The check confirms the answer."]).to_owned()
    } else {
        words
            .pick(&["Checked: the answer is wrong; it is _.", "The check gives another answer: _."])
            .replace('_', right)
    };
    format!(
        "User: {question}\n\nAssistant: My answer is: {said}\n\nUser: {asked}\n\n\
         Assistant: {stated} {advice}\n\n{checked}\n"
    )
}

/// Checks the kinds and levels of tasks of a recipe.
pub(crate) fn validate_tasks(families: &[Family], levels: (u8, u8)) -> Result<(), SynthesisError> {
    in_range("the number of families", u32::try_from(families.len()).unwrap_or(u32::MAX), 1, 64)?;
    in_range("the highest level", levels.1.into(), 1, Level::MAX.into())?;
    in_range("the lowest level", levels.0.into(), 1, levels.1.into())
}

/// Draws the kind and level of the task at `index`. Kinds come in turn.
pub(crate) fn draw_task(
    families: &[Family],
    levels: (u8, u8),
    index: u32,
    draws: &mut Draws,
) -> (Family, Level) {
    let family = families.get(index as usize % families.len().max(1));
    let number = draws.range(levels.0.into(), levels.1.into());
    let level = u8::try_from(number).ok().and_then(Level::new);
    (family.copied().unwrap_or(Family::Arithmetic), level.unwrap_or(Level::FIRST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_have_nearly_equal_size_and_keep_equal_scores_together() {
        let answers = vec![(5, true), (1, false), (2, false), (2, true), (2, true), (9, true)];
        let calibration = Calibration::new(answers, 3);
        let bins: Vec<_> =
            calibration.bins.iter().map(|bin| (bin.lowest, bin.answers, bin.right)).collect();
        assert_eq!(bins, [(1, 4, 2), (5, 2, 2)]);
        for (score, lowest) in [(-7, 1), (1, 1), (4, 1), (5, 5), (100, 5)] {
            assert_eq!(calibration.bin(score).unwrap().lowest, lowest, "{score}");
        }
        assert_eq!(calibration.bin(1).unwrap().certainty(), 500_000);
        assert_eq!(calibration.bin(5).unwrap().certainty(), 750_000);
        assert_eq!(Calibration::default().bin(0), None);
        assert!(Calibration::new(Vec::new(), 0).bins.is_empty());
    }

    #[test]
    fn answers_are_compared_by_their_first_line() {
        assert_eq!(normalised("  12.\nand more"), "12");
        assert_eq!(normalised("\n\n"), "");
    }
}
