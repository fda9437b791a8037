// SPDX-License-Identifier: Apache-2.0

//! Address of the database, and its tables by version.

use crate::IndexError;
use futures::FutureExt;
use sqlx::{
    AnyConnection, AnyPool, AssertSqlSafe, Connection, Executor, SqlSafeStr,
    any::AnyPoolOptions,
    migrate::{Migration, MigrationType, Migrator},
};
use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    time::Duration,
};
use url::Url;

/// Versions of the tables, oldest first. What was released never changes.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "facts", include_str!("../migrations/0001_facts.sql")),
    (2, "lookups", include_str!("../migrations/0002_lookups.sql")),
    (3, "fees", include_str!("../migrations/0003_fees.sql")),
    (4, "levels", include_str!("../migrations/0004_levels.sql")),
];
/// Number of connections. SQLite has one writer at a time, and readers beside it.
const CONNECTIONS: u32 = 8;
/// Longest wait for a connection to a server.
const SERVER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for a connection to a file, which is never away: its disk may stall for long.
const FILE_TIMEOUT: Duration = Duration::from_secs(120);
/// Setting of an SQLite database: readers do not wait for the writer.
const SQLITE_SETTINGS: &str = "PRAGMA journal_mode = WAL";
/// Settings of each connection to SQLite: a commit is on disk with the next checkpoint, and 64 MiB
/// of pages stay in memory.
const CONNECTION_SETTINGS: &str =
    "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY";
/// Parameter of the URL of a server in which a password can stand.
const PASSWORD: &str = "password";
/// Beginning of the URL of an SQLite database.
const SQLITE: &str = "sqlite";

/// Connects to a database, and makes or completes its tables.
pub(crate) async fn open(address: &str) -> Result<AnyPool, IndexError> {
    connect(parse(address)?).await
}

/// Connects to a database that is there, and completes its tables.
pub(crate) async fn open_existing(address: &str) -> Result<AnyPool, IndexError> {
    let url = parse(address)?;
    match sqlite_file(&url) {
        Some(path) if !path.exists() => Err(IndexError::Missing { path }),
        _ => connect(url).await,
    }
}

async fn connect(url: Url) -> Result<AnyPool, IndexError> {
    sqlx::any::install_default_drivers();
    let is_sqlite = url.scheme() == SQLITE;
    let unreachable =
        |reason| IndexError::Unreachable { url: without_password(url.clone()), reason };
    // A pool would try again for long.
    let mut first = AnyConnection::connect(url.as_str()).await.map_err(unreachable)?;
    if is_sqlite {
        first.execute(sqlx::raw_sql(SQLITE_SETTINGS)).await.map_err(unreachable)?;
    }
    migrate(&mut first, is_sqlite).await?;
    first.close().await?;
    let pool = AnyPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(if is_sqlite { FILE_TIMEOUT } else { SERVER_TIMEOUT })
        .after_connect(move |connection, _| {
            async move {
                if is_sqlite {
                    connection.execute(sqlx::raw_sql(CONNECTION_SETTINGS)).await?;
                }
                Ok(())
            }
            .boxed()
        });
    pool.connect(url.as_str()).await.map_err(unreachable)
}

async fn migrate(connection: &mut AnyConnection, is_sqlite: bool) -> Result<(), IndexError> {
    let migrations = MIGRATIONS.iter().map(|&(version, name, sql)| {
        let sql = if is_sqlite { sql.to_owned() } else { for_postgres(sql) };
        let sql = AssertSqlSafe(sql).into_sql_str();
        Migration::new(version, name.into(), MigrationType::Simple, sql, false)
    });
    let migrator = Migrator::with_migrations(migrations.collect());
    Ok(migrator.run_direct(None, connection, false).await?)
}

/// Returns statements for SQLite in the words of PostgreSQL.
fn for_postgres(sql: &str) -> String {
    sql.replace("BLOB", "BYTEA").replace(" WITHOUT ROWID", "")
}

