// SPDX-License-Identifier: Apache-2.0

use super::*;
use pol_corpus::{
    RawDocument,
    pipeline::{PipelineConfig, References, Supply},
};
use pol_data::{
    EndOfText, IngestConfig, IngestRecord, ShardFolder, TRAIN,
    documents::croissant::{FileFacts, ManifestFacts, describe},
};
use pol_mock_services::{Response, Server};
use pol_primitives::{
    data::ManifestInfo,
    lineage::{Activity, Derivation, ToolName},
};
use pol_sources::http::HttpOptions;
use serde_json::json;
use std::time::Duration;

const ROWS: &str = "id,body\n1,First.\n2,Second.\n";

/// SHA-256 of the rows.
fn digest(folder: &Path, name: &str) -> String {
    hex::encode(FileFacts::read(folder, name, "text/csv").unwrap().sha256)
}

/// Folder with rows, and a description of them.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::create_dir(folder.path("set")).unwrap();
        fs::write(folder.path("set/rows.csv"), ROWS).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns a description of the rows.
    fn described(&self) -> Value {
        json!({
            "@type": "sc:Dataset",
            "name": "tales",
            "conformsTo": "http://mlcommons.org/croissant/1.1",
            "license": "https://spdx.org/licenses/CC-BY-4.0.html",
            "prov:wasDerivedFrom": { "@id": "urn:tales:old" },
            "distribution": {
                "@type": "cr:FileObject",
                "@id": "rows",
                "contentUrl": "rows.csv",
                "encodingFormat": "text/csv",
                "sha256": digest(&self.path("set"), "rows.csv"),
            },
            "recordSet": {
                "@type": "cr:RecordSet",
                "@id": "tales",
                "field": {
                    "@id": "tales/words",
                    "dataType": "sc:Text",
                    "source": { "fileObject": { "@id": "rows" }, "extract": { "column": "body" } },
                },
            },
        })
    }

    /// Writes a description into the folder of the rows, and returns the configuration.
    fn config(&self, description: &Value) -> CroissantConfig {
        let file = self.path("set/croissant.json");
        fs::write(&file, description.to_string()).unwrap();
        CroissantConfig { file: Some(file), ..CroissantConfig::default() }
    }

    fn source(&self, config: CroissantConfig) -> CroissantSource {
        let folder = self.path("source");
        let options = HttpOptions {
            allowed_hosts: ["127.0.0.1".to_owned()].into(),
            host_delay: Duration::ZERO,
            max_retries: 0,
            ..HttpOptions::new("https://example.org/about")
        };
        let client = Some(HttpClient::new(options).unwrap());
        let bar = ProgressBar::hidden();
        CroissantSource::new(
            "tales",
            Opener { config, text_fields: Vec::new(), client, folder, bar },
        )
    }

    /// Returns the documents of a description.
    async fn read(&self, config: CroissantConfig) -> Result<Vec<RawDocument>, SourceError> {
        let (mut source, mut documents) = (self.source(config), Vec::new());
        while let Step::Batch(batch) = source.next().await? {
            documents.extend(batch.documents);
        }
        Ok(documents)
    }

    /// Serves the folder of the rows, and returns the configuration with its address.
    fn serve(&self) -> (Server, CroissantConfig) {
        let folder = self.path("set");
        let server = Server::start(move |request| {
            match fs::read(folder.join(request.path.trim_start_matches('/'))) {
                Ok(bytes) => Response::new(200, bytes),
                Err(_) => Response::new(404, ""),
            }
        });
        let address = format!("{}/croissant.json", server.address);
        let address = Some(Address::try_from(address).unwrap());
        (server, CroissantConfig { address, ..CroissantConfig::default() })
    }

    /// Returns the reason for which a description is refused before it is read.
    fn refusal(&self, description: &Value) -> String {
        let config = self.config(description);
        explain(&config.validate(&[]).unwrap_err())
    }
}

fn texts(documents: &[RawDocument]) -> Vec<&str> {
    documents.iter().map(|document| std::str::from_utf8(&document.bytes).unwrap()).collect()
}

#[tokio::test]
async fn described_rows_are_read_from_the_disk_and_from_the_web() {
    let folder = Folder::new();
    let config = folder.config(&folder.described());
    config.validate(&[]).unwrap();
    assert!(!config.is_on_the_web());
    assert_eq!(config.licence().as_deref(), Some("CC-BY-4.0"));
    let documents = folder.read(config).await.unwrap();
    assert_eq!(texts(&documents), ["First.", "Second."]);
    let origin = &documents[0].origin;
    assert_eq!((origin.source.as_str(), origin.location.as_str()), ("croissant/tales", "rows.csv"));
    assert_eq!(origin.licence.as_deref(), Some("CC-BY-4.0"));
    assert_eq!(origin.signals, ["prov:wasDerivedFrom: urn:tales:old"]);

    let (server, config) = folder.serve();
    assert!(config.is_on_the_web());
    config.validate(&[]).unwrap();
    let served = folder.read(config).await.unwrap();
    assert_eq!(texts(&served), texts(&documents));
    assert_eq!(served[0].origin.location, format!("{}/rows.csv", server.address));
    assert_eq!(server.paths(), ["/croissant.json", "/rows.csv"]);
}

