//! One process in the network: its account, its view of the chain and its place in the swarm.

use crate::{
    cli::SwarmOptions,
    display::{role_name, short_hash},
    error::{Result, RoleError},
    state::StateFolder,
};
use anyhow::{Context, anyhow};
use pol_chain::{AccountId, Call, Chain, ChainError, Signer, format_account};
use pol_primitives::{
    Balance, Hash, POL,
    payload::{Payload, encoded_size},
    peer::{Endpoint, Role},
    recipe::Recipe,
    view::Member,
};
use pol_swarm::{Swarm, SwarmConfig};
use std::sync::Arc;

/// Kept besides the bond, for fees.
const FEE_RESERVE: Balance = POL;

/// Everything a role acts through.
#[derive(Clone)]
pub struct NodeContext {
    /// The chain.
    pub chain: Chain,
    /// Blobs, its own and others'.
    pub swarm: Swarm,
    /// What outlives the process.
    pub state: Arc<StateFolder>,
}

impl NodeContext {
    /// Starts serving blobs from `state`.
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

    /// Bonds the account for `role` and registers where it is reached, unless that is so already.
    pub async fn ensure_member(&self, signer: &Signer, role: Role) -> Result<Member<AccountId>> {
        let account = signer.account();
        let member = self.chain.member(&account).await?;
        match &member {
            None => {
                let (bond, free) = (role.minimum_bond(), self.chain.free_balance(&account).await?);
                if free < bond.saturating_add(FEE_RESERVE) {
                    return Err(RoleError::fatal(anyhow!(
                        "{} has {} POL and needs a bond of {} POL plus fees to be a {}; send it some, or use another account",
                        signer.ss58(),
                        free / POL,
                        bond / POL,
                        role_name(role)
                    )));
                }
                self.chain.submit(signer, Call::Bond { role, amount: bond }).await?;
                tracing::info!("bonded {} POL as a {}", bond / POL, role_name(role));
            }
            // An authority does all that a validator does.
            Some(member) if member.role == role || (role.attests() && member.role.attests()) => {
                self.fill_bond(signer, member).await?;
            }
            Some(member) => {
                return Err(RoleError::fatal(anyhow!(
                    "{} is bonded as a {}; an account has one role, so use another account for a {}",
                    signer.ss58(),
                    role_name(member.role),
                    role_name(role)
                )));
            }
        }
        let endpoint = self.swarm.endpoint();
        if member.and_then(|member| member.endpoint).as_ref() != Some(&endpoint) {
            self.chain.submit(signer, Call::SetEndpoint { endpoint }).await?;
            tracing::info!("registered where peers find this machine");
        }
        let member = self.chain.member(&account).await?;
        member.ok_or_else(|| RoleError::transient(anyhow!("the bond is not on the best chain yet")))
    }

    /// Fills the bond of `member`, the signer's, up to its minimum. Penalties use it up, and below
    /// the minimum it stops counting sooner or later; until then it serves as it is.
    pub async fn fill_bond(&self, signer: &Signer, member: &Member<AccountId>) -> Result<()> {
        let amount = member.role.minimum_bond().saturating_sub(member.bond);
        if amount > 0 {
            match submit_housekeeping(&self.chain, signer, Call::BondExtra { amount }).await? {
                true => tracing::info!("filled the bond up to its minimum"),
                false => tracing::warn!(
                    "the bond is below its minimum and could not be filled up; see to the balance"
                ),
            }
        }
        Ok(())
    }

    /// Endpoints of all members, those of `first` before the others.
    pub async fn endpoints(&self, first: &[AccountId]) -> Result<Vec<Endpoint>> {
        let mut members = self.chain.members().await?;
        // The likeliest first: who is named, then validators, which keep everything, then trainers.
        members.sort_by_key(|member| (!first.contains(&member.account), !member.role.attests()));
        let own = self.swarm.endpoint().id;
        Ok(members
            .into_iter()
            .filter_map(|member| member.endpoint)
            .filter(|endpoint| endpoint.id != own)
            .collect())
    }

    /// The recipe with this hash, whether it is in force or was.
    pub async fn recipe(&self, hash: &Hash) -> Result<Recipe> {
        let found = self.chain.recipe_by_hash(hash).await?;
        found.ok_or_else(|| {
            RoleError::transient(anyhow!("the node does not know the recipe {}", short_hash(hash)))
        })
    }

    /// A blob of at most `max_bytes`, from this machine or a peer, kept under the label `keep`.
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

    /// The update that `account` revealed as `hash`, checked to fit the recipe.
    pub async fn fetch_payload(
        &self,
        recipe: &Recipe,
        account: &AccountId,
        hash: &Hash,
    ) -> Result<Payload> {
        let (top_k, values) = (recipe.compression.top_k, recipe.model.size());
        let bytes = self
            .fetch_blob(hash, encoded_size(top_k, values), &[*account], &payload_tag(hash))
            .await?;
        Payload::decode(&bytes, top_k, values)
            .with_context(|| format!("payload {} of {}", short_hash(hash), format_account(account)))
            .map_err(RoleError::Transient)
    }
}

/// Payloads are kept for as long as the folder: together they are the model's history.
pub fn payload_tag(hash: &Hash) -> String {
    format!("payload/{}", hex::encode(hash))
}

/// Submits a call that others may have made unnecessary: being refused is reported at debug level
/// only.
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
