// SPDX-License-Identifier: Apache-2.0

use super::{
    client::{Events, SOON, Server},
    made::{TRAINER, block_of, blocks},
};
use crate::{events::publish_node, feed::Feed};
use pol_index::facts::{Penalty, PenaltyCause, PhaseStart};
use pol_primitives::round::Phase;
use serde_json::{Value, json};
use tokio::sync::watch;

/// Returns a stream of a server whose made blocks but the first are new to it.
async fn watched() -> (Server, Events) {
    let server = Server::start().await;
    let mut events = server.events().await;
    assert_eq!(events.find("hello").await, json!({"as_of": null}));
    let all = blocks();
    server.index.apply(&all[..1]).await.unwrap();
    assert_eq!(events.find("block").await["number"], 0);
    server.index.apply(&all[1..]).await.unwrap();
    (server, events)
}

/// Waits for the block at a height.
async fn wait_for(events: &mut Events, number: u32) -> Value {
    loop {
        let block = events.find("block").await;
        if block["number"] == number {
            return block;
        }
    }
}

#[tokio::test]
async fn events_tell_what_is_new_in_order() {
    let (_server, mut events) = watched().await;
    let mut names = Vec::new();
    while names.iter().filter(|name| *name == "block").count() < 8 {
        names.push(events.next().await.unwrap().0);
    }
    let expected = [
        "block", "phase", "block", "block", "round", "measured", "block", "audit", "block",
        "settled", "settled", "penalty", "block", "block", "block",
    ];
    assert_eq!(names, expected);
}

#[tokio::test]
async fn blocks_of_another_fork_are_announced() {
    let (server, mut events) = watched().await;
    wait_for(&mut events, 8).await;
    let mut next = block_of(9, 0, 0);
    next.push(&PhaseStart { round: 2, phase: Phase::Train, deadline: None });
    server.index.apply(std::slice::from_ref(&next)).await.unwrap();
    assert_eq!(events.find("phase").await["round"], 2);
    server.index.retract(next.block).await.unwrap();
    let (account, cause, amount) = (TRAINER, PenaltyCause::Lease, 1);
    let mut other = block_of(9, 1, 0);
    other.push(&Penalty { account, cause, round: None, audit: None, amount, seized: false });
    server.index.apply(&[other]).await.unwrap();
    assert_eq!(events.find("reorganised").await, json!({"after": 8}));
    assert_eq!(events.find("block").await["number"], 9);
    assert_eq!(events.find("penalty").await["amount"], "0.000000000001");
}

#[tokio::test]
async fn blocks_beyond_the_window_are_skipped() {
    let (server, mut events) = watched().await;
    wait_for(&mut events, 8).await;
    let many: Vec<_> = (9..209).map(|number| block_of(number, 0, 0)).collect();
    server.index.apply(&many).await.unwrap();
    assert_eq!(events.find("skipped").await, json!({"from": 9, "to": 144}));
    assert_eq!(events.find("block").await["number"], 145);
}

#[tokio::test]
async fn streams_end_when_the_server_says_so() {
    let (server, mut events) = watched().await;
    server.state.end_streams();
    while let Some((name, _)) = events.next().await {
        assert_ne!(name, "lag");
    }
}

#[tokio::test]
async fn a_stream_says_when_the_node_falls_silent_and_comes_back() {
    let feed = Feed::default();
    feed.open();
    let mut stream = feed.subscribe(SOON).await.unwrap();
    let (node, watch) = watch::channel(None);
    let publishing = tokio::spawn(publish_node(watch, feed.clone()));
    for answers in [false, true, true, false, true] {
        tokio::task::yield_now().await;
        node.send_replace(answers.then_some(()));
    }
    drop(node);
    publishing.await.unwrap();
    for answers in [true, false, true] {
        let event = format!("{:?}", stream.next().await.unwrap());
        assert!(event.contains("node") && event.contains(&answers.to_string()), "{event}");
    }
}
