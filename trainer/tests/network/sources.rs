// SPDX-License-Identifier: Apache-2.0

//! Data of all four kinds, from local services to the model.

#[path = "../model/whole_tokenizer.rs"]
mod whole_tokenizer;

use crate::{
    harness::{Network, entries},
    process::Process,
};
use pol_mock_services::{Library, Server, read_works};
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
};

/// Configuration of the demo's acquisition.
const CONFIG: &str = include_str!("../../../scripts/demo-data/acquire.toml");
/// Its sources without those whose services have tests of their own, in the order of their kinds.
const SOURCES: [&str; 5] = ["drawn", "works", "pages", "news", "tasks"];
/// Kinds in the order in which they are leased.
const KINDS: [&str; 4] = ["pretrained", "dataset", "web", "synthetic"];
/// Works that the services have. Each has one passage, so that three rounds reach the tasks.
const WORKS: usize = 8;
/// Bytes that are another in forged proofs: one of so many.
const FORGED_STEP: usize = 401;

/// Data of all kinds that services gave.
pub(crate) struct Sources {
    services: Server,
    folder: PathBuf,
    /// Provider, who registered the data and serves them.
    provider: Process,
    /// Manifest of the pages of the site.
    pages: Value,
}

impl Network {
    /// Starts services, acquires data of all kinds from them, sets a recipe for these, and has a
    /// provider register and serve them. Joining takes at most `join` blocks.
    pub(crate) fn prepare_from_services(&self, join: u32) -> Sources {
        let services = start_services();
        let config = self.configure(&services);
        let only: Vec<&str> = SOURCES.iter().flat_map(|name| ["--only", name]).collect();
        let acquire = ["data", "acquire", "--config", config.to_str().unwrap()];
        self.run(&[&acquire[..], &only].concat());
        let folder = self.path("acquired");
        self.set_recipe(&folder.join("works/data"), join);

        let provider = "[provider]\nbase_path = \"provider\"\nmin_shards = 1\n";
        fs::write(&config, fs::read_to_string(&config).unwrap() + provider).unwrap();
        let start = || {
            let mut command = self.trainer();
            command.args(acquire).args(&only);
            command.args(["--dev-account", "trainer-9", "--watch", "--json"]);
            Process::start(&mut command, self.path("provider.log"))
        };
        // It is killed among its registrations, and goes on with what is missing.
        let killed = start();
        killed.wait_for(REGISTERED, 0, 120);
        killed.kill();
        let provider = start();
        // The outcome of the last source comes behind all registrations, also of held-out text.
        provider.wait_for(LAST_OUTCOME, 0, 180);
        let listed = self.run(&["data", "list", "--json"]);
        assert_eq!(listed.lines().count(), events(&provider, REGISTERED).len(), "{listed}");
        self.provide_twice(&config);
        self.withdraw_data();
        assert_eq!(self.run(&["data", "list", "--json"]), listed);
        let mut pages = Value::Null;
        for event in events(&provider, REGISTERED) {
            let (manifest, kind) = (event["manifest"].to_string(), event["kind"].as_str().unwrap());
            self.govern(["data", "admit"], &[&manifest, "--kind", kind]);
            if event["source"] == "pages" && event["held_out"] == false {
                pages = event["manifest"].clone();
            }
        }
        Sources { services, folder, provider, pages }
    }

