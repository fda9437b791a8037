// SPDX-License-Identifier: Apache-2.0

//! Connections and state of one process: chain client, swarm and state folder.

use crate::{
    control::Control,
    display::{format_amount, role_name, short_hash},
    error::{Result, RoleError},
    options::SwarmOptions,
    state::StateFolder,
};
use anyhow::{Context, anyhow};
use pol_chain::{AccountId, BlockInfo, Call, Chain, ChainError, Signer, format_account};
use pol_primitives::{
    Balance, Hash, POL, RoundNumber,
    member::{Endpoint, Role},
    payload::{Payload, encoded_size},
    queries::Member,
    recipe::Recipe,
    round::BlockNumber,
};
use pol_swarm::{Bytes, Swarm, SwarmConfig, SwarmError};
use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};
use tokio::{sync::Mutex, time::timeout};

/// Longest try to fetch a blob without a deadline of its own. What arrived is kept.
const FETCH_TIME: Duration = Duration::from_secs(1800);
/// Time for which the list of members is taken from memory: a few blocks.
const MEMBERS_TIME: Duration = Duration::from_secs(12);
/// Balance that an account needs besides its bond, to pay fees.
const FEE_RESERVE: Balance = POL;
/// Longest wait for a block that includes a call without a deadline: some blocks.
const HOUSEKEEPING_WAIT: Duration = Duration::from_secs(10);

/// Result of the try to raise a bond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BondRaise {
    /// The bond is raised.
    Done,
    /// The balance does not cover it and some fees, or the chain refused it.
    NotCovered,
    /// The key is that of a proxy that may not raise the bond.
    OwnKeyOnly,
}

/// Chain client, swarm and state folder that roles act through.
#[derive(Clone)]
pub struct NodeContext {
    /// Client of the chain.
    pub chain: Chain,
    /// Swarm that serves and fetches blobs.
    pub swarm: Swarm,
    /// Folder of the state that outlives the process.
    pub state: Arc<StateFolder>,
    /// Choices of the member.
    pub policy: Policy,
    /// Handle of those who watch and steer this process.
    pub(crate) control: Control,
    /// Time until which blobs are fetched; `None` for [`FETCH_TIME`] each.
    deadline: Option<Instant>,
    members: MemberCache,
    newest_final: NewestFinal,
}

/// Newest block that a node showed as final to this process.
#[derive(Clone, Debug, Default)]
struct NewestFinal(Arc<std::sync::Mutex<Option<BlockInfo>>>);

impl NewestFinal {
    /// Notes a block that a node shows as final, and returns the newest one that was shown.
    fn note(&self, block: BlockInfo) -> BlockInfo {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = newest.filter(|newest| newest.number > block.number).unwrap_or(block);
        *newest = Some(shown);
        shown
    }
}

/// Checks that the best block of a node, `best`, is not behind the block `newest`, which was final
/// before.
///
/// # Errors
///
/// Fails if it is: what such a node shows is over, and what it does not show may be open.
fn require_caught_up(best: BlockNumber, newest: BlockNumber) -> Result<()> {
    if best >= newest {
        return Ok(());
    }
    Err(RoleError::transient(anyhow!(
        "the node lags: it is at block {best}, and block {newest} was final before. Doing and \
         forgetting nothing until it catches up; name another node if it does not"
    )))
}

/// Choices of a member about finality and disk space.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// Set to act on leases and audits before they are final.
    pub unfinalised: bool,
    /// Set to keep the payloads of all rounds.
    pub archive: bool,
}

/// A blob that no member delivered.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct Undelivered {
    /// Members that were asked and are at fault, as they were registered when they were asked.
    pub(crate) at_fault: Vec<AccountId>,
    /// Failures of the peers.
    pub source: SwarmError,
}

impl Undelivered {
    /// Returns `true` if `account` was asked for the blob, and neither delivered it nor was still
    /// sending it when the time ended.
    pub fn is_fault_of(&self, account: &AccountId) -> bool {
        self.at_fault.contains(account)
    }
}

