// SPDX-License-Identifier: Apache-2.0

//! A stranger who replays updates, without an account.

use crate::{deceivers::start_swarm, harness::Network};
use pol_chain::{AccountId, Call, Chain, Signer, format_account};
use pol_engine::{Feedback, Trace, TrainingState};
use pol_primitives::{
    RoundNumber,
    audit::{Audit, AuditId, LeafProof, StateProof},
    lease::Lease,
    member::Role,
    recipe::{Recipe, Tier},
    round::Phase,
    submission::{Reveal, TrainingClaims},
};
use pol_swarm::Swarm;
use serde_json::Value;
use std::{future::Future, process::Output, time::Duration};
use tokio::runtime::Runtime;

/// Pause between two looks at the chain.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Development account of the trainer that trains nothing, and shows all that audits ask for.
const CHEAT: &str = "//Trainer//9";
/// Account that never had an update.
const NOBODY: &str = "//Trainer//7";

#[test]
fn a_stranger_tells_honest_updates_from_others() {
    let network = Network::new();
    let node = network.ready_node();
    let data = network.prepare(5);
    let validator = network.validator(&data);
    network.wait_for_model(&[&node, &validator]);
    let trainer = network.member("trainer-1", &["--tier", "whale"]);

    let runtime = Runtime::new().unwrap();
    let chain = runtime.block_on(network.chain());
    let swarm = runtime.block_on(start_swarm(&network, 4));
    let cheat = Cheat { chain: chain.clone(), signer: Signer::from_uri(CHEAT).unwrap(), swarm };
    let cheating = runtime.spawn(async move { cheat.take_part().await });

    let honest = Signer::from_uri("//Trainer//1").unwrap().account();
    let cheater = Signer::from_uri(CHEAT).unwrap().account();
    let (round, segments) = runtime.block_on(within(300, drawn(&chain, cheater)));
    let (seen, unseen) = (segments[0], (0..).find(|unseen| !segments.contains(unseen)).unwrap());
    let undrawn = verify(&network, round, cheater, &format!("--segment={unseen}"));
    assert_eq!(undrawn["verdict"], "unavailable", "{undrawn:#}");
    assert!(undrawn["reason"].as_str().unwrap().contains("was not drawn"), "{undrawn:#}");
    let found = verify(&network, round, cheater, &format!("--segment={seen}"));
    assert_eq!(found["verdict"], "mismatch", "{found:#}");
    assert!(found["reason"].as_str().unwrap().contains("ends in another state"), "{found:#}");

    let (round, segments) = runtime.block_on(within(300, drawn(&chain, honest)));
    let verdict = verify(&network, round, honest, "--all-segments");
    check_match(&verdict, &segments);
    let old = runtime.block_on(within(300, settled(&chain, honest)));
    let old = verify(&network, old, honest, "--segment=0");
    assert_eq!(old["verdict"], "unavailable", "{old:#}");
    assert!(old["reason"].as_str().unwrap().contains("outcome Valid"), "{old:#}");
    let nobody = Signer::from_uri(NOBODY).unwrap().account();
    let none = try_verify(&network, 1, nobody, "--segment=0");
    assert!(none.stdout.is_empty() && !none.status.success());
    assert!(String::from_utf8_lossy(&none.stderr).contains("has no update for round 1"));
    cheating.abort();
    network.check_final_state([trainer, validator, node]);
}

/// Runs `verify`.
fn try_verify(network: &Network, round: RoundNumber, trainer: AccountId, what: &str) -> Output {
    let (round, trainer) = (round.to_string(), format_account(&trainer));
    network.try_run(&["verify", "--round", &round, "--trainer", &trainer, what, "--json"])
}

/// Runs `verify` and returns the verdict, which the exit code agrees with.
fn verify(network: &Network, round: RoundNumber, trainer: AccountId, what: &str) -> Value {
    let output = try_verify(network, round, trainer, what);
    let verdict: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    println!("{verdict}");
    assert_eq!(output.status.success(), verdict["verdict"] == "match", "{verdict:#}");
    verdict
}

/// Checks the verdict on an honest update of which these segments were drawn.
fn check_match(verdict: &Value, segments: &[u16]) {
    assert_eq!(verdict["verdict"], "match", "{verdict:#}");
    assert_eq!(verdict["packed"], true, "{verdict:#}");
    let replayed = verdict["segments"].as_array().unwrap();
    let numbers: Vec<_> = replayed.iter().map(|segment| segment["segment"].as_u64()).collect();
    let drawn: Vec<_> = segments.iter().map(|segment| Some((*segment).into())).collect();
    assert_eq!(numbers, drawn, "{verdict:#}");
    assert!(replayed.iter().all(|segment| segment["opened"] == segment["replayed"]));
}

/// Returns the result of `work`, which ends within a time.
async fn within<T>(seconds: u64, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(seconds), work).await.expect("the network goes on")
}

