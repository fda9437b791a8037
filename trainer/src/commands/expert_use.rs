// SPDX-License-Identifier: Apache-2.0

//! Measurement of the experts of a served head: which of them the network's text goes to.
//!
//! The chain records how evenly experts are used, and not by which text. Whoever has the model and
//! the text can count it, so this process fetches a shard of each of some sources, and reads a part
//! of it with the model.

use crate::{
    context::NodeContext,
    data::ShardReader,
    held_out_eval::evenly_spaced,
    options::{NodeOptions, SwarmOptions},
    state::StateFolder,
};
use anyhow::{Context, Result};
use pol_api::{ExpertMeasurement, ExpertMeasurements, SampleUse};
use pol_chain::{AccountId, Chain, format_account};
use pol_engine::LeaseData;
use pol_model::evaluate_domains;
use pol_primitives::{
    Hash,
    data::{Manifest, ManifestId, ManifestStatus, ShardId, SourceId, SourceKind},
    model::ModelSpec,
    recipe::Recipe,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::task::{AbortHandle, spawn_blocking};

/// Most samples of a kind of text. Each is of another source.
const MAX_SAMPLES: usize = 8;
/// Most sequences of a sample.
const MAX_SEQUENCES: usize = 4;
/// Most tokens of all samples, which bounds the time that the model needs. A sequence of each is
/// read at least.
const MAX_TOKENS: usize = 1 << 14;
/// Most manifests that are looked at, the newest first.
const MAX_MANIFESTS: u32 = 500;
/// Longest time in which text is fetched.
const FETCH_TIME: Duration = Duration::from_secs(60);

/// Sequences of tokens.
type Sequences = Vec<Vec<u32>>;

/// Meter of the experts of served models, one after the other.
#[derive(Default)]
pub(crate) struct ExpertMeter {
    measurements: ExpertMeasurements,
    /// Measurement that began last.
    task: Mutex<Option<AbortHandle>>,
}

impl ExpertMeter {
    /// Returns the measurements.
    pub(crate) fn measurements(&self) -> ExpertMeasurements {
        self.measurements.clone()
    }

    /// Begins to measure the model with this root, unless that was done. `head` has the recipe and
    /// the parameters of a head of the chain of `node`. The measurement of an earlier model ends.
    pub(crate) fn begin(
        &self,
        root: &Hash,
        spec: &ModelSpec,
        head: Option<(Arc<Recipe>, Arc<Vec<f32>>)>,
        node: &NodeOptions,
    ) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = task.take() {
            earlier.abort();
        }
        let root = format!("0x{}", hex::encode(root));
        if let Some(ExpertMeasurement::Done { .. }) = self.measurements.of(&root) {
            return;
        }
        let Some((recipe, parameters)) = head.filter(|_| spec.experts.is_some()) else {
            let reason = match spec.experts {
                Some(_) => ExpertMeasurement::NoNetwork,
                None => ExpertMeasurement::NoExperts,
            };
            return self.measurements.note(&root, reason);
        };
        self.measurements.note(&root, ExpertMeasurement::UnderWay);
        let (measurements, node) = (self.measurements(), node.clone());
        let measuring = tokio::spawn(async move {
            let measured = measure(&node, recipe, parameters).await.unwrap_or_else(|error| {
                tracing::warn!("cannot measure the experts of the model: {error:#}");
                ExpertMeasurement::Failed(format!("{error:#}"))
            });
            measurements.note(&root, measured);
        });
        *task = Some(measuring.abort_handle());
    }
}

/// Measures the model with `parameters` on text of the chain of `node`.
async fn measure(
    node: &NodeOptions,
    recipe: Arc<Recipe>,
    parameters: Arc<Vec<f32>>,
) -> Result<ExpertMeasurement> {
    let scratch = tempfile::tempdir().context("cannot make a temporary folder for text")?;
    let state = StateFolder::open(scratch.path())?;
    let chain = node.connect().await?;
    let context = NodeContext::start(chain, &SwarmOptions::fetch_only(), state).await?;
    let read = read_samples(&context, &recipe).await;
    context.swarm.clone().shutdown().await?;
    let (samples, unread) = read?;
    let measuring = move || count(&recipe.model, &parameters, samples);
    let samples = spawn_blocking(measuring).await??;
    Ok(ExpertMeasurement::Done { samples, unread })
}

/// Manifests of which samples are taken: the newest one of each of some sources, for each kind.
struct Choice<'a> {
    recipe: &'a Recipe,
    chosen: Vec<(ManifestId, SourceKind, Manifest<AccountId>)>,
    seen: BTreeSet<(SourceKind, SourceId)>,
}

impl<'a> Choice<'a> {
    fn new(recipe: &'a Recipe) -> Self {
        Self { recipe, chosen: Vec::new(), seen: BTreeSet::new() }
    }

