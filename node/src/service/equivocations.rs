// SPDX-License-Identifier: Apache-2.0

//! Reports of authorities that author two blocks in a slot.
//!
//! BABE's block import detects them too, but compares headers after their seals were taken off. A
//! report of such headers proves nothing, and the chain refuses it (`sc-consensus-babe` 0.60).

use crate::client::FullClient;
use pol_runtime::{Hash, Header, opaque::Block};
use polkadot_sdk::{
    sc_client_api::AuxStore,
    sc_consensus::{BlockCheckParams, BlockImport, BlockImportParams, ImportResult},
    sc_consensus_babe::find_pre_digest,
    sc_consensus_slots::{MAX_SLOT_CAPACITY, check_equivocation},
    sc_transaction_pool_api::{self, LocalTransactionPool, OffchainTransactionPoolFactory},
    sp_api::{ApiExt, ProvideRuntimeApi},
    sp_blockchain::{self, HeaderBackend},
    sp_consensus_babe::{
        self, BabeApi, EquivocationProof, Slot, SlotDuration, digests::CompatibleDigestItem,
    },
    sp_core::crypto::ByteArray,
    sp_keystore::KeystorePtr,
    sp_runtime::{
        OpaqueExtrinsic,
        traits::{BlakeTwo256, Hash as _},
    },
    sp_timestamp::Timestamp,
};
use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

/// Name of the log target.
const LOG_TARGET: &str = "equivocations";
/// Prefix of keys in the auxiliary store, where BABE keeps headers without seals.
const KEY_PREFIX: &[u8] = b"sealed:";

/// Block import that reports two blocks of one authority in one slot, after it has imported them.
///
/// It must be outside that of BABE, which takes a block with its seal beside the header. Blocks
/// that cannot be imported cause no fork, and are not looked at.
#[derive(Clone)]
pub(super) struct ReportingImport<I> {
    inner: I,
    client: Arc<FullClient>,
    keystore: KeystorePtr,
    pool: OffchainTransactionPoolFactory<Block>,
    slot_duration: SlotDuration,
    /// Held while a header is compared, since own blocks are imported beside those of others.
    comparison: Arc<Mutex<()>>,
}

impl<I> ReportingImport<I> {
    pub(super) fn new(
        inner: I,
        client: Arc<FullClient>,
        keystore: KeystorePtr,
        pool: OffchainTransactionPoolFactory<Block>,
        slot_duration: SlotDuration,
    ) -> Self {
        Self { inner, client, keystore, pool, slot_duration, comparison: Arc::default() }
    }

    /// Reports the author of an imported block if it has authored another one in the same slot.
    fn check(&self, hash: Hash, sealed: &Header) -> Result<(), Box<dyn Error>> {
        let digest = find_pre_digest::<Block>(sealed)?;
        let now = Slot::from_timestamp(Timestamp::current(), self.slot_duration);
        if now.saturating_sub(*digest.slot()) > MAX_SLOT_CAPACITY {
            return Ok(());
        }
        let epoch = self.client.runtime_api().current_epoch(hash)?;
        let author = epoch.authorities.get(digest.authority_index() as usize);
        let (author, _) = author.ok_or("the author is no authority of the epoch")?;
        let proof = {
            let _guard = self.comparison.lock().unwrap_or_else(PoisonError::into_inner);
            check_equivocation(&SealedHeaders(&*self.client), now, digest.slot(), sealed, author)?
        };
        proof.map_or(Ok(()), |proof| self.report(hash, proof))
    }

