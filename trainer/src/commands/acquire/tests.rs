// SPDX-License-Identifier: Apache-2.0

use super::{
    super::{
        drawing::RecipeFiles,
        parents::{DerivingActivity, StatedParents},
        registration::Terms,
    },
    bounds::Mistakes,
    config::Kind,
    state::{IngestState, Inputs, SourceState},
    suppliers::Supplier,
    synthesis::RecipeReader,
    *,
};
use pol_corpus::{Origin, RawDocument, RawStore, pipeline::Supply};
use pol_data::IngestConfig;
use pol_primitives::{POL, lineage::Activity};
use pol_sources::{Source, Step};
use pol_synthesis::{ModelIdentity, Recipe};
use std::{fs, path::Path};

mod catalogue;
mod derivation;

/// Folder with a tokenizer, a text, and configurations.
struct Folder(tempfile::TempDir);

const TASKS: &str = "
[[source]]
name = \"tasks\"
kind = \"synthetic\"
[source.synthesis.recipe]
version = 1
seed = \"0x0707070707070707070707070707070707070707070707070707070707070707\"
documents = 600
[source.synthesis.recipe.content.tasks]
families = [\"arithmetic\"]
levels = [1, 2]
";

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
        fs::write(folder.path().join("a.txt"), "A text.").unwrap();
        Self(folder)
    }

    fn read(&self, name: &str, text: &str) -> Result<Config> {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        read::read(&path)
    }

    /// Reads a configuration of the usual fields and more.
    fn toml(&self, more: &str) -> Result<Config> {
        self.read("a.toml", &format!("out = \"out\"\ntokenizer = \"tokenizer.json\"\n{more}"))
    }

    /// Returns the error of such a configuration.
    fn refusal(&self, more: &str) -> String {
        format!("{:#}", self.toml(more).unwrap_err())
    }

    fn json(&self, section: serde_json::Value) -> Result<Config> {
        let mut section = section;
        section["out"] = "out".into();
        section["tokenizer"] = "tokenizer.json".into();
        let file = json!({"node": {"port": 4001}, "data_acquisition": section});
        self.read("a.json", &file.to_string())
    }
}

/// Returns a source named `a` with more fields.
fn source(kind: &str, more: &str) -> String {
    format!("[[source]]\nname = \"a\"\nkind = \"{kind}\"\n{more}\n")
}

#[test]
fn the_example_is_a_configuration() {
    let text = include_str!("../../../../docs/examples/acquire.toml");
    let config = read::parse(text).unwrap();
    let plan = config.plan(&[]).unwrap();
    let kinds: Vec<_> = plan.iter().map(|source| source.kind).collect();
    assert!(kinds.is_sorted(), "{kinds:?}");
    assert_eq!(kinds.first().zip(kinds.last()), Some((&Kind::Pretrained, &Kind::Synthetic)));
    // Each supplier is shown, and each is well formed. Only the files are not there.
    for source in &plan {
        let supplier = source.supplier().unwrap();
        let is_missing = matches!(supplier, Supplier::Files(_));
        let mut mistakes = Mistakes::default();
        supplier.check(&mut mistakes);
        assert_eq!(!mistakes.is_empty(), is_missing, "{}", source.name);
        supplier.preset().unwrap();
    }
    let described: std::collections::BTreeSet<_> = plan
        .iter()
        .map(|source| std::mem::discriminant(&source.supplier().unwrap()))
        .map(|supplier| format!("{supplier:?}"))
        .collect();
    assert_eq!(described.len(), 14);
}

#[test]
fn paths_are_relative_to_the_file_and_budgets_are_in_tokens() {
    let folder = Folder::new();
    let config = folder
        .toml(&format!(
            "max_tokens_per_source = 8192\n{}max_tokens = 4096\n",
            source("dataset", "files = [\"a.txt\"]")
        ))
        .unwrap();
    assert_eq!(config.out, folder.0.path().join("out"));
    let plan = config.plan(&["a".into()]).unwrap();
    assert_eq!(plan[0].max_bytes(&config), Some(16_384));
    let Supplier::Files([path]) = plan[0].supplier().unwrap() else { panic!("no files") };
    assert_eq!(*path, folder.0.path().join("a.txt"));
    let error = config.plan(&["b".into()]).unwrap_err().to_string();
    assert!(error.contains("no source is named b; there are a"), "{error}");
}

