// SPDX-License-Identifier: Apache-2.0

//! Server that sends what it is told, and clients for it.

use pol_corpus::{CorpusError, RawDocument, Refusal};
use pol_sources::{
    End, FillOptions, Progress, Sink, Source, Step, Totals, fill,
    http::{HttpClient, HttpOptions, MinRate},
};
use serde_json::Value;
use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use url::Url;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Answer to a request.
pub(crate) enum Reply {
    /// These bytes, and the end of the connection.
    Raw(Vec<u8>),
    /// These bytes, and then a byte at a time with a pause before each.
    Drip(Vec<u8>, Duration),
    /// These bytes, and then endlessly many more.
    Flood(Vec<u8>),
    /// The end of the connection.
    Nothing,
}

/// Request: its path with the query, and all of its lines.
pub(crate) struct Got {
    pub(crate) path: String,
    pub(crate) lines: String,
}

impl Got {
    /// Returns `true` if the request has a header with this value.
    pub(crate) fn has(&self, name: &str, value: &str) -> bool {
        let line = format!("{name}: {value}").to_ascii_lowercase();
        self.lines.to_ascii_lowercase().lines().any(|other| other == line)
    }
}

/// Server on a port of its own.
pub(crate) struct Server {
    pub(crate) root: Url,
    paths: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts a server whose answers `reply` gives. It knows its own address.
    pub(crate) async fn start(reply: impl Fn(&Got, &Url) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let root = format!("http://{}/", listener.local_addr().unwrap());
        let root = Url::parse(&root).unwrap();
        let paths = Arc::new(Mutex::new(Vec::new()));
        let (reply, heard, base) = (Arc::new(reply), paths.clone(), root.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (reply, heard, base) = (reply.clone(), heard.clone(), base.clone());
                tokio::spawn(async move {
                    let (mut stream, got) = read(stream).await?;
                    heard.lock().unwrap().push(got.path.clone());
                    let reply = reply(&got, &base);
                    send(&mut stream, reply).await;
                    Some(())
                });
            }
        });
        Self { root, paths }
    }

    /// Returns the address of a path.
    pub(crate) fn url(&self, path: &str) -> Url {
        self.root.join(path).unwrap()
    }

    /// Returns all paths that were requested, in order.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.paths.lock().unwrap().clone()
    }

    /// Returns the paths that were requested except robots.txt, sorted.
    pub(crate) fn pages(&self) -> Vec<String> {
        let mut pages = self.paths();
        pages.retain(|path| path != "/robots.txt");
        pages.sort();
        pages
    }
}

async fn read(mut stream: TcpStream) -> Option<(TcpStream, Got)> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.ok()?);
    }
    let lines = String::from_utf8(request).ok()?;
    let path = lines.split(' ').nth(1)?.to_owned();
    Some((stream, Got { path, lines }))
}

async fn send(stream: &mut TcpStream, reply: Reply) {
    let (Reply::Raw(start) | Reply::Drip(start, _) | Reply::Flood(start)) = &reply else { return };
    // The client may hang up at any time.
    let mut is_open = stream.write_all(start).await.is_ok();
    while is_open {
        is_open = match reply {
            Reply::Drip(_, pause) => {
                tokio::time::sleep(pause).await;
                stream.write_all(b"x").await.is_ok()
            }
            Reply::Flood(_) => stream.write_all(&[b'x'; 65_536]).await.is_ok(),
            Reply::Raw(_) | Reply::Nothing => false,
        };
    }
    let _ = stream.shutdown().await;
}

/// Returns a response with a status line, headers and a body.
pub(crate) fn response(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Reply {
    let body = body.as_ref();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    Reply::Raw([head.as_bytes(), body].concat())
}

/// Returns a page.
pub(crate) fn html(body: impl AsRef<[u8]>) -> Reply {
    response("200 OK", "Content-Type: text/html\r\n", body)
}

/// Returns a redirect.
pub(crate) fn redirect(target: &str) -> Reply {
    response("302 Found", &format!("Location: {target}\r\n"), "")
}

/// Returns the answer to a request for what is not there.
pub(crate) fn missing() -> Reply {
    response("404 Not Found", "", "")
}

/// Returns the options of a quick client that may read local servers.
pub(crate) fn options() -> HttpOptions {
    HttpOptions {
        connect_timeout: Duration::from_secs(5),
        header_timeout: Duration::from_millis(700),
        min_rate: MinRate { window: Duration::from_millis(400), bytes: 1000 },
        max_bytes: 1 << 20,
        max_retries: 0,
        retry_wait: Duration::from_millis(10),
        host_delay: Duration::ZERO,
        allowed_hosts: ["127.0.0.1".to_owned()].into(),
        ..HttpOptions::new("https://example.org/bot")
    }
}

/// Returns a quick client that may read local servers.
pub(crate) fn client() -> HttpClient {
    HttpClient::new(options()).unwrap()
}

/// Store in memory.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) documents: Vec<RawDocument>,
    pub(crate) cursor: Option<Value>,
}

impl Sink for Memory {
    fn append(&mut self, document: &RawDocument) -> Result<(), CorpusError> {
        self.documents.push(document.clone());
        Ok(())
    }

    fn commit(&mut self, cursor: &Value) -> Result<(), CorpusError> {
        self.cursor = Some(cursor.clone());
        Ok(())
    }

    fn cursor(&self) -> Option<Value> {
        self.cursor.clone()
    }
}

/// All that a source gave.
pub(crate) struct Filled {
    pub(crate) documents: Vec<RawDocument>,
    pub(crate) refused: Vec<Refusal>,
    pub(crate) end: End,
    pub(crate) totals: Totals,
}

impl Filled {
    /// Returns the document of a path.
    pub(crate) fn document(&self, path: &str) -> &RawDocument {
        let mut documents = self.documents.iter();
        documents.find(|document| document.origin.location.ends_with(path)).unwrap()
    }

    /// Returns the reason why the page of a path was refused.
    pub(crate) fn reason(&self, path: &str) -> &str {
        let mut refused = self.refused.iter();
        &refused.find(|refusal| refusal.origin.location.ends_with(path)).unwrap().reason
    }
}

/// Runs a source to its end.
pub(crate) async fn run(source: &mut dyn Source) -> Filled {
    run_with(source, &FillOptions::default()).await
}

/// Runs a source with options.
pub(crate) async fn run_with(source: &mut dyn Source, options: &FillOptions) -> Filled {
    let mut memory = Memory::default();
    let refused = Mutex::new(Vec::new());
    let observer = |progress: Progress<'_>| {
        if let Progress::Refused(refusal) = progress {
            refused.lock().unwrap().push(refusal.clone());
        }
    };
    let (end, totals) = fill(source, &mut memory, options, &observer, pending()).await.unwrap();
    let refused = refused.into_inner().unwrap();
    Filled { documents: memory.documents, refused, end, totals }
}

/// Waits as a source asks, until it has a batch. Returns the time that it asked for.
pub(crate) async fn wait_for_batch(source: &mut dyn Source) -> Duration {
    let mut waited = Duration::ZERO;
    loop {
        match source.next().await.unwrap() {
            Step::Wait(time) if waited < 10 * SECOND => {
                tokio::time::sleep(time).await;
                waited += time;
            }
            Step::Batch(_) => return waited,
            step => panic!("{step:?} after {waited:?}"),
        }
    }
}

/// Returns the time in ten years, in seconds since 1970: that of a clock that was wrong.
pub(crate) fn in_ten_years() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 10 * 365 * 24 * 3600
}
