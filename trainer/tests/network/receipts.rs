// SPDX-License-Identifier: Apache-2.0

//! Texts of the chain's model over HTTP, and receipts of them that a stranger verifies with the
//! chain alone.

use crate::{
    harness::{Network, free_port},
    process::Process,
    training::Api,
};
use pol_chain::Signer;
use pol_primitives::Hash;
use pol_receipt::{Receipt, ReceiptFile};
use serde_json::json;
use std::{fs, path::Path};

/// Asks a server of the chain's model for texts with receipts, and verifies these with no model but
/// the chain's. Members of the network serve the model meanwhile.
pub(crate) fn check(network: &Network) {
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = network.trainer();
    command.args(["serve", "--listen", &address, "--receipts", "--dev-account", "alice"]);
    command.args(["--older", "2"]);
    let served = Process::start(&mut command, network.path("serve-receipts.log"));
    served.wait_for("http://127.0.0.1", 0, 120);
    let api = Api::at(address);

    let request = json!({"prompt": "The king", "max_tokens": 12, "seed": 7, "receipt": true});
    let answer = api.ask("POST", "/generate", &request);
    let fingerprint = answer["system_fingerprint"].as_str().unwrap();
    let (root, numerics) = fingerprint.split_once('/').unwrap();
    assert_eq!(numerics, "pol-generate/native/1/exact");
    let models = api.get("/v1/models");
    let cards = models["data"].as_array().unwrap();
    let card = cards.iter().find(|card| card["root"] == root).unwrap();
    assert_eq!(head_root(network, card["round"].as_u64().unwrap()), root);
    // A newer head that comes meanwhile changes nothing for who names this one.
    let completion = json!({"model": answer["model"], "prompt": "The king", "max_tokens": 3});
    let named = api.ask("POST", "/v1/completions", &completion);
    assert_eq!(named["system_fingerprint"], fingerprint, "{named}");
    assert_eq!(named["model"], answer["model"]);

    let path = network.path("receipt.json");
    fs::write(&path, answer["receipt"].to_string()).unwrap();
    let verified = network.run_json(&["verify-receipt", path.to_str().unwrap(), "--json"]);
    assert_eq!((&verified["verdict"], &verified["model"]), (&json!("match"), &json!(root)));
    assert_eq!(
        (&verified["again"], &verified["receipt"]["tokens"]),
        (&verified["receipt"], &json!(12))
    );
    for (change, reason) in [
        (other_chain as fn(&mut Receipt), "another chain"),
        (unknown_model, "none of the last"),
        (one_token_less, "does not make the text"),
    ] {
        falsify(&path, change);
        let refused = network.try_run(&["verify-receipt", path.to_str().unwrap()]);
        let error = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && error.contains(reason), "{reason}: {error}");
        fs::write(&path, answer["receipt"].to_string()).unwrap();
    }
    served.kill();
}

/// Returns the root of the head that ended `round`, in hexadecimal digits.
#[tokio::main(flavor = "current_thread")]
async fn head_root(network: &Network, round: u64) -> String {
    let chain = network.chain().await;
    let record = chain.round_record(round.try_into().unwrap()).await.unwrap().unwrap();
    format!("0x{}", hex::encode(record.head.unwrap().root))
}

fn other_chain(receipt: &mut Receipt) {
    receipt.generator.chain = Some([9; 32]);
}

fn unknown_model(receipt: &mut Receipt) {
    receipt.generator.model = [9; 32];
}

fn one_token_less(receipt: &mut Receipt) {
    receipt.tokens -= 1;
}

/// Writes the receipt at `path` again, changed and signed by its account.
fn falsify(path: &Path, change: impl FnOnce(&mut Receipt)) {
    let mut file = ReceiptFile::parse(&fs::read(path).unwrap()).unwrap();
    let signer = Signer::from_uri("//Alice").unwrap();
    change(&mut file.receipt);
    let sign = |digest: &Hash| signer.sign_message(digest);
    let signed = ReceiptFile::sign(file.receipt, signer.account(), sign);
    fs::write(path, signed.disclosing(file.disclosed).to_json().unwrap()).unwrap();
}
