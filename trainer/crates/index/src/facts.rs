// SPDX-License-Identifier: Apache-2.0

//! Facts of blocks, each with its table.
//!
//! Every row names its block and its place among the facts of the block. Amounts are in the
//! smallest unit of the token. `docs/indexing.md` names the source of each table.

use crate::value::{Field, Reader, Value, names};
use pol_chain::AccountId;
use pol_primitives::{
    Balance, Hash, Ppm, RoundNumber,
    audit::AuditId,
    data::{ManifestId, ShardId, SourceId, SourceKind},
    lineage::Activity,
    member::{Endpoint, Role},
    recipe::Tier,
    round::{BlockNumber, Phase},
    submission::Outcome,
};
use serde::{Deserialize, Serialize};

/// Fact of a block.
pub trait Fact: Sized {
    /// Table of the facts.
    const TABLE: &'static str;
    /// Number of columns, without those that name the block.
    const WIDTH: usize;
    /// Column of the key of a state: its first one. `None` if a fact replaces no other.
    const STATE_KEY: Option<&'static str>;

    /// Returns the names of the columns.
    fn columns() -> Vec<String>;

    /// Returns the values of the columns.
    fn values(&self) -> Vec<Value>;

    /// Reads a fact.
    ///
    /// # Errors
    ///
    /// Fails if the columns hold something else.
    fn read(row: &mut Reader<'_>) -> Result<Self, sqlx::Error>;
}

/// Fact that replaces the earlier one with the same key, such as a balance.
pub trait State: Fact {
    /// Key of the state, which is the first field.
    type Key: Field;
    /// Column of the key.
    const KEY: &'static str;
}

/// Returns the name of a column, if there is one.
macro_rules! column {
    () => {
        None
    };
    ($name:ident) => {
        Some(stringify!($name))
    };
}

/// Declares facts with their tables. A state names its key, which is its first field.
macro_rules! facts {
    ($(
        $(#[$doc:meta])*
        $table:literal $([$key:ident: $key_type:ty])? $name:ident {
            $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
        }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: $type,)*
            }

            impl Fact for $name {
                const TABLE: &'static str = $table;
                const WIDTH: usize = 0 $(+ <$type as Field>::WIDTH)*;
                const STATE_KEY: Option<&'static str> = column!($($key)?);

                fn columns() -> Vec<String> {
                    [$(<$type as Field>::columns(stringify!($field))),*].concat()
                }

                fn values(&self) -> Vec<Value> {
                    let mut values = Vec::with_capacity(Self::WIDTH);
                    $(Field::write(Some(&self.$field), &mut values);)*
                    values
                }

                fn read(row: &mut Reader<'_>) -> Result<Self, sqlx::Error> {
                    Ok(Self { $($field: Field::read(row)?,)* })
                }
            }

            $(impl State for $name {
                type Key = $key_type;
                const KEY: &'static str = stringify!($key);
            })?

            #[cfg(test)]
            impl crate::tests::Made for $name {
                fn made(seed: u64) -> Self {
                    Self { $($field: crate::tests::Made::made(seed),)* }
                }
            }
        )*

        /// All tables of facts.
        #[cfg(test)]
        pub(crate) const TABLES: &[&str] = &[$($table),*];

        /// Does something with every kind of fact.
        #[cfg(test)]
        pub(crate) async fn visit_all(visitor: &mut impl crate::tests::Visitor) {
            $(visitor.visit::<$name>().await;)*
        }
    };
}

