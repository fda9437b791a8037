// SPDX-License-Identifier: Apache-2.0

//! Decisions of governance: by the sudo key of a development chain, elsewhere by the council of the
//! authorities.

use crate::{AccountId, Call, CallReceipt, Chain, ChainError, Signer};
use codec::Decode;
use pol_primitives::{Hash, election::votes_needed, recipe::Recipe, round::BlockNumber};
use sp_crypto_hashing::blake2_256;
use std::time::Duration;
use subxt::{
    dynamic::Value,
    error::BackendError,
    ext::scale_value::{Composite, ValueDef, stringify::custom_formatters::format_hex},
};
use tokio::time;

/// Pallet of the council.
const COUNCIL: &str = "Council";
/// Name of the call that sets a recipe.
const SET_RECIPE: &str = "ProofOfLearning.set_recipe";
/// Bytes of an encoded call before its arguments: the indices of pallet and call.
const CALL_INDICES: usize = 2;
/// Maximum number of times a call of governance is submitted while a member of the same account
/// takes its nonce. A member sends a few transactions in a row, one a block.
const MAX_SUBMISSIONS: u32 = 5;
/// Delay between two of these submissions: about a block.
const RESUBMISSION_DELAY: Duration = Duration::from_secs(3);

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
    /// Names and values of the arguments, in order. Calls in a call are variants of their pallets.
    pub arguments: Vec<(String, Argument)>,
}

impl MotionCall {
    fn new(pallet: &str, call: &str, arguments: &Composite<()>) -> Self {
        let arguments = match arguments {
            Composite::Named(fields) => {
                fields.iter().map(|(name, value)| (name.clone(), Argument::new(value))).collect()
            }
            Composite::Unnamed(values) => (0..)
                .zip(values)
                .map(|(at, value): (u32, _)| (at.to_string(), Argument::new(value)))
                .collect(),
        };
        Self { name: format!("{pallet}.{call}"), arguments }
    }
}

/// Argument of a call, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Number, word, or bytes in hexadecimal digits.
    Text(String),
    /// Values in order.
    List(Vec<Self>),
    /// Fields in order, each with its name.
    Fields(Vec<(String, Self)>),
    /// Variant of an enumeration that holds something, by its name.
    Variant(String, Box<Self>),
}

impl Argument {
    fn new(value: &Value) -> Self {
        match &value.value {
            ValueDef::Composite(values) => match format_bytes(value) {
                Some(bytes) => Self::Text(bytes),
                None => Self::of(values),
            },
            ValueDef::Variant(variant) if variant.values.is_empty() => {
                Self::Text(variant.name.clone())
            }
            ValueDef::Variant(variant) => {
                let held = match &variant.values {
                    Composite::Unnamed(values) if values.len() == 1 => Self::new(&values[0]),
                    values => Self::of(values),
                };
                if variant.name == "Some" {
                    held
                } else {
                    Self::Variant(variant.name.clone(), Box::new(held))
                }
            }
            ValueDef::BitSequence(_) | ValueDef::Primitive(_) => Self::Text(value.to_string()),
        }
    }

    /// Converts the fields or the values of a composite.
    fn of(values: &Composite<()>) -> Self {
        match values {
            Composite::Named(fields) => Self::Fields(
                fields.iter().map(|(name, value)| (name.clone(), Self::new(value))).collect(),
            ),
            // A type that wraps nothing but bytes, as that of a hash does.
            Composite::Unnamed(values) => match values.as_slice() {
                [only] if format_bytes(only).is_some() => Self::new(only),
                values => Self::List(values.iter().map(Self::new).collect()),
            },
        }
    }
}

/// Formats bytes in hexadecimal digits, or returns `None` for any other value.
fn format_bytes(value: &Value) -> Option<String> {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = format_hex(value, &mut text)?;
    text.make_ascii_lowercase();
    Some(text)
}

