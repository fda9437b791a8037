//! The connection to a node.

use crate::{AccountId, Call, ChainError, Signer};
use codec::{Decode, DecodeAll, Encode};
use futures::{
    TryFutureExt,
    stream::{self, BoxStream},
};
use pol_primitives::{
    Balance, Hash, RoundNumber,
    audit::{Audit, AuditConfig, AuditId, Excision, Shown},
    data::{Manifest, ManifestId, ShardId, ShardRecord, Source, SourceId},
    head::{RoundRecord, Update},
    lease::Lease,
    metrics::{MeasuredHead, Measuring},
    recipe::Recipe,
    rewards::Books,
    round::BlockNumber,
    submission::{Settled, Submission},
    view::{Attestation, Member, Overview, Reward, Standing},
};
use sp_crypto_hashing::{blake2_128, blake2_256, twox_128};
use std::{fmt, sync::Arc, time::Duration};
use subxt::{
    OnlineClient, OnlineClientAtBlock, SubstrateConfig,
    backend::{LegacyBackend, utils::retry},
    config::{DefaultExtrinsicParamsBuilder, RpcConfigFor, substrate::SubstrateHeader},
    error::{BackendError, DispatchError},
    events::Phase,
    rpcs::{
        self, LegacyRpcMethods, RpcClient,
        client::{
            RpcSubscription,
            reconnecting_rpc_client::{self, ExponentialBackoff},
        },
    },
    utils::{AccountId32, H256},
};
use tokio::{sync::Mutex, time};

type Config = SubstrateConfig;
type Header = SubstrateHeader<H256>;

/// The runtime API that all reads go through.
const API: &str = "PolApi";
/// How long a first connection is tried, so that a node started at the same time is found.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest pause between two attempts to reconnect; the first is a fifth of a second, and they
/// double.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Blocks a transaction can wait for its inclusion; a power of two, as eras are.
const LIFETIME: BlockNumber = 64;
/// Blocks after which a transaction that none of them includes is handed to the node again.
const RESEND: u32 = 2;
/// Times a transaction is signed when other processes of the same account take its nonce.
const ATTEMPTS: u32 = 3;
/// Pause between two of them.
const TAKE_TURNS: Duration = Duration::from_secs(1);

/// Codes of the author's RPC for a transaction that is in the node's pool or was lately.
const BANNED: i32 = 1012;
const KNOWN: i32 = 1013;
/// Another transaction with this nonce is in the pool.
const DISPLACED: i32 = 1014;
/// The pool is full.
const DROPPED: i32 = 1016;

/// A block, by height and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockInfo {
    /// Its height.
    pub number: BlockNumber,
    /// Its hash.
    pub hash: Hash,
}

impl From<&Header> for BlockInfo {
    fn from(header: &Header) -> Self {
        // The chain's own block number has 32 bits.
        Self {
            number: u32::try_from(header.number).unwrap_or(u32::MAX),
            hash: blake2_256(&header.encode()),
        }
    }
}

/// A call that took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The block that includes it: on the best chain, not finalised yet.
    pub block: BlockInfo,
    /// Hash of the extrinsic.
    pub extrinsic: Hash,
}

/// A node's view of the chain. Clones share one connection, which is restored whenever it breaks.
#[derive(Clone)]
pub struct Chain {
    node: Arc<Node>,
    /// Where reads look; the best block when none.
    at: Option<Hash>,
}

struct Node {
    url: String,
    rpc: LegacyRpcMethods<RpcConfigFor<Config>>,
    /// Reads metadata at each block it is asked about and keeps it by runtime version, so that
    /// upgrades are followed.
    client: OnlineClient<Config>,
    /// Held from the choice of a nonce until the node's pool has the transaction, so that the next
    /// nonce differs.
    turn: Mutex<()>,
}

/// A signed transaction.
struct Signed {
    account: AccountId,
    nonce: u64,
    bytes: Vec<u8>,
    /// The first block that its era allows.
    birth: BlockNumber,
}

impl Signed {
    fn hash(&self) -> Hash {
        blake2_256(&self.bytes)
    }
}

/// The best chain's heads, without end.
struct Heads {
    chain: Chain,
    subscription: RpcSubscription<Header>,
    last: Option<BlockInfo>,
}

