use crate::{
    Observed,
    metrics::{self, Parts},
    probes::{Task, examples, probes},
};
use pol_generate::{Model, Request, Sampling, Text, generate};
use pol_model::{
    Decoder, Error, Layout, Utilisation, Weights,
    mind::{coherence, worth_another},
};
use pol_primitives::{Hash, RoundNumber, model::ModelSpec};
use std::ops::ControlFlow;
use tch::{Kind, Tensor};

/// Intervals of confidence in which calibration is measured.
const BINS: usize = 15;
/// Longer than any right answer to a probe, in tokens of any vocabulary: one a byte.
const LONGEST_ANSWER: usize = 32;

/// What was measured of a model on text. `None` where it lacks the part, or where a metric cannot
/// be told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Tokens predicted.
    pub tokens: usize,
    /// Mean cross-entropy, in nats per token.
    pub loss: f64,
    /// [Type-2 AUROC](metrics::type2_auroc) of the loss that introspection predicts.
    pub auroc: Option<f64>,
    /// [Expected calibration error](metrics::expected_calibration_error) of the likeliest token's
    /// probability.
    pub calibration_error: Option<f64>,
    /// [Share of the variance](metrics::introspection_quality) of losses that introspection
    /// explains.
    pub introspection: Option<f64>,
    /// [Coherence](coherence), mean over blocks and batches.
    pub coherence: Option<f64>,
    /// What the second pass did.
    pub second_pass: Option<Again>,
    /// [Evenness of the use of experts](metrics::utilisation_entropy), mean over blocks.
    pub utilisation: Option<f64>,
}

/// What a second pass did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Again {
    /// Share of tokens that took it.
    pub share: f64,
    /// Mean loss of those, with the gate closed.
    pub before: f64,
    /// Mean loss of those, with the gate as it is.
    pub after: f64,
}

impl Measured {
    /// The parts of the consciousness level, with the `reasoning` quality that [`ask`] led to.
    pub fn parts(&self, reasoning: Option<f64>) -> Parts {
        Parts {
            self_awareness: self
                .auroc
                .zip(self.calibration_error)
                .map(|(auroc, error)| metrics::self_awareness(auroc, error)),
            reasoning,
            introspection: self.introspection,
            coherence: self.coherence,
            meta_cognition: self
                .second_pass
                .and_then(|again| metrics::second_pass_gain(again.before, again.after)),
            utilisation: self.utilisation,
        }
    }
}

