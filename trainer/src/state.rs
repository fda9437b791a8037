//! The folder a trainer keeps its state in.
//!
//! ```text
//! BASE/lock             held while a process uses the folder
//! BASE/chain            the chain it belongs to, by the hash of its first block
//! BASE/peer.key         secret of this peer in the swarm
//! BASE/swarm/           blobs: models, payloads, shards
//! BASE/journal.json     how far the open lease has come, and a checksum
//! BASE/lease-*.state    training state at a segment boundary of the open lease
//! BASE/carry-*.state    optimiser state after a lease, by carry hash
//! ```
//! Every file is replaced atomically and a state is on disk before the journal speaks of it, so the folder is
//! readable whenever the process ends.

use codec::{Decode, Encode};
use pol_engine::TrainingState;
use pol_primitives::{Hash, submission::Reveal};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Why the state folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0} is in use by another pol-trainer; give each its own --base-path")]
    InUse(PathBuf),
    #[error(
        "{path} belongs to a chain whose first block is 0x{known}, and the node's is 0x{found}. If the chain was started anew, \
         remove the folder; to keep it, name another with --base-path"
    )]
    OtherChain { path: PathBuf, known: String, found: String },
    #[error("{path} is damaged ({why}). Move it away to go on without it: {consequence}")]
    Damaged { path: PathBuf, why: String, consequence: &'static str },
}

/// How far the open lease has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    /// The lease, by its nonce.
    pub nonce: u32,
    /// Hashes of the states at segment boundaries so far.
    #[serde(with = "hashes")]
    pub leaves: Vec<Hash>,
    /// Mean loss of each segment so far, in nats a token.
    pub losses: Vec<f64>,
    /// Tokens per second of the training so far.
    pub speed: f64,
    /// What will be revealed, once the update is packed. From then on the lease is never trained again.
    #[serde(with = "reveal")]
    pub reveal: Option<Reveal>,
}

impl Journal {
    pub fn new(nonce: u32) -> Self {
        Self { nonce, leaves: Vec::new(), losses: Vec::new(), speed: 0.0, reveal: None }
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
            .map(|text| pol_primitives::hex_hash::parse(text).ok_or_else(|| D::Error::custom("not a hash")))
            .collect()
    }
}