#[test]
fn the_lineage_of_made_text_names_its_recipe() {
    let folder = Folder::new();
    let config = folder.toml(TASKS).unwrap();
    let made = config.sources[0].supplier().unwrap().lineage().unwrap().unwrap();
    assert_eq!((made.activity, made.tool.name.as_str()), (Activity::Generation, "pol-synthesis"));
    let collected = folder.toml(&source("dataset", "files = [\"a.txt\"]")).unwrap();
    assert_eq!(collected.sources[0].supplier().unwrap().lineage().unwrap(), None);
}

#[test]
fn configurations_are_refused_with_the_field_and_a_remedy() {
    let folder = Folder::new();
    let files = source("dataset", "files = [\"a.txt\"]");
    let web = |more: &str| format!("contact = \"https://example.org\"\n{}", source("web", more));
    for (more, reason) in [
        ("", "source: there is none; add a section [[source]]".to_owned()),
        ("outt = 1", "outt: there is no such key; did you mean out?".into()),
        ("sequence = 0\nsource = []", "sequence: it must be at least 1".into()),
        ("shard_tokens = 100", "shard_tokens: 100 must be a multiple".into()),
        ("held_out = 0.7", "held_out: 0.7 is no share".into()),
        (&format!("quality_threshold = 40\n{files}"), "quality_threshold: 40 is no quality".into()),
        (&format!("{files}{files}"), "two are named a; rename one".into()),
        (&files.replace("\"a\"", "\"../a\""), "cannot name a folder".into()),
        (&format!("{files}max_minutes = 3"), "files are read as a whole".into()),
        (&format!("[provider]\nahead_rounds = 0\n{files}"), "provider.ahead_rounds: with 0".into()),
        (&format!("[provider]\nmax_shards = 0\n{files}"), "provider.max_shards: 0 must be".into()),
        (&format!("[provider]\nmin_shards = 5000\n{files}"), "more than max_shards".into()),
        (&format!("[provider]\nbudget = 5\n{files}"), "provider.budget: there is no".into()),
        (&format!("[provider]\nmax_deposit = 0\n{files}"), "provider.max_deposit: with 0".into()),
        (&format!("[provider]\ncompare_bytes = 0\n{files}"), "set provider.compare to fal".into()),
        (&format!("{files}licence = \"{}\"", "x".repeat(257)), "the licence is longer".into()),
        (&files.replace("a.txt", "b.txt"), "b.txt is not there".into()),
        (&source("dataset", ""), "it has 0 of files, hub, croissant".into()),
        (&source("dataset", "files = [\"a.txt\"]\npubmed = {}"), "it has 2 of files".into()),
        (&source("books", "files = [\"a.txt\"]"), "unknown variant `books`".into()),
        (&source("dataset", "hub = {}"), "give either catalogue or id".into()),
        (&source("dataset", "croissant = {}"), "give either file or address".into()),
        (&source("dataset", "croissant = { file = \"a.txt\" }"), "not a Croissant".into()),
        (&source("dataset", "hub = { id = \"a b\" }"), "hub.id: ".into()),
        (
            &source("dataset", "hub = { catalogue = \"x\" }"),
            "the catalogue has no data set x".into(),
        ),
        (&source("web", "feeds = { addresses = [\"https://a.org/f\"] }"), "contact: ".into()),
        (&web("feeds = { addresses = [] }"), "feeds.addresses: there is none".into()),
        (&web("crawl = { seeds = [] }"), "crawl.seeds: there is none".into()),
        (&web("crawl = { seeds = [\"file:///etc/passwd\"] }"), "no address of the web".into()),
        (&web("documentation = { sitemaps = [] }"), "documentation.sitemaps: ".into()),
        (&web("news = { outlet = \"x\" }"), "give its feeds, or one of global-voices".into()),
        (&source("synthetic", "synthesis = {}"), "give either file or recipe".into()),
        (&source("synthetic", "synthesis = { file = \"r\" }"), "r is no file; name one".into()),
        (&TASKS.replace("version = 1", "version = 9"), "version 9 of the generators".into()),
        (&format!("languages = [\"xx\"]\n{files}clean = \"books\""), "source a: ".into()),
        (&format!("{files}languages = [\"eng\"]"), "set clean to web".into()),
    ] {
        let error = folder.refusal(more);
        assert!(error.contains(&reason), "{more}: {error}");
        assert!(error.contains("a.toml"), "the file is named: {error}");
    }
    fs::remove_file(folder.0.path().join("tokenizer.json")).unwrap();
    assert!(folder.refusal(&files).contains("tokenizer: "));
    assert!(read::read(Path::new("/nowhere/a.toml")).is_err());
}

