// SPDX-License-Identifier: Apache-2.0

//! Signing and submission of calls.

use crate::{
    AccountId, BlockInfo, Call, Chain, ChainError, Signer,
    blocks::{BlockSubscription, unknown_block},
    client::Config,
    sent::{SentTransactions, SignedTransaction},
};
use pol_primitives::{Balance, Hash, round::BlockNumber};
use std::{
    sync::{MutexGuard, PoisonError},
    time::Duration,
};
use subxt::{
    config::DefaultExtrinsicParamsBuilder,
    error::{BackendError, DispatchError},
    events::Phase,
    rpcs,
    tx::{TransactionInvalid, ValidationResult},
    utils::{AccountId32, H256},
};
use tokio::time;

/// Number of blocks in which a transaction is valid (its era): a power of two, as eras are.
const ERA_BLOCKS: BlockNumber = 64;
/// Time that the block which calls for a duty has to reach other nodes. A node that hears of the
/// duty first refuses it as too early, and bans it from its pool.
const HEAD_START: Duration = Duration::from_millis(700);
/// Number of blocks without the transaction after which it is handed to the node again.
const RESEND_BLOCKS: u32 = 2;
/// Number of times that the node finds a nonce missing before the transaction's until it is filled.
/// Whoever sent the missing transaction hands it to the node again before.
const GAPS_BEFORE_FILLING: u32 = 2;
/// Beginning of the reason of a refusal with a code, as the `author` RPC states it.
const CUSTOM_ERROR: &str = "Custom error: ";
/// Reason of the refusal of a nonce that the chain has already, as the `author` RPC states it.
const OUTDATED: &str = "Transaction is outdated";
/// Maximum number of times a call is signed while other processes of its account take its nonce.
const MAX_ATTEMPTS: u32 = 3;
/// Delay between two of these attempts.
const RETRY_DELAY: Duration = Duration::from_secs(1);

// Error codes of the `author` RPC.

/// The pool had the transaction lately.
const TEMPORARILY_BANNED: i32 = 1012;
/// The pool has the transaction.
const ALREADY_IMPORTED: i32 = 1013;
/// The pool has another transaction with this nonce, or for this duty.
const TOO_LOW_PRIORITY: i32 = 1014;
/// The pool is full.
const IMMEDIATELY_DROPPED: i32 = 1016;

/// Receipt of a call that took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallReceipt {
    /// Block that includes the call: on the best chain, not finalised yet.
    pub block: BlockInfo,
    /// Hash of the extrinsic.
    pub extrinsic: Hash,
}

impl Chain {
    /// Signs `call`, submits it, and waits until a block of the best chain includes it.
    ///
    /// A signer that acts for another account makes the call as a proxy of that.
    ///
    /// The call takes effect at most once, however often the connection breaks: only the same
    /// signed transaction is submitted again, and the chain accepts its nonce once. It waits for as
    /// long as the node is away.
    ///
    /// If a reorganisation takes the block back, the node keeps the transaction. A further call for
    /// the same duty sends that transaction again and signs no other. A client that reads
    /// [at](Self::at) a block binds the transaction to it: it is void on every fork without that
    /// block.
    ///
    /// # Errors
    ///
    /// Fails with [`ChainError::Refused`] if the runtime refused the call or it failed, with
    /// [`ChainError::Expired`] if no block included it in its era of 64 blocks, with
    /// [`ChainError::Unfunded`], [`ChainError::Invalid`] or [`ChainError::Displaced`] if no block
    /// can include it, and if the node cannot answer.
    pub async fn submit(&self, signer: &Signer, call: Call) -> Result<CallReceipt, ChainError> {
        self.submit_with_tip(signer, call, 0).await
    }

    /// Submits `call` as [`Chain::submit`] does, with a tip for the author of the block.
    ///
    /// # Errors
    ///
    /// Fails as [`Chain::submit`] does.
    pub async fn submit_with_tip(
        &self,
        signer: &Signer,
        call: Call,
        tip: Balance,
    ) -> Result<CallReceipt, ChainError> {
        let call = signer.wrap(call);
        // Subscribing may fail, so it precedes sending.
        let mut blocks = self.subscribe_blocks().await?;
        let is_duty = call.duty().is_some();
        let mut attempts = if call.takes_effect_once() { MAX_ATTEMPTS } else { 1 };
        loop {
            attempts -= 1;
            let signed = self.send(signer, &call, tip).await?;
            match self.follow(signer, &signed, &mut blocks).await {
                // The chain accepts it once, so that it can be signed again at once. It has to be:
                // its deadline may be a block away.
                Err(ChainError::Displaced { .. }) if attempts > 0 => {
                    tracing::debug!(call = call.name().1, "its nonce was taken; signing it again");
                    self.sent().forget(&signed);
                }
                Err(error) => {
                    // The caller decides if another one is sent. This one is not sent again.
                    if !is_duty {
                        self.sent().forget(&signed);
                    }
                    return Err(error);
                }
                Ok(receipt) => {
                    let block = receipt.block.number;
                    tracing::debug!(call = call.name().1, block, "call included");
                    return Ok(receipt);
                }
            }
        }
    }

