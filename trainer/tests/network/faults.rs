// SPDX-License-Identifier: Apache-2.0

use crate::{
    INCLUDED, dashboard::ChainPages, deceivers::run_deceivers, harness::Network, process::Process,
};
use std::{fs, time::Duration};

#[test]
fn liars_damage_and_another_chain_are_survived() {
    let network = Network::new();
    let node = network.ready_node();
    let pages = ChainPages::start(&network);
    // Joining stays open long enough for the deceivers to share a round with the honest trainer.
    let data = network.prepare(5);
    let validator = network.validator(&data);
    let second = network.member("validator-1", &["--role", "validator"]);
    network.wait_for_model(&[&node, &validator, &second]);
    let trainer = network.member("trainer-1", &["--tier", "whale"]);
    trainer.wait_for("leased", 0, 60);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        tokio::time::timeout(Duration::from_secs(180), run_deceivers(&network))
            .await
            .expect("rounds go on in spite of deceivers")
    });

    let trainer = damage_carry(&network, trainer);
    pages.check_slash(&network);
    change_chain(&network, node, [trainer, validator, second]);
    for name in ["alice", "validator-1", "trainer-1", "node"] {
        let log = fs::read_to_string(network.path(&format!("{name}.log"))).unwrap();
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// Damages the optimiser state of a trainer. The trainer says so, goes on with a fresh one, and is
/// included again.
fn damage_carry(network: &Network, trainer: Process) -> Process {
    // The state that the next lease starts from is on disk once the trainer has committed.
    trainer.wait_for_next("committed", 90);
    trainer.kill();
    let carries: Vec<_> = fs::read_dir(network.path("trainer-1"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("carry-"))
        .collect();
    assert!(!carries.is_empty());
    for path in &carries {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    let trainer = network.member("trainer-1", &["--tier", "whale"]);
    trainer.wait_for_next("starting with a fresh one", 180);
    trainer.wait_for_next(INCLUDED, 200);
    trainer
}

/// Starts the chain anew. It is another chain, though its genesis is the same, and members refuse
/// to go on.
fn change_chain(network: &Network, node: Process, members: [Process; 3]) {
    node.kill();
    fs::remove_dir_all(network.path("node")).unwrap();
    let _node = network.node();
    for process in members {
        let message = process.wait_failure(90);
        assert!(message.contains("another chain"), "{message}");
    }
    let message = network.member("trainer-1", &["--tier", "whale"]).wait_failure(60);
    assert!(message.contains("--base-path"), "{message}");
}
