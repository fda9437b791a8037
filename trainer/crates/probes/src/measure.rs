// SPDX-License-Identifier: Apache-2.0

use crate::{
    Error, TokenPredictions,
    metrics::{self, LevelParts},
    observations::BatchObservations,
    torch_subject::TorchSubject,
};
use pol_model::evaluation_batch;
use pol_primitives::model::ModelSpec;
use pol_step::{Evaluation, most_sequences};

/// Number of confidence intervals of the calibration error.
const BINS: usize = 15;

/// Measurements of a model on text. A value is `None` if the model lacks the layer or the metric is
/// undefined.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measurements {
    /// Number of tokens predicted.
    pub tokens: usize,
    /// Mean cross-entropy in nats per token.
    pub loss: f64,
    /// [Type-2 AUROC](metrics::type2_auroc) of the loss that introspection predicts.
    pub auroc: Option<f64>,
    /// [Expected calibration error](metrics::expected_calibration_error) of the likeliest token's
    /// probability.
    pub calibration_error: Option<f64>,
    /// [Share of the variance](metrics::introspection_quality) of losses that introspection
    /// explains.
    pub introspection: Option<f64>,
    /// Coherence, mean over blocks and batches.
    pub coherence: Option<f64>,
    /// Effect of the second pass.
    pub second_pass: Option<SecondPassEffect>,
    /// [Evenness of expert use](metrics::utilisation_entropy), mean over blocks.
    pub utilisation: Option<f64>,
}

/// Effect of a second pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SecondPassEffect {
    /// Share of tokens selected.
    pub share: f64,
    /// Mean loss of those tokens with a closed gate.
    pub before: f64,
    /// Mean loss of those tokens with the gate as it is.
    pub after: f64,
}

impl Measurements {
    /// Returns the parts of the consciousness level, with the `reasoning` quality from
    /// [`run_probes`](crate::run_probes).
    pub fn parts(&self, reasoning: Option<f64>) -> LevelParts {
        LevelParts {
            self_awareness: self
                .auroc
                .zip(self.calibration_error)
                .map(|(auroc, error)| metrics::self_awareness(auroc, error)),
            reasoning,
            introspection: self.introspection,
            coherence: self.coherence,
            meta_cognition: self
                .second_pass
                .and_then(|effect| metrics::second_pass_gain(effect.before, effect.after)),
            utilisation: self.utilisation,
        }
    }
}

/// Measures the model of `spec` with `parameters` on `sequences` of equal length, 2 to context + 1
/// tokens.
///
/// Kernels compute on the threads of the pool that the call comes from. A model and a text have one
/// result there, to the bit. Models that kernels have no extents for are measured on libtorch.
///
/// # Errors
///
/// Fails if `spec` is invalid, if `parameters` belong to another model, if a token is not in the
/// vocabulary, and for sequences of different or unusable length.
pub fn measure(
    spec: &ModelSpec,
    parameters: &[f32],
    sequences: &[&[u32]],
) -> Result<Measurements, Error> {
    let length = sequences.first().map_or(0, |first| first.len());
    if length < 2 || sequences.iter().any(|sequence| sequence.len() != length) {
        return Err(Error::Sequences);
    }
    let size = evaluation_batch(spec, length - 1);
    let mut totals = Totals::default();
    if most_sequences(spec, u32::try_from(length - 1).unwrap_or(u32::MAX)) > 0 {
        let branches = spec.mind.superposition.map_or(0, |sizes| sizes.branches.into());
        Evaluation::in_batches(spec, sequences, size, |evaluation, tokens| {
            let seen = evaluation.observe(parameters, tokens)?;
            totals.add(BatchObservations::new(seen, tokens, length, branches));
            Ok::<_, Error>(())
        })?;
    } else {
        let model = TorchSubject::new(spec, parameters)?;
        for batch in sequences.chunks(size) {
            totals.add(model.observe(batch)?);
        }
    }
    Ok(totals.measurements())
}