#[test]
fn all_mistakes_are_told_together() {
    let folder = Folder::new();
    let error = folder.refusal(&format!(
        "quality_threshold = 7\nagainst = [\"none\"]\n{}max_minutes = 0\n{}",
        source("web", "crawl = { seeds = [], depth = 5000 }"),
        source("dataset", "hub = { id = \"a/b\", files = [\"a***\"] }").replace("\"a\"", "\"b\""),
    ));
    for (line, start) in error.lines().skip(1).zip([
        "quality_threshold: 7 is no quality",
        "against: ",
        "source a: max_minutes: 0 is out",
        "source a: crawl.seeds: there is none",
        "source a: crawl.depth: 5000 is out",
        "source b: hub: \"a***\" is no pattern",
    ]) {
        assert!(line.trim_start().starts_with(start), "{error}");
    }
    assert!(error.contains("6 values have to change"), "{error}");

    let keys = json!({
        "sequenze": 1,
        "held_out": "x",
        "http": {"host_delay": 1},
        "source": [
            {"name": "a", "kind": "web", "crawl": {"sedes": [], "deep": 1}},
            {"name": "b", "kind": "web", "feeds": {"addresses": ["ftp://a"]}, "max_tokens": -1},
            {"kind": "books", "file": []},
            5,
        ],
    });
    let error = format!("{:#}", folder.json(keys).unwrap_err());
    for line in [
        "data_acquisition.sequenze: there is no such key; did you mean data_acquisition.sequence?",
        "data_acquisition.held_out: invalid type: string \"x\"",
        "data_acquisition.http.host_delay: there is no such key; did you mean",
        "source a: crawl.sedes: there is no such key; did you mean crawl.seeds?",
        "source a: crawl.deep: there is no such key; did you mean crawl.depth?",
        "source b: feeds.addresses[0]: \"ftp://a\" is no address of the web",
        // With the feature arbitrary_precision, serde_json does not repeat the number.
        "source b: max_tokens: invalid ",
        "source 3: kind: unknown variant `books`",
        "source 3: file: there is no such key; did you mean files?",
        "source 4: it is no table",
    ] {
        assert!(error.contains(&format!("\n  {line}")), "{line}: {error}");
    }
    let missing = folder.refusal("[[source]]\nname = \"a\"\n");
    assert!(missing.contains("source[0]: missing field `kind`"), "{missing}");
}

