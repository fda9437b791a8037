// SPDX-License-Identifier: Apache-2.0

//! Blocks of the past with their extrinsics and events, and state that only readers of the past
//! need.

use crate::{
    AccountId, BlockInfo, Chain, ChainError, ChainEvent, blocks::unknown_block, client::Config,
    providing::hashed, submit::dispatch_failure,
};
use codec::{Compact, Decode};
use pol_primitives::{
    Balance, Hash, RoundNumber,
    audit::{Audit, AuditId},
    rewards::RoundEarnings,
};
use sp_crypto_hashing::{blake2_128, blake2_256, twox_128};
use subxt::{
    OnlineClientAtBlock, config::substrate::DigestItem, error::DispatchError, events::Phase,
    utils::H256,
};

/// Number of storage keys that are asked for at a time.
const KEYS_PAGE: u32 = 500;
/// Length in bytes of an account at the end of a storage key.
const ACCOUNT_BYTES: usize = 32;
/// Sender of an extrinsic, as an index among the variants of an address: an account.
const ADDRESS_OF_ACCOUNT: u8 = 0;

/// Block with everything that happened in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockContent {
    /// Height and hash of the block.
    pub block: BlockInfo,
    /// Hash of the block before it.
    pub parent: Hash,
    /// Time of the block in milliseconds since 1970; zero for the genesis block.
    pub time: u64,
    /// Authority that produced the block, or `None` for the genesis block.
    pub author: Option<AccountId>,
    /// Extrinsics of the block, in order.
    pub extrinsics: Vec<BlockExtrinsic>,
    /// Events of the block, in order, as far as [`ChainEvent`] has them.
    pub events: Vec<BlockEvent>,
}

/// Extrinsic of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockExtrinsic {
    /// Hash of the extrinsic.
    pub hash: Hash,
    /// Account that signed it, or `None` if nobody did.
    pub signer: Option<AccountId>,
    /// Number of earlier extrinsics of the account.
    pub nonce: Option<u64>,
    /// Pallet of the call.
    pub pallet: String,
    /// Name of the call.
    pub call: String,
    /// Name of the error if the call failed, such as `ProofOfLearning.NoLease`.
    pub failure: Option<String>,
}

/// Event of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockEvent {
    /// Index of the extrinsic that caused the event, or `None` if the block itself did.
    pub extrinsic: Option<u32>,
    /// Event.
    pub event: ChainEvent,
}

/// Balance of an account, in the smallest unit of the token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountBalance {
    /// Part that is neither held nor reserved.
    pub free: Balance,
    /// Part that is held or reserved, for bonds and deposits.
    pub held: Balance,
    /// Part that cannot be spent, held or not.
    pub frozen: Balance,
}