impl Heads {
    async fn next(&mut self) -> BlockInfo {
        loop {
            let reason = match self.subscription.next().await {
                Some(Ok(header)) => {
                    let block = BlockInfo::from(&header);
                    // A new subscription begins with the best block, which may be known.
                    if self.last.replace(block) != Some(block) {
                        return block;
                    }
                    continue;
                }
                Some(Err(error)) => error.to_string(),
                None => "the subscription ended".to_owned(),
            };
            tracing::warn!(url = self.chain.node.url, reason, "lost the node; reconnecting");
            self.resubscribe().await;
            tracing::info!(url = self.chain.node.url, "following the node again");
        }
    }

    /// Takes as long as the node is away.
    async fn resubscribe(&mut self) {
        let mut pause = pauses();
        loop {
            match self.chain.heads().await {
                Ok(heads) => break self.subscription = heads.subscription,
                Err(error) => tracing::debug!(%error, "cannot follow the node yet"),
            }
            time::sleep(pause.next().unwrap_or(LONGEST_PAUSE)).await;
        }
    }
}

/// Pauses between attempts to reach a node that is away.
fn pauses() -> ExponentialBackoff {
    ExponentialBackoff::from_millis(2).factor(100).max_delay(LONGEST_PAUSE)
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain")
            .field("url", &self.node.url)
            .field("at", &self.at.map(hex::encode))
            .finish()
    }
}

impl Chain {
    /// Connects to a node's WebSocket RPC, like `ws://127.0.0.1:9944`, and checks that its runtime
    /// has `PolApi`.
    ///
    /// From then on the connection is restored for as long as this or a clone of it lives; what is
    /// asked in between waits.
    pub async fn connect(url: &str) -> Result<Self, ChainError> {
        let unreachable = |reason: String| ChainError::Unreachable { url: url.to_owned(), reason };
        if !(url.starts_with("ws://") || url.starts_with("wss://")) {
            return Err(unreachable("the address does not begin with ws:// or wss://".to_owned()));
        }
        // Whoever else listens at the address may accept a connection and then say nothing.
        let opened = time::timeout(PATIENCE, Self::open(url)).await;
        let reason = || format!("for {} seconds nothing there spoke like one", PATIENCE.as_secs());
        opened.map_err(|_| unreachable(reason()))?
    }

    async fn open(url: &str) -> Result<Self, ChainError> {
        let connecting =
            reconnecting_rpc_client::RpcClient::builder().retry_policy(pauses()).build(url);
        let connection = connecting.await.map_err(|error| ChainError::Unreachable {
            url: url.to_owned(),
            reason: error.to_string(),
        })?;
        let connection = RpcClient::new(connection);
        let backend = LegacyBackend::builder().build(connection.clone());
        let client = OnlineClient::from_backend_with_config(Config::new(), Arc::new(backend))
            .await
            .map_err(ChainError::node)?;
        let node = Node {
            url: url.to_owned(),
            rpc: LegacyRpcMethods::new(connection),
            client,
            turn: Mutex::default(),
        };
        let chain = Self { node: Arc::new(node), at: None };
        if chain.client_at_best().await?.metadata_ref().runtime_api_trait_by_name(API).is_none() {
            return Err(ChainError::NotPol { url: url.to_owned() });
        }
        Ok(chain)
    }

    /// The same chain, read at `block` and not at the best block: several reads then agree with
    /// each other.
    pub fn at(&self, block: Hash) -> Self {
        Self { node: self.node.clone(), at: Some(block) }
    }

    /// Hash of the chain's first block.
    pub fn genesis(&self) -> Hash {
        self.node.client.genesis_hash().0
    }

    /// Hash of the block after genesis; none while the node has none. It tells chains apart that
    /// have the same genesis, as a development chain has whenever it is started anew.
    pub async fn first_block(&self) -> Result<Option<Hash>, ChainError> {
        let hash = self.ask(|| self.node.rpc.chain_get_block_hash(Some(1u32.into()))).await?;
        Ok(hash.map(|hash| hash.0))
    }

    /// The network now.
    pub async fn overview(&self) -> Result<Overview<AccountId>, ChainError> {
        self.read("overview", ()).await
    }

    /// The recipe in force.
    pub async fn recipe(&self) -> Result<Option<Recipe>, ChainError> {
        self.read("recipe", ()).await
    }

    /// The account's open lease.
    pub async fn lease(&self, account: &AccountId) -> Result<Option<Lease>, ChainError> {
        self.read("lease", account).await
    }