/// The members of the network, and the time they were read.
type MemberCache = Arc<Mutex<Option<(Instant, Arc<Vec<Member<AccountId>>>)>>>;

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
        Ok(Self {
            chain,
            swarm,
            state: Arc::new(state),
            policy: Policy::default(),
            control: Control::default(),
            deadline: None,
            members: MemberCache::default(),
            newest_final: NewestFinal::default(),
        })
    }

    /// Returns a context that fetches blobs until `deadline` only.
    pub fn until(&self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self.clone() }
    }

    /// Returns a context whose fetches wait only for each other, and not for those of other roles.
    pub fn with_own_turns(&self) -> Self {
        Self { swarm: self.swarm.with_own_turns(), ..self.clone() }
    }

    /// Returns the block whose leases and audits this member acts on where a mistake costs
    /// somebody's bond: the last finalised one, or the best one if the member chose so.
    ///
    /// A call that is submitted [at](Chain::at) that block is void on every fork without it.
    ///
    /// # Errors
    ///
    /// Fails if the chain cannot be reached, and if the node's best block is behind one that was
    /// final before, as that of a node which catches up after another one failed.
    pub async fn firm_block(&self) -> Result<BlockInfo> {
        if self.policy.unfinalised {
            return Ok(self.chain.best_block().await?);
        }
        self.final_block().await
    }

    /// Returns the newest block that a node showed as final to this process.
    ///
    /// # Errors
    ///
    /// Fails as [`Self::firm_block`] does.
    pub(crate) async fn final_block(&self) -> Result<BlockInfo> {
        let shown = self.chain.finalised_block().await?;
        let newest = self.newest_final.note(shown);
        if newest != shown {
            require_caught_up(self.chain.best_block().await?.number, newest.number)?;
        }
        Ok(newest)
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
            let registered = self.chain.submit(signer, Call::SetEndpoint { endpoint }).await;
            registered.map_err(RoleError::at_start)?;
            tracing::info!("registered the endpoint of this machine");
        }
        let member = self.chain.member(&account).await?;
        member.ok_or_else(|| RoleError::transient(anyhow!("the bond is not on the best chain yet")))
    }

    async fn bond(&self, signer: &Signer, role: Role) -> Result<()> {
        let (account, key) = (signer.account(), signer.key_account());
        if key != account {
            return Err(RoleError::fatal(anyhow!(
                "{} is not bonded, and a proxy cannot bond it: with the key of that account, run \
                 `pol-trainer keys authorise {} --bond {}`",
                signer.ss58(),
                format_account(&key),
                role_name(role)
            )));
        }
        let bond = role.minimum_bond();
        let free = self.chain.free_balance(&account).await?;
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
        let bonded = self.chain.submit(signer, Call::Bond { role, amount: bond }).await;
        bonded.map_err(RoleError::at_start)?;
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
            match self.raise_bond(signer, amount).await? {
                BondRaise::Done => {}
                BondRaise::NotCovered => tracing::warn!(
                    "the bond is below its minimum and could not be filled up; check the balance"
                ),
                BondRaise::OwnKeyOnly => tracing::warn!(
                    "the bond is below its minimum; {}",
                    own_key_advice(signer, amount)
                ),
            }
        }
        Ok(())
    }

    /// Adds `amount` to the signer's bond, if its key may do so.
    ///
    /// # Errors
    ///
    /// Fails if the chain cannot be reached.
    pub async fn raise_bond(&self, signer: &Signer, amount: Balance) -> Result<BondRaise> {
        if !self.chain.may_make_all_calls(signer).await? {
            return Ok(BondRaise::OwnKeyOnly);
        }
        let free = self.chain.free_balance(&signer.account()).await?;
        let raised = free >= amount.saturating_add(FEE_RESERVE)
            && submit_housekeeping(&self.chain, signer, Call::BondExtra { amount }).await?;
        if !raised {
            return Ok(BondRaise::NotCovered);
        }
        tracing::info!("raised the bond by {}", format_amount(amount));
        Ok(BondRaise::Done)
    }

    /// Lets the swarm know the members of now, for whom it reserves most of its connections.
    ///
    /// # Errors
    ///
    /// Fails if the chain cannot be reached.
    pub async fn refresh_members(&self) -> Result<()> {
        self.members().await.map(drop)
    }

    /// Returns the members of the network, as they were a few blocks ago at most.
    async fn members(&self) -> Result<Arc<Vec<Member<AccountId>>>> {
        let mut cache = self.members.lock().await;
        if let Some((read, members)) = &*cache
            && read.elapsed() < MEMBERS_TIME
        {
            return Ok(members.clone());
        }
        let members = Arc::new(self.chain.members().await?);
        let endpoints = members.iter().filter_map(|member| member.endpoint.as_ref());
        self.swarm.set_members(endpoints.map(|endpoint| endpoint.id));
        *cache = Some((Instant::now(), members.clone()));
        Ok(members)
    }

    /// Returns the endpoints of all `members` but this one in the order to ask them for the blob
    /// `hash`: those of `first`, validators, which keep everything, and then trainers.
    ///
    /// Each member asks the validators in an order of its own, so that they share the load.
    fn endpoints(
        &self,
        members: &[Member<AccountId>],
        hash: &Hash,
        first: &[AccountId],
    ) -> Vec<Endpoint> {
        let own = self.swarm.endpoint().id;
        let mut members: Vec<_> = members
            .iter()
            .filter_map(|member| Some((member, member.endpoint.as_ref()?)))
            .filter(|(_, endpoint)| endpoint.id != own)
            .collect();
        members.sort_by_cached_key(|(member, endpoint)| {
            let place = first.iter().position(|account| *account == member.account);
            let turn = *blake3::Hasher::new_keyed(&own)
                .update(hash)
                .update(&endpoint.id)
                .finalize()
                .as_bytes();
            (place.unwrap_or(usize::MAX), !member.role.attests(), turn)
        });
        members.into_iter().map(|(_, endpoint)| endpoint.clone()).collect()
    }

    /// Returns `true` if a peer other than `account` was reached at or after `since`. Without one,
    /// this machine may be the one that is cut off.
    ///
    /// # Errors
    ///
    /// Fails if the chain cannot be reached.
    pub async fn has_reached_others(&self, since: Instant, account: &AccountId) -> Result<bool> {
        let members = self.members().await?;
        let accused = members.iter().find(|member| member.account == *account);
        let accused = accused.and_then(|member| member.endpoint.as_ref()).map(|peer| peer.id);
        Ok(self.swarm.has_reached(since, accused.as_slice()))
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

    /// Makes sure that a blob of at most `max_bytes` is on this machine under the label `keep`. The
    /// peers of `first` are asked before the others. A blob that is here is not read.
    ///
    /// # Errors
    ///
    /// Fails with [`Undelivered`] if no peer serves the blob, and if it is too large.
    pub async fn hold_blob(
        &self,
        hash: &Hash,
        max_bytes: u64,
        first: &[AccountId],
        keep: &str,
    ) -> Result<()> {
        let is_here = self.swarm.has(*hash).await?;
        let members = if is_here { Arc::default() } else { self.members().await? };
        let peers = self.endpoints(&members, hash, first);
        let deadline = self.deadline.unwrap_or_else(|| Instant::now() + FETCH_TIME);
        match self.swarm.hold(*hash, max_bytes, &peers, keep, deadline).await {
            Err(source @ SwarmError::Unavailable { .. }) => {
                // A member may have registered another endpoint.
                *self.members.lock().await = None;
                Err(RoleError::transient(undelivered(&members, source)))
            }
            held => Ok(held?),
        }
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
    ) -> Result<Bytes> {
        self.hold_blob(hash, max_bytes, first, keep).await?;
        let blob = self.swarm.get(*hash, max_bytes).await?;
        blob.ok_or_else(|| {
            RoleError::transient(anyhow!("the blob {} was just removed", short_hash(hash)))
        })
    }

    /// Makes sure that this machine has the payload that `account` revealed for `round` as `hash`.
    ///
    /// # Errors
    ///
    /// Fails if no peer serves the payload, or if it is too large for the recipe.
    pub async fn hold_payload(
        &self,
        recipe: &Recipe,
        round: RoundNumber,
        account: &AccountId,
        hash: &Hash,
    ) -> Result<()> {
        let max_bytes = encoded_size(recipe.compression.top_k, recipe.model.size());
        self.hold_blob(hash, max_bytes, &[*account], &payload_tag(round)).await
    }

    /// Returns the payload that `account` revealed for `round` as `hash`.
    ///
    /// # Errors
    ///
    /// Fails if no peer serves the payload, or if it does not fit the recipe.
    pub async fn fetch_payload(
        &self,
        recipe: &Recipe,
        round: RoundNumber,
        account: &AccountId,
        hash: &Hash,
    ) -> Result<Payload> {
        let (top_k, values) = (recipe.compression.top_k, recipe.model.size());
        let (max_bytes, tag) = (encoded_size(top_k, values), payload_tag(round));
        let bytes = self.fetch_blob(hash, max_bytes, &[*account], &tag).await?;
        Payload::decode(&bytes, top_k, values)
            .with_context(|| format!("payload {} of {}", short_hash(hash), format_account(account)))
            .map_err(RoleError::Transient)
    }
}