/// Reads of the past. All of them fail as the other reads do, and with an error that
/// [`ChainError::is_pruned`] recognises if the node no longer has the state of the block.
impl Chain {
    /// Returns the hash of the block at a height of the best chain, or `None` above it.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn block_hash(&self, number: u32) -> Result<Option<Hash>, ChainError> {
        let hash = self.request(|| self.node.rpc.chain_get_block_hash(Some(number.into()))).await?;
        Ok(hash.map(|hash| hash.0))
    }

    /// Returns a block with its extrinsics and events.
    ///
    /// # Errors
    ///
    /// Fails as every read does, and if the node does not know the block.
    pub async fn block_content(&self, block: BlockInfo) -> Result<BlockContent, ChainError> {
        let (here, hash) = (self.at(block.hash), H256(block.hash));
        let body = self.request(|| self.node.rpc.chain_get_block(Some(hash))).await?;
        let body = body.ok_or_else(|| unknown_block(hex::encode(block.hash)))?.block;
        // The runtime before the block made its events, also if the block replaces it.
        let parent = body.header.parent_hash;
        let (maker, height) = match block.number.checked_sub(1) {
            Some(height) => (parent, height),
            None => (hash, 0),
        };
        let client = self.node.client.at_block_hash_and_number(maker, height.into());
        let client = client.await.map_err(ChainError::node)?;
        let raw_events = here.stored_bytes("System", "Events", &[]).await?.unwrap_or_default();
        let (failures, events) = decode_events(&client, raw_events)?;
        let bytes = body.extrinsics.into_iter().map(|bytes| bytes.0).collect();
        let (extrinsics, time) = decode_extrinsics(&client, bytes, &failures).await?;
        let authorities: Option<Vec<AccountId>> =
            here.storage("Session", "Validators", &[]).await?;
        let author = authority_index(&body.header.digest.logs)
            .and_then(|index| authorities?.get(usize::try_from(index).ok()?).copied());
        let parent = parent.0;
        Ok(BlockContent { block, parent, time, author, extrinsics, events })
    }

    /// Returns all parts of the balance of an account. They are zero if it does not exist.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn balance(&self, account: &AccountId) -> Result<AccountBalance, ChainError> {
        let key = [&blake2_128(account)[..], account].concat();
        // Nonce, three reference counts, then the balances.
        let found: Option<([u32; 4], Balance, Balance, Balance)> =
            self.storage("System", "Account", &key).await?;
        Ok(found.map_or_else(AccountBalance::default, |(_, free, held, frozen)| AccountBalance {
            free,
            held,
            frozen,
        }))
    }

    /// Returns all accounts that exist, in storage order.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn accounts(&self) -> Result<Vec<AccountId>, ChainError> {
        self.accounts_of("System", "Account", &[]).await
    }

    /// Returns the sum of all balances.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn total_issuance(&self) -> Result<Balance, ChainError> {
        Ok(self.storage("Balances", "TotalIssuance", &[]).await?.unwrap_or(0))
    }

    /// Returns the active validators with their stakes, sorted by account.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn stakes(&self) -> Result<Vec<(AccountId, Balance)>, ChainError> {
        Ok(self.storage("PolStaking", "Validators", &[]).await?.unwrap_or_default())
    }

    /// Returns an open audit.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn audit(&self, id: AuditId) -> Result<Option<Audit<AccountId>>, ChainError> {
        self.storage("ProofOfLearning", "Audits", &hashed(&id)).await
    }

    /// Returns the unclaimed earnings of all accounts in a round.
    ///
    /// # Errors
    ///
    /// Fails as every read does.
    pub async fn round_earnings(
        &self,
        round: RoundNumber,
    ) -> Result<Vec<(AccountId, RoundEarnings)>, ChainError> {
        let mut earnings = Vec::new();
        for account in self.accounts_of("Rewards", "Earners", &hashed(&round)).await? {
            earnings.extend(self.earned(&account, round).await?.map(|earned| (account, earned)));
        }
        Ok(earnings)
    }

    /// Returns the accounts at the ends of the keys of a map that begin with `prefix`.
    async fn accounts_of(
        &self,
        pallet: &str,
        item: &str,
        prefix: &[u8],
    ) -> Result<Vec<AccountId>, ChainError> {
        let map = [twox_128(pallet.as_bytes()), twox_128(item.as_bytes())].concat();
        let (prefix, at) = ([&map[..], prefix].concat(), self.at.map(H256));
        let (mut accounts, mut last) = (Vec::new(), None::<Vec<u8>>);
        loop {
            let start = last.as_deref();
            let ask = || self.node.rpc.state_get_keys_paged(&prefix, KEYS_PAGE, start, at);
            let keys = self.request(ask).await?;
            let account = |key: &Vec<u8>| -> Option<AccountId> {
                let start = key.len().checked_sub(ACCOUNT_BYTES)?;
                key.get(start..)?.try_into().ok()
            };
            accounts.extend(keys.iter().filter_map(account));
            // A node that goes in circles is not followed.
            match keys.into_iter().next_back().filter(|key| last.as_ref() < Some(key)) {
                Some(key) => last = Some(key),
                None => return Ok(accounts),
            }
        }
    }
}

/// Failures of extrinsics by their indices, and the events that are known.
type DecodedEvents = (Vec<(u32, String)>, Vec<BlockEvent>);

fn decode_events(
    client: &OnlineClientAtBlock<Config>,
    bytes: Vec<u8>,
) -> Result<DecodedEvents, ChainError> {
    let (mut failures, mut known) = (Vec::new(), Vec::new());
    for event in client.events().from_bytes(bytes).iter() {
        let event = event.map_err(ChainError::node)?;
        let (pallet, name, fields) = (event.pallet_name(), event.event_name(), event.field_bytes());
        let extrinsic = match event.phase() {
            Phase::ApplyExtrinsic(index) => Some(index),
            Phase::Finalization | Phase::Initialization => None,
        };
        if let (Some(index), Some(failure)) = (extrinsic, dispatch_failure(pallet, name, fields)) {
            let error =
                DispatchError::decode_from(failure, client.metadata()).map_err(ChainError::node)?;
            failures.push((index, error_name(&ChainError::refused(&error))));
        }
        let decoded = ChainEvent::decode(pallet, name, fields).map_err(|reason| {
            ChainError::UnexpectedAnswer { method: format!("event {pallet}.{name}"), reason }
        })?;
        known.extend(decoded.map(|event| BlockEvent { extrinsic, event }));
    }
    Ok((failures, known))
}

