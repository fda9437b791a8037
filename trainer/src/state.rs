//! The folder a member keeps its state in.
//!
//! ```text
//! BASE/lock                      held while a process uses the folder
//! BASE/chain                     the chain it belongs to, by the hash of its first block
//! BASE/peer.key                  secret of this peer in the swarm
//! BASE/swarm/                    blobs: models, payloads, shards
//! BASE/carry-*.state             optimiser state after a lease, by carry hash
//! BASE/states/NONCE.json         how far a lease has come, and a checksum; kept until its update is settled
//! BASE/states/NONCE-LEAF.state   training state at a segment boundary of it
//! BASE/audits/ID                 what this validator found in an audit and what hides it, and a checksum
//! ```
//! Every file is replaced atomically and a state is on disk before the journal speaks of it, so the
//! folder is readable whenever the process ends.

use codec::{Decode, DecodeAll, Encode};
use pol_engine::TrainingState;
use pol_primitives::{
    Hash, RoundNumber,
    audit::{AuditId, Evidence},
    submission::Reveal,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Why the state folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Reading or writing failed.
    #[error("{path}: {source}")]
    Io {
        /// What was read or written.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another process holds it.
    #[error("{0} is in use by another pol-trainer; give each its own --base-path")]
    InUse(PathBuf),
    /// Its leases are of another chain.
    #[error(
        "{path} belongs to a chain whose first block is 0x{known}, and the node's is 0x{found}. If the chain was started anew, \
         remove the folder; to keep it, name another with --base-path"
    )]
    OtherChain {
        /// The folder.
        path: PathBuf,
        /// First block of the chain it belongs to.
        known: String,
        /// First block of the node's chain.
        found: String,
    },
    /// A file is not what was written.
    #[error("{path} is damaged ({why}). Move it away to go on without it: {consequence}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What going on without it costs.
        consequence: &'static str,
    },
}

/// How far a lease has come, and what answers for its update until that is settled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    /// The lease, by its nonce.
    pub nonce: u32,
    /// The round that its update is for.
    pub round: RoundNumber,
    /// Hashes of the states at segment boundaries so far, the start first.
    #[serde(with = "hashes")]
    pub leaves: Vec<Hash>,
    /// Mean loss of each segment so far, in nats a token.
    pub losses: Vec<f64>,
    /// Tokens per second of the training so far.
    pub speed: f64,
    /// What will be revealed, once the update is packed. From then on the lease is never trained
    /// again.
    #[serde(with = "reveal")]
    pub reveal: Option<Reveal>,
}

impl Journal {
    /// The journal of lease `nonce`, due in `round`, which starts from the state with leaf `start`.
    pub fn new(nonce: u32, round: RoundNumber, start: Hash) -> Self {
        Self { nonce, round, leaves: vec![start], losses: Vec::new(), speed: 0.0, reveal: None }
    }

    /// Segments trained, which is also the number of the newest leaf.
    pub fn segments(&self) -> u16 {
        u16::try_from(self.losses.len()).unwrap_or(u16::MAX)
    }
}

mod hashes {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(hashes: &[Hash], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(hashes.iter().map(hex::encode))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Hash>, D::Error> {
        Vec::<String>::deserialize(deserializer)?
            .iter()
            .map(|text| {
                pol_primitives::hex_hash::parse(text).ok_or_else(|| D::Error::custom("not a hash"))
            })
            .collect()
    }
}

mod reveal {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(
        reveal: &Option<Reveal>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        reveal.as_ref().map(|reveal| hex::encode(reveal.encode())).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Reveal>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let bytes = hex::decode(text).map_err(D::Error::custom)?;
        Reveal::decode(&mut &bytes[..]).map(Some).map_err(D::Error::custom)
    }
}

/// A state folder, held by this process.
pub struct StateFolder {
    path: PathBuf,
    _lock: File,
}

impl StateFolder {
    /// Opens or makes the folder at `path` and holds it until dropped.
    pub fn open(path: &Path) -> Result<Self, StateError> {
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
        // What was being written when a process was killed.
        for part in [folder.path.clone(), folder.states(), folder.audits()] {
            remove_where(&part, |name| name.starts_with(".tmp") || name.ends_with(".next"))?;
        }
        Ok(folder)
    }

