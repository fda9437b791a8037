// SPDX-License-Identifier: Apache-2.0

//! Weights of calls and hooks.
//!
//! They are estimates above the worst case, not benchmarks: every storage item counts as read and
//! written from the database, at two kilobytes of proof. The work of other pallets behind the
//! traits of `pol-primitives` is included, since those carry no weights of their own.

use crate::types::MAX_OPEN_AUDITS;
use core::marker::PhantomData;
use polkadot_sdk::frame_support::weights::{
    RuntimeDbWeight, Weight, constants::WEIGHT_REF_TIME_PER_MICROS,
};
use polkadot_sdk::sp_runtime::traits::Get;

/// Weights of the pallet's calls and of the parts of its hook.
pub trait WeightInfo {
    /// Returns the weight of `set_recipe`.
    fn set_recipe() -> Weight;
    /// Returns the weight of `set_lengths`.
    fn set_lengths() -> Weight;
    /// Returns the weight of `join_round` for a lease of `shards` shards, without the conclusion of
    /// an earlier lease or of one that makes room.
    fn join_round(shards: u32) -> Weight;
    /// Returns the weight of `commit`.
    fn commit() -> Weight;
    /// Returns the weight of `reveal`.
    fn reveal() -> Weight;
    /// Returns the weight of `report_held`.
    fn report_held() -> Weight;
    /// Returns the weight of `attest_head` without a quorum.
    fn attest_head() -> Weight;
    /// Returns the additional weight of `attest_head` that adopts a head of `updates` updates.
    fn adopt(updates: u32) -> Weight;
    /// Returns the weight of `conclude` for a lease of `shards` shards.
    fn conclude(shards: u32) -> Weight;
    /// Returns the weight of `reset_carry`, without the conclusion of an earlier lease.
    fn reset_carry() -> Weight;
    /// Returns the weight of `set_audits`.
    fn set_audits() -> Weight;
    /// Returns the weight of `serve_states`.
    fn serve_states() -> Weight;
    /// Returns the weight of `commit_audit`.
    fn commit_audit() -> Weight;
    /// Returns the weight of `open_segments`.
    fn open_segments() -> Weight;
    /// Returns the weight of `reveal_audit` with `findings` findings.
    fn reveal_audit(findings: u32) -> Weight;
    /// Returns the weight of `open_sketches`.
    fn open_sketches() -> Weight;
    /// Returns the weight of `reveal_sketches` with `findings` findings.
    fn reveal_sketches(findings: u32) -> Weight;
    /// Returns the weight of `settle` for an update of `shards` shards, with `seats` seats on it.
    fn settle(shards: u32, seats: u32) -> Weight;
    /// Returns the additional weight of `settle` that judges `seats` seats of an earlier draw.
    fn judge_earlier(seats: u32) -> Weight;
    /// Returns the additional weight of `settle` that forfeits the largest number of rewards.
    fn forfeit() -> Weight;
    /// Returns the weight of `measure_head`, with or without a quorum.
    fn measure_head() -> Weight;
    /// Returns the weight of checking a call before its dispatch.
    fn admit() -> Weight;
    /// Returns the weight of moving the clock and of finding out if a block was congested.
    fn tick() -> Weight;
    /// Returns the weight of a block's draw of seats for `updates` updates.
    fn draw(updates: u32) -> Weight;
    /// Returns the weight of a block that leaves the round as it is.
    fn stay() -> Weight;
    /// Returns the weight of a block that finds the network idle, with or without a round to open.
    fn open() -> Weight;
    /// Returns the additional weight of a block that opens a round under a new recipe, after leases
    /// that were due in the next `rounds` rounds.
    fn forget_due_leases(rounds: u32) -> Weight;
    /// Returns the weight of a block that ends a phase.
    fn step() -> Weight;
    /// Returns the additional weight of a block that decides to include `updates` updates.
    fn begin_computing(updates: u32) -> Weight;
    /// Returns the weight of judging and clearing up to `items` attestations and as many tallies of
    /// past phases.
    fn sweep(items: u32) -> Weight;
    /// Returns the additional weight of `fines` fines for wrong roots.
    fn fine_roots(fines: u32) -> Weight;
    /// Returns the weight of finding that no round is old enough to be removed.
    fn keep() -> Weight;
    /// Returns the weight of removing `records` records of submissions of an old round, without
    /// concluding a lease.
    fn expire(records: u32) -> Weight;
}

