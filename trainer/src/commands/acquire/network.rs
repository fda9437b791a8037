// SPDX-License-Identifier: Apache-2.0

//! Signatures of what others registered, with which new data are compared, and
//! `data fetch-signatures`, which makes them for `data ingest`.
//!
//! The chain tells the manifests and their order. The signatures are made of the shards, which any
//! member may send, so that a provider has to be neither asked nor trusted for more.

use super::{
    super::{ingest::end_of_text_beside, membership::first_block},
    Stop,
    derivation::Parents,
};
use crate::{
    context::{NodeContext, Undelivered},
    data::fetch_together,
    error::{RoleError, explain},
    options::{NodeOptions, SwarmOptions, parse_looked_at},
    state::StateFolder,
};
use anyhow::{Context, Result, bail};
use clap::Args;
use futures::FutureExt;
use pol_chain::{AccountId, Chain, ChainError};
use pol_corpus::dedup::DedupConfig;
use pol_data::{
    EndOfText,
    network::{Fetched, ListedManifest, ManifestKey, SignatureFolder, UpdateOptions, UpdateReport},
};
use pol_primitives::{
    Hash,
    data::{Manifest, ManifestId, ManifestStatus},
};
use pol_swarm::SwarmError;
use serde_json::json;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::runtime::Handle;

/// Longest try to fetch some shards of a manifest.
const FETCH_TIME: Duration = Duration::from_secs(120);
/// Time for a manifest, after which the others have their turns.
pub(super) const TURN: Duration = Duration::from_secs(60);
/// Label of blobs while signatures are made of them. Each manifest has one below it.
const COMPARE_TAG: &str = "compare";
/// Bytes that an update fetches and writes, unless it is told otherwise.
pub(super) const DEFAULT_BYTES: u64 = 64 << 30;

const FETCH_EXAMPLES: &str = "\
Examples:
  pol-trainer data fetch-signatures --out network
      make signatures of the documents of all manifests on the chain
  pol-trainer data fetch-signatures --out network --except ADDRESS
      the same without those of an account, such as your own
  pol-trainer data fetch-signatures --out network --parent 3
      the same without those of a manifest that the text is made from
  pol-trainer data ingest --input texts --out data --against network
      drop what is like a document that another account registered

The signatures are made of the shards that members serve, and these are verified by what the chain \
holds. A manifest that nobody serves is skipped, and tried again by the next run, which also goes \
on where this one was stopped. `data acquire` does all of it by itself if it has an account.";

