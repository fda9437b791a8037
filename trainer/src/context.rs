// SPDX-License-Identifier: Apache-2.0

//! Connections and state of one process: chain client, swarm and state folder.

use crate::{
    display::{role_name, short_hash},
    error::{Result, RoleError},
    options::SwarmOptions,
    state::StateFolder,
};
use anyhow::{Context, anyhow};
use pol_chain::{AccountId, Call, Chain, ChainError, Signer, format_account};
use pol_primitives::{
    Balance, Hash, POL,
    member::{Endpoint, Role},
    payload::{Payload, encoded_size},
    queries::Member,
    recipe::Recipe,
};
use pol_swarm::{Swarm, SwarmConfig};
use std::sync::Arc;

/// Balance that an account needs besides its bond, to pay fees.
const FEE_RESERVE: Balance = POL;

/// Chain client, swarm and state folder that roles act through.
#[derive(Clone)]
pub struct NodeContext {
    /// Client of the chain.
    pub chain: Chain,
    /// Swarm that serves and fetches blobs.
    pub swarm: Swarm,
    /// Folder of the state that outlives the process.
    pub state: Arc<StateFolder>,
}

impl NodeContext {
    /// Starts to serve the blobs in `state`.
    ///
    /// # Errors
    ///
    /// Fails if the swarm's key cannot be read or the swarm cannot start.
    pub async fn start(
        chain: Chain,
        swarm: &SwarmOptions,
        state: StateFolder,
    ) -> anyhow::Result<Self> {
        let config = SwarmConfig {
            directory: state.path().join("swarm"),
            secret: state.peer_secret()?,
            bind: swarm.listen,
            advertise: swarm.advertise.clone(),
        };
        let swarm = Swarm::start(config).await?;
        Ok(Self { chain, swarm, state: Arc::new(state) })
    }

    /// Bonds the account for `role` and registers its endpoint, as far as that is not done yet.
    ///
    /// # Errors
    ///
    /// Fails for good if the balance is too small or the account has another role, and for the
    /// moment if the chain cannot be reached.
    pub async fn ensure_member(&self, signer: &Signer, role: Role) -> Result<Member<AccountId>> {
        let account = signer.account();
        let member = self.chain.member(&account).await?;
        match &member {
            None => self.bond(signer, role).await?,
            // An authority has all duties of a validator.
            Some(member) if member.role == role || (role.attests() && member.role.attests()) => {
                self.fill_bond(signer, member).await?;
            }
            Some(member) => {
                return Err(RoleError::fatal(anyhow!(
                    "{} is bonded as a {}; an account has one role, so use another account \
                     for a {}",
                    signer.ss58(),
                    role_name(member.role),
                    role_name(role)
                )));
            }
        }
        let endpoint = self.swarm.endpoint();
        if member.and_then(|member| member.endpoint).as_ref() != Some(&endpoint) {
            self.chain.submit(signer, Call::SetEndpoint { endpoint }).await?;
            tracing::info!("registered the endpoint of this machine");
        }
        let member = self.chain.member(&account).await?;
        member.ok_or_else(|| RoleError::transient(anyhow!("the bond is not on the best chain yet")))
    }

    async fn bond(&self, signer: &Signer, role: Role) -> Result<()> {
        let bond = role.minimum_bond();
        let free = self.chain.free_balance(&signer.account()).await?;
        if free < bond.saturating_add(FEE_RESERVE) {
            return Err(RoleError::fatal(anyhow!(
                "{} has {} POL and needs a bond of {} POL plus fees to be a {}; send it some, or \
                 use another account",
                signer.ss58(),
                free / POL,
                bond / POL,
                role_name(role)
            )));
        }
        self.chain.submit(signer, Call::Bond { role, amount: bond }).await?;
        tracing::info!("bonded {} POL as a {}", bond / POL, role_name(role));
        Ok(())
    }

