// SPDX-License-Identifier: Apache-2.0

//! The HTTP server: of a model, of the chain and its past, and of the dashboard.

use super::{
    decoder::{AnyDecoder, DecoderOption, thread_count},
    expert_use::ExpertMeter,
    loaded_model::{LoadedModel, ModelSource},
    membership::first_block,
    receipt::ServeReceiptOptions,
};
use crate::{
    api::{ApiPartOptions, ApiParts, IndexedChain, check_data},
    control::{ActivityKind, Control},
    keyring::user_folder,
    monitoring::{MetricsOptions, Monitoring},
    options::NodeOptions,
    roles::shutdown_signal,
};
use anyhow::{Context, Result};
use clap::Args;
use pol_api::{Engine, EngineOptions, ModelCard, Models, Notary};
use pol_chain::Chain;
use pol_import::describe;
use pol_primitives::{Hash, model::ModelSpec};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

/// Time between two looks at the model, which another may have replaced.
const LOOK: Duration = Duration::from_secs(5);
/// Longest time between two tries to serve a model that cannot be served.
const MAX_PAUSE: Duration = Duration::from_secs(5 * 60);

const EXAMPLES: &str = "\
Examples:
  pol-trainer serve --model smollm2
      serve an imported model to this machine; GET http://127.0.0.1:8000/reference describes it
  pol-trainer serve
      serve the model at the head of a node's chain, each newer one, and the dashboard
  pol-trainer serve --older 2
      keep two models that newer ones replaced, to compare what was learned
  pol-trainer serve --no-model --node ws://127.0.0.1:9944
      serve the dashboard and the past of the chain alone
  pol-trainer serve --model smollm2 --listen 0.0.0.0:8000 --tokens tokens.json
      serve to others, who need a token (`pol-trainer tokens add`)
  curl -s localhost:8000/generate --json '{\"prompt\": \"Once upon\", \"max_tokens\": 20}'

Clients of OpenAI take http://127.0.0.1:8000/v1 as their base. When a model is replaced, answers \
finish with the one that they began with. SIGTERM and Ctrl-C end the server after the answers \
under way.";

/// Options of `serve`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeOptions {
    /// Folder made by `model import`. The chain is shown too if --node is given. [default: the
    /// model at the head of the chain]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Serve no model: only the chain, its past, and this machine.
    #[arg(long, conflicts_with_all = ["model", "name", "decoder"])]
    no_model: bool,
    /// Folder made by `data ingest` or `data acquire`, whose documents can be looked for.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    node: NodeOptions,
    #[command(flatten)]
    metrics: MetricsOptions,
    /// Address to listen on. One that is not loopback needs --tokens.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    #[command(flatten)]
    api: ApiPartOptions,
    /// Name of the model in requests. [default: that of its folder, or head]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Older models to keep beside the newest one, for requests that name them: the first one that
    /// this server had, and the newest others. Each takes the memory of a model, and as much as
    /// --memory allows.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "no_model",
        value_parser = clap::value_parser!(u16).range(0..=8))]
    older: u16,
    /// Sequences that are generated at once.
    #[arg(long, value_name = "N", default_value_t = 8,
        value_parser = clap::value_parser!(u16).range(1..=256))]
    places: u16,
    /// Requests that wait for a place.
    #[arg(long, value_name = "N", default_value_t = 64,
        value_parser = clap::value_parser!(u16).range(1..=4096))]
    queue: u16,
    /// Memory of the keys and values of all sequences, in MiB. The branches of trees count too.
    #[arg(long, value_name = "MIB", default_value_t = 1_024)]
    memory: u32,
    /// Most tokens that a request generates.
    #[arg(long, value_name = "N", default_value_t = 4_096)]
    max_tokens: u32,
    /// Requests per second of one client in the long run; four times as many at once.
    #[arg(long, value_name = "N", default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Seconds for which the server waits for answers when it ends.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    drain: u64,
    /// Threads. [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Decoder of the model. [default: native if it supports the model]
    #[arg(long, value_enum)]
    decoder: Option<DecoderOption>,
    /// Keep keys and values as float16, so that --memory suffices for twice as many tokens. Texts
    /// may differ from those with float32, so there are no receipts of them. Only for the native
    /// decoder.
    #[arg(long, conflicts_with_all = ["receipts", "no_model"])]
    float16_cache: bool,
    #[command(flatten)]
    receipts: ServeReceiptOptions,
    /// Account that signs receipts, unlocked once.
    #[arg(skip)]
    notary: Option<Arc<dyn Notary>>,
    /// Meter of the experts of heads.
    #[arg(skip)]
    experts: ExpertMeter,
}