/// Options of `data fetch-signatures`.
#[derive(Args)]
#[command(after_help = FETCH_EXAMPLES)]
pub(crate) struct FetchSignaturesOptions {
    #[command(flatten)]
    node: NodeOptions,
    /// Folder of the signatures, which --against of `data ingest` takes.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Account whose manifests are left out, such as your own: their text would be dropped if it
    /// is ingested again: an address, or the name of a development account. Can be repeated.
    #[arg(long, value_name = "ADDRESS|NAME", value_parser = parse_looked_at)]
    except: Vec<AccountId>,
    /// Manifest that the text is made from, which is like it. Can be repeated.
    #[arg(long, value_name = "MANIFEST")]
    parent: Vec<ManifestId>,
    /// Tokenizer of the network. [default: fetched from a member]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Token that separates texts, if it is not the well-known one.
    #[arg(long, value_name = "TOKEN")]
    end_of_text: Option<String>,
    /// Bytes to fetch and to write, after which the rest is left to the next run.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_BYTES)]
    max_bytes: u64,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl FetchSignaturesOptions {
    /// Makes the signatures that are missing, and prints what is skipped.
    pub(crate) async fn run(self) -> Result<()> {
        let chain = self.node.connect().await?;
        let first_block = first_block(&chain).await?;
        fs::create_dir_all(&self.out)
            .with_context(|| format!("cannot create {}", self.out.display()))?;
        let scratch = tempfile::tempdir_in(&self.out)
            .with_context(|| format!("cannot write to {}", self.out.display()))?;
        let state = StateFolder::open(scratch.path())?;
        let context = NodeContext::start(chain, &SwarmOptions::fetch_only(), state).await?;
        let end_of_text = match (self.end_of_text, &self.tokenizer) {
            (Some(name), _) => EndOfText::Named(name),
            (None, Some(tokenizer)) => end_of_text_beside(tokenizer),
            (None, None) => EndOfText::Known,
        };
        let options = UpdateOptions {
            tokenizer: self.tokenizer,
            end_of_text,
            max_bytes: self.max_bytes,
            max_time: Duration::MAX,
            turn: TURN,
            // A person who asks has a reason to.
            retry: true,
            now: 0,
        };
        let (swarm, stop) = (context.swarm.clone(), Stop::listen());
        let except = Except { accounts: self.except, manifests: self.parent };
        let network = NetworkSignatures::new(context, stop, except, self.out, first_block, options);
        let updated = network.update(Duration::ZERO).await;
        swarm.shutdown().await?;
        let Some(report) = updated? else { bail!("stopped; the same command goes on from here") };
        print(&report, self.json);
        Ok(())
    }
}

/// Prints the result of an update.
fn print(report: &UpdateReport, json: bool) {
    let UpdateReport { compared, documents, fetched_bytes, skipped, .. } = report;
    if json {
        let skipped: Vec<_> = skipped
            .iter()
            .map(|skipped| json!({ "manifest": skipped.id, "reason": skipped.reason }))
            .collect();
        let line = json!({
            "manifests": compared,
            "documents": documents,
            "fetchedBytes": fetched_bytes,
            "skipped": skipped,
        });
        println!("{line}");
    } else {
        println!("{}", describe(report));
    }
}

/// Returns the result of an update, for people.
fn describe(report: &UpdateReport) -> String {
    let UpdateReport { compared, documents, fetched_bytes, skipped, .. } = report;
    let mut text = format!(
        "signatures of {documents} documents of {compared} manifests of others; {fetched_bytes} \
         bytes were fetched"
    );
    if !skipped.is_empty() {
        text += &format!("; {} manifests are skipped", skipped.len());
    }
    text
}

/// Manifests that are left out.
#[derive(Clone, Debug, Default)]
pub(super) struct Except {
    /// Accounts of which all are.
    pub(super) accounts: Vec<AccountId>,
    /// Numbers of others.
    pub(super) manifests: Vec<ManifestId>,
}

/// Signatures of the manifests of all other accounts.
pub(super) struct NetworkSignatures {
    context: NodeContext,
    stop: Stop,
    except: Except,
    /// First block of the chain.
    first_block: Hash,
    folder: Arc<Mutex<SignatureFolder>>,
    options: UpdateOptions,
    /// Time of the last update.
    updated: Mutex<Option<Instant>>,
}

impl NetworkSignatures {
    /// Creates the signatures in the folder `path`, which holds those that were made before.
    pub(super) fn new(
        context: NodeContext,
        stop: Stop,
        except: Except,
        path: PathBuf,
        first_block: Hash,
        options: UpdateOptions,
    ) -> Self {
        let folder = SignatureFolder::new(path, first_block, DedupConfig::default());
        let (folder, updated) = (Arc::new(Mutex::new(folder)), Mutex::default());
        Self { context, stop, except, first_block, folder, options, updated }
    }

    /// Returns the folder of the signatures of a chain, in the folder `out` of an acquisition. No
    /// source can have this name.
    pub(super) fn path_in(out: &Path, first_block: &Hash) -> PathBuf {
        out.join(format!("network@{}", hex::encode(&first_block[..8])))
    }

    /// Returns the first block of the chain, in hexadecimal.
    pub(super) fn chain_name(&self) -> String {
        hex::encode(self.first_block)
    }

    /// Returns the hash of the chain's genesis, by which documents name its manifests.
    pub(super) fn genesis(&self) -> Hash {
        self.context.chain.genesis_hash()
    }