/// Returns the name of the error by which a call failed.
fn error_name(error: &ChainError) -> String {
    match error {
        ChainError::Refused { pallet, error, .. } => format!("{pallet}.{error}"),
        other => other.to_string(),
    }
}

/// Decodes the extrinsics of a block, and the time that one of them sets.
async fn decode_extrinsics(
    client: &OnlineClientAtBlock<Config>,
    bytes: Vec<Vec<u8>>,
    failures: &[(u32, String)],
) -> Result<(Vec<BlockExtrinsic>, u64), ChainError> {
    let (mut extrinsics, mut time) = (Vec::new(), 0);
    for (index, extrinsic) in (0..).zip(client.extrinsics().from_bytes(bytes).await.iter()) {
        let extrinsic = extrinsic.map_err(ChainError::node)?;
        let (pallet, call) = (extrinsic.pallet_name(), extrinsic.call_name());
        if (pallet, call) == ("Timestamp", "set") {
            let set = Compact::<u64>::decode(&mut extrinsic.call_data_field_bytes());
            time = set.map_or(0, |Compact(time)| time);
        }
        let failure = failures.iter().find(|(failed, _)| *failed == index);
        extrinsics.push(BlockExtrinsic {
            hash: blake2_256(extrinsic.bytes()),
            signer: extrinsic.address_bytes().and_then(signer_of),
            nonce: extrinsic.transaction_extensions().and_then(|extensions| extensions.nonce()),
            pallet: pallet.to_owned(),
            call: call.to_owned(),
            failure: failure.map(|(_, error)| error.clone()),
        });
    }
    Ok((extrinsics, time))
}

/// Returns the account of an encoded address.
fn signer_of(address: &[u8]) -> Option<AccountId> {
    let (kind, account) = address.split_first()?;
    (*kind == ADDRESS_OF_ACCOUNT).then(|| account.try_into().ok()).flatten()
}

/// Returns the index of the author among the authorities. Each kind of claim of a slot begins with
/// it, behind the number of the kind (`sp_consensus_babe::digests::PreDigest`).
fn authority_index(logs: &[DigestItem]) -> Option<u32> {
    logs.iter().find_map(|item| match item {
        DigestItem::PreRuntime([b'B', b'A', b'B', b'E'], claim) => {
            u32::decode(&mut claim.get(1..)?).ok()
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use subxt::error::BackendError;

    #[test]
    fn a_state_that_is_gone_is_recognised() {
        let error = |text: &str| ChainError::node(BackendError::other(text.to_owned()));
        assert!(error("Client error: UnknownBlock: State already discarded for 0x12").is_pruned());
        assert!(!error("it does not know block 7").is_pruned());
    }

    #[test]
    fn the_author_is_named_by_its_claim_of_the_slot() {
        let claim = |bytes: &[u8]| DigestItem::PreRuntime(*b"BABE", bytes.to_vec());
        assert_eq!(authority_index(&[claim(&[2, 5, 0, 0, 0, 9, 9])]), Some(5));
        assert_eq!(authority_index(&[claim(&[2, 5])]), None);
        assert_eq!(authority_index(&[claim(&[])]), None);
        let seal = DigestItem::Seal(*b"BABE", vec![2, 5, 0, 0, 0]);
        assert_eq!(authority_index(&[seal, claim(&[1, 7, 0, 0, 0])]), Some(7));
    }

    #[test]
    fn signers_are_accounts() {
        let address = [&[0][..], &[7; 32]].concat();
        assert_eq!(signer_of(&address), Some([7; 32]));
        assert_eq!(signer_of(&address[..32]), None);
        assert_eq!(signer_of(&[&[1][..], &[7; 32]].concat()), None);
        assert_eq!(signer_of(&[]), None);
    }
}
