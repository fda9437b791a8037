//! By topic. Every test ends with the pallet's accounting.

mod audits;
mod commitments;
mod governance;
mod heads;
mod leases;
mod native;
mod rounds;
mod settling;
mod views;
mod walks;