#[test]
fn values_out_of_their_range_are_refused_at_the_start() {
    let folder = Folder::new();
    let files = source("dataset", "files = [\"a.txt\"]");
    let web = |more: &str| format!("contact = \"me@example.org\"\n{}", source("web", more));
    let crawl = |more: &str| web(&format!("crawl = {{ seeds = [\"https://a.org\"], {more} }}"));
    let feeds =
        |more: &str| web(&format!("feeds = {{ addresses = [\"https://a.org/f\"], {more} }}"));
    folder.toml(&crawl("depth = 0, max_pages = 1, revisit_days = 1")).unwrap();
    folder.toml(&feeds("min_minutes = 1440")).unwrap();
    for (more, reason) in [
        (&format!("max_tokens_per_source = 4095\n{files}"), "max_tokens_per_source: 4095 is out"),
        (&format!("{files}max_tokens = 9"), "max_tokens: 9 is out of its range, 4096 to"),
        (
            &format!("quality_threshold = nan\n{files}quality_threshold = 0"),
            "is not finite; give a number",
        ),
        (&format!("{files}licence = \" \""), "licence: it is empty"),
        (
            &format!("{files}parents = [0, 1, 2, 3, 4, 5, 6, 7, 8]"),
            "parents: the text is derived from 9 manifests, and one names at most 8",
        ),
        (&format!("{files}activity = \"collection\""), "unknown variant `collection`, expected"),
        (&format!("{files}address = \"\""), "address: it is empty"),
        (&format!("[http]\nhost_delay_ms = 86400001\n{files}"), "http.host_delay_ms: 86400001"),
        (&format!("[http]\nmax_bytes = 1\n{files}"), "http.max_bytes: 1 is out of its range"),
        (&format!("[http]\nallowed_hosts = [\"http://a\"]\n{files}"), "is no host; write one"),
        (&format!("opt_out = \"none\"\n{files}"), "opt_out: "),
        (&format!("opt_out = \"a.txt\"\n{files}"), "quality_model or opt_out: "),
        (&format!("quality_model = \"a.txt\"\n{files}"), "quality_model or opt_out: "),
        (&format!("against = [\"none\"]\n{files}"), "is no file; name one that is there"),
        (&format!("decontaminate = [\"none\"]\n{files}"), "decontaminate: "),
        (&format!("decontaminate_fields = [\"question\"]\n{files}"), "decontaminate_fields: "),
        (&web("max_documents = 0\npubmed = {}"), "max_documents: 0 is out of its range, 1 to"),
        (&web("max_minutes = 0\npubmed = {}"), "max_minutes: 0 is out of its range"),
        (&web("max_minutes = 999999999\npubmed = {}"), "max_minutes: 999999999"),
        (&crawl("depth = 4000000000"), "crawl.depth: 4000000000 is out of its range, 0 to 1000"),
        (&crawl("max_pages = 0"), "crawl.max_pages: 0"),
        (&crawl("max_pages_per_host = 0"), "crawl.max_pages_per_host: 0"),
        (&crawl("revisit_days = 9999999"), "crawl.revisit_days: 9999999"),
        (&crawl("path_prefixes = [\"docs\"]"), "begins no path; write /docs"),
        (&feeds("min_minutes = 0"), "feeds.min_minutes: 0"),
        (&feeds("min_minutes = 1441"), "feeds.min_minutes: 1441 is out of its range, 1 to 1440"),
        (&feeds("follow = { shorter_than = 0 }"), "write \"never\""),
        (
            &web("documentation = { sitemaps = [\"https://a.org/s\"], max_pages = 0 }"),
            "max_pages: 0",
        ),
        (&web("hacker_news = { from = 9999999999999 }"), "hacker_news.from: 9999999999999"),
        (&web("pubmed = { from = \"May\" }"), "no date such as 2024-05-01"),
        (&web("arxiv = { query = \" \" }"), "arxiv.query: it has 0 bytes"),
        (&web("github = { query = \"\" }"), "github.query: it has 0 bytes"),
        (&web("stack_exchange = { site = \"a b\" }"), "no name of a site"),
        (&web("mastodon = { instance = \"https://a.org\" }"), "is no host, such as"),
        (&web("mastodon = { instance = \"a.org\", from = \"x\" }"), "mastodon.from: "),
    ] {
        let error = folder.refusal(more);
        assert!(error.contains(reason), "{more}: {error}");
    }
}