    /// Takes a manifest, if it has text that the model reads and more of its kind are wanted.
    fn add(&mut self, id: ManifestId, manifest: Manifest<AccountId>) {
        let (info, recipe) = (&manifest.info, self.recipe);
        let is_text = matches!(
            manifest.status,
            ManifestStatus::Admitted | ManifestStatus::Paused | ManifestStatus::Consumed
        );
        let fits = info.tokenizer == recipe.tokenizer && info.shard_tokens == recipe.shard_tokens;
        let Some(kind) = manifest.kind.filter(|_| is_text && fits && info.shards > 0) else {
            return;
        };
        let of_kind = self.chosen.iter().filter(|(_, other, _)| *other == kind).count();
        if of_kind < MAX_SAMPLES && self.seen.insert((kind, info.source)) {
            self.chosen.push((id, kind, manifest));
        }
    }
}

/// Reads samples of the network's text, as far as members serve it in time. Returns them without
/// the use of experts, and the number of those that nobody served.
async fn read_samples(
    context: &NodeContext,
    recipe: &Recipe,
) -> Result<(Vec<(SampleUse, Sequences)>, u32)> {
    let chain = &context.chain;
    let mut choice = Choice::new(recipe);
    let count = chain.manifest_count().await?;
    for id in (count.saturating_sub(MAX_MANIFESTS)..count).rev() {
        if let Some(manifest) = chain.manifest(id).await? {
            choice.add(id, manifest);
        }
    }
    let most = sequences_of_each(recipe, choice.chosen.len());
    let mut shards = ShardReader::new(context.until(Instant::now() + FETCH_TIME));
    let (mut samples, mut unread) = (Vec::new(), 0);
    for (id, kind, manifest) in choice.chosen {
        let shard = ShardId { manifest: id, index: manifest.info.shards / 2 };
        match shards.shard(recipe, shard, &[], &format!("experts/{id}")).await {
            Ok(tokens) => {
                let data = LeaseData::new(recipe, vec![tokens])?;
                let sequences = evenly_spaced(&data, most).into_iter().map(<[u32]>::to_vec);
                let sample = SampleUse {
                    source: manifest.info.source,
                    kind,
                    provider: format_account(&manifest.owner),
                    address: address(chain, manifest.info.source).await?,
                    tokens: 0,
                    loss: 0.0,
                    loads: Vec::new(),
                };
                samples.push((sample, sequences.collect()));
            }
            Err(error) => {
                tracing::debug!("no sample of manifest {id}: {:#}", error.into_inner());
                unread += 1;
            }
        }
    }
    Ok((samples, unread))
}

/// Returns the number of sequences that are read of each of some samples.
fn sequences_of_each(recipe: &Recipe, samples: usize) -> usize {
    let tokens = usize::from(recipe.sequence).max(1) * samples.max(1);
    (MAX_TOKENS / tokens).clamp(1, MAX_SEQUENCES)
}

/// Returns the address of a source; an empty one if the source was withdrawn.
async fn address(chain: &Chain, source: SourceId) -> Result<String> {
    let found = chain.source(source).await?;
    Ok(found.map_or_else(String::new, |found| String::from_utf8_lossy(&found.address).into()))
}

