// SPDX-License-Identifier: Apache-2.0

//! Models that make texts: those of folders, and the heads of a chain.

use super::decoder::{AnyDecoder, DecoderOption, Reading, usual_decoder};
use crate::{
    context::NodeContext,
    error::RoleError,
    model::{fetch_model, fetch_tokenizer},
    options::{NodeOptions, SwarmOptions},
    state::StateFolder,
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use pol_chain::Chain;
use pol_engine::determinism::{NumericsMode, is_applied};
use pol_generate::{ChatTemplate, TextTokenizer};
use pol_import::{ExportSource, OpenModel, SpecialTokens};
use pol_primitives::{Hash, head::Head, model::ModelSpec, recipe::Recipe};
use pol_receipt::{Difference, Generator};
use std::{path::Path, sync::Arc, thread};

/// Name and version of libtorch's decoder, as receipts name it.
const TORCH_DECODER: &str = "pol-generate/torch/1";
/// Profile of a decoder whose bits are the same on every machine that it runs on.
const EXACT_PROFILE: &str = "exact";
/// Profile of the native decoder with keys and values that are rounded to float16.
const FLOAT16_PROFILE: &str = "float16 keys and values";
/// Newest rounds in which a head is searched for. Members keep the models of a few.
const SEARCHED_ROUNDS: u32 = 64;
/// Label of the model that is fetched.
const MODEL_TAG: &str = "model/loaded";

/// A model and its tokenizer, which no decoder has yet.
pub(crate) struct ModelSource {
    chain: Option<Hash>,
    round: Option<u32>,
    /// Recipe of a head.
    recipe: Option<Arc<Recipe>>,
    spec: ModelSpec,
    root: Hash,
    parameters: Parameters,
    /// Parts of a folder that are read.
    reading: Reading,
    /// Set if keys and values are kept as float16.
    float16_cache: bool,
    tokenizer: Vec<u8>,
    special: SpecialTokens,
}

/// Parameters of a model, in memory or still on disk.
enum Parameters {
    Memory(Arc<Vec<f32>>),
    Folder(Box<OpenModel>),
}

/// A model that makes texts.
pub(crate) struct LoadedModel {
    /// Its decoder.
    pub(crate) decoder: AnyDecoder,
    /// Its tokenizer.
    pub(crate) text: TextTokenizer,
    /// Token that begins texts.
    pub(crate) begin: Option<u32>,
    /// Its name in receipts.
    pub(crate) generator: Generator,
}

impl ModelSource {
    /// Opens the imported model in `folder`. A decoder reads its packed parameters, if it has them,
    /// unless the model is to be [`verified`](Self::verified).
    ///
    /// # Errors
    ///
    /// Fails if it is not an imported model, or has no tokenizer.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let mut model = pol_import::open(folder)?;
        let tokenizer = model.tokenizer.take().with_context(|| {
            format!(
                "{} has no tokenizer; import the model again with --tokenizer FILE",
                folder.display()
            )
        })?;
        Ok(Self {
            chain: None,
            round: None,
            recipe: None,
            spec: model.spec,
            root: model.report.root,
            tokenizer,
            special: model.report.special.clone(),
            parameters: Parameters::Folder(model.into()),
            reading: Reading::Packed,
            float16_cache: false,
        })
    }

    /// Lets a decoder read the parameters, which are compared with the root, and none that are
    /// packed. Receipts need this, since they claim the root.
    pub(crate) fn verified(self) -> Self {
        Self { reading: Reading::Verified, ..self }
    }

    /// Lets the decoder keep keys and values as float16 if `float16_cache` is set. Its profile says
    /// so, since texts may differ.
    pub(crate) fn with_float16_cache(self, float16_cache: bool) -> Self {
        Self { float16_cache, ..self }
    }

    /// Fetches the model at the head of a node's chain from members, or that of the recent head
    /// with this `root`.
    ///
    /// # Errors
    ///
    /// Fails if the chain has no such head, or if no member serves its model or the tokenizer.
    pub(crate) async fn fetch(node: &NodeOptions, root: Option<&Hash>) -> Result<Self> {
        let scratch = tempfile::tempdir().context("cannot make a temporary folder for a model")?;
        let chain = node.connect().await?;
        let head = find_head(&chain, root).await?;
        let state = StateFolder::open(scratch.path())?;
        let context = NodeContext::start(chain, &SwarmOptions::fetch_only(), state).await?;
        let fetched = Self::fetch_head(&context, &head).await;
        context.swarm.clone().shutdown().await?;
        fetched.map_err(RoleError::into_inner)
    }

    async fn fetch_head(context: &NodeContext, head: &Head) -> crate::error::Result<Self> {
        tracing::info!("fetching the model of round {} from members", head.round);
        let recipe = context.recipe(&head.recipe_hash).await?;
        let model = fetch_model(context, &head.root, &recipe, &[], MODEL_TAG).await?;
        Ok(Self {
            chain: Some(context.chain.genesis_hash()),
            round: Some(head.round),
            spec: recipe.model,
            root: head.root,
            parameters: Parameters::Memory(model.parameters),
            reading: Reading::Verified,
            float16_cache: false,
            tokenizer: fetch_tokenizer(context, &recipe).await?.to_vec(),
            special: SpecialTokens::default(),
            recipe: Some(Arc::new(recipe)),
        })
    }

    /// Returns the architecture of the model.
    pub(crate) fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Returns the round of the head that it is; `None` for a model of a folder.
    pub(crate) fn round(&self) -> Option<u32> {
        self.round
    }

    /// Returns the recipe and the parameters of a head; `None` for a model of a folder.
    pub(crate) fn head(&self) -> Option<(Arc<Recipe>, Arc<Vec<f32>>)> {
        let Parameters::Memory(parameters) = &self.parameters else { return None };
        Some((self.recipe.clone()?, Arc::clone(parameters)))
    }

    /// Returns the root of the model.
    pub(crate) fn root(&self) -> Hash {
        self.root
    }

    /// Returns the model for an export.
    ///
    /// # Errors
    ///
    /// Fails if the tokenizer is damaged, or does not fit the model, or if parameters cannot be
    /// read.
    pub(crate) fn into_export(self) -> Result<ExportSource> {
        let mut special = self.special;
        // A network states no tokens that end texts, so those that its tokenizer names do.
        if special.end.is_empty() {
            special.end = TextTokenizer::parse(&self.tokenizer)?.ends().to_vec();
        }
        let name = format!("model-{}", hex::encode(&self.root[..4]));
        let parameters = match self.parameters {
            Parameters::Memory(parameters) => parameters,
            Parameters::Folder(mut model) => model.read_all()?.into(),
        };
        let (root, tokenizer) = (self.root, self.tokenizer);
        Ok(ExportSource::new(&self.spec, parameters, root, tokenizer, special, &name)?)
    }

    /// Loads the model into the chosen decoder with `threads` threads. Beside those that the
    /// tokenizer names, the tokens `ends` end a text, or without them those of the model.
    ///
    /// # Errors
    ///
    /// Fails if the decoder does not support the model or float16 keys and values, if the tokenizer
    /// is damaged, or if parameters cannot be read or have changed.
    pub(crate) fn open(
        self,
        choice: Option<DecoderOption>,
        threads: usize,
        ends: Option<&[u32]>,
    ) -> Result<LoadedModel> {
        let (spec, tokenizer, parameters) = (&self.spec, &self.tokenizer, self.parameters);
        let (reading, float16_cache) = (self.reading, self.float16_cache);
        let decoder = choice.unwrap_or_else(|| usual_decoder(spec));
        ensure!(
            !float16_cache || decoder == DecoderOption::Native,
            "only the native decoder keeps keys and values as float16; leave out --float16-cache"
        );
        let (text, decoder) = thread::scope(|scope| {
            // A large vocabulary takes as long as the parameters of a small model.
            let text = scope.spawn(|| TextTokenizer::parse(tokenizer));
            let decoder = match parameters {
                Parameters::Memory(parameters) => {
                    AnyDecoder::new(spec, &parameters, choice, threads)
                }
                Parameters::Folder(model) => AnyDecoder::read(*model, choice, threads, reading),
            };
            (text.join(), decoder)
        });
        let text = text.map_err(|_| anyhow!("the tokenizer cannot be read"))??;
        let decoder = match decoder? {
            AnyDecoder::Native(model) if float16_cache => {
                AnyDecoder::Native((*model).with_float16_cache().into())
            }
            decoder => decoder,
        };
        let (name, profile) = match &decoder {
            AnyDecoder::Native(_) if float16_cache => {
                (super::text_model::DECODER, FLOAT16_PROFILE.to_owned())
            }
            AnyDecoder::Native(_) => (super::text_model::DECODER, EXACT_PROFILE.to_owned()),
            AnyDecoder::Torch(_) => (TORCH_DECODER, torch_profile(threads)?),
        };
        let template = chat_template(&self.special, &text);
        Ok(LoadedModel {
            text: text.with_ends(ends.unwrap_or(&self.special.end)).with_template(template),
            begin: self.special.begin,
            generator: Generator {
                chain: self.chain,
                model: self.root,
                specification: self.spec.hash(),
                tokenizer: *blake3::hash(&self.tokenizer).as_bytes(),
                decoder: name.to_owned(),
                profile,
            },
            decoder,
        })
    }
}

