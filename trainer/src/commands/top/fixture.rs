// SPDX-License-Identifier: Apache-2.0

//! A network in the middle of a round, for tests.

use super::{
    facts::{AccountFacts, Facts},
    history::History,
};
use crate::options::dev_uri;
use pol_chain::{
    AccountBalance, AccountId, BlockContent, BlockEvent, BlockInfo, ChainEvent, Signer,
};
use pol_primitives::{
    POL, RoundNumber,
    audit::{Audit, AuditId, Case, Stage},
    head::Head,
    member::{Endpoint, Role},
    metrics::{HeadMeasurement, ModelMetrics},
    queries::{Member, Overview, PendingReward},
    rewards::Ledger,
    round::{Phase, Round, RoundConfig},
    submission::Outcome,
};

/// Returns a development account.
pub(super) fn account(name: &str) -> AccountId {
    Signer::from_uri(&dev_uri(name).unwrap()).unwrap().account()
}

fn member(name: &str, role: Role) -> Member<AccountId> {
    Member {
        account: account(name),
        role,
        bond: role.minimum_bond(),
        locked: 0,
        bonded: true,
        chilled: false,
        absent: false,
        endpoint: Some(Endpoint { id: [1; 32], addresses: Default::default() }),
    }
}

fn overview() -> Overview {
    Overview {
        height: 200,
        now: 200,
        round: Round {
            number: 7,
            phase: Phase::Train,
            phase_since: 175,
            deadline: Some(275),
            due: 2,
            committed: 1,
            ..Round::default()
        },
        config: RoundConfig::default(),
        head: Some(Head {
            round: 6,
            root: [0xab; 32],
            recipe_hash: [0; 32],
            tokens: 491_520,
            lineage_hash: [0; 32],
        }),
        recipe_hash: None,
        free_shards: 96,
        validator_stake: 15_000 * POL,
    }
}

fn audit() -> (AuditId, Audit<AccountId>) {
    let case = |name: &str, served, settled| Case {
        trainer: account(name),
        index: 0,
        segments: Default::default(),
        trace_segments: 4,
        seats: Default::default(),
        earlier: Default::default(),
        served,
        opened: false,
        settled,
    };
    let cases = vec![case("trainer-1", true, true), case("eve", true, false)];
    let audit = Audit {
        round: 5,
        draw: 0,
        seed: [0; 32],
        stage: Stage::Replay,
        since: 190,
        probe: Default::default(),
        holders: Default::default(),
        cases: cases.try_into().unwrap(),
    };
    (4, audit)
}

fn history() -> History {
    let [eve, trainer, alice] = ["eve", "trainer-1", "alice"].map(account);
    let outcome = Outcome::Invalid;
    let blocks = [
        (160, vec![ChainEvent::HeadReported { account: alice, round: 6 }]),
        (176, vec![ChainEvent::Leased { account: eve, due_round: 7, shards: 8 }]),
        (192, vec![ChainEvent::Committed { account: trainer, round: 7 }]),
        (
            199,
            vec![
                ChainEvent::Settled { audit: 3, account: eve, round: 4, outcome, score: 0 },
                ChainEvent::Seized { who: eve, amount: 900 * POL, to: alice },
            ],
        ),
    ];
    let mut history = History::default();
    for (number, events) in blocks {
        let parent = history.last().map_or([0; 32], |last| last.hash);
        let events = events.into_iter().map(|event| BlockEvent { extrinsic: None, event });
        assert!(history.push(&BlockContent {
            block: BlockInfo { number, hash: [number as u8; 32] },
            parent,
            time: 1_800_000_000_000 + u64::from(number) * 3_000,
            author: None,
            extrinsics: Vec::new(),
            events: events.collect(),
        }));
    }
    history
}

fn measurement(loss: u32) -> HeadMeasurement {
    let metrics = ModelMetrics {
        loss,
        auroc: Some(750_000),
        calibration_error: Some(100_000),
        utilisation: Some(900_000),
        reasoning: Some(250_000),
        ..ModelMetrics::default()
    };
    HeadMeasurement { metrics, share: 1_000_000 }
}

/// Returns a network in the train phase of round 7, in which eve was caught.
pub(super) fn facts() -> Facts {
    let losses = [9_026_400, 8_074_000, 7_072_000, 6_731_200, 6_502_000, 6_404_000];
    let rounds = 1..=losses.len() as RoundNumber;
    let mut eve = member("eve", Role::Trainer);
    (eve.bond, eve.bonded) = (100 * POL, false);
    Facts {
        best: BlockInfo { number: 200, hash: [200; 32] },
        finalised: 197,
        block_seconds: 3.0,
        overview: overview(),
        members: vec![member("trainer-1", Role::Trainer), eve, member("alice", Role::Authority)],
        audits: vec![audit()],
        ledger: Ledger {
            emitted: 62 * POL,
            seized: 900 * POL,
            paid: 46 * POL,
            burned: 450 * POL,
            waiting: 466 * POL,
        },
        measured: rounds.zip(losses.map(measurement)).collect(),
        account: Some(AccountFacts {
            account: account("trainer-1"),
            balance: AccountBalance { free: 8_000 * POL, held: 1_000 * POL, frozen: 0 },
            member: Some(member("trainer-1", Role::Trainer)),
            lease: None,
            rewards: vec![
                PendingReward { round: 6, amount: None, from: 8 },
                PendingReward { round: 4, amount: Some(5 * POL), from: 6 },
            ],
        }),
        history: history(),
    }
}

/// Returns a network without a model, members, or events.
pub(super) fn empty() -> Facts {
    Facts {
        overview: Overview { head: None, round: Round::default(), ..overview() },
        members: Vec::new(),
        audits: Vec::new(),
        measured: Default::default(),
        account: None,
        history: History::default(),
        ..facts()
    }
}