#[test]
fn combinations_without_effect_are_refused() {
    let folder = Folder::new();
    let files = source("dataset", "files = [\"a.txt\"]");
    let web = |more: &str| format!("contact = \"me@example.org\"\n{}", source("web", more));
    let long = "x".repeat(257);
    for (more, reason) in [
        (&format!("languages = [\"eng\"]\n{files}"), "no source has rules of cleaning that tell"),
        (&format!("languages = [\"eng\"]\n{files}clean = \"code\""), "no source has rules"),
        (&format!("{files}languages = [\"eng\"]\nclean = \"none\""), "set clean to web, books"),
        (&web("arxiv = { query = \"x\" }\ntext_fields = [\"a\"]"), "hands on texts, not tables"),
        (&source("dataset", "hub = { id = \"a/b\" }\ntext_fields = [\"a\"]"), "hub.columns"),
        (
            &web("news = { outlet = \"global-voices\", licence = \"MIT\" }"),
            "news.licence: that of global-voices is known, CC-BY-3.0",
        ),
        (
            &source(
                "dataset",
                &format!("hub = {{ id = \"a/b\", licence = \"{long}\" }}\nlicence = \"MIT\""),
            ),
            "licence of the supplier: the licence is longer",
        ),
    ] {
        let error = folder.refusal(more);
        assert!(error.contains(reason), "{more}: {error}");
    }
    let error = folder.toml(&files).unwrap().check_tokenizer().unwrap_err();
    assert!(format!("{error:#}").starts_with("tokenizer: "), "{error:#}");
    // Rules that tell no language leave the shared ones to the other sources.
    let other = files.replace("\"a\"", "\"b\"");
    let config = format!("languages = [\"eng\"]\n{files}clean = \"books\"\n{other}");
    folder.toml(&config).unwrap();
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_refused_by_name() {
    let folder = Folder::new();
    let pipe = folder.0.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let files = source("dataset", "files = [\"a.txt\"]");
    for (more, field) in [
        (source("dataset", "files = [\"pipe\"]"), "files"),
        (source("dataset", "files = [\"/dev/zero\"]"), "files"),
        (source("dataset", "croissant = { file = \"pipe\" }"), "croissant.file"),
        (source("synthetic", "synthesis = { file = \"pipe\" }"), "synthesis.file"),
        (format!("opt_out = \"pipe\"\n{files}"), "opt_out"),
        (format!("quality_model = \"/dev/zero\"\n{files}"), "quality_model"),
        (format!("against = [\"pipe\"]\n{files}"), "against"),
        (format!("decontaminate = [\"pipe\"]\n{files}"), "decontaminate"),
    ] {
        let error = folder.refusal(&more);
        assert!(error.contains(&format!("{field}: ")) && error.contains("file"), "{error}");
    }
}

#[test]
fn recipes_that_need_a_model_name_its_folder() {
    let folder = Folder::new();
    let recipe = Recipe::continuations(ModelIdentity::default(), [7; 32], 3);
    let recipe = serde_json::to_string(&recipe).unwrap();
    fs::write(folder.0.path().join("r.json"), recipe).unwrap();
    let refusal = |fields: &str| {
        folder.refusal(&source("pretrained", &format!("synthesis = {{ {fields} }}")))
    };
    let error = refusal("file = \"r.json\"");
    assert!(
        error.contains("synthesis: model: the recipe draws text from the model 0x00"),
        "{error}"
    );
    assert!(error.contains("name its folder"), "{error}");
    for fields in ["model = \"none\"", "file = \"r.json\", model = \"none\""] {
        let error = refusal(fields);
        assert!(error.contains("is not an imported model"), "{fields}: {error}");
    }
    let recipe = "[source.synthesis.recipe]";
    let with_model = format!("[source.synthesis]\nmodel = \"none\"\n{recipe}");
    let error = folder.refusal(&TASKS.replace(recipe, &with_model));
    assert!(error.contains("the recipe draws no text from one; leave it out"), "{error}");
}

#[test]
fn the_section_of_a_networks_configuration_has_the_same_sources() {
    let folder = Folder::new();
    let config = folder
        .json(json!({
            "enable_web_scraping": false,
            "huggingface_datasets": ["fineweb-edu", "org/name@main"],
            "pretrained_extraction": false,
            "pretrained_model": "none",
            "synthetic_generation": true,
            "quality_threshold": 0.7,
            "max_tokens_per_source": 10_000,
            "source": [
                {"name": "pages", "kind": "web", "arxiv": {"query": "x"}},
                {"name": "drawn", "kind": "pretrained", "synthesis": {"model": "none"}},
            ],
        }))
        .unwrap();
    let plan = config.plan(&[]).unwrap();
    let names: Vec<_> = plan.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["fineweb-edu", "org-name-main", "tasks"]);
    assert_eq!(plan[0].max_bytes(&config), Some(40_000));
    for (section, reason) in [
        (json!({"pretrained_extraction": true}), "pretrained_extraction: no model to draw"),
        (
            json!({"pretrained_extraction": true, "pretrained_model": "none"}),
            "none is not an imported model",
        ),
        (json!({"enable_web_scraping": true}), "enable_web_scraping: no page to begin at"),
        (json!({"huggingface_datasets": ["x"]}), "the catalogue has no data set x"),
        (json!({"huggingface_datasets": true}), "data_acquisition"),
        (json!({"soruce": []}), "data_acquisition.soruce: there is no such key; did you mean"),
        (json!({"http": {"delay": 1}}), "data_acquisition.http.delay: there is no such key"),
    ] {
        let error = format!("{:#}", folder.json(section.clone()).unwrap_err());
        assert!(error.contains(reason), "{section}: {error}");
    }
    let missing = format!("{:#}", folder.read("a.json", "{}").unwrap_err());
    assert!(missing.contains("no section data_acquisition"), "{missing}");
}

#[tokio::test]
async fn a_recipe_goes_on_behind_its_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let source = |recipe| RecipeReader::source(recipe, RecipeFiles::default(), folder.path());
    let recipe = Recipe::all_tasks([7; 32], 600);
    let mut whole = source(recipe.clone());
    let mut documents = Vec::new();
    let mut cursors = Vec::new();
    while let Step::Batch(batch) = whole.next().await.unwrap() {
        documents.extend(batch.documents);
        cursors.push((documents.len(), whole.cursor()));
    }
    assert_eq!(documents.len(), 600);
    let written = fs::read_to_string(folder.path().join("recipe.json")).unwrap();
    assert_eq!(Recipe::from_json(&written).unwrap(), recipe);

    let (read, cursor) = cursors[0].clone();
    let mut store = RawStore::create_or_open(folder.path().join(RAW)).unwrap();
    documents[..read].iter().for_each(|document| store.append(document).unwrap());
    store.commit(&cursor).unwrap();
    let mut resumed = source(recipe);
    resumed.resume(cursor.clone()).unwrap();
    let Step::Batch(batch) = resumed.next().await.unwrap() else { panic!("no batch") };
    assert_eq!(batch.documents[0], documents[read]);
    let mut other = source(Recipe::all_tasks([8; 32], 600));
    assert!(other.resume(cursor).unwrap_err().contains("another recipe"));
}

