//! Audits: who re-executes which part of an update, what they find, and what follows from it.
//!
//! One [`Audit`] covers the included updates of a round, each as a [`Case`] with some seats. A
//! second, larger draw covers those that the first left undecided. It goes through five stages;
//! each ends as soon as everybody it waits for is done:
//!
//! ```text
//! Serve ──► Replay ──► Open ──► Reveal ──► Settle
//! trainers  seats      trainers seats      anybody
//! show the  re-execute open the open what  lets the chain
//! start     and commit end      they found compare
//! ```
//! An end of a drawn segment is not shown before every seat has committed to what its own replay
//! gave, so the only way to know the right answer in time is to do the work.

use crate::MAX_SUBMISSIONS;

mod case;
mod draw;
pub mod exact;
mod finding;
pub mod native;
mod response;
mod stage;
#[cfg(test)]
mod tests;

pub use case::{Audit, Case, PendingAudit, SeatHolder};
pub use draw::{draw_seats, draw_segments};
pub use finding::{
    Binding, Evidence, Finding, Seat, UpdateMeasurement, Verdict, evidence_commitment,
};
pub use response::{AuditResponse, LeafProof, SketchedEnd, StateProof, TraceState};
pub use stage::{AuditConfig, Stage};

/// Number of an audit; counts up.
pub type AuditId = u32;
/// Most seats on one update in one draw.
pub const MAX_SEATS: u32 = 16;
/// Most segments of one update that one draw audits.
pub const MAX_AUDITED_SEGMENTS: u32 = 4;
/// Most validators that hold a seat in one audit.
pub const MAX_SEAT_HOLDERS: u32 = MAX_SEATS * MAX_SUBMISSIONS;
/// Most shards that scores are measured on.
pub const MAX_PROBE_SHARDS: u32 = 16;
/// Most states a trainer has to show for one update: a start for each drawn segment, and the final
/// one.
pub const MAX_SERVED_STATES: u32 = MAX_AUDITED_SEGMENTS + 1;
/// Most leaves of a trace that two draws can make known.
pub const MAX_KNOWN_LEAVES: u32 = 2 * (MAX_SERVED_STATES + MAX_AUDITED_SEGMENTS);
/// Segments of one update that one draw audits. Those of one draw must not touch, since a replay
/// that goes on from its own end adds up what is apart, and evidence about 64 updates must fit an
/// extrinsic.
pub const MAX_SKETCHED_SEGMENTS: u32 = 1;