/// Estimated weights for a database with the costs `Db`.
pub struct Estimates<Db>(PhantomData<Db>);

/// Estimated weights for the runtime `T`.
pub type SubstrateWeight<T> = Estimates<<T as polkadot_sdk::frame_system::Config>::DbWeight>;

/// Proof size of one read, in bytes.
const PROOF_PER_READ: u64 = 2_048;
/// Number of storage items that the pool touches for each shard: manifest, bitmaps, two places in
/// the drawing order, source, history.
const ITEMS_PER_SHARD: u64 = 7;
/// Size of the largest audit in storage items: a thousand holders of 50 bytes, 64 cases of 640
/// bytes, and a probe.
const ITEMS_PER_AUDIT: u64 = 92_000 / PROOF_PER_READ + 1;

impl<Db: Get<RuntimeDbWeight>> Estimates<Db> {
    /// Returns the weight of `micros` microseconds of computation with database accesses.
    fn cost(micros: u64, reads: u64, writes: u64) -> Weight {
        Weight::from_parts(
            micros.saturating_mul(WEIGHT_REF_TIME_PER_MICROS),
            reads.saturating_mul(PROOF_PER_READ),
        )
        .saturating_add(Db::get().reads_writes(reads, writes))
    }

    /// Returns the weight of reading, decoding, encoding and writing the largest audit once.
    fn audit() -> Weight {
        Self::cost(300, 0, 0)
            .saturating_add(Weight::from_parts(0, ITEMS_PER_AUDIT.saturating_mul(PROOF_PER_READ)))
    }

    /// Returns the weight of reading, decoding, encoding and writing the largest count of stake: a
    /// thousand validators of 59 bytes, about as much as an audit.
    fn count() -> Weight {
        Self::audit()
    }

    /// Returns `count` times the weight `each`.
    fn times(each: Weight, count: u32) -> Weight {
        each.saturating_mul(u64::from(count))
    }
}

impl<Db: Get<RuntimeDbWeight>> WeightInfo for Estimates<Db> {
    fn set_recipe() -> Weight {
        // Round, head and its recipe, recipe, pending recipe, attest phases, free shards, reveals,
        // the record of a void round.
        Self::cost(60, 9, 6)
    }

    fn set_lengths() -> Weight {
        Self::cost(15, 1, 2)
    }

    fn join_round(shards: u32) -> Weight {
        // Own: bond, round, lengths, lease, recipe, head, due, last due, standing, the model's
        // first round, the places, and for the carry as many earlier updates as can wait for
        // settlement. The pool: four lists and the count of free shards.
        Self::cost(100, u64::from(MAX_OPEN_AUDITS).saturating_add(23), 13)
            .saturating_add(Self::times(Self::cost(20, ITEMS_PER_SHARD, ITEMS_PER_SHARD), shards))
    }

    fn commit() -> Weight {
        Self::cost(50, 5, 4)
    }

    fn reveal() -> Weight {
        // A commitment, one leaf and a path of at most 24 nodes are hashed.
        Self::cost(120, 8, 6)
    }

    fn report_held() -> Weight {
        // Round, count, ledger, endpoint, newcomers. The stakes are added up for each reveal.
        Self::cost(400, 5, 4).saturating_add(Self::count())
    }

    fn attest_head() -> Weight {
        // Round, count, ledger, endpoint, newcomers, head, attest phases, own attestation, two
        // tallies. Until there is a head, all stakes and newcomers too.
        Self::cost(60, 13, 8).saturating_add(Self::count().saturating_mul(2))
    }

    fn adopt(updates: u32) -> Weight {
        // Recipe, reveals, record, head, round, phases, the model's first round, undrawn, excisions
        // of ten items' size; the payouts: emission, escrow and its total, pot, issuance; reports
        // on the head before, of six items' size, their total stake and the measurement; all stakes
        // and newcomers, to be held for the seats. For each update its submission, and five items'
        // worth of entries in undrawn.
        Self::cost(700, 40, 24)
            .saturating_add(Self::count())
            .saturating_add(Self::times(Self::cost(15, 1, 1), updates))
    }

    fn conclude(shards: u32) -> Weight {
        // Own: lease, round, submission, record, history, audited lease, standing, the recipe's
        // first round. A slash: ledger, endpoint, hold, account, issuance, validators, candidates,
        // total stake, phases. The pool as above.
        Self::cost(150, 21, 16)
            .saturating_add(Self::times(Self::cost(20, ITEMS_PER_SHARD, ITEMS_PER_SHARD), shards))
    }