/// Observations of all batches.
#[derive(Default)]
struct Totals {
    predictions: TokenPredictions,
    /// Losses that introspection predicts.
    predicted_losses: Vec<f64>,
    coherences: Vec<f64>,
    /// Number of tokens that the second pass selects.
    selected: f64,
    /// Sum of the selected tokens' losses with a closed gate.
    before: f64,
    /// Sum of the selected tokens' losses with the gate as it is.
    after: f64,
    /// Number of tokens of each expert, by block.
    loads: Vec<Vec<u64>>,
}

impl Totals {
    fn add(&mut self, batch: BatchObservations) {
        let tokens = batch.chosen.iter().zip(&batch.first_losses).zip(&batch.predictions.losses);
        for ((_, before), after) in tokens.filter(|((chosen, _), _)| **chosen) {
            self.selected += 1.0;
            self.before += before;
            self.after += after;
        }
        self.predicted_losses.extend(batch.predicted_losses);
        self.coherences.extend(batch.coherences);
        self.loads.resize(batch.loads.len().max(self.loads.len()), Vec::new());
        for (loads, more) in self.loads.iter_mut().zip(batch.loads) {
            loads.resize(more.len(), 0);
            loads.iter_mut().zip(more).for_each(|(load, more)| *load += more);
        }
        self.predictions.extend(batch.predictions);
    }

    fn measurements(&self) -> Measurements {
        let Self { predictions, selected, .. } = self;
        let tokens = predictions.losses.len();
        let entropies: Vec<f64> =
            self.loads.iter().filter_map(|load| metrics::utilisation_entropy(load)).collect();
        let confidence: Vec<f64> = self.predicted_losses.iter().map(|loss| -loss).collect();
        Measurements {
            tokens,
            loss: mean(&predictions.losses).unwrap_or(f64::NAN),
            auroc: metrics::type2_auroc(&confidence, &predictions.correct),
            calibration_error: metrics::expected_calibration_error(
                &predictions.confidence,
                &predictions.correct,
                BINS,
            ),
            introspection: metrics::introspection_quality(
                &self.predicted_losses,
                &predictions.losses,
            ),
            coherence: mean(&self.coherences),
            second_pass: (*selected > 0.0).then(|| SecondPassEffect {
                share: selected / tokens as f64,
                before: self.before / selected,
                after: self.after / selected,
            }),
            utilisation: mean(&entropies),
        }
    }
}