    /// Makes the signatures that are missing, unless that was done less than `age` ago. Manifests
    /// that are skipped are logged with the reasons. Returns `None` if nothing was done, or if the
    /// operator stopped it.
    ///
    /// # Errors
    ///
    /// Fails if the chain or the disk does.
    pub(super) async fn update(&self, age: Duration) -> Result<Option<UpdateReport>> {
        let is_recent = |updated: &Instant| updated.elapsed() < age;
        if locked(&self.updated).as_ref().is_some_and(is_recent) {
            return Ok(None);
        }
        let known = locked(&self.folder).manifests()?;
        let (listed, kept) = list(&self.context.chain, &self.except, &known)
            .await
            .context("cannot list the manifests to compare with")?;
        self.release_others(&listed).await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let options = UpdateOptions { now, ..self.options.clone() };
        let (folder, stop) = (self.folder.clone(), self.stop.clone());
        let (context, handle) = (self.context.with_own_turns(), Handle::current());
        let task = tokio::task::spawn_blocking(move || {
            let mut fetch = |of: &ListedManifest, hashes: &[Hash], max_bytes: u64| {
                handle.block_on(fetch(&context, &stop, of, hashes, max_bytes))
            };
            locked(&folder).update(&listed, &kept, &options, &mut fetch)
        });
        let report = match task.await? {
            Err(_) if self.stop.is_set() => return Ok(None),
            report => report.context("cannot make the signatures of what others registered")?,
        };
        for skipped in report.skipped.iter().filter(|skipped| skipped.is_new) {
            tracing::warn!("nothing is compared with manifest {}: {}", skipped.id, skipped.reason);
        }
        if report.has_changed {
            tracing::info!("{}", describe(&report));
        }
        *locked(&self.updated) = Some(Instant::now());
        Ok(Some(report))
    }

    /// Releases the blobs of manifests that are not compared with any more.
    async fn release_others(&self, listed: &[ListedManifest]) -> Result<(), SwarmError> {
        let swarm = &self.context.swarm;
        let mut labels = swarm.labels_below(COMPARE_TAG).await?;
        for manifest in listed {
            labels.remove(&hex::encode(manifest.info.content_hash));
        }
        for label in labels {
            swarm.release(&format!("{COMPARE_TAG}/{label}")).await?;
        }
        Ok(())
    }

