// SPDX-License-Identifier: Apache-2.0

//! The HTTP server of a model.

use super::{
    decoder::{AnyDecoder, DecoderOption, thread_count},
    loaded_model::{LoadedModel, ModelSource},
};
use crate::{monitoring::MetricsOptions, options::NodeOptions, roles::shutdown_signal};
use anyhow::{Context, Result, ensure};
use clap::Args;
use pol_api::{
    Access, Engine, EngineOptions, Limits, ModelCard, Models, Rate, TokenFile, router, serve,
};
use pol_import::describe;
use pol_primitives::{Hash, model::ModelSpec};
use std::{
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::net::TcpListener;

/// Requests of one client at once, in those of a second.
const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);
/// Time between two looks at the model, which another may have replaced.
const LOOK: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  pol-trainer serve --model smollm2
      serve an imported model to this machine; GET http://127.0.0.1:8000/reference describes it
  pol-trainer serve
      serve the model at the head of a node's chain, and each newer one
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
    /// Folder made by `model import`. [default: the model at the head of the chain]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    #[command(flatten)]
    node: NodeOptions,
    #[command(flatten)]
    metrics: MetricsOptions,
    /// Address to listen on. One that is not loopback needs --tokens.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    /// File of tokens, which all requests need then.
    #[arg(long, value_name = "FILE", env = "POL_TOKENS")]
    tokens: Option<PathBuf>,
    /// Name of the model in requests. [default: that of its folder, or head]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Origin whose pages may use the server, such as https://example.org. Can be repeated.
    #[arg(long, value_name = "URL")]
    allow_origin: Vec<String>,
    /// Folder whose imported models are listed.
    #[arg(long, value_name = "DIR")]
    library: Option<PathBuf>,
    /// Sequences that are generated at once.
    #[arg(long, value_name = "N", default_value_t = 8,
        value_parser = clap::value_parser!(u16).range(1..=256))]
    places: u16,
    /// Requests that wait for a place.
    #[arg(long, value_name = "N", default_value_t = 64,
        value_parser = clap::value_parser!(u16).range(1..=4096))]
    queue: u16,
    /// Memory of the keys and values of all sequences, in MiB.
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
}

/// Serves a model until the process is told to end.
pub(crate) async fn run(options: ServeOptions) -> Result<()> {
    ensure!(
        options.tokens.is_some() || options.listen.ip().is_loopback(),
        "{} can be reached by other machines, so requests need tokens; make one with `pol-trainer \
         tokens add NAME --scope generate --file tokens.json` and pass --tokens tokens.json",
        options.listen.ip()
    );
    if let Some(tokens) = &options.tokens {
        // A file that cannot be read is reported now, and not to the first client.
        if TokenFile::new(tokens).list()?.is_empty() {
            tracing::warn!("{} has no tokens yet; all requests are refused", tokens.display());
        }
    }
    let monitoring = options.metrics.start("api").await?;
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    let address = listener.local_addr()?;
    let source = options.source().await?;
    let root = source.root();
    let models = Models::new(options.start(source).await?);
    let rate = NonZeroU32::new(options.rate).unwrap_or(NonZeroU32::MIN);
    let rate = Rate { per_second: rate, burst: rate.saturating_mul(BURST) };
    let access = Access::new(options.tokens.as_deref().map(TokenFile::new), rate);
    let app = router(models.clone(), options.library.clone(), access)
        .with_origins(options.allow_origin.clone())
        .build();
    let limits = Limits { drain: Duration::from_secs(options.drain), ..Limits::default() };
    monitoring.need_nothing();
    println!("http://{address}");
    tokio::select! {
        () = serve(listener, app, limits, shutdown_signal()) => {}
        () = options.follow(models, root) => {}
    }
    Ok(())
}

impl ServeOptions {
    /// Reads or fetches the model.
    async fn source(&self) -> Result<ModelSource> {
        match self.model.clone() {
            Some(folder) => tokio::task::spawn_blocking(move || ModelSource::read(&folder)).await?,
            None => ModelSource::fetch(&self.node, None).await,
        }
    }

    /// Loads a model and starts its thread.
    async fn start(&self, source: ModelSource) -> Result<Engine> {
        let (choice, threads) = (self.decoder, thread_count(self.threads)?);
        let (name, spec) = (self.name(), *source.spec());
        let tokens = self.memory as usize * (1 << 20) / token_bytes(&spec);
        let engine = EngineOptions {
            places: self.places.into(),
            queue: self.queue.into(),
            tokens,
            max_tokens: self.max_tokens as usize,
        };
        let load = move || -> Result<Engine> {
            let model = source.open(choice, threads, None)?;
            let card = card(name, &model, &spec);
            let LoadedModel { decoder, text, begin, .. } = model;
            Ok(match decoder {
                AnyDecoder::Native(model) => Engine::start(*model, text, begin, card, engine)?,
                AnyDecoder::Torch(model) => Engine::start(*model, text, begin, card, engine)?,
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
    async fn follow(&self, models: Models, mut root: Hash) {
        loop {
            tokio::time::sleep(LOOK).await;
            match self.newest().await {
                Ok(newest) if newest == root => continue,
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!("cannot look for a newer model: {error:#}");
                    continue;
                }
            }
            let replaced = async {
                let source = self.source().await?;
                let newest = source.root();
                models.replace(self.start(source).await?);
                Ok::<_, anyhow::Error>(newest)
            };
            match replaced.await {
                Ok(newest) => {
                    root = newest;
                    tracing::info!("serving the model 0x{}", hex::encode(root));
                }
                Err(error) => tracing::warn!("cannot serve the newer model: {error:#}"),
            }
        }
    }

    /// Returns the root of the model as it is now.
    async fn newest(&self) -> Result<Hash> {
        match &self.model {
            Some(folder) => Ok(describe(folder)?.1.root),
            None => {
                let head = self.node.connect().await?.overview().await?.head;
                Ok(head.context("the chain has no model")?.root)
            }
        }
    }
}

/// Returns the bytes of the keys and values of a token.
fn token_bytes(spec: &ModelSpec) -> usize {
    let values = [spec.layers, spec.key_value_heads, spec.head_size].map(usize::from);
    (2 * size_of::<f32>() * values.iter().product::<usize>()).max(1)
}

fn card(name: String, model: &LoadedModel, spec: &ModelSpec) -> ModelCard {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    ModelCard {
        name,
        root: hex::encode(model.generator.model),
        decoder: model.generator.decoder.clone(),
        since: since.as_secs(),
        parameters: spec.size(),
        context: spec.context as usize,
        chat: model.text.encode_chat(&[]).is_ok(),
    }
}
