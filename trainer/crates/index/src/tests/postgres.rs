// SPDX-License-Identifier: Apache-2.0

//! A private PostgreSQL server in a folder of its own, without a port.

use crate::Index;
use std::{
    fs,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// User `nobody`, since the server does not run as root.
const NOBODY: u32 = 65_534;
/// Longest wait for the server.
const START_TIMEOUT: Duration = Duration::from_secs(300);
/// Name of the socket's file that the server makes.
const SOCKET: &str = ".s.PGSQL.5432";

/// Server that ends with the test.
pub(super) struct Server {
    folder: tempfile::TempDir,
    process: Child,
}

impl Server {
    /// Starts a server with an empty cluster.
    pub(super) fn start() -> Self {
        let (programs, folder) = (programs(), tempfile::tempdir().unwrap());
        let is_root = fs::metadata(folder.path()).unwrap().uid() == 0;
        if is_root {
            std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let command = |name: &str| {
            let mut command = Command::new(programs.join(name));
            command.current_dir(folder.path()).stdin(Stdio::null());
            if is_root {
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        };
        let cluster = folder.path().join("cluster");
        let made = command("initdb")
            .args(["--auth", "trust", "--username", "pol", "--encoding", "UTF8", "--no-sync"])
            .args(["--locale", "C", "--pgdata"])
            .arg(&cluster)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let process = command("postgres")
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-k"])
            .arg(folder.path())
            .arg("-D")
            .arg(&cluster)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Self { folder, process };
        server.wait();
        server
    }

    fn wait(&self) {
        let (end, log) = (Instant::now() + START_TIMEOUT, self.folder.path().join("log"));
        let is_ready = || {
            let log = fs::read_to_string(&log).unwrap_or_default();
            log.contains("ready to accept connections") && self.folder.path().join(SOCKET).exists()
        };
        while !is_ready() {
            let log = fs::read_to_string(&log).unwrap_or_default();
            assert!(Instant::now() < end, "PostgreSQL does not start: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Makes an empty database, and returns its URL.
    pub(super) async fn database(&self, name: &str) -> String {
        // Names have at most 63 bytes.
        let name = &name[..name.len().min(60)];
        sqlx::any::install_default_drivers();
        let pool = sqlx::AnyPool::connect(&self.url("postgres")).await.unwrap();
        let sql = format!("CREATE DATABASE {name}");
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap();
        pool.close().await;
        self.url(name)
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://pol@localhost/{database}?host={}", self.folder.path().display())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the folder with the newest server's programs.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let folders = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    let installed = folders.filter(|folder| folder.join("initdb").exists());
    let number = |folder: &PathBuf| {
        let version = folder.parent().and_then(Path::file_name)?.to_str()?;
        version.parse::<u32>().ok()
    };
    installed.max_by_key(number).expect(
        "PostgreSQL is not installed, and this test needs it: run scripts/setup.sh, or \
         apt install postgresql",
    )
}

#[tokio::test]
async fn a_server_that_is_away_is_named_without_its_password() {
    let address = "postgres://pol:secret@localhost/pol?host=/nowhere";
    let error = Index::open(address).await.unwrap_err().to_string();
    assert!(error.contains("localhost") && !error.contains("secret"), "{error}");
}
