// SPDX-License-Identifier: Apache-2.0

//! Time that the node takes to verify a pulse of the beacon in the runtime's WASM. Takes some
//! seconds. `cargo test --release -p pol-node --test beacon -- --nocapture` prints it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod common;

use codec::Encode;
use common::{Node, run};
use pol_primitives::beacon::{AwaitedPulse, bls::BeaconSecret};
use pol_runtime::{RuntimeCall, UncheckedExtrinsic};
use polkadot_sdk::{
    sp_core::bytes::to_hex, sp_io::hashing::twox_128,
    sp_runtime::transaction_validity::TransactionSource,
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Compute that `pallets/beacon/src/weights.rs` charges for a verification.
const CHARGED: Duration = Duration::from_millis(10);
/// Number of measurements.
const TRIES: usize = 60;
/// Round whose pulse the chain waits for.
const ROUND: u64 = 1_000;

/// Returns an answer of the node.
fn call(node: &Node, method: &str, parameters: Value) -> Value {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": parameters });
    let body = body.to_string();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, node.port)).unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, answer) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str::<Value>(answer).unwrap()["result"].take()
}

/// Writes the specification of a development chain that waits for a pulse from the first block on.
fn waiting_chain(folder: &Path) -> PathBuf {
    let spec = run(&["export-chain-spec", "--chain", "dev", "--raw"]).stdout;
    let mut spec: Value = serde_json::from_slice(&spec).unwrap();
    let key = [twox_128(b"Beacon"), twox_128(b"AwaitedPulse")].concat();
    let awaited = AwaitedPulse { round: ROUND, until: u32::MAX, randomness: None };
    spec["genesis"]["raw"]["top"][to_hex(&key, false)] = json!(to_hex(&awaited.encode(), false));
    let path = folder.join("spec.json");
    fs::write(&path, spec.to_string()).unwrap();
    path
}

/// Returns the shortest time in which the node answers if the transaction with the pulse `signed`
/// for a round is valid as that of `round`. The answer has to be `expected`.
fn shortest(node: &Node, genesis: &Value, round: u64, signed: u64, expected: bool) -> Duration {
    let signature = BeaconSecret::development().sign(signed).unwrap();
    let pulse = pallet_pol_beacon::Call::submit_pulse { round, signature };
    let transaction = UncheckedExtrinsic::new_bare(RuntimeCall::from(pulse));
    let block = polkadot_sdk::sp_core::bytes::from_hex(genesis.as_str().unwrap()).unwrap();
    let arguments = [(TransactionSource::External, transaction).encode(), block].concat();
    let parameters =
        json!(["TaggedTransactionQueue_validate_transaction", to_hex(&arguments, false), genesis]);
    let time = |_| {
        let start = Instant::now();
        let answer = call(node, "state_call", parameters.clone());
        let time = start.elapsed();
        // The first byte of a `Result`.
        assert_eq!(answer.as_str().unwrap().starts_with("0x00"), expected, "{answer}");
        time
    };
    (0..TRIES).map(time).min().unwrap()
}

#[test]
fn a_verification_takes_less_than_it_is_charged() {
    let folder = tempfile::tempdir().unwrap();
    let spec = waiting_chain(folder.path());
    let node = Node::start(spec.to_str().unwrap(), &folder.path().join("base"));
    let genesis = call(&node, "chain_getBlockHash", json!([0]));
    let refused = shortest(&node, &genesis, ROUND + 1, ROUND, false);
    let valid = shortest(&node, &genesis, ROUND, ROUND, true);
    let forged = shortest(&node, &genesis, ROUND, ROUND + 1, false);
    println!("refused before verification: {refused:?}; valid: {valid:?}; forged: {forged:?}");
    for verified in [valid, forged] {
        // Host functions of a debug build are many times slower.
        let time = verified.saturating_sub(refused);
        assert!(cfg!(debug_assertions) || time < CHARGED, "{time:?}");
    }
}
