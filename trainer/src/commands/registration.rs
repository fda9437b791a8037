// SPDX-License-Identifier: Apache-2.0

//! Registration of ingested folders on the chain.
//!
//! A registration takes up to three calls: a source, a training manifest, and a held-out one. It
//! looks for what the account has before it adds anything, so that a repeated one completes it, and
//! everything that the chain would refuse, and the data themselves, are checked before the first
//! call. It looks again behind each call: if another process of the account registered the same at
//! the same time, the older entry counts, and the newer one is withdrawn.

use super::{
    holdings::Holdings,
    parents::{self, Making, ParentError, StatedParents},
};
use crate::{
    context::submit_housekeeping,
    display::{account_name, format_amount, short_hash},
};
use pol_chain::{AccountId, Call, Chain, ChainError, DepositRates, Signer};
use pol_data::{DataError, IngestRecord, ManifestSummary, documents::croissant::ManifestName};
use pol_primitives::{
    Balance, Hash, POL, Ppm,
    data::{Manifest, ManifestId, ManifestInfo, ManifestStatus, ShortText, Source, SourceId},
    lineage::Retirement,
};
use std::{borrow::Cow, collections::BTreeSet, path::Path};

/// Balance that an account needs beside deposits, to pay fees.
const FEE_RESERVE: Balance = POL;

/// Statement that the licence of a text is not known, by the SPDX specification.
pub(super) const UNKNOWN_LICENCE: &str = "NOASSERTION";

/// Reason why nothing more was registered.
#[derive(Debug, thiserror::Error)]
pub(super) enum RegistrationError {
    /// A text is too long for the chain.
    #[error("{0} is longer than 256 bytes; shorten it")]
    LongText(&'static str),
    /// No format of data is known.
    #[error(
        "the chain has no recipe yet, which gives the format of data: governance sets one with \
         `pol-trainer recipe set`"
    )]
    NoRecipe,
    /// The recipe has another tokenizer.
    #[error(
        "the data have the tokenizer {} and the network's recipe has {}: make them with the \
         tokenizer.json of the network",
        short_hash(.made),
        short_hash(.wanted)
    )]
    OtherTokenizer {
        /// Tokenizer of the data.
        made: Hash,
        /// Tokenizer of the recipe.
        wanted: Hash,
    },
    /// The recipe has shards of another length.
    #[error(
        "the data have shards of {made} tokens and the network's recipe has {wanted}: make them \
         with that length"
    )]
    OtherLength {
        /// Tokens of a shard.
        made: u32,
        /// Tokens of a shard by the recipe.
        wanted: u32,
    },
    /// The same text is in the network already.
    #[error("manifest {manifest} of {} has the same text; it is not registered again", .owner)]
    Taken {
        /// Manifest with the text.
        manifest: ManifestId,
        /// Its owner.
        owner: String,
    },
    /// The text has no quality that its provider could claim.
    #[error(
        "the record of the folder has no quality of the text, which an earlier version of this \
         program did not measure: ingest the text again with --force; nothing was registered"
    )]
    NoQuality,
    /// The chain would not take the parents.
    #[error("{0}; nothing was registered")]
    Parents(#[from] ParentError),
    /// The folder is damaged.
    #[error("{error}; nothing was registered")]
    Damaged {
        /// Damage.
        error: DataError,
        /// The chain has none of its manifests.
        is_new: bool,
    },
    /// The preparation failed.
    #[error("{0:#}; nothing was registered")]
    Unprepared(anyhow::Error),
    /// The folder cannot be read.
    #[error(transparent)]
    Unreadable(#[from] DataError),
    /// The account has too little for the deposits.
    #[error(
        "{} has {} and needs {} for deposits and fees: send it some; nothing was registered",
        .account,
        format_amount(*.free),
        format_amount(*.needed)
    )]
    Funds {
        /// Account that registers.
        account: String,
        /// Its free balance.
        free: Balance,
        /// Deposits and a reserve for fees.
        needed: Balance,
    },
    /// The deposits would exceed the budget.
    #[error(
        "it needs deposits of {} and the budget has {} left: raise provider.max_deposit, or wait \
         until deposits come back with the last consumed shards",
        format_amount(*.needed),
        format_amount(*.left)
    )]
    Budget {
        /// Deposits that are needed.
        needed: Balance,
        /// Part of the budget that is left.
        left: Balance,
    },
    /// Registration that was just made and is gone from the best chain.
    #[error("the {0} is not on the best chain any more; run this command again")]
    TakenBack(&'static str),
    /// The chain refused a call, or cannot be asked.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

type Result<T, E = RegistrationError> = std::result::Result<T, E>;

/// Statements of the provider about the origin of its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    address: ShortText,
    licence: ShortText,
    parents: StatedParents,
}