/// Reads samples with a model, and counts the tokens that go to each expert.
fn count(
    spec: &ModelSpec,
    parameters: &[f32],
    samples: Vec<(SampleUse, Sequences)>,
) -> Result<Vec<SampleUse>> {
    let (mut samples, texts): (Vec<SampleUse>, Vec<Sequences>) = samples.into_iter().unzip();
    let report = evaluate_domains(spec, parameters, &texts, || ())?;
    let used = report.utilisation.context("the model has no experts")?;
    for (number, (sample, read)) in samples.iter_mut().zip(report.domains).enumerate() {
        (sample.tokens, sample.loss) = (read.tokens as u64, read.loss);
        sample.loads = (0..used.blocks()).map(|block| used.loads(Some(number), block)).collect();
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::{super::withdrawal::tests::manifest as untouched, *};
    use crate::preset::Preset;
    use pol_data::IngestRecord;
    use pol_model::initial_parameters;
    use pol_primitives::model::Experts;

    /// Returns a recipe with three experts, of which each token goes to two.
    fn recipe() -> Recipe {
        let data = IngestRecord { vocabulary: 8_192, sequence: 128, ..Default::default() };
        let experts = Some(Experts::new(3, 2));
        let model = ModelSpec { experts, ..ModelSpec::gpt2(64, 16, 2, 2, 32, 16) };
        Recipe { model, sequence: 16, ..Preset::Demo.sizes(&data).recipe([7; 32]) }
    }

    fn manifest(source: SourceId, kind: Option<SourceKind>) -> Manifest<AccountId> {
        let (recipe, mut manifest) = (recipe(), untouched(ManifestStatus::Admitted, false, 1));
        manifest.kind = kind;
        manifest.info.source = source;
        manifest.info.tokenizer = recipe.tokenizer;
        manifest.info.shard_tokens = recipe.shard_tokens;
        manifest.info.shards = 1;
        manifest
    }

    #[test]
    fn samples_are_of_each_kind_and_of_several_sources() {
        let recipe = recipe();
        let mut choice = Choice::new(&recipe);
        let (web, data) = (Some(SourceKind::Web), Some(SourceKind::Dataset));
        choice.add(90, manifest(1, None));
        let unreadable: [fn(&mut Manifest<AccountId>); 4] = [
            |one| one.info.tokenizer = [9; 32],
            |one| one.info.shard_tokens += 1,
            |one| one.info.shards = 0,
            |one| one.status = ManifestStatus::Retired,
        ];
        for change in unreadable {
            let mut unreadable = manifest(1, web);
            change(&mut unreadable);
            choice.add(80, unreadable);
        }
        assert!(choice.chosen.is_empty());
        // The newest manifest of a source comes first. A kind with many sources leaves room.
        for id in (20..60).rev() {
            choice.add(id, manifest(id / 2, web));
        }
        for (id, source, kind) in [(9, 29, data), (8, 29, data), (7, 28, data)] {
            choice.add(id, manifest(source, kind));
        }
        let chosen: Vec<_> = choice.chosen.iter().map(|(id, ..)| *id).collect();
        assert_eq!(chosen, [59, 57, 55, 53, 51, 49, 47, 45, 9, 7]);
        for (samples, most) in [(0, 4), (1, 4), (256, 4), (300, 3), (9_999, 1)] {
            assert_eq!(sequences_of_each(&recipe, samples), most, "{samples} samples");
        }
    }

    #[test]
    fn each_sample_has_the_experts_of_its_own_text() {
        let spec = recipe().model;
        let parameters: Vec<f32> =
            initial_parameters(&spec, &[3; 32]).into_iter().map(|value| value * 9.0).collect();
        let text = |first: u32| (first..first + 17).map(|token| token % 64).collect::<Vec<_>>();
        let sample = |texts: &[u32]| {
            let empty = SampleUse {
                source: 1,
                kind: SourceKind::Web,
                provider: String::new(),
                address: String::new(),
                tokens: 0,
                loss: 0.0,
                loads: Vec::new(),
            };
            (empty, texts.iter().map(|&first| text(first)).collect::<Sequences>())
        };
        let of = |samples: &[&[u32]]| {
            count(&spec, &parameters, samples.iter().map(|one| sample(one)).collect()).unwrap()
        };
        let both = of(&[&[0, 7], &[40]]);
        assert_eq!(both[0], of(&[&[0, 7]])[0]);
        assert_eq!(both[1], of(&[&[40]])[0]);
        assert_eq!(both.iter().map(|sample| sample.tokens).collect::<Vec<_>>(), [32, 16]);
        for (sample, tokens) in both.iter().zip([32, 16]) {
            assert!(sample.loss > 0.0);
            assert_eq!(sample.loads.len(), 2);
            // Each token goes to two of the three experts of a block.
            assert!(sample.loads.iter().all(|loads| loads.iter().sum::<u64>() == 2 * tokens));
        }
        let dense = ModelSpec { experts: None, ..spec };
        let plain = initial_parameters(&dense, &[3; 32]);
        assert!(count(&dense, &plain, vec![sample(&[1])]).is_err());
    }

    #[tokio::test]
    async fn models_without_experts_or_network_have_no_figures() {
        let (meter, node) = (ExpertMeter::default(), NodeOptions { urls: Vec::new() });
        let of = |root: u8| meter.measurements().of(&format!("0x{}", hex::encode([root; 32])));
        let spec = recipe().model;
        meter.begin(&[1; 32], &ModelSpec { experts: None, ..spec }, None, &node);
        meter.begin(&[2; 32], &spec, None, &node);
        assert_eq!(of(1), Some(ExpertMeasurement::NoExperts));
        assert_eq!(of(2), Some(ExpertMeasurement::NoNetwork));
        // A head that was measured is not measured again, and no other figures stand for it.
        let done = ExpertMeasurement::Done { samples: Vec::new(), unread: 0 };
        meter.measurements().note(&format!("0x{}", hex::encode([3; 32])), done.clone());
        let head = || Some((Arc::new(recipe()), Arc::new(Vec::new())));
        meter.begin(&[3; 32], &spec, head(), &node);
        assert_eq!(of(3), Some(done));
        meter.begin(&[4; 32], &spec, head(), &node);
        assert_eq!(of(4), Some(ExpertMeasurement::UnderWay));
        assert!(meter.task.lock().unwrap().take().is_some_and(|task| !task.is_finished()));
    }
}