    /// What the account brings into its next lease.
    pub async fn standing(&self, account: &AccountId) -> Result<Standing, ChainError> {
        self.read("standing", account).await
    }

    /// The recipe with this hash, whether it is in force or was.
    pub async fn recipe_by_hash(&self, hash: &Hash) -> Result<Option<Recipe>, ChainError> {
        self.read("recipe_by_hash", hash).await
    }

    /// Submissions to a round that are not settled, by account; at most 64.
    pub async fn submissions(
        &self,
        round: RoundNumber,
    ) -> Result<Vec<(AccountId, Submission)>, ChainError> {
        self.read("submissions", round).await
    }

    /// What is kept of a concluded round.
    pub async fn round_record(
        &self,
        round: RoundNumber,
    ) -> Result<Option<RoundRecord<AccountId>>, ChainError> {
        self.read("round_record", round).await
    }

    /// The updates that a concluded round included, in account order, also those that were taken
    /// out later.
    pub async fn updates(&self, round: RoundNumber) -> Result<Vec<Update<AccountId>>, ChainError> {
        self.read("updates", round).await
    }

    /// How submissions to a round ended, by account.
    pub async fn history(
        &self,
        round: RoundNumber,
    ) -> Result<Vec<(AccountId, Settled)>, ChainError> {
        self.read("history", round).await
    }

    /// The updates that the next head takes out, ascending.
    pub async fn excisions(&self) -> Result<Vec<Excision>, ChainError> {
        self.read("excisions", ()).await
    }

    /// How much is audited, and how long it may take.
    pub async fn audit_config(&self) -> Result<AuditConfig, ChainError> {
        self.read("audit_config", ()).await
    }

    /// The audits under way, as they stand at this block, by number.
    pub async fn audits(&self) -> Result<Vec<(AuditId, Audit<AccountId>)>, ChainError> {
        self.read("audits", ()).await
    }

    /// What a trainer has shown of its update under audit.
    pub async fn shown(
        &self,
        audit: AuditId,
        trainer: &AccountId,
    ) -> Result<Option<Shown>, ChainError> {
        self.read("shown", (audit, trainer)).await
    }

    /// The lease that the account's update for `round` was trained under, until it is settled.
    pub async fn audited_lease(
        &self,
        round: RoundNumber,
        account: &AccountId,
    ) -> Result<Option<Lease>, ChainError> {
        self.read("audited_lease", (round, account)).await
    }

    /// What waits for the account to claim it.
    pub async fn rewards(&self, account: &AccountId) -> Result<Vec<Reward>, ChainError> {
        self.read("rewards", account).await
    }

    /// Where all money of learning went.
    pub async fn books(&self) -> Result<Books, ChainError> {
        self.read("books", ()).await
    }

    /// What became of a shard that is part of the model; none for others.
    pub async fn shard(&self, id: ShardId) -> Result<Option<ShardRecord>, ChainError> {
        self.read("shard", id).await
    }

    /// What validators found of the head of a round beside its loss; none where they did not, or
    /// have not yet.
    pub async fn measured(&self, round: RoundNumber) -> Result<Option<MeasuredHead>, ChainError> {
        self.read("measured", round).await
    }

    /// How the newest head is measured, with the reports on it that wait for a quorum; none before
    /// the block after it.
    pub async fn measuring(&self) -> Result<Option<Measuring<AccountId>>, ChainError> {
        self.read("measuring", ()).await
    }

    /// Attestations of the round under way.
    pub async fn attestations(&self) -> Result<Vec<Attestation<AccountId>>, ChainError> {
        self.read("attestations", ()).await
    }

    /// The account's part in the network.
    pub async fn member(
        &self,
        account: &AccountId,
    ) -> Result<Option<Member<AccountId>>, ChainError> {
        self.read("member", account).await
    }

    /// Every member, in storage order, all at one block.
    pub async fn members(&self) -> Result<Vec<Member<AccountId>>, ChainError> {
        let block = match self.at {
            Some(block) => block,
            None => self.best().await?.hash,
        };
        let pinned = self.at(block);
        let mut members: Vec<Member<AccountId>> = Vec::new();
        loop {
            let start = members.last().map(|member| member.account);
            let page: Vec<Member<AccountId>> = pinned.read("members", start).await?;
            if page.is_empty() {
                return Ok(members);
            }
            members.extend(page);
        }
    }

    /// A source.
    pub async fn source(&self, id: SourceId) -> Result<Option<Source<AccountId>>, ChainError> {
        self.read("source", id).await
    }