impl Terms {
    /// Creates the terms of a text with this address and licence.
    pub(super) fn new(address: &str, licence: &str) -> Result<Self> {
        let text = |text: &str, name| {
            ShortText::try_from(text.as_bytes().to_vec())
                .map_err(|_| RegistrationError::LongText(name))
        };
        Ok(Self {
            address: text(address, "the address")?,
            licence: text(licence, "the licence")?,
            parents: StatedParents::default(),
        })
    }

    /// Adds the manifests that the text was made from.
    pub(super) fn with_parents(self, parents: StatedParents) -> Self {
        Self { parents, ..self }
    }

    /// Returns the stated origin.
    pub(super) fn address(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.address)
    }

    /// Returns the sources of an account with these terms, the oldest first.
    pub(super) fn sources(&self, holdings: &Holdings) -> impl Iterator<Item = SourceId> {
        let is_of = |source: &Source<AccountId>| {
            (&source.address, &source.licence) == (&self.address, &self.licence)
        };
        let found = holdings.sources.iter().filter(move |(_, source)| is_of(source));
        found.map(|(id, _)| *id)
    }
}

/// Data of a source that are registered.
#[derive(Debug)]
pub(super) struct Registration {
    /// Source on the chain.
    pub(super) source: SourceId,
    /// Its manifests: that of the training text, and that of the held-out text.
    pub(super) manifests: Vec<RegisteredManifest>,
}

/// Registered manifest.
#[derive(Debug)]
pub(super) struct RegisteredManifest {
    /// Number of the manifest.
    pub(super) id: ManifestId,
    /// Number of its shards.
    pub(super) shards: u32,
    /// The shards are never leased.
    pub(super) held_out: bool,
    /// Stage of the manifest.
    pub(super) status: ManifestStatus,
    /// Amount that is on hold for it.
    pub(super) deposit: Balance,
    /// This run registered it.
    pub(super) is_new: bool,
}

/// Registration of data of one account.
pub(super) struct Registrar<'a> {
    pub(super) chain: &'a Chain,
    pub(super) signer: &'a Signer,
    /// Register held-out manifests too.
    pub(super) held_out: bool,
    /// Most that new deposits may take.
    pub(super) limit: Option<Balance>,
}

