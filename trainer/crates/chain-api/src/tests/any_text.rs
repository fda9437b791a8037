// SPDX-License-Identifier: Apache-2.0

//! Texts of all kinds as parameters: each gives an answer or a named fault, and never a failure.

use super::{
    client::Server,
    made::{TRAINER, name},
};
use serde_json::Value;

/// Texts, encoded for a URL.
const TEXTS: [&str; 17] = [
    "",
    "0",
    "1",
    "-1",
    "4294967295",
    "4294967296",
    "18446744073709551616",
    "1e9",
    "NaN",
    "7-2",
    "4294967295-4294967295",
    "4294967295/4294967295",
    "%27%3B%20DROP%20TABLE%20rewards%3B--",
    "%27%20OR%201%3D1--",
    "%00",
    "%FF%FE",
    "%F0%9F%92%A3",
];

#[tokio::test]
async fn no_text_makes_an_endpoint_fail() {
    let server = Server::filled().await;
    let openapi = server.json("/openapi.json").await;
    let mut tried = 0;
    for (path, item) in openapi["paths"].as_object().unwrap() {
        if path.starts_with("/v1") {
            continue;
        }
        let path = path.replace("{audit}", "7");
        for parameter in item["get"]["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] != "query" {
                continue;
            }
            let own = parameter["name"].as_str().unwrap();
            let others = required(item, own);
            for text in TEXTS.into_iter().chain([&*"1".repeat(200)]) {
                let path = format!("{path}?{own}={text}{others}");
                let answer = server.get(&path).await;
                assert!([200, 400, 503].contains(&answer.status), "{path}: {answer:?}");
                tried += 1;
            }
        }
    }
    assert!(tried > 1_000, "{tried}");
    for path in ["/audits/%FF", "/audits/..%2F..", "/audits/%27", "/rewards/%00", "/v1/v1/rewards"]
    {
        let answer = server.get(path).await;
        assert!([400, 404].contains(&answer.status), "{path}: {answer:?}");
    }
    assert_eq!(server.json("/rewards").await["items"].as_array().unwrap().len(), 4);
}

/// Returns the other parameters that an endpoint requires, with their values.
fn required(item: &Value, own: &str) -> String {
    let others = item["get"]["parameters"].as_array().into_iter().flatten();
    others
        .filter(|other| other["in"] == "query" && other["required"] == true && other["name"] != own)
        .map(|other| match other["name"].as_str() {
            Some("account") => format!("&account={}", name(TRAINER)),
            Some(other) => format!("&{other}=1"),
            None => String::new(),
        })
        .collect()
}