    /// A manifest.
    pub async fn manifest(
        &self,
        id: ManifestId,
    ) -> Result<Option<Manifest<AccountId>>, ChainError> {
        self.read("manifest", id).await
    }

    /// Number of manifests; their identifiers count from zero.
    pub async fn manifest_count(&self) -> Result<u32, ChainError> {
        self.read("manifest_count", ()).await
    }

    /// What the account can spend or bond: neither held nor reserved. Zero for an account that does
    /// not exist.
    pub async fn free_balance(&self, account: &AccountId) -> Result<Balance, ChainError> {
        let mut key = [twox_128(b"System"), twox_128(b"Account"), blake2_128(account)].concat();
        key.extend_from_slice(account);
        let bytes = self.ask(|| self.node.rpc.state_get_storage(&key, self.at.map(H256))).await?;
        let Some(bytes) = bytes else { return Ok(0) };
        // Nonce, three reference counts, then the balances, of which the free one is first.
        let (_, free) = <([u32; 4], Balance)>::decode(&mut &bytes[..])
            .map_err(|reason| ChainError::Answer { method: "System.Account".to_owned(), reason })?;
        Ok(free)
    }

    /// How many transactions of the account the chain includes.
    pub async fn nonce(&self, account: &AccountId) -> Result<u32, ChainError> {
        self.call("AccountNonceApi_account_nonce", account).await
    }

    /// The best block.
    pub async fn best(&self) -> Result<BlockInfo, ChainError> {
        self.block(None).await
    }

    /// The last finalised block.
    pub async fn finalised(&self) -> Result<BlockInfo, ChainError> {
        let hash = self.ask(|| self.node.rpc.chain_get_finalized_head()).await?;
        self.block(Some(hash)).await
    }

