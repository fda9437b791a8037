// SPDX-License-Identifier: Apache-2.0

//! Bearer tokens, of which a file keeps the hashes.

use pol_keystore::is_credential;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

/// Name of the security scheme of tokens, in the description.
pub(crate) const TOKEN_SCHEME: &str = "token";
/// Start of every token, by which scanners for leaked secrets know it.
const PREFIX: &str = "pol_";
/// Most tokens of a file.
const MAX_TOKENS: usize = 1_000;
/// Largest file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// End of the name of the file that is locked beside the one of tokens while that changes.
const LOCK_SUFFIX: &str = ".lock";

/// Permission that an endpoint requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Facts about models and the network.
    Read,
    /// Use of the model.
    Generate,
    /// Control of training.
    Train,
    /// All of it.
    Admin,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 4] = [Self::Read, Self::Generate, Self::Train, Self::Admin];

    /// Returns the name of the scope.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Generate => "generate",
            Self::Train => "train",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Scope {
    type Err = TokenError;

    fn from_str(name: &str) -> Result<Self, TokenError> {
        let scope = Self::ALL.into_iter().find(|scope| scope.name() == name);
        scope.ok_or_else(|| TokenError::Scope(name.into()))
    }
}

/// Token without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Name, by which it is revoked.
    pub name: String,
    /// BLAKE3 hash of the secret. A secret has 256 random bits, so that a hash without salt and
    /// without repetition is enough.
    #[serde(with = "pol_primitives::hex_hash")]
    pub hash: [u8; 32],
    /// Permissions.
    pub scopes: Vec<Scope>,
    /// Time of creation, in seconds since 1970.
    pub created: u64,
}

impl Token {
    /// Returns `true` if the token has `scope`.
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|&own| own == scope || own == Scope::Admin)
    }
}

/// Error of a file of tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read, changed, or written.
    #[error("cannot {action} the tokens in {}: {source}", path.display())]
    Io {
        /// Action that failed.
        action: &'static str,
        /// File.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// Other users can read or change the file.
    #[error(
        "other users can read or change {} (mode {mode:o}), and learn who may do what or let \
         themselves in; run `chmod 600 {}`",
        path.display(),
        path.display()
    )]
    Exposed {
        /// File.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file is not one of tokens.
    #[error(
        "{} is not a file of tokens: {reason}; make one with `pol-trainer tokens add`",
        path.display()
    )]
    Malformed {
        /// File.
        path: PathBuf,
        /// Cause.
        reason: String,
    },
    /// A token has this name already.
    #[error("a token is called '{0}' already; revoke it first, or choose another name")]
    Exists(String),
    /// No token has this name.
    #[error("no token is called '{0}'; `pol-trainer tokens list` shows all")]
    Unknown(String),
    /// The name of a token is empty, too long, or has other characters.
    #[error("a name of a token has 1 to 64 letters, digits, '-', '_' or '.'")]
    Name,
    /// The file has its most tokens.
    #[error("there are {MAX_TOKENS} tokens already; revoke some")]
    Full,
    /// No scope has this name.
    #[error("no scope is called '{0}'; there are read, generate, train and admin")]
    Scope(String),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// Content of the file.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    tokens: Vec<Token>,
}

/// Inode, length, and time of modification of a version of the file. A version replaces another
/// as a whole, and has another inode.
type Version = (u64, u64, i64, i64);

/// File of tokens. Changes of it apply at once.
pub struct TokenFile {
    path: PathBuf,
    known: Mutex<(Option<Version>, Arc<Vec<Token>>)>,
}

impl TokenFile {
    /// Creates the view of a file, which need not exist.
    pub fn new(path: &Path) -> Self {
        Self { path: path.into(), known: Mutex::default() }
    }