/// Serves until the process is told to end.
pub(crate) async fn run(mut options: ServeOptions) -> Result<()> {
    options.notary = options.receipts.notary()?;
    if let Some(folder) = &options.data {
        check_data(folder)?;
    }
    let control = Control::new("api");
    let drain = Duration::from_secs(options.drain);
    let server = options.api.bind(options.listen, options.rate, drain).await?;
    let mut monitoring = options.metrics.start("api").await?;
    monitoring.record("api");
    let chain = options.chain(&control, &mut monitoring).await?;
    let (models, root) = options.models().await?;
    control.note(ActivityKind::Serving, None, "answers requests");
    let (models_here, data) = (models.clone(), options.data.clone());
    let experts = Some(options.experts.measurements());
    let parts = ApiParts { control, models: models_here, experts, chain, data, trains: false };
    let api = server.start(parts)?;
    println!("http://{}", api.address);
    tokio::select! {
        () = shutdown_signal() => {}
        () = options.follow(models, root) => {}
    }
    api.end().await;
    Ok(())
}

impl ServeOptions {
    /// Returns the chain that is shown: that of the nodes that are given, or without a folder of a
    /// model of the default one.
    async fn chain(
        &self,
        control: &Control,
        monitoring: &mut Monitoring,
    ) -> Result<Option<IndexedChain>> {
        if self.model.is_some() && !self.node.is_given() {
            monitoring.need_nothing();
            return Ok(None);
        }
        let chain = match self.node.connect().await {
            // The model needs no node.
            Err(error) if self.model.is_some() => {
                tracing::warn!("no chain over HTTP: {error}");
                monitoring.need_nothing();
                return Ok(None);
            }
            chain => chain?,
        };
        monitoring.follow_chain(&chain, None);
        let genesis = chain.genesis_hash();
        control.describe(|facts| facts.genesis = Some(genesis));
        let folder = user_folder().unwrap_or_else(std::env::temp_dir);
        let folder = folder.join(hex::encode(&first_block(&chain).await?[..8]));
        self.api.chain(chain, &folder).await
    }

    /// Returns the model that is served first, and its root. Without a folder it is that of the
    /// chain, which may come later.
    async fn models(&self) -> Result<(Option<Models>, Option<Hash>)> {
        if self.no_model {
            return Ok((None, None));
        }
        let source = match (&self.model, self.source().await) {
            (None, Err(error)) => {
                tracing::warn!("no model is served yet: {error:#}; looking for one");
                return Ok((Some(self.keeper()), None));
            }
            (_, source) => source?,
        };
        let (models, root) = (self.keeper(), source.root());
        self.replace(&models, source).await?;
        Ok((Some(models), Some(root)))
    }

    /// Returns the place of the models, which has none yet.
    fn keeper(&self) -> Models {
        Models::default().keeping(self.older.into())
    }

    /// Reads or fetches the model.
    async fn source(&self) -> Result<ModelSource> {
        let source = match self.model.clone() {
            Some(folder) => tokio::task::spawn_blocking(move || ModelSource::read(&folder)).await?,
            None => ModelSource::fetch(&self.node, None).await,
        }?;
        let source = source.with_float16_cache(self.float16_cache);
        Ok(if self.notary.is_some() { source.verified() } else { source })
    }

    /// Serves a model from now on, and then measures its experts.
    async fn replace(&self, models: &Models, source: ModelSource) -> Result<()> {
        let (root, spec) = (source.root(), *source.spec());
        // Parameters are kept only for models whose experts are measured with them.
        let head = spec.experts.and_then(|_| source.head());
        models.replace(self.start(source).await?);
        self.experts.begin(&root, &spec, head, &self.node);
        Ok(())
    }

    /// Loads a model and starts its thread.
    async fn start(&self, source: ModelSource) -> Result<Engine> {
        let (choice, threads) = (self.decoder, thread_count(self.threads)?);
        let (name, spec, round) = (self.name(), *source.spec(), source.round());
        let tokens = self.memory as usize * (1 << 20) / token_bytes(&spec, self.float16_cache);
        let engine = EngineOptions {
            places: self.places.into(),
            queue: self.queue.into(),
            tokens,
            max_tokens: self.max_tokens as usize,
        };
        let notary = self.notary.clone();
        let load = move || -> Result<Engine> {
            let model = source.open(choice, threads, None)?;
            let card = card(name, round, &model, &spec);
            let LoadedModel { decoder, text, begin, generator } = model;
            let engine = match decoder {
                AnyDecoder::Native(model) => Engine::start(*model, text, begin, card, engine)?,
                AnyDecoder::Torch(model) => Engine::start(*model, text, begin, card, engine)?,
            };
            Ok(match notary {
                Some(notary) => engine.with_receipts(generator, notary),
                None => engine,
            })
        };
        tokio::task::spawn_blocking(load).await?
    }

    fn name(&self) -> String {
        let folder = self.model.as_deref().and_then(Path::file_name);
        let folder = folder.map(|name| name.to_string_lossy().into_owned());
        self.name.clone().or(folder).unwrap_or_else(|| "head".into())
    }

