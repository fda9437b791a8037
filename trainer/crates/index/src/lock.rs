// SPDX-License-Identifier: Apache-2.0

//! Right to fill an index, which one process has at a time.

use crate::{IndexError, schema};
use sqlx::{Any, AnyConnection, Connection};
use std::{
    fs::{File, TryLockError},
    path::PathBuf,
    sync::Mutex,
};

/// Lock of PostgreSQL by which followers of one database find each other: the letters `pol_indx`.
const TRY_LOCK: &str = "SELECT pg_try_advisory_lock(8101813411709346936)";
/// End of the name of the file that is locked beside a file of SQLite.
const SUFFIX: &str = ".lock";

/// Right to fill an index. It lasts until the value is dropped, or the process ends.
pub struct WriterLock {
    _held: Held,
}

/// Holder of the lock, for as long as it is open.
enum Held {
    /// File beside that of SQLite.
    File { _file: File },
    /// Connection to a server. Nobody uses it, and the mutex lets it be shared.
    Session { _connection: Mutex<AnyConnection> },
}

impl WriterLock {
    /// Takes the right to fill the index at an address, as [`Index::open`](crate::Index::open) has
    /// it. Returns `None` if another process has it.
    ///
    /// # Errors
    ///
    /// Fails with [`IndexError::NotADatabase`] for another address, and with
    /// [`IndexError::Lock`] or [`IndexError::Unreachable`] if the lock cannot be asked for.
    pub async fn take(address: &str) -> Result<Option<Self>, IndexError> {
        let url = schema::parse(address)?;
        if let Some(path) = schema::sqlite_file(&url) {
            return Ok(lock_beside(path)?.map(|file| Self { _held: Held::File { _file: file } }));
        }
        let unreachable =
            |reason| IndexError::Unreachable { url: schema::without_password(url.clone()), reason };
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(url.as_str()).await.map_err(unreachable)?;
        let is_taken: bool =
            sqlx::query_scalar::<Any, bool>(TRY_LOCK).fetch_one(&mut connection).await?;
        let held = Held::Session { _connection: Mutex::new(connection) };
        Ok(is_taken.then_some(Self { _held: held }))
    }

    /// Takes the right to fill the index at an address.
    ///
    /// # Errors
    ///
    /// Fails as [`Self::take`] does, and with [`IndexError::Taken`] if another process has it.
    pub async fn require(address: &str) -> Result<Self, IndexError> {
        let lock = Self::take(address).await?;
        let url = schema::without_password(schema::parse(address)?);
        lock.ok_or(IndexError::Taken { url })
    }
}

/// Locks the file beside a database, or returns `None` if another process has locked it.
fn lock_beside(mut path: PathBuf) -> Result<Option<File>, IndexError> {
    path.as_mut_os_string().push(SUFFIX);
    let failed = |reason| IndexError::Lock { path: path.clone(), reason };
    let file = File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(reason)) => Err(failed(reason)),
    }
}