    fn reset_carry() -> Weight {
        Self::cost(20, 3, 2)
    }

    fn set_audits() -> Weight {
        Self::cost(15, 3, 2)
    }

    fn serve_states() -> Weight {
        // Settings, audit, submission, response. Up to five states are hashed, with a path of at
        // most 24 nodes each.
        Self::cost(600, 4, 3).saturating_add(Self::audit())
    }

    fn commit_audit() -> Weight {
        Self::cost(60, 3, 3).saturating_add(Self::audit())
    }

    fn open_segments() -> Weight {
        // Settings, audit, submission, response, lease in both places, recipe.
        Self::cost(500, 8, 3).saturating_add(Self::audit())
    }

    fn open_sketches() -> Weight {
        // The same, with one sketch.
        Self::cost(600, 9, 3).saturating_add(Self::audit())
    }

    fn reveal_audit(findings: u32) -> Weight {
        // Settings, audit, commitment, a lease and its recipe; for each finding the finding itself
        // and the lease, open or moved.
        Self::cost(100, 10, 3)
            .saturating_add(Self::audit())
            .saturating_add(Self::times(Self::cost(30, 3, 1), findings))
    }

    fn reveal_sketches(findings: u32) -> Weight {
        // The same, with a sketch for each finding: ten times the bytes to hash and store.
        Self::reveal_audit(findings).saturating_add(Self::times(Self::cost(60, 0, 0), findings))
    }

    fn settle(shards: u32, seats: u32) -> Weight {
        // Own: settings, audit, submission, lease in both places, response, history, standing,
        // round, recipe, undrawn twice, excisions. The trainer: ledger, reputation, hold, two
        // accounts, issuance, validators, candidates, total stake. The payouts: pool, ledger. If
        // the update waits for a second draw, all stakes and newcomers, to be held for its seats.
        let own =
            Self::cost(440, 55, 32).saturating_add(Self::audit()).saturating_add(Self::count());
        // The pool as above, with the provider of each shard and its earnings.
        let pool = Self::times(
            Self::cost(30, ITEMS_PER_SHARD.saturating_add(3), ITEMS_PER_SHARD.saturating_add(4)),
            shards,
        );
        // Finding, commitment; under the native profile, its sketch is compared with all others.
        // Each account is looked for in all cases.
        let seats =
            Self::times(Self::cost(800, 2, 2), seats).saturating_add(Self::judge_earlier(seats));
        own.saturating_add(pool).saturating_add(seats)
    }

    fn judge_earlier(seats: u32) -> Weight {
        // Tally, ledger and reputation, earnings; if it is fined: hold, two accounts, issuance,
        // validators, candidates, total stake, and the ledger of payouts.
        Self::times(Self::cost(40, 13, 14), seats)
    }

    fn forfeit() -> Weight {
        // Pool and earnings, twice, of 96 unsettled rounds and 30 in escrow; issuance, account and
        // ledger.
        Self::cost(400, 256, 381)
    }

    fn measure_head() -> Weight {
        // Ledger, endpoint, head, the probes' seed, the measurement, reports of six items' size,
        // over which eight medians are taken, and all stakes, three times.
        Self::cost(600, 12, 3).saturating_add(Self::count().saturating_mul(3))
    }

    fn admit() -> Weight {
        // At most the largest audit or count of stake, the settings, what the call is about and a
        // proof of it, which the call then finds in the cache; proxies; the accounts of duties.
        Self::cost(100, 10, 1).saturating_add(Self::audit())
    }

    fn tick() -> Weight {
        // Clock, accounts of duties, consumed weight and length.
        Self::cost(10, 4, 3)
    }

    fn draw(updates: u32) -> Weight {
        if updates == 0 {
            // UndrawnUpdates; if updates wait, also settings, randomness, the mixture, open or
            // sealed, and the beacon with its pulse and the time.
            return Self::cost(10, 8, 3);
        }
        // UndrawnUpdates, settings, counters, randomness, the mixture, a lease and its recipe, the
        // beacon and its pulse; a thousand stakes in one value, which is removed; a probe of
        // sixteen shards. For each update the stakes are read once for every seat.
        Self::cost(300, 88, 9)
            .saturating_add(Self::audit())
            .saturating_add(Self::times(Self::cost(400, 0, 0), updates))
    }

    fn stay() -> Weight {
        Self::cost(5, 2, 0)
    }

