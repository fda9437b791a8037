// SPDX-License-Identifier: Apache-2.0

use super::{
    error::StateError,
    files::{keep_private, names, read_checked, remove, remove_where, replace, replace_checked},
    journal::Journal,
    key::{AuditKey, LeaseKey},
};
use codec::{DecodeAll, Encode};
use pol_engine::{EngineError, StoredState, TrainingState};
use pol_primitives::{Hash, audit::Evidence};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

/// Bytes of the disk that a write has to leave free: more than the store of blobs does.
const WRITE_MARGIN: u64 = 10 << 20;

/// A state folder, locked by this process.
pub struct StateFolder {
    path: PathBuf,
    _lock: File,
}

impl StateFolder {
    /// Opens or creates the folder at `path` and locks it until this value is dropped.
    ///
    /// # Errors
    ///
    /// Fails if `path` is no folder, if another process holds the folder, or if it cannot be read
    /// or written.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        if path.exists() && !path.is_dir() {
            return Err(StateError::NoFolder(path.into()));
        }
        fs::create_dir_all(path).map_err(|source| StateError::Io { path: path.into(), source })?;
        let lock_path = path.join("lock");
        let lock = File::create(&lock_path)
            .map_err(|source| StateError::Io { path: lock_path.clone(), source })?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::InUse(path.into())),
            Err(TryLockError::Error(source)) => {
                return Err(StateError::Io { path: lock_path, source });
            }
        }
        let folder = Self { path: path.into(), _lock: lock };
        for part in [folder.states(), folder.audits()] {
            fs::create_dir_all(&part).map_err(|source| StateError::Io { path: part, source })?;
        }
        // Files that a killed process was still writing.
        for part in [folder.path.clone(), folder.states(), folder.audits()] {
            remove_where(&part, |name| name.starts_with(".tmp"))?;
        }
        Ok(folder)
    }

    /// Claims the folder for the chain whose first block is `first_block`. Leases and states of one
    /// chain mean nothing on another.
    ///
    /// # Errors
    ///
    /// Fails if the folder belongs to another chain, or if it cannot be read or written.
    pub fn claim(&self, first_block: &Hash) -> Result<(), StateError> {
        let path = self.path.join("chain");
        let found = hex::encode(first_block);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return replace(&path, found.as_bytes());
            }
            Err(source) => return Err(StateError::Io { path, source }),
        };
        let known = bytes.trim_ascii();
        let known = known.strip_prefix(b"0x").unwrap_or(known);
        let mut hash = [0; 32];
        match hex::decode_to_slice(known, &mut hash) {
            Ok(()) if hash == *first_block => Ok(()),
            Ok(()) => Err(StateError::OtherChain {
                path: self.path.clone(),
                known: hex::encode(hash),
                found,
            }),
            Err(_) => Err(StateError::Damaged {
                path,
                reason: "not the hash of a first block, in hexadecimal".into(),
                consequence: "the folder then belongs to the chain of the node, which has to be \
                              the one that it was used with",
            }),
        }
    }

    /// Returns the folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the secret key of this machine in the swarm. It is created at first use.
    ///
    /// # Errors
    ///
    /// Fails if the key is damaged, or if it cannot be read or written.
    pub fn peer_secret(&self) -> Result<[u8; 32], StateError> {
        let path = self.path.join("peer.key");
        let io = |source| StateError::Io { path: path.clone(), source };
        match fs::read(&path) {
            Ok(bytes) => {
                keep_private(&path).map_err(io)?;
                bytes.try_into().map_err(|_| StateError::Damaged {
                    path: path.clone(),
                    reason: "not 32 bytes".into(),
                    consequence: "this peer gets a new identity",
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut secret = [0u8; 32];
                getrandom::fill(&mut secret).map_err(|error| io(io::Error::other(error)))?;
                replace(&path, &secret)?;
                Ok(secret)
            }
            Err(error) => Err(io(error)),
        }
    }

    fn states(&self) -> PathBuf {
        self.path.join("states")
    }

    fn audits(&self) -> PathBuf {
        self.path.join("audits")
    }

    fn journal_path(&self, lease: &LeaseKey) -> PathBuf {
        self.states().join(journal_name(lease))
    }

    /// Returns the journal of `lease`, or `None` if there is none. A damaged one is set aside, with
    /// a warning.
    ///
    /// # Errors
    ///
    /// Fails if the journal can be neither read nor set aside.
    pub fn journal(&self, lease: &LeaseKey) -> Result<Option<Journal>, StateError> {
        read_checked(
            self.journal_path(lease),
            "the lease is trained from its start again, unless its update was revealed: then \
             audits of it cannot be answered",
            |json| serde_json::from_slice(json).map_err(|error| error.to_string()),
        )
    }

    /// Returns the leases that have a journal or a state, by ascending nonce.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be read.
    pub fn leases(&self) -> Result<Vec<LeaseKey>, StateError> {
        let lease = |name: &String| match parse_state_name(name) {
            Some((lease, _)) => Some(lease),
            None => name.strip_suffix(".json")?.parse().ok(),
        };
        let leases: BTreeSet<LeaseKey> = names(&self.states())?.iter().filter_map(lease).collect();
        Ok(leases.into_iter().collect())
    }

    /// Writes the journal of a lease.
    ///
    /// # Errors
    ///
    /// Fails if the journal cannot be written.
    pub fn write_journal(&self, journal: &Journal) -> Result<(), StateError> {
        let path = self.journal_path(&journal.lease);
        let mut bytes = serde_json::to_vec(journal)
            .map_err(|error| StateError::Io { path: path.clone(), source: error.into() })?;
        bytes.push(b'\n');
        replace_checked(&path, bytes)
    }

    /// Saves the state at leaf `leaf` of `lease`, which is the state after `leaf` segments.
    ///
    /// # Errors
    ///
    /// Fails if the state cannot be written.
    pub fn save_state(
        &self,
        lease: &LeaseKey,
        leaf: u16,
        state: &TrainingState,
    ) -> Result<(), EngineError> {
        state.save(&self.states().join(state_name(lease, leaf)))
    }

    /// Returns the newest kept state of `lease` up to leaf `to` that is the one in `leaves`, for a
    /// model of `parameters` values. Files that are not are removed: they are of no use, and take
    /// space.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be read or a file cannot be removed.
    pub fn newest_state(
        &self,
        lease: &LeaseKey,
        leaves: &[Hash],
        to: u16,
        parameters: usize,
    ) -> Result<NewestState, StateError> {
        let mut damaged = Vec::new();
        for leaf in self.kept_leaves(lease)?.into_iter().rev().filter(|leaf| *leaf <= to) {
            let Some(expected) = leaves.get(usize::from(leaf)) else { continue };
            let path = self.states().join(state_name(lease, leaf));
            let loaded = TrainingState::load(&path, parameters);
            let loaded = loaded.and_then(|state| match state.leaf() == *expected {
                true => Ok(state),
                false => Err(EngineError::CorruptState {
                    path: path.clone(),
                    why: "it is not the one that was trained",
                }),
            });
            match loaded {
                Ok(state) => return Ok(NewestState { found: Some((leaf, state)), damaged }),
                // Another thread just removed it.
                Err(EngineError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                }
                Err(error) => {
                    damaged.push(match error {
                        // It names no file.
                        EngineError::WrongModel { .. } => format!("{}: {error}", path.display()),
                        error => error.to_string(),
                    });
                    remove(&path)?;
                }
            }
        }
        Ok(NewestState { found: None, damaged })
    }

    /// Returns the state at leaf `leaf` of `lease` without bringing it into memory, if it is kept,
    /// sound, and the one in `leaves`. What is wrong with one that is not,
    /// [`Self::newest_state`] says.
    pub fn stored_state(
        &self,
        lease: &LeaseKey,
        leaves: &[Hash],
        leaf: u16,
        parameters: usize,
    ) -> Option<StoredState> {
        let path = self.states().join(state_name(lease, leaf));
        let (expected, stored) =
            (leaves.get(usize::from(leaf))?, StoredState::open(&path, parameters).ok()?);
        (stored.trace_state(leaf).digest() == *expected).then_some(stored)
    }

    /// Returns the leaves of `lease` whose states are kept, ascending.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be read.
    pub fn kept_leaves(&self, lease: &LeaseKey) -> Result<Vec<u16>, StateError> {
        let mut kept: Vec<u16> = names(&self.states())?
            .iter()
            .filter_map(|name| parse_state_name(name))
            .filter_map(|(of, leaf)| (of == *lease).then_some(leaf))
            .collect();
        kept.sort_unstable();
        Ok(kept)
    }

    /// Removes states until at most `budget` bytes of them are left. Returns `false` if that took
    /// more than every state that is at most `gap` segments from one that stays.
    ///
    /// Every second state of each lease goes first, then every second one of the rest, and so on up
    /// to the gap. If that is not enough, one lease after the other gives what is left. The newest
    /// lease comes before the others each time: its audit comes last. The first and the last state
    /// of a lease always stay: it is trained again from the one, and goes on from the other.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be read or a state cannot be removed.
    pub fn thin_states(&self, budget: u64, gap: u16) -> Result<bool, StateError> {
        let mut thinning = Thinning::new(self.state_sizes()?, budget);
        let newest_first = thinning.newest_first();
        for stride in strides().take_while(|stride| *stride <= gap) {
            newest_first.iter().for_each(|lease| thinning.thin(lease, stride));
        }
        let within_gap = thinning.removed.len();
        newest_first.iter().for_each(|lease| thinning.thin_fully(lease));
        self.remove_states(&thinning.removed)?;
        Ok(thinning.removed.len() == within_gap)
    }

    /// Removes states until `bytes` of the disk are free beside a margin, or as many as may be. One
    /// of `leases` after the other gives all states but its first and its last; other leases give
    /// none.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be read or a state cannot be removed, and if the operating system
    /// does not tell the free space.
    pub fn make_room(&self, bytes: u64, leases: &[LeaseKey]) -> Result<(), StateError> {
        let wanted = bytes.saturating_add(WRITE_MARGIN);
        let missing = wanted.saturating_sub(pol_hardware::disk_space(&self.path)?.free_bytes);
        let sizes = self.state_sizes()?;
        let stored: u64 = sizes.values().sum();
        let mut thinning = Thinning::new(sizes, stored.saturating_sub(missing));
        leases.iter().for_each(|lease| thinning.thin_fully(lease));
        self.remove_states(&thinning.removed)
    }

    /// Checks that a file of `bytes` leaves the margin of writes free.
    ///
    /// # Errors
    ///
    /// Fails if the disk has less free space, or if the operating system does not tell it.
    pub fn require_room(&self, bytes: u64) -> Result<(), StateError> {
        Ok(pol_hardware::require_disk(&self.path, bytes.saturating_add(WRITE_MARGIN))?)
    }

    fn remove_states(&self, states: &BTreeSet<StateKey>) -> Result<(), StateError> {
        let folder = self.states();
        states.iter().try_for_each(|(lease, leaf)| remove(&folder.join(state_name(lease, *leaf))))
    }

    /// Returns the bytes that the states of leases may take on the disk, with those that are there,
    /// for a model of `parameters` values.
    ///
    /// # Errors
    ///
    /// Fails if the disk is too small for the states of one update, or if the folder cannot be
    /// read.
    pub fn space(&self, parameters: u64) -> Result<u64, StateError> {
        let stored = self.state_sizes()?.values().sum();
        Ok(pol_hardware::state_space(&self.path, parameters, stored)?)
    }

    fn state_sizes(&self) -> Result<BTreeMap<StateKey, u64>, StateError> {
        let folder = self.states();
        let mut sizes = BTreeMap::new();
        for name in names(&folder)? {
            if let Some(state) = parse_state_name(&name) {
                let path = folder.join(name);
                match fs::metadata(&path) {
                    Ok(found) => drop(sizes.insert(state, found.len())),
                    // Another thread just forgot the lease.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(source) => return Err(StateError::Io { path, source }),
                }
            }
        }
        Ok(sizes)
    }

    /// Removes the states and the journal of `lease`.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be removed.
    pub fn forget_lease(&self, lease: &LeaseKey) -> Result<(), StateError> {
        // The journal goes last: as long as it exists, the removal is repeated.
        remove_where(&self.states(), |name| {
            parse_state_name(name).is_some_and(|(of, _)| of == *lease)
        })?;
        remove(&self.journal_path(lease))
    }

    /// Saves a state under the hash of its carry.
    ///
    /// # Errors
    ///
    /// Fails if the state cannot be written.
    pub fn save_carry(&self, state: &TrainingState) -> Result<(), EngineError> {
        state.save(&self.path.join(carry_name(&state.carry().hash())))
    }

    /// Returns `true` if there is a file of the state with this carry.
    pub fn has_carry(&self, carry: &Hash) -> bool {
        self.path.join(carry_name(carry)).exists()
    }

    /// Loads the state whose carry hashes to `carry`, for a model of `parameters` values.
    ///
    /// # Errors
    ///
    /// Fails if the state is missing, damaged, of another size, or with another carry.
    pub fn load_carry(
        &self,
        carry: &Hash,
        parameters: usize,
    ) -> Result<TrainingState, EngineError> {
        let path = self.path.join(carry_name(carry));
        let state = TrainingState::load(&path, parameters)?;
        if state.carry().hash() != *carry {
            return Err(EngineError::CorruptState { path, why: "it has another carry" });
        }
        Ok(state)
    }

    /// Returns the carry that the newest lease with an update leaves, or `None` if no lease here
    /// has an update.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be read, or a damaged journal cannot be set aside.
    pub fn newest_carry(&self) -> Result<Option<Hash>, StateError> {
        for lease in self.leases()?.iter().rev() {
            let reveal = self.journal(lease)?.and_then(|journal| journal.reveal);
            if let Some(reveal) = reveal {
                return Ok(Some(reveal.carry_hash));
            }
        }
        Ok(None)
    }

    /// Removes every carry that is not among `carries`.
    ///
    /// # Errors
    ///
    /// Fails if a carry cannot be removed.
    pub fn retain_carries(&self, carries: &[Hash]) -> Result<(), StateError> {
        let kept: Vec<_> = carries.iter().map(carry_name).collect();
        remove_where(&self.path, |name| {
            name.starts_with("carry-") && !kept.iter().any(|kept| kept == name)
        })
    }

    /// Writes this validator's evidence in an audit, and the salt of its commitment.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written.
    pub fn write_evidence(
        &self,
        audit: &AuditKey,
        evidence: &Evidence,
        salt: &Hash,
    ) -> Result<(), StateError> {
        replace_checked(&self.audits().join(audit.to_string()), (evidence, salt).encode())
    }

    /// Returns this validator's evidence in an audit and the salt of its commitment, or `None` if
    /// there is none. A damaged file is set aside, with a warning.
    ///
    /// # Errors
    ///
    /// Fails if the file can be neither read nor set aside.
    pub fn evidence(&self, audit: &AuditKey) -> Result<Option<(Evidence, Hash)>, StateError> {
        read_checked(
            self.audits().join(audit.to_string()),
            "the seats of that audit are replayed again, unless this validator committed to their \
             evidence: then they are lost",
            |bytes| DecodeAll::decode_all(&mut &bytes[..]).map_err(|error| error.to_string()),
        )
    }

    /// Returns the audits whose evidence is in the folder.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be read.
    pub fn audits_with_evidence(&self) -> Result<Vec<AuditKey>, StateError> {
        Ok(names(&self.audits())?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Removes the evidence in the audits that are over, and returns these.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be read or a file cannot be removed.
    pub fn forget_evidence(
        &self,
        is_over: impl Fn(&AuditKey) -> bool,
    ) -> Result<Vec<AuditKey>, StateError> {
        let mut over = self.audits_with_evidence()?;
        over.retain(is_over);
        over.iter().try_for_each(|audit| remove(&self.audits().join(audit.to_string())))?;
        Ok(over)
    }

    /// Returns `true` if audits may ask for something in this folder: for the states of a lease, or
    /// for evidence.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be read.
    pub fn is_needed(&self) -> Result<bool, StateError> {
        Ok(!self.leases()?.is_empty() || !self.audits_with_evidence()?.is_empty())
    }
}

/// Result of a search for a state.
#[derive(Debug, PartialEq)]
pub struct NewestState {
    /// The state and its leaf, if there is one.
    pub found: Option<(u16, TrainingState)>,
    /// Newer ones that were damaged and are removed, with the kind of damage.
    pub damaged: Vec<String>,
}

/// A lease and the leaf of one of its states.
type StateKey = (LeaseKey, u16);

fn journal_name(lease: &LeaseKey) -> String {
    format!("{lease}.json")
}

fn state_name(lease: &LeaseKey, leaf: u16) -> String {
    format!("{lease}-{leaf}.state")
}

fn parse_state_name(name: &str) -> Option<StateKey> {
    let (lease, leaf) = name.strip_suffix(".state")?.rsplit_once('-')?;
    Some((lease.parse().ok()?, leaf.parse().ok()?))
}

fn carry_name(carry: &Hash) -> String {
    format!("carry-{}.state", hex::encode(carry))
}

/// Returns the distances of the states that are left, from every second one to none between the
/// first and the last.
fn strides() -> impl Iterator<Item = u16> {
    (1..u16::BITS).map(|power| 1 << power)
}

/// Choice of the states to remove.
struct Thinning {
    /// States and their sizes in bytes.
    sizes: BTreeMap<StateKey, u64>,
    /// Bytes that would be left.
    left: u64,
    /// Bytes that may be left.
    budget: u64,
    /// States to remove.
    removed: BTreeSet<StateKey>,
}

impl Thinning {
    fn new(sizes: BTreeMap<StateKey, u64>, budget: u64) -> Self {
        Self { left: sizes.values().sum(), sizes, budget, removed: BTreeSet::new() }
    }

    /// Returns the leases, the newest before the others.
    fn newest_first(&self) -> Vec<LeaseKey> {
        let mut leases: Vec<_> = self.sizes.keys().rev().map(|(lease, _)| *lease).collect();
        leases.dedup();
        leases
    }

    /// Chooses states of `lease` until only its last and every `stride`-th one is left, or until
    /// the rest fits.
    fn thin(&mut self, lease: &LeaseKey, stride: u16) {
        let states = self.sizes.range((*lease, 0)..=(*lease, u16::MAX));
        let last = states.clone().next_back().map(|((_, leaf), _)| *leaf);
        for (state, size) in states {
            let is_kept = state.1.is_multiple_of(stride) || last == Some(state.1);
            if self.left > self.budget && !is_kept && self.removed.insert(*state) {
                self.left -= size;
            }
        }
    }

    /// Chooses states of `lease` until only its first and its last one are left, or until the rest
    /// fits.
    fn thin_fully(&mut self, lease: &LeaseKey) {
        strides().for_each(|stride| self.thin(lease, stride));
    }
}