/// Returns the chat template of a model, if its checkpoint came with one. Special tokens without a
/// name have that of the tokenizer.
fn chat_template(special: &SpecialTokens, text: &TextTokenizer) -> Option<ChatTemplate> {
    let named = |name: &Option<String>, id: Option<u32>| {
        name.clone().or_else(|| id.and_then(|id| text.name(id)))
    };
    Some(ChatTemplate {
        source: special.template.clone()?,
        tool_source: special.tool_template.clone(),
        begin: named(&special.begin_name, special.begin),
        end: named(&special.end_name, special.end.first().copied()),
    })
}

/// Returns the profile of libtorch's decoder: it has the same bits on the same machine with the
/// same settings.
fn torch_profile(threads: usize) -> Result<String> {
    let machine = pol_hardware::detect(Path::new("."))?;
    let kernels = if is_applied(NumericsMode::Exact) { "exact" } else { "stock" };
    Ok(format!("PyTorch 2.11, {kernels} kernels, {threads} threads, {}", machine.cpu))
}

/// Returns the head of the chain, or the recent one with this `root`.
async fn find_head(chain: &Chain, root: Option<&Hash>) -> Result<Head> {
    let newest = chain.overview().await?.head.context("the chain has no model yet")?;
    let Some(root) = root else { return Ok(newest) };
    for round in (newest.round.saturating_sub(SEARCHED_ROUNDS)..=newest.round).rev() {
        let record = chain.round_record(round).await?;
        if let Some(head) = record.and_then(|record| record.head).filter(|head| head.root == *root)
        {
            return Ok(head);
        }
    }
    let root = format!("0x{}", hex::encode(root));
    bail!(anyhow::Error::new(Difference::Model(root)).context(format!(
        "none of the last {SEARCHED_ROUNDS} rounds of this chain has that head, and members keep \
         the newest models only; give the folder of the model with --model"
    )))
}
