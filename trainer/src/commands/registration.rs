// SPDX-License-Identifier: Apache-2.0

//! Registration of ingested folders on the chain.
//!
//! A registration takes up to three calls: a source, a training manifest, and a held-out one. It
//! looks for what is there before it adds anything, so that a repeated one completes it, and
//! everything that the chain would refuse is checked before the first call.

use crate::display::{account_name, format_amount, short_hash};
use pol_chain::{AccountId, Call, Chain, ChainError, DepositRates, Signer};
use pol_data::{IngestRecord, ManifestSummary};
use pol_primitives::{
    Balance, Hash, MILLION, POL,
    data::{Manifest, ManifestId, ManifestInfo, ManifestStatus, ShortText, SourceId},
};

/// Balance that an account needs beside deposits, to pay fees.
const FEE_RESERVE: Balance = POL;

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
        "it needs deposits of {} and the budget has {} left: raise max_deposit, or wait until \
         deposits come back with the last consumed shards",
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
}

impl Terms {
    /// Creates the terms of a text with this address and licence.
    pub(super) fn new(address: &str, licence: &str) -> Result<Self> {
        let text = |text: &str, name| {
            ShortText::try_from(text.as_bytes().to_vec())
                .map_err(|_| RegistrationError::LongText(name))
        };
        Ok(Self { address: text(address, "the address")?, licence: text(licence, "the licence")? })
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
    /// Registers what is missing of the source with these terms and of the manifests of `record`.
    pub(super) async fn register(
        &self,
        record: &IngestRecord,
        terms: &Terms,
    ) -> Result<Registration> {
        let sides = [(&record.train, false), (&record.held_out, true)];
        let wanted = |(split, held_out): &(&ManifestSummary, bool)| {
            split.shards > 0 && (self.held_out || !held_out)
        };
        let sides: Vec<_> = sides.into_iter().filter(wanted).collect();
        let source = self.find_source(terms).await?;
        let mut found = Vec::new();
        for (split, held_out) in &sides {
            found.push(match source {
                Some(source) => self.find_manifest(source, split, *held_out).await?,
                None => None,
            });
        }
        if found.iter().any(Option::is_none) {
            check_format(self.chain, record).await?;
            let missing = sides.iter().zip(&found).filter(|(_, found)| found.is_none());
            let missing: Vec<_> = missing.map(|((split, _), _)| *split).collect();
            self.check_content(record, &missing).await?;
            self.check_funds(source.is_none(), &missing).await?;
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
                None => self.register_manifest(source, record, split, held_out).await?,
            };
            let deposit = self.chain.manifest_deposit(id).await?;
            let Manifest { status, .. } = manifest;
            let shards = split.shards;
            manifests.push(RegisteredManifest { id, shards, held_out, status, deposit, is_new });
        }
        Ok(Registration { source, manifests })
    }

    async fn register_source(&self, terms: &Terms) -> Result<SourceId> {
        let Terms { address, licence } = terms.clone();
        self.chain.submit(self.signer, Call::RegisterSource { address, licence }).await?;
        self.find_source(terms).await?.ok_or(RegistrationError::TakenBack("source"))
    }

    async fn register_manifest(
        &self,
        source: SourceId,
        record: &IngestRecord,
        split: &ManifestSummary,
        held_out: bool,
    ) -> Result<(ManifestId, Manifest<AccountId>)> {
        let info = manifest_info(record, split, source, held_out);
        self.chain.submit(self.signer, Call::RegisterManifest(Box::new(info))).await?;
        let found = self.find_manifest(source, split, held_out).await?;
        found.ok_or(RegistrationError::TakenBack("manifest"))
    }

    /// Returns the newest source of the account with these terms.
    async fn find_source(&self, terms: &Terms) -> Result<Option<SourceId>> {
        for id in (0..self.chain.source_count().await?).rev() {
            if self.chain.source(id).await?.is_some_and(|source| {
                source.owner == self.signer.account()
                    && (source.address, source.licence)
                        == (terms.address.clone(), terms.licence.clone())
            }) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Returns the newest manifest of this content from `source`.
    async fn find_manifest(
        &self,
        source: SourceId,
        split: &ManifestSummary,
        held_out: bool,
    ) -> Result<Option<(ManifestId, Manifest<AccountId>)>> {
        for id in self.chain.manifests_of_source(source).await?.into_iter().rev() {
            let manifest = self.chain.manifest(id).await?.filter(|manifest| {
                (manifest.info.content_hash, manifest.info.held_out)
                    == (split.content_hash, held_out)
            });
            if let Some(manifest) = manifest {
                return Ok(Some((id, manifest)));
            }
        }
        Ok(None)
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
        let owner = owner.map_or("another provider".into(), |owner| account_name(&owner));
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
fn deposits(
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
) -> ManifestInfo {
    let lineage = record.lineage();
    ManifestInfo {
        source,
        merkle_root: split.merkle_root,
        content_hash: split.content_hash,
        tokenizer: record.tokenizer,
        shards: split.shards,
        shard_tokens: record.shard_tokens,
        parents: Default::default(),
        quality: record.quality.unwrap_or(MILLION),
        held_out,
        derivation: lineage.derivation(),
        documents: lineage.documents,
    }
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
    fn errors_name_the_remedy() {
        let funds = RegistrationError::Funds { account: "5X".into(), free: POL, needed: 302 * POL };
        assert!(funds.to_string().contains("has 1 POL and needs 302 POL"), "{funds}");
        let budget = RegistrationError::Budget { needed: 201 * POL, left: 7 * POL };
        assert!(budget.to_string().contains("raise max_deposit"), "{budget}");
        let length = RegistrationError::OtherLength { made: 512, wanted: 4_096 };
        assert!(length.to_string().contains("512 tokens") && length.to_string().contains("4096"));
    }
}