    /// Submits `call` without a signature. The chain accepts few such calls, and each at most once.
    ///
    /// # Errors
    ///
    /// Fails with [`ChainError::Node`] if the node's pool refuses the transaction or the node
    /// cannot answer, and if the runtime has no such call.
    pub async fn submit_bare(&self, call: &Call) -> Result<(), ChainError> {
        let client = self.client_at_best().await?;
        call.encode_at(&client)?;
        let transaction = client.tx().create_unsigned(&call.payload(client.metadata_ref())?);
        let bytes = transaction.map_err(ChainError::node)?.into_encoded();
        match self.node.rpc.author_submit_extrinsic(&bytes).await {
            // Somebody else was first.
            Err(rpcs::Error::User(refusal))
                if [ALREADY_IMPORTED, TEMPORARILY_BANNED].contains(&refusal.code) =>
            {
                Ok(())
            }
            submitted => {
                submitted.map(drop).map_err(|error| ChainError::node(BackendError::from(error)))
            }
        }
    }

    /// Encodes `call` for the node's runtime, and checks its arguments against the metadata.
    ///
    /// # Errors
    ///
    /// Fails if the runtime has no such call, or has it with other arguments, and if the node
    /// cannot answer.
    pub async fn encode(&self, call: &Call) -> Result<Vec<u8>, ChainError> {
        call.encode_at(&self.client_at_best().await?)
    }

    /// Signs `call` and hands it to the node, which then has it or, if the connection broke, may
    /// have it.
    async fn send(
        &self,
        signer: &Signer,
        call: &Call,
        tip: Balance,
    ) -> Result<SignedTransaction, ChainError> {
        let duty = call.duty();
        if duty.is_some() {
            time::sleep(HEAD_START).await;
        }
        let _lock = self.node.nonce_lock.lock().await;
        if let Some(duty) = &duty
            && let Some(signed) = self.send_again(signer.key_account(), duty).await?
        {
            return Ok(signed);
        }
        let signed = self.send_new(signer, call, tip).await?;
        self.sent().add(duty, signed.clone(), signed.birth.into());
        Ok(signed)
    }

