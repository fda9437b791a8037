// SPDX-License-Identifier: Apache-2.0

//! Facts of the chain, as a process reads them from its node at each block.

use crate::{
    Counter, Gauge, Gauges,
    family::{label, metrics},
};

label! {
    /// Block of the chain.
    Block "block" { Best "best", Final "final", }
}
label! {
    /// Phase of a round.
    RoundPhase "phase" {
        Idle "idle", Train "train", Reveal "reveal", Hold "hold", Attest "attest",
    }
}
label! {
    /// Role of a member.
    MemberRole "role" { Trainer "trainer", Validator "validator", Authority "authority", }
}
label! {
    /// Figure of a model between 0 and 1. docs/mind.md defines them.
    Measure "measure" {
        Level "level",
        SelfAwareness "self_awareness",
        CalibrationError "calibration_error",
        Introspection "introspection",
        Coherence "coherence",
        MetaCognition "meta_cognition",
        Utilisation "utilisation",
        Reasoning "reasoning",
    }
}
label! {
    /// Total of the chain's books.
    Total "total" {
        Emitted "emitted", Seized "seized", Paid "paid", Burned "burned", Waiting "waiting",
    }
}

metrics! {
    /// The chain, as its node shows it.
    ChainFacts chain "pol_chain" {
        /// Height of the best block and of the last final one.
        block_height: Gauges<Block>,
        /// Time at which the best block last changed, in seconds since 1970.
        last_block_timestamp_seconds: Gauge,
        /// Time at which the last final block last advanced, in seconds since 1970.
        last_finality_timestamp_seconds: Gauge,
        /// Blocks whose facts could not be read from the node.
        failed_reads_total: Counter,
    }
}

metrics! {
    /// The round under way.
    RoundFacts round "pol_round" {
        /// Number of the round.
        number: Gauge,
        /// 1 for the phase of the round, 0 for the others.
        phase: Gauges<RoundPhase>,
        /// Leases that are due in the round.
        leases: Gauge,
        /// Commitments to the round.
        commitments: Gauge,
        /// Reveals of the round.
        reveals: Gauge,
        /// Updates that the next head includes; 0 until that is decided.
        included_updates: Gauge,
        /// Attest phases of the round that ended without a head.
        failed_attest_phases: Gauge,
    }
}

metrics! {
    /// The newest model.
    HeadFacts head "pol_head" {
        /// Round that made the head.
        round: Gauge,
        /// Time at which the head last changed, in seconds since 1970.
        last_change_timestamp_seconds: Gauge,
        /// Tokens that the model was trained on since genesis.
        tokens: Gauge,
        /// Round of the newest head that validators measured.
        measured_round: Gauge,
        /// Loss of that head on held-out text, in nats per token: the median of validators by
        /// stake.
        loss_nats: Gauge,
        /// Figures of that head between 0 and 1, from validators; NaN for parts that it lacks, and
        /// for the level if it lacks any.
        measure_ratio: Gauges<Measure>,
    }
}

metrics! {
    /// The network.
    NetworkFacts network "pol_network" {
        /// Bonded members by their role.
        members: Gauges<MemberRole>,
        /// Stake of the validators that take part in attesting, in POL.
        stake_pol: Gauge,
        /// Shards that are neither leased nor consumed.
        free_shards: Gauge,
        /// Audits that are not settled.
        open_audits: Gauge,
        /// Totals of all rewards and fines, in POL.
        rewards_pol: Gauges<Total>,
    }
}

metrics! {
    /// The beacon that draws of audits wait for.
    BeaconFacts beacon "pol_beacon" {
        /// 1 if draws wait for a beacon, 0 if the chain has none.
        configured: Gauge,
        /// Round of the pulse that draws wait for or that arrived last.
        round: Gauge,
        /// Time since the awaited pulse was due, in seconds; 0 if it has arrived or none is
        /// awaited.
        overdue_seconds: Gauge,
    }
}

metrics! {
    /// The account of this process.
    AccountFacts account "pol_account" {
        /// Bond of the account, in POL; 0 without one.
        bond_pol: Gauge,
        /// Part of the bond that is locked for updates without a verdict, in POL.
        locked_bond_pol: Gauge,
        /// Bond that the role of the account needs, in POL.
        minimum_bond_pol: Gauge,
        /// Free balance of the account, in POL.
        free_balance_pol: Gauge,
        /// Rewards of the account in escrow whose amount is known, in POL.
        waiting_rewards_pol: Gauge,
        /// 1 if the account is set aside, as absent validators are, else 0.
        chilled: Gauge,
        /// 1 if the account has a lease, else 0.
        leases: Gauge,
        /// Updates of the account that are under audit.
        open_audits: Gauge,
        /// Updates of the account whose audit waits for an answer of this machine.
        unanswered_audits: Gauge,
        /// Rewards that this process has claimed.
        claims_total: Counter,
    }
}
