// SPDX-License-Identifier: Apache-2.0

use super::*;
use futures::future::join_all;
use jsonrpsee::{
    RpcModule,
    server::{Server, ServerHandle},
};
use serde_json::json;
use std::net::{SocketAddr, TcpListener};
use subxt::rpcs::{RpcClient, rpc_params};

/// Far more than any step takes.
const STEP: Duration = Duration::from_secs(60);
/// Genesis of the chain of the tests, and of another one.
const GENESIS: [&str; 2] = ["0x01", "0x02"];

/// Starts a node that answers with its name and the genesis of its chain.
async fn node(address: SocketAddr, name: &'static str, chain: usize) -> ServerHandle {
    let mut module = RpcModule::new(());
    module.register_method("name", move |_, _, _| name).unwrap();
    module.register_method("chain_getBlockHash", move |_, _, _| GENESIS[chain]).unwrap();
    let server = Server::builder().build(address).await.unwrap();
    server.start(module)
}

async fn stop(node: ServerHandle) {
    node.stop().unwrap();
    node.stopped().await;
}

/// Returns a free address of this machine.
fn address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn urls(addresses: &[SocketAddr]) -> Vec<String> {
    addresses.iter().map(|address| format!("ws://{address}")).collect()
}

async fn open(addresses: &[SocketAddr]) -> Result<RpcClient, ChainError> {
    let opened = time::timeout(STEP, Failover::open(urls(addresses))).await;
    Ok(RpcClient::new(opened.unwrap()?))
}

/// Asks for the name of the node, again whenever it is lost before the answer.
async fn name(client: &RpcClient) -> String {
    let ask = async {
        loop {
            match client.request::<String>("name", rpc_params![]).await {
                Err(error) if error.is_disconnected_will_reconnect() => {}
                answer => return answer.unwrap(),
            }
        }
    };
    time::timeout(STEP, ask).await.unwrap()
}

#[tokio::test]
async fn the_next_node_replaces_one_that_stops() {
    let [first, second] = [address(), address()];
    let (one, _two) = (node(first, "first", 0).await, node(second, "second", 0).await);
    let client = open(&[first, second]).await.unwrap();
    assert_eq!(name(&client).await, "first");
    stop(one).await;
    // All requests at this moment are answered, and one of them looks for another node.
    let names = join_all((0..8).map(|_| name(&client))).await;
    assert_eq!(names, ["second"; 8]);
    // The first one is used again only when it is needed.
    let _one = node(first, "first", 0).await;
    assert_eq!(name(&client).await, "second");
}

#[tokio::test]
async fn the_first_node_that_answers_is_used() {
    let [gone, second] = [address(), address()];
    let _two = node(second, "second", 0).await;
    assert_eq!(name(&open(&[gone, second]).await.unwrap()).await, "second");
}

#[tokio::test]
async fn a_node_that_takes_connections_and_answers_nothing_is_passed_over() {
    let [frozen, second] = [address(), address()];
    let mut module = RpcModule::new(());
    module
        .register_async_method("chain_getBlockHash", |_, _, _| std::future::pending::<String>())
        .unwrap();
    let _frozen = Server::builder().build(frozen).await.unwrap().start(module);
    let _two = node(second, "second", 0).await;
    let client = time::timeout(3 * CHECK_TIMEOUT, open(&[frozen, second])).await;
    let client = client.expect("both are asked in time").unwrap();
    assert_eq!(name(&client).await, "second");
}

#[tokio::test]
async fn a_node_that_is_syncing_is_used_only_if_no_other_answers() {
    let [behind, second] = [address(), address()];
    let mut module = RpcModule::new(());
    module.register_method("name", |_, _, _| "behind").unwrap();
    module.register_method("chain_getBlockHash", |_, _, _| GENESIS[0]).unwrap();
    module
        .register_method("system_health", |_, _, _| json!({ "isSyncing": true, "peers": 3 }))
        .unwrap();
    let _behind = Server::builder().build(behind).await.unwrap().start(module);
    let two = node(second, "second", 0).await;
    let client = open(&[behind, second]).await.unwrap();
    assert_eq!(name(&client).await, "second");
    stop(two).await;
    assert_eq!(name(&client).await, "behind");
}

#[tokio::test]
async fn a_node_of_another_chain_is_refused() {
    let [first, other] = [address(), address()];
    let (_one, _other) = (node(first, "first", 0).await, node(other, "other", 1).await);
    let [first, other]: [String; 2] = urls(&[first, other]).try_into().unwrap();
    let secret = [&first, &other].map(|url| format!("{url}/?key=secret")).to_vec();
    let refused = time::timeout(STEP, Failover::open(secret)).await.unwrap().map(drop);
    // What may be a secret is not said.
    assert!(
        matches!(&refused, Err(ChainError::OtherChain { url, chain_of })
            if *url == other && *chain_of == first),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_node_that_comes_back_with_another_chain_is_passed_over() {
    let [first, other, third] = [address(), address(), address()];
    let (one, _three) = (node(first, "first", 0).await, node(third, "third", 0).await);
    let client = open(&[first, other, third]).await.unwrap();
    let _other = node(other, "other", 1).await;
    assert_eq!(name(&client).await, "first");
    stop(one).await;
    assert_eq!(name(&client).await, "third");
}

#[tokio::test]
async fn requests_wait_until_any_node_is_back() {
    let [first, second] = [address(), address()];
    let one = node(first, "first", 0).await;
    let client = open(&[first, second]).await.unwrap();
    stop(one).await;
    let asked = async { name(&client).await };
    let started = async {
        time::sleep(Duration::from_secs(1)).await;
        node(second, "second", 0).await
    };
    let (name, _two) = futures::join!(asked, started);
    assert_eq!(name, "second");
}

#[tokio::test]
async fn a_single_node_is_waited_for() {
    let first = address();
    let one = node(first, "before", 0).await;
    let client = open(&[first]).await.unwrap();
    assert_eq!(name(&client).await, "before");
    stop(one).await;
    let asked = async { name(&client).await };
    let started = async {
        time::sleep(Duration::from_secs(1)).await;
        node(first, "after", 0).await
    };
    let (name, _one) = futures::join!(asked, started);
    assert_eq!(name, "after");
}
