// SPDX-License-Identifier: Apache-2.0

//! Listed files from a server and from the disk.

use super::server::{Filled, Reply, Server, client, missing, options, response, run};
use indicatif::ProgressBar;
use pol_sources::{
    End, FillOptions, Source, SourceError, Step,
    files::{FileList, FilePlace, FileSource, ListedFile, Members},
    fill,
    http::{HttpClient, HttpOptions, Stated},
};
use sha2::{Digest, Sha256};
use std::{fs, future::pending, io::Write as _, path::PathBuf};

const ROWS: &str =
    "{\"tale\": \"One.\", \"license\": \"CC0-1.0\"}\n{\"tale\": \"Two.\"}\n{\"x\": 1}\n";

fn stated(bytes: &[u8]) -> Stated {
    let sha256 = Some(Sha256::digest(bytes).into());
    Stated { bytes: Some(bytes.len() as u64), sha256, max_bytes: 1 << 20 }
}

/// Texts of archives.
const TEXTS: [(&str, &str); 3] =
    [("a/1.txt", "First."), ("README.txt", "Read me."), ("b.md", "Second.")];

fn zip() -> Vec<u8> {
    let mut archive = rawzip::ZipArchiveWriter::new(Vec::new());
    for (name, text) in TEXTS {
        let (mut entry, config) = archive.new_file(name).start().unwrap();
        let mut stored = config.wrap(&mut entry);
        stored.write_all(text.as_bytes()).unwrap();
        let (_, descriptor) = stored.finish().unwrap();
        entry.finish(descriptor).unwrap();
    }
    archive.finish().unwrap()
}

fn archive() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, text) in TEXTS {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}

async fn server() -> Server {
    Server::start(|got, _| match got.path.as_str() {
        "/rows.jsonl" => response("200 OK", "", ROWS),
        "/texts.tar" => response("200 OK", "", archive()),
        "/texts.zip" => response("200 OK", "", zip()),
        "/book" => response("200 OK", "", "A text. ".repeat(400_000)),
        _ => missing(),
    })
    .await
}

fn on_the_web(server: &Server, path: &str, stated: Stated) -> ListedFile {
    ListedFile {
        location: server.url(path).into(),
        place: FilePlace::Web(server.url(path)),
        media: None,
        stated,
        members: Members::default(),
    }
}