/// Makes a submission until no other transaction of its account takes its nonce, at most
/// [`MAX_SUBMISSIONS`] times.
///
/// A member of the same account takes nonces as well, and its duties go first.
async fn insist<T, F>(delay: Duration, mut submission: impl FnMut() -> F) -> Result<T, ChainError>
where
    F: Future<Output = Result<T, ChainError>>,
{
    for _ in 1..MAX_SUBMISSIONS {
        match submission().await {
            Err(ChainError::Displaced { .. }) => time::sleep(delay).await,
            submitted => return submitted,
        }
    }
    submission().await
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

    /// Returns the recipe that an open motion would set, or `None` if it is about another call.
    ///
    /// # Errors
    ///
    /// Fails as [`Self::motion_call`] does, and if the recipe is of a version that this program
    /// does not know.
    pub async fn motion_recipe(&self, hash: &Hash) -> Result<Option<Recipe>, ChainError> {
        let name = self.motion_call(hash).await?.map(|call| call.name);
        let bytes = self.motion_bytes(hash).await?.unwrap_or_default();
        let mut arguments = bytes.get(CALL_INDICES..).unwrap_or_default();
        if name.as_deref() != Some(SET_RECIPE) || arguments.is_empty() {
            return Ok(None);
        }
        let unexpected =
            |reason| ChainError::UnexpectedAnswer { method: SET_RECIPE.to_owned(), reason };
        Recipe::decode(&mut arguments).map(Some).map_err(unexpected)
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
    /// Fails with [`ChainError::NotSudo`] or [`ChainError::NotGovernor`] if the signer does not
    /// decide, and as [`Self::submit`] does.
    pub async fn govern(&self, signer: &Signer, call: Call) -> Result<Decision, ChainError> {
        if let Some(key) = self.sudo_key().await? {
            let account = signer.account();
            if account != key {
                return Err(ChainError::NotSudo { account, key });
            }
            self.submit_beside_member(signer, call.sudo()).await?;
            return Ok(Decision::Executed);
        }
        let members = self.council_members().await?;
        Self::ensure_governor(signer, &members)?;
        let bytes = self.encode(&call).await?;
        let (hash, length) = (blake2_256(&bytes), u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        let needed = votes_needed(members.len());
        if self.motion(&hash).await?.is_none() {
            let propose = Call::Propose { needed, call: Box::new(call), length };
            let proposed = self.submit_beside_member(signer, propose).await;
            unless(proposed, &["DuplicateProposal"])?;
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
        if self.sudo_key().await?.is_some() {
            return self.govern(signer, call).await;
        }
        let whitelist = Call::WhitelistCall(blake2_256(&self.encode(&call).await?));
        let dispatch = Call::DispatchWhitelisted(Box::new(call));
        self.govern(signer, Call::Batch(vec![whitelist, dispatch])).await
    }

    /// Votes against an open motion as a member of the council, and closes it if it can no longer
    /// get the votes that it needs. Returns `true` if it is closed, and `None` if no such motion is
    /// open.
    ///
    /// # Errors
    ///
    /// Fails with [`ChainError::NotGovernor`] if the signer is no member of the council, and as
    /// [`Self::submit`] does.
    pub async fn reject_motion(
        &self,
        signer: &Signer,
        hash: Hash,
    ) -> Result<Option<bool>, ChainError> {
        let Some(motion) = self.motion(&hash).await? else { return Ok(None) };
        Self::ensure_governor(signer, &self.council_members().await?)?;
        let index = motion.index;
        if !motion.nays.contains(&signer.account()) {
            self.vote(signer, hash, index, false).await?;
        }
        // Somebody else may have closed it since.
        let Some(motion) = self.motion(&hash).await? else { return Ok(Some(true)) };
        let members = self.council_members().await?.len();
        let is_rejected = is_rejected(motion.nays.len(), members, motion.needed);
        if is_rejected {
            self.close(signer, hash, index, 0).await?;
        }
        Ok(Some(is_rejected))
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
            self.submit_beside_member(signer, Call::ApplyUpgrade(code)).await?;
        }
        Ok(decision)
    }

    /// Returns the account of the sudo key, on chains that have one.
    async fn sudo_key(&self) -> Result<Option<AccountId>, ChainError> {
        self.storage("Sudo", "Key", &[]).await
    }

    /// Submits a call of governance, again with a fresh nonce while a member of the same account
    /// takes its nonce. All these calls have their effect once, however often they are made.
    async fn submit_beside_member(
        &self,
        signer: &Signer,
        call: Call,
    ) -> Result<CallReceipt, ChainError> {
        insist(RESUBMISSION_DELAY, || self.submit(signer, call.clone())).await
    }

    /// Votes on an open motion.
    async fn vote(
        &self,
        signer: &Signer,
        hash: Hash,
        index: u32,
        approve: bool,
    ) -> Result<(), ChainError> {
        let vote = Call::Vote { hash, index, approve };
        let voted = self.submit_beside_member(signer, vote).await;
        unless(voted, &["ProposalMissing", "DuplicateVote"])
    }

    /// Closes an open motion that has its votes, or can no longer get them.
    async fn close(
        &self,
        signer: &Signer,
        hash: Hash,
        index: u32,
        length: u32,
    ) -> Result<(), ChainError> {
        let close = Call::CloseMotion { hash, index, length };
        unless(self.submit_beside_member(signer, close).await, &["ProposalMissing"])
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
            self.vote(signer, hash, index, true).await?;
        }
        let Some(motion) = self.motion(&hash).await? else { return Ok(Decision::Executed) };
        let ayes = u32::try_from(motion.ayes.len()).unwrap_or(u32::MAX);
        // The call is refused without two thirds of the members of now, who may have become more.
        let needed = motion.needed.max(votes_needed(self.council_members().await?.len()));
        if ayes < needed {
            return Ok(Decision::Waiting { ayes, needed });
        }
        self.close(signer, hash, index, length).await?;
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

    fn text(text: &str) -> Argument {
        Argument::Text(text.to_owned())
    }

    #[test]
    fn calls_keep_their_structure() {
        let inner = Value::named_variant("admit_manifest", [("manifest", Value::u128(3_000))]);
        let call = Value::unnamed_variant("Lineage", [inner]);
        let arguments = Composite::named([
            ("call_hash", Value::from_bytes([0xab, 0x01])),
            ("wrapped", Value::unnamed_composite([Value::from_bytes([0xab, 0x01])])),
            ("calls", Value::unnamed_composite([call])),
        ]);
        let call = MotionCall::new("Utility", "batch_all", &arguments);
        assert_eq!(call.name, "Utility.batch_all");
        let admitted = Argument::Fields(vec![("manifest".to_owned(), text("3000"))]);
        let admitted = Argument::Variant("admit_manifest".to_owned(), Box::new(admitted));
        let admitted = Argument::Variant("Lineage".to_owned(), Box::new(admitted));
        let expected = [
            ("call_hash", text("0xab01")),
            ("wrapped", text("0xab01")),
            ("calls", Argument::List(vec![admitted])),
        ];
        assert_eq!(call.arguments, expected.map(|(name, value)| (name.to_owned(), value)));
        let unnamed = MotionCall::new("System", "remark", &Composite::unnamed([Value::bool(true)]));
        assert_eq!(unnamed.arguments, [("0".to_owned(), text("true"))]);
    }

    #[test]
    fn options_are_what_they_hold() {
        let none = Value::unnamed_variant("None", []);
        assert_eq!(Argument::new(&none), text("None"));
        let some = Value::unnamed_variant("Some", [Value::from_bytes([7; 32])]);
        assert_eq!(Argument::new(&some), text(&format!("0x{}", "07".repeat(32))));
    }

    #[tokio::test]
    async fn a_call_whose_nonce_was_taken_is_submitted_again_with_an_end() {
        let displaced = || ChainError::Displaced { account: [1; 32] };
        let mut submissions = 0;
        let taken_twice = insist(Duration::ZERO, || {
            submissions += 1;
            let result = if submissions <= 2 { Err(displaced()) } else { Ok(submissions) };
            std::future::ready(result)
        });
        assert_eq!(taken_twice.await.unwrap(), 3);
        let mut submissions = 0;
        let always_taken = insist(Duration::ZERO, || {
            submissions += 1;
            std::future::ready(Err::<(), _>(displaced()))
        });
        assert!(matches!(always_taken.await, Err(ChainError::Displaced { .. })));
        assert_eq!(submissions, MAX_SUBMISSIONS);
        let mut submissions = 0;
        let refused = insist(Duration::ZERO, || {
            submissions += 1;
            std::future::ready(Err::<(), _>(ChainError::Unfunded { account: [1; 32] }))
        });
        assert!(matches!(refused.await, Err(ChainError::Unfunded { .. })));
        assert_eq!(submissions, 1, "only a nonce that was taken is replaced");
    }

    #[test]
    fn who_does_not_decide_is_told_who_does() {
        let [alice, bob] = ["//Alice", "//Bob"].map(|uri| Signer::from_uri(uri).unwrap());
        assert!(Chain::ensure_governor(&alice, &[alice.account()]).is_ok());
        let refused = Chain::ensure_governor(&bob, &[alice.account()]).unwrap_err().to_string();
        assert!(refused.contains(&bob.ss58()) && refused.contains("council show"), "{refused}");
        let refused = ChainError::NotSudo { account: bob.account(), key: alice.account() };
        assert!(refused.to_string().ends_with(&format!("sign as {}", alice.ss58())));
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
