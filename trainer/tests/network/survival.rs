// SPDX-License-Identifier: Apache-2.0

use crate::{
    INCLUDED, api, dashboard, explaining,
    harness::{Network, entries, figure, has_model, head_round},
    process::Process,
    receipts,
    training::{self, API},
};
use serde_json::Value;
use std::{thread::sleep, time::Duration};

/// Options of the validator.
const VALIDATOR: [&str; 2] = ["--role", "validator"];
/// Text of the log of a validator that commits to an audit.
const COMMITTED_AUDIT: &str = "committed to the evidence of audit";
/// Text of the log of a validator that reveals an audit.
const REVEALED_AUDIT: &str = "revealed the evidence of audit";
/// Text of the log of a trainer that serves states to an audit.
const SERVED_STARTS: &str = "the starts of segments";
/// Text of the log of a trainer that opens segments to an audit.
const OPENED_ENDS: &str = "the ends of segments";
/// Text of the log of a trainer that has a new lease.
const LEASED: &str = ": leased ";
/// Text of the log of a trainer whose update is valid.
const VALID: &str = "found the update valid";

#[test]
fn a_network_trains_one_model_and_survives_its_members() {
    let network = Network::new();
    let node = network.ready_node();
    let indexing = network.index();
    let sources = network.prepare_from_services(2);
    let validator = network.member("alice", &VALIDATOR);
    network.wait_for_model(&[&node, &validator]);
    // The second trainer starts by a configuration. It keeps only the start and the end of its
    // training, and trains again what audits ask for.
    let first = network.member("trainer-1", &["--tier", "whale"]);
    let second = network.configured_trainer();

    let summary = network.observe("150", &[&validator, &first, &second]);
    let rounds = entries(&summary, "rounds");
    check_learning(rounds);
    check_measurements(rounds);
    check_claims(&network, &[&node, &validator, &first, &second]);
    check_audits_and_rewards(&summary);
    for process in [&validator, &first, &second] {
        process.wait_for("claimed", 0, 60);
    }
    explaining::check(&network);
    sources.check_order(&network, rounds);
    sources.check_consumption(&network);
    sources.check_page(&network, rounds);

    let mut first = kill_trainer_in_audit(&network, &[&node, &validator, &second], first);
    let (node, head) = kill_node(&network, node, &[&validator, &first, &second]);
    let validator = kill_validator_in_audit(&network, validator);

    let late = join_late(&network);
    late.wait_for(VALID, 0, 120);

    let verified = network.run_json(&["verify-head", "--json"]);
    assert!(verified["round"].as_u64().unwrap() > head);
    assert!(verified["updates"].as_u64().unwrap() >= 2 * head);
    for process in [&first, &second, &late, &validator] {
        check_all_valid(process);
    }
    indexing.check(&network);
    api::check(&network, &node);
    receipts::check(&network);
    let node = dashboard::check(&network, node, &first);
    training::check(&network, &mut first, &[&second, &late, &validator, &node]);
    let members = [first, second, late, validator, sources.end(), node];
    let report = network.check_final_state(members);
    assert_eq!(report["addsUp"], true);
}

/// Checks that every round has a model of its own and the loss falls.
fn check_learning(rounds: &[Value]) {
    assert_eq!(rounds.len(), 3);
    let mut roots: Vec<_> = rounds.iter().map(|round| round["root"].as_str().unwrap()).collect();
    roots.sort_unstable();
    roots.dedup();
    assert_eq!(roots.len(), 3, "every round has a model of its own");
    let (before, after) =
        (figure(&rounds[0], "heldout_loss_before"), figure(&rounds[2], "heldout_loss_after"));
    assert!(after < before - 0.1, "the model learns: {rounds:#?}");
    assert!(
        rounds.iter().any(|round| entries(round, "included").len() == 2),
        "both trainers are included: {rounds:#?}"
    );
}

/// Checks that validators measured the models and found the observer's loss.
fn check_measurements(rounds: &[Value]) {
    let measured: Vec<_> = rounds.iter().filter(|round| round["measured"].is_object()).collect();
    assert!(!measured.is_empty(), "{rounds:#?}");
    for round in measured {
        let (metrics, loss) = (&round["measured"], figure(round, "heldout_loss_after"));
        assert!((figure(metrics, "loss") - loss * 1e6).abs() < 2.0, "{round:#}");
        assert!(
            metrics["calibrationError"].as_u64().is_some_and(|error| error < 1_000_000),
            "{round:#}"
        );
        assert_eq!(
            (&metrics["selfAwareness"], &metrics["level"]),
            (&Value::Null, &Value::Null),
            "the model predicts no losses of its own"
        );
    }
}

/// Checks that the metrics that trainers claim agree with those of validators.
fn check_claims(network: &Network, processes: &[&Process]) {
    let claimed = |status: &Value| {
        status["claims"].as_array().is_some_and(|all| all.iter().any(|claim| claim["off"] == false))
    };
    let status = network.wait("claims are what validators found", 90, processes, claimed);
    assert!(entries(&status, "claims").iter().all(|claim| claim["off"] != true), "{status:#}");
    assert!(status["measured"]["share"].as_u64() >= Some(670_000), "{status:#}");
}