    /// The best block, and each block that becomes the best one, in order; blocks may be skipped
    /// and, in a reorganisation, numbers repeated. Fails only where the node refuses one more
    /// subscription.
    ///
    /// The stream never ends: when the connection is lost it says so in the log, once, subscribes
    /// again and goes on.
    pub async fn blocks(&self) -> Result<BoxStream<'static, BlockInfo>, ChainError> {
        let heads = self.heads().await?;
        Ok(Box::pin(stream::unfold(heads, |mut heads| async { Some((heads.next().await, heads)) })))
    }

    /// Signs `call`, submits it, and waits until a block of the best chain includes it.
    ///
    /// However often the connection breaks in between, the call takes effect at most once: what is
    /// submitted again is the same signed transaction, whose nonce the chain accepts once. Waits
    /// for as long as the node is away; a transaction that no block includes in its lifetime of 64
    /// blocks is given up with [`ChainError::Expired`].
    pub async fn submit(&self, signer: &Signer, call: Call) -> Result<Submitted, ChainError> {
        // Whatever can fail does so before anything is sent.
        let heads = self.heads().await?;
        let signed = self.send(signer, &call).await?;
        let submitted = self.follow(&signed, heads).await?;
        tracing::debug!(call = call.name().1, block = submitted.block.number, "call included");
        Ok(submitted)
    }

    /// Checks that the node's runtime has `call` with these arguments, and gives its encoding
    /// there.
    pub async fn encode(&self, call: &Call) -> Result<Vec<u8>, ChainError> {
        call.encode_at(&self.client_at_best().await?)
    }

    /// Signs `call` and hands it to the node, which then has it or, if the connection broke, may
    /// have it.
    async fn send(&self, signer: &Signer, call: &Call) -> Result<Signed, ChainError> {
        let _turn = self.node.turn.lock().await;
        for _ in 0..ATTEMPTS {
            let signed = match self.sign(signer, call).await {
                Err(ChainError::Displaced { .. }) => continue,
                signed => signed?,
            };
            match self.node.rpc.author_submit_extrinsic(&signed.bytes).await {
                Err(rpcs::Error::User(refusal)) => match refusal.code {
                    BANNED | KNOWN | DROPPED => return Ok(signed),
                    // The other transaction is this account's, sent by another process. The pool
                    // never had this one.
                    DISPLACED => time::sleep(TAKE_TURNS).await,
                    _ => {
                        let reason = refusal
                            .data
                            .as_ref()
                            .map_or(refusal.message.as_str(), |data| data.get().trim_matches('"'))
                            .to_owned();
                        return Err(ChainError::Invalid { account: signed.account, reason });
                    }
                },
                Ok(_) | Err(_) => return Ok(signed),
            }
        }
        Err(ChainError::Displaced { account: signer.account() })
    }

    async fn sign(&self, signer: &Signer, call: &Call) -> Result<Signed, ChainError> {
        let client = self.client_at_best().await?;
        call.encode_at(&client)?;
        let account = signer.account();
        let named = AccountId32(account);
        let nonce = self.ask(|| self.node.rpc.system_account_next_index(&named)).await?;
        // An era that begins with a block which is still replaced would end with it.
        let finalised = self.finalised().await?;
        let young = client.block_number().saturating_sub(u64::from(LIFETIME) / 2);
        let birth = if u64::from(finalised.number) >= young {
            finalised
        } else {
            self.block_at(young).await?
        };
        let parameters = DefaultExtrinsicParamsBuilder::<Config>::new()
            .nonce(nonce)
            .mortal_from_unchecked(LIFETIME.into(), birth.number.into(), H256(birth.hash))
            .build();
        let transaction = client
            .tx()
            .create_signable_offline(&call.payload(client.metadata_ref())?, parameters)
            .and_then(|mut signable| signable.sign(&signer.0))
            .map_err(ChainError::node)?;
        let validation = transaction.validate().await.map_err(ChainError::node)?;
        if let Some(error) = ChainError::invalid(account, validation) {
            return Err(error);
        }
        Ok(Signed { account, nonce, bytes: transaction.into_encoded(), birth: birth.number })
    }

    /// Waits until a block includes the transaction, and tells whether it took effect there.
    async fn follow(&self, signed: &Signed, mut heads: Heads) -> Result<Submitted, ChainError> {
        let until = signed.birth.saturating_add(LIFETIME - 1);
        let mut waited = 0;
        loop {
            let block = heads.next().await;
            let step = match self.look(signed, block).await {
                Ok(Some(submitted)) => return Ok(submitted),
                Ok(None) if block.number >= until => {
                    return Err(ChainError::Expired { extrinsic: signed.hash(), until });
                }
                Ok(None) => {
                    waited += 1;
                    if waited % RESEND == 0 { self.resend(signed).await } else { Ok(()) }
                }
                Err(error) => Err(error),
            };
            match step {
                // A node that was killed forgets its last blocks, and may be asked for one of them.
                Err(ChainError::Node(error)) if block.number < until => {
                    tracing::debug!(%error, number = block.number, "cannot follow the transaction here; waiting for the next block");
                }
                other => other?,
            }
        }
    }

    /// What became of the transaction up to `block`; none while it waits.
    async fn look(
        &self,
        signed: &Signed,
        block: BlockInfo,
    ) -> Result<Option<Submitted>, ChainError> {
        if u64::from(self.at(block.hash).nonce(&signed.account).await?) <= signed.nonce {
            return Ok(None);
        }
        let found = self.find(signed, block).await?;
        let (block, index) = found.ok_or(ChainError::Displaced { account: signed.account })?;
        self.outcome(block, index).await?;
        Ok(Some(Submitted { block, extrinsic: signed.hash() }))
    }

    /// Hands the node the same transaction again, which it has lost if it restarted.
    async fn resend(&self, signed: &Signed) -> Result<(), ChainError> {
        let transaction = self.client_at_best().await?.tx().from_bytes(signed.bytes.clone());
        let validation = transaction.validate().await.map_err(ChainError::node)?;
        match ChainError::invalid(signed.account, validation) {
            // Included a moment ago.
            Some(ChainError::Displaced { .. }) => return Ok(()),
            Some(error) => return Err(error),
            None => {}
        }
        if let Err(error) = self.node.rpc.author_submit_extrinsic(&signed.bytes).await {
            tracing::debug!(%error, "not taken again");
        }
        Ok(())
    }

    /// The block at or before `tip` that includes the transaction, and its index there.
    async fn find(
        &self,
        signed: &Signed,
        tip: BlockInfo,
    ) -> Result<Option<(BlockInfo, u32)>, ChainError> {
        let mut block = tip;
        while block.number >= signed.birth && block.number > 0 {
            let body = self.ask(|| self.node.rpc.chain_get_block(Some(H256(block.hash)))).await?;
            let body = body.ok_or_else(|| missing(hex::encode(block.hash)))?;
            let mut extrinsics = (0..).zip(&body.block.extrinsics);
            if let Some((index, _)) = extrinsics.find(|(_, extrinsic)| extrinsic.0 == signed.bytes)
            {
                return Ok(Some((block, index)));
            }
            block = BlockInfo { number: block.number - 1, hash: body.block.header.parent_hash.0 };
        }
        Ok(None)
    }

    /// Whether the extrinsic at `index` of `block` took effect, by the events of its dispatch.
    async fn outcome(&self, block: BlockInfo, index: u32) -> Result<(), ChainError> {
        let client = self.node.client.at_block(H256(block.hash)).await.map_err(ChainError::node)?;
        let events = client.events().fetch().await.map_err(ChainError::node)?;
        for event in events.iter() {
            let event = event.map_err(ChainError::node)?;
            if event.phase() != Phase::ApplyExtrinsic(index) {
                continue;
            }
            let failure = match (event.pallet_name(), event.event_name(), event.field_bytes()) {
                ("System", "ExtrinsicFailed", error) => error,
                // The call of a sudo key fails without failing the extrinsic: a `Result`, whose
                // error has index 1.
                ("Sudo", "Sudid", [1, error @ ..]) => error,
                _ => continue,
            };
            let error =
                DispatchError::decode_from(failure, client.metadata()).map_err(ChainError::node)?;
            return Err(ChainError::refused(&error));
        }
        Ok(())
    }

    async fn read<T: Decode>(&self, method: &str, arguments: impl Encode) -> Result<T, ChainError> {
        self.call(&format!("{API}_{method}"), arguments).await
    }

    /// Calls the runtime. What the answer has too much or too little is an error.
    async fn call<T: Decode>(&self, method: &str, arguments: impl Encode) -> Result<T, ChainError> {
        let arguments = arguments.encode();
        let bytes = self
            .ask(|| self.node.rpc.state_call(method, Some(&arguments), self.at.map(H256)))
            .await?;
        T::decode_all(&mut &bytes[..])
            .map_err(|reason| ChainError::Answer { method: method.to_owned(), reason })
    }

    /// A block by its hash; the best one when none is given.
    async fn block(&self, hash: Option<H256>) -> Result<BlockInfo, ChainError> {
        let header = self.ask(|| self.node.rpc.chain_get_header(hash)).await?;
        header
            .as_ref()
            .map(BlockInfo::from)
            .ok_or_else(|| missing(hash.map_or("best".to_owned(), |hash| format!("{hash:?}"))))
    }

    /// The block at a height of the best chain.
    async fn block_at(&self, number: u64) -> Result<BlockInfo, ChainError> {
        let hash = self.ask(|| self.node.rpc.chain_get_block_hash(Some(number.into()))).await?;
        self.block(Some(hash.ok_or_else(|| missing(number.to_string()))?)).await
    }

    async fn heads(&self) -> Result<Heads, ChainError> {
        let subscription = self.ask(|| self.node.rpc.chain_subscribe_new_heads()).await?;
        Ok(Heads { chain: self.clone(), subscription, last: None })
    }

    async fn client_at_best(&self) -> Result<OnlineClientAtBlock<Config>, ChainError> {
        let best = self.best().await?;
        self.node.client.at_block(H256(best.hash)).await.map_err(ChainError::node)
    }

    /// Asks the node, again whenever the connection is lost before the answer.
    async fn ask<T, F>(&self, request: impl Fn() -> F) -> Result<T, ChainError>
    where
        F: Future<Output = Result<T, rpcs::Error>>,
    {
        retry(|| request().err_into::<BackendError>()).await.map_err(ChainError::node)
    }
}

fn missing(block: String) -> ChainError {
    ChainError::node(BackendError::other(format!("it does not know block {block}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn other_addresses_are_refused_at_once() {
        for url in ["", "http://127.0.0.1:9944", "127.0.0.1:9944"] {
            let error = Chain::connect(url).await.unwrap_err();
            assert!(
                matches!(&error, ChainError::Unreachable { url: named, .. } if named == url),
                "{error}"
            );
        }
    }

    #[test]
    fn calls_can_be_made_from_any_thread() {
        fn sendable<T: Send>(_: T) {}
        fn submits(chain: &Chain, signer: &Signer) {
            sendable(chain.submit(signer, Call::Unbond));
            sendable(chain.blocks());
            sendable(chain.members());
        }
        let _: fn(&Chain, &Signer) = submits;
    }
}