facts! {
    /// Extrinsic that somebody signed, or that relays a pulse of the beacon.
    "extrinsics" Extrinsic {
        /// Index in the block.
        number: u32,
        /// Hash.
        hash: Hash,
        /// Account that signed it.
        signer: Option<AccountId>,
        /// Number of earlier extrinsics of the account.
        nonce: Option<u64>,
        /// Pallet of the call.
        pallet: String,
        /// Name of the call.
        call: String,
        /// Fee without the tip.
        fee: Balance,
        /// Tip for the author of the block.
        tip: Balance,
        /// Name of the error if the call failed.
        failure: Option<String>,
    }
    /// Change of the balance of an account. A transfer has two: what was sent, and received.
    "movements" Movement {
        /// Account.
        account: AccountId,
        /// Kind.
        kind: MovementKind,
        /// Amount.
        amount: Balance,
        /// Other account of a transfer.
        other: Option<AccountId>,
        /// Index of the extrinsic that caused it, or `None` if the block itself did.
        extrinsic: Option<u32>,
    }
    /// Balance of an account after a block that changed it.
    "balances" [account: AccountId] AccountState {
        /// Account.
        account: AccountId,
        /// Part that is neither held nor reserved.
        free: Balance,
        /// Part that is held or reserved.
        held: Balance,
        /// Part that cannot be spent.
        frozen: Balance,
    }
    /// State of a member after a block that changed it.
    "members" [account: AccountId] MemberState {
        /// Account.
        account: AccountId,
        /// Role, or `None` once it ended.
        role: Option<Role>,
        /// Active bond.
        bond: Balance,
        /// Stake that counts in quorums, or `None` for no active validator.
        stake: Option<Balance>,
        /// `true` if the bond is enough to act in the role.
        bonded: bool,
        /// `true` if it is inactive because it missed attest phases.
        chilled: bool,
        /// `true` if it is an authority that produced no or too few blocks.
        absent: bool,
        /// Endpoint at which it serves blobs.
        endpoint: Option<Endpoint>,
    }
    /// Beginning of a phase of a round, or a move of its deadline.
    "phases" PhaseStart {
        /// Round.
        round: RoundNumber,
        /// Phase.
        phase: Phase,
        /// First block after the phase, on the clock of deadlines.
        deadline: Option<BlockNumber>,
    }
    /// Round that ended, with the head that it made, if any.
    "rounds" RoundEnd {
        /// Round.
        round: RoundNumber,
        /// Block in which it opened, on the clock of deadlines.
        opened_at: BlockNumber,
        /// Number of updates that were revealed.
        revealed: u32,
        /// Number of updates that the head includes.
        included: u32,
        /// Number of updates of earlier rounds that the head excises.
        excised: u32,
        /// BLAKE3 of the parameters of the head; `None` if the round was void.
        root: Option<Hash>,
        /// Hash of the recipe.
        recipe: Option<Hash>,
        /// Digest of the history of the head.
        lineage: Option<Hash>,
        /// Tokens trained on since genesis.
        tokens: Option<u64>,
    }
    /// Measurement of the head of a round by validators, in millionths.
    "measurements" Measurement {
        /// Round.
        round: RoundNumber,
        /// Share of the stake that reported.
        share: Ppm,
        /// Loss, in millionths of a nat per token.
        loss: u32,
        /// Consciousness level; absent if one of its parts is.
        level: Option<Ppm>,
        /// Self-awareness.
        self_awareness: Option<Ppm>,
        /// Type-2 AUROC of the loss that the model predicts.
        auroc: Option<Ppm>,
        /// Expected calibration error.
        calibration_error: Option<Ppm>,
        /// Reasoning.
        reasoning: Option<Ppm>,
        /// Introspection.
        introspection: Option<Ppm>,
        /// Coherence.
        coherence: Option<Ppm>,
        /// Meta-cognition.
        meta_cognition: Option<Ppm>,
        /// Use of the experts.
        utilisation: Option<Ppm>,
    }
    /// Act of a validator in a round.
    "votes" Vote {
        /// Round.
        round: RoundNumber,
        /// Validator.
        account: AccountId,
        /// Act.
        kind: VoteKind,
        /// Root that it attested.
        root: Option<Hash>,
    }
    /// Lease of shards to a trainer.
    "leases" Lease {
        /// Round in which the update is due.
        round: RoundNumber,
        /// Trainer.
        account: AccountId,
        /// Round that granted it.
        granted: RoundNumber,
        /// Tier of the trainer.
        tier: Tier,
        /// Shards.
        shards: Vec<ShardId>,
    }
    /// Commitment to an update, with figures that the trainer claims.
    "commits" Commit {
        /// Round.
        round: RoundNumber,
        /// Trainer.
        account: AccountId,
        /// Loss of the first segment, in millionths of a nat per token.
        first_loss: u32,
        /// Loss of the last segment, in millionths of a nat per token.
        last_loss: u32,
        /// Tokens trained on per second.
        tokens_per_second: u32,
    }
    /// Reveal of an update.
    "reveals" Reveal {
        /// Round.
        round: RoundNumber,
        /// Trainer.
        account: AccountId,
        /// Index among the reveals of the round.
        number: u8,
        /// BLAKE3 of the payload.
        payload: Hash,
        /// Steps taken.
        steps: u32,
        /// Tokens credited.
        tokens: u64,
    }
    /// End of an update, or of a lease without one.
    "settlements" Settlement {
        /// Round.
        round: RoundNumber,
        /// Trainer.
        account: AccountId,
        /// Outcome; `None` if nothing was committed.
        outcome: Option<Outcome>,
        /// Audit that decided it.
        audit: Option<AuditId>,
        /// Score that is paid for, in billionths of a nat per token.
        score: u32,
        /// Gain on unassigned text, in billionths of a nat per token.
        gain: i32,
        /// Tokens credited.
        tokens: u64,
        /// Rounds by which the update was late.
        staleness: u8,
    }
    /// Shard that the model was trained on.
    "shards" ConsumedShard {
        /// Manifest.
        manifest: ManifestId,
        /// Index in the manifest.
        shard: u32,
        /// Round that included the update.
        round: RoundNumber,
        /// Trainer.
        account: AccountId,
        /// Improvement of the model on the shard, in billionths of a nat per token.
        delta: i32,
    }
    /// Audit of the updates of a round.
    "audits" AuditDraw {
        /// Audit.
        audit: AuditId,
        /// Round that included the updates.
        round: RoundNumber,
        /// 0 for the first draw, 1 for the second.
        draw: u8,
        /// Number of updates.
        cases: u32,
    }
    /// Seat of a validator on an update under audit.
    "seats" Seat {
        /// Audit.
        audit: AuditId,
        /// Trainer of the update.
        trainer: AccountId,
        /// Validator.
        validator: AccountId,
    }
    /// Step of an audit.
    "audit_steps" AuditStep {
        /// Audit.
        audit: AuditId,
        /// Step.
        kind: AuditStepKind,
        /// Account that acted or that it befell.
        account: Option<AccountId>,
        /// Trainer of the update, where it is another account.
        trainer: Option<AccountId>,
        /// Outcome of the update.
        outcome: Option<Outcome>,
        /// Amount seized.
        amount: Option<Balance>,
    }
    /// Source of text.
    "sources" [source: SourceId] SourceState {
        /// Source.
        source: SourceId,
        /// Account that registered it.
        owner: AccountId,
        /// Address of the original.
        address: String,
        /// SPDX identifier of the licence.
        licence: String,
        /// `true` once it was withdrawn.
        withdrawn: bool,
    }
    /// Manifest after a block that changed its stage.
    "manifests" [manifest: ManifestId] ManifestState {
        /// Manifest.
        manifest: ManifestId,
        /// Source of its text.
        source: SourceId,
        /// Account that registered it.
        owner: AccountId,
        /// Stage.
        stage: ManifestStage,
        /// Kind of text, once it was admitted.
        kind: Option<SourceKind>,
        /// Number of shards.
        shards: u32,
        /// Tokens of a shard.
        shard_tokens: u32,
        /// `true` if the shards are never leased.
        held_out: bool,
        /// Estimate of the quality by the provider.
        quality: Ppm,
        /// Activity that made the text.
        activity: Activity,
        /// BLAKE3 of the body.
        content: Hash,
        /// BLAKE3 of the tokenizer.
        tokenizer: Hash,
        /// Root over the records of its documents.
        documents: Option<Hash>,
        /// Round of its registration.
        registered: RoundNumber,
    }
    /// Manifest that another one was derived from.
    "derivations" DerivedFrom {
        /// Manifest that is older.
        parent: ManifestId,
        /// Manifest that was made from it.
        child: ManifestId,
    }
    /// Emission of a round.
    "emissions" Emission {
        /// Round.
        round: RoundNumber,
        /// Share of trainers.
        trainers: Balance,
        /// Share of validators.
        validators: Balance,
        /// Share of providers of data.
        providers: Balance,
        /// Share of the treasury, which is paid at once.
        treasury: Balance,
    }
    /// Round whose earnings are final, with what accounts share by weight.
    "settled_rounds" SettledRound {
        /// Round.
        round: RoundNumber,
        /// Amount that nobody earned, which was burned.
        unearned: Balance,
        /// Amount for trainers.
        trainers: Balance,
        /// Sum of their weights.
        trainers_weight: u64,
        /// Amount for validators.
        validators: Balance,
        /// Sum of their weights, which is the number of their seats.
        validators_weight: u64,
        /// Amount for providers of data.
        providers: Balance,
        /// Sum of their weights.
        providers_weight: u64,
        /// `true` if an update improved the model.
        improved: bool,
    }
    /// Reward of an account in a settled round.
    "rewards" Reward {
        /// Round.
        round: RoundNumber,
        /// Account.
        account: AccountId,
        /// Work that it is for.
        source: RewardSource,
        /// Weight among those of [`SettledRound`].
        weight: u64,
        /// Amount when the round was settled. Claims divide what is left, so that a payment may
        /// differ by units.
        amount: Balance,
    }
    /// End of a reward.
    "payments" Payment {
        /// Account, or `None` for rewards that expired.
        account: Option<AccountId>,
        /// Kind.
        kind: PaymentKind,
        /// Round of the reward, or `None` for rewards of several rounds.
        round: Option<RoundNumber>,
        /// Amount that was paid or burned.
        amount: Balance,
    }
    /// Part of a bond that was lost.
    "penalties" Penalty {
        /// Account.
        account: AccountId,
        /// Reason.
        cause: PenaltyCause,
        /// Round of the update, lease or attestation, where it is known.
        round: Option<RoundNumber>,
        /// Audit that decided it.
        audit: Option<AuditId>,
        /// Amount.
        amount: Balance,
        /// `true` if it was seized for the pot of rewards and burned there.
        seized: bool,
    }
    /// Totals of all rewards and fines after a block that changed them, as the chain keeps them:
    /// `emitted + seized = paid + burned + waiting`.
    "ledgers" LedgerState {
        /// Minted for rounds.
        emitted: Balance,
        /// Seized from bonds.
        seized: Balance,
        /// Claimed, and paid to the treasury.
        paid: Balance,
        /// Burned.
        burned: Balance,
        /// Held for later claims.
        waiting: Balance,
    }
}

