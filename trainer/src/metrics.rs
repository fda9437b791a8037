// SPDX-License-Identifier: Apache-2.0

//! Metrics of a model: loss on held-out text, calibration, and reasoning probes.

use crate::held_out_eval::evenly_spaced;
use anyhow::Result;
use pol_engine::{LeaseData, on_one_thread};
use pol_generate::{NativeModel, TextTokenizer};
use pol_primitives::{Hash, MILLION, Ppm, RoundNumber, metrics::ModelMetrics, model::ModelSpec};
use pol_probes::{KernelModel, metrics::reasoning_quality, probes::ProbeTask, run_probes};
use std::ops::RangeInclusive;

/// Most held-out sequences to measure a model on.
pub const MAX_SEQUENCES: u64 = 64;
/// Most and fewest reasoning probes: the fewest are one of each kind.
const PROBE_COUNT: RangeInclusive<u64> = PROBE_KINDS..=10;
/// Kinds of reasoning probes.
const PROBE_KINDS: u64 = ProbeTask::ALL.len() as u64;
/// Worked examples before each probe, if the context has room for them.
const PROBE_SHOTS: u32 = 1;
/// Approximate tokens of a probe with its examples and its answer.
const PROBE_TOKENS: u64 = 256;
/// Budget of text and of probes each, in parameters times tokens. It is counted and not timed, so
/// that all machines measure the same.
const TOKEN_PARAMETERS: u64 = 1 << 34;

/// Measures the model of `spec` with `parameters`, on one thread.
///
/// Losses and calibration are measured on the held-out text `data`. With a `tokenizer`, the model
/// also answers the reasoning probes that `seed` draws for `round`. Kernels compute, so the result
/// is one for each model, text, and seed. Text whose sequences are too large for kernels is
/// measured on libtorch.
///
/// # Errors
///
/// Fails if the model cannot be built or run.
pub fn measure_model(
    spec: &ModelSpec,
    parameters: &[f32],
    data: &LeaseData,
    tokenizer: Option<&TextTokenizer>,
    (seed, round): (&Hash, RoundNumber),
) -> Result<ModelMetrics> {
    let length = data.sequence(0).map_or(0, <[u32]>::len) as u64;
    let count = affordable(spec, length, 1..=MAX_SEQUENCES) as usize;
    let sequences = evenly_spaced(data, count);
    let measured = on_one_thread(|| pol_probes::measure(spec, parameters, &sequences))??;
    let count = affordable(spec, PROBE_TOKENS, PROBE_COUNT) / PROBE_KINDS * PROBE_KINDS;
    let ask = |tokenizer: &TextTokenizer| -> Result<Vec<_>> {
        let (count, drawn_by) = (count as u32, (seed, round));
        match NativeModel::new(spec, parameters, 1) {
            Ok(native) => Ok(run_probes(&native, tokenizer, drawn_by, count, PROBE_SHOTS)?),
            Err(pol_generate::Error::Unsupported) => {
                let model = KernelModel::new(spec, parameters)?;
                let ask = || run_probes(&model, tokenizer, drawn_by, count, PROBE_SHOTS);
                Ok(on_one_thread(ask)??)
            }
            Err(error) => Err(error.into()),
        }
    };
    let answers = tokenizer.map(ask).transpose()?.unwrap_or_default();
    let parts = measured.parts(reasoning_quality(&answers));
    Ok(ModelMetrics {
        loss: micro(measured.loss),
        auroc: share(measured.auroc),
        calibration_error: share(measured.calibration_error),
        introspection: share(parts.introspection),
        coherence: share(parts.coherence),
        meta_cognition: share(parts.meta_cognition),
        utilisation: share(parts.utilisation),
        reasoning: share(parts.reasoning),
    })
}

/// Returns the number of texts of `tokens` tokens that a model may read within
/// [`TOKEN_PARAMETERS`], clamped to `range`.
fn affordable(spec: &ModelSpec, tokens: u64, range: RangeInclusive<u64>) -> u64 {
    let (least, most) = range.into_inner();
    let count = TOKEN_PARAMETERS.checked_div(spec.size().saturating_mul(tokens));
    count.unwrap_or(most).clamp(least, most)
}