    fn open() -> Weight {
        // Round, lengths, both recipes and the first round of the one in force, head and its
        // recipe, randomness, free shards, total stake, due, last due, the probes' seed.
        Self::cost(60, 18, 7)
    }

    fn forget_due_leases(rounds: u32) -> Weight {
        Self::times(Self::cost(5, 1, 1), rounds)
    }

    fn step() -> Weight {
        // Round, lengths, head, stakes, newcomers, count, reveals, record, phases, the head of the
        // phase.
        Self::cost(50, 12, 7).saturating_add(Self::count())
    }

    fn begin_computing(updates: u32) -> Weight {
        // The recipe, excisions of ten items' size, and each update's submission.
        Self::cost(500, 11, 0).saturating_add(Self::times(Self::cost(15, 1, 0), updates))
    }

    fn sweep(items: u32) -> Weight {
        // Attestation, tally and ledger of each.
        Self::cost(5, 3, 2).saturating_add(Self::times(Self::cost(10, 2, 3), items))
    }

    fn keep() -> Weight {
        Self::cost(5, 2, 0)
    }

    fn expire(records: u32) -> Weight {
        // First kept round, round, record, measurement, head, submissions, excisions of ten items'
        // size. The record, and the payload of each.
        Self::cost(50, 16, 3).saturating_add(Self::times(Self::cost(10, 1, 2), records))
    }

    fn fine_roots(fines: u32) -> Weight {
        // Hold, account, issuance, ledger, endpoint, validators, newcomers, candidates, total
        // stake.
        Self::times(Self::cost(100, 9, 9), fines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{MAX_EXPIRED, MAX_SWEEP};
    use pol_primitives::{MAX_LEASE_SHARDS, MAX_SUBMISSIONS, audit::MAX_SEATS};
    use polkadot_sdk::frame_support::weights::constants::{
        RocksDbWeight, WEIGHT_REF_TIME_PER_SECOND,
    };

    #[test]
    fn the_worst_cases_are_a_small_part_of_a_block() {
        type Slow = Estimates<RocksDbWeight>;
        // A block of two seconds and five megabytes.
        let tenth = Weight::from_parts(WEIGHT_REF_TIME_PER_SECOND / 5, 512 * 1_024);
        for weight in [
            Slow::set_recipe(),
            Slow::set_lengths(),
            Slow::commit(),
            Slow::reveal(),
            Slow::attest_head() + Slow::adopt(MAX_SUBMISSIONS),
            Slow::set_audits(),
            Slow::serve_states(),
            Slow::commit_audit(),
            Slow::open_segments(),
            Slow::open_sketches(),
            Slow::reveal_audit(MAX_SUBMISSIONS),
            Slow::reveal_sketches(MAX_SUBMISSIONS),
            Slow::stay().max(Slow::open()).max(Slow::step())
                + Slow::begin_computing(MAX_SUBMISSIONS),
            Slow::report_held(),
            Slow::expire(MAX_EXPIRED),
            Slow::draw(MAX_SUBMISSIONS),
            Slow::measure_head(),
        ] {
            assert!(weight.all_gt(Weight::zero()) && weight.all_lt(tenth), "{weight}");
        }
        // The longest cadence, at a change of the recipe.
        let open = Slow::open() + Slow::forget_due_leases(u8::MAX.into());
        assert!(open.all_lt(tenth.saturating_mul(2)), "{open}");
        // Every attestation of a phase is of a wrong root.
        let (sweep, fines) = (Slow::sweep(MAX_SWEEP), Slow::fine_roots(MAX_SWEEP));
        assert!(sweep.ref_time() < tenth.ref_time(), "{sweep}");
        assert!((sweep + fines).ref_time() < 2 * tenth.ref_time(), "{fines}");
        // The largest lease, of manifests that are all different.
        let (join, conclude) =
            (Slow::join_round(MAX_LEASE_SHARDS), Slow::conclude(MAX_LEASE_SHARDS));
        let settle = Slow::settle(MAX_LEASE_SHARDS, MAX_SEATS)
            + Slow::judge_earlier(MAX_SEATS)
            + Slow::forfeit();
        let weight = (join + conclude.saturating_mul(2)).max(conclude + Slow::reset_carry());
        let weight = weight.max(settle);
        assert!(
            weight.all_lt(tenth.saturating_mul(6)) && weight.ref_time() < 2 * tenth.ref_time(),
            "{weight}"
        );
    }
}
