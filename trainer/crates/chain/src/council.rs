// SPDX-License-Identifier: Apache-2.0

//! Decisions of governance: by the sudo key of a development chain, elsewhere by the council of the
//! authorities.

use crate::{AccountId, Call, Chain, ChainError, Signer};
use codec::Decode;
use pol_primitives::{Hash, election::votes_needed, round::BlockNumber};
use sp_crypto_hashing::blake2_256;
use subxt::{
    dynamic::Value,
    error::BackendError,
    ext::scale_value::{
        Composite,
        stringify::{custom_formatters::format_hex, to_writer_custom},
    },
};

/// Pallet of the council.
const COUNCIL: &str = "Council";

/// State of a decision of governance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The call took effect.
    Executed,
    /// The call waits for votes of the council.
    Waiting {
        /// Number of votes in favour.
        ayes: u32,
        /// Number of votes that it needs.
        needed: u32,
    },
}

/// Motion of the council.
#[derive(Clone, Debug, PartialEq, Eq, Decode)]
pub struct Motion {
    /// Number of the motion.
    pub index: u32,
    /// Number of votes that it needs.
    pub needed: u32,
    /// Members that voted for it.
    pub ayes: Vec<AccountId>,
    /// Members that voted against it.
    pub nays: Vec<AccountId>,
    /// Block until which members can vote.
    pub end: BlockNumber,
}

/// Call that a motion of the council is about, for people to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MotionCall {
    /// Pallet and call, such as `Lineage.admit_manifest`.
    pub name: String,
    /// Names and values of the arguments, in order. Bytes are in hexadecimal digits, and calls in a
    /// call are variants of their pallets.
    pub arguments: Vec<(String, String)>,
}

impl MotionCall {
    fn new(pallet: &str, call: &str, arguments: &Composite<()>) -> Self {
        let arguments = match arguments {
            Composite::Named(fields) => {
                fields.iter().map(|(name, value)| (name.clone(), format_value(value))).collect()
            }
            Composite::Unnamed(values) => (0..)
                .zip(values)
                .map(|(at, value): (u32, _)| (at.to_string(), format_value(value)))
                .collect(),
        };
        Self { name: format!("{pallet}.{call}"), arguments }
    }
}

/// Formats a value on one line.
fn format_value(value: &Value) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = to_writer_custom()
        .add_custom_formatter(|value, writer| format_hex(value, writer))
        .write(value, &mut text);
    text
}

/// Returns `true` if `nays` of `members` leave too few for `needed` votes.
fn is_rejected(nays: usize, members: usize, needed: u32) -> bool {
    members.saturating_sub(nays) < needed as usize
}

/// Returns the result of a call, unless it failed with one of `errors` of the council.
fn unless<T>(result: Result<T, ChainError>, errors: &[&str]) -> Result<(), ChainError> {
    match result {
        Err(ChainError::Refused { pallet, error, .. })
            if pallet == COUNCIL && errors.contains(&error.as_str()) =>
        {
            Ok(())
        }
        result => result.map(|_| ()),
    }
}