#[tokio::test]
async fn a_recipe_whose_store_is_gone_fails() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = Recipe::all_tasks([7; 32], 600);
    let mut source = RecipeReader::source(recipe, RecipeFiles::default(), folder.path());
    let mut cursor = source.cursor();
    cursor["next"] = 256.into();
    source.resume(cursor).unwrap();
    let error = source.next().await.unwrap_err().to_string();
    assert!(error.contains("is no store of documents"), "{error}");
    // Nobody sends any more.
    let error = source.next().await.unwrap_err().to_string();
    assert!(error.contains("run the command again"), "{error}");
}

#[test]
fn providers_state_where_a_text_is_from() {
    let folder = Folder::new();
    let terms = |more: &str| {
        let config = folder.toml(&source("web", more)).unwrap();
        config.sources[0].terms().unwrap()
    };
    let stated = "files = [\"a.txt\"]\naddress = \"https://a.org\"\nlicence = \"CC0-1.0\"";
    assert_eq!(terms(stated), Terms::new("https://a.org", "CC0-1.0").unwrap());
    let described = terms("files = [\"a.txt\"]");
    assert_eq!(described, Terms::new("a: 1 files or folders", "NOASSERTION").unwrap());
    let hub = terms("hub = { id = \"org/name\", licence = \"MIT\" }");
    assert_eq!(hub, Terms::new("a: data set org/name", "MIT").unwrap());
    let derived = terms("files = [\"a.txt\"]\nparents = [5, 2]\nactivity = \"transformation\"");
    let parents = StatedParents::new(&[2, 5], Some(DerivingActivity::Transformation)).unwrap();
    assert_eq!(derived, described.with_parents(parents));
}

#[test]
fn paths_and_limits_of_a_provider_are_read() {
    let folder = Folder::new();
    let section = "[provider]\nkey_file = \"key.json\"\nmax_deposit = 7\nserve = false\n";
    let config = folder.toml(&format!("{section}{TASKS}")).unwrap();
    let provider = config.provider.unwrap();
    assert_eq!(provider.key_file, Some(folder.0.path().join("key.json")));
    assert_eq!(provider.max_deposit(), Some(7 * POL));
    assert_eq!(
        (provider.min_shards, provider.max_shards, provider.ahead_rounds),
        (256, 4_096, 100)
    );
    assert!(folder.toml(TASKS).unwrap().provider.is_none());
}

/// Returns sentences that no other number gives.
fn sentences(number: usize) -> String {
    (0..60).map(|at| format!("Zebra {} saw river {} at {at}. ", number * 97 + at, number)).collect()
}

/// Returns a collector in a process that nobody stops.
fn collector(config: &Config) -> Collector<'_> {
    Collector {
        config,
        client: config.client().ok(),
        stop: Stop(watch::channel(false).1),
        json: true,
        batch_bytes: Some(1),
        network: None,
        verified: RefCell::default(),
        broken: RefCell::default(),
    }
}

/// Ingests the folder `texts` to get a tokenizer for the data of the configuration.
fn make_tokenizer(folder: &Folder, config: &Config) {
    let path = |name: &str| folder.0.path().join(name);
    let supplies = vec![Supply::Path(path("texts"))];
    let first = IngestConfig {
        vocabulary: pol_data::MIN_VOCABULARY,
        tokenizer: None,
        ..config.sources[0].ingestion(config, supplies, path("first")).unwrap()
    };
    pol_data::ingest(&first, config.references().load().unwrap(), &|_| ()).unwrap();
    fs::copy(path("first/tokenizer.json"), path("tokenizer.json")).unwrap();
}

