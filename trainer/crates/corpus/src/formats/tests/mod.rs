// SPDX-License-Identifier: Apache-2.0

//! Tests of all formats through [`Documents`], on files that the tests make.

mod archives;
mod bounds;
mod tables;
mod text;
mod warc;
mod zip;

use std::io::Write as _;

use super::*;

/// End of the reason for which reading ends behind a document.
const ONE_KEPT: &str = " (documents before it, which are kept: 1)";

fn input(location: &str, bytes: impl Into<Vec<u8>>) -> Input {
    let origin = Origin { source: "files".into(), location: location.into(), ..Origin::default() };
    Input { origin, media: None, content: Content::Bytes(bytes.into()) }
}

/// Reads an input of which all that is no error is expected.
fn read_with(input: Input, options: &ReadOptions) -> Vec<Result<Document, Refusal>> {
    Documents::open(input, options).unwrap().map(Result::unwrap).collect()
}

fn read(location: &str, bytes: impl Into<Vec<u8>>) -> Vec<Result<Document, Refusal>> {
    read_with(input(location, bytes), &ReadOptions::default())
}

/// Places of documents within the input, and of refusals behind an exclamation mark.
fn places(items: &[Result<Document, Refusal>]) -> Vec<String> {
    items
        .iter()
        .map(|item| match item {
            Ok(document) => document.origin.part.join(" > "),
            Err(refusal) => format!("!{}", refusal.origin.part.join(" > ")),
        })
        .collect()
}

/// Texts of documents, and reasons of refusals behind an exclamation mark.
fn shown(items: Vec<Result<Document, Refusal>>) -> Vec<String> {
    items
        .into_iter()
        .map(|item| {
            item.map_or_else(|refusal| format!("!{}", refusal.reason), |document| document.text)
        })
        .collect()
}

fn texts(location: &str, bytes: impl Into<Vec<u8>>) -> Vec<String> {
    shown(read(location, bytes))
}

/// Reason of the only item, which has to be a refusal.
fn reason(location: &str, bytes: impl Into<Vec<u8>>) -> String {
    let mut items = read(location, bytes);
    assert_eq!(items.len(), 1, "{items:?}");
    items.remove(0).unwrap_err().reason
}

fn hash(bytes: &[u8]) -> Hash {
    blake3::hash(bytes).into()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 3).unwrap()
}

fn utf_16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

/// Reader that gives some bytes and then fails.
struct Failing(Cursor<Vec<u8>>);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::other("unplugged")),
            read => Ok(read),
        }
    }
}

#[test]
fn a_disk_that_fails_is_an_error() {
    let failing = |bytes: &[u8]| {
        let content = Content::Stream(Box::new(Failing(Cursor::new(bytes.to_vec()))));
        let input = Input { content, ..input("pipe", "") };
        Documents::open(input, &ReadOptions::default()).unwrap().collect::<Vec<_>>()
    };
    let jsonl = b"{\"text\": \"One.\"}\n{\"text\"";
    let mut tar = archives::tar(&[("a.txt", b"One.")]);
    tar.truncate(1_024);
    for bytes in [&b"One."[..], jsonl, &gzip(b"One."), &zst(b"One."), &tar] {
        let items = failing(bytes);
        let error = items.last().unwrap().as_ref().unwrap_err().to_string();
        assert!(error.contains("cannot read pipe: unplugged"), "{error}");
        assert_eq!(items.iter().filter(|item| item.is_err()).count(), 1);
    }
    assert!(matches!(&failing(jsonl)[0], Ok(Ok(document)) if document.text == "One."));
}

