// SPDX-License-Identifier: Apache-2.0

use crate::common::{json, run, stdout};
use pol_corpus::RawStore;
use pol_mock_services::{COMMIT, HubData, Response, Server};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// Returns a text of `sentences` that no other number gives.
fn text(number: usize, sentences: usize) -> String {
    (0..sentences)
        .map(|sentence| {
            let (first, second) = (number * 97 + sentence, number * 31 + sentence * 7);
            format!("The zebra {first} saw the river {second} before it ran to tree {sentence}. ")
        })
        .collect()
}

fn paragraphs(number: usize) -> String {
    (0..4).map(|part| format!("<p>{}</p>\n", text(number * 10 + part, 12))).collect()
}

fn page(number: usize, links: &str) -> String {
    let paragraphs = paragraphs(number);
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><title>Page {number}</title></head><body>\
         <article><h1>Page {number}</h1>\n{paragraphs}</article>{links}</body></html>"
    )
}

fn feed() -> String {
    let items: String = (50..54)
        .map(|number| {
            format!(
                "<item><title>Entry {number}</title><guid>entry-{number}</guid>\
                 <description>{}</description></item>",
                paragraphs(number).replace('<', "&lt;").replace('>', "&gt;")
            )
        })
        .collect();
    format!(
        "<?xml version=\"1.0\"?><rss version=\"2.0\"><channel><title>Feed</title>\
         <link>https://example.org/</link><description>Entries</description>{items}\
         </channel></rss>"
    )
}

/// Returns status, media type, and body of an answer.
fn answer(path: &str) -> (u16, &'static str, String) {
    let html = |body| (200, "text/html; charset=utf-8", body);
    match path {
        "/robots.txt" => (200, "text/plain", "User-agent: *\nDisallow: /private\n".into()),
        "/" => {
            html(page(1, "<a href=\"/a\">a</a> <a href=\"/b\">b</a> <a href=\"/private\">p</a>"))
        }
        "/a" => html(page(2, "<a href=\"/\">home</a>")),
        "/b" => html(page(3, "")),
        "/private" => html(page(4, "")),
        "/feed.xml" => (200, "application/rss+xml", feed()),
        _ => (404, "text/plain", "There is no such page.".into()),
    }
}

/// Serves a few pages and a feed.
fn site() -> Server {
    Server::start(|request| {
        let (status, media, body) = answer(&request.path);
        Response::new(status, body).with("Content-Type", media)
    })
}

/// Scratch folder with a tokenizer.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("texts")).unwrap();
        let folder = Self(folder);
        for number in 0..6 {
            let path = folder.0.join(format!("texts/{number}.txt"));
            fs::write(path, text(100 + number, 60)).unwrap();
        }
        let made = run(&[
            "data",
            "ingest",
            "--input",
            &folder.path("texts"),
            "--out",
            &folder.path("first"),
            "--vocabulary",
            &pol_data::MIN_VOCABULARY.to_string(),
            "--sequence",
            "16",
            "--shard-tokens",
            "64",
            "--held-out",
            "0",
        ]);
        stdout(&made);
        folder
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Writes a configuration of the usual fields and `sources`.
    fn configure(&self, site: &Server, sources: &str) -> String {
        let usual = "out = \"out\"\ntokenizer = \"first/tokenizer.json\"\nsequence = 16\n\
                     shard_tokens = 64\nheld_out = 0.0\ncontact = \"https://example.org/us\"\n\
                     [http]\nallowed_hosts = [\"127.0.0.1\"]\nhost_delay_ms = 10\n";
        let sources = sources.replace("SITE", &site.address);
        let path = self.path("acquire.toml");
        fs::write(&path, format!("{usual}{sources}")).unwrap();
        path
    }
}

/// Runs `data acquire`, and returns the outcomes by the name of the source.
fn acquire(config: &str, more: &[&str]) -> (Output, BTreeMap<String, Value>) {
    let output = run(&[&["data", "acquire", "--config", config, "--json"][..], more].concat());
    let outcomes = String::from_utf8(output.stdout.clone()).unwrap();
    let outcomes = outcomes.lines().map(|line| {
        let outcome: Value = serde_json::from_str(line).unwrap();
        (outcome["source"].as_str().unwrap().to_owned(), outcome)
    });
    let outcomes = outcomes.collect();
    (output, outcomes)
}