    /// Returns all tokens, oldest first; none if there is no file.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, if other users can, or if it is not one of tokens. What
    /// systemd hands to a service as a credential is as safe as it makes it.
    pub fn list(&self) -> Result<Arc<Vec<Token>>, TokenError> {
        let facts = match fs::metadata(&self.path) {
            Ok(facts) => facts,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Arc::default()),
            Err(error) => return Err(self.failed("read")(error)),
        };
        let mode = facts.permissions().mode() & 0o777;
        if mode & 0o077 != 0 && !is_credential(&self.path) {
            return Err(TokenError::Exposed { path: self.path.clone(), mode });
        }
        let version = (facts.ino(), facts.len(), facts.mtime(), facts.mtime_nsec());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 != Some(version) {
            *known = (Some(version), Arc::new(self.read(facts.len())?));
        }
        Ok(Arc::clone(&known.1))
    }

    fn read(&self, bytes: u64) -> Result<Vec<Token>, TokenError> {
        let malformed = |reason| TokenError::Malformed { path: self.path.clone(), reason };
        if bytes > MAX_FILE_BYTES {
            return Err(malformed(format!("it has more than {MAX_FILE_BYTES} bytes")));
        }
        let json = fs::read(&self.path).map_err(self.failed("read"))?;
        let content: Content =
            serde_json::from_slice(&json).map_err(|error| malformed(error.to_string()))?;
        Ok(content.tokens)
    }

    /// Makes a token with these scopes, and returns its secret, which is kept nowhere.
    ///
    /// # Errors
    ///
    /// Fails if the name is taken or not allowed, or if the file cannot be read or written.
    pub fn add(&self, name: &str, scopes: &[Scope]) -> Result<String, TokenError> {
        let allowed = |letter: u8| letter.is_ascii_alphanumeric() || b"-_.".contains(&letter);
        if !(1..=64).contains(&name.len()) || !name.bytes().all(allowed) {
            return Err(TokenError::Name);
        }
        let _lock = self.lock()?;
        let mut tokens = self.list()?.to_vec();
        if tokens.iter().any(|token| token.name == name) {
            return Err(TokenError::Exists(name.into()));
        }
        if tokens.len() >= MAX_TOKENS {
            return Err(TokenError::Full);
        }
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(TokenError::Random)?;
        let secret = format!("{PREFIX}{}", hex::encode(bytes));
        let mut scopes = scopes.to_vec();
        scopes.sort_unstable();
        scopes.dedup();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let hash = *blake3::hash(secret.as_bytes()).as_bytes();
        tokens.push(Token { name: name.into(), hash, scopes, created: now.as_secs() });
        self.write(tokens)?;
        Ok(secret)
    }

    /// Removes a token, which is refused from now on.
    ///
    /// # Errors
    ///
    /// Fails if no token has this name, or if the file cannot be read or written.
    pub fn revoke(&self, name: &str) -> Result<(), TokenError> {
        let unknown = || TokenError::Unknown(name.into());
        // Where there are no tokens, there need be no folder for a lock.
        if self.list()?.is_empty() {
            return Err(unknown());
        }
        let _lock = self.lock()?;
        let mut tokens = self.list()?.to_vec();
        let count = tokens.len();
        tokens.retain(|token| token.name != name);
        if tokens.len() == count {
            return Err(unknown());
        }
        self.write(tokens)
    }

    /// Returns the token with this secret.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read.
    pub fn find(&self, secret: &str) -> Result<Option<Token>, TokenError> {
        let hash = blake3::hash(secret.as_bytes());
        // The comparison of BLAKE3's hashes takes the same time for all.
        Ok(self.list()?.iter().find(|token| hash == token.hash).cloned())
    }

    /// Waits for the right to change the file, which lasts until the result is dropped. Of two
    /// changes at once, one would bring back what the other removed.
    fn lock(&self) -> Result<fs::File, TokenError> {
        let mut path = self.path.clone();
        path.as_mut_os_string().push(LOCK_SUFFIX);
        let lock = || -> io::Result<fs::File> {
            fs::create_dir_all(self.parent())?;
            let file = fs::File::create(&path)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(self.failed("change"))
    }

    /// Returns the folder of the file.
    fn parent(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// Replaces the file as a whole. Only its owner can read it.
    fn write(&self, tokens: Vec<Token>) -> Result<(), TokenError> {
        let parent = self.parent();
        let write = || -> io::Result<()> {
            fs::create_dir_all(parent)?;
            let mut file = tempfile::NamedTempFile::new_in(parent)?;
            file.write_all(&serde_json::to_vec_pretty(&Content { tokens })?)?;
            file.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
            file.as_file().sync_all()?;
            file.persist(&self.path)?;
            Ok(())
        };
        write().map_err(self.failed("write"))
    }

    fn failed(&self, action: &'static str) -> impl Fn(io::Error) -> TokenError {
        let path = self.path.clone();
        move |source| TokenError::Io { action, path: path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn tokens_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/tokens.json");
        let (writer, server) = (TokenFile::new(&path), TokenFile::new(&path));
        assert!(server.list().unwrap().is_empty());
        let first = writer.add("laptop", &[Scope::Generate, Scope::Read, Scope::Read]).unwrap();
        let second = writer.add("root", &[Scope::Admin]).unwrap();
        let token = server.find(&first).unwrap().unwrap();
        assert_eq!((token.name.as_str(), token.scopes.len()), ("laptop", 2));
        assert!(token.has(Scope::Read) && !token.has(Scope::Train));
        assert!(server.find(&second).unwrap().unwrap().has(Scope::Train));
        assert_eq!(server.find("pol_00").unwrap(), None);
        // The file has no secret, and nobody else reads it.
        let content = fs::read_to_string(&path).unwrap();
        assert!(!content.contains(first.trim_start_matches(PREFIX)));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        writer.revoke("laptop").unwrap();
        assert_eq!(server.find(&first).unwrap(), None);
        assert!(server.find(&second).unwrap().is_some());
    }

    #[test]
    fn changes_at_once_all_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/tokens.json");
        let names: Vec<String> = (0..16).map(|number| number.to_string()).collect();
        // Each of these files is as one of another process.
        let at_once = |change: &(dyn Fn(&TokenFile, &str) + Sync)| {
            thread::scope(|scope| {
                for name in &names {
                    let path = &path;
                    scope.spawn(move || change(&TokenFile::new(path), name));
                }
            });
        };
        let file = TokenFile::new(&path);
        at_once(&|file, name| drop(file.add(name, &[Scope::Read]).unwrap()));
        assert_eq!(file.list().unwrap().len(), names.len());
        file.add("stays", &[Scope::Read]).unwrap();
        at_once(&|file, name| file.revoke(name).unwrap());
        assert_eq!(file.list().unwrap().len(), 1);
    }

    #[test]
    fn a_token_of_no_file_is_revoked_without_making_one() {
        let folder = tempfile::tempdir().unwrap();
        let parent = folder.path().join("new");
        let file = TokenFile::new(&parent.join("tokens.json"));
        assert!(matches!(file.revoke("a"), Err(TokenError::Unknown(_))));
        assert!(!parent.exists());
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.json");
        let file = TokenFile::new(&path);
        let secret = file.add("a", &[Scope::Read]).unwrap();
        for mode in [0o644, 0o640, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = file.find(&secret).unwrap_err().to_string();
            assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(file.find(&secret).unwrap().is_some());
    }

    #[test]
    fn refusals_say_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.json");
        let file = TokenFile::new(&path);
        assert!(matches!(file.add("", &[]), Err(TokenError::Name)));
        assert!(matches!(file.add("a/b", &[]), Err(TokenError::Name)));
        file.add("a", &[Scope::Read]).unwrap();
        assert!(matches!(file.add("a", &[]), Err(TokenError::Exists(_))));
        assert!(matches!(file.revoke("b"), Err(TokenError::Unknown(_))));
        assert!(matches!("write".parse::<Scope>(), Err(TokenError::Scope(_))));
        fs::write(&path, "{\"tokens\": 1}").unwrap();
        assert!(matches!(file.list(), Err(TokenError::Malformed { .. })));
        fs::write(&path, vec![b' '; (MAX_FILE_BYTES + 1) as usize]).unwrap();
        assert!(matches!(file.list(), Err(TokenError::Malformed { .. })));
        let tokens = (0..MAX_TOKENS)
            .map(|number| Token {
                name: number.to_string(),
                hash: [0; 32],
                scopes: Vec::new(),
                created: 0,
            })
            .collect();
        fs::remove_file(&path).unwrap();
        file.write(tokens).unwrap();
        assert!(matches!(file.add("one-more", &[]), Err(TokenError::Full)));
        let nowhere = TokenFile::new(Path::new("/proc/nowhere/tokens.json"));
        assert!(matches!(nowhere.add("a", &[]), Err(TokenError::Io { .. })));
    }
}
