// SPDX-License-Identifier: Apache-2.0

//! One process of an account: peers ask the endpoint that was registered last, and find nothing of
//! what another process of the account has.

use crate::{
    context::NodeContext,
    error::{Result, RoleError},
};
use anyhow::anyhow;
use pol_chain::Signer;
use pol_primitives::{member::Endpoint, round::BlockNumber};
use std::net::SocketAddr;

/// Blocks between two looks.
const LOOK_INTERVAL: BlockNumber = 10;

/// Watch over an account that serves, for the process that does.
pub(crate) struct SoleProcess {
    context: NodeContext,
    signer: Signer,
    /// The endpoint of this process was final. Until then, that of an earlier start may be there.
    is_registered: bool,
    next_look: BlockNumber,
}

impl SoleProcess {
    /// Creates a watch over the account of `signer`.
    pub(crate) fn new(context: NodeContext, signer: Signer) -> Self {
        Self { context, signer, is_registered: false, next_look: 0 }
    }

    /// Returns `true` once peers ask this process for good. What it would promise before could be
    /// asked of another process that started with it.
    pub(crate) fn is_registered(&self) -> bool {
        self.is_registered
    }

    /// Looks now and then whether peers still ask this process.
    ///
    /// # Errors
    ///
    /// Fails for good if another process of the account has taken its place.
    pub(crate) async fn check(&mut self, height: BlockNumber) -> Result<()> {
        if height < self.next_look {
            return Ok(());
        }
        // A node that lags shows the endpoint of an earlier start.
        let chain = self.context.chain.at(self.context.final_block().await?.hash);
        let member = chain.member(&self.signer.account()).await?;
        let Some(endpoint) = member.and_then(|member| member.endpoint) else { return Ok(()) };
        let swarm = &self.context.swarm;
        let own = swarm.endpoint();
        if endpoint == own {
            self.is_registered = true;
            self.next_look = height.saturating_add(LOOK_INTERVAL);
            return Ok(());
        }
        // A copy of the folder has the same name at another address.
        let is_other = endpoint.id != own.id;
        if self.is_registered || (is_other && swarm.answers(&endpoint).await) {
            return Err(RoleError::fatal(anyhow!(second_process(&self.signer, &endpoint))));
        }
        Ok(())
    }
}

/// Returns the error of a process whose account serves at the endpoint `other` too.
pub(crate) fn second_process(signer: &Signer, other: &Endpoint) -> String {
    let addresses: Vec<_> =
        other.addresses.iter().map(|address| SocketAddr::from(*address).to_string()).collect();
    format!(
        "another process of {} serves at {}; an account serves from one process only, so stop that \
         one first, or use another account",
        signer.ss58(),
        addresses.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::member::Address;

    #[test]
    fn the_other_process_is_named() {
        let signer = Signer::from_uri("//Alice").unwrap();
        let address = Address::V4([192, 0, 2, 7], 9_000);
        let addresses = vec![address].try_into().unwrap();
        let message = second_process(&signer, &Endpoint { id: [8; 32], addresses });
        assert!(message.contains("serves at 192.0.2.7:9000"), "{message}");
        assert!(message.contains(&signer.ss58()) && message.contains("stop that one"), "{message}");
    }
}