/// Returns the mean of `values`; `None` if there are none.
fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_model::{Decoder, Layout, Weights, initial_parameters};
    use pol_primitives::model::{Experts, Mind, Superposition};
    use tch::{Kind, Tensor};

    const TEXT: [&[u32]; 2] = [&[1, 2, 3, 4, 5, 6, 7], &[12, 0, 12, 3, 3, 9, 1]];

    fn spec(mind: Mind) -> ModelSpec {
        ModelSpec { mind, ..ModelSpec::gpt2(13, 8, 2, 2, 12, 6) }
    }

    /// Creates parameters with open gates and an introspection head that prefers some tokens.
    fn parameters(spec: &ModelSpec) -> Vec<f32> {
        let enlarged = |(i, value): (usize, f32)| value * 8.0 + (i % 7) as f32 * 0.02;
        initial_parameters(spec, &[3; 32]).into_iter().enumerate().map(enlarged).collect()
    }

    #[test]
    fn a_model_without_a_mind_has_loss_and_calibration_only() {
        let spec = spec(Mind::default());
        let parameters = parameters(&spec);
        let measured = measure(&spec, &parameters, &TEXT).unwrap();
        let weights = Weights::new(&Layout::new(&spec).unwrap(), &parameters).unwrap();
        let rows: Vec<i64> = TEXT.concat().into_iter().map(i64::from).collect();
        let rows = Tensor::from_slice(&rows).view([2, 7]);
        let loss = Decoder::new(&spec).unwrap().loss(&weights, &rows).unwrap().mean(Kind::Float);
        assert!((measured.loss - loss.double_value(&[])).abs() < 1e-6);
        assert!(measured.calibration_error.is_some_and(|error| error > 0.0 && error < 1.0));
        assert_eq!(
            measured,
            Measurements {
                tokens: 12,
                loss: measured.loss,
                calibration_error: measured.calibration_error,
                ..Measurements::default()
            }
        );
        let parts = measured.parts(Some(0.5));
        assert_eq!(parts, LevelParts { reasoning: Some(0.5), ..LevelParts::default() });
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
        let measured = measure(&spec, &parameters, &TEXT).unwrap();
        assert!(measured.coherence.is_some_and(|coherence| coherence > 0.0 && coherence < 1.0));
        assert!(measured.introspection.is_some());
        let effect = measured.second_pass.unwrap();
        assert!(
            effect.share > 0.0 && effect.share < 1.0 && (effect.before - effect.after).abs() > 1e-4,
            "{effect:?}"
        );
        // The other tokens do not change, so the gate changes the total loss by the change of the
        // selected tokens.
        parameters[gate] = 0.0;
        let closed = measure(&spec, &parameters, &TEXT).unwrap();
        assert!(
            (closed.loss - measured.loss - effect.share * (effect.before - effect.after)).abs()
                < 1e-5
        );
        let still = closed.second_pass.unwrap();
        assert_eq!((still.share, still.before), (effect.share, effect.before));
        assert_eq!(still.before, still.after);
        assert_eq!(closed.parts(None).meta_cognition, Some(0.0));
    }

    /// Kernels and libtorch observe the same, up to rounding.
    #[test]
    fn both_ways_measure_alike() {
        let superposition = Some(Superposition { branches: 3, rank: 4 });
        let mind = Mind { superposition, introspection: true, second_pass: 1 };
        let spec = ModelSpec { experts: Some(Experts::new(3, 2)), ..spec(mind) };
        let mut parameters = parameters(&spec);
        *parameters.last_mut().unwrap() = 0.7;
        let found = measure(&spec, &parameters, &TEXT).unwrap();
        let mut totals = Totals::default();
        totals.add(TorchSubject::new(&spec, &parameters).unwrap().observe(&TEXT).unwrap());
        let expected = totals.measurements();
        let near = |a: f64, b: f64| (a - b).abs() < 1e-5;
        assert!(near(found.loss, expected.loss), "{found:?} {expected:?}");
        for (found, expected) in [
            (found.auroc, expected.auroc),
            (found.calibration_error, expected.calibration_error),
            (found.introspection, expected.introspection),
            (found.coherence, expected.coherence),
            (found.utilisation, expected.utilisation),
        ] {
            assert!(near(found.unwrap(), expected.unwrap()), "{found:?} {expected:?}");
        }
        let (found, expected) = (found.second_pass.unwrap(), expected.second_pass.unwrap());
        assert_eq!(found.share, expected.share);
        assert!(near(found.before, expected.before) && near(found.after, expected.after));
    }

    #[test]
    fn sequences_that_cannot_be_measured_are_refused() {
        let spec = spec(Mind::default());
        let parameters = parameters(&spec);
        let refusal = |sequences: &[&[u32]]| measure(&spec, &parameters, sequences).unwrap_err();
        let unusable: [&[&[u32]]; 3] = [&[], &[&[1]], &[&[1, 2, 3], &[1, 2]]];
        for sequences in unusable {
            assert!(matches!(refusal(sequences), Error::Sequences));
        }
        assert!(matches!(refusal(&[&[1, 2, 13]]), Error::Step(_)), "13 is no token");
        let long = [1; 8];
        assert!(measure(&spec, &parameters, &[&long]).is_err(), "longer than the context");
        assert!(measure(&spec, &parameters[1..], &TEXT).is_err());
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
        // A bias above every score routes all tokens to one expert.
        bias(&mut parameters, 5.0);
        assert_eq!(measure(&spec, &parameters, &TEXT).unwrap().utilisation, Some(0.0));
        bias(&mut parameters, 0.0);
        let measured = measure(&spec, &parameters, &TEXT).unwrap();
        assert!(
            measured.utilisation.is_some_and(|evenness| evenness > 0.0 && evenness <= 1.0),
            "{measured:?}"
        );
        assert_eq!(measured.parts(None).utilisation, measured.utilisation);
    }
}