impl Chain {
    /// Returns the members of the council, in account order.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn council_members(&self) -> Result<Vec<AccountId>, ChainError> {
        Ok(self.storage(COUNCIL, "Members", &[]).await?.unwrap_or_default())
    }

    /// Returns the open motions of the council, each with the hash of its call.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn motions(&self) -> Result<Vec<(Hash, Motion)>, ChainError> {
        let hashes: Vec<Hash> = self.storage(COUNCIL, "Proposals", &[]).await?.unwrap_or_default();
        let mut motions = Vec::with_capacity(hashes.len());
        for hash in hashes {
            if let Some(motion) = self.motion(&hash).await? {
                motions.push((hash, motion));
            }
        }
        Ok(motions)
    }

    async fn motion(&self, hash: &Hash) -> Result<Option<Motion>, ChainError> {
        self.storage(COUNCIL, "Voting", hash).await
    }

    /// Returns the encoded call of an open motion.
    async fn motion_bytes(&self, hash: &Hash) -> Result<Option<Vec<u8>>, ChainError> {
        self.stored_bytes(COUNCIL, "ProposalOf", hash).await
    }

    /// Returns the call that an open motion is about.
    ///
    /// # Errors
    ///
    /// Fails as every read does, and if the node's metadata does not describe the call.
    pub async fn motion_call(&self, hash: &Hash) -> Result<Option<MotionCall>, ChainError> {
        let Some(bytes) = self.motion_bytes(hash).await? else { return Ok(None) };
        let client = self.client_at_best().await?;
        let call = client.tx().from_call_data_bytes(&bytes);
        let call =
            call.map_err(|error| ChainError::node(BackendError::other(error.to_string())))?;
        Ok(Some(MotionCall::new(call.pallet_name(), call.call_name(), call.call_data())))
    }

    /// Votes for an open motion as a member of the council, and has its call executed if that vote
    /// was the last one needed. Returns `None` if no such motion is open.
    ///
    /// # Errors
    ///
    /// Fails with [`ChainError::NotGovernor`] if the signer is no member of the council, and as
    /// [`Self::submit`] does.
    pub async fn approve_motion(
        &self,
        signer: &Signer,
        hash: Hash,
    ) -> Result<Option<Decision>, ChainError> {
        let Some(bytes) = self.motion_bytes(&hash).await? else { return Ok(None) };
        Self::ensure_governor(signer, &self.council_members().await?)?;
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.vote_and_close(signer, hash, length).await.map(Some)
    }

    /// Checks that the signer is one of the members of the council.
    fn ensure_governor(signer: &Signer, members: &[AccountId]) -> Result<(), ChainError> {
        let account = signer.account();
        members.contains(&account).then_some(()).ok_or(ChainError::NotGovernor { account })
    }

    /// Decides on a call as governance: with the key of sudo on a chain that has one, elsewhere as
    /// a member of the council. The member proposes the call if nobody has, votes for it, and has
    /// it executed if its vote was the last one needed.
    ///
    /// # Errors
    ///
    /// Fails with [`ChainError::NotGovernor`] if the signer is no member of the council, and as
    /// [`Self::submit`] does.
    pub async fn govern(&self, signer: &Signer, call: Call) -> Result<Decision, ChainError> {
        if self.has_sudo().await? {
            self.submit(signer, call.sudo()).await?;
            return Ok(Decision::Executed);
        }
        let members = self.council_members().await?;
        Self::ensure_governor(signer, &members)?;
        let bytes = self.encode(&call).await?;
        let (hash, length) = (blake2_256(&bytes), u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        let needed = votes_needed(members.len());
        if self.motion(&hash).await?.is_none() {
            let propose = Call::Propose { needed, call: Box::new(call), length };
            unless(self.submit(signer, propose).await, &["DuplicateProposal"])?;
        }
        self.vote_and_close(signer, hash, length).await
    }

    /// Decides on a call that takes effect as root, such as an upgrade of the runtime.
    ///
    /// # Errors
    ///
    /// Fails as [`Self::govern`] does.
    pub async fn govern_as_root(
        &self,
        signer: &Signer,
        call: Call,
    ) -> Result<Decision, ChainError> {
        if self.has_sudo().await? {
            return self.govern(signer, call).await;
        }
        let whitelist = Call::WhitelistCall(blake2_256(&self.encode(&call).await?));
        let dispatch = Call::DispatchWhitelisted(Box::new(call));
        self.govern(signer, Call::Batch(vec![whitelist, dispatch])).await
    }

    /// Votes against an open motion as a member of the council, and closes it if it can no longer
    /// get the votes that it needs. Returns `true` if it is closed.
    ///
    /// # Errors
    ///
    /// Fails as [`Self::submit`] does.
    pub async fn reject_motion(&self, signer: &Signer, hash: Hash) -> Result<bool, ChainError> {
        let Some(motion) = self.motion(&hash).await? else { return Ok(true) };
        let index = motion.index;
        if !motion.nays.contains(&signer.account()) {
            let vote = Call::Vote { hash, index, approve: false };
            unless(self.submit(signer, vote).await, &["ProposalMissing"])?;
        }
        let Some(motion) = self.motion(&hash).await? else { return Ok(true) };
        let members = self.council_members().await?.len();
        let is_rejected = is_rejected(motion.nays.len(), members, motion.needed);
        if is_rejected {
            let close = Call::CloseMotion { hash, index, length: 0 };
            unless(self.submit(signer, close).await, &["ProposalMissing"])?;
        }
        Ok(is_rejected)
    }

    /// Upgrades the runtime: governance allows the hash of its code, and whoever decides last hands
    /// the code in.
    ///
    /// # Errors
    ///
    /// Fails as [`Self::govern`] does.
    pub async fn upgrade_runtime(
        &self,
        signer: &Signer,
        code: Vec<u8>,
    ) -> Result<Decision, ChainError> {
        let allow = Call::AuthorizeUpgrade(blake2_256(&code));
        let decision = self.govern_as_root(signer, allow).await?;
        if decision == Decision::Executed {
            self.submit(signer, Call::ApplyUpgrade(code)).await?;
        }
        Ok(decision)
    }

    /// Returns `true` if the chain has a sudo key.
    async fn has_sudo(&self) -> Result<bool, ChainError> {
        Ok(self.storage::<AccountId>("Sudo", "Key", &[]).await?.is_some())
    }

    /// Votes for an open motion, and closes it if it has the votes. A motion that is not open any
    /// more was executed by its last vote.
    async fn vote_and_close(
        &self,
        signer: &Signer,
        hash: Hash,
        length: u32,
    ) -> Result<Decision, ChainError> {
        let Some(motion) = self.motion(&hash).await? else { return Ok(Decision::Executed) };
        let index = motion.index;
        if !motion.ayes.contains(&signer.account()) {
            let vote = Call::Vote { hash, index, approve: true };
            unless(self.submit(signer, vote).await, &["ProposalMissing", "DuplicateVote"])?;
        }
        let Some(motion) = self.motion(&hash).await? else { return Ok(Decision::Executed) };
        let ayes = u32::try_from(motion.ayes.len()).unwrap_or(u32::MAX);
        // The call is refused without two thirds of the members of now, who may have become more.
        let needed = motion.needed.max(votes_needed(self.council_members().await?.len()));
        if ayes < needed {
            return Ok(Decision::Waiting { ayes, needed });
        }
        let close = Call::CloseMotion { hash, index, length };
        unless(self.submit(signer, close).await, &["ProposalMissing"])?;
        Ok(Decision::Executed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_a_third_reject() {
        assert!(!is_rejected(1, 3, votes_needed(3)) && is_rejected(2, 3, votes_needed(3)));
        assert!(
            !is_rejected(33, 100, votes_needed(100)) && is_rejected(34, 100, votes_needed(100))
        );
    }

    #[test]
    fn calls_are_readable() {
        let inner = Value::named_variant("admit_manifest", [("manifest", Value::u128(3))]);
        let call = Value::unnamed_variant("Lineage", [inner]);
        let arguments = Composite::named([
            ("call_hash", Value::from_bytes([0xab, 0x01])),
            ("calls", Value::unnamed_composite([call])),
        ]);
        let call = MotionCall::new("Utility", "batch_all", &arguments);
        assert_eq!(call.name, "Utility.batch_all");
        assert_eq!(call.arguments[0], ("call_hash".to_owned(), "0xAB01".to_owned()));
        let (name, calls) = &call.arguments[1];
        assert_eq!(name, "calls");
        assert!(calls.contains("Lineage") && calls.contains("admit_manifest { manifest: 3 }"));
        let unnamed = MotionCall::new("System", "remark", &Composite::unnamed([Value::bool(true)]));
        assert_eq!(unnamed.arguments, [("0".to_owned(), "true".to_owned())]);
    }

    #[test]
    fn only_expected_refusals_are_passed_over() {
        let refused = |pallet: &str| {
            Err::<(), _>(ChainError::Refused {
                pallet: pallet.into(),
                error: "DuplicateVote".into(),
                documentation: String::new(),
            })
        };
        assert!(unless(refused(COUNCIL), &["ProposalMissing", "DuplicateVote"]).is_ok());
        assert!(unless(refused(COUNCIL), &["ProposalMissing"]).is_err());
        assert!(unless(refused("Lineage"), &["DuplicateVote"]).is_err());
        assert!(unless(Ok(7), &[]).is_ok());
    }
}