    /// Adds a report to the pool of this node. Only an authority can put it into a block.
    fn report(&self, hash: Hash, proof: EquivocationProof<Header>) -> Result<(), Box<dyn Error>> {
        log::warn!(
            target: LOG_TARGET,
            "{} authored two blocks in slot {}: {:?} and {:?}",
            proof.offender,
            proof.slot,
            proof.first_header.hash(),
            proof.second_header.hash(),
        );
        let own = (proof.offender.to_raw_vec(), sp_consensus_babe::KEY_TYPE);
        if self.keystore.has_keys(&[own]) {
            log::error!(
                target: LOG_TARGET,
                "another node makes blocks with the keys of this one, which costs a tenth of the \
                 authority's bond or more: stop one of the two nodes"
            );
            return Ok(());
        }
        // The state after the block is of the slot's session, whose keys the chain requires.
        let owner = self
            .client
            .runtime_api()
            .generate_key_ownership_proof(hash, proof.slot, proof.offender.clone())?
            .ok_or("nobody owns the author's key")?;
        let best = self.client.info().best_hash;
        let mut api = self.client.runtime_api();
        api.register_extension(self.pool.offchain_transaction_pool(best));
        // Pools refuse it if others have reported the authority already.
        api.submit_report_equivocation_unsigned_extrinsic(best, proof, owner)?;
        Ok(())
    }
}

#[async_trait::async_trait]
impl<I: BlockImport<Block> + Send + Sync> BlockImport<Block> for ReportingImport<I> {
    type Error = I::Error;

    async fn check_block(
        &self,
        block: BlockCheckParams<Block>,
    ) -> Result<ImportResult, Self::Error> {
        self.inner.check_block(block).await
    }

    async fn import_block(
        &self,
        block: BlockImportParams<Block>,
    ) -> Result<ImportResult, Self::Error> {
        // A seal beside the header is one that BABE has verified. Blocks of the past have it in the
        // header, or no state that shows who may author them.
        let is_verified = block.post_digests.iter().any(|item| item.as_babe_seal().is_some())
            && !block.state_action.skip_execution_checks();
        let (hash, sealed) = (block.post_hash(), is_verified.then(|| block.post_header()));
        let imported = self.inner.import_block(block).await?;
        if let (ImportResult::Imported(_), Some(sealed)) = (&imported, sealed)
            && let Err(error) = self.check(hash, &sealed)
        {
            log::warn!(
                target: LOG_TARGET,
                "block {hash:?} is not compared with others of its slot: {error}"
            );
        }
        Ok(imported)
    }
}

/// Pool that takes the reports of BABE's own block import and forgets them. They prove nothing, and
/// would take the places of ours in the pool.
pub(super) struct NoReports;

impl LocalTransactionPool for NoReports {
    type Block = Block;
    type Hash = Hash;
    type Error = sc_transaction_pool_api::error::Error;

    fn submit_local(&self, _: Hash, report: OpaqueExtrinsic) -> Result<Hash, Self::Error> {
        Ok(BlakeTwo256::hash_of(&report))
    }
}

/// Auxiliary store of headers with their seals, apart from BABE's without.
struct SealedHeaders<'a, S>(&'a S);

impl<S: AuxStore> AuxStore for SealedHeaders<'_, S> {
    fn insert_aux<
        'a,
        'b: 'a,
        'c: 'a,
        I: IntoIterator<Item = &'a (&'c [u8], &'c [u8])>,
        D: IntoIterator<Item = &'a &'b [u8]>,
    >(
        &self,
        insert: I,
        delete: D,
    ) -> sp_blockchain::Result<()> {
        let insert: Vec<_> =
            insert.into_iter().map(|(key, value)| (prefixed(key), *value)).collect();
        let delete: Vec<_> = delete.into_iter().map(|key| prefixed(key)).collect();
        let insert: Vec<_> = insert.iter().map(|(key, value)| (&key[..], *value)).collect();
        let delete: Vec<_> = delete.iter().map(|key| &key[..]).collect();
        self.0.insert_aux(&insert, &delete)
    }

    fn get_aux(&self, key: &[u8]) -> sp_blockchain::Result<Option<Vec<u8>>> {
        self.0.get_aux(&prefixed(key))
    }
}

fn prefixed(key: &[u8]) -> Vec<u8> {
    [KEY_PREFIX, key].concat()
}