#[test]
fn files_that_are_not_there_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    for (path, expected) in [(folder.path().join("none"), "open"), (folder.path().into(), "read")] {
        let input = Input { content: Content::File(path), ..input("x", "") };
        let error = Documents::open(input, &ReadOptions::default()).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn inputs_are_sorted_and_hidden_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("books");
    for (name, content) in [
        ("b.txt", "B"),
        ("a/2.txt", "A2"),
        ("a/10.txt", "A10"),
        ("._b.txt", "macOS"),
        (".git/config", "x"),
        ("__MACOSX/b.txt", "x"),
    ] {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink("nowhere", root.join("dead.txt")).unwrap();
    let paths = [root.clone(), root.join("b.txt"), root.join(".git/config")];
    let found: Vec<_> = inputs(&paths)
        .map(|item| match item.unwrap() {
            Ok(input) => input.origin.location,
            Err(refusal) => format!("!{} {}", refusal.origin.location, refusal.reason),
        })
        .collect();
    let hidden = |name: &str| format!("!books/{name} hidden; name it on its own if it is meant");
    let macos = |name: &str| format!("!books/{name} metadata that macOS keeps beside a file");
    let mut expected = vec![
        macos("._b.txt"),
        hidden(".git"),
        macos("__MACOSX"),
        "books/a/10.txt".into(),
        "books/a/2.txt".into(),
        "books/b.txt".into(),
        "b.txt".into(),
        "config".into(),
    ];
    if cfg!(unix) {
        let dead = "!books/dead.txt a link to something that is not there".to_owned();
        expected.insert(6, dead);
    }
    assert_eq!(found, expected);
}

#[test]
fn standard_input_is_read_once() {
    let paths = ["-".into(), "-".into()];
    let mut found = inputs(&paths);
    assert!(matches!(found.next(), Some(Ok(Ok(Input { content: Content::Stream(_), .. })))));
    let error = found.next().unwrap().unwrap_err().to_string();
    assert!(error.contains("named twice"), "{error}");
    let missing = ["/nowhere/at/all".into()];
    assert!(inputs(&missing).next().unwrap().is_err());
}

#[cfg(unix)]
#[test]
fn what_cannot_be_read_in_a_folder_is_left_out() {
    use std::os::unix::{fs::PermissionsExt as _, fs::symlink, net::UnixListener};

    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("texts");
    let path = |name: &str| root.join(name);
    std::fs::create_dir(&root).unwrap();
    std::fs::write(path("a.txt"), "A text.").unwrap();
    symlink(&root, path("back")).unwrap();
    symlink("loop-2", path("loop-1")).unwrap();
    symlink("loop-1", path("loop-2")).unwrap();
    symlink("/dev/zero", path("device")).unwrap();
    let _socket = UnixListener::bind(path("socket")).unwrap();
    let deep = "folder/".repeat(65);
    std::fs::create_dir_all(path(&deep)).unwrap();
    std::fs::write(path(&format!("{}z.txt", "folder/".repeat(63))), "A deep text.").unwrap();
    std::fs::write(path("locked.txt"), "Another text.").unwrap();
    let locked = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(path("locked.txt"), locked).unwrap();
    // The superuser reads all files.
    let is_locked = File::open(path("locked.txt")).is_err();
    let paths = [root.clone()];
    let found: Vec<_> = inputs(&paths).map(Result::unwrap).collect();
    let count = found.iter().filter(|item| item.is_ok()).count();
    assert_eq!(count, if is_locked { 2 } else { 3 });
    for (name, reason) in [
        ("back", "leads back to texts"),
        ("loop-1", "cannot be read: "),
        ("loop-2", "cannot be read: "),
        ("device", "neither a file nor a folder"),
        ("socket", "neither a file nor a folder"),
        ("folder/", "over 64 folders deep"),
    ] {
        let is_it =
            |refusal: &&Refusal| refusal.origin.location.starts_with(&format!("texts/{name}"));
        let refusal = found.iter().filter_map(|item| item.as_ref().err()).find(is_it).unwrap();
        assert!(refusal.reason.contains(reason), "{refusal:?}");
        assert!(!refusal.reason.contains(root.to_str().unwrap()), "{refusal:?}");
    }
    for name in ["device", "socket"] {
        let error = inputs(&[path(name)]).next().unwrap().unwrap_err().to_string();
        assert!(error.contains("is a device or socket; name files"), "{error}");
    }
    assert!(inputs(&[path("loop-1")]).next().unwrap().is_err());
}

#[cfg(target_os = "linux")]
#[test]
fn pipes_are_read_by_their_name() {
    use std::os::fd::AsRawFd as _;

    for (bytes, expected) in [(b"One.".to_vec(), 1), (tables::sample(), 3), (gzip(b"One."), 1)] {
        let (reader, mut writer) = io::pipe().unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", reader.as_raw_fd()));
        let thread = std::thread::spawn(move || {
            for byte in bytes {
                writer.write_all(&[byte]).unwrap();
            }
        });
        let input = inputs(&[path]).next().unwrap().unwrap().unwrap();
        assert_eq!(read_with(input, &ReadOptions::default()).len(), expected);
        thread.join().unwrap();
    }
}