/// Waits for an audit of an update of `trainer`, and returns the round and the drawn segments.
async fn drawn(chain: &Chain, trainer: AccountId) -> (RoundNumber, Vec<u16>) {
    loop {
        for (_, audit) in chain.audits().await.unwrap() {
            if let Some(case) = audit.case(&trainer).filter(|case| !case.settled && !case.opened) {
                return (audit.round, case.segments.to_vec());
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Waits for a settled update of `trainer`, and returns its round.
async fn settled(chain: &Chain, trainer: AccountId) -> RoundNumber {
    loop {
        let newest = chain.overview().await.unwrap().round.number;
        for round in 1..=newest {
            let history = chain.history(round).await.unwrap();
            let is_valid = |stays: bool, account| stays && account == trainer;
            if history.iter().any(|(account, record)| is_valid(record.outcome.stays(), *account)) {
                return round;
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// A trainer that trains nothing. Its trace consists of states, so that it can answer audits.
struct Cheat {
    chain: Chain,
    signer: Signer,
    swarm: Swarm,
}

impl Cheat {
    /// Gets an update into the model, and answers its audits until the task ends.
    async fn take_part(self) {
        let (lease, recipe) = self.join().await;
        let base = pol_model::initial_parameters(&recipe.model, &recipe.seed);
        let base = self.model_of(&lease, base).await;
        let states = invented_states(&recipe, &lease, &base);
        let trace = Trace::from_leaves(states.iter().map(TrainingState::leaf).collect()).unwrap();
        let mut last = states.last().unwrap().clone();
        let payload = pol_engine::pack(&recipe, &base, &mut last).unwrap().encode();
        let payload_hash = self.swarm.add(payload.into(), "payload").await.unwrap();
        self.reveal(
            &lease,
            Reveal {
                payload_hash,
                trace_root: trace.root(),
                carry_hash: last.carry().hash(),
                steps: recipe.tier(lease.tier).inner_steps,
                first_leaf: trace.proof(0).unwrap(),
                salt: [1; 32],
            },
        )
        .await;
        loop {
            for (id, audit) in self.chain.audits().await.unwrap_or_default() {
                self.answer(id, &audit, &states, &trace).await;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Bonds and joins a round.
    async fn join(&self) -> (Lease, Recipe) {
        let (role, endpoint) = (Role::Trainer, self.swarm.endpoint());
        let bond = Call::Bond { role, amount: role.minimum_bond() };
        self.chain.submit(&self.signer, bond).await.unwrap();
        self.chain.submit(&self.signer, Call::SetEndpoint { endpoint }).await.unwrap();
        // Refused while joining is closed.
        let join = Call::JoinRound { tier: Tier::Whale };
        while self.chain.submit(&self.signer, join.clone()).await.is_err() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        let lease = self.chain.lease(&self.signer.account()).await.unwrap().unwrap();
        let recipe = self.chain.recipe_by_hash(&lease.recipe).await.unwrap().unwrap();
        (lease, recipe)
    }

    /// Returns the parameters that a lease starts from: the `initial` ones, or those of a member.
    async fn model_of(&self, lease: &Lease, initial: Vec<f32>) -> Vec<f32> {
        if pol_model::hash_values(&initial) == lease.base_root {
            return initial;
        }
        let members = self.chain.members().await.unwrap();
        let own = self.swarm.endpoint().id;
        let peers: Vec<_> = members
            .into_iter()
            .filter_map(|member| member.endpoint)
            .filter(|peer| peer.id != own)
            .collect();
        let (most, end) = (4 * initial.len() as u64, tokio::time::Instant::now().into_std());
        let deadline = end + Duration::from_secs(30);
        let bytes = self.swarm.fetch(lease.base_root, most, &peers, "base", deadline).await;
        pol_engine::parameters_from_bytes(&bytes.unwrap(), initial.len()).unwrap()
    }

    /// Commits to a reveal, and opens it.
    async fn reveal(&self, lease: &Lease, reveal: Reveal) {
        let (round, claims) = (lease.due_round, TrainingClaims::default());
        let (account, genesis) = (self.signer.account(), self.chain.genesis_hash());
        let commitment = reveal.commitment(&account, &genesis, round);
        let commit = Call::Commit { round, commitment, claims };
        self.chain.submit(&self.signer, commit).await.unwrap();
        while self.chain.overview().await.unwrap().round.phase != Phase::Reveal {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        self.chain.submit(&self.signer, Call::Reveal { round, reveal }).await.unwrap();
    }

    /// Shows the states that an audit asks for, and opens the ends.
    async fn answer(
        &self,
        id: AuditId,
        audit: &Audit<AccountId>,
        states: &[TrainingState],
        trace: &Trace,
    ) {
        let Some(case) = audit.case(&self.signer.account()) else { return };
        let proof = |leaf: u16| trace.proof(leaf.into()).unwrap();
        let call = if !case.served {
            let mut shown = Vec::new();
            for leaf in case.served_leaves() {
                let full = &states[usize::from(leaf)];
                let blobs = full.blobs().unwrap().into_iter();
                let blobs = blobs.map(|blob| blob.into_owned().into()).collect();
                self.swarm.add_all(blobs, "states").await.unwrap();
                shown.push(StateProof { state: full.trace_state(leaf), proof: proof(leaf) });
            }
            Call::ServeStates { audit: id, states: shown.try_into().unwrap() }
        } else if !case.opened {
            let end = |leaf: u16| {
                let digest = states[usize::from(leaf)].leaf();
                LeafProof { digest, proof: proof(leaf) }
            };
            let ends: Vec<_> = case.opened_leaves().into_iter().map(end).collect();
            Call::OpenSegments { audit: id, ends: ends.try_into().unwrap() }
        } else {
            return;
        };
        // Refused in other stages.
        let _ = self.chain.submit(&self.signer, call).await;
    }
}

/// Returns states at all boundaries of a lease in which every parameter moves by a little, with the
/// steps that training would take.
fn invented_states(recipe: &Recipe, lease: &Lease, base: &[f32]) -> Vec<TrainingState> {
    let steps = u64::from(recipe.steps_per_segment(lease.tier));
    let state = |segment: u16| TrainingState {
        parameters: base.iter().map(|value| value - 0.0005 * f32::from(segment)).collect(),
        first_moment: vec![0.0; base.len()],
        second_moment: vec![0.0; base.len()],
        feedback: Feedback::zeros(base.len()),
        steps: u64::from(segment) * steps,
    };
    (0..=recipe.segments).map(state).collect()
}