#[tokio::test]
async fn a_killed_run_reads_the_description_again() {
    let folder = Folder::new();
    let config = folder.config(&folder.described());
    let mut first = folder.source(config.clone());
    assert_eq!(first.cursor(), Value::Null);
    let Step::Batch(batch) = first.next().await.unwrap() else { panic!("no batch") };
    assert_eq!(batch.documents.len(), 2);
    let mut resumed = folder.source(config.clone());
    resumed.resume(first.cursor()).unwrap();
    assert_eq!(resumed.cursor(), first.cursor());
    assert_eq!(resumed.next().await.unwrap(), Step::Done);
    // Another description has other documents.
    let mut other = folder.described();
    other["license"] = json!("CC0-1.0");
    let mut changed = folder.source(folder.config(&other));
    changed.resume(first.cursor()).unwrap();
    assert!(matches!(changed.next().await, Err(SourceError::Cursor { .. })));
}

#[tokio::test]
async fn files_that_are_missing_or_changed_are_named() {
    let folder = Folder::new();
    let (_server, config) = folder.serve();
    let mut description = folder.described();
    description["distribution"]["sha256"] = json!("07".repeat(32));
    folder.config(&description);
    let error = folder.read(config.clone()).await.unwrap_err().to_string();
    assert!(error.contains("rows.csv: its SHA-256"), "{error}");
    description["distribution"]["contentUrl"] = json!("lost.csv");
    folder.config(&description);
    let error = folder.read(config.clone()).await.unwrap_err().to_string();
    assert!(error.contains("lost.csv: its server answers with status 404"), "{error}");
    fs::write(folder.path("set/croissant.json"), "{").unwrap();
    assert!(folder.read(config.clone()).await.unwrap_err().to_string().contains("Croissant"));
    let long = vec![b' '; MAX_DESCRIPTION_BYTES + 1];
    fs::write(folder.path("set/croissant.json"), long).unwrap();
    let error = folder.read(config).await.unwrap_err().to_string();
    assert!(error.contains("larger than allowed"), "{error}");
}

#[test]
fn descriptions_that_cannot_be_followed_say_why() {
    let folder = Folder::new();
    let neither = CroissantConfig::default().validate(&[]).unwrap_err().to_string();
    assert!(neither.contains("either file or address"), "{neither}");
    let missing = CroissantConfig { file: Some("nowhere".into()), ..Default::default() };
    assert!(explain(&missing.validate(&[]).unwrap_err()).contains("nowhere is no file"));
    let mut description = folder.described();
    description["distribution"]["contentUrl"] = json!("lost.csv");
    assert!(folder.refusal(&description).contains("rows: cannot read "));
    // A link that leads out of the folder.
    fs::write(folder.path("secret.csv"), ROWS).unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.path("secret.csv"), folder.path("set/link.csv")).unwrap();
        description["distribution"]["contentUrl"] = json!("link.csv");
        let error = folder.refusal(&description);
        assert!(error.contains("leads out of the folder"), "{error}");
    }
    description["distribution"]["contentUrl"] = json!("../secret.csv");
    assert!(folder.refusal(&description).contains("a path below the description"));
    let many: Vec<String> = (0..2_000).map(|number| format!("urn:parent:{number}")).collect();
    let mut description = folder.described();
    description["prov:wasDerivedFrom"] = json!(many);
    assert!(folder.refusal(&description).contains("more than 16384"));
    let named = folder.config(&folder.described());
    assert!(named.validate(&["lost".into()]).unwrap_err().to_string().contains("text_fields"));
}

#[test]
fn addresses_stay_below_that_of_the_description() {
    let folder = Folder::new();
    let description = SourceDescription::parse(folder.described().to_string().as_bytes()).unwrap();
    let base = Base::Web(Url::parse("https://example.org/a/croissant.json?x=1").unwrap());
    let described = Described { description, base };
    let place = |location: &str| match described.place(location) {
        Ok(FilePlace::Web(url)) => url.to_string(),
        Ok(FilePlace::Disk(path)) => panic!("{}", path.display()),
        Err(error) => error.to_string(),
    };
    assert_eq!(place("b/rows.csv"), "https://example.org/a/b/rows.csv");
    assert_eq!(place("https://other.org/rows.csv"), "https://other.org/rows.csv");
    assert!(place("%2e%2e/rows.csv").contains("leads out"), "{}", place("%2e%2e/rows.csv"));
    assert!(place("%2E./rows.csv").contains("leads out"));
}

