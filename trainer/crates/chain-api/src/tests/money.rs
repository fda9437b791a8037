// SPDX-License-Identifier: Apache-2.0

use super::{
    client::Server,
    made::{CHEAT, PROVIDER, TRAINER, VALIDATOR, hex, name},
};
use serde_json::{Value, json};

#[tokio::test]
async fn a_wallet_is_told_by_the_index_while_the_node_is_away() {
    let server = Server::filled().await;
    let wallet = server.json(&format!("/wallet?account={}", hex(TRAINER))).await;
    assert_eq!((&wallet["account"], &wallet["live"]), (&json!(name(TRAINER)), &json!(false)));
    assert_eq!((&wallet["free"], &wallet["held"]), (&json!("100.5"), &json!("10000")));
    assert_eq!(wallet["member"]["role"], "trainer");
    for unknown in ["nonce", "holds", "escrow"] {
        assert!(wallet[unknown].is_null(), "{unknown}");
    }
    let earned = |source: &str| {
        let sums = wallet["earned"].as_array().unwrap();
        sums.iter().find(|sum| sum["source"] == source).unwrap()["amount"].clone()
    };
    assert_eq!((earned("training"), earned("seats")), (json!("7"), json!("0.666666666666")));
    let cheat = server.json(&format!("/wallet?account={}", name(CHEAT))).await;
    assert_eq!(cheat["slashed"], "500");
    let nobody = server.json(&format!("/wallet?account={}", name([77; 32]))).await;
    assert_eq!((&nobody["free"], &nobody["member"]), (&json!("0"), &Value::Null));
}

#[tokio::test]
async fn changes_of_a_balance_name_their_extrinsics() {
    let server = Server::filled().await;
    let history = server.json(&format!("/wallet/history?account={}", name(TRAINER))).await;
    let item = &history["items"][0];
    assert_eq!((&item["kind"], &item["amount"]), (&json!("received"), &json!("7.666666666667")));
    let extrinsic = &item["extrinsic"];
    assert_eq!(
        (&extrinsic["pallet"], &extrinsic["call"], &extrinsic["fee"], &extrinsic["signer"]),
        (&json!("Rewards"), &json!("claim"), &json!("0.001"), &json!(name(TRAINER)))
    );
    let fee = &history["items"][1];
    assert_eq!((&fee["kind"], &fee["amount"]), (&json!("fee"), &json!("0.001")));
    assert_eq!(&fee["extrinsic"], extrinsic);
}

#[tokio::test]
async fn rewards_name_their_pools_and_their_ends() {
    let server = Server::filled().await;
    let rewards = server.json("/rewards?round=1&order=oldest").await;
    let items = rewards["items"].as_array().unwrap();
    let state = |account: [u8; 32]| {
        items.iter().find(|item| item["account"] == name(account)).unwrap()["state"].clone()
    };
    assert_eq!(state(TRAINER), "claimed");
    assert_eq!(state(VALIDATOR), "unclaimed");
    assert_eq!(state(PROVIDER), "forfeited");
    let training = &items[0];
    assert_eq!((&training["weights"], &training["pool"]), (&json!("1395000"), &json!("7")));
    let of_account = server.json(&format!("/rewards?account={}", name(TRAINER))).await;
    assert_eq!(of_account["items"].as_array().unwrap().len(), 2);
    let both = server.json(&format!("/rewards?account={}&round=2", name(TRAINER))).await;
    assert_eq!(both["items"], json!([]));
    let rounds = server.json("/rewards/rounds").await;
    assert_eq!(rounds["items"][0]["emitted"]["total"], "10.5");
    assert_eq!(rounds["items"][0]["settled"]["validators"], json!({"amount": "2", "weight": "3"}));
}

#[tokio::test]
async fn totals_and_earners_are_sums() {
    let server = Server::filled().await;
    let totals = server.json("/rewards/totals").await;
    let part = |name: &str| totals[name].as_str().unwrap().parse::<f64>().unwrap();
    let difference = part("emitted") + part("seized") - part("paid") - part("burned");
    assert!((difference - part("waiting")).abs() < 1e-9, "{totals}");
    assert!(totals["as_of"].is_object());
    let history = server.json("/rewards/totals/history").await;
    assert_eq!(history["items"][0]["emitted"], totals["emitted"]);
    let earners = server.json("/rewards/earners?rounds=5").await;
    assert_eq!(earners["rounds"], json!({"from": 1, "to": 1}));
    let first = &earners["items"][0];
    assert_eq!(
        (&first["account"], &first["total"]),
        (&json!(name(TRAINER)), &json!("7.666666666666"))
    );
    assert_eq!(earners["items"].as_array().unwrap().len(), 3);
}

/// Returns an amount in units of 10⁻¹² POL.
fn units(amount: &Value) -> u128 {
    let text = amount.as_str().unwrap();
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    whole.parse::<u128>().unwrap() * 10u128.pow(12)
        + format!("{rest:0<12}").parse::<u128>().unwrap()
}

#[tokio::test]
async fn explanations_of_past_rewards_add_up() {
    let server = Server::filled().await;
    for (account, state) in
        [(TRAINER, "claimed"), (VALIDATOR, "unclaimed"), (PROVIDER, "forfeited")]
    {
        let path = format!("/rewards/explanation?account={}&round=1", name(account));
        let reward = server.json(&path).await;
        assert_eq!((&reward["state"], &reward["source"]), (&json!(state), &json!("index")));
        let parts = reward["parts"].as_array().unwrap();
        let sum: u128 = parts.iter().map(|part| units(&part["amount"])).sum();
        assert_eq!(sum, units(&reward["total"]), "{reward:#}");
        for part in parts {
            let number = |name: &str| part[name].as_str().unwrap().parse::<u128>().unwrap();
            let share = units(&part["pool"]) * number("weight") / number("weights");
            assert_eq!(share, units(&part["amount"]), "{part:#}");
            assert!(part["sentence"].as_str().unwrap().len() > 40, "{part:#}");
        }
        assert_eq!(reward["text"].as_array().unwrap().len(), parts.len() + 1);
    }
    let path = format!("/rewards/explanation?account={}&round=1", name(TRAINER));
    let reward = server.json(&path).await;
    assert_eq!(reward["paid"], "7.666666666667");
    let training = &reward["parts"][0]["measured"];
    assert_eq!((&training["tokens"], &training["shards"]), (&json!(8_192), &json!(2)));
    let path = format!("/rewards/explanation?account={}&round=1", name(VALIDATOR));
    assert_eq!(server.json(&path).await["parts"][0]["measured"]["audits"], json!([7]));
}

#[tokio::test]
async fn penalties_name_their_causes() {
    let server = Server::filled().await;
    let all = server.json("/penalties").await;
    assert_eq!(
        (&all["items"][0]["cause"], &all["items"][0]["audit"]),
        (&json!("audit"), &json!(7))
    );
    for path in ["/penalties?audit=7".to_owned(), format!("/penalties?account={}", name(CHEAT))] {
        assert_eq!(server.json(&path).await["items"], all["items"], "{path}");
    }
    assert_eq!(server.json("/penalties?audit=8").await["items"], json!([]));
}