mod reveal {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(reveal: &Option<Reveal>, serializer: S) -> Result<S::Ok, S::Error> {
        reveal.as_ref().map(|reveal| hex::encode(reveal.encode())).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Reveal>, D::Error> {
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
        let lock = File::create(&lock_path).map_err(|source| StateError::Io { path: lock_path.clone(), source })?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::InUse(path.into())),
            Err(TryLockError::Error(source)) => return Err(StateError::Io { path: lock_path, source }),
        }
        let folder = Self { path: path.into(), _lock: lock };
        // What was being written when a process was killed.
        folder.remove_where(|name| name.starts_with(".tmp") || name.ends_with(".next"))?;
        Ok(folder)
    }

    /// Makes the folder that of the chain whose first block is `first_block`; refuses one of another chain, whose leases and
    /// moments mean nothing here.
    pub fn claim(&self, first_block: &Hash) -> Result<(), StateError> {
        let path = self.path.join("chain");
        let found = hex::encode(first_block);
        match fs::read_to_string(&path) {
            Ok(known) if known.trim() == found => Ok(()),
            Ok(known) => Err(StateError::OtherChain { path: self.path.clone(), known: known.trim().into(), found }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.replace(&path, found.as_bytes()),
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

    /// The journal of the open lease, if there is one.
    pub fn journal(&self) -> Result<Option<Journal>, StateError> {
        let path = self.path.join("journal.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Io { path, source }),
        };
        let checked = bytes.split_last_chunk().filter(|(json, sum)| checksum(json) == **sum);
        let journal = match checked {
            Some((json, _)) => serde_json::from_slice(json).map_err(|error| error.to_string()),
            None => Err("its checksum does not match its contents".into()),
        };
        let consequence = "an open lease is trained from its start again";
        journal.map(Some).map_err(|why| StateError::Damaged { path, why, consequence })
    }

    /// Writes the journal. States that it does not speak of are removed.
    pub fn write_journal(&self, journal: &Journal) -> Result<(), StateError> {
        let mut bytes = serde_json::to_vec(journal).expect("a journal has string keys only");
        bytes.push(b'\n');
        bytes.extend(checksum(&bytes));
        self.replace(&self.path.join("journal.json"), &bytes)?;
        let current = lease_name(journal.nonce, journal.leaves.len());
        self.remove_where(|name| name.starts_with("lease-") && (name != current || journal.reveal.is_some()))
    }

    /// Saves the state after `segments` segments of lease `nonce`.
    pub fn save_lease(&self, nonce: u32, segments: usize, state: &TrainingState) -> Result<(), pol_engine::Error> {
        state.save(&self.path.join(lease_name(nonce, segments)))
    }

    /// The state that `journal` speaks of, for a model of `parameters` values.
    pub fn load_lease(&self, journal: &Journal, parameters: usize) -> Result<TrainingState, pol_engine::Error> {
        TrainingState::load(&self.path.join(lease_name(journal.nonce, journal.leaves.len())), parameters)
    }

    /// Whether the state that `journal` speaks of is there.
    pub fn has_lease(&self, journal: &Journal) -> bool {
        self.path.join(lease_name(journal.nonce, journal.leaves.len())).exists()
    }

    /// Saves a state under the hash of its carry.
    pub fn save_carry(&self, state: &TrainingState) -> Result<(), pol_engine::Error> {
        state.save(&self.path.join(carry_name(&state.carry().hash())))
    }

    pub fn has_carry(&self, carry: &Hash) -> bool {
        self.path.join(carry_name(carry)).exists()
    }

    /// The state whose carry hashes to `carry`.
    pub fn load_carry(&self, carry: &Hash, parameters: usize) -> Result<TrainingState, pol_engine::Error> {
        TrainingState::load(&self.path.join(carry_name(carry)), parameters)
    }

    /// Forgets the finished lease and every carry but `carry`.
    pub fn conclude(&self, carry: &Hash) -> Result<(), StateError> {
        let kept = carry_name(carry);
        self.remove_where(|name| {
            name == "journal.json" || name.starts_with("lease-") || (name.starts_with("carry-") && name != kept)
        })
    }

    fn remove_where(&self, unwanted: impl Fn(&str) -> bool) -> Result<(), StateError> {
        let io = |source| StateError::Io { path: self.path.clone(), source };
        for entry in fs::read_dir(&self.path).map_err(io)? {
            let entry = entry.map_err(io)?;
            if entry.file_name().to_str().is_some_and(&unwanted) {
                fs::remove_file(entry.path()).map_err(|source| StateError::Io { path: entry.path(), source })?;
            }
        }
        Ok(())
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StateError> {
        let io = |source| StateError::Io { path: path.into(), source };
        let next = path.with_extension("next");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next).map_err(io)?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io)?;
        fs::rename(&next, path).map_err(io)
    }
}

/// The journal's last line: BLAKE3 of what is before it, in hexadecimal.
fn checksum(json: &[u8]) -> [u8; 64] {
    let mut line = [0; 64];
    line.copy_from_slice(blake3::hash(json).to_hex().as_bytes());
    line
}

fn lease_name(nonce: u32, segments: usize) -> String {
    format!("lease-{nonce}-{segments}.state")
}

fn carry_name(carry: &Hash) -> String {
    format!("carry-{}.state", hex::encode(carry))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_journal_survives_and_drops_what_it_passed() {
        let folder = tempfile::tempdir().unwrap();
        let state_folder = StateFolder::open(folder.path()).unwrap();
        assert_eq!(state_folder.journal().unwrap(), None);
        let mut journal = Journal::new(3);
        for segments in 1..=2 {
            state_folder.save_lease(3, segments, &state(1)).unwrap();
            journal.leaves.push([segments as u8; 32]);
            journal.losses.push(1.5);
            state_folder.write_journal(&journal).unwrap();
        }
        assert_eq!(state_folder.journal().unwrap(), Some(journal.clone()));
        assert!(state_folder.has_lease(&journal));
        assert!(!folder.path().join("lease-3-1.state").exists());
        journal.reveal = Some(Reveal {
            payload_hash: [1; 32],
            trace_root: [2; 32],
            carry_hash: [3; 32],
            steps: 4,
            first_leaf: Default::default(),
            salt: [5; 32],
        });
        state_folder.write_journal(&journal).unwrap();
        assert_eq!(state_folder.journal().unwrap(), Some(journal));
        assert!(!folder.path().join("lease-3-2.state").exists());
    }

    #[test]
    fn only_the_carry_in_force_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let state_folder = StateFolder::open(folder.path()).unwrap();
        let (old, new) = (state(1), state(2));
        state_folder.save_carry(&old).unwrap();
        state_folder.save_carry(&new).unwrap();
        state_folder.write_journal(&Journal::new(1)).unwrap();
        state_folder.conclude(&new.carry().hash()).unwrap();
        assert!(!state_folder.has_carry(&old.carry().hash()));
        assert_eq!(state_folder.load_carry(&new.carry().hash(), 10).unwrap().steps, 2);
        assert_eq!(state_folder.journal().unwrap(), None);
    }

    #[test]
    fn a_folder_belongs_to_one_chain() {
        let folder = tempfile::tempdir().unwrap();
        let state_folder = StateFolder::open(folder.path()).unwrap();
        state_folder.claim(&[1; 32]).unwrap();
        state_folder.claim(&[1; 32]).unwrap();
        let message = state_folder.claim(&[2; 32]).unwrap_err().to_string();
        assert!(message.contains("--base-path") && message.contains(&hex::encode([1; 32])), "{message}");
        fs::write(folder.path().join("chain"), [0xff, 0xfe]).unwrap();
        assert!(state_folder.claim(&[1; 32]).is_err());
    }

    #[test]
    fn what_was_half_written_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".tmpAbCdEf", "journal.next", "peer.key"] {
            fs::write(folder.path().join(name), [7; 32]).unwrap();
        }
        let state_folder = StateFolder::open(folder.path()).unwrap();
        assert!(!folder.path().join(".tmpAbCdEf").exists() && !folder.path().join("journal.next").exists());
        assert_eq!(state_folder.peer_secret().unwrap(), [7; 32]);
    }

    #[test]
    fn damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let state_folder = StateFolder::open(folder.path()).unwrap();
        fs::write(folder.path().join("journal.json"), "{").unwrap();
        let message = state_folder.journal().unwrap_err().to_string();
        assert!(message.contains("journal.json is damaged"), "{message}");
        state_folder.write_journal(&Journal { losses: vec![1.25], ..Journal::new(3) }).unwrap();
        let text = fs::read_to_string(folder.path().join("journal.json")).unwrap();
        fs::write(folder.path().join("journal.json"), text.replace("1.25", "1.26")).unwrap();
        assert!(state_folder.journal().unwrap_err().to_string().contains("checksum"));
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
