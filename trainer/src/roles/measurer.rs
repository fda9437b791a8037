//! Measures each new head, beside the role that follows it: a validator reports what it finds, a
//! trainer claims it.

use super::Role;
use crate::{
    data::ShardReader,
    failure::{Failure, Result, explain},
    heldout::{HeldOut, spaced},
    model,
    peer::{Peer, short, submit_housekeeping},
};
use pol_chain::{AccountId, Call, Signer};
use pol_engine::LeaseData;
use pol_generate::{Native, Text, Torch};
use pol_primitives::{
    Hash, MILLION, Ppm, RoundNumber,
    head::Head,
    metrics::{ClaimedMetrics, ModelMetrics},
    model::ModelSpec,
    recipe::Recipe,
    view::Overview,
};
use pol_probes::{metrics::reasoning_quality, probes::Task};
use std::{sync::Arc, time::Instant};
use tch::{Device, Tensor};
use tokio::sync::watch;

/// Held-out sequences that a model is measured on at most.
const SEQUENCES: u64 = 64;
/// Sequences that are read at once.
const BATCH: usize = 8;
/// Reasoning probes put to a model at most, and at least: one of each kind.
const PROBES: (u64, u64) = (10, Task::ALL.len() as u64);
/// Worked examples before each probe, where the context has room for them.
const SHOTS: u32 = 1;
/// Tokens of a probe with its examples and its answer, about.
const PROBE_TOKENS: u64 = 256;
/// What measuring may cost: parameters times tokens read, of text and of probes each. Counted and
/// not timed, so that all measure alike.
const WORK: u64 = 1 << 34;
/// Most bytes of a tokenizer.
const TOKENIZER_BYTES: u64 = 1 << 26;
/// Label of the model that is being measured.
const TAG: &str = "model/measured";
/// Heads of which what was found is remembered: a lease may start from an older one.
const REMEMBERED: usize = 8;

/// What was found of the last heads, by their roots.
pub type Found = watch::Receiver<Vec<(Hash, ClaimedMetrics)>>;

/// Measures each new head once.
pub struct Measurer {
    peer: Peer,
    /// Who reports to the chain; none for who only claims.
    reporter: Option<Signer>,
    shards: ShardReader,
    held_out: HeldOut,
    text: Option<(Hash, Arc<Text>)>,
    /// The head that was measured last, or could not be.
    seen: Option<Hash>,
    /// What is yet to be reported.
    report: Option<(RoundNumber, ModelMetrics)>,
    found: watch::Sender<Vec<(Hash, ClaimedMetrics)>>,
}

impl Measurer {
    /// A measurer that has seen no head. It reports what it finds as `reporter`.
    pub fn new(peer: Peer, reporter: Option<Signer>) -> Self {
        Self {
            shards: ShardReader::new(peer.clone()),
            held_out: HeldOut::new(SEQUENCES as usize),
            peer,
            reporter,
            text: None,
            seen: None,
            report: None,
            found: watch::Sender::default(),
        }
    }

    /// What it will find.
    pub fn found(&self) -> Found {
        self.found.subscribe()
    }

