// SPDX-License-Identifier: Apache-2.0

//! Text that a model writes for recipes, as users have it drawn.

use crate::common::{json, refusal, run, stdout};
use pol_corpus::RawStore;
use pol_import::{ImportReport, ImportedModel, SpecialTokens, TokenizerReport};
use pol_model::initial_parameters;
use pol_primitives::model::ModelSpec;
use pol_synthesis::{
    CertaintyMeasure, CertaintyQuestions, Consistency, Content, DrawnText, Family, Form,
    GENERATOR_VERSION, ModelIdentity, PromptSet, PromptSource, Recipe, SamplingParameters,
    TextFilter,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// Scratch folder with a tokenizer and random models.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let folder = Self(folder);
        fs::write(folder.0.join("text.txt"), "One small text. ".repeat(20)).unwrap();
        let vocabulary = pol_data::MIN_VOCABULARY.to_string();
        let (text, out) = (folder.path("text.txt"), folder.path("first"));
        let mut arguments = vec!["data", "ingest", "--input", &text, "--out", &out];
        arguments.extend(["--vocabulary", &vocabulary, "--sequence", "16"]);
        arguments.extend(["--shard-tokens", "16", "--held-out", "0"]);
        stdout(&run(&arguments));
        folder.write_model("model", 1, 4);
        folder
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Writes a random model with this number of heads.
    fn write_model(&self, name: &str, seed: u8, heads: u16) {
        let tokenizer = fs::read(self.0.join("first/tokenizer.json")).unwrap();
        let spec = ModelSpec::gpt2(pol_data::MIN_VOCABULARY, 32, 2, heads, 64, 256);
        let report = ImportReport {
            source: "a test".into(),
            format: "none".into(),
            family: "random".into(),
            root: [0; 32],
            parameters: 0,
            tokenizer: Some(TokenizerReport {
                from: "a test".into(),
                entries: pol_data::MIN_VOCABULARY,
                hash: blake3::hash(&tokenizer).into(),
            }),
            special: SpecialTokens::default(),
            notes: Vec::new(),
            tensors: Vec::new(),
            adapted: Vec::new(),
        };
        let parameters = initial_parameters(&spec, &[seed; 32]);
        let tokenizer = Some(tokenizer);
        let model = ImportedModel { spec, parameters, root: [0; 32], tokenizer, report };
        model.save(&self.0.join(name), true).unwrap();
    }

    /// Returns the identity of a model, as `model show` tells it.
    fn identity(&self, name: &str) -> ModelIdentity {
        let shown = stdout(&run(&["model", "show", &self.path(name), "--recipe"]));
        Recipe::from_json(&shown).unwrap().model().unwrap().clone()
    }

    fn write_recipe(&self, name: &str, documents: u32, content: Content) {
        let recipe = Recipe { version: GENERATOR_VERSION, seed: [9; 32], documents, content };
        fs::write(self.0.join(name), serde_json::to_string(&recipe).unwrap()).unwrap();
    }

    /// Writes a configuration of the usual fields and `sources`.
    fn configure(&self, out: &str, sources: &str) -> String {
        let path = self.path(&format!("{out}.toml"));
        let usual = "tokenizer = \"first/tokenizer.json\"\nsequence = 16\nshard_tokens = 16\n\
                     held_out = 0.0\n";
        fs::write(&path, format!("out = \"{out}\"\n{usual}{sources}")).unwrap();
        path
    }

    /// Compares a folder with what a recipe makes.
    fn redraw(&self, recipe: &str, against: &str, more: &[&str]) -> Value {
        let (recipe, model, against) = (self.path(recipe), self.path("model"), self.path(against));
        let usual = ["data", "redraw", "--json", "--recipe", &recipe, "--model", &model];
        json(&run(&[&usual[..], &["--against", &against], more].concat()))
    }
}

/// Runs `data acquire`, and returns the outcomes by the name of the source.
fn acquire(config: &str) -> BTreeMap<String, Value> {
    let lines = stdout(&run(&["data", "acquire", "--config", config, "--json"]));
    let outcomes = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    outcomes.map(|outcome| (outcome["source"].as_str().unwrap().to_owned(), outcome)).collect()
}

/// Returns a source of a recipe in the file `NAME.json`.
fn source(name: &str, more: &str) -> String {
    format!(
        "[[source]]\nname = \"{name}\"\nkind = \"pretrained\"\n{more}\n[source.synthesis]\n\
         file = \"{name}.json\"\nmodel = \"model\"\n"
    )
}

