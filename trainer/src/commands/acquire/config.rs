// SPDX-License-Identifier: Apache-2.0

//! Configuration of an acquisition: shared options, and the sources in the order of their kinds.

mod checks;
pub(super) mod keys;

use super::{
    super::{
        parents::{DerivingActivity, StatedParents},
        registration::{Terms, UNKNOWN_LICENCE},
    },
    bounds::Mistakes,
    croissant::CroissantConfig,
    network::TURN,
    provider_config::ProviderConfig,
    suppliers::{
        CrawlConfig, DocumentationConfig, FeedsConfig, HackerNewsConfig, HubConfig, MastodonConfig,
        NewsConfig, PubmedConfig, SearchConfig, StackExchangeConfig, Supplier, SynthesisConfig,
    },
};
use anyhow::{Context, Result, bail};
use pol_corpus::{
    filters::{CleanConfig, OptOutList, Preset},
    pipeline::{PipelineConfig, ReferenceFiles, Supply},
};
use pol_data::{EndOfText, IngestConfig, check_tokenizer, network::UpdateOptions};
use pol_primitives::{
    MILLION, Ppm,
    data::{MAX_SHARD_TOKENS, ManifestId, SourceKind},
};
use pol_sources::{
    Budget, SourceError,
    crawl::Visitor,
    http::{HttpClient, HttpOptions},
    hub::is_plain_name,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Bytes that count as a token while a source is read, before a tokenizer sees its text.
pub(super) const TOKEN_BYTES: u64 = 4;

/// Configuration of an acquisition.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// Folder that gets a folder for each source.
    #[serde(default = "default_out")]
    pub(super) out: PathBuf,
    /// Page or mailbox at which sites reach who runs this.
    #[serde(default)]
    contact: Option<String>,
    /// `tokenizer.json` of the network.
    #[serde(default = "default_tokenizer")]
    pub(super) tokenizer: PathBuf,
    /// Token that separates texts.
    #[serde(default)]
    end_of_text: Option<String>,
    /// Tokens of a training sequence.
    #[serde(default = "default_sequence")]
    sequence: u16,
    /// Tokens of a shard, a multiple of the sequence.
    #[serde(default = "default_shard_tokens")]
    pub(super) shard_tokens: u32,
    /// Share of the text that is never trained on, from 0 to 0.5.
    #[serde(default = "default_held_out")]
    held_out: f64,
    /// Least quality of a document, from 0 to 1.
    #[serde(default)]
    quality_threshold: f64,
    /// Most tokens that a source yields over all runs.
    #[serde(default)]
    max_tokens_per_source: Option<u64>,
    /// Languages to keep, as ISO 639-3 codes, where the rules of cleaning tell the language. All,
    /// if there are none.
    #[serde(default)]
    languages: Vec<String>,
    /// Model of quality, in place of the one that ships with the program.
    #[serde(default)]
    quality_model: Option<PathBuf>,
    /// List of sources and documents whose owners do not want them to be trained on.
    #[serde(default)]
    opt_out: Option<PathBuf>,
    /// Texts that must not be trained on, such as tests.
    #[serde(default)]
    decontaminate: Vec<PathBuf>,
    /// Fields of tables that hold these texts.
    #[serde(default)]
    decontaminate_fields: Vec<String>,
    /// Signature files of other ingestions.
    #[serde(default)]
    against: Vec<PathBuf>,
    /// Behaviour towards sites.
    #[serde(default)]
    http: HttpConfig,
    /// Registration and service of the data.
    #[serde(default)]
    pub(super) provider: Option<ProviderConfig>,
    /// Sources.
    #[serde(rename = "source", default)]
    pub(super) sources: Vec<SourceConfig>,
}

/// Behaviour towards sites.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HttpConfig {
    /// Hosts that are reached whatever their address and port: the operator's own.
    allowed_hosts: BTreeSet<String>,
    /// Time between two requests to a host, in milliseconds.
    host_delay_ms: u64,
    /// Most bytes that are received in a run.
    max_bytes: Option<u64>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { allowed_hosts: BTreeSet::new(), host_delay_ms: 1_000, max_bytes: None }
    }
}

/// Kind of a source, by which trainers lease. The first kinds come first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Text that a pretrained model learned from, or that was drawn from one.
    Pretrained,
    /// Data sets.
    #[default]
    Dataset,
    /// The web.
    Web,
    /// Text that is made.
    Synthetic,
}

impl From<SourceKind> for Kind {
    fn from(kind: SourceKind) -> Self {
        match kind {
            SourceKind::Pretrained => Self::Pretrained,
            SourceKind::Dataset => Self::Dataset,
            SourceKind::Web => Self::Web,
            SourceKind::Synthetic => Self::Synthetic,
        }
    }
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pretrained => "pretrained",
            Self::Dataset => "dataset",
            Self::Web => "web",
            Self::Synthetic => "synthetic",
        }
    }
}

