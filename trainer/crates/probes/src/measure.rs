// SPDX-License-Identifier: Apache-2.0

use crate::{
    TokenPredictions,
    metrics::{self, LevelParts},
};
use pol_model::{
    Decoder, Error, ExpertUtilisation, Layout, Weights,
    mind::{coherence, needs_second_pass},
};
use pol_primitives::model::ModelSpec;
use tch::{Kind, Tensor};

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
    /// [Coherence](coherence), mean over blocks and batches.
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

/// Measures the model of `spec` with `parameters` on `batches` of tokens, each int64
/// `[batch, length + 1]`.
///
/// # Errors
///
/// Fails if `spec` is invalid, if `parameters` belong to another model, or if the decoder cannot
/// process a batch.
pub fn measure(
    spec: &ModelSpec,
    parameters: &[f32],
    batches: &[Tensor],
) -> Result<Measurements, Error> {
    let _no_grad = tch::no_grad_guard();
    let subject = Subject::new(spec, parameters)?;
    let mut totals = Totals { utilisation: ExpertUtilisation::new(spec, 1), ..Totals::default() };
    for tokens in batches {
        subject.measure_batch(tokens, &mut totals)?;
    }
    Ok(totals.measurements())
}

/// Model under measurement.
struct Subject {
    decoder: Decoder,
    weights: Weights,
    /// The same model with the gate of its second pass closed.
    closed: Option<Weights>,
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
    utilisation: Option<ExpertUtilisation>,
}

impl Subject {
    fn new(spec: &ModelSpec, parameters: &[f32]) -> Result<Self, Error> {
        let (decoder, layout) = (Decoder::new(spec)?, Layout::new(spec)?);
        let weights = Weights::new(&layout, parameters)?;
        let closed = if spec.mind.second_pass > 0 {
            let mut closed = parameters.to_vec();
            // The gate is the last parameter.
            closed.iter_mut().next_back().into_iter().for_each(|gate| *gate = 0.0);
            Some(Weights::new(&layout, &closed)?)
        } else {
            None
        };
        Ok(Self { decoder, weights, closed })
    }

    fn measure_batch(&self, tokens: &Tensor, totals: &mut Totals) -> Result<(), Error> {
        let (batch, longer) = tokens.size2()?;
        let inputs = tokens.f_narrow(1, 0, longer - 1)?;
        let targets = tokens.f_narrow(1, 1, longer - 1)?.f_reshape([-1])?;
        let (predictions, expected) = self.predict(&self.weights, &inputs, &targets)?;
        if let Some(expected) = expected {
            totals
                .predicted_losses
                .extend(Vec::<f64>::try_from(expected.f_to_kind(Kind::Double)?)?);
        }
        if let Some(closed) = &self.closed
            && let (first, Some(expected)) = self.predict(closed, &inputs, &targets)?
        {
            let selected = needs_second_pass(&expected.f_view([batch, -1])?, None)?;
            let selected = Vec::<bool>::try_from(selected.f_reshape([-1])?)?;
            for (i, _) in selected.into_iter().enumerate().filter(|(_, selected)| *selected) {
                totals.selected += 1.0;
                totals.before += first.losses[i];
                totals.after += predictions.losses[i];
            }
        }
        for amplitudes in self.decoder.amplitudes(&self.weights, &inputs)? {
            totals.coherences.push(coherence(&amplitudes)?);
        }
        if let Some(utilisation) = &mut totals.utilisation {
            let output = self.decoder.forward_loss(&self.weights, tokens)?;
            utilisation.observe(&output.routing, &vec![0; usize::try_from(batch).unwrap_or(0)])?;
        }
        totals.predictions.extend(predictions);
        Ok(())
    }

    /// Predicts `targets`. Returns the predictions and, with introspection, the predicted losses.
    fn predict(
        &self,
        weights: &Weights,
        inputs: &Tensor,
        targets: &Tensor,
    ) -> Result<(TokenPredictions, Option<Tensor>), Error> {
        let width = i64::from(self.decoder.spec().width);
        let hidden = self.decoder.hidden_states(weights, inputs, None)?.f_view([-1, width])?;
        let logits = self.decoder.lm_head(weights, &hidden)?;
        Ok((TokenPredictions::new(&logits, targets)?, self.decoder.introspect(weights, &hidden)?))
    }
}

impl Totals {
    fn measurements(&self) -> Measurements {
        let Self { predictions, selected, .. } = self;
        let tokens = predictions.losses.len();
        let loads = self
            .utilisation
            .iter()
            .flat_map(|used| (0..used.blocks()).map(|block| used.loads(None, block)));
        let entropies: Vec<f64> =
            loads.filter_map(|load| metrics::utilisation_entropy(&load)).collect();
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

    /// Creates parameters with open gates and an introspection head that prefers some tokens.
    fn parameters(spec: &ModelSpec) -> Vec<f32> {
        let enlarged = |(i, value): (usize, f32)| value * 8.0 + (i % 7) as f32 * 0.02;
        initial_parameters(spec, &[3; 32]).into_iter().enumerate().map(enlarged).collect()
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
        let measured = measure(&spec, &parameters, &batches()).unwrap();
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
        let closed = measure(&spec, &parameters, &batches()).unwrap();
        assert!(
            (closed.loss - measured.loss - effect.share * (effect.before - effect.after)).abs()
                < 1e-5
        );
        let still = closed.second_pass.unwrap();
        assert_eq!((still.share, still.before), (effect.share, effect.before));
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
        // A bias above every score routes all tokens to one expert.
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
