// SPDX-License-Identifier: Apache-2.0

//! The pages in a headless Chromium, on a made network of 10,000 rounds.

use super::{
    driver::Browser,
    model::{experts, learned, models},
    sample::{HOSTILE, Sample},
};
use axum::{Router, routing::get};
use futures::{StreamExt, stream};
use pol_api::{Access, ApiError, Frame, Limits, Models, Rate, Scope, TokenFile, events, serve};
use pol_receipt::ReceiptFile;
use serde_json::json;
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    path::Path,
    time::Duration,
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use utoipa_axum::router::OpenApiRouter;

const SAMPLE: Sample =
    Sample { rounds: 10_000, behind: 0, trouble: None, is_silent: false, is_library: false };

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/browser.mjs");

/// Server of the pages, and of a made network or of the endpoints that a test gives it.
struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves a made network and its models.
    async fn start(port: u16, sample: Sample, tokens: Option<&Path>) -> Self {
        let models = models(sample.rounds);
        let frame = with_models(frame(sample.routes(), tokens), &models);
        Self::serve(port, frame.with_experts(models, experts(sample.rounds))).await
    }

    async fn serve(port: u16, frame: Frame) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let limits = Limits { drain: Duration::ZERO, ..Limits::default() };
        let stopped = async { drop(stopped.await) };
        let router = frame.with_pages(crate::routes()).build();
        let task = tokio::spawn(serve(listener, router, limits, stopped));
        Self { address, stop, task }
    }

    fn open(&self, arguments: &[&str]) -> Browser {
        Browser::start(SCRIPT, &format!("http://{}", self.address), arguments)
    }

    /// Stops the server, and returns its port.
    async fn end(self) -> u16 {
        let _ = self.stop.send(());
        self.task.await.unwrap();
        self.address.port()
    }
}

/// Returns a frame of the endpoints, for those who have one of the `tokens`.
fn frame(endpoints: Router, tokens: Option<&Path>) -> Frame {
    let many = NonZeroU32::new(10_000).unwrap();
    let access = Access::new(tokens.map(TokenFile::new), Rate { per_second: many, burst: many });
    Frame::new(access).with(Scope::Read, OpenApiRouter::from(endpoints))
}

/// Adds the endpoints of models.
fn with_models(frame: Frame, models: &Models) -> Frame {
    frame.with_library(models.clone(), None, None).with_models(models.clone())
}

/// Runs the script to its end.
async fn run(server: &Server, arguments: &[&str]) {
    let browser = server.open(arguments);
    tokio::task::spawn_blocking(|| browser.end()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_ten_thousand_rounds() {
    let server = Server::start(0, SAMPLE, None).await;
    run(&server, &["pages", "--hostile", HOSTILE]).await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_talk_to_the_newest_model_and_to_an_older_one() {
    let models = models(SAMPLE.rounds);
    let server = Server::serve(0, with_models(frame(SAMPLE.routes(), None), &models)).await;
    let folder = tempfile::tempdir().unwrap();
    let mut browser = server.open(&["talk", "--out", folder.path().to_str().unwrap()]);
    browser.wait_for("replace the model");
    models.replace(learned(SAMPLE.rounds + 1));
    browser.go_on();
    browser.end();
    server.end().await;
    // What people save is what anybody can verify.
    let receipt = fs::read(folder.path().join("receipt.json")).unwrap();
    let receipt = ReceiptFile::parse(&receipt).unwrap();
    receipt.check_signature().unwrap();
    assert_eq!(receipt.receipt.terms.seed, 812);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_explain_what_is_not_there() {
    let server = Server::start(0, Sample { rounds: 0, ..SAMPLE }, None).await;
    run(&server, &["empty"]).await;
    server.end().await;
    let nothing = Router::new().route("/nothing", get(|| async {}));
    let server = Server::serve(0, frame(nothing, None)).await;
    run(&server, &["bare"]).await;
    server.end().await;
    let behind = Sample { behind: 1_482, ..SAMPLE };
    let server = Server::start(0, behind, None).await;
    run(&server, &["behind"]).await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_say_why_the_index_is_stuck() {
    let trouble = Some("the node no longer has the state of block 12: follow another one");
    let server = Server::start(0, Sample { behind: 1_482, trouble, ..SAMPLE }, None).await;
    run(&server, &["stuck"]).await;
    server.end().await;
    // A server does not show the index of another chain.
    let refuse = || async {
        let detail = "the database is the index of another chain".to_owned();
        ApiError::Unavailable { name: "other-chain", detail, retry: Duration::from_secs(5) }
    };
    let follow = || async {
        let hello = events::json(&json!({"as_of": null})).event("hello");
        events::respond(stream::iter([hello]).chain(stream::pending()))
    };
    let endpoints = Router::new().route("/audits", get(refuse)).route("/chain-events", get(follow));
    let server = Server::serve(0, frame(endpoints, None)).await;
    run(&server, &["foreign"]).await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_one_of_each_in_the_singular() {
    let server = Server::start(0, Sample { rounds: 2, ..SAMPLE }, None).await;
    run(&server, &["young"]).await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn local_epochs_are_shown_where_nothing_trains_for_the_network() {
    let server = Server::start(0, Sample { is_library: true, ..SAMPLE }, None).await;
    run(&server, &["library"]).await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_say_at_once_that_the_node_is_silent() {
    let server = Server::start(0, Sample { is_silent: true, ..SAMPLE }, None).await;
    run(&server, &["silent"]).await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_survive_a_restart_and_ask_for_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.json");
    let token = TokenFile::new(&path).add("page", &[Scope::Read]).unwrap();
    let server = Server::start(0, SAMPLE, Some(&path)).await;
    let mut browser = server.open(&["restart", "--token", &token]);
    browser.wait_for("stop the server");
    let port = server.end().await;
    browser.go_on();
    browser.wait_for("start the server");
    let newer = Sample { rounds: 10_001, ..SAMPLE };
    let server = Server::start(port, newer, Some(&path)).await;
    browser.go_on();
    browser.end();
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes pictures for the documentation; scripts/screenshots.sh runs it"]
async fn screenshots() {
    let folder = std::env::var("POL_SCREENSHOTS").expect("POL_SCREENSHOTS names a folder");
    let server = Server::start(0, SAMPLE, None).await;
    run(&server, &["screenshots", "--out", &folder]).await;
    server.end().await;
}