    /// Has a second process of the provider's account acquire the same data into another folder. It
    /// may not serve, and finds what is registered.
    fn provide_twice(&self, config: &Path) {
        let (second, text) = (self.path("second.toml"), fs::read_to_string(config).unwrap());
        let text = text.replace("\"acquired\"", "\"second\"").replace("\"provider\"", "\"other\"");
        fs::write(&second, &text).unwrap();
        let acquire = ["data", "acquire", "--config", second.to_str().unwrap(), "--only", "works"];
        let acquire = [&acquire[..], &["--dev-account", "trainer-9", "--json"]].concat();
        let refused = String::from_utf8(self.try_run(&acquire).stderr).unwrap();
        assert!(refused.contains("stop that one first"), "{refused}");
        fs::write(&second, format!("{text}serve = false\n")).unwrap();
        let lines = self.run(&acquire);
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let found: Vec<_> = lines.filter(|line| line["event"] == "registered").collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|event| event["new"] == false), "{found:?}");
    }

    /// Has another provider register data, and withdraw them.
    fn withdraw_data(&self) {
        let account = ["--dev-account", "trainer-8"];
        let first = self.path("first");
        let register = ["data", "register", "--data", first.to_str().unwrap()];
        self.run(&[&register[..], &account].concat());
        let listed = self.run(&["data", "list", "--json"]);
        let listed: Vec<Value> =
            listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let withdraw = |arguments: &[&str]| {
            self.try_run(
                &[&["data", "withdraw"], arguments, &account, &["--yes", "--json"]].concat(),
            )
        };
        let [.., train, held_out] = listed.as_slice() else { panic!("{listed:?}") };
        let [foreign, train, source, held_out] =
            [&listed[0]["id"], &train["id"], &train["source"], &held_out["id"]]
                .map(ToString::to_string);
        let output = withdraw(&[&foreign]);
        assert!(String::from_utf8_lossy(&output.stderr).contains("sign as its owner"));
        let output = withdraw(&["--source", &source]);
        assert!(String::from_utf8_lossy(&output.stderr).contains("it has the manifests"));
        let output = withdraw(&[&train, &held_out, "--source", &source]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let withdrawn = String::from_utf8(output.stdout).unwrap();
        assert_eq!(withdrawn.matches("\"returned\":\"10").count(), 3, "{withdrawn}");
    }

    /// Writes the configuration of the acquisition, with what it needs beside it.
    fn configure(&self, services: &Server) -> PathBuf {
        let (texts, first) = (self.texts(), self.path("first"));
        self.ingest(&texts, &first);
        fs::copy(first.join("tokenizer.json"), self.path("tokenizer.json")).unwrap();
        let fixture =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/import/tests/fixtures/llama.gguf");
        let (plain, whole) = (self.path("plain"), self.path("whole.json"));
        let [fixture, plain_text, whole_text, small, model] =
            [&fixture, &plain, &whole, &self.path("small"), &self.path("pretrained")]
                .map(|path| path.to_str().unwrap().to_owned());
        self.run(&["model", "import", &fixture, "--out", &plain_text]);
        whole_tokenizer::write(&plain, 61, &whole);
        self.run(&["model", "import", &fixture, "--out", &small, "--tokenizer", &whole_text]);
        self.run(&["model", "adapt", &small, "--out", &model, "--context", "512"]);
        let config = CONFIG
            .replace("http://127.0.0.1:9955", &services.address)
            .replace("sequence = 128", "sequence = 64")
            .replace("shard_tokens = 2048", "shard_tokens = 512")
            .replace("max_documents = 160", "max_documents = 32")
            .replace("documents = 8_000", "documents = 600");
        let path = self.path("acquire.toml");
        fs::write(&path, config).unwrap();
        path
    }
}

/// Part of the event of the outcome of the last source.
const LAST_OUTCOME: &str = "\"event\":\"source\",\"source\":\"tasks\"";
/// Part of the event of a registered manifest.
const REGISTERED: &str = "\"event\":\"registered\"";

