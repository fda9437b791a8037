// SPDX-License-Identifier: Apache-2.0

use crate::{
    dashboard,
    deceivers::{deceive, start_swarm},
    harness::{Network, entries, figure},
};
use pol_chain::{Chain, Signer};
use pol_engine::TrainingState;
use pol_primitives::RoundNumber;
use pol_swarm::Swarm;
use serde_json::Value;
use std::time::Duration;
use tokio::{runtime::Runtime, task::JoinHandle};

/// Rewrite of the model: one feed-forward part becomes four experts.
const REWRITE: &str = r#"{"upcycle":{"experts":{"count":4,"active":2,"balance":10000,"z":1000}}}"#;
/// Development account of the trainer that trains nothing.
const DECEIVER: &str = "//Trainer//9";

#[test]
fn a_network_rewrites_its_model_and_trains_on() {
    let network = Network::new();
    let node = network.ready_node();
    let data = network.prepare(5);
    // A trainer that does not serve its states is found out soon.
    network.set_audits(8);
    let validator = network.validator(&data);
    network.wait_for_model(&[&node, &validator]);

    let runtime = Runtime::new().unwrap();
    let chain = runtime.block_on(network.chain());
    let (_swarm, deceiver) = start_deceiver(&network, &runtime, &chain);
    let first = network.member("trainer-1", &["--tier", "whale"]);
    let second = network.member("trainer-2", &["--tier", "miner"]);
    first.wait_for("leased", 0, 90);
    set_rewrite(&network);

    let summary = network.observe("180", &[&validator, &first, &second]);
    let rounds = entries(&summary, "rounds");
    let at = check_rewrite(rounds);
    let rewritten = rounds[at]["number"].as_u64().unwrap() as RoundNumber;
    let line =
        format!("model of round {rewritten} is {}", &rounds[at]["root"].as_str().unwrap()[..10]);
    for process in [&validator, &first, &second] {
        process.wait_for(&line, 0, 60);
    }

    let deceived = runtime.block_on(deceiver).unwrap();
    assert!(deceived < rewritten);
    check_outcomes(rounds);
    let excised = async {
        tokio::time::timeout(Duration::from_secs(120), excised_round(&chain, rewritten)).await
    };
    let excised = runtime.block_on(excised).expect("a later head takes the update out");
    assert_eq!(excised, deceived);
    let verified = network.run_json(&["verify-head", "--json"]);
    assert!(verified["round"].as_u64().unwrap() > rewritten.into());
    assert_eq!(verified["excised"], 1);
    dashboard::check_experts(&network);

    network.check_final_state([first, second, validator, node]);
}

/// Starts a trainer that gets an update into the model without training it. Returns its swarm and
/// the task that returns the round of the update.
fn start_deceiver(
    network: &Network,
    runtime: &Runtime,
    chain: &Chain,
) -> (Swarm, JoinHandle<RoundNumber>) {
    let recipe = runtime.block_on(chain.recipe()).unwrap().unwrap();
    let base = pol_model::initial_parameters(&recipe.model, &recipe.seed);
    let mut moved = TrainingState::fresh(base.iter().map(|value| value - 0.002).collect());
    let payload = pol_engine::pack(&recipe, &base, &mut moved).unwrap().encode();
    let swarm = runtime.block_on(start_swarm(network, 3));
    let payload = runtime.block_on(swarm.add(payload.into(), "payload")).unwrap();
    let (chain, endpoint) = (chain.clone(), swarm.endpoint());
    let deceiver = runtime.spawn(async move { deceive(&chain, DECEIVER, endpoint, payload).await });
    (swarm, deceiver)
}

/// Has governance set the rewrite, after a look at what it would change.
fn set_rewrite(network: &Network) {
    let arguments = ["recipe", "rewrite", REWRITE, "--json"];
    let shown = network.run_json(&arguments);
    assert_eq!(
        (&shown["set"], &shown["changes"]["experts"][1]["count"]),
        (&Value::Bool(false), &4.into())
    );
    assert_eq!(shown["changes"].as_object().unwrap().len(), 1);
    let set = network.run_json(&[&arguments[..], &["--set", "--dev-account", "alice"]].concat());
    assert_eq!((&set["set"], &set["hash"]), (&Value::Bool(true), &shown["hash"]));
}

/// Checks that one round rewrote the model, with training before and after. Returns its index.
fn check_rewrite(rounds: &[Value]) -> usize {
    let at = rounds.iter().position(|round| round["rewrite"].is_object()).unwrap();
    assert!(0 < at && at + 1 < rounds.len(), "it trained before and after: {rounds:#?}");
    assert_eq!(rounds.iter().filter(|round| round["rewrite"].is_object()).count(), 1);
    assert_eq!(rounds[at]["rewrite"], serde_json::from_str::<Value>(REWRITE).unwrap());
    assert!(
        entries(&rounds[at], "included").is_empty() && rounds[at]["tokens"] == 0,
        "{rounds:#?}"
    );
    let [start, before, after, end] = [
        figure(&rounds[0], "heldout_loss_before"),
        figure(&rounds[at], "heldout_loss_before"),
        figure(&rounds[at], "heldout_loss_after"),
        figure(&rounds[rounds.len() - 1], "heldout_loss_after"),
    ];
    assert!((before - after).abs() < 1e-4, "the model computes the same: {rounds:#?}");
    assert!(before < start && end < after - 0.005, "the loss goes on falling: {rounds:#?}");
    at
}

/// Checks that only the untrained update is taken out, of a model of another architecture than it
/// got into.
fn check_outcomes(rounds: &[Value]) {
    let deceiver = pol_chain::format_account(&Signer::from_uri(DECEIVER).unwrap().account());
    let (mut honest, mut deceiving) = (Vec::new(), Vec::new());
    for audit in rounds.iter().flat_map(|round| entries(round, "audits")) {
        let outcomes = if audit["trainer"] == *deceiver { &mut deceiving } else { &mut honest };
        outcomes.push(audit["outcome"].clone());
    }
    assert_eq!(deceiving, ["withheld"]);
    assert!(honest.len() >= 3 && honest.iter().all(|outcome| outcome == "valid"), "{rounds:#?}");
}

/// Waits for the first round from `round` on that takes an update out, and returns the round of
/// that update.
async fn excised_round(chain: &Chain, mut round: RoundNumber) -> RoundNumber {
    loop {
        match chain.round_record(round).await.unwrap().map(|record| record.excised) {
            Some(excised) if excised.is_empty() => round += 1,
            Some(excised) => return excised[0].round,
            None => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}
