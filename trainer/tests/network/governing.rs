// SPDX-License-Identifier: Apache-2.0

//! Commands of governance, on a chain with a sudo key and on one with a council: about three
//! minutes.

use crate::{harness::Network, mistakes::assert_refused};
use pol_chain::Signer;
use serde_json::Value;
use std::fs;

/// Lengths of phases that differ from those of a new chain.
const LENGTHS: &str =
    r#"{"join":2,"train":20,"reveal":8,"hold":8,"attest":20,"pause":5,"missed":3}"#;
/// Text of the log of a member that cannot measure models.
const UNMEASURED: &str = "are not measured";
/// Text of the log of a member that measured a model.
const MEASURED: &str = "measured in";

#[test]
fn commands_of_governance_are_compared_with_the_chain() {
    let network = Network::new();
    let node = network.ready_node();
    network.refuse_what_cannot_be_decided();

    let (texts, data) = (network.texts(), network.path("data"));
    network.ingest(&texts, &data);
    network.set_recipe(&data, 2);
    network.repeat_what_is_in_force();

    let recipe = network.another_recipe();
    let set = ["recipe", "set", "--dev-account", "alice", &recipe];
    assert_refused(&network, &set, "`pol-trainer data register`");
    network.govern(["data", "register"], &["--data", data.to_str().unwrap()]);
    assert_refused(&network, &set, "`pol-trainer data admit 1`");
    network.govern(["data", "admit"], &["0"]);
    let validator = network.validator(&data);
    network.wait_for_model(&[&node, &validator]);
    validator.wait_for(UNMEASURED, 0, 60);
    // The account of the validator, which takes nonces as well.
    network.govern(["data", "admit"], &["1"]);
    validator.wait_for(MEASURED, 0, 120);
    assert_eq!(validator.count(UNMEASURED), 1, "{}", validator.log());
    network.run(&set);

    let admit = network.run(&["data", "admit", "1", "--dev-account", "alice"]);
    assert_eq!(admit, "nothing is sent: manifest 1 is admitted already\n");
    let retire = ["data", "retire", "0", "--dev-account", "alice"];
    assert_eq!(network.run(&retire), "manifest 0 is retired\n");
    assert_eq!(network.run(&retire), "nothing is sent: manifest 0 is retired already\n");
    assert_refused(&network, &["data", "pause", "0", "--dev-account", "alice"], "for good");
    let beacon = fs::read_to_string(network.path("beacon.log")).unwrap();
    assert!(beacon.contains("waiting until the next draw of an audit"), "{beacon}");
    network.check_final_state([validator, node]);
}

impl Network {
    /// Checks that commands that cannot be decided about are refused with the remedy.
    fn refuse_what_cannot_be_decided(&self) {
        let motion = format!("0x{}", "07".repeat(32));
        for vote in ["approve", "reject"] {
            let vote = ["council", vote, &motion, "--dev-account", "alice"];
            assert_refused(self, &vote, "no such motion is open");
        }
        let admit = ["data", "admit", "7", "--dev-account", "alice"];
        assert_refused(self, &admit, "the chain has no manifest 7");
        let bob = ["recipe", "lengths", "--dev-account", "bob", LENGTHS];
        assert_refused(self, &bob, "which has a sudo key");
        assert_refused(self, &["keys", "show", "--dev-account", "nobody"], "there are alice, bob");
    }

    /// Checks that commands whose effect is in force send nothing.
    fn repeat_what_is_in_force(&self) {
        let before = self.nonce("//Alice");
        let alice = ["--dev-account", "alice"];
        let lengths = self.run(&[&["recipe", "lengths", LENGTHS][..], &alice].concat());
        assert_eq!(lengths, "nothing is sent: these lengths are in force already\n");
        self.set_audits(20);
        let recipe = self.path("recipe.json");
        let set = ["recipe", "set", recipe.to_str().unwrap()];
        let set = self.run(&[&set[..], &alice].concat());
        assert!(set.starts_with("nothing is sent: recipe 0x"), "{set}");
        assert!(set.contains("but models are not measured"), "{set}");
        assert_eq!(self.nonce("//Alice"), before);
    }

    /// Writes a recipe of the same held-out text and returns its path.
    fn another_recipe(&self) -> String {
        let recipe = fs::read(self.path("recipe.json")).unwrap();
        let mut recipe: Value = serde_json::from_slice(&recipe).unwrap();
        assert!(recipe["held_out"].is_string(), "{recipe}");
        recipe["outer_rate"] = 900_000.into();
        let path = self.path("other.json");
        fs::write(&path, recipe.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Returns the nonce of a development account.
    #[tokio::main(flavor = "current_thread")]
    async fn nonce(&self, uri: &str) -> u32 {
        let account = Signer::from_uri(uri).unwrap().account();
        self.chain().await.nonce(&account).await.unwrap()
    }
}

#[test]
fn a_council_decides_once() {
    let network = Network::new();
    let node = network.lone_authority();
    network.wait("the node answers", 240, &[&node], |_| true);
    let decide =
        |member: &str| network.run(&["recipe", "lengths", "--dev-account", member, LENGTHS]);
    assert!(decide("alice").contains("1 of 2 votes"));
    let shown = network.run(&["council", "show"]);
    let lines = "ProofOfLearning.set_lengths\n  lengths:\n    join: 2\n    train: 20\n";
    assert!(shown.contains(lines), "{shown}");
    let shown = network.run_json(&["council", "show", "--json"]);
    let motion = &shown["motions"][0];
    assert_eq!(motion["call"]["arguments"]["lengths"]["join"], "2", "{shown}");
    let hash = motion["hash"].as_str().unwrap();
    for vote in ["approve", "reject"] {
        let vote = ["council", vote, hash, "--dev-account", "dave"];
        assert_refused(&network, &vote, "only its members decide");
    }
    assert!(decide("alice").contains("1 of 2 votes"), "a member has one vote");

    assert_eq!(decide("bob"), "lengths are set\n");
    for member in ["alice", "charlie"] {
        assert_eq!(decide(member), "nothing is sent: these lengths are in force already\n");
    }
    assert!(network.run(&["council", "show"]).contains("no motion is open"));
    let late = ["council", "reject", hash, "--dev-account", "charlie"];
    assert_refused(&network, &late, "no such motion is open");
}