fn drawn(model: &ModelIdentity, form: Form) -> DrawnText {
    DrawnText {
        form,
        model: model.clone(),
        prompts: PromptSource::Bundled,
        sampling: SamplingParameters { max_tokens: 20, ..SamplingParameters::default() },
        consistency: Consistency::NONE,
        filter: TextFilter { min_bytes: 1, ..TextFilter::default() },
    }
}

fn certainty(model: &ModelIdentity, measure: CertaintyMeasure, examples: u8) -> Content {
    Content::Certainty(CertaintyQuestions {
        model: model.clone(),
        families: vec![Family::Arithmetic],
        levels: (1, 1),
        sampling: SamplingParameters { max_tokens: 6, ..SamplingParameters::default() },
        measure,
        examples,
        calibration: 16,
        bins: 2,
    })
}

#[test]
fn text_of_a_model_becomes_data_that_anybody_draws_again() {
    let folder = Folder::new("drawing");
    let model = folder.identity("model");
    // Samples agree if they have a word in common.
    let consistency = Consistency { samples: 4, agree: 2, min_overlap: 1 };
    let recipes = [
        ("continuations", Content::Text(drawn(&model, Form::Continuation))),
        ("answers", Content::Text(DrawnText { consistency, ..drawn(&model, Form::Instruction) })),
        ("talks", Content::Text(drawn(&model, Form::Dialogue { turns: 2 }))),
        ("agreeing", certainty(&model, CertaintyMeasure::Agreement { samples: 2 }, 0)),
        ("likely", certainty(&model, CertaintyMeasure::LogProbability, 0)),
    ];
    let mut sources = String::new();
    for (name, content) in recipes {
        folder.write_recipe(&format!("{name}.json"), 14, content);
        sources += &source(name, "");
    }
    let first = acquire(&folder.configure("out", &sources));
    let again = acquire(&folder.configure("again", &sources));
    assert_eq!(first.len(), 5);
    for (name, outcome) in &first {
        let made = &outcome["data"];
        assert!(outcome["documents"].as_u64() > Some(3), "{outcome}");
        assert_eq!(made["train"]["content_hash"], again[name]["data"]["train"]["content_hash"]);
        assert_eq!(made["lineage"]["activity"], "sampling");
        assert_eq!(made["lineage"]["tool"]["version"], "1 with pol-generate/native/1");
        // One and two threads draw the same, and so does a recipe in another folder.
        let recipe = format!("out/{name}/recipe.json");
        let raw = folder.redraw(&recipe, &format!("out/{name}/raw"), &["--threads", "1"]);
        assert_eq!(raw["same"], outcome["documents"], "{name}: {raw}");
        let left_out = outcome["refused"].as_u64().unwrap();
        assert!(raw["left_out"].as_u64() <= Some(left_out), "{name}: {raw}");
        let data = folder.redraw(&recipe, &format!("again/{name}/data"), &["--threads", "2"]);
        assert_eq!(data, raw, "{name}");
    }
    assert!(first["answers"]["refused"].as_u64() > Some(0), "some samples do not agree");
    for name in ["agreeing", "likely"] {
        let store = RawStore::create_or_open(folder.0.join(format!("out/{name}/raw"))).unwrap();
        for document in store.documents() {
            // A random model is right about nothing. Of the answers of a bin none was, and one
            // right and one wrong answer are added.
            let text = String::from_utf8(document.unwrap().bytes).unwrap();
            let states = |percent| {
                text.contains(&format!(" {percent} %"))
                    || text.contains(&format!("about {percent} "))
            };
            assert!(
                (1..=16).any(|answers| states((1_000_000 / (answers + 2) + 5_000) / 10_000)),
                "{text}"
            );
            assert!(text.contains("another answer") || text.contains("is wrong"), "{text}");
        }
    }
}

