// SPDX-License-Identifier: Apache-2.0

//! Work of the roles in the network, of their swarm, and of those who watch.

use crate::{
    Counter, Counters, Gauge, Histogram, Level,
    family::{label, metrics},
};

/// Seconds of work that takes from a moment to an hour.
const WORK_SECONDS: [f64; 12] =
    [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0];
/// Seconds of transfers between peers.
const TRANSFER_SECONDS: [f64; 10] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 120.0, 600.0];

label! {
    /// Outcome of an update.
    UpdateOutcome "outcome" {
        Valid "valid",
        Invalid "invalid",
        Withheld "withheld",
        Unresolved "unresolved",
        Tainted "tainted",
        NoShow "no_show",
        Excluded "excluded",
    }
}
label! {
    /// Stage of an audit in which the trainer answers.
    AnswerStage "stage" { Serve "serve", Open "open", }
}
label! {
    /// Time of an attestation.
    AttestationTime "time" { InTime "in_time", Late "late", }
}
label! {
    /// Result of a search for a blob among peers.
    FetchResult "result" {
        Delivered "delivered", Unavailable "unavailable", NoTurn "no_turn", Failed "failed",
    }
}
label! {
    /// Result of a request of a peer.
    ServeResult "result" { Complete "complete", Broken "broken", NotHere "not_here", }
}

metrics! {
    /// Work of a trainer.
    Trainer trainer "pol_trainer" {
        /// Threads that train.
        worker_threads: Gauge,
        /// Leases that this process took.
        leases_total: Counter,
        /// Leases that this process gave up, since it could not train them.
        abandoned_leases_total: Counter,
        /// 1 while it takes no lease because it was asked to pause or to stop, and otherwise 0.
        paused: Gauge,
        /// Segments trained.
        segments_total: Counter,
        /// Tokens trained on.
        tokens_total: Counter,
        /// Time to train a segment, in seconds.
        segment_duration_seconds: Histogram = WORK_SECONDS,
        /// Training loss of the last segment, in nats per token.
        loss_nats: Gauge,
        /// Mean L2 norm of the gradients of the steps of the last segment, before they are clipped.
        gradient_norm: Gauge,
        /// Optimiser steps whose gradient was clipped.
        clipped_steps_total: Counter,
        /// L2 norm of the change of the parameters by the last lease, before it is compressed.
        update_norm: Gauge,
        /// Share of the segments of the lease that are trained.
        lease_progress_ratio: Gauge,
        /// Commitments that the chain took.
        commitments_total: Counter,
        /// Time of the last commitment, in seconds since 1970; at first the start of the process.
        last_commitment_timestamp_seconds: Gauge,
        /// Reveals that the chain took.
        reveals_total: Counter,
        /// Answers to audits that the chain took, by the stage of the audit.
        audit_answers_total: Counters<AnswerStage>,
        /// Updates that are settled, by their outcome.
        updates_total: Counters<UpdateOutcome>,
    }
}

metrics! {
    /// Work of a validator.
    Validator validator "pol_validator" {
        /// Reports of the updates that are here.
        reports_total: Counter,
        /// Attestations of a head. Late ones came after the others had agreed.
        attestations_total: Counters<AttestationTime>,
        /// Time of the last attestation, in seconds since 1970; at first the start of the process.
        last_attestation_timestamp_seconds: Gauge,
        /// Time to compute the next head, in seconds.
        head_duration_seconds: Histogram = WORK_SECONDS,
        /// Time to gather the evidence of an audit, in seconds: fetches, replays, and measurements.
        audit_duration_seconds: Histogram = WORK_SECONDS,
        /// Audits to whose evidence this validator committed.
        committed_audits_total: Counter,
        /// Audits whose evidence this validator revealed.
        revealed_audits_total: Counter,
        /// Audits with a seat of this validator in which it could judge nothing.
        silent_audits_total: Counter,
        /// Absent validators that this one set aside.
        chilled_validators_total: Counter,
    }
}

metrics! {
    /// Measurement of models by a trainer or a validator.
    Measurement measurement "pol_measurement" {
        /// Time to measure a head, in seconds.
        duration_seconds: Histogram = WORK_SECONDS,
        /// Loss of the head that was measured last on this machine, in nats per token.
        loss_nats: Gauge,
    }
}

metrics! {
    /// Exchange of blobs with peers.
    SwarmTraffic swarm "pol_swarm" {
        /// Blobs that were searched for among peers, by the result.
        fetches_total: Counters<FetchResult>,
        /// Time of a search for a blob among peers, in seconds.
        fetch_duration_seconds: Histogram = TRANSFER_SECONDS,
        /// Bytes of blobs that arrived from peers.
        received_bytes_total: Counter,
        /// Requests of peers for a blob, by the result.
        requests_total: Counters<ServeResult>,
        /// Connections of peers that are served.
        connections: Level,
        /// Connections of peers that were closed, since others took their slots.
        refused_connections_total: Counter,
    }
}

metrics! {
    /// Disk of the state folder.
    Disk disk "pol_state" {
        /// Free space on the disk of the state folder, in bytes.
        disk_free_bytes: Gauge,
        /// Size of the disk of the state folder, in bytes.
        disk_size_bytes: Gauge,
    }
}

metrics! {
    /// Relay or signer of pulses of the beacon.
    BeaconRelay beacon_relay "pol_beacon_relay" {
        /// Pulses that this process showed to the chain.
        pulses_total: Counter,
        /// Attempts to show a pulse that failed.
        failures_total: Counter,
    }
}

metrics! {
    /// Observer of the network.
    Observer observer "pol_observer" {
        /// Heads that this process computed and measured.
        heads_total: Counter,
        /// Loss of the newest of them on held-out text, in nats per token.
        loss_nats: Gauge,
        /// Time of the newest of them, in seconds since 1970; at first the start of the process.
        last_head_timestamp_seconds: Gauge,
    }
}
