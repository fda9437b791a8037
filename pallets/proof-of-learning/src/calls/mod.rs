// SPDX-License-Identifier: Apache-2.0

//! Bodies of the calls by topic. Origins are checked where the calls are declared.

mod audits;
mod commitments;
mod governance;
mod heads;
mod leases;
mod metrics;
mod settlement;

use pol_primitives::audit::{Audit, AuditConfig};

/// An audit that a call found to be in the right stage, with the parameters of audits.
pub(crate) type CheckedAudit<AccountId> = (Audit<AccountId>, AuditConfig);