#[test]
fn another_model_is_refused() {
    let folder = Folder::new("drawing-another");
    let model = folder.identity("model");
    folder.write_recipe("texts.json", 8, Content::Text(drawn(&model, Form::Continuation)));
    let config = folder.configure("out", &source("texts", ""));
    // Other parameters, and the same ones in another architecture.
    for (seed, heads) in [(2, 4), (1, 2)] {
        folder.write_model("model", seed, heads);
        let error = refusal(&["data", "acquire", "--config", &config, "--json"], 1);
        assert!(error.contains("the recipe draws text from the model 0x"), "{error}");
        assert!(error.contains("name the folder of that one"), "{error}");
        let (recipe, model) = (folder.path("texts.json"), folder.path("model"));
        let arguments = ["data", "redraw", "--recipe", &recipe, "--model", &model];
        let error = refusal(&[&arguments[..], &["--document", "0"]].concat(), 1);
        assert!(error.contains("name the folder of that one"), "{error}");
    }
    let error = refusal(&["data", "redraw", "--recipe", &folder.path("texts.json")], 2);
    assert!(error.contains("--against"), "{error}");
}

#[test]
fn a_killed_drawing_goes_on() {
    let folder = Folder::new("drawing-killed");
    let prompts = "The first\nThe second\nThe third\n";
    fs::write(folder.0.join("prompts.txt"), prompts).unwrap();
    let mut content = drawn(&folder.identity("model"), Form::Continuation);
    content.prompts = PromptSource::File(*PromptSet::parse(prompts.as_bytes()).unwrap().digest());
    content.sampling.temperature = 0;
    folder.write_recipe("texts.json", 96, Content::Text(content));
    let configure = |budget: u32| {
        let sources = source("texts", &format!("max_documents = {budget}"));
        folder.configure("out", &format!("{sources}prompts = \"prompts.txt\"\n"))
    };
    let config = configure(2);
    for wait in [50, 400] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pol-trainer"))
            .args(["data", "acquire", "--config", &config])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // The likeliest continuation of a prompt is always the same, so there are three.
    let stopped = acquire(&config).remove("texts").unwrap();
    assert_eq!((&stopped["documents"], &stopped["ended"]), (&json!(2), &json!("budget")));
    // The texts of the run before are known to the next one.
    let ended = acquire(&configure(9)).remove("texts").unwrap();
    assert_eq!((&ended["documents"], &ended["ended"]), (&json!(3), &json!("done")), "{ended}");
    assert_eq!(ended["refused"], 93);
    let prompts = ["--prompts", &folder.path("prompts.txt")];
    let same = folder.redraw("out/texts/recipe.json", "out/texts/raw", &prompts);
    assert_eq!(same, json!({"same": 3, "left_out": 0}));
}