/// Measures the model of `spec` with `parameters` on `batches` of tokens, each int64
/// `[batch, length + 1]`.
pub fn measure(
    spec: &ModelSpec,
    parameters: &[f32],
    batches: &[Tensor],
) -> Result<Measured, Error> {
    let _no_grad = tch::no_grad_guard();
    let (decoder, layout) = (Decoder::new(spec)?, Layout::new(spec)?);
    let weights = Weights::new(&layout, parameters)?;
    // The same model with the gate of its second pass, the last parameter, closed.
    let closed = if spec.mind.second_pass > 0 {
        let mut closed = parameters.to_vec();
        closed.iter_mut().next_back().into_iter().for_each(|gate| *gate = 0.0);
        Some(Weights::new(&layout, &closed)?)
    } else {
        None
    };
    let (mut observed, mut predicted, mut coherences) =
        (Observed::default(), Vec::new(), Vec::new());
    let (mut chosen, mut before, mut after) = (0.0, 0.0, 0.0);
    let mut utilisation = Utilisation::new(spec, 1);
    for tokens in batches {
        let (batch, longer) = tokens.size2()?;
        let (inputs, targets) = (
            tokens.f_narrow(1, 0, longer - 1)?,
            tokens.f_narrow(1, 1, longer - 1)?.f_reshape([-1])?,
        );
        let read = |weights: &Weights| -> Result<(Observed, Option<Tensor>), Error> {
            let hidden =
                decoder.hidden(weights, &inputs, None)?.f_view([-1, i64::from(spec.width)])?;
            Ok((
                Observed::new(&decoder.head(weights, &hidden)?, &targets)?,
                decoder.introspect(weights, &hidden)?,
            ))
        };
        let (found, expected) = read(&weights)?;
        if let Some(expected) = expected {
            predicted.extend(Vec::<f64>::try_from(expected.f_to_kind(Kind::Double)?)?);
        }
        if let Some(closed) = &closed
            && let (first, Some(expected)) = read(closed)?
        {
            let taken = worth_another(&expected.f_view([batch, -1])?, None)?.f_reshape([-1])?;
            for (i, _) in
                Vec::<bool>::try_from(taken)?.into_iter().enumerate().filter(|(_, taken)| *taken)
            {
                chosen += 1.0;
                before += first.losses[i];
                after += found.losses[i];
            }
        }
        for amplitudes in decoder.amplitudes(&weights, &inputs)? {
            coherences.push(coherence(&amplitudes)?);
        }
        if let Some(utilisation) = &mut utilisation {
            utilisation.observe(
                &decoder.outcome(&weights, tokens)?.routing,
                &vec![0; usize::try_from(batch).unwrap_or(0)],
            )?;
        }
        observed.extend(found);
    }
    let entropies =
        utilisation.iter().flat_map(|used| (0..used.blocks()).map(|block| used.loads(None, block)));
    let entropies: Vec<f64> =
        entropies.filter_map(|load| metrics::utilisation_entropy(&load)).collect();
    let mean = |values: &[f64]| {
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let confidence: Vec<f64> = predicted.iter().map(|expected| -expected).collect();
    Ok(Measured {
        tokens: observed.losses.len(),
        loss: mean(&observed.losses).unwrap_or(f64::NAN),
        auroc: metrics::type2_auroc(&confidence, &observed.correct),
        calibration_error: metrics::expected_calibration_error(
            &observed.confidence,
            &observed.correct,
            BINS,
        ),
        introspection: metrics::introspection_quality(&predicted, &observed.losses),
        coherence: mean(&coherences),
        second_pass: (chosen > 0.0).then(|| Again {
            share: chosen / observed.losses.len() as f64,
            before: before / chosen,
            after: after / chosen,
        }),
        utilisation: mean(&entropies),
    })
}

/// Puts the `count` probes of `seed` and `round` to a model, each after as many worked examples as
/// `shots`, or fewer where its context has no room for them; the model always writes its likeliest
/// token. Says of each whether it was answered, for
/// [`reasoning_quality`](metrics::reasoning_quality). A probe for which there is no room at all is
/// not put.
pub fn ask<M: Model>(
    model: &M,
    text: &Text,
    (seed, round): (&Hash, RoundNumber),
    count: u32,
    shots: u32,
) -> Result<Vec<(Task, bool)>, pol_generate::Error> {
    let mut answers = Vec::new();
    for probe in probes(seed, round, count) {
        let worked = examples(probe.task, seed, round, shots);
        let room =
            model.context().saturating_sub(text.encode(&format!(" {}", probe.answer))?.len());
        let prompts =
            (0..=worked.len()).rev().map(|shown| text.encode(&probe.prompt(&worked[..shown])));
        let prompts = prompts.collect::<Result<Vec<_>, _>>()?;
        let Some(prompt) = prompts.into_iter().find(|prompt| prompt.len() <= room) else {
            continue;
        };
        let request = Request {
            prompt,
            max_tokens: LONGEST_ANSWER,
            sampling: Sampling { temperature: 0.0, ..Sampling::default() },
            stop: vec!["\n".into()],
            ..Request::default()
        };
        let written = generate(model, text, &[request], |_, _| ControlFlow::Continue(()))?;
        answers
            .push((probe.task, written.iter().any(|written| probe.is_answered_by(&written.text))));
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_model::initial_parameters;
    use pol_primitives::model::{Experts, Mind, Superposition};

    fn batches() -> Vec<Tensor> {
        [[1i64, 2, 3, 4, 5, 6, 7], [12, 0, 12, 3, 3, 9, 1]]
            .map(|row| Tensor::from_slice(&row).view([1, 7]))
            .into()
    }

    fn spec(mind: Mind) -> ModelSpec {
        ModelSpec { mind, ..ModelSpec::gpt2(13, 8, 2, 2, 12, 6) }
    }

    /// With everything in the last block open, and introspection that prefers some tokens.
    fn parameters(spec: &ModelSpec) -> Vec<f32> {
        let lively = |(i, value): (usize, f32)| value * 8.0 + (i % 7) as f32 * 0.02;
        initial_parameters(spec, &[3; 32]).into_iter().enumerate().map(lively).collect()
    }

    #[test]
    fn a_model_without_a_mind_has_loss_and_calibration_only() {
        let spec = spec(Mind::default());
        let parameters = parameters(&spec);
        let measured = measure(&spec, &parameters, &batches()).unwrap();
        let weights = Weights::new(&Layout::new(&spec).unwrap(), &parameters).unwrap();
        let loss = Decoder::new(&spec)
            .unwrap()
            .loss(&weights, &Tensor::cat(&batches(), 0))
            .unwrap()
            .mean(Kind::Float);
        assert!((measured.loss - loss.double_value(&[])).abs() < 1e-6);
        assert!(measured.calibration_error.is_some_and(|error| error > 0.0 && error < 1.0));
        assert_eq!(
            measured,
            Measured {
                tokens: 12,
                loss: measured.loss,
                calibration_error: measured.calibration_error,
                ..Measured::default()
            }
        );
        let parts = measured.parts(Some(0.5));
        assert_eq!(parts, Parts { reasoning: Some(0.5), ..Parts::default() });
    }

    #[test]
    fn every_part_of_a_mind_is_measured() {
        let spec = spec(Mind {
            superposition: Some(Superposition { branches: 3, rank: 4 }),
            introspection: true,
            second_pass: 1,
        });
        let mut parameters = parameters(&spec);
        let gate = parameters.len() - 1;
        parameters[gate] = 0.7;
        let measured = measure(&spec, &parameters, &batches()).unwrap();
        assert!(measured.coherence.is_some_and(|coherence| coherence > 0.0 && coherence < 1.0));
        assert!(measured.introspection.is_some());
        let again = measured.second_pass.unwrap();
        assert!(
            again.share > 0.0 && again.share < 1.0 && (again.before - again.after).abs() > 1e-4,
            "{again:?}"
        );
        // Tokens that did not take it are as they were: what the gate changes in all is what it
        // changes in those chosen.
        parameters[gate] = 0.0;
        let closed = measure(&spec, &parameters, &batches()).unwrap();
        assert!(
            (closed.loss - measured.loss - again.share * (again.before - again.after)).abs() < 1e-5
        );
        let still = closed.second_pass.unwrap();
        assert_eq!((still.share, still.before), (again.share, again.before));
        assert_eq!(still.before, still.after);
        assert_eq!(closed.parts(None).meta_cognition, Some(0.0));
    }
    #[test]
    fn the_use_of_experts_is_measured() {
        let spec = ModelSpec { experts: Some(Experts::new(3, 1)), ..spec(Mind::default()) };
        let mut parameters = parameters(&spec);
        let bias = |parameters: &mut [f32], value: f32| {
            for slot in Layout::new(&spec)
                .unwrap()
                .tensors()
                .iter()
                .filter(|slot| slot.parameter.name.ends_with("router.bias"))
            {
                parameters[slot.offset] = value;
            }
        };
        // A bias beyond every score sends all to one expert.
        bias(&mut parameters, 5.0);
        assert_eq!(measure(&spec, &parameters, &batches()).unwrap().utilisation, Some(0.0));
        bias(&mut parameters, 0.0);
        let measured = measure(&spec, &parameters, &batches()).unwrap();
        assert!(
            measured.utilisation.is_some_and(|evenness| evenness > 0.0 && evenness <= 1.0),
            "{measured:?}"
        );
        assert_eq!(measured.parts(None).utilisation, measured.utilisation);
    }
}
