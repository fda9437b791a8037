// SPDX-License-Identifier: Apache-2.0

//! Selections of facts. An index of the database serves each of them.

use crate::{
    facts::*,
    value::{Field, Value},
};
use pol_chain::AccountId;
use pol_primitives::{
    Hash, RoundNumber,
    audit::AuditId,
    data::{ManifestId, SourceId},
    round::BlockNumber,
};

/// Selection of facts by the values of some columns.
pub trait Lookup {
    /// Fact that is selected.
    type Fact: Fact;

    /// Returns the columns and their values.
    fn conditions(&self) -> Vec<(&'static str, Value)>;
}

/// Selection of a table, as the database sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Table.
    pub table: &'static str,
    /// Columns whose values are given.
    pub columns: &'static [&'static str],
}

/// Declares lookups: the columns by which facts are selected.
macro_rules! lookups {
    ($(
        $(#[$doc:meta])*
        $name:ident of $fact:ident {
            $($(#[$variant_doc:meta])* $variant:ident $(($($column:ident: $type:ty),*))?,)*
        }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum $name {
                $($(#[$variant_doc])* $variant $(($($type),*))?,)*
            }

            impl Lookup for $name {
                type Fact = $fact;

                fn conditions(&self) -> Vec<(&'static str, Value)> {
                    match self {
                        $(Self::$variant $(($($column),*))? => {
                            vec![$($((stringify!($column), value($column))),*)?]
                        })*
                    }
                }
            }
        )*

        /// All lookups, so that each can be tested and measured.
        pub const SELECTIONS: &[Selection] = &[$($(
            Selection { table: $fact::TABLE, columns: &[$($(stringify!($column)),*)?] },
        )*)*];
    };
}

/// Returns the value of a field with one column.
fn value<T: Field>(field: &T) -> Value {
    let mut values = Vec::with_capacity(1);
    Field::write(Some(field), &mut values);
    values.pop().unwrap_or(Value::Integer(None))
}

lookups! {
    /// Extrinsics.
    Extrinsics of Extrinsic {
        /// All.
        All,
        /// Signed by an account.
        Signer(signer: AccountId),
        /// With a hash.
        Hash(hash: Hash),
        /// With an index in a block.
        At(block: BlockNumber, number: u32),
    }
    /// Changes of balances.
    Movements of Movement {
        /// Of an account.
        Account(account: AccountId),
    }
    /// Balances over time.
    Balances of AccountState {
        /// Of an account.
        Account(account: AccountId),
    }
    /// States of members over time.
    Members of MemberState {
        /// Changes of all members.
        All,
        /// Of an account.
        Account(account: AccountId),
    }
    /// Beginnings of phases.
    Phases of PhaseStart {
        /// Of all rounds.
        All,
        /// Of a round.
        Round(round: RoundNumber),
    }
    /// Rounds that ended.
    Rounds of RoundEnd {
        /// All.
        All,
        /// With a number.
        Round(round: RoundNumber),
        /// That made a head with a root.
        Root(root: Hash),
    }
    /// Measurements of heads.
    Measurements of Measurement {
        /// Of all rounds.
        All,
        /// Of a round.
        Round(round: RoundNumber),
    }
    /// Acts of validators.
    Votes of Vote {
        /// In a round.
        Round(round: RoundNumber),
        /// Of an account.
        Account(account: AccountId),
    }
    /// Reveals of updates.
    Reveals of Reveal {
        /// Of an update.
        Update(round: RoundNumber, account: AccountId),
    }
    /// Ends of updates and leases.
    Settlements of Settlement {
        /// Newest of all.
        All,
        /// Of an update.
        Update(round: RoundNumber, account: AccountId),
    }
    /// Shards that the model was trained on.
    Shards of ConsumedShard {
        /// Newest of all.
        All,
        /// Of a manifest.
        Manifest(manifest: ManifestId),
        /// One shard.
        Shard(manifest: ManifestId, shard: u32),
        /// Of a round.
        Round(round: RoundNumber),
        /// Of an update.
        Update(round: RoundNumber, account: AccountId),
        /// By a trainer.
        Account(account: AccountId),
    }
    /// Audits.
    Audits of AuditDraw {
        /// All.
        All,
        /// One audit.
        Audit(audit: AuditId),
        /// Of a round.
        Round(round: RoundNumber),
    }
    /// Seats of audits.
    Seats of Seat {
        /// Of an audit.
        Audit(audit: AuditId),
        /// Of a validator.
        Validator(validator: AccountId),
        /// On the updates of a trainer.
        Trainer(trainer: AccountId),
    }
    /// Steps of audits.
    AuditSteps of AuditStep {
        /// Newest of all.
        All,
        /// Of an audit.
        Audit(audit: AuditId),
        /// Of an account.
        Account(account: AccountId),
    }
    /// Sources over time.
    Sources of SourceState {
        /// Changes of a source.
        Source(source: SourceId),
    }
    /// Stages of manifests over time.
    Manifests of ManifestState {
        /// Newest changes of all.
        All,
        /// Of a manifest.
        Manifest(manifest: ManifestId),
        /// Of the manifests of a source.
        Source(source: SourceId),
        /// Of the manifests of an account.
        Owner(owner: AccountId),
        /// With a body of a hash.
        Content(content: Hash),
        /// With documents of a root.
        Documents(documents: Hash),
    }
    /// Derivations of manifests.
    Derivations of DerivedFrom {
        /// Made from a manifest.
        Parent(parent: ManifestId),
        /// That a manifest was made from.
        Child(child: ManifestId),
    }
    /// Emissions.
    Emissions of Emission {
        /// Of all rounds.
        All,
        /// Of a round.
        Round(round: RoundNumber),
    }
    /// Settled rounds.
    SettledRounds of SettledRound {
        /// All.
        All,
        /// One round.
        Round(round: RoundNumber),
    }
    /// Rewards.
    Rewards of Reward {
        /// Newest of all.
        All,
        /// Of an account.
        Account(account: AccountId),
        /// Of a round.
        Round(round: RoundNumber),
        /// Of an account in a round.
        AccountRound(account: AccountId, round: RoundNumber),
    }
    /// Ends of rewards.
    Payments of Payment {
        /// Newest of all.
        All,
        /// Of an account.
        Account(account: AccountId),
        /// Of an account in a round.
        AccountRound(account: AccountId, round: RoundNumber),
        /// Of a round.
        Round(round: RoundNumber),
        /// Of an account, by kind.
        Kind(account: AccountId, kind: PaymentKind),
    }
    /// Penalties.
    Penalties of Penalty {
        /// Newest of all.
        All,
        /// Of an account.
        Account(account: AccountId),
        /// By an audit.
        Audit(audit: AuditId),
    }
    /// Totals of the chain over time.
    Ledgers of LedgerState {
        /// All.
        All,
    }
}