    /// Fills the bond of the signer, who is `member`, up to its minimum.
    ///
    /// Penalties use the bond up. Below the minimum it still serves for a while, so that a balance
    /// too small to fill it is a warning only.
    ///
    /// # Errors
    ///
    /// Fails if the chain cannot be reached.
    pub async fn fill_bond(&self, signer: &Signer, member: &Member<AccountId>) -> Result<()> {
        let amount = member.role.minimum_bond().saturating_sub(member.bond);
        if amount > 0 {
            if submit_housekeeping(&self.chain, signer, Call::BondExtra { amount }).await? {
                tracing::info!("filled the bond up to its minimum");
            } else {
                tracing::warn!(
                    "the bond is below its minimum and could not be filled up; check the balance"
                );
            }
        }
        Ok(())
    }

    /// Returns the endpoints of all other members, those of `first` before the rest.
    ///
    /// # Errors
    ///
    /// Fails if the chain cannot be reached.
    pub async fn endpoints(&self, first: &[AccountId]) -> Result<Vec<Endpoint>> {
        let mut members = self.chain.members().await?;
        // By the chance that they have a blob: `first`, validators, which keep everything, and
        // then trainers.
        members.sort_by_key(|member| (!first.contains(&member.account), !member.role.attests()));
        let own = self.swarm.endpoint().id;
        Ok(members
            .into_iter()
            .filter_map(|member| member.endpoint)
            .filter(|endpoint| endpoint.id != own)
            .collect())
    }

    /// Returns the recipe with this hash, in force now or before.
    ///
    /// # Errors
    ///
    /// Fails if the node does not know the recipe.
    pub async fn recipe(&self, hash: &Hash) -> Result<Recipe> {
        let found = self.chain.recipe_by_hash(hash).await?;
        found.ok_or_else(|| {
            RoleError::transient(anyhow!("the node does not know the recipe {}", short_hash(hash)))
        })
    }

    /// Returns a blob of at most `max_bytes` from this machine or a peer, and keeps it under the
    /// label `keep`. The peers of `first` are asked before the others.
    ///
    /// # Errors
    ///
    /// Fails if no peer serves the blob, or if it is too large.
    pub async fn fetch_blob(
        &self,
        hash: &Hash,
        max_bytes: u64,
        first: &[AccountId],
        keep: &str,
    ) -> Result<Vec<u8>> {
        let peers =
            if self.swarm.has(*hash).await? { Vec::new() } else { self.endpoints(first).await? };
        Ok(self.swarm.fetch(*hash, max_bytes, &peers, keep).await?.to_vec())
    }

    /// Returns the payload that `account` revealed as `hash`.
    ///
    /// # Errors
    ///
    /// Fails if no peer serves the payload, or if it does not fit the recipe.
    pub async fn fetch_payload(
        &self,
        recipe: &Recipe,
        account: &AccountId,
        hash: &Hash,
    ) -> Result<Payload> {
        let (top_k, values) = (recipe.compression.top_k, recipe.model.size());
        let max_bytes = encoded_size(top_k, values);
        let bytes = self.fetch_blob(hash, max_bytes, &[*account], &payload_tag(hash)).await?;
        Payload::decode(&bytes, top_k, values)
            .with_context(|| format!("payload {} of {}", short_hash(hash), format_account(account)))
            .map_err(RoleError::Transient)
    }
}

/// Returns the label of a payload.
///
/// Payloads are kept as long as the state folder: together they are the history of the model.
pub fn payload_tag(hash: &Hash) -> String {
    format!("payload/{}", hex::encode(hash))
}

/// Submits a call that another member may have made unnecessary, and returns `true` if the chain
/// accepted it. A refusal is logged at debug level.
///
/// # Errors
///
/// Fails if the call could not be submitted.
pub async fn submit_housekeeping(chain: &Chain, signer: &Signer, call: Call) -> Result<bool> {
    match chain.submit(signer, call).await {
        Ok(_) => Ok(true),
        Err(error @ ChainError::Refused { .. }) => {
            tracing::debug!("{error}");
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}