fn list(files: Vec<ListedFile>) -> FileList {
    FileList {
        source: "croissant/tales".into(),
        licence: Some("CC-BY-4.0".into()),
        signals: vec!["prov:wasDerivedFrom: urn:x".into()],
        text_fields: vec!["tale".into()],
        files,
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn cache(&self) -> PathBuf {
        self.0.path().join("cache")
    }

    fn source(&self, list: FileList) -> FileSource {
        FileSource::new(list, Some(client()), self.cache(), ProgressBar::hidden())
    }

    async fn run(&self, list: FileList) -> Filled {
        run(&mut self.source(list)).await
    }

    async fn error(&self, list: FileList) -> String {
        let mut source = self.source(list);
        loop {
            match source.next().await {
                Ok(Step::Batch(_)) => {}
                Ok(step) => panic!("{step:?}"),
                Err(error) => return error.to_string(),
            }
        }
    }
}

fn texts(filled: &Filled) -> Vec<&str> {
    filled.documents.iter().map(|document| std::str::from_utf8(&document.bytes).unwrap()).collect()
}

#[tokio::test]
async fn rows_have_the_licence_and_the_parents_of_the_list() {
    let (folder, server) = (Folder::new(), server().await);
    let rows = on_the_web(&server, "/rows.jsonl", stated(ROWS.as_bytes()));
    let filled = folder.run(list(vec![rows])).await;
    assert_eq!((texts(&filled), filled.refused.len()), (vec!["One.", "Two."], 1));
    assert_eq!(filled.end, End::Done);
    let [first, second] = &filled.documents[..] else { panic!("two rows") };
    assert_eq!(first.origin.licence.as_deref(), Some("CC0-1.0"));
    assert_eq!(second.origin.licence.as_deref(), Some("CC-BY-4.0"));
    assert_eq!(second.origin.signals, ["prov:wasDerivedFrom: urn:x"]);
    assert_eq!(second.origin.location, server.url("/rows.jsonl").as_str());
    assert_eq!(second.origin.part, ["line 2"]);
    assert!(second.origin.fetched > Some(1_700_000_000));
    assert_eq!(fs::read_dir(folder.cache()).unwrap().count(), 0, "downloads are deleted");
}

#[tokio::test]
async fn chosen_members_of_an_archive_are_read() {
    let (folder, server) = (Folder::new(), server().await);
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let members = Members::parse(&names(&["*.txt"]), &names(&["README*"])).unwrap();
    for (path, bytes) in [("/texts.tar", archive()), ("/texts.zip", zip())] {
        let whole = on_the_web(&server, path, stated(&bytes));
        let chosen = ListedFile { members: members.clone(), ..whole.clone() };
        assert_eq!(texts(&folder.run(list(vec![chosen])).await), ["First."]);
        assert_eq!(texts(&folder.run(list(vec![whole])).await), ["First.", "Read me.", "Second."]);
    }
    let malformed = Members::parse(&names(&["a***"]), &[]);
    assert!(matches!(malformed, Err(SourceError::InvalidOption(_))));
}

#[tokio::test]
async fn a_long_text_is_one_document() {
    let (folder, server) = (Folder::new(), server().await);
    let unknown = Stated { bytes: None, sha256: None, max_bytes: 1 << 30 };
    let book = on_the_web(&server, "/book", unknown);
    let filled = folder.run(list(vec![book])).await;
    assert_eq!((filled.documents.len(), filled.totals.bytes), (1, 3_200_000));
}

#[tokio::test]
async fn files_on_the_disk_are_read_where_they_are() {
    let folder = Folder::new();
    let path = folder.0.path().join("rows.jsonl");
    fs::write(&path, ROWS).unwrap();
    let file = |stated| ListedFile {
        location: "rows.jsonl".into(),
        place: FilePlace::Disk(path.clone()),
        media: None,
        stated,
        members: Members::default(),
    };
    let filled = folder.run(list(vec![file(stated(ROWS.as_bytes()))])).await;
    assert_eq!(texts(&filled), ["One.", "Two."]);
    assert_eq!(filled.documents[0].origin.fetched, None);
    assert!(path.exists());
    let error = folder.error(list(vec![file(stated(b"other"))])).await;
    assert!(error.contains("rows.jsonl: it has"), "{error}");
    fs::remove_file(&path).unwrap();
    assert!(folder.error(list(vec![file(stated(b""))])).await.contains("No such file"));
}

#[tokio::test]
async fn a_file_that_is_not_as_stated_ends_the_source() {
    let (folder, server) = (Folder::new(), server().await);
    let rows = on_the_web(&server, "/rows.jsonl", stated(ROWS.as_bytes()));
    for (path, stated, reason) in [
        ("/rows.jsonl", Stated { sha256: Some([1; 32]), ..stated(ROWS.as_bytes()) }, "SHA-256"),
        ("/rows.jsonl", stated(b"short"), "larger than allowed"),
        ("/none", stated(b"x"), "status 404"),
    ] {
        let wrong = on_the_web(&server, path, stated);
        let error = folder.error(list(vec![rows.clone(), wrong])).await;
        assert!(error.contains(reason) && error.contains(path), "{error}");
    }
    let no_client = FileSource::new(list(vec![rows]), None, folder.cache(), ProgressBar::hidden());
    let mut no_client = no_client;
    assert!(no_client.next().await.unwrap_err().to_string().contains("no client"));
}

#[tokio::test]
async fn a_killed_run_goes_on_behind_its_cursor() {
    let server = Server::start(|got, _| {
        let rows = |name: &str| -> String {
            (0..2_000).map(|row| format!("{{\"tale\": \"{name} {row}.\"}}\n")).collect()
        };
        match got.path.as_str() {
            "/a.jsonl" => response("200 OK", "", rows("a")),
            "/b.jsonl" => response("200 OK", "", rows("b")),
            _ => Reply::Nothing,
        }
    })
    .await;
    let unknown = Stated { bytes: None, sha256: None, max_bytes: 1 << 20 };
    let files =
        || list(["/a.jsonl", "/b.jsonl"].map(|path| on_the_web(&server, path, unknown)).into());
    let folder = Folder::new();
    let expected = folder.run(files()).await;
    assert_eq!(expected.documents.len(), 4_000);
    let mut whole = folder.source(files());
    let mut before = 0;
    while let Step::Batch(batch) = whole.next().await.unwrap() {
        before += batch.documents.len();
        let other = Folder::new();
        let mut resumed = other.source(files());
        resumed.resume(whole.cursor()).unwrap();
        let rest = run(&mut resumed).await;
        let rest: Vec<_> = rest.documents.iter().map(|document| &document.bytes).collect();
        let missing = expected.documents[before..].iter().map(|document| &document.bytes);
        assert!(missing.eq(rest.iter().copied()), "{before}");
    }
    let mut others = folder.source(FileList { text_fields: Vec::new(), ..files() });
    assert!(others.resume(whole.cursor()).unwrap_err().contains("other fields"));
    assert!(others.resume(serde_json::json!(7)).is_err());
}

#[tokio::test]
async fn the_budget_of_the_client_ends_a_run_early() {
    let (folder, server) = (Folder::new(), server().await);
    let options = HttpOptions { budget_bytes: Some(100), ..options() };
    let client = HttpClient::new(options).unwrap();
    let file = on_the_web(&server, "/texts.tar", stated(&archive()));
    let mut source =
        FileSource::new(list(vec![file]), Some(client), folder.cache(), ProgressBar::hidden());
    let mut memory = super::server::Memory::default();
    let options = FillOptions::default();
    let end = fill(&mut source, &mut memory, &options, &(), pending()).await.unwrap();
    assert_eq!((end.0, memory.documents.len()), (End::Budget, 0));
}
