// SPDX-License-Identifier: Apache-2.0

use super::{
    client::Server,
    made::{TRAINER, name},
};
use pol_index::IndexError;

#[tokio::test]
async fn bad_parameters_are_refused_by_name() {
    let server = Server::filled().await;
    for (path, part) in [
        ("/consensus/blocks?limit=0", "limit must be from 1 to 1000"),
        ("/consensus/blocks?after=7-2", "`next`"),
        ("/consensus/blocks?order=oldest", "'order' is not known here"),
        ("/consensus/authors?window=10001", "window must be from 1 to 10000"),
        ("/consensus/members?after=x", "`next`"),
        ("/consensus/rounds?round=99999999999999999999", "round: number too large"),
        ("/consensus/rounds?round=-1", "round: invalid digit"),
        ("/consensus/phases?after=7", "`next`"),
        ("/wallet", "account"),
        ("/wallet?account=alice", "SS58"),
        ("/wallet/history?account=0x12", "SS58"),
        ("/rewards?limit=201", "limit must be from 1 to 200"),
        ("/rewards/earners?rounds=0", "rounds must be from 1 to 200"),
        ("/rewards/explanation?round=1", "account"),
        ("/training-deltas", "give a round"),
        ("/training-deltas?round=1&limit=101", "limit must be from 1 to 100"),
        ("/training-deltas/shards?shard=1", "give a manifest"),
        ("/data-lineage", "exactly one"),
        ("/data-lineage?round=1&manifest=0", "exactly one"),
        ("/data-lineage?shard=0", "MANIFEST/INDEX"),
        ("/data-lineage?hash=0x12", "64 hexadecimal digits"),
        ("/data/manifests?order=oldest", "order of its keys"),
        ("/data/manifests?order=newest", "order goes with source or owner"),
        ("/data?x=1", "'x' is not known here; known: none"),
        ("/rewards?acount=x", "'acount' is not known here; known: account, round, limit"),
        ("/audits/7?round=1", "'round' is not known here"),
        ("/chain-events?after=1", "'after' is not known here"),
        ("/rewards?round=1&round=2", "'round' is given twice"),
        ("/audits/x", "an audit is a number"),
        ("/audits/4294967296", "an audit is a number"),
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        assert!(answer.detail().contains(part), "{path}: {}", answer.detail());
        assert!(answer.head.contains("application/problem+json"), "{path}");
    }
    let account = name(TRAINER);
    for path in [
        format!("/penalties?audit=7&account={account}"),
        format!("/data/manifests?source=0&owner={account}"),
    ] {
        let answer = server.get(&path).await;
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        assert!(answer.detail().contains("not both"), "{path}: {}", answer.detail());
    }
}

#[tokio::test]
async fn an_unknown_audit_is_missing() {
    let server = Server::filled().await;
    let answer = server.get("/audits/8").await;
    assert_eq!(answer.status, 404);
    assert!(answer.detail().contains("no audit 8"), "{answer:?}");
}

#[tokio::test]
async fn without_a_node_consensus_is_not_available() {
    let server = Server::filled().await;
    let unknown = format!("/rewards/explanation?account={}&round=2", name(TRAINER));
    for path in ["/consensus", &unknown] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 503, "{path}: {answer:?}");
        assert_eq!(answer.json()["type"], "urn:pol:problem:node-away");
        assert!(answer.head.contains("retry-after: 5"), "{}", answer.head);
        assert!(answer.detail().contains("start one"), "{answer:?}");
    }
}

#[tokio::test]
async fn an_empty_index_says_that_it_is_not_ready() {
    let server = Server::start().await;
    for path in ["/consensus/blocks", "/rewards", "/data-lineage?round=1", "/audits/7"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 503, "{path}: {answer:?}");
        assert_eq!(answer.json()["type"], "urn:pol:problem:indexing");
        assert!(answer.head.contains("retry-after: 5"), "{}", answer.head);
    }
}

#[tokio::test]
async fn an_empty_index_says_why_its_follower_failed() {
    let server = Server::start().await;
    server.state.trouble().note(&IndexError::Pruned { number: 1 });
    for path in ["/consensus/blocks", "/rewards"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 503, "{path}: {answer:?}");
        assert!(answer.detail().contains("--state-pruning archive"), "{answer:?}");
    }
}

#[tokio::test]
async fn answers_say_why_the_index_does_not_go_on() {
    let server = Server::filled().await;
    server.state.trouble().note(&IndexError::Pruned { number: 9 });
    let blocks = server.json("/consensus/blocks").await;
    let trouble = blocks["as_of"]["trouble"].as_str().unwrap();
    assert!(trouble.contains("--state-pruning archive"), "{blocks}");
    let hello = server.events().await.find("hello").await;
    assert_eq!(hello["as_of"]["trouble"], trouble);
    assert!(hello["trouble"].is_null(), "{hello}");
    server.state.trouble().clear();
    assert!(server.json("/consensus/blocks").await["as_of"]["trouble"].is_null());
}

#[tokio::test]
async fn the_index_of_another_chain_is_not_shown() {
    let server = Server::filled().await;
    server.state.trouble().note(&IndexError::OtherChain { indexed: [1; 32], node: [2; 32] });
    let account = name(TRAINER);
    for path in [
        "/consensus/blocks",
        "/rewards",
        "/rewards/totals",
        "/data",
        "/data-lineage?round=1",
        "/audits/7",
        &format!("/wallet?account={account}"),
        &format!("/rewards/explanation?account={account}&round=1"),
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 503, "{path}: {answer:?}");
        assert_eq!(answer.json()["type"], "urn:pol:problem:other-chain", "{path}");
        assert!(answer.detail().contains("give another database"), "{answer:?}");
        assert!(answer.head.contains("retry-after: 5"), "{}", answer.head);
    }
    let hello = server.events().await.find("hello").await;
    assert!(hello["as_of"].is_null(), "{hello}");
    assert!(hello["trouble"].as_str().unwrap().contains("another chain"), "{hello}");
}

#[tokio::test]
async fn totals_are_missing_before_the_first_emission() {
    let server = Server::start().await;
    server.index.apply(&[super::made::block_of(0, 0, 0)]).await.unwrap();
    assert_eq!(server.get("/rewards/totals").await.status, 404);
    let earners = server.json("/rewards/earners").await;
    assert!(earners["rounds"].is_null(), "{earners}");
}

#[tokio::test]
async fn more_streams_than_places_are_refused() {
    let server = Server::filled().await;
    let mut streams = Vec::new();
    for _ in 0..128 {
        let mut stream = server.events().await;
        stream.find("hello").await;
        streams.push(stream);
    }
    let answer = server.get("/chain-events").await;
    assert_eq!((answer.status, answer.head.contains("retry-after")), (503, true));
    drop(streams.pop());
    // The place is free once the server has seen that the client is gone.
    loop {
        if let Some((name, _)) = server.events().await.next().await {
            assert_eq!(name, "hello");
            break;
        }
    }
}
