// SPDX-License-Identifier: Apache-2.0

//! States of a trained lease, as audits ask for them.

use super::{
    lease_training::start_of,
    tasks::{Stop, compute},
};
use crate::{
    context::NodeContext,
    data::{ShardReader, lease_tag},
    error::{Result, RoleError},
    model::fetch_model,
    state::{LeaseKey, NewestState, StateFolder},
    strategy::Strategy,
};
use anyhow::anyhow;
use pol_chain::{AccountId, Call};
use pol_engine::{
    FilePart, LeaseData, LeaseJob, StoredState, Trace, TrainingState, sketch_segment,
};
use pol_primitives::{
    Hash,
    audit::{AuditId, Case, LeafProof, SketchedEnd, StateProof, TraceState},
    lease::Lease,
    recipe::Recipe,
};
use pol_swarm::{Bytes, FileBlob, Swarm, SwarmError};
use std::{
    cmp::Reverse,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Returns the trace with these leaves.
pub(super) fn parse_trace(leaves: Vec<Hash>) -> Result<Trace> {
    Trace::from_leaves(leaves).ok_or_else(|| RoleError::fatal(anyhow!("a lease without a start")))
}

/// Returns the call that opens the ends of the drawn segments under the exact profile.
pub(super) fn open_segments(
    id: AuditId,
    case: &Case<AccountId>,
    leaves: Vec<Hash>,
) -> Result<Call> {
    let trace = parse_trace(leaves)?;
    let end = |leaf: u16| {
        let digest = trace.leaves().get(usize::from(leaf)).copied();
        digest.zip(trace.proof(leaf.into())).map(|(digest, proof)| LeafProof { digest, proof })
    };
    let ends: Option<Vec<LeafProof>> = case.opened_leaves().into_iter().map(end).collect();
    let ends = ends.and_then(|ends| ends.try_into().ok());
    let ends = ends.ok_or_else(|| {
        RoleError::transient(anyhow!("audit {id} asks for a segment that was not trained"))
    })?;
    Ok(Call::OpenSegments { audit: id, ends })
}

/// Error of states that this machine cannot show any more. Time does not mend it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct LostStates(String);

/// Error of a state that has to be trained again, for which the data is not here yet.
#[derive(Debug, thiserror::Error)]
#[error("the state after {0} segments has to be trained again")]
struct Untrained(u16);

/// Pause before blobs are stored again that found no space.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// Blobs of a state, for peers.
pub(super) enum ServedBlobs {
    /// Of a state that was trained again.
    Memory(Vec<Bytes>),
    /// Of a state in its file.
    Files(Vec<FileBlob>),
}

impl ServedBlobs {
    fn of_stored(state: &StoredState) -> Self {
        let blob = |FilePart { file, offset, bytes, hash }| FileBlob { file, offset, bytes, hash };
        Self::Files(state.blobs().into_iter().map(blob).collect())
    }

    fn of_trained(state: TrainingState) -> Result<Self> {
        Ok(Self::Memory(state.into_blobs()?.into_iter().map(Bytes::from_owner).collect()))
    }

    /// Returns the number of bytes.
    fn bytes(&self) -> u64 {
        match self {
            Self::Memory(blobs) => blobs.iter().map(|blob| blob.len() as u64).sum(),
            Self::Files(blobs) => blobs.iter().map(|blob| blob.bytes).sum(),
        }
    }

    /// Brings blobs of removed files into memory, so that the disk gets the room of these files,
    /// which are there as long as they are open.
    fn let_go_of_removed(self) -> io::Result<Self> {
        let Self::Files(blobs) = self else { return Ok(self) };
        let mut is_removed = false;
        for blob in &blobs {
            is_removed |= blob.file.metadata()?.nlink() == 0;
        }
        if !is_removed {
            return Ok(Self::Files(blobs));
        }
        let read = blobs.iter().map(|blob| {
            let mut bytes = vec![0; blob.bytes as usize];
            blob.file.read_exact_at(&mut bytes, blob.offset)?;
            if *blake3::hash(&bytes).as_bytes() == blob.hash {
                Ok(Bytes::from(bytes))
            } else {
                Err(io::Error::new(io::ErrorKind::InvalidData, "it has changed since"))
            }
        });
        Ok(Self::Memory(read.collect::<io::Result<_>>()?))
    }
}

/// Data and turn to train states of a lease again.
pub(super) struct Retraining {
    /// Data that the lease was trained on.
    pub(super) data: LeaseData,
    /// Turn to train. A thread that goes on after its task was aborted holds it too.
    pub(super) _turn: OwnedMutexGuard<()>,
}

/// The states of a lease: those on disk, and all others by training again.
pub(super) struct LeaseStates<S> {
    /// The trainer.
    pub(super) account: AccountId,
    /// Threads that train.
    pub(super) workers: usize,
    /// Folder of the states.
    pub(super) state: Arc<StateFolder>,
    /// Strategy that the lease was trained by.
    pub(super) strategy: S,
    /// Recipe of the lease.
    pub(super) recipe: Recipe,
    /// The lease.
    pub(super) lease: Lease,
    /// Trace that was committed to.
    pub(super) trace: Trace,
    /// Lock of the one who trains: one at a time is enough for a machine.
    pub(super) training_lock: Arc<Mutex<()>>,
    /// Data and turn to train, once a state has to be trained again.
    pub(super) retraining: OnceLock<Retraining>,
}

impl<S: Strategy> LeaseStates<S> {
    /// Returns the call that serves the states `case` asks for, once peers can fetch them.
    pub(super) async fn serve(
        self: &Arc<Self>,
        context: &NodeContext,
        id: AuditId,
        case: &Case<AccountId>,
    ) -> Result<Call> {
        let leaves = case.served_leaves();
        let mut states = Vec::with_capacity(leaves.len());
        for leaf in leaves {
            states.push(self.publish(context, leaf).await?);
        }
        let states = states.try_into().map_err(|_| {
            RoleError::fatal(anyhow!("audit {id} asks for more states than it may"))
        })?;
        Ok(Call::ServeStates { audit: id, states })
    }

    /// Returns the call that opens the ends of the drawn segments under the native profile, once
    /// peers can fetch their states.
    pub(super) async fn open_sketches(
        self: &Arc<Self>,
        context: &NodeContext,
        id: AuditId,
        case: &Case<AccountId>,
        seed: Hash,
    ) -> Result<Call> {
        let mut ends = Vec::new();
        for (leaf, segment) in case.opened_leaves().into_iter().zip(case.segments.iter().copied()) {
            let end = self.state(context, leaf).await?;
            let of_end = end.clone();
            let blobs =
                compute(move |_| Ok((of_end.trace_state(leaf), ServedBlobs::of_trained(of_end)?)));
            let StateProof { state, proof } = self.publish_blobs(context, blobs.await?).await?;
            let (this, start) = (self.clone(), self.state(context, segment).await?);
            let sketch = compute(move |_| {
                let (spec, account) = (&this.recipe.model, &this.account);
                Ok(sketch_segment(spec, &seed, account, segment, &start, &end)?)
            });
            ends.push((SketchedEnd { state, sketch: sketch.await? }, proof));
        }
        let ends = ends
            .try_into()
            .map_err(|_| RoleError::fatal(anyhow!("audit {id} asks for more ends than it may")))?;
        Ok(Call::OpenSketches { audit: id, ends })
    }

    /// Makes the state at `leaf` available to peers, and returns its hashes with their proof. One
    /// that is kept goes from its file to the store, and not through memory: another lease may be
    /// trained meanwhile.
    async fn publish(self: &Arc<Self>, context: &NodeContext, leaf: u16) -> Result<StateProof> {
        let this = self.clone();
        let stored = compute(move |_| {
            let (key, parameters) = (LeaseKey::of(&this.lease), this.recipe.model.size() as usize);
            Ok(this.state.stored_state(&key, this.trace.leaves(), leaf, parameters))
        });
        let served = match stored.await? {
            Some(stored) => (stored.trace_state(leaf), ServedBlobs::of_stored(&stored)),
            None => {
                let trained = self.state(context, leaf).await?;
                compute(move |_| Ok((trained.trace_state(leaf), ServedBlobs::of_trained(trained)?)))
                    .await?
            }
        };
        self.publish_blobs(context, served).await
    }

    /// Makes a state available to peers, given its hashes and blobs.
    async fn publish_blobs(
        &self,
        context: &NodeContext,
        (state, blobs): (TraceState, ServedBlobs),
    ) -> Result<StateProof> {
        let leaf = state.leaf;
        let committed = self.trace.leaves().get(usize::from(leaf)) == Some(&state.digest());
        let proof = self.trace.proof(leaf.into()).filter(|_| committed).ok_or_else(|| {
            RoleError::transient(LostStates(format!(
                "the state after {leaf} segments, trained again, is not the one that was \
                 committed to"
            )))
        })?;
        self.store(&context.swarm, blobs).await?;
        Ok(StateProof { state, proof })
    }

    /// Stores the blobs of a state for peers. On a full disk, states that can be trained again make
    /// room: those of other leases first, the newest before the others, since its audit comes last.
    pub(super) async fn store(&self, swarm: &Swarm, mut blobs: ServedBlobs) -> Result<()> {
        let key = LeaseKey::of(&self.lease);
        let tag = lease_tag(&key);
        loop {
            let stored = match &blobs {
                ServedBlobs::Memory(blobs) => swarm.add_all(blobs.clone(), &tag).await.map(drop),
                ServedBlobs::Files(blobs) => swarm.add_files(blobs, &tag).await,
            };
            match stored {
                Err(error @ SwarmError::DiskFull(_)) => RoleError::from(error).log_transient()?,
                stored => return Ok(stored?),
            }
            let mut leases = self.state.leases()?;
            leases.sort_by_key(|lease| (*lease == key, Reverse(*lease)));
            self.state.make_room(blobs.bytes(), &leases)?;
            let let_go = move |_: &Stop| {
                blobs.let_go_of_removed().map_err(|error| {
                    RoleError::transient(anyhow!("cannot read the file of a state: {error}"))
                })
            };
            blobs = compute(let_go).await?;
            tokio::time::sleep(FULL_PAUSE).await;
        }
    }

    /// Returns the state after `leaf` segments as [`Self::at`] does. Data is fetched, and a turn to
    /// train is taken, only if it has to be trained.
    async fn state(self: &Arc<Self>, context: &NodeContext, leaf: u16) -> Result<TrainingState> {
        let load = || {
            let this = self.clone();
            compute(move |stop| this.at(leaf, stop))
        };
        match load().await {
            Err(RoleError::Transient(error)) if error.is::<Untrained>() => {}
            loaded => return loaded,
        }
        let tag = lease_tag(&LeaseKey::of(&self.lease));
        let mut shards = ShardReader::new(context.clone());
        let data = shards.lease_data(&self.recipe, &self.lease.shards, &[], &tag).await?;
        let data = self.strategy.data(&self.recipe, data);
        let turn = self.training_lock.clone().lock_owned().await;
        self.retraining.get_or_init(|| Retraining { data, _turn: turn });
        load().await
    }

    /// Saves the state that the lease starts from again, so that others can be trained from it.
    ///
    /// # Errors
    ///
    /// Fails with [`LostStates`] if it is not what was committed to, or cannot be had, and if no
    /// peer serves its parameters.
    pub(super) async fn restore_start(self: &Arc<Self>, context: &NodeContext) -> Result<()> {
        let (root, tag) = (&self.lease.base_root, lease_tag(&LeaseKey::of(&self.lease)));
        let base = fetch_model(context, root, &self.recipe, &[], &tag).await?.parameters;
        let this = self.clone();
        compute(move |_| this.save_start(Arc::unwrap_or_clone(base))).await
    }

    /// See [`Self::restore_start`].
    pub(super) fn save_start(&self, base: Vec<f32>) -> Result<()> {
        let start = start_of(&self.state, &self.lease, base);
        let start = start.map_err(|reason| RoleError::transient(LostStates(reason)))?;
        if self.trace.leaves().first() != Some(&start.leaf()) {
            let reason = "the lease did not start from this state".to_owned();
            return Err(RoleError::transient(LostStates(reason)));
        }
        Ok(self.state.save_state(&LeaseKey::of(&self.lease), 0, &start)?)
    }

    /// Returns the state after `leaf` segments: loaded, or trained again from the newest kept state
    /// before it.
    ///
    /// # Errors
    ///
    /// Fails with [`LostStates`] if no state is left to train from, and with [`Untrained`] if it
    /// has to be trained and the data is not here yet.
    pub(super) fn at(&self, leaf: u16, stop: &Stop) -> Result<TrainingState> {
        let Self { recipe, lease, account, workers, .. } = self;
        let (key, parameters) = (LeaseKey::of(lease), recipe.model.size() as usize);
        let NewestState { found, damaged } =
            self.state.newest_state(&key, self.trace.leaves(), leaf, parameters)?;
        let damaged = damaged.join("; ");
        let Some((from, mut state)) = found else {
            return Err(RoleError::transient(LostStates(format!(
                "no state is left from which the one after {leaf} segments could be trained{}",
                if damaged.is_empty() { String::new() } else { format!(" ({damaged})") }
            ))));
        };
        if !damaged.is_empty() {
            tracing::warn!(
                "round {}: {damaged}. Such a state is of no use and was removed: the one after \
                 {leaf} segments is trained again from that after {from}. Check the disk",
                lease.due_round
            );
        }
        if from == leaf {
            return Ok(state);
        }
        let Some(Retraining { data, .. }) = self.retraining.get() else {
            return Err(RoleError::transient(Untrained(leaf)));
        };
        let job = LeaseJob { recipe, lease, account, data, workers: *workers };
        for segment in from..leaf {
            stop.check()?;
            self.strategy.train_segment(&job, &mut state, segment)?;
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    #[test]
    fn blobs_of_a_removed_file_go_on_from_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        fs::write(&path, b"header first second").unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        let blob = |offset: u64, content: &[u8]| FileBlob {
            file: file.clone(),
            offset,
            bytes: content.len() as u64,
            hash: blake3::hash(content).into(),
        };
        let blobs = || ServedBlobs::Files(vec![blob(7, b"first"), blob(13, b"second")]);
        let kept = blobs().let_go_of_removed().unwrap();
        assert!(matches!(kept, ServedBlobs::Files(_)), "it takes no memory");
        fs::remove_file(&path).unwrap();
        let ServedBlobs::Memory(read) = kept.let_go_of_removed().unwrap() else { panic!() };
        assert_eq!(read, [Bytes::from("first"), Bytes::from("second")]);
        let changed = ServedBlobs::Files(vec![blob(8, b"first")]).let_go_of_removed();
        assert!(changed.is_err(), "other bytes are not served");
    }
}
