//! By topic. Every test ends with the pallet's accounting.

mod audits;
mod commitments;
mod governance;
mod heads;
mod leases;
mod metrics;
mod native;
mod rewrites;
mod rounds;
mod settling;
mod views;
mod walks;