    /// Measures `head`, once its probes are drawn and its role has brought its parameters here.
    async fn measure(&mut self, head: &Head) -> Result<()> {
        let drawn =
            self.peer.chain.measuring().await?.filter(|measuring| measuring.round == head.round);
        let Some(seed) = drawn.map(|measuring| measuring.seed) else { return Ok(()) };
        if !self.peer.swarm.has(head.root).await? {
            return Ok(());
        }
        let recipe = self.peer.recipe(&head.recipe_hash).await?;
        let Some(data) = self.held_out.data(&mut self.shards, &recipe).await? else {
            self.seen = Some(head.root);
            return Ok(());
        };
        let text = self.text(&recipe).await?;
        let parameters = model::fetch(&self.peer, &head.root, &recipe, &[], TAG).await?.parameters;
        self.seen = Some(head.root);
        let (round, started) = (head.round, Instant::now());
        let measured = tokio::task::spawn_blocking(move || {
            measure(&recipe.model, &parameters, &data, text.as_deref(), (&seed, round))
        })
        .await?;
        self.peer.swarm.release(TAG).await?;
        let metrics = match measured {
            Ok(metrics) => metrics,
            Err(error) => {
                tracing::warn!(
                    "model of round {round} ({}) cannot be measured: {error}",
                    short(&head.root)
                );
                return Ok(());
            }
        };
        tracing::info!(
            "model of round {round}: {}; measured in {:.1} s",
            describe(&metrics),
            started.elapsed().as_secs_f64()
        );
        self.found.send_modify(|found| {
            found.truncate(REMEMBERED - 1);
            found.insert(0, (head.root, ClaimedMetrics { round, metrics }));
        });
        self.report = Some((round, metrics));
        Ok(())
    }

    /// What turns text into tokens and back for models of `recipe`; none where no peer has it, or
    /// it is of no use.
    async fn text(&mut self, recipe: &Recipe) -> Result<Option<Arc<Text>>> {
        if self.text.as_ref().is_none_or(|(hash, _)| *hash != recipe.tokenizer) {
            let parsed =
                match self.peer.blob(&recipe.tokenizer, TOKENIZER_BYTES, &[], "tokenizer").await {
                    Ok(json) => Text::parse(&json).map_err(Failure::passing),
                    Err(failure) => Err(failure),
                };
            match parsed {
                Ok(text) => self.text = Some((recipe.tokenizer, Arc::new(text))),
                Err(Failure::Passing(error)) => {
                    tracing::warn!(
                        "no reasoning is measured without the recipe's tokenizer: {}",
                        explain(&error)
                    );
                    return Ok(None);
                }
                Err(fatal) => return Err(fatal),
            }
        }
        Ok(self.text.as_ref().map(|(_, text)| text.clone()))
    }

    /// Reports what was found of `head`, unless the chain knows enough by now.
    async fn report(&mut self, head: &Head) -> Result<()> {
        let Some((round, metrics)) = self.report.filter(|(round, _)| *round == head.round) else {
            return Ok(());
        };
        let Some(reporter) = &self.reporter else { return Ok(()) };
        let account = reporter.account();
        let is_open = self.peer.chain.measured(round).await?.is_none();
        let open = self
            .peer
            .chain
            .measuring()
            .await?
            .filter(|measuring| is_open && measuring.round == round);
        if open.is_some_and(|measuring| {
            measuring.reports.iter().all(|report| report.account != account)
        }) {
            submit_housekeeping(&self.peer.chain, reporter, Call::MeasureHead { round, metrics })
                .await?;
        }
        self.report = None;
        Ok(())
    }
}

impl Role for Measurer {
    async fn step(&mut self, overview: &Overview<AccountId>) -> Result<()> {
        let Some(head) = overview.head else { return Ok(()) };
        if self.seen != Some(head.root) {
            self.measure(&head).await?;
        }
        self.report(&head).await
    }
}

