//! By topic. Every test ends with the pallet's accounting.

mod commitments;
mod governance;
mod heads;
mod leases;
mod rounds;
mod views;
mod walks;