    /// Returns the files of signatures, with the numbers of their manifests, but for those of the
    /// `parents` of the text that is to be compared.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be listed.
    pub(super) fn files(&self, parents: &Parents) -> Result<Vec<(Option<ManifestId>, PathBuf)>> {
        let mut files = locked(&self.folder).signatures()?;
        let genesis = self.genesis();
        files.retain(|key, _| !parents.contain(&[key.content_hash], &[key.id], genesis));
        Ok(files.into_iter().map(|(key, path)| (Some(key.id), path)).collect())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the manifests of others that text is compared with, in the order of their registration,
/// and those of the `known` ones that the chain forgot because all of their text was consumed.
async fn list(
    chain: &Chain,
    except: &Except,
    known: &BTreeSet<ManifestKey>,
) -> Result<(Vec<ListedManifest>, BTreeSet<ManifestKey>), ChainError> {
    // A fork may give the numbers of the newest manifests to others.
    let chain = chain.at(chain.finalised_block().await?.hash);
    let (mut listed, mut kept) = (Vec::new(), BTreeSet::new());
    for id in 0..chain.manifest_count().await? {
        let manifest = chain.manifest(id).await?;
        listed.extend(manifest.and_then(|manifest| compared(id, manifest, except)));
    }
    for key in known {
        // The content of a manifest that was withdrawn is free again.
        if chain.manifest(key.id).await?.is_none()
            && chain.manifest_of_content(&key.content_hash).await? == Some(key.id)
            && chain.retirement(key.id).await?.is_none()
        {
            kept.insert(*key);
        }
    }
    Ok((listed, kept))
}

/// Returns a manifest if text is compared with it: one that is not excepted and was not retired.
/// Text that was retired may come again from somebody who may provide it, or in a better form.
fn compared(
    id: ManifestId,
    manifest: Manifest<AccountId>,
    except: &Except,
) -> Option<ListedManifest> {
    let Manifest { owner, info, status, .. } = manifest;
    let is_excepted = except.accounts.contains(&owner) || except.manifests.contains(&id);
    let is_compared = status != ManifestStatus::Retired && !is_excepted;
    is_compared.then_some(ListedManifest { id, owner, info })
}

/// Fetches blobs of a manifest, from its provider first. Those that came stay in the store until
/// all of them are here, so that the next try has only the others to fetch.
async fn fetch(
    context: &NodeContext,
    stop: &Stop,
    manifest: &ListedManifest,
    hashes: &[Hash],
    max_bytes: u64,
) -> Result<Fetched> {
    let (first, limited) = ([manifest.owner], context.until(Instant::now() + FETCH_TIME));
    let tag = format!("{COMPARE_TAG}/{}", hex::encode(manifest.info.content_hash));
    let fetch = |hash| limited.fetch_blob(hash, max_bytes, &first, &tag).boxed();
    let fetched = tokio::select! {
        fetched = fetch_together(hashes.iter().map(fetch).collect(), &[]) => fetched,
        () = stop.clone().wait() => bail!("the operator stopped it"),
    };
    match fetched {
        Ok(blobs) => {
            context.swarm.release(&tag).await?;
            Ok(Fetched::Blobs(blobs.into_iter().map(Into::into).collect()))
        }
        Err(error) => refusal(error),
    }
}

/// Returns what an error of a fetch says about the manifest, if it says something.
///
/// # Errors
///
/// Fails with an error that says nothing about it, such as that of a full disk.
fn refusal(error: RoleError) -> Result<Fetched> {
    let is_too_large = error.is_too_large();
    let error = error.into_inner();
    let is_busy = matches!(error.downcast_ref(), Some(SwarmError::NoTurn { .. }));
    if is_too_large {
        Ok(Fetched::TooLarge(explain(&error)))
    } else if error.is::<Undelivered>() || is_busy {
        Ok(Fetched::Unavailable(explain(&error)))
    } else {
        Err(error)
    }
}

/// Returns signature files in the order in which their documents survive: those of the chain by the
/// numbers of their manifests, so that everybody finds the same survivors; then the `configured`
/// ones, and those of the own data that no chain has.
pub(super) fn in_order(
    configured: Vec<PathBuf>,
    offered: Vec<(Option<ManifestId>, PathBuf)>,
) -> Vec<PathBuf> {
    let (mut on_chain, own): (Vec<_>, Vec<_>) =
        offered.into_iter().partition(|(id, _)| id.is_some());
    on_chain.sort_by_key(|(id, _)| *id);
    let paths = |files: Vec<(_, PathBuf)>| files.into_iter().map(|(_, path)| path);
    paths(on_chain).chain(configured).chain(paths(own)).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::super::withdrawal::tests::manifest, *};
    use anyhow::anyhow;

    #[test]
    fn manifests_survive_in_the_order_of_the_chain() {
        let path = |name: &str| PathBuf::from(name);
        let offered = vec![
            (None, path("sealed")),
            (Some(7), path("own")),
            (Some(9), path("theirs-9")),
            (None, path("sealed-2")),
            (Some(3), path("theirs-3")),
        ];
        let files = in_order(vec![path("configured")], offered.clone());
        let expected = ["theirs-3", "own", "theirs-9", "configured", "sealed", "sealed-2"];
        assert_eq!(files, expected.map(PathBuf::from));
        let without: Vec<_> = offered.into_iter().filter(|(id, _)| id.is_none()).collect();
        let files = in_order(vec![path("configured")], without);
        assert_eq!(files, ["configured", "sealed", "sealed-2"].map(PathBuf::from));
    }

    #[test]
    fn own_excepted_and_retired_manifests_are_not_compared_with() {
        use ManifestStatus::{Admitted, Consumed, Paused, Proposed, Retired};
        let (own, other) = ([1; 32], [2; 32]);
        let except = Except { accounts: vec![own], manifests: vec![6] };
        let is_listed = |id, owner, status| {
            let manifest = Manifest { owner, ..manifest(status, true, 1) };
            compared(id, manifest, &except).is_some_and(|it| it.id == id)
        };
        let is_compared = |owner, status| is_listed(5, owner, status);
        for status in [Proposed, Admitted, Paused, Consumed] {
            assert!(is_compared(other, status) && !is_compared(own, status), "{status:?}");
        }
        assert!(!is_compared(other, Retired) && !is_listed(6, other, Admitted));
    }

    #[test]
    fn errors_of_this_machine_are_not_those_of_a_manifest() {
        let undelivered = || {
            let source = SwarmError::Unavailable {
                hash: [7; 32],
                received: 0,
                failures: Default::default(),
            };
            RoleError::transient(Undelivered { at_fault: Vec::new(), source })
        };
        let Fetched::Unavailable(reason) = refusal(undelivered()).unwrap() else {
            panic!("delivered")
        };
        assert!(reason.contains("no peer is registered"), "{reason}");
        let large = SwarmError::TooLarge { hash: [7; 32], size: 9, limit: 8 };
        assert!(matches!(refusal(large.into()), Ok(Fetched::TooLarge(_))));
        assert!(refusal(SwarmError::DiskFull("/a".into()).into()).is_err());
        assert!(refusal(RoleError::transient(anyhow!("the node does not answer"))).is_err());
    }
}