/// A source, with exactly one supplier.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceConfig {
    /// Name of the source, and of its folder.
    pub(super) name: String,
    /// Kind.
    pub(super) kind: Kind,
    /// Rules of cleaning, in place of those that fit the supplier.
    #[serde(default)]
    clean: Option<Preset>,
    /// Languages, in place of the shared ones.
    #[serde(default)]
    languages: Option<Vec<String>>,
    /// Least quality, in place of the shared one.
    #[serde(default)]
    quality_threshold: Option<f64>,
    /// Share that is never trained on, in place of the shared one.
    #[serde(default)]
    held_out: Option<f64>,
    /// Most tokens, in place of the shared budget.
    #[serde(default)]
    max_tokens: Option<u64>,
    /// Most documents over all runs.
    #[serde(default)]
    max_documents: Option<u64>,
    /// Most minutes of a run.
    #[serde(default)]
    max_minutes: Option<u64>,
    /// Fields of tables that hold the text.
    #[serde(default)]
    text_fields: Vec<String>,
    /// Cut passages that occurred before.
    #[serde(default)]
    cut_repeats: bool,
    /// Drop held-out documents that share a passage with text to train on.
    #[serde(default)]
    clean_held_out: bool,
    /// Origin of the text, as it is stated on the chain.
    #[serde(default)]
    address: Option<String>,
    /// SPDX identifier of the licence, as it is stated on the chain.
    #[serde(default)]
    licence: Option<String>,
    /// Manifests that the text was made from, beside those that its documents name.
    #[serde(default)]
    pub(super) parents: Vec<ManifestId>,
    /// Way in which it was made from them, in place of a selection.
    #[serde(default)]
    activity: Option<DerivingActivity>,
    #[serde(default)]
    pub(super) files: Option<Vec<PathBuf>>,
    #[serde(default)]
    pub(super) hub: Option<HubConfig>,
    #[serde(default)]
    pub(super) croissant: Option<CroissantConfig>,
    #[serde(default)]
    pub(super) crawl: Option<CrawlConfig>,
    #[serde(default)]
    pub(super) feeds: Option<FeedsConfig>,
    #[serde(default)]
    pub(super) arxiv: Option<SearchConfig>,
    #[serde(default)]
    pub(super) pubmed: Option<PubmedConfig>,
    #[serde(default)]
    pub(super) hacker_news: Option<HackerNewsConfig>,
    #[serde(default)]
    pub(super) stack_exchange: Option<StackExchangeConfig>,
    #[serde(default)]
    pub(super) mastodon: Option<MastodonConfig>,
    #[serde(default)]
    pub(super) github: Option<SearchConfig>,
    #[serde(default)]
    pub(super) documentation: Option<DocumentationConfig>,
    #[serde(default)]
    pub(super) news: Option<NewsConfig>,
    #[serde(default)]
    pub(super) synthesis: Option<SynthesisConfig>,
}

fn default_out() -> PathBuf {
    "acquired".into()
}

fn default_tokenizer() -> PathBuf {
    pol_data::TOKENIZER_FILE.into()
}

fn default_sequence() -> u16 {
    128
}

fn default_shard_tokens() -> u32 {
    4_096
}

fn default_held_out() -> f64 {
    0.02
}

impl Config {
    /// Makes the paths relative to the folder `base`.
    pub(super) fn resolve(&mut self, base: &Path) {
        let Self { out, tokenizer, quality_model, opt_out, decontaminate, against, .. } = self;
        let shared = [out, tokenizer].into_iter().chain(quality_model).chain(opt_out);
        let sources = self.sources.iter_mut().flat_map(|source| {
            let recipe = source.synthesis.iter_mut().flat_map(|synthesis| {
                [&mut synthesis.file, &mut synthesis.model, &mut synthesis.prompts]
            });
            let croissant = source.croissant.iter_mut().flat_map(|described| &mut described.file);
            source.files.iter_mut().flatten().chain(recipe.flatten()).chain(croissant)
        });
        let provider = self.provider.iter_mut().flat_map(ProviderConfig::paths);
        for path in shared.chain(decontaminate).chain(against).chain(sources).chain(provider) {
            *path = base.join(&*path);
        }
    }

