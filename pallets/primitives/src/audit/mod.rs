// SPDX-License-Identifier: Apache-2.0

//! Audits: the re-execution of updates by randomly drawn seats.
//!
//! One [`Audit`] covers the included updates of a round, each as a [`Case`] with several seats.
//!
//! The first draw acquits an update where two thirds of its seats found it valid and no seat
//! objects. All others go to a second draw with more seats, in which two thirds decide. So nobody
//! loses anything by the word of a few. An audit has five stages, and each ends early when every
//! account it waits for has acted:
//!
//! ```text
//! Serve ──► Replay ──► Open ──► Reveal ──► Settle
//! trainers  seats      trainers seats      anyone
//! show the  replay     open the reveal     makes the
//! start     and commit end      findings   chain compare
//! ```
//!
//! The trainer opens the end of a drawn segment only after every seat has committed to the end of
//! its own replay. So a seat knows the right answer in time only if it has done the work.
//!
//! [`exact`] and [`native`] compare the findings under the two
//! [numerics profiles](crate::recipe::Numerics).

use crate::{MAX_SUBMISSIONS, RoundNumber};

mod case;
mod draw;
pub mod exact;
mod finding;
pub mod native;
mod response;
mod stage;
mod tally;
#[cfg(test)]
mod tests;

pub use case::{Audit, Case, EarlierSeat, PendingAudit, SeatHolder};
pub use draw::{draw_proportional_seats, draw_seats, draw_segments, seated_stakes};
pub use finding::{
    Binding, Evidence, Finding, MEASURED_SHARDS, Seat, UpdateMeasurement, Verdict,
    evidence_commitment, is_seat_quorum, verdict_of_draw,
};
pub use response::{AuditResponse, LeafProof, SketchedEnd, StateProof, TraceState};
pub use stage::{AuditConfig, Stage};
pub use tally::{MAX_FINES, MAX_STRIKES, SeatResult, SeatTally};

/// Identifier of an audit; counts up from 0.
pub type AuditId = u32;
/// Maximum number of seats on one update in one draw.
pub const MAX_SEATS: u32 = 16;
/// Maximum number of segments of one update that one draw audits.
pub const MAX_AUDITED_SEGMENTS: u32 = 4;
/// Maximum number of validators that hold seats in one audit.
pub const MAX_SEAT_HOLDERS: u32 = MAX_SEATS * MAX_SUBMISSIONS;
/// Maximum number of rounds that a reward stays in escrow after its round.
pub const MAX_ESCROW_ROUNDS: RoundNumber = 30;
/// Maximum number of probe shards of one audit.
pub const MAX_PROBE_SHARDS: u32 = 16;
/// Maximum number of states that a trainer has to serve for one update: a start for each drawn
/// segment, and the final state.
pub const MAX_SERVED_STATES: u32 = MAX_AUDITED_SEGMENTS + 1;
/// Maximum number of leaves of a trace that two draws can make known.
pub const MAX_KNOWN_LEAVES: u32 = 2 * (MAX_SERVED_STATES + MAX_AUDITED_SEGMENTS);
/// Maximum number of segments of one update that one draw audits under the native profile.
///
/// The limit is 1 for two reasons. Drawn segments must not be adjacent, because a replay that
/// continues from its own end accumulates differences. And the evidence about 64 updates must fit
/// into an extrinsic.
pub const MAX_SKETCHED_SEGMENTS: u32 = 1;