    /// Serves each model that takes the place of the one with this root.
    async fn follow(&self, models: Option<Models>, mut root: Option<Hash>) {
        let Some(models) = models else { return std::future::pending().await };
        let (mut is_lost, mut chain, mut retry) = (false, None, Retry::default());
        loop {
            tokio::time::sleep(LOOK).await;
            let newest = self.newest(&mut chain).await;
            if let Some(notice) = notice(&mut is_lost, newest.as_ref().err()) {
                tracing::warn!("{notice}");
            }
            let has_stopped = models.is_stopped();
            let newest = match newest {
                Ok(newest) if Some(newest) != root || has_stopped => newest,
                _ => continue,
            };
            if !retry.is_due(newest, Instant::now()) {
                continue;
            }
            if has_stopped {
                tracing::error!(
                    "the thread of the model ended by a fault; loading the model again"
                );
            }
            let replaced = async {
                let source = self.source().await?;
                let newest = source.root();
                self.replace(&models, source).await?;
                Ok::<_, anyhow::Error>(newest)
            };
            match replaced.await {
                Ok(newest) => {
                    (root, retry) = (Some(newest), Retry::default());
                    tracing::info!("serving the model 0x{}", hex::encode(newest));
                }
                Err(error) => {
                    let pause = retry.fail(newest, Instant::now()).as_secs();
                    tracing::warn!(
                        "cannot serve the newer model: {error:#}; trying again in {pause} s, and \
                         at once with another model"
                    );
                }
            }
        }
    }

    /// Returns the root of the model as it is now. A connection to the chain is kept in `chain`
    /// until it fails.
    async fn newest(&self, chain: &mut Option<Chain>) -> Result<Hash> {
        if let Some(folder) = &self.model {
            return Ok(describe(folder)?.1.root);
        }
        let connected = match chain.take() {
            Some(connected) => connected,
            None => self.node.connect().await?,
        };
        let head = connected.overview().await?.head;
        *chain = Some(connected);
        Ok(head.context("the chain has no model")?.root)
    }
}

/// Tries to serve a model, each of which fetches and reads it again.
#[derive(Default)]
struct Retry {
    /// Root of the model that could not be served, the pause after the last try, and its end.
    failed: Option<(Hash, Duration, Instant)>,
}

impl Retry {
    /// Returns `true` if the model with this root may be tried `now`.
    fn is_due(&self, root: Hash, now: Instant) -> bool {
        self.failed.is_none_or(|(failed, _, until)| failed != root || until <= now)
    }

    /// Notes that the model with this root could not be served, and returns the pause before the
    /// next try.
    fn fail(&mut self, root: Hash, now: Instant) -> Duration {
        let last = self.failed.filter(|&(failed, ..)| failed == root);
        let pause = last.map_or(LOOK, |(_, pause, _)| (2 * pause).min(MAX_PAUSE));
        self.failed = Some((root, pause, now + pause));
        pause
    }
}

/// Returns a notice when the source of the model is lost, and when it is back.
fn notice(is_lost: &mut bool, error: Option<&anyhow::Error>) -> Option<String> {
    if std::mem::replace(is_lost, error.is_some()) == error.is_some() {
        return None;
    }
    Some(match error {
        Some(error) => format!(
            "cannot look for a newer model: {error:#}; the one that is loaded stays served, and a \
             server that starts now would have none"
        ),
        None => "newer models are looked for again".into(),
    })
}

/// Returns the bytes of the keys and values of a token, which are float16 or float32.
fn token_bytes(spec: &ModelSpec, float16: bool) -> usize {
    let values = [spec.layers, spec.key_value_heads, spec.head_size].map(usize::from);
    let size = if float16 { size_of::<u16>() } else { size_of::<f32>() };
    (2 * size * values.iter().product::<usize>()).max(1)
}

fn card(name: String, round: Option<u32>, model: &LoadedModel, spec: &ModelSpec) -> ModelCard {
    ModelCard {
        name,
        root: format!("0x{}", hex::encode(model.generator.model)),
        round,
        decoder: model.generator.decoder.clone(),
        profile: model.generator.profile.clone(),
        since: SystemTime::now().into(),
        parameters: spec.size(),
        context: spec.context as usize,
        chat: model.text.has_chat(),
        receipts: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn float16_keys_and_values_take_half_the_memory() {
        let spec = ModelSpec::gpt2(37, 24, 2, 3, 40, 150);
        assert_eq!([false, true].map(|half| token_bytes(&spec, half)), [384, 192]);
    }

    #[test]
    fn a_model_that_fails_again_is_tried_less_often_than_another() {
        let (mut retry, mut now) = (Retry::default(), Instant::now());
        assert!(retry.is_due([1; 32], now));
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let pause = retry.fail([1; 32], now);
            pauses.push(pause.as_secs());
            now += pause - Duration::from_secs(1);
            assert!(!retry.is_due([1; 32], now) && retry.is_due([2; 32], now));
            now += Duration::from_secs(1);
            assert!(retry.is_due([1; 32], now));
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(retry.fail([2; 32], now), LOOK);
    }

    #[test]
    fn the_loss_of_a_model_is_told_once() {
        let error = anyhow::anyhow!("the folder is gone");
        let mut is_lost = false;
        assert_eq!(notice(&mut is_lost, None), None);
        let text = notice(&mut is_lost, Some(&error)).unwrap();
        assert!(text.contains("the folder is gone") && text.contains("stays served"), "{text}");
        assert_eq!(notice(&mut is_lost, Some(&error)), None);
        assert!(notice(&mut is_lost, None).is_some());
    }
}
