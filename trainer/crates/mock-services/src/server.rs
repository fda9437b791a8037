// SPDX-License-Identifier: Apache-2.0

//! HTTP server on a port of this machine.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// A request that came.
#[derive(Clone, Debug)]
pub struct Request {
    /// Path with its query.
    pub path: String,
    /// Headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
}

impl Request {
    /// Returns the value of a header, whose name is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Returns the value of a parameter of the query, as it is escaped.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.path.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

/// An answer.
pub struct Response {
    /// Code of the status.
    pub status: u16,
    /// Headers beside those of the length and the connection.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// Number of bytes of the body after which the connection breaks.
    pub cut: Option<usize>,
}

impl Response {
    /// Creates an answer without more headers.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), cut: None }
    }

    /// Creates an answer in JSON.
    #[must_use]
    pub fn json(value: &serde_json::Value) -> Self {
        Self::new(200, value.to_string()).with("Content-Type", "application/json")
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Server that answers with a function of the request.
pub struct Server {
    /// Beginning of all addresses, such as `http://127.0.0.1:9955`.
    pub address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Serves on any free port until the process ends.
    ///
    /// # Panics
    ///
    /// Panics if no port is free.
    pub fn start(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        Self::listen(0, answer).unwrap()
    }

    /// Serves on a port, or on any free one for 0, until the process ends.
    ///
    /// # Errors
    ///
    /// Fails if the port is in use.
    pub fn listen(
        port: u16,
        answer: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let address = format!("http://{}", listener.local_addr()?);
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (requests.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, answer) = (seen.clone(), answer.clone());
                thread::spawn(move || {
                    if let Some(request) = read(&stream) {
                        if let Ok(mut seen) = seen.lock() {
                            seen.push(request.clone());
                        }
                        write(stream, &answer(&request));
                    }
                });
            }
        });
        Ok(Self { address, requests })
    }

    /// Returns the paths that were requested.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.path).collect()
    }

    /// Returns the requests that came.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().map(|requests| requests.clone()).unwrap_or_default()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Some(Request { path, headers: headers.collect() })
}

fn write(mut stream: TcpStream, response: &Response) {
    let mut head = format!(
        "HTTP/1.1 {} X\r\nConnection: close\r\nContent-Length: {}\r\n",
        response.status,
        response.body.len()
    );
    for (name, value) in &response.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let body = &response.body[..response.cut.unwrap_or(response.body.len())];
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(b"\r\n"))
        .and_then(|()| stream.write_all(body));
}