#[test]
fn a_folder_that_a_recipe_did_not_make_is_found_out() {
    let folder = Folder::new("drawing-changed");
    let model = folder.identity("model");
    folder.write_recipe("texts.json", 8, Content::Text(drawn(&model, Form::Continuation)));
    folder.write_recipe("others.json", 7, Content::Text(drawn(&model, Form::Continuation)));
    acquire(&folder.configure("out", &source("texts", "")));
    let (recipe, others) = (folder.path("texts.json"), folder.path("others.json"));
    let redraw = |recipe: &str, more: &[&str]| {
        let model = folder.path("model");
        let arguments = ["data", "redraw", "--recipe", recipe, "--model", &model];
        run(&[&arguments[..], more].concat())
    };
    let failure = |recipe: &str, more: &[&str]| {
        let output = redraw(recipe, more);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let raw = RawStore::create_or_open(folder.0.join("out/texts/raw")).unwrap();
    let mut documents: Vec<_> = raw.documents().map(Result::unwrap).collect();
    let shown = redraw(&recipe, &["--document", "0"]);
    assert_eq!(shown.stdout, documents[0].bytes);
    let (data, store) = (folder.path("out/texts/data"), folder.path("out/texts/raw"));
    assert!(stdout(&redraw(&recipe, &["--against", &data, "--document", "3"])).starts_with("1 "));
    let error = failure(&recipe, &["--document", "8"]);
    assert!(error.contains("must be below 8, not 8"), "{error}");
    let error = failure(&others, &["--against", &data]);
    assert!(error.contains("names the recipe 0x"), "{error}");
    let error = failure(&others, &["--against", &store]);
    assert!(error.contains("is of another recipe than 0x"), "{error}");

    let write = |name: &str, documents: &[pol_corpus::RawDocument]| {
        let mut store = RawStore::create_or_open(folder.0.join(name)).unwrap();
        documents.iter().for_each(|document| store.append(document).unwrap());
        store.commit(&Value::Null).unwrap();
        folder.path(name)
    };
    let lacking = write("lacking", &[documents[0].clone(), documents[2].clone()]);
    let error = failure(&recipe, &["--against", &lacking]);
    assert!(error.contains("makes document 1, and the folder lacks it"), "{error}");
    let error = failure(&recipe, &["--against", &lacking, "--document", "1"]);
    assert!(error.contains("the folder has no document 1"), "{error}");
    documents[2].bytes.push(b'!');
    let changed = write("changed", &documents[2..]);
    let error = failure(&recipe, &["--against", &changed]);
    assert!(error.contains("document 2 of the folder is not what the recipe makes"), "{error}");
    let twice = write("twice", &[documents[1].clone(), documents[1].clone()]);
    let error = failure(&recipe, &["--against", &twice]);
    assert!(error.contains("document 1 is there twice"), "{error}");
}

#[test]
fn certainty_that_cannot_be_measured_is_refused() {
    let folder = Folder::new("drawing-certainty");
    let model = folder.identity("model");
    // Worked examples that fill the context.
    let content = certainty(&model, CertaintyMeasure::LogProbability, 16);
    folder.write_recipe("texts.json", 8, content);
    let config = folder.configure("out", &source("texts", ""));
    let output = run(&["data", "acquire", "--config", &config]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("give fewer examples, or lower levels"), "{error}");
}

#[test]
fn the_switch_of_a_networks_configuration_draws_from_its_model() {
    let folder = Folder::new("drawing-seed");
    let section = json!({
        "out": "out",
        "tokenizer": "first/tokenizer.json",
        "sequence": 16,
        "shard_tokens": 16,
        "held_out": 0.0,
        "max_tokens_per_source": 100,
        "pretrained_extraction": true,
        "pretrained_model": "model",
    });
    let config = folder.path("seed.json");
    fs::write(&config, json!({ "data_acquisition": section }).to_string()).unwrap();
    let plan = stdout(&run(&["data", "acquire", "--config", &config, "--dry-run"]));
    assert!(plan.starts_with("drawn (pretrained): recipe with the model "), "{plan}");
    let outcome = acquire(&config).remove("drawn").unwrap();
    assert_eq!(outcome["ended"], "budget");
    assert!(outcome["data"]["train"]["shards"].as_u64() > Some(0), "{outcome}");
    let written = fs::read_to_string(folder.0.join("out/drawn/recipe.json")).unwrap();
    let shown = stdout(&run(&["model", "show", &folder.path("model"), "--recipe"]));
    assert_eq!(Recipe::from_json(&written).unwrap(), Recipe::from_json(&shown).unwrap());
}

#[test]
fn the_origin_of_a_models_text_is_the_model_wherever_its_folder_is() {
    let folder = Folder::new("drawing-origin");
    folder.write_model("moved", 1, 4);
    let address = |model: &str| {
        let source = "[[source]]\nname = \"drawn\"\nkind = \"pretrained\"\n".to_owned()
            + &format!("synthesis = {{ model = \"{model}\" }}\n");
        let config = folder.configure("origin", &source);
        let plan = json(&run(&["data", "acquire", "--config", &config, "--dry-run", "--json"]));
        plan["address"].as_str().unwrap().to_owned()
    };
    let root = hex::encode(folder.identity("model").root);
    assert_eq!(address("model"), format!("drawn: text of the model 0x{root}"));
    assert_eq!(address("moved"), address("model"));
}

/// Source of tasks that are held against lists and other data, and of which not all are read.
const TASKS: &str = "
[[source]]
name = \"tasks\"
kind = \"synthetic\"
max_documents = 60
quality_threshold = 0.05
held_out = 0.2
cut_repeats = true
[source.synthesis.recipe]
version = 1
seed = \"0x0909090909090909090909090909090909090909090909090909090909090909\"
documents = 90
[source.synthesis.recipe.content.tasks]
families = [\"arithmetic\"]
levels = [1, 3]
";

/// Options of the lists and data of these tasks.
static LISTS: [[&str; 2]; 3] = [
    ["--opt-out", "opt-out.txt"],
    ["--decontaminate", "test.txt"],
    ["--signatures", "first/signatures.bin"],
];

impl Folder {
    /// Makes data of the tasks, and returns their record.
    fn make_tasks(&self) -> Value {
        let hash = blake3::hash(b"nothing").to_hex();
        fs::write(self.0.join("opt-out.txt"), format!("hash {hash}\n")).unwrap();
        fs::write(self.0.join("test.txt"), "Nine words that are in no task of any kind.").unwrap();
        let lists = "opt_out = \"opt-out.txt\"\ndecontaminate = [\"test.txt\"]\n\
                     against = [\"first/signatures.bin\"]\n";
        let outcome = acquire(&self.configure("out", &format!("{lists}{TASKS}"))).remove("tasks");
        let mut outcome = outcome.unwrap();
        assert_eq!((&outcome["documents"], &outcome["ended"]), (&json!(60), &json!("budget")));
        assert!(outcome["data"]["held_out"]["shards"].as_u64() > Some(0), "{outcome:#}");
        outcome["data"].take()
    }

    /// Makes the data of the tasks again in the folder `out`, with files of `lists`, and compares
    /// them. Returns `true` if they are the same, and what is told and said about it.
    fn remake_tasks(
        &self,
        out: &str,
        lists: &[[&str; 2]],
        more: &[&str],
    ) -> (bool, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pol-trainer"));
        command.current_dir(&self.0).args(["data", "redraw", "--recipe", "out/tasks/recipe.json"]);
        command.args(["--ingest", out]).args(lists.as_flattened()).args(more);
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }
}

#[test]
fn manifests_are_made_again_from_the_recipe_and_the_options_of_its_ingestion() {
    let folder = Folder::new("drawing-manifests");
    let made = folder.make_tasks();
    let against = ["--against", "out/tasks/data"];
    let (is_same, told, error) = folder.remake_tasks("again", &LISTS, &against);
    assert!(is_same, "{told}{error}");
    let names = ["training manifest", "held-out manifest", "records of documents"];
    for (line, name) in told.lines().zip(names) {
        assert!(line.starts_with(&format!("MATCH: {name} 0x")), "{told}");
    }
    assert_eq!(told.lines().count(), names.len());

    // Somebody who has no data needs the tokenizer, and the hash that the chain knows.
    let of_chain = |hash| ["--tokenizer", "first/tokenizer.json", "--content-hash", hash];
    let held_out = made["held_out"]["content_hash"].as_str().unwrap();
    let (is_same, told, error) = folder.remake_tasks("alone", &LISTS, &of_chain(held_out));
    assert!(is_same, "{told}{error}");
    assert_eq!(told, format!("MATCH: held-out manifest {held_out}\n"));
    let other = hex::encode([7; 32]);
    let more = [&of_chain(&other)[..], &["--json", "--threads", "1"]].concat();
    let (is_same, told, error) = folder.remake_tasks("other", &LISTS, &more);
    assert!(!is_same && error.contains("are not what the recipe and the options make"), "{error}");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["same"], &told["compared"][0]["same"]), (&json!(false), &json!(false)));
}

