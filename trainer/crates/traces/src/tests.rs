// SPDX-License-Identifier: Apache-2.0

//! Spans on their way to a collector on this machine, which decodes them.

use super::*;
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
};
use tracing::{field::Empty, info_span};
use tracing_subscriber::layer::SubscriberExt;

/// Target of the spans that are sent.
const TARGET: &str = "spans";

/// Collector, which sends the bodies of requests on.
struct Collector {
    address: SocketAddr,
    bodies: mpsc::Receiver<Vec<u8>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, bodies) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                thread::spawn(move || {
                    while let Some(body) = receive(&stream) {
                        let _ = sender.send(body);
                    }
                });
            }
        });
        Self { address, bodies }
    }

    fn url(&self) -> String {
        format!("http://{}/v1/traces", self.address)
    }

    /// Returns the service and the spans of the next request.
    fn spans(&self) -> (Vec<u8>, Vec<ReceivedSpan>) {
        let body = self.bodies.recv_timeout(Duration::from_secs(30)).unwrap();
        let resource_spans = only(&body, 1);
        let resource = &only(&resource_spans, 1);
        let scope_spans = only(&resource_spans, 2);
        let spans = fields(&scope_spans).remove(&2).unwrap();
        (resource.clone(), spans.iter().map(|span| ReceivedSpan::read(span)).collect())
    }
}

/// Answers a request of an export, and returns its body.
fn receive(mut stream: &TcpStream) -> Option<Vec<u8>> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line).ok()? > 2 {
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok()?;
    (length > 0).then_some(body)
}

/// Span in the Protocol Buffers of OTLP.
#[derive(Debug)]
struct ReceivedSpan {
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    name: String,
    attributes: Vec<Vec<u8>>,
    status: Vec<u8>,
}

impl ReceivedSpan {
    fn read(bytes: &[u8]) -> Self {
        let mut fields = fields(bytes);
        let mut one = |number| fields.remove(&number).map_or(Vec::new(), |mut all| all.remove(0));
        let (trace, id, parent, name) = (one(1), one(2), one(4), one(5));
        let status = one(15);
        let attributes = fields.remove(&9).unwrap_or_default();
        Self { trace, id, parent, name: String::from_utf8(name).unwrap(), attributes, status }
    }

    /// Returns the encoded value of an attribute.
    fn attribute(&self, key: &str) -> Option<Vec<u8>> {
        let own = self.attributes.iter().find(|own| only(own, 1) == key.as_bytes())?;
        Some(only(own, 2))
    }
}

/// Returns the fields of a message with a length, by their number.
fn fields(mut bytes: &[u8]) -> BTreeMap<u64, Vec<Vec<u8>>> {
    let mut found = BTreeMap::<_, Vec<_>>::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let length = match tag & 7 {
            0 => {
                varint(&mut bytes);
                continue;
            }
            1 => 8,
            5 => 4,
            _ => usize::try_from(varint(&mut bytes)).unwrap(),
        };
        let (field, rest) = bytes.split_at(length);
        bytes = rest;
        found.entry(tag >> 3).or_default().push(field.to_vec());
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap();
    let (number, rest) = bytes.split_at(end + 1);
    *bytes = rest;
    number.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f))
}

fn only(bytes: &[u8], number: u64) -> Vec<u8> {
    fields(bytes).remove(&number).unwrap().remove(0)
}

/// Returns the encoding of a value of text.
fn text(value: &str) -> Vec<u8> {
    [&[0x0a, u8::try_from(value.len()).unwrap()], value.as_bytes()].concat()
}

#[test]
fn spans_reach_a_collector_with_their_parents_and_attributes() {
    let collector = Collector::start();
    let traces = Traces::start("tested", Some(&collector.url())).unwrap();
    let subscriber = tracing_subscriber::registry().with(traces.layer(TARGET));
    tracing::subscriber::with_default(subscriber, || {
        let status = Empty;
        let request = info_span!(target: TARGET, "request", otel.name = "GET /x",
            otel.kind = "server", http.response.status_code = status, error.type = Empty);
        request.in_scope(|| {
            // Spans and lines of the log between them are not sent.
            let _log = info_span!("log", secret = "s3cret").entered();
            tracing::info!("s3cret");
            let _chat = info_span!(target: TARGET, "chat", gen_ai.usage.input_tokens = 5u64,
                other = 1.5, flag = true, debug = ?Some(1))
            .entered();
        });
        request.record("http.response.status_code", 500u64);
        request.record("error.type", "500");
    });
    traces.finish();
    let (resource, spans) = collector.spans();
    let find = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let (request, chat) = (find("GET /x"), find("chat"));
    assert_eq!(spans.len(), 2, "{spans:?}");
    assert_eq!((&chat.parent, &chat.trace), (&request.id, &request.trace));
    assert!(request.parent.is_empty() && request.trace.len() == 16 && request.id.len() == 8);
    assert_eq!(request.attribute("http.response.status_code").unwrap(), [0x18, 0xf4, 0x03]);
    assert_eq!(request.attribute("error.type").unwrap(), text("500"));
    assert!(!request.status.is_empty() && chat.status.is_empty());
    assert_eq!(chat.attribute("gen_ai.usage.input_tokens").unwrap(), [0x18, 5]);
    assert_eq!(chat.attribute("flag").unwrap(), [0x10, 1]);
    assert_eq!(chat.attribute("debug").unwrap(), text("Some(1)"));
    let service = [&b"service.name\x12\x08"[..], &text("tested")].concat();
    assert!(resource.windows(service.len()).any(|part| part == service), "{resource:?}");
}

#[test]
fn a_collector_that_is_away_holds_up_nobody() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let traces = Traces::start("tested", Some(&format!("http://{address}/v1/traces"))).unwrap();
    let subscriber = tracing_subscriber::registry().with(traces.layer(TARGET));
    tracing::subscriber::with_default(subscriber, || drop(info_span!(target: TARGET, "lost")));
    traces.finish();
}

#[test]
fn nothing_is_sent_unless_a_variable_names_a_collector() {
    let with = |given: &'static str, value: &'static str| {
        is_asked_for(move |name| (name == given).then(|| value.into()))
    };
    assert!(!with("OTEL_EXPORTER_OTLP_HEADERS", "x"));
    assert!(!with("OTEL_EXPORTER_OTLP_ENDPOINT", ""));
    assert!(with("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318"));
    assert!(with("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:4318/v1/traces"));
}

#[test]
fn a_malformed_address_is_refused_with_the_remedy() {
    let error = Traces::start("tested", Some("not an address")).err().unwrap().to_string();
    assert!(error.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{error}");
}