    /// Checks everything that can be known before the first source is asked.
    ///
    /// # Errors
    ///
    /// Fails with all that is wrong.
    pub(super) fn validate(&self) -> Result<()> {
        let Self { sequence, shard_tokens, tokenizer, .. } = self;
        let mut mistakes = Mistakes::default();
        mistakes.require(tokenizer.is_file(), || {
            format!(
                "tokenizer: {} is no file; name the tokenizer.json of the network",
                tokenizer.display()
            )
        });
        let tokens = u32::from(*sequence);
        mistakes.require(tokens > 0, || "sequence: it must be at least 1".into());
        let is_multiple = tokens == 0 || shard_tokens.is_multiple_of(tokens);
        mistakes.require(is_multiple && (1..=MAX_SHARD_TOKENS).contains(shard_tokens), || {
            format!(
                "shard_tokens: {shard_tokens} must be a multiple of the sequence of {sequence}, \
                 and at most {MAX_SHARD_TOKENS}"
            )
        });
        mistakes.require(!self.sources.is_empty(), || {
            "source: there is none; add a section [[source]] in TOML, or \"source\": [{…}] in JSON"
                .into()
        });
        if let Some(provider) = &self.provider {
            provider.check(&mut mistakes);
        }
        self.check_shared(&mut mistakes);
        let mut names = BTreeSet::new();
        for source in &self.sources {
            let name = &source.name;
            mistakes.require(is_plain_name(name), || {
                format!(
                    "source: {name:?} cannot name a folder; use letters, digits, dots, hyphens, \
                     and underscores"
                )
            });
            mistakes.require(names.insert(name), || {
                format!("source: two are named {name}; rename one of them")
            });
            mistakes.add(&format!("source {name}"), source.mistakes(self));
        }
        mistakes.finish()
    }

    /// Checks that the tokenizer can be used.
    pub(super) fn check_tokenizer(&self) -> Result<()> {
        check_tokenizer(&self.tokenizer, &self.end_of_text()).context("tokenizer")
    }

    fn end_of_text(&self) -> EndOfText {
        match &self.end_of_text {
            Some(name) => EndOfText::Named(name.clone()),
            None => super::super::ingest::end_of_text_beside(&self.tokenizer),
        }
    }

    /// Returns the options by which a provider makes signatures of what others registered.
    pub(super) fn network_update(&self, provider: &ProviderConfig) -> UpdateOptions {
        UpdateOptions {
            tokenizer: Some(self.tokenizer.clone()),
            end_of_text: self.end_of_text(),
            max_bytes: provider.compare_bytes,
            max_time: Duration::from_secs(60 * u64::from(provider.compare_minutes)),
            turn: TURN,
            retry: false,
            now: 0,
        }
    }

    /// Returns the chosen sources, or all, in the order of their kinds.
    pub(super) fn plan(&self, only: &[String]) -> Result<Vec<&SourceConfig>> {
        for name in only {
            if !self.sources.iter().any(|source| source.name == *name) {
                let names: Vec<_> = self.sources.iter().map(|source| &*source.name).collect();
                bail!("--only: no source is named {name}; there are {}", names.join(", "));
            }
        }
        let is_chosen = |name| only.is_empty() || only.contains(name);
        let mut plan: Vec<_> =
            self.sources.iter().filter(|source| is_chosen(&source.name)).collect();
        plan.sort_by_key(|source| source.kind);
        Ok(plan)
    }

    /// Returns a client for sites, which all sources share.
    pub(super) fn client(&self) -> Result<HttpClient, SourceError> {
        let contact = self.contact.clone().unwrap_or_default();
        HttpClient::new(HttpOptions {
            host_delay: Duration::from_millis(self.http.host_delay_ms),
            budget_bytes: self.http.max_bytes,
            allowed_hosts: self.http.allowed_hosts.clone(),
            ..HttpOptions::new(contact)
        })
    }

    /// Returns a visitor of sites through `client`, which asks the list of opt-outs as it is now.
    pub(super) fn visitor(&self, client: HttpClient) -> Result<Visitor> {
        let list = self.opt_out.as_deref().map(OptOutList::open).transpose().context("opt_out")?;
        Ok(Visitor { opt_out: Arc::new(list.unwrap_or_default()), ..Visitor::new(client) })
    }

    /// Returns the lists and models that documents are held against.
    pub(super) fn references(&self) -> ReferenceFiles {
        ReferenceFiles {
            quality_model: self.quality_model.clone(),
            opt_out: self.opt_out.clone(),
            decontaminate: self.decontaminate.clone(),
            decontaminate_fields: self.decontaminate_fields.clone(),
            against: self.against.clone(),
        }
    }
}

impl SourceConfig {
    /// Creates a source without a supplier.
    pub(super) fn new(name: String, kind: Kind) -> Self {
        Self { name, kind, ..Self::default() }
    }