#[test]
fn another_option_gives_other_manifests_and_another_file_is_refused() {
    let folder = Folder::new("drawing-options");
    folder.make_tasks();
    let against = ["--against", "out/tasks/data"];
    let text = fs::read_to_string(folder.0.join("out/tasks/options.json")).unwrap();
    let more = [&against[..], &["--options", "changed.json"]].concat();
    for (out, from, to) in [
        ("fewer", "\"documents\": 60", "\"documents\": 30"),
        ("held", "\"held_out\": 200000", "\"held_out\": 400000"),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from}");
        fs::write(folder.0.join("changed.json"), changed).unwrap();
        let (is_same, told, error) = folder.remake_tasks(out, &LISTS, &more);
        assert!(!is_same && told.starts_with("MISMATCH: training manifest 0x"), "{told}{error}");
    }

    let tokenizer = fs::read_to_string(folder.0.join("first/tokenizer.json")).unwrap();
    fs::write(folder.0.join("other.json"), tokenizer + " ").unwrap();
    let with_other = [&against[..], &["--tokenizer", "other.json"]].concat();
    for (lists, more, reason) in [
        (&LISTS[1..], &against[..], "--opt-out: the data were held against one with the digest"),
        (&LISTS[..2], &against, "--signatures: the data were compared with the files"),
        (&LISTS[..], &with_other, "the data have the tokenizer 0x"),
        (&LISTS[..], &[], "give --against or --content-hash"),
    ] {
        let (is_same, _, error) = folder.remake_tasks("refused", lists, more);
        assert!(!is_same && error.contains(reason), "{error}");
    }
    assert!(!folder.0.join("refused").exists());
    let (_, _, error) = folder.remake_tasks("fewer", &LISTS, &against);
    assert!(error.contains("fewer holds files; choose another folder"), "{error}");
}