/// Sources of all kinds, in another order than that of the kinds.
const SOURCES: &str = "
[[source]]
name = \"tasks\"
kind = \"synthetic\"
[source.synthesis.recipe]
version = 1
seed = \"0x0707070707070707070707070707070707070707070707070707070707070707\"
documents = 40
[source.synthesis.recipe.content.tasks]
families = [\"arithmetic\", \"logic\"]
levels = [1, 2]
[[source]]
name = \"pages\"
kind = \"web\"
clean = \"none\"
crawl = { seeds = [\"SITE/\"], depth = 2 }
[[source]]
name = \"blogs\"
kind = \"web\"
clean = \"none\"
feeds = { addresses = [\"SITE/feed.xml\"], follow = \"never\" }
[[source]]
name = \"books\"
kind = \"dataset\"
files = [\"texts\"]
";

#[test]
fn sources_of_all_kinds_become_data_once() {
    let (site, folder) = (site(), Folder::new("acquiring"));
    let config = folder.configure(&site, SOURCES);
    let plan = stdout(&run(&["data", "acquire", "--config", &config, "--dry-run"]));
    let names: Vec<_> = plan.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["books", "pages", "blogs", "tasks"], "{plan}");
    assert_eq!(site.requests().len(), 0);

    let (output, first) = acquire(&config, &[]);
    stdout(&output);
    assert_eq!(first["pages"]["documents"], 3, "{first:?}");
    assert!(first["pages"]["refused"].as_u64() >= Some(1), "robots.txt excludes one: {first:?}");
    assert_eq!(first["blogs"]["documents"], 4, "{first:?}");
    assert_eq!(first["blogs"]["ended"], "idle");
    assert_eq!(first["tasks"]["documents"], 40);
    for (name, outcome) in &first {
        assert_eq!(outcome["made"], true, "{name}: {outcome}");
        assert!(outcome["data"]["train"]["shards"].as_u64().unwrap() > 0, "{name}: {outcome}");
        assert_eq!(outcome["error"], Value::Null);
    }
    let tasks = &first["tasks"]["data"]["lineage"];
    assert_eq!(tasks["tool"]["name"], "pol-synthesis", "{tasks}");

    // There is nothing new, so nothing is requested or made.
    let requests = site.requests().len();
    let (output, second) = acquire(&config, &[]);
    stdout(&output);
    assert_eq!(site.requests().len(), requests);
    for (name, outcome) in &second {
        assert_eq!((&outcome["made"], &outcome["new_documents"]), (&false.into(), &0.into()));
        assert_eq!(outcome["data"], first[name]["data"], "{name}");
    }

    let (out, picture) = (folder.path("out"), folder.path("out.svg"));
    let summary = json(&run(&["data", "summary", &out, "--svg", &picture, "--json"]));
    assert_eq!(summary["folders"], 4, "{summary}");
    assert!(summary["sources"]["web/pages"]["bytes"].as_u64().unwrap() > 0, "{summary}");
    assert!(fs::read_to_string(picture).unwrap().starts_with("<svg"));
    assert!(stdout(&run(&["data", "summary", &out])).contains("web/pages"));
}

#[test]
fn a_commit_of_a_hub_is_asked_for_with_the_endpoint_and_token_of_the_environment() {
    let rows: String = (0..30)
        .map(|number| format!("{}\n", serde_json::json!({ "text": text(200 + number, 20) })))
        .collect();
    let data = HubData { token: Some("secret"), ..HubData::default() };
    let hub = data.file("rows.jsonl", rows.into_bytes()).start();
    let (site, folder) = (site(), Folder::new("acquiring-hub"));
    let source = format!(
        "[[source]]\nname = \"set\"\nkind = \"dataset\"\n\
         hub = {{ id = \"org/set@{COMMIT}\", files = [\"*.jsonl\"] }}\n"
    );
    let config = folder.configure(&site, &source);
    let acquire = |token: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pol-trainer"));
        command.args(["data", "acquire", "--config", &config, "--json"]);
        command.env("HF_ENDPOINT", &hub.address).env("HF_TOKEN", token);
        command.env("POL_CACHE", folder.path("cache")).output().unwrap()
    };
    let refused = acquire("wrong");
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("set HF_TOKEN"), "{said}");

    let outcome = json(&acquire("secret"));
    assert_eq!(outcome["documents"], 30, "{outcome}");
    assert!(outcome["data"]["train"]["shards"].as_u64() > Some(0), "{outcome}");
    for request in hub.requests() {
        assert!(request.path.contains(COMMIT), "{} is not of the commit", request.path);
    }
    let store = RawStore::create_or_open(folder.0.join("out/set/raw")).unwrap();
    let first = store.documents().next().unwrap().unwrap();
    assert_eq!(first.origin.location, format!("org/set/rows.jsonl@{COMMIT}"));
}

#[test]
fn a_source_that_fails_stops_no_other() {
    let (site, folder) = (site(), Folder::new("acquiring-failing"));
    let config = folder.configure(
        &site,
        "[[source]]\nname = \"missing\"\nkind = \"pretrained\"\n\
         hub = { id = \"org/none\", endpoint = \"SITE\" }\n\
         [[source]]\nname = \"books\"\nkind = \"dataset\"\nfiles = [\"texts\"]\n\
         [[source]]\nname = \"large\"\nkind = \"dataset\"\nfiles = [\"texts\"]\nmax_tokens = 64\n",
    );
    let (output, outcomes) = acquire(&config, &[]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("2 of 3 sources failed: missing, large"), "{message}");
    assert_eq!(outcomes["books"]["made"], true);
    let error = outcomes["missing"]["error"].as_str().unwrap();
    assert!(error.contains("org/none"), "{error}");
    let error = outcomes["large"]["error"].as_str().unwrap();
    assert!(error.contains("name fewer files"), "{error}");
    let (output, outcomes) = acquire(&config, &["--only", "books"]);
    stdout(&output);
    assert_eq!((outcomes.len(), &outcomes["books"]["made"]), (1, &false.into()));
}

/// Source of the texts of the folder.
const BOOKS: &str = "[[source]]\nname = \"books\"\nkind = \"dataset\"\nfiles = [\"texts\"]\n";

/// Checks that a stream has nothing but lines of JSON.
fn check_json_lines(stream: &[u8]) {
    for line in String::from_utf8_lossy(stream).lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "no JSON: {line}");
    }
}

#[test]
fn damaged_data_are_made_anew() {
    let (site, folder) = (site(), Folder::new("acquiring-damaged"));
    let config = folder.configure(&site, BOOKS);
    let (output, first) = acquire(&config, &[]);
    stdout(&output);
    for file in ["train/shards.u16", "tokenizer.json", "documents.zst"] {
        let path = folder.0.join("out/books/data").join(file);
        let good = fs::read(&path).unwrap();
        let check = || {
            let (output, again) = acquire(&config, &[]);
            stdout(&output);
            let log = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(log.contains("anew") && log.contains("damaged"), "{file}: {log}");
            check_json_lines(&output.stderr);
            let again = &again["books"];
            assert_eq!((&again["made"], &again["data"]), (&true.into(), &first["books"]["data"]));
            assert!(fs::read(&path).unwrap() == good, "{file}");
        };
        let mut damaged = good.clone();
        damaged[good.len() / 2] ^= 1;
        fs::write(&path, damaged).unwrap();
        check();
        fs::remove_file(&path).unwrap();
        check();
    }
    let (output, again) = acquire(&config, &[]);
    stdout(&output);
    assert_eq!(again["books"]["made"], false);
}

#[test]
fn a_service_waits_for_its_node_and_says_all_in_json() {
    let (site, folder) = (site(), Folder::new("acquiring-waiting"));
    let config = folder.configure(&site, BOOKS);
    // Nobody listens at this port.
    let mut service = Command::new(env!("CARGO_BIN_EXE_pol-trainer"))
        .args(["data", "acquire", "--config", &config, "--watch", "--json"])
        .args(["--dev-account", "trainer-1", "--node", "ws://127.0.0.1:9"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(service.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    let away = next();
    assert_eq!((&away["event"], &away["away"]), (&"node".into(), &true.into()));
    let stopped = Command::new("kill").arg(service.id().to_string()).status().unwrap();
    assert!(stopped.success());
    assert_eq!(next()["event"], "stopped");
    let output = service.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("waiting for the node at ws://"));
    check_json_lines(&output.stderr);
}