/// Checks that every update was replayed, found valid and paid for.
fn check_audits_and_rewards(summary: &Value) {
    let rounds = entries(summary, "rounds");
    for round in rounds {
        let audits = entries(round, "audits");
        assert_eq!(audits.len(), entries(round, "included").len(), "{round:#}");
        assert!(audits.iter().all(|audit| audit["outcome"] == "valid"), "{round:#}");
    }
    let scored = |round: &Value| {
        entries(round, "audits").iter().any(|audit| audit["score"].as_f64() > Some(0.0))
    };
    assert!(rounds.iter().any(scored), "an update that learns scores: {rounds:#?}");
    let balance = |name: &str| summary["rewards"][name].as_str().unwrap().parse::<u128>().unwrap();
    assert_eq!(
        balance("emitted") + balance("seized"),
        balance("paid") + balance("burned") + balance("waiting")
    );
    assert_eq!(balance("seized"), 0);
}

/// Kills a trainer while one of its updates is audited, most likely with a lease. It goes on where
/// it was.
fn kill_trainer_in_audit(network: &Network, others: &[&Process], trainer: Process) -> Process {
    trainer.wait_for_next(SERVED_STARTS, 90);
    let opened = trainer.count(OPENED_ENDS);
    let before = head_round(&network.status().unwrap());
    trainer.kill();
    let trainer = network.member("trainer-1", &[&["--tier", "whale"][..], &API].concat());
    trainer.wait_for(OPENED_ENDS, opened, 90);
    let processes = [others, &[&trainer]].concat();
    network.wait("the head moves after a trainer was killed", 150, &processes, |status| {
        head_round(status) > before + 1
    });
    trainer
}

/// Kills the node for a while. The members go on when it is back. Returns the node and the round of
/// the head at which it came back.
fn kill_node(network: &Network, node: Process, members: &[&Process]) -> (Process, u64) {
    node.kill();
    sleep(Duration::from_secs(4));
    let node = network.node();
    let before = head_round(&network.wait("the node answers again", 60, &[&node], has_model));
    let processes = [members, &[&node]].concat();
    network.wait("the head moves after the node was killed", 200, &processes, |status| {
        head_round(status) > before + 1
    });
    for member in members {
        // The API of a member asks the member's client, so that the loss is told once.
        let told = ["lost the node", "following the node again"].map(|text| member.count(text));
        assert_eq!(told, [1, 1], "of one loss: {}", member.log());
    }
    (node, before)
}

/// Starts a trainer on a machine that has the key of a proxy only.
fn start_proxy(network: &Network, nodes: &str) -> Process {
    let [account, proxy] = ["trainer-3", "charlie"]
        .map(|name| network.run(&["keys", "show", "--dev-account", name]).trim().to_owned());
    let options = ["--tier", "participant", "--node", nodes, "--proxy-for", &account];
    let refusal = network.member("charlie", &options).wait_failure(60);
    assert!(refusal.contains("keys authorise"), "{refusal}");
    let authorise = ["keys", "authorise", &proxy, "--dev-account", "trainer-3"];
    network.run(&[&authorise[..], &["--bond", "trainer", "--fund", "10"]].concat());
    // The proxy cannot raise the bond itself.
    network.run(&[&authorise[..], &["--raise-bond", "4000"]].concat());
    let proxies = network.run(&["keys", "proxies", &account]);
    assert!(proxies.contains(&proxy), "{proxies}");
    network.member("charlie", &options)
}

/// Lets a late member fetch the model from its peers and take part, by a proxy. Its own node dies
/// while it has a lease. It goes on with another one, and the lease is not lost.
fn join_late(network: &Network) -> Process {
    let (own_node, nodes) = network.follower();
    let late = start_proxy(network, &nodes);
    late.wait_for(LEASED, 0, 200);
    own_node.kill();
    late.wait_for("using this node from now on", 0, 60);
    late.wait_for(INCLUDED, 0, 120);
    let log = late.log();
    let (until, _) = log.split_once(INCLUDED).unwrap();
    assert_eq!(until.matches(LEASED).count(), 1, "{log}");
    late
}

/// Kills a validator between commitment and reveal. It reveals what it committed to.
fn kill_validator_in_audit(network: &Network, validator: Process) -> Process {
    validator.wait_for_next(COMMITTED_AUDIT, 90);
    let revealed = validator.count(REVEALED_AUDIT);
    validator.kill();
    let validator = network.member("alice", &VALIDATOR);
    validator.wait_for(REVEALED_AUDIT, revealed, 90);
    validator
}

/// Checks that a member saw valid updates only, whatever was killed.
fn check_all_valid(process: &Process) {
    let log = process.log();
    assert!(log.contains(VALID) || log.contains("settled: Valid"), "{log}");
    let complaints = ["is not what its lease gives", "did not get to see", "no result"];
    assert!(!complaints.iter().any(|complaint| log.contains(complaint)), "{log}");
}
