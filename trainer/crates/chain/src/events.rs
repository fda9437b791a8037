// SPDX-License-Identifier: Apache-2.0

//! Events of blocks, known by the names of their pallets and variants.

use crate::AccountId;
use codec::DecodeAll;
use pol_primitives::{
    Balance, Hash, RoundNumber,
    audit::AuditId,
    data::{ManifestId, SourceId, SourceKind},
    head::Head,
    lineage::Retirement,
    member::Role,
    metrics::HeadMeasurement,
    rewards::EmissionShares,
    round::{BlockNumber, Phase},
    submission::{Outcome, RevealSet, SubmissionStatus},
};

/// Reason of a hold: the index of its pallet, and that of the reason among the pallet's.
type HoldReason = [u8; 2];

/// Declares the events that are known, with the pallet and the names by which nodes call them.
macro_rules! events {
    ($(
        $pallet:literal {
            $($variant:ident = $($event:literal)|+ { $($field:ident: $type:ty),* $(,)? })*
        }
    )*) => {
        /// Event of a block.
        ///
        /// Fields are those of the pallet's event, which the pallet documents. Events that no
        /// reader needs are left out.
        #[allow(missing_docs, reason = "the pallets document their events")]
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum ChainEvent {
            $($($variant { $($field: $type),* },)*)*
        }

        impl ChainEvent {
            /// Decodes the fields of an event. Returns `None` for one that is left out.
            ///
            /// # Errors
            ///
            /// Fails if the event has other fields than this program knows.
            pub fn decode(
                pallet: &str,
                event: &str,
                fields: &[u8],
            ) -> Result<Option<Self>, codec::Error> {
                match (pallet, event) {
                    $($($(($pallet, $event))|+ => {
                        let ($($field,)*) = <($($type,)*)>::decode_all(&mut &fields[..])?;
                        Ok(Some(Self::$variant { $($field),* }))
                    })*)*
                    _ => Ok(None),
                }
            }
        }
    };
}

