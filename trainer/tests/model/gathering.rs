// SPDX-License-Identifier: Apache-2.0

//! Sources of which nothing comes, and budgets, as users meet them.

use crate::common::{json, run};
use pol_mock_services::{Response, Server};
use serde_json::Value;
use std::{fs, path::Path};

/// Scratch folder with a tokenizer.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::write(folder.path("text.txt"), "A small text, again and again. ".repeat(90)).unwrap();
        let vocabulary = pol_data::MIN_VOCABULARY.to_string();
        let (text, out) = (folder.path("text.txt"), folder.path("first"));
        let mut arguments = vec!["data", "ingest", "--input", &text, "--out", &out, "--json"];
        arguments.extend(["--vocabulary", &vocabulary, "--sequence", "16"]);
        json(&run(&[&arguments[..], &["--shard-tokens", "64", "--held-out", "0"]].concat()));
        folder
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Acquires a source named `a`. Returns its outcome and the exit code.
    fn acquire(&self, source: &str) -> (Value, Option<i32>) {
        let usual = "out = \"out\"\ntokenizer = \"first/tokenizer.json\"\nsequence = 16\n\
                     shard_tokens = 64\nheld_out = 0.0\ncontact = \"us@example.org\"\n\
                     [http]\nallowed_hosts = [\"127.0.0.1\"]\nhost_delay_ms = 0\n\
                     [[source]]\nname = \"a\"\nkind = \"web\"\nclean = \"none\"\n";
        let path = self.path("acquire.toml");
        fs::write(&path, format!("{usual}{source}\n")).unwrap();
        let output = run(&["data", "acquire", "--config", &path, "--json"]);
        let outcome = serde_json::from_slice(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        (outcome.unwrap_or_else(|error| panic!("{error}: {said}")), output.status.code())
    }
}

#[test]
fn a_source_of_which_nothing_comes_fails_with_the_reason() {
    let folder = Folder::new();
    let site = Server::start(|request| match request.path.as_str() {
        "/robots.txt" => Response::new(200, "User-agent: *\nDisallow: /private\n"),
        "/text" => Response::new(200, "A small text. ".repeat(200)),
        _ => Response::new(404, "There is no such page."),
    });
    let crawl = |path: &str| format!("crawl = {{ seeds = [\"{}{path}\"] }}", site.address);
    for (path, reason) in [("/private", "robots.txt"), ("/none", "404")] {
        // The next run asks again for pages that were refused.
        for _ in 0..2 {
            let (outcome, code) = folder.acquire(&crawl(path));
            let error = outcome["error"].as_str().unwrap();
            assert!(error.contains("nothing was gathered: "), "{error}");
            assert!(error.contains(reason) && error.contains(path), "{error}");
            assert_eq!((code, &outcome["documents"]), (Some(1), &0.into()));
            assert_eq!(outcome["refusals"][0]["count"], 1, "{outcome}");
        }
        assert!(!Path::new(&folder.path("out/a/raw")).exists());
    }
    // A page that comes is enough, also beside others that do not.
    let seeds = ["/text", "/none"].map(|path| format!("\"{}{path}\"", site.address)).join(", ");
    let (outcome, code) = folder.acquire(&format!("crawl = {{ seeds = [{seeds}] }}"));
    assert_eq!((code, &outcome["documents"]), (Some(0), &1.into()), "{outcome}");
    assert!(outcome["refusals"][0]["reason"].as_str().unwrap().contains("404"), "{outcome}");
}

#[test]
fn a_host_that_is_away_is_told() {
    let folder = Folder::new();
    // Nobody listens at this port.
    let (outcome, code) = folder.acquire("crawl = { seeds = [\"http://127.0.0.1:9/\"] }");
    let error = outcome["error"].as_str().unwrap();
    assert!(error.contains("nothing was gathered: "), "{error}");
    assert!(error.contains("127.0.0.1:9"), "{error}");
    assert_eq!(code, Some(1));
}

#[test]
fn the_budget_of_documents_is_exact() {
    let folder = Folder::new();
    let recipe = "[source.synthesis.recipe]\nversion = 1\ndocuments = 400\n\
         seed = \"0x0707070707070707070707070707070707070707070707070707070707070707\"\n\
         [source.synthesis.recipe.content.tasks]\nfamilies = [\"arithmetic\"]\nlevels = [1, 2]";
    for (most, documents, ended) in
        [(70, 70, "budget"), (71, 71, "budget"), (300, 300, "budget"), (999, 400, "done")]
    {
        let (outcome, code) = folder.acquire(&format!("max_documents = {most}\n{recipe}"));
        assert_eq!((code, &outcome["documents"]), (Some(0), &documents.into()), "{outcome}");
        assert_eq!(outcome["ended"], ended);
    }
    let (recipe, raw) = (folder.path("out/a/recipe.json"), folder.path("out/a/raw"));
    let same = json(&run(&["data", "redraw", "--recipe", &recipe, "--against", &raw, "--json"]));
    assert_eq!(same, serde_json::json!({ "same": 400, "left_out": 0 }));
}
