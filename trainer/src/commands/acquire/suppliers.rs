// SPDX-License-Identifier: Apache-2.0

//! Ways to documents, as a configuration describes them.

mod checks;

use super::{
    super::drawing::{RecipeFiles, lineage_of, read_recipe, usual_recipe},
    address::{Address, urls},
    bounds::check_file,
    croissant::{CroissantConfig, CroissantSource, Opener},
    synthesis::RecipeReader,
};
use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use pol_corpus::filters::Preset;
use pol_data::documents::LineageRecord;
use pol_sources::{
    Source,
    connectors::{
        Arxiv, Connector, Documentation, Endpoint, GithubReadmes, HackerNews, Mastodon, News,
        OUTLETS, PubmedCentral, StackExchange,
    },
    crawl::{Crawl, CrawlOptions, Scope, Visitor},
    feeds::{FeedOptions, Feeds, Follow},
    hub::{CatalogueEntry, DatasetSpec, Hub, HubId, HubSource, Transfer, catalogue},
};
use pol_synthesis::Recipe;
use serde::Deserialize;
use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

/// Data set of a hub: one of the catalogue, or one by its name on the hub.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HubConfig {
    /// Name in the catalogue.
    catalogue: Option<String>,
    /// Name on the hub: `organisation/name`, or `organisation/name@revision`.
    id: Option<String>,
    /// Configuration of the data set.
    config: Option<String>,
    /// Split.
    split: Option<String>,
    /// Columns of text.
    columns: Vec<String>,
    /// Patterns of the files.
    files: Vec<String>,
    /// Licence of the text.
    licence: Option<String>,
    /// Way in which files are read.
    transfer: Transfer,
    /// Another hub than the one of `HF_ENDPOINT`.
    endpoint: Option<Address>,
}

/// Crawl of web sites.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CrawlConfig {
    /// Pages to begin at.
    seeds: Vec<Address>,
    /// Sitemaps to begin at.
    #[serde(default)]
    sitemaps: Vec<Address>,
    /// Hosts to which links are followed.
    #[serde(default)]
    scope: Option<Scope>,
    /// Beginnings of the paths that are followed.
    #[serde(default)]
    path_prefixes: Vec<String>,
    /// Most links from a seed to a page.
    #[serde(default)]
    depth: Option<u32>,
    /// Most visits.
    #[serde(default)]
    max_pages: Option<u64>,
    /// Most visits to a host.
    #[serde(default)]
    max_pages_per_host: Option<u32>,
    /// Days after which pages are asked for changes.
    #[serde(default)]
    revisit_days: Option<u64>,
}

/// Feeds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FeedsConfig {
    /// Addresses of the feeds.
    addresses: Vec<Address>,
    /// Entries whose pages are visited.
    #[serde(default)]
    follow: Option<Follow>,
    /// Shortest time between two requests of a feed, in minutes.
    #[serde(default)]
    min_minutes: Option<u64>,
}

/// Abstracts of arXiv or READMEs of GitHub, by a search.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchConfig {
    /// Search in the service's notation, such as `cat:cs.CL` or `license:mit stars:>100`.
    query: String,
    #[serde(default)]
    endpoint: Option<Address>,
}

/// Articles of PubMed Central.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PubmedConfig {
    /// Date of the first change, such as `2024-05-01`.
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    endpoint: Option<Address>,
}

/// Stories and comments of Hacker News.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HackerNewsConfig {
    /// Number of the first item.
    #[serde(default)]
    from: u64,
    #[serde(default)]
    endpoint: Option<Address>,
}

/// Questions and answers of a site of Stack Exchange.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StackExchangeConfig {
    /// Name of the site, such as `stackoverflow`.
    site: String,
    #[serde(default)]
    endpoint: Option<Address>,
}

/// Public statuses of an instance of Mastodon.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MastodonConfig {
    /// Host of the instance.
    instance: String,
    /// Number of the status before the first.
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    endpoint: Option<Address>,
}

/// Technical documentation by its sitemaps.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DocumentationConfig {
    /// Sitemaps, or indexes of them.
    sitemaps: Vec<Address>,
    /// Beginnings of the paths that are read.
    #[serde(default)]
    path_prefixes: Vec<String>,
    /// Most pages that are read.
    #[serde(default = "default_max_pages")]
    max_pages: u64,
}

fn default_max_pages() -> u64 {
    10_000
}

/// News outlet: a known one, or one by its feeds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewsConfig {
    /// Name of the outlet.
    outlet: String,
    /// Feeds of an outlet that is not known to the program.
    #[serde(default)]
    feeds: Vec<Address>,
    /// Licence of its articles.
    #[serde(default)]
    licence: Option<String>,
}