    /// Returns what is wrong with the source.
    fn mistakes(&self, config: &Config) -> Mistakes {
        let mut mistakes = Mistakes::default();
        self.check_values(config, &mut mistakes);
        let supplier = match self.supplier() {
            Ok(supplier) => supplier,
            Err(error) => {
                mistakes.check(Err(error));
                return mistakes;
            }
        };
        let mut described = Mistakes::default();
        supplier.check(&mut described);
        if described.is_empty() {
            // All of these follow from the description.
            self.check_supplied(config, supplier, &mut described);
        }
        mistakes.append(described);
        mistakes
    }

    /// Returns the way to the documents.
    pub(super) fn supplier(&self) -> Result<Supplier<'_>> {
        let found = [
            self.files.as_deref().map(Supplier::Files),
            self.hub.as_ref().map(Supplier::Hub),
            self.croissant.as_ref().map(|file| Supplier::Croissant(file, &self.text_fields)),
            self.crawl.as_ref().map(Supplier::Crawl),
            self.feeds.as_ref().map(Supplier::Feeds),
            self.arxiv.as_ref().map(Supplier::Arxiv),
            self.pubmed.as_ref().map(Supplier::Pubmed),
            self.hacker_news.as_ref().map(Supplier::HackerNews),
            self.stack_exchange.as_ref().map(Supplier::StackExchange),
            self.mastodon.as_ref().map(Supplier::Mastodon),
            self.github.as_ref().map(Supplier::Github),
            self.documentation.as_ref().map(Supplier::Documentation),
            self.news.as_ref().map(Supplier::News),
            self.synthesis.as_ref().map(Supplier::Synthesis),
        ];
        let found: Vec<_> = found.into_iter().flatten().collect();
        match found.as_slice() {
            [supplier] => Ok(*supplier),
            several => bail!(
                "it has {} of files, hub, croissant, crawl, feeds, arxiv, pubmed, hacker_news, \
                 stack_exchange, mastodon, github, documentation, news, and synthesis; give \
                 exactly one",
                several.len()
            ),
        }
    }

    /// Returns what is stated about the text on the chain.
    pub(super) fn terms(&self) -> Result<Terms> {
        let supplier = self.supplier()?;
        let address = match &self.address {
            Some(address) => address.clone(),
            None => format!("{}: {}", self.name, supplier.origin()?),
        };
        let licence = self.licence.clone().or_else(|| supplier.licence());
        let terms = Terms::new(&address, licence.as_deref().unwrap_or(UNKNOWN_LICENCE))?;
        Ok(terms.with_parents(StatedParents::new(&self.parents, self.activity).context("parents")?))
    }

    fn preset(&self) -> Result<Preset> {
        self.clean.map_or_else(|| self.supplier()?.preset(), Ok)
    }

    fn cleaning(&self, config: &Config) -> Result<CleanConfig> {
        let preset = self.preset()?;
        let languages = self.languages.as_ref().unwrap_or(&config.languages);
        let languages = if preset.tells_languages() { languages.clone() } else { Vec::new() };
        Ok(CleanConfig { languages, ..CleanConfig::of(preset) })
    }

    /// Returns the budget of bytes.
    pub(super) fn max_bytes(&self, config: &Config) -> Option<u64> {
        let tokens = self.max_tokens.or(config.max_tokens_per_source)?;
        Some(tokens.saturating_mul(TOKEN_BYTES))
    }

    /// Returns the budget of a run.
    pub(super) fn budget(&self, config: &Config) -> Budget {
        Budget {
            bytes: self.max_bytes(config),
            documents: self.max_documents,
            time: self.max_minutes.map(|minutes| Duration::from_secs(minutes.saturating_mul(60))),
        }
    }

    /// Returns the ingestion of what the source yielded.
    pub(super) fn ingestion(
        &self,
        config: &Config,
        inputs: Vec<Supply>,
        out: PathBuf,
    ) -> Result<IngestConfig> {
        Ok(IngestConfig {
            inputs,
            out,
            corpus: PipelineConfig {
                clean: self.cleaning(config)?,
                min_quality: ppm(self.quality_threshold.unwrap_or(config.quality_threshold)),
                repeats: self.cut_repeats.then(Default::default),
                held_out: ppm(self.held_out.unwrap_or(config.held_out)),
                clean_held_out: self.clean_held_out,
                ..PipelineConfig::default()
            },
            text_fields: self.text_fields.clone(),
            vocabulary: 0,
            sequence: config.sequence,
            shard_tokens: config.shard_tokens,
            tokenizer: Some(config.tokenizer.clone()),
            end_of_text: config.end_of_text(),
            force: true,
            lineage: self.supplier()?.lineage()?,
        })
    }
}

/// Returns a share in millionths.
fn ppm(share: f64) -> Ppm {
    (share * f64::from(MILLION)).round() as Ppm
}