impl Registrar<'_> {
    /// Registers what is missing of the source with these terms and of the manifests of the data in
    /// `folder`. A manifest of the account with this content counts, whatever source it is of.
    /// `prepare` is called before the first call.
    pub(super) async fn register(
        &self,
        folder: &Path,
        terms: &Terms,
        prepare: impl AsyncFnOnce() -> anyhow::Result<()>,
    ) -> Result<Registration> {
        let record = IngestRecord::read(folder)?;
        let sides = [(&record.train, false), (&record.held_out, true)];
        let wanted = |(split, held_out): &(&ManifestSummary, bool)| {
            split.shards > 0 && (self.held_out || !held_out)
        };
        let sides: Vec<_> = sides.into_iter().filter(wanted).collect();
        let holdings = self.holdings().await?;
        let found =
            sides.iter().map(|(split, held_out)| oldest(&holdings, &split.content_hash, *held_out));
        let found: Vec<_> = found.collect();
        for (id, manifest) in found.iter().flatten() {
            terms.parents.check_registered(*id, &manifest.info)?;
        }
        // Both sides of a split have to be of the same source, and made in the same way.
        let source = found.iter().flatten().map(|(_, manifest)| manifest.info.source).next();
        let source = source.or_else(|| terms.sources(&holdings).next());
        let making = match found.iter().flatten().next() {
            Some((_, manifest)) => Making::of(&manifest.info),
            None => self.making(folder, &record, terms).await?,
        };
        if found.iter().any(Option::is_none) {
            check_format(self.chain, &record).await?;
            claimed_quality(&record)?;
            self.check_parents(&making.parents).await?;
            let missing = sides.iter().zip(&found).filter(|(_, found)| found.is_none());
            let missing: Vec<_> = missing.map(|((split, _), _)| *split).collect();
            self.check_content(&record, &missing).await?;
            self.check_funds(source.is_none(), &missing).await?;
            let is_new = found.iter().all(Option::is_none);
            blocking(folder, pol_data::verify)
                .await
                .map_err(|error| RegistrationError::Damaged { error, is_new })?;
            prepare().await.map_err(RegistrationError::Unprepared)?;
        }
        let source = match source {
            Some(source) => source,
            None => self.register_source(terms).await?,
        };
        let mut manifests = Vec::new();
        for ((split, held_out), found) in sides.into_iter().zip(found) {
            let is_new = found.is_none();
            let (id, manifest) = match found {
                Some(found) => found,
                None => {
                    let info = manifest_info(&record, split, source, held_out, making.clone())?;
                    self.register_manifest(info).await?
                }
            };
            let deposit = self.chain.manifest_deposit(id).await?;
            let Manifest { status, .. } = manifest;
            let shards = split.shards;
            manifests.push(RegisteredManifest { id, shards, held_out, status, deposit, is_new });
        }
        Ok(Registration { source, manifests })
    }

    async fn holdings(&self) -> Result<Holdings> {
        Ok(Holdings::read(self.chain, &self.signer.account()).await?)
    }

    async fn register_source(&self, terms: &Terms) -> Result<SourceId> {
        let Terms { address, licence, .. } = terms.clone();
        self.chain.submit(self.signer, Call::RegisterSource { address, licence }).await?;
        let holdings = self.holdings().await?;
        let mut sources = terms.sources(&holdings);
        let source = sources.next().ok_or(RegistrationError::TakenBack("source"))?;
        for later in sources.filter(|id| holdings.is_unused(*id)) {
            self.withdraw(Call::WithdrawSource(later), "source", later).await;
        }
        Ok(source)
    }

    async fn register_manifest(
        &self,
        info: ManifestInfo,
    ) -> Result<(ManifestId, Manifest<AccountId>)> {
        let (content_hash, held_out) = (info.content_hash, info.held_out);
        self.chain.submit(self.signer, Call::RegisterManifest(Box::new(info))).await?;
        let holdings = self.holdings().await?;
        for (later, manifest) in holdings.manifests_of(&content_hash, held_out).skip(1) {
            if manifest.status == ManifestStatus::Proposed {
                self.withdraw(Call::WithdrawManifest(later), "manifest", later).await;
            }
        }
        let found = oldest(&holdings, &content_hash, held_out);
        found.ok_or(RegistrationError::TakenBack("manifest"))
    }

    /// Withdraws what two processes of the account registered at the same time.
    async fn withdraw(&self, call: Call, name: &str, id: u32) {
        match submit_housekeeping(self.chain, self.signer, call).await {
            Ok(true) => tracing::warn!(
                "another process of {} registered the same: {name} {id} is withdrawn, and its \
                 deposit is back. Use an account in one process only",
                self.signer.ss58()
            ),
            // The other process was faster.
            Ok(false) => {}
            Err(error) => tracing::warn!("{name} {id} is there twice, and stays: {error}"),
        }
    }

    /// Returns the making of the data in `folder`, with the parents that the provider states and
    /// those that the documents name.
    async fn making(&self, folder: &Path, record: &IngestRecord, terms: &Terms) -> Result<Making> {
        let lineage = record.lineage();
        let names = match lineage.documents {
            Some(_) => {
                let named = blocking(folder, parents::named_in).await;
                // Nothing of the data is registered where their making is asked for.
                named.map_err(|error| RegistrationError::Damaged { error, is_new: true })??
            }
            None => BTreeSet::new(),
        };
        let mut named = BTreeSet::new();
        for name in &names {
            named.extend(self.parent(name).await?);
        }
        Ok(Making::new(lineage.derivation(), &terms.parents, &named)?)
    }

    /// Returns the manifest of this chain that a document names as its parent. One that the chain
    /// no longer keeps can be none, unless it keeps that nothing may be made from it.
    async fn parent(&self, name: &ManifestName) -> Result<Option<ManifestId>> {
        let chain = self.chain;
        let id = match name {
            ManifestName::Content(hash) => chain.manifest_of_content(hash).await?,
            ManifestName::OnChain { genesis, id } => {
                (*genesis == chain.genesis_hash()).then_some(*id)
            }
        };
        let Some(id) = id else { return Ok(None) };
        let is_known = self.bar(id).await?.is_some() || chain.manifest(id).await?.is_some();
        Ok(is_known.then_some(id))
    }

    /// Returns the decision by which nothing may be made from a manifest.
    async fn bar(&self, id: ManifestId) -> Result<Option<Retirement>> {
        Ok(self.chain.retirement(id).await?.filter(Retirement::bars_children))
    }

    /// Fails if the chain takes nothing that is made from these manifests.
    async fn check_parents(&self, parents: &[ManifestId]) -> Result<()> {
        for &id in parents {
            if let Some(retirement) = self.bar(id).await? {
                return Err(ParentError::Retired { id, retirement }.into());
            }
            if self.chain.manifest(id).await?.is_none() {
                return Err(ParentError::Unknown(id).into());
            }
        }
        Ok(())
    }

    /// Fails if the network has the text from elsewhere.
    async fn check_content(
        &self,
        record: &IngestRecord,
        missing: &[&ManifestSummary],
    ) -> Result<()> {
        let mut taken = Vec::new();
        for split in missing {
            taken.extend(self.chain.manifest_of_content(&split.content_hash).await?);
        }
        if let Some(documents) = record.lineage().documents {
            for manifest in self.chain.manifests_of_documents(&documents.root).await? {
                // The other side of the same split may have been admitted before.
                let other = self.chain.manifest(manifest).await?;
                let is_ours = other.is_some_and(|other| other.owner == self.signer.account());
                taken.extend((!is_ours).then_some(manifest));
            }
        }
        let Some(manifest) = taken.first().copied() else { return Ok(()) };
        let owner = self.chain.manifest(manifest).await?.map(|manifest| manifest.owner);
        // The chain forgets manifests that ended long ago, and no content.
        let owner = owner.map_or("a provider of the past".into(), |owner| account_name(&owner));
        Err(RegistrationError::Taken { manifest, owner })
    }

    /// Fails if the account or the budget does not cover the deposits.
    async fn check_funds(&self, needs_source: bool, missing: &[&ManifestSummary]) -> Result<()> {
        let rates = self.chain.deposit_rates().await?;
        let needed = deposits(&rates, needs_source, missing.iter().map(|split| split.shards));
        if let Some(left) = self.limit.filter(|left| needed > *left) {
            return Err(RegistrationError::Budget { needed, left });
        }
        let free = self.chain.free_balance(&self.signer.account()).await?;
        let needed = needed.saturating_add(FEE_RESERVE);
        if free < needed {
            let account = self.signer.ss58();
            return Err(RegistrationError::Funds { account, free, needed });
        }
        Ok(())
    }
}