/// Writes six texts, and returns a configuration of source `a` with them, source `b` with an empty
/// folder, and the `other` sources.
fn texts_and_mirror(folder: &Folder, other: &str) -> Config {
    let path = |name: &str| folder.0.path().join(name);
    ["texts", "mirror"].iter().for_each(|name| fs::create_dir(path(name)).unwrap());
    (0..6).for_each(|at| fs::write(path(&format!("texts/{at}.txt")), sentences(at)).unwrap());
    let sizes = "sequence = 16\nshard_tokens = 64\nheld_out = 0\n";
    let mirror = "[[source]]\nname = \"b\"\nkind = \"dataset\"\nfiles = [\"mirror\"]\n";
    let texts = source("dataset", "files = [\"texts\"]");
    let config = folder.toml(&format!("{sizes}{texts}{mirror}{other}")).unwrap();
    make_tokenizer(folder, &config);
    config
}

/// Seals the data that a source has.
fn seal(config: &Config, outcome: Outcome) {
    let folder = config.out.join(&outcome.source);
    let mut state = SourceState::read(&folder).unwrap();
    state.seal(outcome.inputs.unwrap());
    state.write(&folder).unwrap();
}

#[tokio::test]
async fn sites_whose_owners_opted_out_are_not_asked() {
    let folder = Folder::new();
    fs::write(folder.0.path().join("opt-out.txt"), "host example.org\n").unwrap();
    let crawl = source("web", "crawl = { seeds = [\"https://example.org/\"] }");
    let shared = "opt_out = \"opt-out.txt\"\ncontact = \"https://example.com/us\"\n";
    let config = folder.toml(&format!("{shared}{crawl}")).unwrap();
    let outcome = collector(&config).collect(&config.sources[0]).await;
    let error = outcome.error.unwrap();
    assert!(error.contains("its owner opted out"), "{error}");
}

#[tokio::test]
async fn what_was_offered_is_never_made_anew() {
    let folder = Folder::new();
    let path = |name: &str| folder.0.path().join(name);
    let config = texts_and_mirror(&folder, TASKS);
    let collector = collector(&config);
    let collect = async |number: usize| {
        let outcome = collector.collect(&config.sources[number]).await;
        assert_eq!(outcome.error, None);
        outcome
    };

    let outcome = collect(0).await;
    assert!(outcome.is_complete && collect(0).await.inputs == outcome.inputs, "it may grow");
    seal(&config, outcome);
    let sealed = fs::read(path("out/a/data/ingest.json")).unwrap();
    let outcome = collect(0).await;
    assert!(outcome.inputs.is_none() && !path("out/a/data-2").exists(), "nothing is new");

    fs::write(path("texts/6.txt"), sentences(6)).unwrap();
    let later = collect(0).await.data.unwrap();
    assert_eq!((later.documents, later.dropped), (1, 6), "the others were offered");
    assert!(path("out/a/data-2").exists());
    assert_eq!(fs::read(path("out/a/data/ingest.json")).unwrap(), sealed);
    // Another source has editions of texts that were offered, and one that is new.
    for at in [2, 4, 7] {
        let edition = sentences(at).replacen("saw", "met", 1);
        fs::write(path(&format!("mirror/{at}.md")), edition).unwrap();
    }
    let mirrored = collect(1).await.data.unwrap();
    assert_eq!((mirrored.documents, mirrored.dropped), (1, 2), "another source offered them");
    let offered = async |number: usize| {
        let dedup = pol_corpus::dedup::DedupConfig::default();
        collector.offered_signatures(&config.sources[number], &dedup).await.unwrap()
    };
    assert_eq!((offered(0).await.len(), offered(1).await.len()), (1, 1));
    assert!(offered(2).await.is_empty(), "a recipe alone tells what it makes");
    fs::remove_file(path("mirror/7.md")).unwrap();
    let nothing = collect(1).await;
    assert!(nothing.inputs.is_none() && nothing.note.unwrap().contains("no data yet"));
    let supplier = config.sources[0].supplier().unwrap();
    assert!(!supplier.is_divisible());
}