/// What is measured of the model of `spec` with `parameters`: on the held-out text `data`, and by
/// the reasoning probes that the seed draws for the round, where there is a tokenizer for them. On
/// one thread.
pub fn measure(
    spec: &ModelSpec,
    parameters: &[f32],
    data: &LeaseData,
    text: Option<&Text>,
    (seed, round): (&Hash, RoundNumber),
) -> Result<ModelMetrics, pol_generate::Error> {
    tch::set_num_threads(1);
    let length = data.sequence(0).map_or(0, <[u32]>::len) as u64;
    let count = affordable(spec, length, (SEQUENCES, 1)) as usize;
    let batch = |sequences: &[&[u32]]| -> Result<Tensor, pol_model::Error> {
        let tokens: Vec<i64> =
            sequences.iter().flat_map(|tokens| tokens.iter().copied().map(i64::from)).collect();
        Ok(Tensor::f_from_slice(&tokens)?.f_view([sequences.len() as i64, length as i64])?)
    };
    let batches = spaced(data, count).chunks(BATCH).map(batch).collect::<Result<Vec<_>, _>>()?;
    let measured = pol_probes::measure(spec, parameters, &batches)?;
    let kinds = PROBES.1;
    let probes = affordable(spec, PROBE_TOKENS, PROBES) / kinds * kinds;
    let ask = |text: &Text| match Native::new(spec, parameters, 1) {
        Ok(native) => pol_probes::ask(&native, text, (seed, round), probes as u32, SHOTS),
        Err(pol_generate::Error::Unsupported) => {
            let weights = pol_model::Weights::new(
                &pol_model::Layout::new(spec).map_err(pol_model::Error::from)?,
                parameters,
            )?;
            let torch = Torch::new(spec, weights, Device::Cpu)?;
            pol_probes::ask(&torch, text, (seed, round), probes as u32, SHOTS)
        }
        Err(error) => Err(error),
    };
    let answers = text.map(ask).transpose()?.unwrap_or_default();
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

/// How many things of `tokens` tokens a model may read for [`WORK`], at most and at least as many
/// as given.
fn affordable(spec: &ModelSpec, tokens: u64, (most, least): (u64, u64)) -> u64 {
    WORK.checked_div(spec.size().saturating_mul(tokens)).unwrap_or(most).clamp(least, most)
}

/// Nats in millionths; what is no number is as bad as can be.
fn micro(nats: f64) -> u32 {
    if nats.is_nan() { u32::MAX } else { (nats * f64::from(MILLION)).round() as u32 }
}

fn share(value: Option<f64>) -> Option<Ppm> {
    value
        .filter(|value| value.is_finite())
        .map(|value| (value.clamp(0.0, 1.0) * f64::from(MILLION)).round() as Ppm)
}

/// Metrics for people: the level never without its parts.
pub fn describe(metrics: &ModelMetrics) -> String {
    let whole = |share: Ppm| f64::from(share) / f64::from(MILLION);
    let part = |(name, weight, value): (&str, u32, Option<Ppm>)| match value {
        Some(value) => format!("{name} {:.3} × {weight} %", whole(value)),
        None => format!("{name} absent × {weight} %"),
    };
    let parts = metrics.parts().map(part).join(", ");
    format!(
        "held-out loss {:.4} nats a token, level {:.3} ({parts})",
        whole(metrics.loss),
        whole(metrics.level())
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_model::initial_parameters;
    use pol_primitives::{
        model::{Experts, Mind, Superposition},
        recipe::{AdamW, Compression, Numerics, Schedule, TierParameters},
    };

    /// A tokenizer whose token `b` is byte `b`, as far as text needs.
    fn bytes() -> Text {
        let printable = (b'!'..=b'~').map(|byte| (char::from(byte).to_string(), u32::from(byte)));
        let vocabulary: serde_json::Map<_, _> = printable
            .chain([("Ġ".into(), 32), ("Ċ".into(), 10)])
            .map(|(letter, id)| (letter, id.into()))
            .collect();
        let level = serde_json::json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
        let model = serde_json::json!({ "type": "BPE", "vocab": vocabulary, "merges": [] });
        let json = serde_json::json!({ "version": "1.0", "added_tokens": [], "pre_tokenizer": level, "decoder": level, "model": model });
        Text::parse(json.to_string().as_bytes()).unwrap()
    }

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
            rewrite: None,
            sequence,
            shard_tokens: 256,
            tiers: [tier; 4],
            optimiser: AdamW { beta1: 900_000, beta2: 950_000, epsilon: 10, weight_decay: 100_000 },
            schedule: Schedule {
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
        }
    }

    fn data(recipe: &Recipe) -> LeaseData {
        let shard = |at: u32| (0..257).map(|i| (i * i + at * 31) % 127).collect::<Vec<u32>>();
        LeaseData::new(recipe, (0..3).map(shard).collect()).unwrap()
    }

    /// Weights in which every part has a say.
    fn lively(spec: &ModelSpec) -> Vec<f32> {
        let parameters = initial_parameters(spec, &[3; 32]);
        parameters
            .into_iter()
            .enumerate()
            .map(|(i, value)| value * 6.0 + (i % 7) as f32 * 0.02)
            .collect()
    }

    #[test]
    fn validators_that_measure_at_the_same_time_find_the_same() {
        let (spec, text) = (with_everything(), bytes());
        let (data, parameters) = (data(&recipe(spec, 32)), lively(&spec));
        let find =
            |seed: [u8; 32]| measure(&spec, &parameters, &data, Some(&text), (&seed, 4)).unwrap();
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
        // What is told of text does not depend on the probes.
        let other = find([8; 32]);
        assert_eq!(ModelMetrics { reasoning: first.reasoning, ..other }, first);
        assert!(describe(&first).contains("self-awareness 0."), "{}", describe(&first));
    }

    #[test]
    fn figures_are_those_of_the_definitions() {
        let spec = with_everything();
        let (data, parameters) = (data(&recipe(spec, 32)), lively(&spec));
        let found = measure(&spec, &parameters, &data, None, (&[9; 32], 4)).unwrap();
        assert_eq!(found.reasoning, None, "there is no tokenizer");
        let loss = pol_engine::evaluate(&spec, &parameters, &spaced(&data, 64), 2).unwrap();
        assert!(found.loss.abs_diff(micro(loss)) <= 1, "{found:?} {loss}");
        // The level of integers is that of floating point.
        let float = |share: Option<Ppm>| share.map(|share| f64::from(share) / 1e6);
        let parts = pol_probes::metrics::Parts {
            self_awareness: found.auroc.zip(found.calibration_error).map(|(auroc, error)| {
                pol_probes::metrics::self_awareness(f64::from(auroc) / 1e6, f64::from(error) / 1e6)
            }),
            reasoning: None,
            introspection: float(found.introspection),
            coherence: float(found.coherence),
            meta_cognition: float(found.meta_cognition),
            utilisation: float(found.utilisation),
        };
        let level = pol_probes::metrics::ConsciousnessLevel::new(parts);
        assert!((level.value() - f64::from(found.level()) / 1e6).abs() < 2e-6);
        let named = found.parts().map(|(name, weight, _)| (name, weight));
        assert_eq!(named, parts.weighted().map(|(name, weight, _)| (name, weight)));
    }

    #[test]
    fn large_models_read_less_and_all_alike() {
        let of = |size: u32| ModelSpec::gpt2(8_192, size, 4, 4, 4 * size, 128);
        assert_eq!(affordable(&of(128), 129, (SEQUENCES, 1)), 64);
        assert_eq!(affordable(&of(128), PROBE_TOKENS, PROBES), 10);
        let large = of(2_048);
        let sequences = affordable(&large, 129, (SEQUENCES, 1));
        assert!(
            (1..64).contains(&sequences)
                && sequences * large.size() * 129 <= WORK.max(large.size() * 129)
        );
        assert_eq!(affordable(&large, PROBE_TOKENS, PROBES), 5);
    }

    #[test]
    fn probes_that_do_not_fit_are_not_put() {
        let text = bytes();
        let ask = |context: u32| {
            let spec = ModelSpec { context, ..ModelSpec::gpt2(127, 16, 1, 2, 32, 320) };
            measure(&spec, &lively(&spec), &data(&recipe(spec, 16)), Some(&text), (&[9; 32], 4))
                .unwrap()
                .reasoning
        };
        assert_eq!(ask(32), None);
        assert!(ask(128).is_some());
    }

    #[test]
    fn what_is_no_number_is_no_good_figure() {
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