/// Returns the events in the log of a process that have `part`.
fn events(process: &Process, part: &str) -> Vec<Value> {
    let log = process.log();
    let lines = log.lines().filter(|line| line.contains(part));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn start_services() -> Server {
    let corpus = std::env::var_os("POL_CORPUS").expect("POL_CORPUS is set by scripts/env.sh");
    let mut works = read_works(Path::new(&corpus)).unwrap();
    works.truncate(WORKS);
    works.iter_mut().for_each(|work| work.passages.truncate(1));
    let library = Library::new(works);
    Server::start(move |request| library.answer(request))
}

impl Sources {
    /// Ends the services, and returns the provider.
    pub(crate) fn end(self) -> Process {
        self.provider
    }

    /// Checks that the chain tells what became of the text that is leased first: the model improved
    /// by it, and its provider was paid.
    pub(crate) fn check_consumption(&self, network: &Network) {
        let folder = self.folder.to_str().unwrap();
        let summary = network.run_json(&["data", "summary", folder, "--json"]);
        let drawn = entries(&summary, "chain").iter().find(|report| report["source"] == "drawn");
        let drawn = drawn.unwrap();
        assert_eq!((&drawn["kind"], &drawn["held_out"]), (&"pretrained".into(), &false.into()));
        assert!(drawn["consumed"].as_u64() > Some(0) && drawn["effect"] != 0, "{drawn:#}");
        assert_ne!(drawn["earned"], "0", "{drawn:#}");
        assert!(!events(&self.provider, "\"event\":\"reward\"").is_empty());
    }

    /// Checks that the observed rounds trained on shards of all kinds, in the order of kinds.
    pub(crate) fn check_order(&self, network: &Network, rounds: &[Value]) {
        let mut order = Vec::new();
        for round in rounds {
            let mut kinds: Vec<_> = shards_of_round(network, round)
                .iter()
                .map(|shard| KINDS.iter().position(|kind| shard["kind"] == *kind).unwrap())
                .collect();
            kinds.sort_unstable();
            order.extend(kinds);
        }
        assert!(order.is_sorted(), "{order:?}");
        order.dedup();
        assert_eq!(order, [0, 1, 2, 3]);
    }

    /// Checks that a sentence of a shard of the observed rounds leads to the address of its page
    /// and to the head that learned from it. A proof convinces a process that has only it, the
    /// page, and the chain, unless a byte of the proof is another.
    pub(crate) fn check_page(&self, network: &Network, rounds: &[Value]) {
        let data = self.folder.join("pages/data");
        let data = data.to_str().unwrap();
        let mut shards = rounds.iter().flat_map(|round| shards_of_round(network, round));
        let shard = shards.find(|shard| shard["shard"]["manifest"] == self.pages).unwrap();
        let shard = format!("{}/{}", self.pages, shard["shard"]["index"]);
        let traced = network.run_json(&["data", "trace", &shard, "--data", data, "--json"]);
        let address = traced["documents"][0]["origin"]["location"].as_str().unwrap();
        assert!(address.starts_with(&self.services.address), "{address}");

        let page = get(address);
        let sentence = sentence(&page);
        let found =
            network.run(&["data", "trace", "--data", data, "--passage", sentence, "--json"]);
        let found: Value = serde_json::from_str(found.lines().next().unwrap()).unwrap();
        assert_eq!(found["document"]["origin"]["location"], address);
        let shards = found["shards"].as_array().unwrap();
        assert!(shards.iter().any(|shard| shard["consumed"]["head"].is_object()), "{found:#}");

        let (document, proof) = (network.path("page.html"), network.path("proof.json"));
        fs::write(&document, &page).unwrap();
        let [document, proof] = [&document, &proof].map(|path| path.to_str().unwrap());
        network.run(&["data", "prove", document, "--data", data, "--out", proof]);
        let verify = ["data", "verify", proof, "--document", document, "--json"];
        let verified = network.run_json(&verify);
        assert_eq!((&verified["presence"], &verified["manifest"]), (&"in".into(), &self.pages));
        let honest = fs::read(proof).unwrap();
        for at in (0..honest.len()).step_by(FORGED_STEP) {
            let mut forged = honest.clone();
            forged[at] ^= 1;
            fs::write(proof, &forged).unwrap();
            assert!(!network.try_run(&verify).status.success(), "byte {at} is another");
        }
    }
}

/// Returns the shards that a round trained on.
fn shards_of_round(network: &Network, round: &Value) -> Vec<Value> {
    let number = round["number"].to_string();
    let shards = network.run(&["data", "trace", "--round", &number, "--json"]);
    shards.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns a long paragraph of a page, without its end.
fn sentence(page: &str) -> &str {
    let paragraphs = page.lines().filter_map(|line| line.strip_prefix("<p>")?.strip_suffix("</p>"));
    let mut long = paragraphs.filter(|text| text.len() > 80 && !text.contains('&'));
    &long.next().unwrap()[..70]
}

/// Returns the page at an address of this machine.
fn get(address: &str) -> String {
    let (host, path) = address.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}