/// Returns nats in millionths. NaN counts as the largest loss.
fn micro(nats: f64) -> u32 {
    if nats.is_nan() { u32::MAX } else { (nats * f64::from(MILLION)).round() as u32 }
}

/// Returns a share in millionths, or `None` if it is not finite.
fn share(value: Option<f64>) -> Option<Ppm> {
    value
        .filter(|value| value.is_finite())
        .map(|value| (value.clamp(0.0, 1.0) * f64::from(MILLION)).round() as Ppm)
}

/// Returns metrics as text for people. The level is always shown with its parts.
pub fn format_metrics(metrics: &ModelMetrics) -> String {
    let whole = |share: Ppm| f64::from(share) / f64::from(MILLION);
    let part = |(name, weight, value): (&str, u32, Option<Ppm>)| match value {
        Some(value) => format!("{name} {:.3} × {weight} %", whole(value)),
        None => format!("{name} absent × {weight} %"),
    };
    let parts = metrics.parts().map(part).join(", ");
    let level = match metrics.level() {
        Some(level) => format!("{:.3}", whole(level)),
        None => "absent".to_owned(),
    };
    format!("held-out loss {:.4} nats per token, level {level} ({parts})", whole(metrics.loss))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::bench_head::byte_tokenizer;
    use pol_model::initial_parameters;
    use pol_primitives::{
        model::{Experts, Mind, Superposition},
        recipe::{AdamW, Compression, LearningRateSchedule, Numerics, Recipe, TierParameters},
    };

    fn with_everything() -> ModelSpec {
        let mind = Mind {
            superposition: Some(Superposition { branches: 3, rank: 4 }),
            introspection: true,
            second_pass: 1,
        };
        ModelSpec {
            mind,
            experts: Some(Experts::new(3, 2)),
            ..ModelSpec::gpt2(127, 16, 2, 2, 32, 320)
        }
    }

    fn recipe(model: ModelSpec, sequence: u16) -> Recipe {
        let tier = TierParameters { micro_batch: 1, accumulation: 1, inner_steps: 1, cadence: 1 };
        Recipe {
            model,
            tokenizer: [1; 32],
            seed: [2; 32],
            pretrained: None,
            held_out: None,
            rewrite: None,
            sequence,
            shard_tokens: 256,
            tiers: [tier; 4],
            optimiser: AdamW { beta1: 900_000, beta2: 950_000, epsilon: 10, weight_decay: 100_000 },
            schedule: LearningRateSchedule {
                peak: 1_000_000,
                warmup_steps: 2,
                decay_tokens: 0,
                floor: 100_000,
            },
            gradient_clip: MILLION,
            outer_rate: MILLION,
            compression: Compression { top_k: 256, feedback: 950_000 },
            segments: 1,
            numerics: Numerics::Exact,
            arithmetic: None,
        }
    }

    fn data(recipe: &Recipe) -> LeaseData {
        let shard = |at: u32| (0..257).map(|i| (i * i + at * 31) % 127).collect::<Vec<u32>>();
        LeaseData::new(recipe, (0..3).map(shard).collect()).unwrap()
    }

    /// Returns parameters under which every part of the model matters.
    fn lively(spec: &ModelSpec) -> Vec<f32> {
        let parameters = initial_parameters(spec, &[3; 32]);
        parameters
            .into_iter()
            .enumerate()
            .map(|(i, value)| value * 6.0 + (i % 7) as f32 * 0.02)
            .collect()
    }

    #[test]
    fn concurrent_measurements_agree() {
        let (spec, text) = (with_everything(), byte_tokenizer().unwrap());
        let (data, parameters) = (data(&recipe(spec, 32)), lively(&spec));
        let find = |seed: [u8; 32]| {
            measure_model(&spec, &parameters, &data, Some(&text), (&seed, 4)).unwrap()
        };
        let (first, second) = std::thread::scope(|scope| {
            let [first, second] = [(), ()].map(|()| scope.spawn(|| find([9; 32])));
            (first.join().unwrap(), second.join().unwrap())
        });
        assert_eq!(first, second);
        assert!(first.is_valid() && first.loss > 0, "{first:?}");
        assert!(
            first.parts().iter().all(|(_, _, part)| part.is_some()),
            "every part is there: {first:?}"
        );
        // Metrics on text do not depend on the probes.
        let other = find([8; 32]);
        assert_eq!(ModelMetrics { reasoning: first.reasoning, ..other }, first);
        let shown = format_metrics(&first);
        assert!(shown.contains("level 0.") && shown.contains("self-awareness 0."), "{shown}");
        let shown = format_metrics(&ModelMetrics { coherence: None, ..first });
        assert!(
            shown.contains("level absent (") && shown.contains("coherence absent ×"),
            "{shown}"
        );
    }

    #[test]
    fn metrics_follow_their_definitions() {
        let spec = with_everything();
        let (data, parameters) = (data(&recipe(spec, 32)), lively(&spec));
        let found = measure_model(&spec, &parameters, &data, None, (&[9; 32], 4)).unwrap();
        assert_eq!((found.reasoning, found.level()), (None, None), "there is no tokenizer");
        let loss = pol_engine::evaluate(&spec, &parameters, &evenly_spaced(&data, 64), 2).unwrap();
        assert!(found.loss.abs_diff(micro(loss)) <= 1, "{found:?} {loss}");
        // The level computed from integers equals that of floating-point metrics.
        let float = |share: Option<Ppm>| share.map(|share| f64::from(share) / 1e6);
        let parts = pol_probes::metrics::LevelParts {
            self_awareness: found.auroc.zip(found.calibration_error).map(|(auroc, error)| {
                pol_probes::metrics::self_awareness(f64::from(auroc) / 1e6, f64::from(error) / 1e6)
            }),
            reasoning: Some(0.4),
            introspection: float(found.introspection),
            coherence: float(found.coherence),
            meta_cognition: float(found.meta_cognition),
            utilisation: float(found.utilisation),
        };
        let answered = ModelMetrics { reasoning: Some(400_000), ..found };
        let level = float(answered.level()).unwrap();
        let expected = pol_probes::metrics::ConsciousnessLevel::new(parts).value().unwrap();
        assert!((level - expected).abs() < 2e-6, "{level} {expected}");
        let named = found.parts().map(|(name, weight, _)| (name, weight));
        assert_eq!(named, parts.weighted().map(|(name, weight, _)| (name, weight)));
    }

    #[test]
    fn large_models_read_less() {
        let of = |size: u32| ModelSpec::gpt2(8_192, size, 4, 4, 4 * size, 128);
        assert_eq!(affordable(&of(128), 129, 1..=MAX_SEQUENCES), 64);
        assert_eq!(affordable(&of(128), PROBE_TOKENS, PROBE_COUNT), 10);
        let large = of(2_048);
        let sequences = affordable(&large, 129, 1..=MAX_SEQUENCES);
        assert!(
            (1..64).contains(&sequences)
                && sequences * large.size() * 129 <= TOKEN_PARAMETERS.max(large.size() * 129)
        );
        assert_eq!(affordable(&large, PROBE_TOKENS, PROBE_COUNT), 5);
    }

    #[test]
    fn probes_that_do_not_fit_are_left_out() {
        let text = byte_tokenizer().unwrap();
        let ask = |context: u32| {
            let spec = ModelSpec { context, ..ModelSpec::gpt2(127, 16, 1, 2, 32, 320) };
            measure_model(
                &spec,
                &lively(&spec),
                &data(&recipe(spec, 16)),
                Some(&text),
                (&[9; 32], 4),
            )
            .unwrap()
            .reasoning
        };
        assert_eq!(ask(32), None);
        assert!(ask(128).is_some());
    }

    #[test]
    fn nan_is_the_worst_figure() {
        assert_eq!(
            (micro(f64::NAN), micro(f64::INFINITY), micro(2.5)),
            (u32::MAX, u32::MAX, 2_500_000)
        );
        assert_eq!(
            (share(Some(f64::NAN)), share(Some(1.5)), share(None)),
            (None, Some(MILLION), None)
        );
    }
}