    /// Hands the node the transaction for `duty` again that a reorganisation took back, or that is
    /// not included yet. Returns `None` if there is none that a block may include.
    async fn send_again(
        &self,
        account: AccountId,
        duty: &Call,
    ) -> Result<Option<SignedTransaction>, ChainError> {
        let best = self.best_block().await?;
        let nonce = self.at(best.hash).nonce(&account).await?;
        let found = self.sent().find(&account, duty, nonce.into(), best.number.into());
        let Some(signed) = found else { return Ok(None) };
        match self.resend(&signed).await {
            Ok(_) => Ok(Some(signed)),
            // It was bound to a block of another fork, or came too early.
            Err(ChainError::Invalid { .. } | ChainError::Refused { .. }) => {
                self.sent().forget(&signed);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn sent(&self) -> MutexGuard<'_, SentTransactions> {
        self.node.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send_new(
        &self,
        signer: &Signer,
        call: &Call,
        tip: Balance,
    ) -> Result<SignedTransaction, ChainError> {
        let mut refused = None;
        for _ in 0..MAX_ATTEMPTS {
            let nonce = self.free_nonce(signer.key_account(), call.has_room(), refused).await?;
            let signed = match self.sign(signer, call, tip, nonce).await {
                Err(ChainError::Displaced { .. }) => {
                    wait_for_nonce(call).await;
                    continue;
                }
                signed => signed?,
            };
            match self.node.rpc.author_submit_extrinsic(&signed.bytes).await {
                Err(rpcs::Error::User(refusal)) => match refusal.code {
                    TEMPORARILY_BANNED | ALREADY_IMPORTED | IMMEDIATELY_DROPPED => {
                        return Ok(signed);
                    }
                    // The other transaction is this account's, sent by another process or before
                    // this duty changed. A block includes it soon. The pool never had this one.
                    TOO_LOW_PRIORITY => {
                        refused = Some(nonce);
                        time::sleep(RETRY_DELAY).await;
                    }
                    _ => {
                        let reason = refusal
                            .data
                            .as_ref()
                            .map_or(refusal.message.as_str(), |data| data.get().trim_matches('"'))
                            .to_owned();
                        // A block came between that has another transaction with this nonce.
                        if reason != OUTDATED {
                            return Err(self.refused_by_pool(signed.account, reason).await?);
                        }
                        wait_for_nonce(call).await;
                    }
                },
                Ok(_) | Err(_) => return Ok(signed),
            }
        }
        Err(ChainError::Displaced { account: signer.key_account() })
    }

    /// Converts the reason for which the pool did not take a transaction of `account`.
    async fn refused_by_pool(
        &self,
        account: AccountId,
        reason: String,
    ) -> Result<ChainError, ChainError> {
        let code = reason.strip_prefix(CUSTOM_ERROR).and_then(|code| code.parse().ok());
        let Some(code) = code else { return Ok(ChainError::Invalid { account, reason }) };
        let client = self.client_at_best().await?;
        Ok(ChainError::inadmissible(account, code, client.metadata_ref()))
    }

    /// Returns the nonce for a call of `account`: the first one that nothing in the pool has.
    ///
    /// A call that blocks have no room for may wait as long as they are full, and what has a later
    /// nonce waits with it. So a call with room takes the first nonce that no other such call of
    /// this process has, and displaces what the pool may have there. It takes a later one than
    /// `refused`, which such a call of another process has kept.
    async fn free_nonce(
        &self,
        account: AccountId,
        has_room: bool,
        refused: Option<u64>,
    ) -> Result<u64, ChainError> {
        let mut nonce = if has_room {
            let best = self.best_block().await?;
            let next = u64::from(self.at(best.hash).nonce(&account).await?);
            refused.map_or(next, |refused| next.max(refused + 1))
        } else {
            let address = AccountId32(account);
            self.request(|| self.node.rpc.system_account_next_index(&address)).await?
        };
        while self.is_pending(&account, nonce, has_room).await {
            nonce += 1;
        }
        Ok(nonce)
    }

    async fn sign(
        &self,
        signer: &Signer,
        call: &Call,
        tip: Balance,
        nonce: u64,
    ) -> Result<SignedTransaction, ChainError> {
        let client = self.client_at_best().await?;
        call.encode_at(&client)?;
        let account = signer.key_account();
        let birth = self.era_birth(client.block_number()).await?;
        let parameters = DefaultExtrinsicParamsBuilder::<Config>::new()
            .nonce(nonce)
            .tip(tip)
            .mortal_from_unchecked(ERA_BLOCKS.into(), birth.number.into(), H256(birth.hash))
            .build();
        let transaction = client
            .tx()
            .create_signable_offline(&call.payload(client.metadata_ref())?, parameters)
            .and_then(|mut signable| signable.sign(signer))
            .map_err(ChainError::node)?;
        let validation = transaction.validate().await.map_err(ChainError::node)?;
        if let Some(error) = ChainError::invalid(account, validation, client.metadata_ref()) {
            return Err(error);
        }
        let bytes = transaction.into_encoded();
        let until = birth.number.saturating_add(ERA_BLOCKS - 1);
        let has_room = call.has_room();
        Ok(SignedTransaction { account, nonce, bytes, birth: birth.number, until, has_room })
    }

    /// Returns `true` if this process sent a transaction with the nonce, and the node's pool has it
    /// or takes it again; of those that blocks have room for if `with_room` is set.
    ///
    /// For a moment after a new block the node may take the nonce for a free one. Another
    /// transaction would then displace the first in this pool, and be displaced by it elsewhere.
    async fn is_pending(&self, account: &AccountId, nonce: u64, with_room: bool) -> bool {
        let sent = self.sent().with_nonce(account, nonce);
        let Some(sent) = sent.filter(|sent| sent.has_room || !with_room) else { return false };
        match self.node.rpc.author_submit_extrinsic(&sent.bytes).await {
            Ok(_) => true,
            Err(rpcs::Error::User(refusal)) => refusal.code == ALREADY_IMPORTED,
            Err(_) => false,
        }
    }

    /// Returns the block that the era of a transaction signed at height `best` begins with: the one
    /// that this client reads at, or else the last finalised one, unless that is more than half an
    /// era old.
    ///
    /// A reorganisation that replaces the block invalidates the transaction.
    async fn era_birth(&self, best: u64) -> Result<BlockInfo, ChainError> {
        let bound = match self.at {
            Some(hash) => self.block(Some(H256(hash))).await?,
            None => self.finalised_block().await?,
        };
        let oldest = best.saturating_sub(u64::from(ERA_BLOCKS) / 2);
        if u64::from(bound.number) >= oldest { Ok(bound) } else { self.block_at(oldest).await }
    }

    /// Waits until a block includes the transaction, and returns its receipt if it took effect.
    async fn follow(
        &self,
        signer: &Signer,
        signed: &SignedTransaction,
        blocks: &mut BlockSubscription,
    ) -> Result<CallReceipt, ChainError> {
        let until = signed.until;
        let (mut waited, mut gaps) = (0, 0);
        loop {
            let block = blocks.next().await;
            let step = match self.receipt(signed, block).await {
                Ok(Some(receipt)) => return Ok(receipt),
                Ok(None) if block.number >= until => {
                    return Err(ChainError::Expired { extrinsic: signed.hash(), until });
                }
                Ok(None) => {
                    waited += 1;
                    if waited % RESEND_BLOCKS == 0 {
                        self.insist(signer, signed, &mut gaps).await
                    } else {
                        Ok(())
                    }
                }
                Err(error) => Err(error),
            };
            match step {
                // A node that was killed forgets its last blocks, and may be asked for one of them.
                Err(ChainError::Node(error)) if block.number < until => {
                    tracing::debug!(
                        %error,
                        number = block.number,
                        "cannot follow the transaction here; waiting for the next block"
                    );
                }
                other => other?,
            }
        }
    }

    /// Returns the receipt of the transaction if a block up to `block` includes it.
    async fn receipt(
        &self,
        signed: &SignedTransaction,
        block: BlockInfo,
    ) -> Result<Option<CallReceipt>, ChainError> {
        if u64::from(self.at(block.hash).nonce(&signed.account).await?) <= signed.nonce {
            return Ok(None);
        }
        let found = self.find(signed, block).await?;
        let (block, index) = found.ok_or(ChainError::Displaced { account: signed.account })?;
        self.check_success(block, index).await?;
        Ok(Some(CallReceipt { block, extrinsic: signed.hash() }))
    }

    /// Hands the node the same transaction again. If the nonce before it was missing each of
    /// `gaps` times, fills that.
    ///
    /// # Errors
    ///
    /// A call that blocks reserve room for is displaced then: the filler would have none.
    async fn insist(
        &self,
        signer: &Signer,
        signed: &SignedTransaction,
        gaps: &mut u32,
    ) -> Result<(), ChainError> {
        *gaps = if self.resend(signed).await? { *gaps + 1 } else { 0 };
        match *gaps >= GAPS_BEFORE_FILLING {
            true if signed.has_room => Err(ChainError::Displaced { account: signed.account }),
            true => self.fill_gap(signer, signed).await,
            false => Ok(()),
        }
    }

    /// Hands the node the same transaction again; a node that restarted has lost it. Returns `true`
    /// if it has to wait for an earlier one of the account.
    async fn resend(&self, signed: &SignedTransaction) -> Result<bool, ChainError> {
        let client = self.client_at_best().await?;
        let transaction = client.tx().from_bytes(signed.bytes.clone());
        let validation = transaction.validate().await.map_err(ChainError::node)?;
        let waits = is_early(&validation);
        match ChainError::invalid(signed.account, validation, client.metadata_ref()) {
            // Included a moment ago.
            Some(ChainError::Displaced { .. }) => return Ok(false),
            Some(error) => return Err(error),
            None => {}
        }
        if let Err(error) = self.node.rpc.author_submit_extrinsic(&signed.bytes).await {
            tracing::debug!(%error, "the node did not take the transaction again");
        }
        Ok(waits)
    }

    /// Uses up the nonce before the transaction's that nothing in the pool has. The pool drops what
    /// the chain would refuse, after which all later transactions of the account would wait.
    async fn fill_gap(
        &self,
        signer: &Signer,
        signed: &SignedTransaction,
    ) -> Result<(), ChainError> {
        let _lock = self.node.nonce_lock.lock().await;
        let address = AccountId32(signed.account);
        let next = self.request(|| self.node.rpc.system_account_next_index(&address)).await?;
        if next < signed.nonce && !self.is_pending(&signed.account, next, false).await {
            let filler = self.sign(signer, &Call::Remark(Vec::new()), 0, next).await?;
            if let Err(error) = self.node.rpc.author_submit_extrinsic(&filler.bytes).await {
                tracing::debug!(%error, "the node did not take the missing nonce");
            }
        }
        Ok(())
    }

    /// Returns the block at or before `tip` that includes the transaction, and its index there.
    async fn find(
        &self,
        signed: &SignedTransaction,
        tip: BlockInfo,
    ) -> Result<Option<(BlockInfo, u32)>, ChainError> {
        let mut block = tip;
        while block.number >= signed.birth && block.number > 0 {
            let hash = H256(block.hash);
            let body = self.request(|| self.node.rpc.chain_get_block(Some(hash))).await?;
            let body = body.ok_or_else(|| unknown_block(hex::encode(block.hash)))?;
            let mut extrinsics = (0..).zip(&body.block.extrinsics);
            if let Some((index, _)) = extrinsics.find(|(_, extrinsic)| extrinsic.0 == signed.bytes)
            {
                return Ok(Some((block, index)));
            }
            block = BlockInfo { number: block.number - 1, hash: body.block.header.parent_hash.0 };
        }
        Ok(None)
    }

    /// Fails unless the extrinsic at `index` of `block` took effect, by the events of its dispatch.
    async fn check_success(&self, block: BlockInfo, index: u32) -> Result<(), ChainError> {
        let client = self.node.client.at_block(H256(block.hash)).await.map_err(ChainError::node)?;
        let events = client.events().fetch().await.map_err(ChainError::node)?;
        for event in events.iter() {
            let event = event.map_err(ChainError::node)?;
            if event.phase() != Phase::ApplyExtrinsic(index) {
                continue;
            }
            let (pallet, name) = (event.pallet_name(), event.event_name());
            let Some(failure) = dispatch_failure(pallet, name, event.field_bytes()) else {
                continue;
            };
            let error =
                DispatchError::decode_from(failure, client.metadata()).map_err(ChainError::node)?;
            return Err(ChainError::refused(&error));
        }
        Ok(())
    }
}

/// Waits until the node knows that the nonce which it took for a free one is none. A call whose
/// deadline may be a block away does not wait.
async fn wait_for_nonce(call: &Call) {
    if !call.has_room() {
        time::sleep(RETRY_DELAY).await;
    }
}

/// Returns the encoded error of an event which says that a call failed.
pub(crate) fn dispatch_failure<'a>(
    pallet: &str,
    event: &str,
    fields: &'a [u8],
) -> Option<&'a [u8]> {
    match (pallet, event, fields) {
        ("System", "ExtrinsicFailed", error) => Some(error),
        // The call of a sudo key fails without failing the extrinsic: a `Result`, whose error has
        // index 1.
        ("Sudo", "Sudid", [1, error @ ..]) => Some(error),
        // So does that of a proxy.
        ("Proxy", "ProxyExecuted", [1, error @ ..]) => Some(error),
        // So does that of a motion, after the hash of the call.
        ("Council", "Executed", result) => match result.get(size_of::<Hash>()..) {
            Some([1, error @ ..]) => Some(error),
            _ => None,
        },
        // So does handing in the code of a runtime that governance allowed, after its hash.
        ("System", "RejectedInvalidUpgrade", refusal) => refusal.get(size_of::<Hash>()..),
        _ => None,
    }
}

/// Returns `true` if the transaction has to wait for an earlier one of its account. A runtime
/// whose nonce check is an extension calls it valid, and names what it requires.
fn is_early(validation: &ValidationResult) -> bool {
    match validation {
        ValidationResult::Valid(valid) => !valid.requires.is_empty(),
        ValidationResult::Invalid(reason) => matches!(reason, TransactionInvalid::Future),
        ValidationResult::Unknown(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use subxt::tx::TransactionValid;

    #[test]
    fn transactions_that_require_an_earlier_one_are_early() {
        let valid = |requires: &[&[u8]]| {
            ValidationResult::Valid(TransactionValid {
                priority: 0,
                requires: requires.iter().map(|tag| tag.to_vec()).collect(),
                provides: vec![b"second".to_vec()],
                longevity: 1,
                propagate: true,
            })
        };
        assert!(is_early(&valid(&[b"first"])));
        assert!(is_early(&ValidationResult::Invalid(TransactionInvalid::Future)));
        assert!(!is_early(&valid(&[])));
        assert!(!is_early(&ValidationResult::Invalid(TransactionInvalid::Stale)));
    }
}