events! {
    "Balances" {
        Transferred = "Transfer" { from: AccountId, to: AccountId, amount: Balance }
        Minted = "Minted" { who: AccountId, amount: Balance }
        Burned = "Burned" { who: AccountId, amount: Balance }
        BalanceChanged = "Endowed" | "DustLost" | "BalanceSet" | "Reserved" | "Unreserved"
            | "Deposit" | "Withdraw" | "Slashed" | "Suspended" | "Restored" | "Locked"
            | "Unlocked" | "Frozen" | "Thawed" { who: AccountId, amount: Balance }
        ReserveMoved = "ReserveRepatriated" {
            from: AccountId, to: AccountId, amount: Balance, status: u8,
        }
        Held = "Held" { reason: HoldReason, who: AccountId, amount: Balance }
        Released = "Released" { reason: HoldReason, who: AccountId, amount: Balance }
        HeldBurned = "BurnedHeld" { reason: HoldReason, who: AccountId, amount: Balance }
        HeldMoved = "TransferOnHold" | "TransferAndHold" {
            reason: HoldReason, from: AccountId, to: AccountId, amount: Balance,
        }
    }
    "TransactionPayment" {
        FeePaid = "TransactionFeePaid" { who: AccountId, fee: Balance, tip: Balance }
    }
    "PolStaking" {
        Bonded = "Bonded" { who: AccountId, role: Role, amount: Balance }
        BondRaised = "BondRaised" { who: AccountId, amount: Balance }
        Unbonded = "Unbonded" { who: AccountId, free_at: BlockNumber }
        BondWithdrawn = "Withdrawn" { who: AccountId, amount: Balance }
        StakeChanged = "StakeChanged" { who: AccountId, stake: Option<Balance> }
        MemberChanged = "EndpointSet" | "Chilled" | "Unchilled" | "Waiting" | "Absent" {
            who: AccountId,
        }
        Barred = "Barred" { who: AccountId, until: BlockNumber }
        Slashed = "Slashed" { who: AccountId, amount: Balance }
        Seized = "Seized" { who: AccountId, amount: Balance, to: AccountId }
    }
    "Lineage" {
        SourceRegistered = "SourceRegistered" { source: SourceId, owner: AccountId }
        SourceWithdrawn = "SourceWithdrawn" { source: SourceId }
        ManifestRegistered = "ManifestRegistered" {
            manifest: ManifestId, source: SourceId, shards: u32, held_out: bool,
        }
        ManifestAdmitted = "ManifestAdmitted" { manifest: ManifestId, kind: SourceKind }
        ManifestWithdrawn = "ManifestWithdrawn" { manifest: ManifestId }
        ManifestPaused = "ManifestPaused" { manifest: ManifestId, reason: u8 }
        ManifestRetired = "ManifestRetired" {
            manifest: ManifestId, retirement: Retirement, burned: Balance,
        }
        ManifestChanged = "ManifestResumed" | "ManifestConsumed" { manifest: ManifestId }
        ManifestForgotten = "ManifestForgotten" { manifest: ManifestId }
        DepositLost = "DepositLost" { manifest: ManifestId, burned: Balance }
    }
    "Rewards" {
        Escrowed = "Escrowed" { round: RoundNumber, shares: EmissionShares }
        RoundSettled = "RoundSettled" { round: RoundNumber, unearned: Balance }
        Claimed = "Claimed" { who: AccountId, round: RoundNumber, amount: Balance }
        Forfeited = "Forfeited" { who: AccountId, rounds: u32, amount: Balance }
        Expired = "Expired" { round: RoundNumber, amount: Balance }
        FineBurned = "Fined" { amount: Balance }
    }
    "ProofOfLearning" {
        RoundOpened = "RoundOpened" { number: RoundNumber, seed: Hash }
        PhaseEntered = "PhaseEntered" {
            number: RoundNumber, phase: Phase, deadline: Option<BlockNumber>,
        }
        Leased = "Leased" { account: AccountId, due_round: RoundNumber, shards: u32 }
        PlaceLost = "PlaceLost" { account: AccountId, due_round: RoundNumber }
        Committed = "Committed" { account: AccountId, round: RoundNumber }
        Revealed = "Revealed" {
            account: AccountId, round: RoundNumber, payload_hash: Hash, index: u8,
        }
        HeldReported = "HeldReported" {
            account: AccountId, round: RoundNumber, held: RevealSet,
        }
        Attested = "Attested" { account: AccountId, round: RoundNumber, root: Hash }
        WrongRoot = "WrongRoot" { account: AccountId, round: RoundNumber, amount: Balance }
        HeadAdvanced = "HeadAdvanced" { head: Head }
        RoundVoid = "RoundVoid" { number: RoundNumber }
        Concluded = "Concluded" {
            account: AccountId, round: RoundNumber, status: Option<SubmissionStatus>,
        }
        AuditDrawn = "AuditDrawn" { audit: AuditId, round: RoundNumber, draw: u8, cases: u32 }
        StatesServed = "StatesServed" { audit: AuditId, account: AccountId }
        AuditCommitted = "AuditCommitted" { audit: AuditId, account: AccountId }
        SegmentsOpened = "SegmentsOpened" { audit: AuditId, account: AccountId }
        AuditRevealed = "AuditRevealed" { audit: AuditId, account: AccountId }
        Undecided = "Undecided" { audit: AuditId, account: AccountId, round: RoundNumber }
        Settled = "Settled" {
            audit: AuditId, account: AccountId, round: RoundNumber, outcome: Outcome, score: u32,
        }
        SeatFailed = "SeatFailed" { audit: AuditId, account: AccountId, trainer: AccountId }
        Fined = "Fined" { audit: AuditId, account: AccountId, amount: Balance }
        AuditEnded = "AuditEnded" { audit: AuditId }
        HeadReported = "HeadReported" { account: AccountId, round: RoundNumber }
        HeadMeasured = "HeadMeasured" { round: RoundNumber, measured: HeadMeasurement }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use codec::Encode;
    use proptest::prelude::*;

    #[test]
    fn events_are_known_by_name() {
        let fields = ([7u8; 32], [8u8; 32], 5u128).encode();
        let event = ChainEvent::decode("Balances", "Transfer", &fields).unwrap();
        assert_eq!(event, Some(ChainEvent::Transferred { from: [7; 32], to: [8; 32], amount: 5 }));
        assert_eq!(ChainEvent::decode("Balances", "Upgraded", &fields), Ok(None));
        assert_eq!(ChainEvent::decode("Treasury", "Transfer", &fields), Ok(None));
        for name in ["Deposit", "Withdraw"] {
            let event = ChainEvent::decode("Balances", name, &([7u8; 32], 5u128).encode());
            assert_eq!(event, Ok(Some(ChainEvent::BalanceChanged { who: [7; 32], amount: 5 })));
        }
    }

    #[test]
    fn other_fields_are_an_error() {
        let fields = ([7u8; 32], [8u8; 32], 5u128, 1u8).encode();
        assert!(ChainEvent::decode("Balances", "Transfer", &fields).is_err(), "excess bytes");
        assert!(ChainEvent::decode("Balances", "Transfer", &fields[..70]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(fields: Vec<u8>) {
            for (pallet, event) in [
                ("Balances", "Held"),
                ("ProofOfLearning", "HeldReported"),
                ("ProofOfLearning", "HeadMeasured"),
                ("Lineage", "ManifestRetired"),
            ] {
                let _ = ChainEvent::decode(pallet, event, &fields);
            }
        }
    }
}