/// Returns the error of a fetch for which `members` were asked.
fn undelivered(members: &[Member<AccountId>], source: SwarmError) -> Undelivered {
    let is_at_fault = |member: &&Member<AccountId>| match (&source, &member.endpoint) {
        (SwarmError::Unavailable { failures, .. }, Some(peer)) => failures.is_fault_of(&peer.id),
        _ => false,
    };
    let at_fault = members.iter().filter(is_at_fault).map(|member| member.account).collect();
    Undelivered { at_fault, source }
}

/// Label of the payloads of all rounds.
pub(crate) const PAYLOADS_TAG: &str = "payload";

/// Returns the label of the payloads for `round`.
pub fn payload_tag(round: RoundNumber) -> String {
    format!("{PAYLOADS_TAG}/{round}")
}

/// Submits a call that another member may have made unnecessary, and returns `true` if the chain
/// accepted it. A refusal is logged at debug level.
///
/// A call that no block includes for a while, since blocks are full, is left to the pool: the
/// caller may have a deadline to meet. The same call later goes on with that transaction.
///
/// # Errors
///
/// Fails if the call could not be submitted.
pub async fn submit_housekeeping(chain: &Chain, signer: &Signer, call: Call) -> Result<bool> {
    match timeout(HOUSEKEEPING_WAIT, chain.submit(signer, call)).await {
        Ok(Ok(_)) => Ok(true),
        Ok(Err(error @ ChainError::Refused { .. })) => {
            tracing::debug!("{error}");
            Ok(false)
        }
        Ok(Err(error)) => Err(error.into()),
        Err(_) => {
            tracing::debug!("no block has included the call yet");
            Ok(false)
        }
    }
}

