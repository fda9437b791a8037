// SPDX-License-Identifier: Apache-2.0

//! Cost of measuring a head beside the seats of a validator.

use crate::metrics::{MAX_SEQUENCES, measure_model};
use anyhow::Result;
use pol_engine::{
    LeaseData,
    bench::{SCORED_UPDATES, measure_audit_cost},
};
use pol_generate::TextTokenizer;
use pol_model::initial_parameters;
use pol_primitives::{
    audit::AuditConfig,
    metrics::ModelMetrics,
    model::{Mind, ModelSpec},
    prf::Prf,
    recipe::{Recipe, Tier},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::time::Instant;

/// Least context of a measured model, in which each probe has room with its example, by bytes.
const PROBE_CONTEXT: u32 = 512;

/// Cost of measuring a head, and of the seats of a round, in seconds on one thread.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct HeadCost {
    /// Measurement of the head, once per round.
    measurement: f64,
    /// Seats of the validator, one on each of [`SCORED_UPDATES`].
    seats: f64,
}

impl HeadCost {
    fn measure(recipe: &Recipe) -> Result<Self> {
        let seat = measure_audit_cost(recipe, Tier::Miner, 1, &AuditConfig::default())?;
        let (_, measurement) = measure_head(recipe)?;
        Ok(Self { measurement, seats: f64::from(SCORED_UPDATES) * seat.seat_seconds() })
    }

    /// Returns the share of the measurement in both.
    fn share(self) -> f64 {
        self.measurement / (self.measurement + self.seats)
    }
}

/// Costs for two models of the same sizes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct HeadCosts {
    /// Model without parts of the mind.
    plain: HeadCost,
    /// Model with a second pass, which reads the text of a probe again for each token of an answer.
    second_pass: HeadCost,
}

impl HeadCosts {
    /// Measures in this process, with models of the sizes of `recipe`.
    pub(super) fn measure(recipe: &Recipe) -> Result<Self> {
        let context = recipe.model.context.max(PROBE_CONTEXT);
        let plain = ModelSpec { context, ..recipe.model };
        let mind = Mind { introspection: true, second_pass: 1, ..plain.mind };
        let measure = |model| HeadCost::measure(&Recipe { model, ..recipe.clone() });
        Ok(Self { plain: measure(plain)?, second_pass: measure(ModelSpec { mind, ..plain })? })
    }

    /// Returns the costs with their shares.
    pub(super) fn to_json(self) -> Value {
        let cost = |cost: HeadCost| {
            let HeadCost { measurement, seats } = cost;
            json!({ "seconds": measurement, "seats_seconds": seats, "share": cost.share() })
        };
        json!({ "plain": cost(self.plain), "second_pass": cost(self.second_pass) })
    }

    pub(super) fn print(self) {
        for (model, cost) in [("a head", self.plain), ("one with a second pass", self.second_pass)]
        {
            println!(
                "measuring {model} takes {:.2} s on one thread, {:.1} % of the work of a validator \
                 with a seat on each of {SCORED_UPDATES} updates",
                cost.measurement,
                100.0 * cost.share()
            );
        }
    }
}

/// Measures the initial model of `recipe` on random tokens and on probes, as validators measure
/// heads. Returns the metrics and the duration in seconds.
fn measure_head(recipe: &Recipe) -> Result<(ModelMetrics, f64)> {
    let (model, mut draws) = (&recipe.model, Prf::new("pol/bench/1", &[3; 32], &[]));
    let mut shard = || (0..=recipe.shard_tokens).map(|_| draws.below(model.vocabulary)).collect();
    let shards = MAX_SEQUENCES.div_ceil(recipe.sequences_per_shard().max(1).into());
    let text = LeaseData::new(recipe, (0..shards).map(|_| shard()).collect())?;
    let parameters = initial_parameters(model, &recipe.seed);
    let has_bytes = model.vocabulary > u32::from(b'~');
    let tokenizer = has_bytes.then(byte_tokenizer).transpose()?;
    let start = Instant::now();
    let metrics = measure_model(model, &parameters, &text, tokenizer.as_ref(), (&[4; 32], 1))?;
    Ok((metrics, start.elapsed().as_secs_f64()))
}

/// Returns a tokenizer whose token `b` is byte `b`, for printable text.
pub(crate) fn byte_tokenizer() -> Result<TextTokenizer, pol_generate::Error> {
    let printable = (b'!'..=b'~').map(|byte| (char::from(byte).to_string(), u32::from(byte)));
    let vocabulary: Map<_, _> = printable
        .chain([("Ġ".into(), 32), ("Ċ".into(), 10)])
        .map(|(letter, id)| (letter, id.into()))
        .collect();
    let level = json!({
        "type": "ByteLevel",
        "add_prefix_space": false,
        "trim_offsets": true,
        "use_regex": true,
    });
    let model = json!({ "type": "BPE", "vocab": vocabulary, "merges": [] });
    let json = json!({
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": level,
        "decoder": level,
        "model": model,
    });
    TextTokenizer::parse(json.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preset::RecipeSizes;

    fn recipe(vocabulary: u32) -> Recipe {
        let sizes = RecipeSizes {
            vocabulary,
            width: 16,
            layers: 1,
            heads: 2,
            sequence: 16,
            shard_tokens: 512,
            tiers: [(4, 1, 8, 1); 4],
            segments: 8,
        };
        let recipe = sizes.recipe([0; 32]);
        let model = ModelSpec { context: PROBE_CONTEXT, ..recipe.model };
        Recipe { model, ..recipe }
    }

    #[test]
    fn the_share_by_hand() {
        let cost = HeadCost { measurement: 1.0, seats: 49.0 };
        assert!((cost.share() - 0.02).abs() < 1e-12);
        let costs = HeadCosts { plain: cost, second_pass: HeadCost { measurement: 49.0, ..cost } };
        assert_eq!(costs.to_json()["second_pass"]["share"], 0.5);
    }

    #[test]
    fn text_and_probes_are_measured() {
        let (metrics, seconds) = measure_head(&recipe(127)).unwrap();
        assert!(metrics.loss > 0 && metrics.reasoning.is_some(), "{metrics:?}");
        assert!(seconds > 0.0);
        let (metrics, _) = measure_head(&recipe(64)).unwrap();
        assert_eq!(metrics.reasoning, None, "the vocabulary has no bytes");
    }

    #[test]
    fn both_models_are_measured() {
        let costs = HeadCosts::measure(&recipe(127)).unwrap();
        for cost in [costs.plain, costs.second_pass] {
            assert!(cost.share() > 0.0 && cost.share() < 1.0, "{costs:?}");
        }
    }
}