/// Makes data of three texts, and returns their record.
fn ingest(folder: &Folder) -> (PathBuf, IngestRecord, Vec<String>) {
    let text = |number: u32| -> String {
        (0..400)
            .map(|line| format!("The {number} of {} and {}.\n", line * 7 + number, line * line))
            .collect()
    };
    let input = folder.path("texts");
    fs::create_dir(&input).unwrap();
    let texts: Vec<String> = (0..3).map(text).collect();
    for (number, text) in texts.iter().enumerate() {
        fs::write(input.join(format!("{number}.txt")), text).unwrap();
    }
    let out = folder.path("data");
    let config = IngestConfig {
        inputs: vec![Supply::Path(input)],
        out: out.clone(),
        corpus: PipelineConfig { held_out: 300_000, ..PipelineConfig::default() },
        text_fields: Vec::new(),
        vocabulary: 300,
        sequence: 16,
        shard_tokens: 16,
        tokenizer: None,
        end_of_text: EndOfText::Known,
        force: false,
        lineage: None,
    };
    let record = pol_data::ingest(&config, References::default(), &|_| ()).unwrap();
    (out, record, texts)
}

/// Describes the training manifest in a folder, as `data describe --data` does.
fn describe_manifest(data: &Path, record: &IngestRecord) -> Value {
    let shards = ShardFolder::open(&data.join(TRAIN)).unwrap();
    let info = ManifestInfo {
        source: 0,
        merkle_root: record.train.merkle_root,
        content_hash: record.train.content_hash,
        tokenizer: record.tokenizer,
        shards: record.train.shards,
        shard_tokens: record.shard_tokens,
        parents: Default::default(),
        quality: 0,
        held_out: false,
        derivation: Derivation {
            activity: Activity::Collection,
            tool: ToolName::truncate_from(b"pol-data".to_vec()),
            version: ToolName::truncate_from(b"0.1.0".to_vec()),
            configuration: record.request,
        },
        documents: None,
    };
    let files = crate::commands::describe::file_names(TRAIN, &shards)
        .map(|(name, media)| FileFacts::read(data, &name, media).unwrap());
    describe(&ManifestFacts {
        genesis: [9; 32],
        id: 0,
        info: &info,
        kind: None,
        owner: "5Grw",
        address: "local",
        licence: "CC-BY-4.0",
        published: None,
        parents: &[],
        usage: &[],
        retirement: None,
        files: &files,
    })
}

#[tokio::test]
async fn a_manifest_that_was_described_is_read_back() {
    let folder = Folder::new();
    let (data, record, texts_before) = ingest(&folder);
    let description = describe_manifest(&data, &record);
    fs::write(data.join("croissant.json"), description.to_string()).unwrap();
    let file = data.join("croissant.json");
    let config = CroissantConfig { file: Some(file.clone()), ..CroissantConfig::default() };
    config.validate(&[]).unwrap();
    let documents = folder.read(config).await.unwrap();
    assert_eq!(documents.len(), 2, "one of three is held out");
    for document in &documents {
        let text = std::str::from_utf8(&document.bytes).unwrap();
        let text = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
        // The last tokens fill no shard.
        let whole = texts_before.iter().find(|whole| whole.starts_with(text)).unwrap();
        assert!(whole.len() - text.len() < 300);
        assert!(document.origin.location.starts_with("texts/"));
        assert_eq!(document.origin.licence.as_deref(), Some("CC-BY-4.0"));
        assert!(document.origin.signals[0].starts_with("prov:wasDerivedFrom: urn:pol:manifest:"));
    }
    assert!(data.join(TRAIN).exists() && !folder.path("source/cache").exists());

    // The same over the web.
    fs::remove_dir_all(folder.path("set")).unwrap();
    fs::rename(&data, folder.path("set")).unwrap();
    let (server, config) = folder.serve();
    assert_eq!(folder.read(config.clone()).await.unwrap(), documents);
    assert_eq!(server.paths().len(), 5);

    // Shards of another manifest, and one without its files.
    let mut other = description.clone();
    other["identifier"][0]["value"] = json!("07".repeat(32));
    fs::write(folder.path("set/croissant.json"), other.to_string()).unwrap();
    let error = folder.read(config.clone()).await.unwrap_err().to_string();
    assert!(error.contains("not the manifest that is described"), "{error}");
    let mut bare = description;
    bare["distribution"].as_array_mut().unwrap().pop();
    fs::write(folder.path("set/croissant.json"), bare.to_string()).unwrap();
    let error = folder.read(config).await.unwrap_err().to_string();
    assert!(error.contains("data describe --data"), "{error}");
}