#[tokio::test]
async fn broken_data_of_a_source_stop_no_other() {
    let folder = Folder::new();
    let path = |name: &str| folder.0.path().join(name);
    let config = texts_and_mirror(&folder, "");
    let collector = collector(&config);
    seal(&config, collector.collect(&config.sources[0]).await);
    // Each time, the other source has editions of two texts that were offered, and one more text.
    let mirrored = async |more: usize| {
        for at in [2, 4, more] {
            let edition = sentences(at).replacen("saw", "met", 1);
            fs::write(path(&format!("mirror/{at}.md")), edition).unwrap();
        }
        let outcome = collector.collect(&config.sources[1]).await;
        assert_eq!(outcome.error, None);
        let data = outcome.data.unwrap();
        (data.documents, data.dropped, collector.broken.take())
    };

    let signatures = path("out/a/data/signatures.bin");
    for loss in [Some("torn"), None] {
        fs::remove_file(&signatures).unwrap();
        loss.into_iter().for_each(|torn| fs::write(&signatures, torn).unwrap());
        let more = 7 + usize::from(loss.is_some());
        let (documents, dropped, broken) = mirrored(more).await;
        assert!(documents > 0 && broken.is_empty(), "they are made anew: {broken:?}");
        assert_eq!(dropped, 2);
    }

    // Without the state, nobody knows which data were offered. What is there is compared with.
    let state = fs::read(path("out/a/state.json")).unwrap();
    fs::write(path("out/a/state.json"), "{").unwrap();
    let (documents, dropped, broken) = mirrored(9).await;
    assert_eq!((documents, dropped), (3, 2));
    assert!(broken["a"].contains("state.json is damaged; restore it"), "{broken:?}");
    let failed = collector.collect(&config.sources[0]).await.error.unwrap();
    assert!(failed.contains("state.json is damaged; restore it"), "{failed}");
    fs::write(path("out/a/state.json"), state).unwrap();

    // Nothing of the texts can be had.
    fs::write(&signatures, "torn").unwrap();
    let documents = path("out/a/data/documents.zst");
    let records = fs::read(&documents).unwrap();
    fs::write(&documents, "torn").unwrap();
    let (documents_left, dropped, broken) = mirrored(10).await;
    assert_eq!((documents_left, dropped), (6, 0), "all are kept until they can be compared");
    assert!(broken["a"].contains("signatures.bin cannot be used"), "{broken:?}");
    assert!(broken["a"].contains("from a copy"), "{broken:?}");
    fs::write(path("texts/6.txt"), sentences(6)).unwrap();
    let failed = collector.collect(&config.sources[0]).await.error.unwrap();
    assert!(failed.contains("signatures.bin cannot be used"), "its own are needed: {failed}");
    let pass = Pass { broken: broken.into_keys().collect(), ..Pass::default() };
    let error = pass.result(1).unwrap_err().to_string();
    assert!(error.contains("could not be compared with: a; mend it"), "{error}");

    // The next run compares again, once all is mended.
    fs::write(&documents, records).unwrap();
    let outcome = collector.collect(&config.sources[1]).await;
    let data = outcome.data.unwrap();
    assert!(outcome.made && collector.broken.take().is_empty());
    assert_eq!((data.documents, data.dropped), (4, 2));
}

#[test]
fn a_store_that_was_collected_anew_is_another_input() {
    let folder = Folder::new();
    let config = folder.toml(TASKS).unwrap();
    let raw = folder.0.path().join("raw");
    let state_of = |text: &str, cursor: u32| {
        let mut store = RawStore::create_or_open(&raw).unwrap();
        if store.is_empty() {
            let document = RawDocument::of_text(Origin::default(), text.to_owned());
            store.append(&document).unwrap();
        }
        store.commit(&cursor.into()).unwrap();
        drop(store);
        let (supplies, out) = (vec![Supply::Store(raw.clone(), 0)], folder.0.path().join("data"));
        let ingestion = config.sources[0].ingestion(&config, supplies, out).unwrap();
        let inputs = Inputs { documents: 1, ..Inputs::default() };
        IngestState::new(&inputs, &ingestion, &config.references()).unwrap()
    };
    let first = state_of("A text.", 1);
    assert_eq!(state_of("A text.", 2), first, "the source has nothing new");
    fs::remove_dir_all(&raw).unwrap();
    assert_ne!(state_of("Another.", 2), first);
}

#[test]
fn a_full_disk_is_waited_for() {
    let folder = Folder::new();
    let config = folder.toml(&source("dataset", "files = [\"a.txt\"]")).unwrap();
    let mut pass = Pass::default();
    let mut note = |kind: std::io::ErrorKind| {
        let (path, source) = (config.out.clone(), std::io::Error::from(kind));
        let error = pol_data::DataError::Io { action: "write", path, source };
        let mut outcome = Outcome::new(&config.sources[0]);
        outcome.fail(&anyhow::Error::new(error).context("cannot ingest"));
        pass.note(&config.sources[0], &outcome);
        (pass.waiting.len(), pass.full_disk.clone())
    };
    assert_eq!(note(std::io::ErrorKind::PermissionDenied), (1, None));
    let (waiting, full) = note(std::io::ErrorKind::StorageFull);
    assert!(waiting == 2 && full.unwrap().contains("cannot ingest"));
}
