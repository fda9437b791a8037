// SPDX-License-Identifier: Apache-2.0

//! Downloads from servers that break off, lie, and have no end.

use super::server::{Got, Reply, Server, client, missing, options, response};
use pol_sources::http::{DownloadError, Downloaded, FetchError, HttpClient, Request, Stated};
use sha2::{Digest, Sha256};
use std::{fs, path::PathBuf, sync::Mutex};
use url::Url;

const FILE: &[u8] = b"All the world's a stage, and all the men and women merely players.";

fn stated() -> Stated {
    let sha256 = Some(Sha256::digest(FILE).into());
    Stated { bytes: Some(FILE.len() as u64), sha256, max_bytes: 1 << 20 }
}

/// Answers with a part of the file from the byte on that the request names.
fn from_byte(got: &Got) -> Reply {
    let start = (0..=FILE.len()).rev().find(|at| got.has("range", &format!("bytes={at}-")));
    match start {
        None => response("200 OK", "", FILE),
        Some(at) if at >= FILE.len() => response("416 Range Not Satisfiable", "", ""),
        Some(at) => {
            let range = format!("Content-Range: bytes {at}-{}/{}\r\n", FILE.len() - 1, FILE.len());
            response("206 Partial Content", &range, &FILE[at..])
        }
    }
}

/// Breaks off after some bytes of what a reply says.
fn broken(reply: Reply, lost: usize) -> Reply {
    let Reply::Raw(mut bytes) = reply else { return reply };
    bytes.truncate(bytes.len() - lost);
    Reply::Raw(bytes)
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("file")
    }

    async fn fetch(&self, url: Url, stated: &Stated) -> Result<Downloaded, DownloadError> {
        client().download(&Request::new(url), &self.path(), stated, |_| ()).await
    }

    async fn refusal(&self, url: Url, stated: &Stated) -> String {
        let error = self.fetch(url, stated).await.unwrap_err().to_string();
        assert!(!self.path().exists(), "{error}");
        error
    }
}

#[tokio::test]
async fn a_file_appears_whole_and_with_its_digests() {
    let (folder, server) = (Folder::new(), Server::start(|got, _| from_byte(got)).await);
    let watched = Mutex::new(0);
    let request = Request::new(server.url("/f"));
    let watch = |bytes| *watched.lock().unwrap() = bytes;
    let client = client();
    let downloaded = client.download(&request, &folder.path(), &stated(), watch).await.unwrap();
    assert_eq!(downloaded.blake3, *blake3::hash(FILE).as_bytes());
    assert_eq!(Some(downloaded.sha256), stated().sha256);
    assert_eq!((downloaded.bytes, watched.into_inner().unwrap()), (66, 66));
    assert_eq!(fs::read(folder.path()).unwrap(), FILE);
    assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn broken_transfers_are_resumed_if_the_hash_is_known() {
    let server = Server::start(|got, _| match got.lines.contains("range: ") {
        true => from_byte(got),
        false => broken(from_byte(got), 30),
    })
    .await;
    let folder = Folder::new();
    folder.fetch(server.url("/f"), &stated()).await.unwrap();
    assert_eq!(fs::read(folder.path()).unwrap(), FILE);
    assert_eq!(server.paths().len(), 2);
    let unknown = Stated { sha256: None, ..stated() };
    let other = Folder::new();
    assert!(other.refusal(server.url("/f"), &unknown).await.contains("cannot be read"));
}

#[tokio::test]
async fn an_earlier_run_is_continued() {
    let server = Server::start(|got, _| match got.path.as_str() {
        "/whole" => response("200 OK", "", FILE),
        "/other" => {
            response("206 Partial Content", "Content-Range: bytes 7-9/66\r\n", &FILE[7..10])
        }
        _ => from_byte(got),
    })
    .await;
    let (folder, unsized_one) = (Folder::new(), Stated { bytes: None, ..stated() });
    let part = folder.path().with_extension("part");
    for (path, part_before) in
        [("/f", &FILE[..20]), ("/f", FILE), ("/whole", &FILE[..20]), ("/f", &[b'x'; 100][..])]
    {
        fs::write(&part, part_before).unwrap();
        folder.fetch(server.url(path), &stated()).await.unwrap();
        assert_eq!(fs::read(folder.path()).unwrap(), FILE);
        fs::remove_file(folder.path()).unwrap();
    }
    // Parts of something else are dropped, and the next attempt starts anew.
    for (path, part_before, reason) in [
        ("/f", &b"Another text."[..], "SHA-256"),
        ("/other", &FILE[..20], "another part"),
        ("/f", &[b'x'; 66][..], "less of it"),
    ] {
        fs::write(&part, part_before).unwrap();
        let error = folder.refusal(server.url(path), &unsized_one).await;
        assert!(error.contains(reason) && !part.exists(), "{error}");
    }
}

#[tokio::test]
async fn files_that_are_not_as_stated_are_dropped() {
    let server = Server::start(|got, _| match got.path.as_str() {
        "/flood" => Reply::Flood(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
        "/long" => Reply::Raw(
            [&b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"[..], FILE].concat(),
        ),
        "/f" => response("200 OK", "", FILE),
        _ => missing(),
    })
    .await;
    let folder = Folder::new();
    let unknown = Stated { bytes: None, sha256: None, max_bytes: 1 << 20 };
    let small = Stated { max_bytes: 10, ..unknown };
    let short = Stated { bytes: Some(65), sha256: None, ..stated() };
    let long = Stated { bytes: Some(67), sha256: None, ..stated() };
    let wrong = Stated { sha256: Some([7; 32]), ..stated() };
    for (path, stated, reason) in [
        ("/f", &wrong, "SHA-256"),
        ("/f", &short, "larger than allowed"),
        ("/f", &long, "66 bytes, and is said to have 67"),
        ("/f", &small, "larger than allowed"),
        ("/flood", &unknown, "larger than allowed"),
        ("/long", &unknown, "larger than allowed"),
        ("/none", &unknown, "status 404"),
    ] {
        let error = folder.refusal(server.url(path), stated).await;
        assert!(error.contains(reason), "{path}: {error}");
    }
    folder.fetch(server.url("/f"), &stated()).await.unwrap();
}

#[tokio::test]
async fn private_addresses_and_full_disks_are_named() {
    let server = Server::start(|got, _| from_byte(got)).await;
    let guarded = HttpClient::new(pol_sources::http::HttpOptions {
        allowed_hosts: Default::default(),
        ..options()
    });
    let (folder, request) = (Folder::new(), Request::new(server.url("/f")));
    let error = guarded.unwrap().download(&request, &folder.path(), &stated(), |_| ()).await;
    assert!(matches!(error, Err(DownloadError::Fetch(FetchError::Blocked(_)))));
    assert!(server.paths().is_empty());
    let nowhere = folder.0.path().join("none/file");
    let error = client().download(&request, &nowhere, &stated(), |_| ()).await.unwrap_err();
    assert!(matches!(error, DownloadError::Disk(_)), "{error}");
}
