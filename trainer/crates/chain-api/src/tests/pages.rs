// SPDX-License-Identifier: Apache-2.0

use super::{
    client::Server,
    made::{TRAINER, name},
};
use serde_json::Value;

/// Returns the items of all pages of one item each.
async fn walk(server: &Server, path: &str, list: &str) -> Vec<Value> {
    let (mut items, mut after) = (Vec::new(), None::<String>);
    loop {
        let sign = if path.contains('?') { '&' } else { '?' };
        let from = after.as_ref().map_or_else(String::new, |after| format!("&after={after}"));
        let page = server.json(&format!("{path}{sign}limit=1{from}")).await;
        items.extend(page[list].as_array().unwrap().clone());
        assert!(items.len() < 100, "{path} never ends");
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => return items,
        }
    }
}

#[tokio::test]
async fn pages_show_each_item_once() {
    let server = Server::filled().await;
    let account = name(TRAINER);
    for (path, list) in [
        ("/consensus/blocks", "items"),
        ("/consensus/members", "items"),
        ("/data/manifests", "items"),
        ("/data/sources", "items"),
        ("/peers", "members"),
        ("/rewards", "items"),
        ("/rewards?order=oldest", "items"),
        (&format!("/rewards?account={account}"), "items"),
        ("/training-deltas?round=1", "items"),
        ("/training-deltas/shards", "items"),
        ("/data-lineage?manifest=0", "shards"),
    ] {
        let whole = server.json(path).await[list].as_array().unwrap().clone();
        assert!(!whole.is_empty(), "{path}");
        assert_eq!(walk(&server, path, list).await, whole, "{path}");
    }
}

#[tokio::test]
async fn orders_are_reverses_of_each_other() {
    let server = Server::filled().await;
    let mut newest = server.json("/rewards").await["items"].as_array().unwrap().clone();
    newest.reverse();
    let oldest = server.json("/rewards?order=oldest").await;
    assert_eq!(oldest["items"].as_array().unwrap(), &newest);
}
