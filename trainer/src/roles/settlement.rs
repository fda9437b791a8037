// SPDX-License-Identifier: Apache-2.0

use crate::{
    context::{NodeContext, submit_housekeeping},
    error::Result,
};
use pol_chain::{AccountId, Call, Signer, format_account};
use pol_primitives::audit::{Audit, AuditId};

/// Has the chain settle the case of `trainer` in `audit`. Other members may do so at the same time.
///
/// # Errors
///
/// Fails if the chain cannot be reached.
pub(super) async fn settle(
    context: &NodeContext,
    signer: &Signer,
    id: AuditId,
    audit: &Audit<AccountId>,
    trainer: AccountId,
) -> Result<()> {
    let call = Call::Settle { audit: id, trainer };
    if submit_housekeeping(&context.chain, signer, call).await? {
        let history = context.chain.history(audit.round).await?;
        let outcome = history
            .iter()
            .find(|(account, _)| *account == trainer)
            .map(|(_, record)| record.outcome);
        let outcome = outcome.map_or("undecided; more seats are drawn".to_owned(), |outcome| {
            format!("settled: {outcome:?}")
        });
        tracing::info!(
            "round {}: the update of {} is {outcome}",
            audit.round,
            format_account(&trainer)
        );
    }
    Ok(())
}