/// Declares enumerations that are stored by their names.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
            #[serde(rename_all = "snake_case")]
            pub enum $name {
                $($(#[$variant_doc])* $variant,)*
            }
        )*
        names!($($name),*);
    };
}

kinds! {
    /// Kind of a change of a balance.
    MovementKind {
        /// Sent to another account.
        Sent,
        /// Received from another account.
        Received,
        /// Put on hold.
        Held,
        /// Released from hold.
        Released,
        /// Burned of what was on hold.
        HeldBurned,
        /// Moved to another account of what was on hold.
        HeldSent,
        /// Received of what was on hold at another account.
        HeldReceived,
        /// Minted.
        Minted,
        /// Burned.
        Burned,
        /// Paid for a transaction: its fee with the tip.
        Fee,
    }
    /// Act of a validator.
    VoteKind {
        /// Reported updates that it holds.
        Held,
        /// Attested the next head.
        Attested,
        /// Attested a root that contradicts the head.
        WrongRoot,
        /// Reported measurements of the head.
        Measured,
    }
    /// Step of an audit.
    AuditStepKind {
        /// Seats and segments were drawn.
        Drawn,
        /// The trainer showed the states that drawn segments start from.
        Shown,
        /// A validator committed to its findings, after its replay.
        Replayed,
        /// The trainer opened the ends of segments.
        Opened,
        /// A validator revealed its findings.
        Revealed,
        /// The update waits for a second draw.
        Undecided,
        /// The update was settled.
        Settled,
        /// A validator was silent or wrong in a seat.
        SeatFailed,
        /// Part of a bond was seized.
        Fined,
        /// The last update was settled.
        Ended,
    }
    /// Work that a reward is for.
    RewardSource {
        /// Training.
        Training,
        /// Seats in audits.
        Seats,
        /// Data.
        Data,
        /// Work of several kinds, claimed in the block that settled the round.
        Undivided,
    }
    /// End of a reward.
    PaymentKind {
        /// The account claimed it.
        Claimed,
        /// The account forfeited it, and it was burned.
        Forfeited,
        /// Nobody claimed it for long, and it was burned.
        Expired,
    }
    /// Reason of a penalty.
    PenaltyCause {
        /// Finding of an audit, on an update or on a seat.
        Audit,
        /// Lease without an update, or with one that was left out.
        Lease,
        /// Attestation of a wrong root.
        WrongRoot,
        /// Another reason, such as an offence of an authority.
        Other,
    }
    /// Stage of a manifest.
    ManifestStage {
        /// Registered, and not admitted.
        Proposed,
        /// Admitted.
        Admitted,
        /// Out of the pool until it is resumed.
        Paused,
        /// Refused, or out of the pool for good.
        Retired,
        /// Part of the model, every shard of it.
        Consumed,
        /// Withdrawn by its provider.
        Withdrawn,
        /// Ended long ago, and removed from the state of the chain.
        Forgotten,
    }
}