/// Says how to add `amount` to the bond of a signer whose key may not.
pub(crate) fn own_key_advice(signer: &Signer, amount: Balance) -> String {
    format!(
        "the key of a proxy cannot raise it: with the key of {}, run `pol-trainer keys authorise \
         {} --raise-bond {}`",
        signer.ss58(),
        format_account(&signer.key_account()),
        amount.div_ceil(POL)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_swarm::{PeerFailure, PeerFailures};

    #[test]
    fn what_was_final_stays_final_when_another_node_lags() {
        let newest = NewestFinal::default();
        // Clones of a context share it.
        let note =
            |number: u32| newest.clone().note(BlockInfo { number, hash: [number as u8; 32] });
        for (shown, expected) in [(7, 7), (9, 9), (8, 9), (9, 9), (12, 12)] {
            let block = note(shown);
            assert_eq!((block.number, block.hash), (expected, [expected as u8; 32]));
        }
        assert!(require_caught_up(12, 12).is_ok(), "only its view of finality lags");
        let error = require_caught_up(11, 12).unwrap_err();
        assert!(matches!(&error, RoleError::Transient(_)), "{error}");
        assert!(error.to_string().contains("at block 11, and block 12 was final"), "{error}");
    }

    #[test]
    fn a_proxy_is_told_who_raises_the_bond() {
        let [account, key] = ["//Alice", "//Bob"].map(|uri| Signer::from_uri(uri).unwrap());
        let proxy = key.clone().acting_for(account.account());
        let advice = own_key_advice(&proxy, 8 * POL + 1);
        assert!(advice.contains(&format!("the key of {}", account.ss58())), "{advice}");
        assert!(advice.ends_with(&format!("authorise {} --raise-bond 9`", key.ss58())), "{advice}");
    }

    #[test]
    fn only_members_that_were_asked_and_sent_nothing_are_at_fault() {
        let member = |number: u8| Member {
            account: [number; 32],
            role: Role::Trainer,
            bond: 0,
            locked: 0,
            bonded: true,
            chilled: false,
            absent: false,
            endpoint: Some(Endpoint { id: [number + 100; 32], addresses: Default::default() }),
        };
        let members: Vec<_> = (1..=3).map(member).collect();
        let failures = PeerFailures(vec![
            ([101; 32], PeerFailure::Unreachable),
            ([102; 32], PeerFailure::OutOfTime),
        ]);
        let source = SwarmError::Unavailable { hash: [0; 32], received: 0, failures };
        let error = undelivered(&members, source);
        assert!(error.is_fault_of(&[1; 32]));
        assert!(!error.is_fault_of(&[2; 32]), "it was sending");
        assert!(!error.is_fault_of(&[3; 32]), "it was not asked");
        let nobody = undelivered(&members, SwarmError::NoTurn { hash: [0; 32] });
        assert!(!nobody.is_fault_of(&[1; 32]));
    }
}
