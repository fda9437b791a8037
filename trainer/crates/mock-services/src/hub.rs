// SPDX-License-Identifier: Apache-2.0

//! Hub of data sets over files that its user makes. The shapes are those of the hub's
//! documentation: *Hub API Endpoints*, and *List Parquet files* of the dataset viewer.

use crate::{Request, Response, Server};
use flate2::{Compression, write::GzEncoder};
use parquet::{
    basic::Compression as ParquetCompression,
    data_type::{ByteArray, ByteArrayType, Int64Type},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use sha2::Sha256;
use std::{
    collections::BTreeMap,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Commit of the main branch.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// Commit of the branch of conversions.
pub const CONVERTED: &str = "89abcdef0123456789abcdef0123456789abcdef";

/// A data set and the behaviour of its hub.
#[derive(Clone)]
pub struct HubData {
    /// Name on the hub.
    pub id: String,
    /// Metadata of its card.
    pub card: Value,
    /// Way in which the hub gates it: `false`, `"auto"`, or `"manual"`.
    pub gated: Value,
    /// Token that requests need.
    pub token: Option<&'static str>,
    /// Files by path, of each commit.
    pub files: BTreeMap<(&'static str, String), Vec<u8>>,
    /// Answer of the API that lists Parquet files.
    pub parquet: Value,
    /// Entries of a page of a listing.
    pub page: usize,
    /// Changes the listing of a file.
    pub lie: fn(&mut Value),
    /// Number of requests for files that break off or are refused first.
    pub broken: Arc<AtomicUsize>,
    /// Status of these, or zero for a transfer that breaks off.
    pub broken_status: u16,
    /// The server ignores ranges.
    pub ignores_ranges: bool,
}

impl Default for HubData {
    fn default() -> Self {
        Self {
            id: "org/set".to_owned(),
            card: json!({"license": "mit"}),
            gated: json!(false),
            token: None,
            files: BTreeMap::new(),
            parquet: json!({}),
            page: 1000,
            lie: |_| {},
            broken: Arc::default(),
            broken_status: 0,
            ignores_ranges: false,
        }
    }
}

impl HubData {
    /// Adds a file to the main branch.
    #[must_use]
    pub fn file(mut self, path: &str, bytes: Vec<u8>) -> Self {
        self.files.insert((COMMIT, path.into()), bytes);
        self
    }

    /// Adds a file to the branch of conversions.
    #[must_use]
    pub fn converted(mut self, path: &str, bytes: Vec<u8>) -> Self {
        self.files.insert((CONVERTED, path.into()), bytes);
        self
    }

    /// Serves the data set until the process ends.
    ///
    /// # Panics
    ///
    /// Panics if no port is free.
    #[must_use]
    pub fn start(self) -> Server {
        Server::start(move |request| self.answer(request))
    }

    /// Answers a request.
    #[must_use]
    pub fn answer(&self, request: &Request) -> Response {
        let authorization = self.token.map(|token| format!("Bearer {token}"));
        let path = request.path.split('?').next().unwrap_or_default();
        if authorization.as_deref().is_some_and(|is| request.header("authorization") != Some(is)) {
            return Response::new(401, "{\"error\":\"Access is restricted\"}");
        }
        let id = &self.id;
        let revisions = [
            ("main", COMMIT),
            (COMMIT, COMMIT),
            ("refs%2Fconvert%2Fparquet", CONVERTED),
            (CONVERTED, CONVERTED),
        ];
        for (name, commit) in revisions {
            if path == format!("/api/datasets/{id}/revision/{name}") {
                let card = if commit == COMMIT { &self.card } else { &Value::Null };
                return Response::json(&json!({
                    "_id": "0", "id": id, "sha": commit, "gated": self.gated,
                    "disabled": false, "cardData": card,
                }));
            }
            let tree = format!("/api/datasets/{id}/tree/{name}");
            if let Some(folder) = path.strip_prefix(&tree) {
                let folder = folder.trim_start_matches('/').replace("%20", " ");
                return self.list(request, commit, &folder);
            }
            let files = format!("/datasets/{id}/resolve/{name}/");
            if let Some(file) = path.strip_prefix(&files) {
                return self.send(request, commit, &file.replace("%20", " "));
            }
        }
        if path == format!("/api/datasets/{id}/parquet") {
            return Response::json(&self.parquet);
        }
        Response::new(404, "{\"error\":\"Repository not found\"}")
    }

    /// Lists files below a folder, a page at a time.
    fn list(&self, request: &Request, commit: &str, folder: &str) -> Response {
        let entries: Vec<Value> = self
            .files
            .iter()
            .filter(|((at, path), _)| *at == commit && path.starts_with(folder))
            .map(|((_, path), bytes)| self.entry(path, bytes))
            .collect();
        let start: usize = request.parameter("cursor").map_or(0, |at| at.parse().unwrap());
        let end = entries.len().min(start + self.page);
        let response = Response::json(&Value::from(&entries[start..end]));
        if end == entries.len() {
            return response;
        }
        let path = request.path.split("&cursor=").next().unwrap();
        // A mirror hands on the address that the hub itself names.
        let link = format!("<https://other.example{path}&cursor={end}>; rel=\"next\"");
        response.with("Link", link)
    }

    fn entry(&self, path: &str, bytes: &[u8]) -> Value {
        let hexadecimal =
            |digest: &[u8]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let blob = Sha1::new().chain_update(format!("blob {}\0", bytes.len()));
        let oid = hexadecimal(&blob.chain_update(bytes).finalize());
        let mut entry = json!({"type": "file", "oid": oid, "size": bytes.len(), "path": path});
        if path.ends_with(".parquet") || path.ends_with(".zst") || path.ends_with(".gz") {
            let oid = hexadecimal(&Sha256::digest(bytes));
            entry["lfs"] = json!({"oid": oid, "size": bytes.len(), "pointerSize": 134});
        }
        (self.lie)(&mut entry);
        entry
    }

    fn send(&self, request: &Request, commit: &'static str, path: &str) -> Response {
        let Some(bytes) = self.files.get(&(commit, path.to_owned())) else {
            return Response::new(404, "Entry not found");
        };
        let range = request.header("range").filter(|_| !self.ignores_ranges);
        let range = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let mut response = match range {
            None => Response::new(200, bytes.clone()),
            Some((from, to)) => {
                let from: usize = from.parse().unwrap();
                if from >= bytes.len() {
                    return Response::new(416, "");
                }
                let to = to.parse().unwrap_or(bytes.len() - 1).min(bytes.len() - 1);
                let range = format!("bytes {from}-{to}/{}", bytes.len());
                Response::new(206, &bytes[from..=to]).with("Content-Range", range)
            }
        };
        let less = |left: usize| left.checked_sub(1);
        let is_broken = self.broken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        if is_broken.is_ok() {
            match self.broken_status {
                0 => response.cut = Some(response.body.len() / 2),
                status => return Response::new(status, "").with("Retry-After", "0"),
            }
        }
        response
    }
}

/// Returns a Parquet file with the columns `id`, `text` and `title`, of which the texts may be
/// null, in row groups of `group` rows.
///
/// # Panics
///
/// Panics if a group has no rows.
#[must_use]
pub fn parquet(texts: &[Option<&str>], group: usize) -> Vec<u8> {
    let schema = "message schema { REQUIRED INT64 id; OPTIONAL BYTE_ARRAY text (UTF8);
        REQUIRED BYTE_ARRAY title (UTF8); }";
    let properties = WriterProperties::builder()
        .set_compression(ParquetCompression::SNAPPY)
        .set_dictionary_enabled(false)
        .build();
    let mut file = Vec::new();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(&mut file, schema, Arc::new(properties)).unwrap();
    for (number, texts) in texts.chunks(group).enumerate() {
        let mut rows = writer.next_row_group().unwrap();
        let ids: Vec<i64> = (0..texts.len()).map(|row| (number * group + row) as i64).collect();
        let mut column = rows.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&ids, None, None).unwrap();
        column.close().unwrap();
        let values: Vec<ByteArray> = texts.iter().flatten().map(|&text| text.into()).collect();
        let levels: Vec<i16> = texts.iter().map(|text| text.is_some().into()).collect();
        let mut column = rows.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
        column.close().unwrap();
        let titles: Vec<ByteArray> =
            ids.iter().map(|id| format!("Title {id}").as_str().into()).collect();
        let mut column = rows.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&titles, None, None).unwrap();
        column.close().unwrap();
        rows.close().unwrap();
    }
    writer.close().unwrap();
    file
}

/// Returns bytes compressed with gzip.
///
/// # Panics
///
/// Never: writing to memory does not fail.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