/// Returns the oldest of the account's manifests with this content.
fn oldest(
    holdings: &Holdings,
    content_hash: &Hash,
    held_out: bool,
) -> Option<(ManifestId, Manifest<AccountId>)> {
    let mut found = holdings.manifests_of(content_hash, held_out);
    found.next().map(|(id, manifest)| (id, manifest.clone()))
}

/// Reads a folder, or a part of it, in a thread of its own.
async fn blocking<T: Send + 'static>(
    folder: &Path,
    read: impl FnOnce(&Path) -> Result<T, DataError> + Send + 'static,
) -> Result<T, DataError> {
    let path = folder.to_owned();
    let task = tokio::task::spawn_blocking(move || read(&path)).await;
    let ended = |error| DataError::InvalidRecord { path: folder.to_owned(), reason: error };
    task.map_err(|error| ended(error.to_string()))?
}

/// Fails unless data have the format of the recipe.
pub(super) async fn check_format(chain: &Chain, record: &IngestRecord) -> Result<()> {
    check_tokens(chain, &record.tokenizer, record.shard_tokens).await
}

/// Fails unless the recipe has this tokenizer and length of shards.
pub(super) async fn check_tokens(chain: &Chain, tokenizer: &Hash, shard_tokens: u32) -> Result<()> {
    let recipe = chain.recipe_for_data().await?.ok_or(RegistrationError::NoRecipe)?;
    if recipe.tokenizer != *tokenizer {
        return Err(RegistrationError::OtherTokenizer {
            made: *tokenizer,
            wanted: recipe.tokenizer,
        });
    }
    if recipe.shard_tokens != shard_tokens {
        return Err(RegistrationError::OtherLength {
            made: shard_tokens,
            wanted: recipe.shard_tokens,
        });
    }
    Ok(())
}

