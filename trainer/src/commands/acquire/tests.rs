// SPDX-License-Identifier: Apache-2.0

use super::{config::Kind, suppliers::Supplier, synthesis::RecipeSource, *};
use pol_primitives::lineage::Activity;
use pol_sources::{Source, Step};
use pol_synthesis::Recipe;
use std::{fs, path::Path};

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
        let file = json!({"network": {"name": "x"}, "data_acquisition": section});
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
        assert_eq!(supplier.validate().is_err(), is_missing, "{}", source.name);
        supplier.preset().unwrap();
    }
    let described: std::collections::BTreeSet<_> = plan
        .iter()
        .map(|source| std::mem::discriminant(&source.supplier().unwrap()))
        .map(|supplier| format!("{supplier:?}"))
        .collect();
    assert_eq!(described.len(), 13);
}

#[test]
fn paths_are_relative_to_the_file_and_budgets_are_in_tokens() {
    let folder = Folder::new();
    let config = folder
        .toml(&format!(
            "max_tokens_per_source = 10\n{}max_tokens = 3\n",
            source("dataset", "files = [\"a.txt\"]")
        ))
        .unwrap();
    assert_eq!(config.out, folder.0.path().join("out"));
    let plan = config.plan(&["a".into()]).unwrap();
    assert_eq!(plan[0].max_bytes(&config), Some(12));
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
        ("outt = 1", "unknown field `outt`".into()),
        ("sequence = 0\nsource = []", "sequence: it must be at least 1".into()),
        ("shard_tokens = 100", "shard_tokens: 100 must be a multiple".into()),
        ("held_out = 0.7", "held_out: 0.7 is no share".into()),
        (&format!("quality_threshold = 40\n{files}"), "quality_threshold: 40 is no quality".into()),
        (&format!("{files}{files}"), "two are named a; rename one".into()),
        (&files.replace("\"a\"", "\"../a\""), "cannot name a folder".into()),
        (&format!("{files}max_minutes = 3"), "files are read as a whole".into()),
        (&files.replace("a.txt", "b.txt"), "b.txt is not there".into()),
        (&source("dataset", ""), "it has 0 of files, hub, crawl".into()),
        (&source("dataset", "files = [\"a.txt\"]\npubmed = {}"), "it has 2 of files".into()),
        (&source("books", "files = [\"a.txt\"]"), "unknown variant `books`".into()),
        (&source("dataset", "hub = {}"), "give either catalogue or id".into()),
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
        (
            &source("synthetic", "synthesis = { file = \"r\" }"),
            "synthesis.file: cannot read".into(),
        ),
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
fn recipes_that_need_a_model_are_refused() {
    let folder = Folder::new();
    let zeros = format!("0x{}", "0".repeat(64));
    let recipe = json!({
        "version": 1,
        "seed": zeros,
        "documents": 3,
        "content": {"certainty": {
            "model": {"root": zeros, "tokenizer": zeros, "decoder": "pol-generate"},
            "families": ["arithmetic"],
            "levels": [1, 2],
            "measure": "log_probability",
            "calibration": 100,
            "bins": 4,
        }},
    });
    fs::write(folder.0.path().join("r.json"), recipe.to_string()).unwrap();
    let error = folder.refusal(&source("synthetic", "synthesis = { file = \"r.json\" }"));
    assert!(error.contains("draws text from a model, which this command cannot do"), "{error}");
}

#[test]
fn the_section_of_a_networks_configuration_has_the_same_sources() {
    let folder = Folder::new();
    let config = folder
        .json(json!({
            "enable_web_scraping": false,
            "huggingface_datasets": ["fineweb-edu", "org/name@main"],
            "pretrained_extraction": false,
            "synthetic_generation": true,
            "quality_threshold": 0.7,
            "max_tokens_per_source": 1000,
            "source": [{"name": "pages", "kind": "web", "arxiv": {"query": "x"}}],
        }))
        .unwrap();
    let plan = config.plan(&[]).unwrap();
    let names: Vec<_> = plan.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["fineweb-edu", "org-name-main", "tasks"]);
    assert_eq!(plan[0].max_bytes(&config), Some(4000));
    for (section, reason) in [
        (json!({"pretrained_extraction": true}), "pretrained_extraction: this program cannot"),
        (json!({"enable_web_scraping": true}), "enable_web_scraping: no page to begin at"),
        (json!({"huggingface_datasets": ["x"]}), "the catalogue has no data set x"),
        (json!({"huggingface_datasets": true}), "data_acquisition"),
        (json!({"seeds": []}), "unknown field `seeds`"),
    ] {
        let error = format!("{:#}", folder.json(section.clone()).unwrap_err());
        assert!(error.contains(reason), "{section}: {error}");
    }
    let missing = format!("{:#}", folder.read("a.json", "{}").unwrap_err());
    assert!(missing.contains("no section data_acquisition"), "{missing}");
}

#[tokio::test]
async fn a_recipe_goes_on_behind_its_cursor() {
    let recipe = Recipe::all_tasks([7; 32], 600);
    let mut whole = RecipeSource::new(recipe.clone());
    let mut documents = Vec::new();
    let mut cursors = Vec::new();
    while let Step::Batch(batch) = whole.next().await.unwrap() {
        documents.extend(batch.documents);
        cursors.push((documents.len(), whole.cursor()));
    }
    assert_eq!(documents.len(), 600);
    let (read, cursor) = cursors[0].clone();
    let mut resumed = RecipeSource::new(recipe);
    resumed.resume(cursor.clone()).unwrap();
    let Step::Batch(batch) = resumed.next().await.unwrap() else { panic!("no batch") };
    assert_eq!(batch.documents[0], documents[read]);
    let mut other = RecipeSource::new(Recipe::all_tasks([8; 32], 600));
    assert!(other.resume(cursor).unwrap_err().contains("another recipe"));
}