/// Returns the URL of a database. A path is that of a file for SQLite, which is made if it does
/// not exist.
pub(crate) fn parse(address: &str) -> Result<Url, IndexError> {
    let not_a_database = || match address.parse() {
        Ok(url) => IndexError::NotADatabase { url: without_password(url) },
        Err(_) => IndexError::NotADatabase { url: without_user(address) },
    };
    if address.starts_with("postgres://") || address.starts_with("postgresql://") {
        return address.parse().map_err(|_| not_a_database());
    }
    let path = address.strip_prefix("sqlite:").unwrap_or(address);
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.contains("://") {
        return Err(not_a_database());
    }
    let absolute = std::path::absolute(Path::new(path)).map_err(|_| not_a_database())?;
    let file = Url::from_file_path(absolute).map_err(|()| not_a_database())?;
    format!("sqlite://{}?mode=rwc", file.path()).parse().map_err(|_| not_a_database())
}

/// Returns the file of a database of SQLite, or `None` for one of a server.
pub(crate) fn sqlite_file(url: &Url) -> Option<PathBuf> {
    url.scheme().eq(SQLITE).then(|| path_of(url)).flatten()
}

/// Returns the file that [`parse`] made a URL of.
fn path_of(url: &Url) -> Option<PathBuf> {
    Url::parse(&format!("file://{}", url.path())).ok()?.to_file_path().ok()
}

/// Returns a URL for people and logs.
pub(crate) fn without_password(mut url: Url) -> String {
    if url.password().is_some() {
        // It fails only for URLs that cannot have a password.
        let _ = url.set_password(Some("…"));
    }
    if url.query_pairs().any(|(name, _)| name == PASSWORD) {
        let others: Vec<(String, String)> =
            url.query_pairs().filter(|(name, _)| name != PASSWORD).map(owned).collect();
        url.query_pairs_mut().clear().extend_pairs(others).append_pair(PASSWORD, "…");
    }
    url.into()
}

fn owned((name, value): (Cow<'_, str>, Cow<'_, str>)) -> (String, String) {
    (name.into_owned(), value.into_owned())
}

/// Returns an address that is no URL, for people and logs. A user and a password end with the last
/// `@`, whatever letters they have.
fn without_user(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((_, place)) => format!("…@{place}"),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_files_of_sqlite() {
        for address in ["/a b/index.db", "sqlite:/a b/index.db", "sqlite:///a b/index.db"] {
            assert_eq!(parse(address).unwrap().as_str(), "sqlite:///a%20b/index.db?mode=rwc");
        }
        assert!(parse("index#1?.db").unwrap().path().ends_with("/index%231%3F.db"));
        let path = path_of(&parse("/a b/index#1?.db").unwrap());
        assert_eq!(path, Some("/a b/index#1?.db".into()));
        let postgres = "postgres://user@localhost:5433/pol";
        assert_eq!(parse(postgres).unwrap().as_str(), postgres);
    }

    #[test]
    fn other_addresses_are_refused_without_their_password() {
        for address in [
            "",
            "mysql://user:secret@localhost/pol",
            "mysql://localhost/pol?user=a&password=secret",
            "postgres://user:secret@[",
            "postgres://user:sec/@ret@localhost:port/pol",
            "postgres://[",
            "http://x/y",
        ] {
            let error = parse(address).unwrap_err().to_string();
            assert!(error.contains("postgres://") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn addresses_keep_all_but_their_password() {
        let shown = |address: &str| without_password(parse(address).unwrap());
        let plain = "postgres://user@localhost/pol?sslmode=require";
        assert_eq!(shown(plain), plain);
        let hidden = shown("postgres://user:secret@localhost/pol?password=secret&sslmode=require");
        assert!(!hidden.contains("secret"), "{hidden}");
        assert!(hidden.starts_with("postgres://user:") && hidden.contains("sslmode=require"));
    }

    #[test]
    fn postgres_has_its_own_words() {
        let sql = for_postgres("CREATE TABLE a (b BLOB NOT NULL) WITHOUT ROWID;");
        assert_eq!(sql, "CREATE TABLE a (b BYTEA NOT NULL);");
    }
}