/// Recipe of text that is made: a file, or the recipe itself. Without both it is the usual one of
/// the model.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SynthesisConfig {
    /// File of a recipe, in TOML or JSON.
    pub(super) file: Option<PathBuf>,
    /// Recipe.
    pub(super) recipe: Option<Recipe>,
    /// Folder of the model that the recipe draws text from.
    pub(super) model: Option<PathBuf>,
    /// File of the prompts that the recipe names.
    pub(super) prompts: Option<PathBuf>,
}

/// Way to the documents of a source.
#[derive(Clone, Copy, Debug)]
pub(super) enum Supplier<'a> {
    Files(&'a [PathBuf]),
    Hub(&'a HubConfig),
    /// The description, and the fields that hold the text.
    Croissant(&'a CroissantConfig, &'a [String]),
    Crawl(&'a CrawlConfig),
    Feeds(&'a FeedsConfig),
    Arxiv(&'a SearchConfig),
    Pubmed(&'a PubmedConfig),
    HackerNews(&'a HackerNewsConfig),
    StackExchange(&'a StackExchangeConfig),
    Mastodon(&'a MastodonConfig),
    Github(&'a SearchConfig),
    Documentation(&'a DocumentationConfig),
    News(&'a NewsConfig),
    Synthesis(&'a SynthesisConfig),
}

impl Supplier<'_> {
    /// Returns `true` if documents come over HTTP, other than from a hub.
    pub(super) fn needs_client(self) -> bool {
        match self {
            Self::Files(_) | Self::Hub(_) | Self::Synthesis(_) => false,
            Self::Croissant(croissant, _) => croissant.is_on_the_web(),
            _ => true,
        }
    }

    /// Returns `true` if the text has no end that is known, so that it is offered in parts. What a
    /// recipe makes is a whole, which anybody makes again.
    pub(super) fn is_divisible(self) -> bool {
        !matches!(self, Self::Files(_) | Self::Synthesis(_))
    }

    /// Returns the licence of the text, if the description has one.
    pub(super) fn licence(self) -> Option<String> {
        match self {
            Self::Hub(hub) => hub.spec().ok()?.licence,
            Self::Croissant(croissant, _) => croissant.licence(),
            Self::News(news) => news.licence.clone(),
            _ => None,
        }
    }

    /// Returns the rules of cleaning that fit the text.
    pub(super) fn preset(self) -> Result<Preset> {
        Ok(match self {
            Self::Files(_) | Self::Synthesis(_) => Preset::None,
            Self::Hub(HubConfig { catalogue: Some(name), .. }) => known_dataset(name)?.rules,
            Self::Hub(_) | Self::Croissant(..) => Preset::None,
            Self::Crawl(_) | Self::Feeds(_) | Self::Documentation(_) | Self::News(_) => Preset::Web,
            Self::Arxiv(_) | Self::Pubmed(_) | Self::Github(_) => Preset::Books,
            Self::HackerNews(_) | Self::StackExchange(_) | Self::Mastodon(_) => Preset::Dialogue,
        })
    }

    /// Returns the making of the text, if it is not collected.
    pub(super) fn lineage(self) -> Result<Option<LineageRecord>> {
        let Self::Synthesis(synthesis) = self else { return Ok(None) };
        Ok(Some(lineage_of(&synthesis.load()?)))
    }

    /// Opens the source, which has the name `name` and the folder `folder`. `visitor` is there if
    /// it is needed. `bar` counts the bytes of downloads.
    pub(super) fn open(
        self,
        name: &str,
        folder: &Path,
        visitor: Option<Visitor>,
        bar: ProgressBar,
    ) -> Result<Box<dyn Source>> {
        match self {
            Self::Files(_) => bail!("files are read where they are"),
            Self::Hub(hub) => {
                return Ok(Box::new(HubSource::new(
                    hub.hub(folder),
                    hub.spec()?,
                    hub.transfer,
                    bar,
                )?));
            }
            Self::Croissant(config, text_fields) => {
                let opener = Opener {
                    config: config.clone(),
                    text_fields: text_fields.to_vec(),
                    client: visitor.map(|visitor| visitor.client),
                    folder: folder.to_owned(),
                    bar,
                };
                return Ok(Box::new(CroissantSource::new(name, opener)));
            }
            Self::Synthesis(synthesis) => {
                let files = synthesis.files();
                return Ok(Box::new(RecipeReader::source(synthesis.load()?, files, folder)));
            }
            _ => {}
        }
        self.open_on_the_web(name, visitor.context("contact: it is missing")?)
    }

    fn open_on_the_web(self, name: &str, visitor: Visitor) -> Result<Box<dyn Source>> {
        let client = visitor.client.clone();
        Ok(match self {
            Self::Files(_) | Self::Hub(_) | Self::Croissant(..) | Self::Synthesis(_) => {
                bail!("it is not on the web")
            }
            Self::Crawl(crawl) => Box::new(Crawl::new(visitor, crawl.options(name))?),
            Self::Feeds(feeds) => Box::new(Feeds::new(visitor, feeds.options(name))?),
            Self::Documentation(pages) => Box::new(pages.documentation().source(visitor)?),
            Self::News(news) => Box::new(news.open(visitor)?),
            Self::Arxiv(config) => {
                let endpoint = endpoint(Arxiv::public(), config.endpoint.as_ref());
                Box::new(Connector::new(Arxiv::new(endpoint, &config.query), client))
            }
            Self::Pubmed(config) => {
                let endpoint = endpoint(PubmedCentral::public(), config.endpoint.as_ref());
                let articles = PubmedCentral::new(endpoint, config.from.clone());
                Box::new(Connector::new(articles, client))
            }
            Self::HackerNews(config) => {
                let endpoint = endpoint(HackerNews::public(), config.endpoint.as_ref());
                Box::new(Connector::new(HackerNews::new(endpoint, config.from), client))
            }
            Self::StackExchange(config) => {
                let endpoint = endpoint(StackExchange::public(), config.endpoint.as_ref());
                let key = secret("STACK_EXCHANGE_KEY");
                Box::new(Connector::new(StackExchange::new(endpoint, &config.site, key), client))
            }
            Self::Mastodon(config) => {
                let public = Endpoint {
                    token: secret("MASTODON_TOKEN"),
                    ..Mastodon::instance(&config.instance)
                };
                let endpoint = endpoint(public, config.endpoint.as_ref());
                Box::new(Connector::new(Mastodon::new(endpoint, config.from.clone()), client))
            }
            Self::Github(config) => {
                let endpoint = endpoint(GithubReadmes::public(), config.endpoint.as_ref());
                Box::new(Connector::new(GithubReadmes::new(endpoint, &config.query), client))
            }
        })
    }

    /// Returns the origin of the text, as it is stated on the chain: the same wherever the files
    /// are that the description names.
    pub(super) fn origin(self) -> Result<String> {
        match self {
            Self::Croissant(croissant, _) => croissant.origin(),
            Self::Synthesis(synthesis) => {
                let recipe = synthesis.load()?;
                let root = recipe.model().map(|model| hex::encode(model.root));
                Ok(root.map_or("recipe".into(), |root| format!("text of the model 0x{root}")))
            }
            supplier => Ok(supplier.describe()),
        }
    }

    /// Returns a description for people.
    pub(super) fn describe(self) -> String {
        let first = |urls: &[Address]| {
            urls.first().map_or(String::new(), |address| address.url().to_string())
        };
        match self {
            Self::Files(paths) => format!("{} files or folders", paths.len()),
            Self::Hub(hub) => {
                let name = hub.catalogue.as_ref().or(hub.id.as_ref());
                format!("data set {}", name.map_or("", String::as_str))
            }
            Self::Croissant(croissant, _) => croissant.describe(),
            Self::Crawl(crawl) => format!("crawl from {}", first(&crawl.seeds)),
            Self::Feeds(feeds) => format!("feeds such as {}", first(&feeds.addresses)),
            Self::Arxiv(arxiv) => format!("arXiv, {}", arxiv.query),
            Self::Pubmed(_) => "PubMed Central".into(),
            Self::HackerNews(_) => "Hacker News".into(),
            Self::StackExchange(site) => format!("Stack Exchange, {}", site.site),
            Self::Mastodon(mastodon) => format!("Mastodon, {}", mastodon.instance),
            Self::Github(github) => format!("READMEs of GitHub, {}", github.query),
            Self::Documentation(pages) => format!("documentation, {}", first(&pages.sitemaps)),
            Self::News(news) => format!("news, {}", news.outlet),
            Self::Synthesis(SynthesisConfig { model: Some(model), .. }) => {
                format!("recipe with the model {}", model.display())
            }
            Self::Synthesis(_) => "recipe".into(),
        }
    }
}

/// Returns the data set of the catalogue with this name.
pub(super) fn known_dataset(name: &str) -> Result<&'static CatalogueEntry> {
    catalogue().iter().find(|entry| entry.name == name).with_context(|| {
        let names: Vec<_> = catalogue().iter().map(|entry| &*entry.name).collect();
        format!(
            "the catalogue has no data set {name}; give a name on the hub such as org/name, or one \
             of {}",
            names.join(", ")
        )
    })
}

impl HubConfig {
    /// Chooses a data set of the catalogue.
    pub(super) fn known(name: String) -> Self {
        Self { catalogue: Some(name), ..Self::default() }
    }

    /// Chooses a data set by its name on the hub.
    pub(super) fn of_id(id: String) -> Self {
        Self { id: Some(id), ..Self::default() }
    }

    /// Returns the choice of rows.
    fn spec(&self) -> Result<DatasetSpec> {
        let mut spec = match (&self.catalogue, &self.id) {
            (Some(name), None) => known_dataset(name).context("hub.catalogue")?.spec.clone(),
            (None, Some(id)) => {
                let named: Result<HubId, _> = id.parse();
                named.map_err(|reason| anyhow::anyhow!("hub.id: {reason}"))?;
                DatasetSpec::new(id)
            }
            _ => bail!("hub: give either catalogue or id"),
        };
        let chosen = |given: &[String], known: Vec<String>| {
            if given.is_empty() { known } else { given.to_vec() }
        };
        spec.config = self.config.clone().or(spec.config);
        spec.split = self.split.clone().unwrap_or(spec.split);
        spec.columns = chosen(&self.columns, spec.columns);
        spec.files = chosen(&self.files, spec.files);
        spec.licence = self.licence.clone().or(spec.licence);
        Ok(spec)
    }

    fn hub(&self, folder: &Path) -> Hub {
        match &self.endpoint {
            None => Hub::from_env(),
            Some(endpoint) => {
                Hub::new(endpoint.url().as_str(), folder.join("cache"), secret("HF_TOKEN"))
            }
        }
    }
}

impl CrawlConfig {
    fn options(&self, name: &str) -> CrawlOptions {
        let usual = CrawlOptions::new(format!("web/{name}"), urls(&self.seeds));
        let days = |days: u64| Duration::from_secs(days.saturating_mul(24 * 3_600));
        CrawlOptions {
            sitemaps: urls(&self.sitemaps),
            scope: self.scope.unwrap_or(usual.scope),
            path_prefixes: self.path_prefixes.clone(),
            max_depth: self.depth.unwrap_or(usual.max_depth),
            max_pages: self.max_pages.unwrap_or(usual.max_pages),
            max_pages_per_host: self.max_pages_per_host.unwrap_or(usual.max_pages_per_host),
            revisit: self.revisit_days.map(days),
            ..usual
        }
    }
}

impl FeedsConfig {
    fn options(&self, name: &str) -> FeedOptions {
        let usual = FeedOptions::new(format!("feeds/{name}"), urls(&self.addresses));
        let minutes = |minutes: u64| Duration::from_secs(minutes.saturating_mul(60));
        FeedOptions {
            follow: self.follow.unwrap_or(usual.follow),
            min_interval: self.min_minutes.map_or(usual.min_interval, minutes),
            ..usual
        }
    }
}

impl DocumentationConfig {
    fn documentation(&self) -> Documentation {
        Documentation {
            sitemaps: urls(&self.sitemaps),
            path_prefixes: self.path_prefixes.clone(),
            max_pages: self.max_pages,
        }
    }
}

impl NewsConfig {
    fn open(&self, visitor: Visitor) -> Result<News> {
        let known = OUTLETS.iter().find(|outlet| outlet.name == self.outlet);
        Ok(match known {
            Some(outlet) if self.feeds.is_empty() => News::of(visitor, outlet)?,
            _ => News::new(visitor, &self.outlet, urls(&self.feeds), self.licence.clone())?,
        })
    }
}

impl SynthesisConfig {
    /// Returns the recipe, if the files that it needs are there.
    fn load(&self) -> Result<Recipe> {
        for (field, path) in [("synthesis.file", &self.file), ("synthesis.prompts", &self.prompts)]
        {
            path.as_ref().map_or(Ok(()), |path| check_file(field, path))?;
        }
        let recipe = match (&self.file, &self.recipe, &self.model) {
            (Some(path), None, _) => read_recipe(path).context("synthesis.file")?,
            (None, Some(recipe), _) => {
                recipe.validate().context("synthesis.recipe")?;
                recipe.clone()
            }
            (None, None, Some(model)) => usual_recipe(model).context("synthesis.model")?,
            _ => bail!("synthesis: give either file or recipe, or a model alone"),
        };
        self.files().check(&recipe).context("synthesis")?;
        Ok(recipe)
    }

    /// Returns the files that the recipe may need.
    fn files(&self) -> RecipeFiles {
        RecipeFiles { model: self.model.clone(), prompts: self.prompts.clone() }
    }
}

/// Returns an endpoint at the address that a configuration gives, if it gives one.
fn endpoint(public: Endpoint, given: Option<&Address>) -> Endpoint {
    match given {
        None => public,
        Some(address) => {
            Endpoint { url: address.url().as_str().trim_end_matches('/').to_owned(), ..public }
        }
    }
}

/// Returns a secret of the environment.
fn secret(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