    /// Makes the folder that of the chain whose first block is `first_block`; refuses one of
    /// another chain, whose leases and moments mean nothing here.
    pub fn claim(&self, first_block: &Hash) -> Result<(), StateError> {
        let path = self.path.join("chain");
        let found = hex::encode(first_block);
        match fs::read_to_string(&path) {
            Ok(known) if known.trim() == found => Ok(()),
            Ok(known) => Err(StateError::OtherChain {
                path: self.path.clone(),
                known: known.trim().into(),
                found,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.replace(&path, found.as_bytes())
            }
            Err(source) => Err(StateError::Io { path, source }),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The secret of this peer in the swarm, made at first use.
    pub fn peer_secret(&self) -> Result<[u8; 32], StateError> {
        let path = self.path.join("peer.key");
        let io = |source| StateError::Io { path: path.clone(), source };
        match fs::read(&path) {
            Ok(bytes) => bytes.try_into().map_err(|_| StateError::Damaged {
                path: path.clone(),
                why: "not 32 bytes".into(),
                consequence: "this peer gets a new identity",
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut secret = [0u8; 32];
                getrandom::fill(&mut secret).map_err(|error| io(io::Error::other(error)))?;
                self.replace(&path, &secret)?;
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

    fn journal_path(&self, nonce: u32) -> PathBuf {
        self.states().join(format!("{nonce}.json"))
    }

    /// The journal of lease `nonce`, if there is one.
    pub fn journal(&self, nonce: u32) -> Result<Option<Journal>, StateError> {
        let path = self.journal_path(nonce);
        let read = |json: &[u8]| serde_json::from_slice(json).map_err(|error| error.to_string());
        read_checked(
            path,
            "the lease is trained from its start again, or lost where its update was revealed",
            read,
        )
    }

    /// Leases that have a journal, by nonce.
    pub fn leases(&self) -> Result<Vec<u32>, StateError> {
        let mut leases: Vec<u32> = names(&self.states())?
            .iter()
            .filter_map(|name| name.strip_suffix(".json")?.parse().ok())
            .collect();
        leases.sort_unstable();
        Ok(leases)
    }

    /// Writes the journal.
    pub fn write_journal(&self, journal: &Journal) -> Result<(), StateError> {
        let mut bytes = serde_json::to_vec(journal).expect("a journal has string keys only");
        bytes.push(b'\n');
        self.replace_checked(&self.journal_path(journal.nonce), bytes)
    }

    /// Saves the state at leaf `leaf` of lease `nonce`: after that many segments.
    pub fn save_state(
        &self,
        nonce: u32,
        leaf: u16,
        state: &TrainingState,
    ) -> Result<(), pol_engine::EngineError> {
        state.save(&self.states().join(state_name(nonce, leaf)))
    }

    /// The state at leaf `leaf` of lease `nonce`, for a model of `parameters` values.
    pub fn load_state(
        &self,
        nonce: u32,
        leaf: u16,
        parameters: usize,
    ) -> Result<TrainingState, pol_engine::EngineError> {
        TrainingState::load(&self.states().join(state_name(nonce, leaf)), parameters)
    }

    /// The leaves of lease `nonce` whose states are here, ascending.
    pub fn kept(&self, nonce: u32) -> Result<Vec<u16>, StateError> {
        let mut kept: Vec<u16> = names(&self.states())?
            .iter()
            .filter_map(|name| parse_state_name(name))
            .filter_map(|(lease, leaf)| (lease == nonce).then_some(leaf))
            .collect();
        kept.sort_unstable();
        Ok(kept)
    }

    /// Removes states until at most `budget` bytes of them are left: of every lease, the oldest
    /// first, each second one, then of those left each second one, and so on. Its first state
    /// always stays, and its last: the one it goes on from, or ends with.
    pub fn thin(&self, budget: u64) -> Result<(), StateError> {
        let folder = self.states();
        let mut sizes = BTreeMap::new();
        for name in names(&folder)? {
            if let Some(state) = parse_state_name(&name) {
                let path = folder.join(name);
                match fs::metadata(&path) {
                    Ok(found) => drop(sizes.insert(state, found.len())),
                    // Its lease was forgotten a moment ago.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(source) => return Err(StateError::Io { path, source }),
                }
            }
        }
        surplus(&sizes, budget)
            .into_iter()
            .try_for_each(|(nonce, leaf)| remove(&folder.join(state_name(nonce, leaf))))
    }

    /// Forgets lease `nonce`.
    pub fn forget(&self, nonce: u32) -> Result<(), StateError> {
        // The journal last: while it is there, this is done again.
        remove_where(&self.states(), |name| {
            parse_state_name(name).is_some_and(|(lease, _)| lease == nonce)
        })?;
        remove_where(&self.states(), |name| name == format!("{nonce}.json"))
    }

    /// Saves a state under the hash of its carry.
    pub fn save_carry(&self, state: &TrainingState) -> Result<(), pol_engine::EngineError> {
        state.save(&self.path.join(carry_name(&state.carry().hash())))
    }

    /// Whether the state with this carry is here.
    pub fn has_carry(&self, carry: &Hash) -> bool {
        self.path.join(carry_name(carry)).exists()
    }

    /// The state whose carry hashes to `carry`.
    pub fn load_carry(
        &self,
        carry: &Hash,
        parameters: usize,
    ) -> Result<TrainingState, pol_engine::EngineError> {
        TrainingState::load(&self.path.join(carry_name(carry)), parameters)
    }

    /// Forgets every carry but `carry`.
    pub fn keep_carry(&self, carry: &Hash) -> Result<(), StateError> {
        let kept = carry_name(carry);
        remove_where(&self.path, |name| name.starts_with("carry-") && name != kept)
    }

    /// Writes what this validator found in an audit, and the salt that hides it.
    pub fn write_evidence(
        &self,
        audit: AuditId,
        evidence: &Evidence,
        salt: &Hash,
    ) -> Result<(), StateError> {
        self.replace_checked(&self.audits().join(audit.to_string()), (evidence, salt).encode())
    }

    /// What this validator found in an audit, and the salt that hides it.
    pub fn evidence(&self, audit: AuditId) -> Result<Option<(Evidence, Hash)>, StateError> {
        let read = |bytes: &[u8]| {
            DecodeAll::decode_all(&mut &bytes[..]).map_err(|error| error.to_string())
        };
        read_checked(
            self.audits().join(audit.to_string()),
            "the seats of that audit are lost",
            read,
        )
    }

    /// Forgets what was found in audits other than these; returns which.
    pub fn keep_evidence(&self, audits: &BTreeSet<AuditId>) -> Result<Vec<AuditId>, StateError> {
        let ids = names(&self.audits())?;
        let over: Vec<AuditId> = ids
            .iter()
            .filter_map(|name| name.parse().ok())
            .filter(|id| !audits.contains(id))
            .collect();
        remove_where(&self.audits(), |name| name.parse().is_ok_and(|id| over.contains(&id)))?;
        Ok(over)
    }

    fn replace_checked(&self, path: &Path, mut bytes: Vec<u8>) -> Result<(), StateError> {
        bytes.extend(checksum(&bytes));
        self.replace(path, &bytes)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StateError> {
        let io = |source| StateError::Io { path: path.into(), source };
        let next = path.with_extension("next");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&next)
            .map_err(io)?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io)?;
        fs::rename(&next, path).map_err(io)
    }
}

/// What a checked file ends with: BLAKE3 of what is before it, in hexadecimal.
fn checksum(bytes: &[u8]) -> [u8; 64] {
    let mut line = [0; 64];
    line.copy_from_slice(blake3::hash(bytes).to_hex().as_bytes());
    line
}

/// What `read` makes of a checked file, if there is one.
fn read_checked<T>(
    path: PathBuf,
    consequence: &'static str,
    read: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<Option<T>, StateError> {
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StateError::Io { path, source }),
    };
    let checked = bytes.split_last_chunk().filter(|(contents, sum)| checksum(contents) == **sum);
    let checked = checked.ok_or_else(|| "its checksum does not match its contents".to_owned());
    let contents = checked.and_then(|(contents, _)| read(contents));
    contents.map(Some).map_err(|why| StateError::Damaged { path, why, consequence })
}

/// Names of the files in a folder.
fn names(folder: &Path) -> Result<Vec<String>, StateError> {
    let io = |source| StateError::Io { path: folder.into(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        names.extend(entry.map_err(io)?.file_name().into_string());
    }
    Ok(names)
}

fn remove_where(folder: &Path, unwanted: impl Fn(&str) -> bool) -> Result<(), StateError> {
    names(folder)?
        .iter()
        .filter(|name| unwanted(name))
        .try_for_each(|name| remove(&folder.join(name)))
}

/// Removes a file, unless another thread just did.
fn remove(path: &Path) -> Result<(), StateError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done.map_err(|source| StateError::Io { path: path.into(), source }),
    }
}

/// A state by its lease's nonce and its leaf.
type StateKey = (u32, u16);

fn state_name(nonce: u32, leaf: u16) -> String {
    format!("{nonce}-{leaf}.state")
}

fn parse_state_name(name: &str) -> Option<StateKey> {
    let (nonce, leaf) = name.strip_suffix(".state")?.split_once('-')?;
    Some((nonce.parse().ok()?, leaf.parse().ok()?))
}

/// The states to remove so that at most `budget` of the bytes in `sizes` are left, or as near to it
/// as can be.
fn surplus(sizes: &BTreeMap<StateKey, u64>, budget: u64) -> Vec<StateKey> {
    let mut total: u64 = sizes.values().sum();
    let mut last = BTreeMap::new();
    for (nonce, leaf) in sizes.keys() {
        last.insert(*nonce, *leaf);
    }
    let (mut removed, mut stride) = (BTreeSet::new(), 2u16);
    while total > budget && stride < 1 << 15 {
        for (&(nonce, leaf), size) in sizes {
            if total > budget
                && leaf % stride != 0
                && last.get(&nonce) != Some(&leaf)
                && removed.insert((nonce, leaf))
            {
                total -= size;
            }
        }
        stride *= 2;
    }
    removed.into_iter().collect()
}

fn carry_name(carry: &Hash) -> String {
    format!("carry-{}.state", hex::encode(carry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::audit::Finding;

    fn state(steps: u64) -> TrainingState {
        let mut state = TrainingState::fresh(vec![0.5; 10]);
        state.steps = steps;
        state
    }

    #[test]
    fn a_folder_belongs_to_one_process() {
        let folder = tempfile::tempdir().unwrap();
        let held = StateFolder::open(folder.path()).unwrap();
        assert!(matches!(StateFolder::open(folder.path()), Err(StateError::InUse(_))));
        drop(held);
        assert!(StateFolder::open(folder.path()).is_ok());
    }

    #[test]
    fn a_journal_and_its_states_survive_until_the_lease_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let state_folder = StateFolder::open(folder.path()).unwrap();
        assert_eq!(state_folder.journal(3).unwrap(), None);
        let mut journal = Journal::new(3, 5, [0; 32]);
        state_folder.save_state(3, 0, &state(0)).unwrap();
        for segment in 1..=2u16 {
            state_folder.save_state(3, segment, &state(segment.into())).unwrap();
            journal.leaves.push([segment as u8; 32]);
            journal.losses.push(1.5);
            state_folder.write_journal(&journal).unwrap();
        }
        journal.reveal = Some(Reveal {
            payload_hash: [1; 32],
            trace_root: [2; 32],
            carry_hash: [3; 32],
            steps: 4,
            first_leaf: Default::default(),
            salt: [5; 32],
        });
        state_folder.write_journal(&journal).unwrap();
        state_folder.write_journal(&Journal::new(12, 6, [0; 32])).unwrap();
        drop(state_folder);
        let state_folder = StateFolder::open(folder.path()).unwrap();
        assert_eq!(state_folder.journal(3).unwrap(), Some(journal));
        assert_eq!(state_folder.leases().unwrap(), [3, 12]);
        assert_eq!(state_folder.kept(3).unwrap(), [0, 1, 2]);
        assert_eq!(state_folder.load_state(3, 2, 10).unwrap(), state(2));
        state_folder.forget(3).unwrap();
        assert_eq!(state_folder.leases().unwrap(), [12]);
        assert_eq!(state_folder.kept(3).unwrap(), [0u16; 0]);
        assert!(state_folder.load_state(3, 2, 10).is_err());
    }

    #[test]
    fn states_are_thinned_to_their_budget_the_oldest_lease_first() {
        let folder = tempfile::tempdir().unwrap();
        let state_folder = StateFolder::open(folder.path()).unwrap();
        for leaf in 0..=5 {
            state_folder.save_state(9, leaf, &state(leaf.into())).unwrap();
            state_folder.save_state(10, leaf, &state(leaf.into())).unwrap();
        }
        let size = fs::metadata(folder.path().join("states/9-0.state")).unwrap().len();
        let kept = |budget: u64| {
            state_folder.thin(budget).unwrap();
            [9, 10].map(|nonce| state_folder.kept(nonce).unwrap())
        };
        let all: Vec<u16> = (0..=5).collect();
        assert_eq!(kept(12 * size), [all.clone(), all.clone()]);
        assert_eq!(kept(10 * size), [vec![0, 2, 4, 5], all]);
        assert_eq!(kept(8 * size), [vec![0, 2, 4, 5], vec![0, 2, 4, 5]]);
        assert_eq!(kept(6 * size), [vec![0, 4, 5], vec![0, 4, 5]]);
        assert_eq!(kept(0), [vec![0, 5], vec![0, 5]]);
    }

    #[test]
    fn evidence_is_read_as_written_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let state_folder = StateFolder::open(folder.path()).unwrap();
        let evidence =
            Evidence::truncate_from(vec![(0, Finding::Impossible), (2, Finding::Unavailable)]);
        for audit in [4, 40] {
            state_folder.write_evidence(audit, &evidence, &[7; 32]).unwrap();
        }
        drop(state_folder);
        let state_folder = StateFolder::open(folder.path()).unwrap();
        assert_eq!(state_folder.evidence(4).unwrap(), Some((evidence, [7; 32])));
        assert_eq!(state_folder.evidence(5).unwrap(), None);
        assert_eq!(state_folder.keep_evidence(&[40].into()).unwrap(), [4]);
        assert_eq!(state_folder.evidence(4).unwrap(), None);
        let path = folder.path().join("audits/40");
        let mut bytes = fs::read(&path).unwrap();
        bytes[3] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(state_folder.evidence(40).unwrap_err().to_string().contains("seats"));
    }

    #[test]
    fn only_the_carry_in_force_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let state_folder = StateFolder::open(folder.path()).unwrap();
        let (old, new) = (state(1), state(2));
        state_folder.save_carry(&old).unwrap();
        state_folder.save_carry(&new).unwrap();
        state_folder.keep_carry(&new.carry().hash()).unwrap();
        assert!(!state_folder.has_carry(&old.carry().hash()));
        assert_eq!(state_folder.load_carry(&new.carry().hash(), 10).unwrap().steps, 2);
    }

    #[test]
    fn a_folder_belongs_to_one_chain() {
        let folder = tempfile::tempdir().unwrap();
        let state_folder = StateFolder::open(folder.path()).unwrap();
        state_folder.claim(&[1; 32]).unwrap();
        state_folder.claim(&[1; 32]).unwrap();
        let message = state_folder.claim(&[2; 32]).unwrap_err().to_string();
        assert!(
            message.contains("--base-path") && message.contains(&hex::encode([1; 32])),
            "{message}"
        );
        fs::write(folder.path().join("chain"), [0xff, 0xfe]).unwrap();
        assert!(state_folder.claim(&[1; 32]).is_err());
    }

    #[test]
    fn what_was_half_written_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("states")).unwrap();
        let torn = [".tmpAbCdEf", "chain.next", "states/.tmpAbCdEf", "states/3.next"]
            .map(|name| folder.path().join(name));
        for path in torn.iter().chain(&[folder.path().join("peer.key")]) {
            fs::write(path, [7; 32]).unwrap();
        }
        let state_folder = StateFolder::open(folder.path()).unwrap();
        assert!(!torn.iter().any(|path| path.exists()));
        assert_eq!(state_folder.peer_secret().unwrap(), [7; 32]);
    }

    #[test]
    fn damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let state_folder = StateFolder::open(folder.path()).unwrap();
        let path = folder.path().join("states/3.json");
        fs::write(&path, "{").unwrap();
        let message = state_folder.journal(3).unwrap_err().to_string();
        assert!(message.contains("3.json is damaged"), "{message}");
        state_folder
            .write_journal(&Journal { losses: vec![1.25], ..Journal::new(3, 4, [0; 32]) })
            .unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("1.25", "1.26")).unwrap();
        assert!(state_folder.journal(3).unwrap_err().to_string().contains("checksum"));
        fs::write(folder.path().join("peer.key"), "short").unwrap();
        assert!(state_folder.peer_secret().is_err());
    }

    #[test]
    fn the_peer_keeps_its_identity_and_its_secret() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let state_folder = StateFolder::open(folder.path()).unwrap();
        assert_eq!(state_folder.peer_secret().unwrap(), state_folder.peer_secret().unwrap());
        let mode = fs::metadata(folder.path().join("peer.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
}
