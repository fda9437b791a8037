// SPDX-License-Identifier: Apache-2.0

//! A made chain of nine blocks: one round, from the registration of its text to the claims.

use pol_chain::{AccountId, BlockInfo, format_account};
use pol_index::{BlockFacts, facts::*};
use pol_primitives::{
    POL,
    data::{ShardId, SourceKind},
    lineage::Activity,
    member::{Address, Endpoint, Role},
    recipe::Tier,
    round::Phase,
    submission::Outcome,
};

pub(crate) const TRAINER: AccountId = [1; 32];
pub(crate) const CHEAT: AccountId = [2; 32];
pub(crate) const VALIDATOR: AccountId = [3; 32];
pub(crate) const PROVIDER: AccountId = [5; 32];
pub(crate) const ROUND: u32 = 1;
pub(crate) const AUDIT: u32 = 7;
pub(crate) const HEAD: [u8; 32] = [0x20; 32];
pub(crate) const CONTENT: [u8; 32] = [0x10; 32];
pub(crate) const DOCUMENTS: [u8; 32] = [0x11; 32];

/// Returns the text of an account.
pub(crate) fn name(account: AccountId) -> String {
    format_account(&account)
}

/// Returns the text of a hash.
pub(crate) fn hex(hash: [u8; 32]) -> String {
    hash.iter().fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// Returns an empty block of a fork.
pub(crate) fn block_of(number: u32, fork: u8, parent: u8) -> BlockFacts {
    let hash = |number: u32, fork| {
        let mut hash = [fork; 32];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        hash
    };
    let parent = number.checked_sub(1).map_or([0; 32], |before| hash(before, parent));
    let author = (number > 0).then_some(VALIDATOR);
    let time = u64::from(number) * 3_000;
    BlockFacts::new(BlockInfo { number, hash: hash(number, fork) }, parent, time, author)
}

/// Returns the blocks of the chain.
pub(crate) fn blocks() -> Vec<BlockFacts> {
    let mut blocks: Vec<_> = (0..9).map(|number| block_of(number, 0, 0)).collect();
    let [genesis, lease, reveal, head, draw, settle, reward, claim, _] = &mut blocks[..] else {
        panic!("nine blocks");
    };
    register(genesis);
    train(lease, reveal);
    advance(head);
    audit(draw, settle);
    pay(reward, claim);
    blocks
}

fn register(block: &mut BlockFacts) {
    let (owner, licence) = (PROVIDER, "CC-BY-4.0".to_owned());
    let address = "https://example.org/books".to_owned();
    block.push(&SourceState { source: 0, owner, address, licence, withdrawn: false });
    for manifest in 0..2 {
        block.push(&ManifestState {
            manifest,
            source: 0,
            owner,
            stage: ManifestStage::Admitted,
            kind: Some(SourceKind::Web),
            shards: 10,
            shard_tokens: 4_096,
            held_out: manifest == 1,
            quality: 930_000,
            activity: Activity::Collection,
            content: if manifest == 0 { CONTENT } else { [0x12; 32] },
            tokenizer: [0x13; 32],
            documents: (manifest == 0).then_some(DOCUMENTS),
            registered: 0,
        });
    }
    block.push(&DerivedFrom { parent: 0, child: 1 });
    let endpoint = Endpoint {
        id: [9; 32],
        addresses: vec![Address::V4([127, 0, 0, 1], 4_433)].try_into().unwrap(),
    };
    for (account, role) in
        [(TRAINER, Role::Trainer), (CHEAT, Role::Trainer), (VALIDATOR, Role::Authority)]
    {
        block.push(&MemberState {
            account,
            role: Some(role),
            bond: 10_000 * POL,
            stake: (role == Role::Authority).then_some(10_000 * POL),
            bonded: true,
            chilled: false,
            absent: false,
            endpoint: (account == TRAINER).then(|| endpoint.clone()),
        });
        let free = 100 * POL + POL / 2;
        block.push(&AccountState { account, free, held: 10_000 * POL, frozen: 0 });
    }
}

fn train(lease: &mut BlockFacts, reveal: &mut BlockFacts) {
    lease.push(&PhaseStart { round: ROUND, phase: Phase::Train, deadline: Some(100) });
    for (number, account) in [(0, TRAINER), (1, CHEAT)] {
        let index = u32::from(number);
        let shards = vec![
            ShardId { manifest: 0, index: 2 * index },
            ShardId { manifest: 0, index: 2 * index + 1 },
        ];
        lease.push(&Lease { round: ROUND, account, granted: ROUND, tier: Tier::Miner, shards });
        let (first_loss, last_loss) = (3_310_000, 3_210_000);
        let round = ROUND;
        reveal.push(&Commit { round, account, first_loss, last_loss, tokens_per_second: 700 });
        let payload = [0x30 + number; 32];
        reveal.push(&Reveal { round, account, number, payload, steps: 20, tokens: 8_192 });
    }
}

fn advance(block: &mut BlockFacts) {
    block.push(&RoundEnd {
        round: ROUND,
        opened_at: 1,
        revealed: 2,
        included: 2,
        excised: 0,
        root: Some(HEAD),
        recipe: Some([0x21; 32]),
        lineage: Some([0x22; 32]),
        tokens: Some(16_384),
    });
    block.push(&Emission {
        round: ROUND,
        trainers: 7 * POL,
        validators: 2 * POL,
        providers: POL,
        treasury: POL / 2,
    });
    block.push(&Measurement {
        round: ROUND,
        share: 1_000_000,
        loss: 3_210_000,
        level: None,
        self_awareness: Some(310_000),
        auroc: Some(620_000),
        calibration_error: Some(20_000),
        reasoning: Some(0),
        introspection: None,
        coherence: None,
        meta_cognition: None,
        utilisation: None,
    });
}

fn audit(draw: &mut BlockFacts, settle: &mut BlockFacts) {
    let step = |kind, account| AuditStep {
        audit: AUDIT,
        kind,
        account,
        trainer: None,
        outcome: None,
        amount: None,
    };
    draw.push(&AuditDraw { audit: AUDIT, round: ROUND, draw: 0, cases: 2 });
    draw.push(&step(AuditStepKind::Drawn, None));
    for trainer in [TRAINER, CHEAT] {
        draw.push(&Seat { audit: AUDIT, trainer, validator: VALIDATOR });
        draw.push(&step(AuditStepKind::Shown, Some(trainer)));
    }
    settle.push(&step(AuditStepKind::Replayed, Some(VALIDATOR)));
    for (account, outcome) in [(TRAINER, Outcome::Valid), (CHEAT, Outcome::Invalid)] {
        let settled = step(AuditStepKind::Settled, Some(account));
        settle.push(&AuditStep { outcome: Some(outcome), ..settled });
        let is_valid = outcome == Outcome::Valid;
        settle.push(&Settlement {
            round: ROUND,
            account,
            outcome: Some(outcome),
            audit: Some(AUDIT),
            score: if is_valid { 1_500_000 } else { 0 },
            gain: if is_valid { 1_500_000 } else { -2_000 },
            tokens: 8_192,
            staleness: 0,
        });
    }
    for (shard, delta) in [(0, 120_000), (1, -20_000)] {
        let (manifest, round, account) = (0, ROUND, TRAINER);
        settle.push(&ConsumedShard { manifest, shard, round, account, delta });
    }
    let (account, cause) = (CHEAT, PenaltyCause::Audit);
    let (round, audit, amount) = (Some(ROUND), Some(AUDIT), 500 * POL);
    settle.push(&Penalty { account, cause, round, audit, amount, seized: true });
    settle.push(&step(AuditStepKind::Ended, None));
}

fn pay(reward: &mut BlockFacts, claim: &mut BlockFacts) {
    reward.push(&SettledRound {
        round: ROUND,
        unearned: 0,
        trainers: 7 * POL,
        trainers_weight: 1_395_000,
        validators: 2 * POL,
        validators_weight: 3,
        providers: POL,
        providers_weight: 100_000,
        improved: true,
    });
    for (account, source, weight, amount) in [
        (TRAINER, RewardSource::Training, 1_395_000, 7 * POL),
        (VALIDATOR, RewardSource::Seats, 2, 4 * POL / 3),
        (PROVIDER, RewardSource::Data, 100_000, POL),
        (TRAINER, RewardSource::Seats, 1, 2 * POL / 3),
    ] {
        reward.push(&Reward { round: ROUND, account, source, weight, amount });
    }
    claim.push(&Extrinsic {
        number: 3,
        hash: [0x40; 32],
        signer: Some(TRAINER),
        nonce: Some(4),
        pallet: "Rewards".into(),
        call: "claim".into(),
        fee: POL / 1_000,
        tip: 0,
        failure: None,
    });
    claim.push(&Movement {
        account: TRAINER,
        kind: MovementKind::Fee,
        amount: POL / 1_000,
        other: None,
        extrinsic: Some(3),
    });
    let amount = 7 * POL + 2 * POL / 3 + 1;
    claim.push(&Movement {
        account: TRAINER,
        kind: MovementKind::Received,
        amount,
        other: Some([8; 32]),
        extrinsic: Some(3),
    });
    let round = Some(ROUND);
    let kind = PaymentKind::Claimed;
    claim.push(&Payment { account: Some(TRAINER), kind, round, amount });
    let kind = PaymentKind::Forfeited;
    claim.push(&Payment { account: Some(PROVIDER), kind, round: None, amount: POL });
    let (emitted, seized) = (21 * POL / 2, 500 * POL);
    let (paid, burned) = (amount + POL / 2, 501 * POL);
    let waiting = emitted + seized - paid - burned;
    claim.push(&LedgerState { emitted, seized, paid, burned, waiting });
}
