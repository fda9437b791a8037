// SPDX-License-Identifier: Apache-2.0

//! Downloads from a server that speaks the hub's HTTP API: a listing by revision, files by commit,
//! ranges and redirects.

use super::fixture;
use indicatif::ProgressBar;
use pol_import::{Checkpoint, Hub, HubId};
use sha1::{Digest, Sha1};
use sha2::Sha256;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Files and behaviour of a server.
#[derive(Default)]
struct Server {
    files: BTreeMap<String, Vec<u8>>,
    /// File whose stated hash is wrong.
    wrong_hash: Option<&'static str>,
    /// File whose first response ends in the middle.
    breaks_off: Mutex<Option<&'static str>>,
    token: Option<&'static str>,
    /// Set if the first request of each path is answered with the time to wait.
    is_busy: bool,
    /// Server that files are redirected to; this server if `None`.
    cdn: Option<String>,
    requests: Mutex<Vec<Request>>,
}

/// A request that a server received.
struct Request {
    path: String,
    /// Value of the `Authorization` header.
    token: Option<String>,
}

impl Server {
    /// Creates a server with the files of a fixture.
    fn of(name: &str) -> Self {
        let files = fs::read_dir(fixture(name)).unwrap().map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        });
        Self { files: files.collect(), ..Self::default() }
    }

    /// Serves until the process ends. Returns the server and its address.
    fn start(self) -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = Arc::new(self);
        let serving = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = serving.clone();
                thread::spawn(move || server.answer(stream));
            }
        });
        (server, address)
    }

    fn answer(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                break;
            }
            lines.push(line.trim_end().to_owned());
        }
        let Some(path) = lines.first().and_then(|line| line.split(' ').nth(1)) else { return };
        let header = |name: &str| {
            lines
                .iter()
                .filter_map(|line| line.split_once(": "))
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value)
        };
        let token = header("authorization").map(str::to_owned);
        self.requests.lock().unwrap().push(Request { path: path.to_owned(), token });
        let mut stream = reader.get_ref();
        let mut send = |status: &str, headers: &str, body: &[u8]| {
            let head = format!(
                "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        };
        if self.is_busy
            && self.requests.lock().unwrap().iter().filter(|other| other.path == path).count() == 1
        {
            return send("429 Too Many Requests", "Retry-After: 1\r\n", b"");
        }
        if self
            .token
            .is_some_and(|token| header("authorization") != Some(&format!("Bearer {token}")))
        {
            return send("401 Unauthorized", "", b"");
        }
        if path.starts_with("/api/models/org/tiny/revision/main?")
            || path.starts_with(&format!("/api/models/org/tiny/revision/{COMMIT}?"))
        {
            let siblings: Vec<_> =
                self.files.iter().map(|(name, bytes)| self.sibling(name, bytes)).collect();
            let body = serde_json::json!({"id": "org/tiny", "sha": COMMIT, "siblings": siblings})
                .to_string();
            return send("200 OK", "Content-Type: application/json\r\n", body.as_bytes());
        }
        if let Some(name) = path.strip_prefix(&format!("/org/tiny/resolve/{COMMIT}/")) {
            // The hub redirects large files too.
            let cdn = self.cdn.as_deref().unwrap_or_default();
            return send("302 Found", &format!("Location: {cdn}/cdn/{name}\r\n"), b"");
        }
        let Some((name, bytes)) =
            path.strip_prefix("/cdn/").and_then(|name| self.files.get_key_value(name))
        else {
            return send("404 Not Found", "", b"");
        };
        let from: usize = header("range")
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok())
            .unwrap_or(0);
        let mut breaks_off = self.breaks_off.lock().unwrap();
        if *breaks_off == Some(name) {
            *breaks_off = None;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
            let _ = stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(&bytes[..bytes.len() / 2]));
            return;
        }
        match from {
            0 => send("200 OK", "", bytes),
            _ => send(
                "206 Partial Content",
                &format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len()),
                &bytes[from..],
            ),
        }
    }

    fn sibling(&self, name: &str, bytes: &[u8]) -> serde_json::Value {
        let stated = |digest: &[u8]| {
            let mut digest = digest.to_vec();
            if self.wrong_hash == Some(name) {
                digest.reverse();
            }
            digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let blob = Sha1::new().chain_update(format!("blob {}\0", bytes.len()));
        let blob = stated(&blob.chain_update(bytes).finalize());
        let mut sibling =
            serde_json::json!({"rfilename": name, "size": bytes.len(), "blobId": blob});
        if name.ends_with(".safetensors") || name.ends_with(".gguf") {
            let hash = stated(&Sha256::digest(bytes));
            sibling["lfs"] =
                serde_json::json!({"sha256": hash, "size": bytes.len(), "pointerSize": 1});
        }
        sibling
    }

    fn requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

fn fetch(endpoint: &str, cache: &Path, id: &str, file: Option<&str>) -> Result<Checkpoint, String> {
    let id: HubId = id.parse().unwrap();
    let bar = ProgressBar::hidden();
    let path = Hub::new(endpoint, cache.to_owned(), None)
        .fetch(&id, file, &bar)
        .map_err(|error| error.to_string())?;
    assert_eq!(bar.length(), Some(bar.position()));
    Checkpoint::open(&path, None).map_err(|error| error.to_string())
}

#[test]
fn a_sharded_model_is_fetched_once() {
    let (server, endpoint) = Server::of("llama").start();
    let cache = tempfile::tempdir().unwrap();
    let fetched = fetch(&endpoint, cache.path(), "org/tiny", None).unwrap();
    assert_eq!(fetched.parameters().unwrap(), super::open("llama").parameters().unwrap());
    // The listing, then config, index and three shards, each redirected.
    assert_eq!(server.requests(), 11);
    fetch(&endpoint, cache.path(), "org/tiny", None).unwrap();
    assert_eq!(server.requests(), 12);
}

#[test]
fn a_tokenizer_that_is_not_read_is_fetched_if_there_is_no_other() {
    for (name, is_fetched) in [("gpt2", true), ("tokenizers/llama", false)] {
        let mut server = Server::of(name);
        server.files.insert("tokenizer.model".into(), b"pieces".to_vec());
        let (_, endpoint) = server.start();
        let cache = tempfile::tempdir().unwrap();
        let fetched = fetch(&endpoint, cache.path(), "org/tiny", None).unwrap();
        let file = cache.path().join("org--tiny").join(COMMIT).join("tokenizer.model");
        assert_eq!(file.is_file(), is_fetched, "{name}");
        let out = cache.path().join("model");
        let report = fetched.save(&out, false, &ProgressBar::hidden()).unwrap();
        let is_named = report.notes.iter().any(|note| note.contains("tokenizer.model"));
        assert_eq!(is_named, is_fetched, "{name}: {:?}", report.notes);
    }
}

#[test]
fn a_download_that_breaks_off_is_resumed() {
    let server = Server { breaks_off: Mutex::new(Some("model.safetensors")), ..Server::of("gpt2") };
    let (server, endpoint) = server.start();
    let cache = tempfile::tempdir().unwrap();
    let fetched = fetch(&endpoint, cache.path(), "org/tiny", None).unwrap();
    assert_eq!(fetched.parameters().unwrap(), super::open("gpt2").parameters().unwrap());
    assert!(server.breaks_off.lock().unwrap().is_none());
}

#[test]
fn a_busy_hub_is_waited_for() {
    let (server, endpoint) = Server { is_busy: true, ..Server::of("gpt2") }.start();
    let cache = tempfile::tempdir().unwrap();
    let fetched = fetch(&endpoint, cache.path(), "org/tiny", None).unwrap();
    assert_eq!(fetched.parameters().unwrap(), super::open("gpt2").parameters().unwrap());
    // The listing twice. Each of two files three times, and twice where it is redirected to.
    assert_eq!(server.requests(), 2 + 2 * (3 + 2));
}

#[test]
fn a_cached_commit_needs_no_hub() {
    let (server, endpoint) = Server::of("llama").start();
    let cache = tempfile::tempdir().unwrap();
    fetch(&endpoint, cache.path(), "org/tiny", None).unwrap();
    let requests = server.requests();
    let pinned = format!("org/tiny@{COMMIT}");
    let nowhere = "http://127.0.0.1:1";
    let fetched = fetch(nowhere, cache.path(), &pinned, None).unwrap();
    assert_eq!(fetched.parameters().unwrap(), super::open("llama").parameters().unwrap());
    assert_eq!(server.requests(), requests);
    // A branch may have moved, and a file that is missing has to come from somewhere.
    assert!(fetch(nowhere, cache.path(), "org/tiny", None).is_err());
    let file = cache.path().join("org--tiny").join(COMMIT).join("model-00002-of-00003.safetensors");
    fs::remove_file(&file).unwrap();
    let text = fetch(nowhere, cache.path(), &pinned, None).err().unwrap();
    assert!(text.contains("cannot be reached"), "{text}");
    fetch(&endpoint, cache.path(), &pinned, None).unwrap();
    assert!(file.is_file());
}

#[test]
fn all_parts_of_a_gguf_model_are_fetched() {
    let names = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"];
    let files = names.map(str::to_owned).into_iter().zip(super::gguf_parts()).collect();
    let (_, endpoint) = Server { files, ..Server::default() }.start();
    let expected = super::qwen2().parameters().unwrap();
    for file in [None, Some(names[1])] {
        let cache = tempfile::tempdir().unwrap();
        let fetched = fetch(&endpoint, cache.path(), "org/tiny", file).unwrap();
        assert_eq!(fetched.parameters().unwrap(), expected);
    }
}

#[test]
fn gguf_files_are_chosen_by_name() {
    let file = fs::read(fixture("llama.gguf")).unwrap();
    let files =
        |names: &[&str]| names.iter().map(|&name| (name.to_owned(), file.clone())).collect();
    let cache = tempfile::tempdir().unwrap();
    let (_, endpoint) = Server { files: files(&["a.gguf", "b.gguf"]), ..Server::default() }.start();
    assert!(
        fetch(&endpoint, cache.path(), "org/tiny", None)
            .err()
            .unwrap()
            .contains("--file: a.gguf, b.gguf")
    );
    assert!(
        fetch(&endpoint, cache.path(), "org/tiny", Some("c.gguf"))
            .err()
            .unwrap()
            .contains("it has no c.gguf")
    );
    assert_eq!(
        fetch(&endpoint, cache.path(), "org/tiny", Some("b.gguf")).unwrap().spec(),
        super::open("llama").spec()
    );
    let (_, endpoint) = Server { files: files(&["a.gguf"]), ..Server::default() }.start();
    let other = tempfile::tempdir().unwrap();
    assert_eq!(
        fetch(&endpoint, other.path(), "org/tiny", None).unwrap().spec(),
        super::open("llama").spec()
    );
}

#[test]
fn errors_of_the_hub_are_explained() {
    let cache = tempfile::tempdir().unwrap();
    let refusal = |server: Server, id: &str| {
        let (_, endpoint) = server.start();
        fetch(&endpoint, cache.path(), id, None).err().expect("it was accepted")
    };
    let text = refusal(Server::of("gpt2"), "org/other");
    assert!(text.contains("org/other@main") && text.contains("no such model"), "{text}");
    let text = refusal(Server { token: Some("secret"), ..Server::of("gpt2") }, "org/tiny");
    assert!(text.contains("HF_TOKEN"), "{text}");
    // In the order in which they are fetched: what was accepted is not fetched again.
    for (name, hash) in [("config.json", "SHA-1"), ("model.safetensors", "SHA-256")] {
        let server = Server { wrong_hash: Some(name), ..Server::of("gpt2") };
        let text = refusal(server, "org/tiny");
        assert!(text.contains(name) && text.contains(&format!("another {hash}")), "{text}");
    }
    let files =
        [("config.json".to_owned(), b"{}".to_vec()), ("pytorch_model.bin".to_owned(), Vec::new())]
            .into();
    let text = refusal(Server { files, ..Server::default() }, "org/tiny");
    assert!(text.contains("neither safetensors nor GGUF"), "{text}");
    let text = fetch("http://127.0.0.1:1", cache.path(), "org/tiny", None).err().unwrap();
    assert!(text.contains("cannot be reached") && text.contains("HF_ENDPOINT"), "{text}");
}

#[test]
fn a_token_gives_access_to_private_models() {
    let (_, endpoint) = Server { token: Some("secret"), ..Server::of("gpt2") }.start();
    let cache = tempfile::tempdir().unwrap();
    let hub = Hub::new(&endpoint, cache.path().to_owned(), Some("secret".into()));
    let id: HubId = "org/tiny".parse().unwrap();
    hub.fetch(&id, None, &ProgressBar::hidden()).unwrap();
}

#[test]
fn another_host_does_not_get_the_token() {
    let (cdn, address) = Server::of("gpt2").start();
    let (hub, endpoint) =
        Server { token: Some("secret"), cdn: Some(address), ..Server::of("gpt2") }.start();
    let cache = tempfile::tempdir().unwrap();
    let client = Hub::new(&endpoint, cache.path().to_owned(), Some("secret".into()));
    client.fetch(&"org/tiny".parse().unwrap(), None, &ProgressBar::hidden()).unwrap();
    let tokens = |server: &Server| -> Vec<(bool, bool)> {
        let requests = server.requests.lock().unwrap();
        requests
            .iter()
            .map(|request| (request.path.starts_with("/cdn/"), request.token.is_some()))
            .collect()
    };
    // The listing and two files; the files come from the other host.
    assert_eq!(tokens(&hub), [(false, true); 3]);
    assert_eq!(tokens(&cdn), [(true, false); 2]);
}

#[test]
fn the_environment_names_the_hub() {
    let (_, endpoint) = Server { token: Some("secret"), ..Server::of("gpt2") }.start();
    let cache = tempfile::tempdir().unwrap();
    // The environment of a process can only be set safely before it starts.
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["hub::fetches_as_the_environment_says", "--exact", "--ignored"])
        .envs([("HF_ENDPOINT", endpoint.as_str()), ("HF_TOKEN", "secret")])
        .env("POL_CACHE", cache.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    let kept = cache.path().join("hub/org--tiny").join(COMMIT).join("model.safetensors");
    assert_eq!(fs::read(kept).unwrap(), fs::read(fixture("gpt2/model.safetensors")).unwrap());
}

#[test]
#[ignore = "run by the_environment_names_the_hub, with an environment"]
fn fetches_as_the_environment_says() {
    Hub::from_env().fetch(&"org/tiny".parse().unwrap(), None, &ProgressBar::hidden()).unwrap();
}