/// Returns the deposits of a source, if one is needed, and of manifests with so many shards.
pub(super) fn deposits(
    rates: &DepositRates,
    needs_source: bool,
    manifests: impl Iterator<Item = u32>,
) -> Balance {
    let source = if needs_source { rates.manifest } else { 0 };
    manifests.fold(source, |sum, shards| sum.saturating_add(rates.of_manifest(shards)))
}

fn manifest_info(
    record: &IngestRecord,
    split: &ManifestSummary,
    source: SourceId,
    held_out: bool,
    Making { parents, derivation }: Making,
) -> Result<ManifestInfo> {
    Ok(ManifestInfo {
        source,
        merkle_root: split.merkle_root,
        content_hash: split.content_hash,
        tokenizer: record.tokenizer,
        shards: split.shards,
        shard_tokens: record.shard_tokens,
        parents,
        quality: claimed_quality(record)?,
        held_out,
        derivation,
        documents: record.lineage().documents,
    })
}

/// Returns the quality that the provider claims: the one that was measured.
fn claimed_quality(record: &IngestRecord) -> Result<Ppm> {
    record.quality.ok_or(RegistrationError::NoQuality)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deposits_are_those_of_what_is_missing() {
        let rates = DepositRates { manifest: 100 * POL, shard: POL / 100 };
        assert_eq!(deposits(&rates, true, [200, 10].into_iter()), 302 * POL + POL / 10);
        assert_eq!(deposits(&rates, false, [10].into_iter()), 100 * POL + POL / 10);
        assert_eq!(deposits(&rates, false, std::iter::empty()), 0);
    }

    #[test]
    fn terms_that_the_chain_does_not_take_are_refused() {
        assert!(Terms::new("https://example.org", "CC-BY-4.0").is_ok());
        let long = "x".repeat(257);
        let error = Terms::new(&long, "CC0-1.0").unwrap_err().to_string();
        assert_eq!(error, "the address is longer than 256 bytes; shorten it");
        assert!(Terms::new("local", &long).unwrap_err().to_string().contains("the licence"));
    }

    #[test]
    fn the_oldest_source_with_the_same_terms_counts() {
        let terms = Terms::new("https://example.org", "CC0-1.0").unwrap();
        let Terms { address, licence, .. } = terms.clone();
        let of = |address: &ShortText| Source {
            owner: [1; 32],
            address: address.clone(),
            licence: licence.clone(),
        };
        let sources = [(9, of(&address)), (2, of(&address)), (1, of(&ShortText::default()))];
        let holdings = Holdings { sources: sources.into(), ..Holdings::default() };
        assert_eq!(terms.sources(&holdings).collect::<Vec<_>>(), [2, 9]);
        assert_eq!(terms.address(), "https://example.org");
    }

    #[test]
    fn quality_that_nobody_measured_is_not_claimed() {
        let mut record = IngestRecord { quality: Some(730_000), ..IngestRecord::default() };
        let split = ManifestSummary::default();
        let derivation = record.lineage().derivation();
        let making = Making { parents: vec![2, 5].try_into().unwrap(), derivation };
        let info = |record: &IngestRecord| manifest_info(record, &split, 1, true, making.clone());
        let measured = info(&record).unwrap();
        assert_eq!((measured.quality, measured.parents.as_slice()), (730_000, &[2, 5][..]));
        record.quality = None;
        let error = info(&record).unwrap_err();
        assert!(matches!(error, RegistrationError::NoQuality), "{error}");
        assert!(error.to_string().contains("ingest the text again"), "{error}");
    }

    #[test]
    fn errors_name_the_remedy() {
        let funds = RegistrationError::Funds { account: "5X".into(), free: POL, needed: 302 * POL };
        assert!(funds.to_string().contains("has 1 POL and needs 302 POL"), "{funds}");
        let budget = RegistrationError::Budget { needed: 201 * POL, left: 7 * POL };
        assert!(budget.to_string().contains("raise provider.max_deposit"), "{budget}");
        let length = RegistrationError::OtherLength { made: 512, wanted: 4_096 };
        assert!(length.to_string().contains("512 tokens") && length.to_string().contains("4096"));
    }
}
