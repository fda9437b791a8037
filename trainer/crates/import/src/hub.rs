//! Checkpoints from a hub that speaks the Hugging Face hub's HTTP.
//!
//! A revision is resolved to its commit once; files are fetched by that commit, resumed where a
//! download broke off, checked against the size and SHA-256 that the hub states, and kept: a commit
//! never changes. The hub chooses no path: names of files are known or plain, the commit is
//! hexadecimal.

use crate::{
    ImportError,
    folder::{
        CONFIG_FILE, INDEX_FILE, MAX_TEXT, TOKENIZER_FILE, WEIGHTS_FILE, is_plain, parse_index,
    },
};
use indicatif::ProgressBar;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{
    env, fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};
use ureq::{Agent, Body, config::RedirectAuthHeaders, http::Response};

const ENDPOINT: &str = "https://huggingface.co";
const REVISION: &str = "main";
/// Files beside the weights, and whether a checkpoint must have them.
const COMPANIONS: [(&str, bool); 7] = [
    (CONFIG_FILE, true),
    (TOKENIZER_FILE, false),
    ("vocab.json", false),
    ("merges.txt", false),
    ("tokenizer_config.json", false),
    ("generation_config.json", false),
    ("chat_template.jinja", false),
];
/// How often a download that broke off is taken up again.
const RETRIES: u32 = 4;
/// Bytes read at a time.
const CHUNK: usize = 1 << 18;

/// A model on a hub: `organisation/name`, or `organisation/name@revision` with a branch, tag or
/// commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubId {
    name: String,
    revision: String,
}

impl FromStr for HubId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, revision) = text.split_once('@').unwrap_or((text, REVISION));
        let is_name = name
            .split_once('/')
            .is_some_and(|(organisation, name)| is_plain(organisation) && is_plain(name));
        if is_name && revision.split('/').all(is_plain) {
            Ok(Self { name: name.to_owned(), revision: revision.to_owned() })
        } else {
            Err(format!(
                "'{text}' is neither a file or folder here nor a model on the hub, such as openai-community/gpt2 or org/name@revision"
            ))
        }
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.revision)
    }
}

/// A hub and where its files are kept.
pub struct Hub {
    endpoint: String,
    cache: PathBuf,
    token: Option<String>,
    agent: Agent,
}

/// What the hub says of a model at a revision.
#[derive(Deserialize)]
struct Info {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
}

impl Hub {
    /// The hub at `endpoint`, whose files are kept in the folder `cache`; `token` opens models that
    /// are not public.
    pub fn new(endpoint: &str, cache: PathBuf, token: Option<String>) -> Self {
        let config = Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            // A relative redirect stays with the hub; whoever else it sends us to must not see the
            // token.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .user_agent(concat!("pol-trainer/", env!("CARGO_PKG_VERSION")));
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache,
            token,
            agent: config.build().into(),
        }
    }

    /// The hub that `HF_ENDPOINT` names, with the token in `HF_TOKEN`, kept in `$POL_CACHE/hub` or
    /// the user's cache folder.
    pub fn from_env() -> Self {
        let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let home = || {
            set("XDG_CACHE_HOME")
                .or_else(|| set("HOME").map(|home| home + "/.cache"))
                .unwrap_or_else(|| ".".into())
        };
        let cache = set("POL_CACHE")
            .map_or_else(|| Path::new(&home()).join("pol"), PathBuf::from)
            .join("hub");
        Self::new(&set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into()), cache, set("HF_TOKEN"))
    }

    /// Fetches what an import of `id` needs, and gives the folder or GGUF file to open. `file` is
    /// the GGUF file to take where there are several, or in place of safetensors. `bar` counts
    /// bytes.
    pub fn fetch(
        &self,
        id: &HubId,
        file: Option<&str>,
        bar: &ProgressBar,
    ) -> Result<PathBuf, ImportError> {
        let refuse = |reason: String| ImportError::Hub { id: id.to_string(), reason };
        bar.set_length(0);
        let url = format!(
            "{}/api/models/{}/revision/{}?blobs=true",
            self.endpoint,
            id.name,
            id.revision.replace('/', "%2F")
        );
        let mut response = self.get(&url, 0).map_err(|error| refuse(self.explain(&error)))?;
        let body = response
            .body_mut()
            .with_config()
            .limit(MAX_TEXT)
            .read_to_vec()
            .map_err(|error| refuse(self.explain(&error)))?;
        let info: Info = serde_json::from_slice(&body).map_err(|error| {
            refuse(format!("{} answers with something else than a model: {error}", self.endpoint))
        })?;
        if info.sha.is_empty() || !info.sha.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(refuse(format!(
                "{} says that its commit is {:?}",
                self.endpoint, info.sha
            )));
        }
        let folder = self.cache.join(id.name.replace('/', "--")).join(&info.sha);
        fs::create_dir_all(&folder).map_err(|source| ImportError::Io {
            what: "create",
            path: folder.clone(),
            source,
        })?;
        let get = |names: &[&str]| -> Result<(), ImportError> {
            let siblings = names.iter().map(|name| {
                let found = info.siblings.iter().find(|sibling| sibling.rfilename == *name);
                found.ok_or_else(|| refuse(format!("it has no {name}")))
            });
            let siblings = siblings.collect::<Result<Vec<_>, _>>()?;
            bar.inc_length(siblings.iter().filter_map(|sibling| sibling.size).sum());
            siblings.into_iter().try_for_each(|sibling| {
                bar.set_message(sibling.rfilename.clone());
                self.keep(id, &info.sha, sibling, &folder, bar)
            })
        };

        let has = |name: &str| info.siblings.iter().any(|sibling| sibling.rfilename == name);
        let ggufs = info.siblings.iter().map(|sibling| sibling.rfilename.as_str());
        let ggufs: Vec<&str> =
            ggufs.filter(|name| is_plain(name) && name.ends_with(".gguf")).collect();
        let chosen = match (file, ggufs.as_slice()) {
            (Some(file), _) if ggufs.contains(&file) => Some(file),
            (Some(file), _) => {
                return Err(refuse(format!(
                    "it has no {file}; its GGUF files are: {}",
                    ggufs.join(", ")
                )));
            }
            (None, _) if has(WEIGHTS_FILE) || has(INDEX_FILE) => None,
            (None, &[only]) => Some(only),
            (None, []) => {
                return Err(refuse(
                    "it has neither safetensors nor GGUF files; many older models have a converted revision, try @refs/pr/1 and on, or \
                     convert it yourself and give the folder"
                        .into(),
                ));
            }
            (None, _) => {
                return Err(refuse(format!(
                    "choose one of its GGUF files with --file: {}",
                    ggufs.join(", ")
                )));
            }
        };
        if let Some(file) = chosen {
            get(&[file])?;
            return Ok(folder.join(file));
        }
        let companions =
            COMPANIONS.iter().filter(|(name, needed)| *needed || has(name)).map(|&(name, _)| name);
        get(&companions.collect::<Vec<_>>())?;
        if has(WEIGHTS_FILE) {
            get(&[WEIGHTS_FILE])?;
        } else {
            get(&[INDEX_FILE])?;
            let index = folder.join(INDEX_FILE);
            let mut files: Vec<String> =
                parse_index(&crate::folder::read(&index)?, &index)?.into_values().collect();
            files.sort_unstable();
            files.dedup();
            get(&files.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        Ok(folder)
    }

    /// Makes sure that `folder` has the file `sibling` of the commit `sha`, whole and as the hub
    /// describes it.
    fn keep(
        &self,
        id: &HubId,
        sha: &str,
        sibling: &Sibling,
        folder: &Path,
        bar: &ProgressBar,
    ) -> Result<(), ImportError> {
        let name = &sibling.rfilename;
        let path = folder.join(name);
        if path.is_file() {
            bar.inc(sibling.size.unwrap_or(0));
            return Ok(());
        }
        let part = folder.join(format!("{name}.part"));
        let failed = |reason: String| ImportError::Hub {
            id: id.to_string(),
            reason: format!("{name}: {reason}"),
        };
        let url = format!("{}/{}/resolve/{sha}/{name}", self.endpoint, id.name);
        let mut attempt = 0;
        while let Err(error) = self.download(&url, &part, sibling.size, bar) {
            attempt += 1;
            let passing = !matches!(error, ureq::Error::StatusCode(status) if status < 500);
            if !passing || attempt > RETRIES {
                return Err(failed(self.explain(&error)));
            }
            std::thread::sleep(Duration::from_millis(200 << attempt));
        }
        let whole = check(&part, sibling).and_then(|wrong| match wrong {
            None => fs::rename(&part, &path).map(|()| None),
            // Resuming would only lead here again.
            Some(reason) => fs::remove_file(&part).map(|()| Some(reason)),
        });
        match whole {
            Ok(None) => Ok(()),
            Ok(Some(reason)) => Err(failed(reason)),
            Err(source) => Err(ImportError::Io { what: "keep", path, source }),
        }
    }

    /// Downloads `url` to `part`, from where that ends.
    fn download(
        &self,
        url: &str,
        part: &Path,
        size: Option<u64>,
        bar: &ProgressBar,
    ) -> Result<(), ureq::Error> {
        let mut file = OpenOptions::new().create(true).append(true).open(part)?;
        let mut have = file.metadata()?.len();
        if size.is_some_and(|size| have > size) {
            file.set_len(0)?;
            have = 0;
        }
        if have > 0 && size == Some(have) {
            return Ok(());
        }
        let mut response = self.get(url, have)?;
        if have > 0 && response.status() != 206 {
            // It was sent from the start.
            file.set_len(0)?;
            have = 0;
        }
        let before = bar.position();
        bar.inc(have);
        let outcome = copy(
            response.body_mut(),
            &mut file,
            size.map_or(u64::MAX, |size| size.saturating_sub(have)),
            bar,
        );
        if outcome.is_err() {
            bar.set_position(before);
        }
        Ok(outcome?)
    }

    fn get(&self, url: &str, from: u64) -> Result<Response<Body>, ureq::Error> {
        let mut request = self.agent.get(url);
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request.call()
    }

    fn explain(&self, error: &ureq::Error) -> String {
        match error {
            ureq::Error::StatusCode(401 | 403) => {
                format!(
                    "{} refuses it; if it is not public, accept its terms there and set HF_TOKEN to your access token",
                    self.endpoint
                )
            }
            ureq::Error::StatusCode(404) => {
                format!("{} has no such model, revision or file", self.endpoint)
            }
            error => format!(
                "{} cannot be reached: {error}; check the network, or set HF_ENDPOINT to a mirror, or give a folder or file",
                self.endpoint
            ),
        }
    }
}

/// Copies `body` to its end into `file`, which is an error where it has more than `most` bytes.
fn copy(body: &mut Body, file: &mut File, most: u64, bar: &ProgressBar) -> io::Result<()> {
    let mut reader = body.as_reader();
    let mut buffer = vec![0; CHUNK];
    let mut left = most;
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            return file.sync_all();
        }
        left = left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other("more bytes come than the file has"))?;
        file.write_all(&buffer[..read])?;
        bar.inc(read as u64);
    }
}

/// What is wrong with the download at `part`, if anything.
fn check(part: &Path, sibling: &Sibling) -> io::Result<Option<String>> {
    let mut file = File::open(part)?;
    let found = file.metadata()?.len();
    if let Some(size) = sibling.size.filter(|&size| size != found) {
        return Ok(Some(format!("{found} bytes came of {size}; try again")));
    }
    let Some(lfs) = &sibling.lfs else { return Ok(None) };
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    let digest: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((!digest.eq_ignore_ascii_case(&lfs.sha256))
        .then(|| "what came has another SHA-256 than the hub states; try again".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_names_not_paths() {
        let id: HubId = "openai-community/gpt2".parse().unwrap();
        assert_eq!(id.to_string(), "openai-community/gpt2@main");
        assert_eq!("a/b@refs/pr/1".parse::<HubId>().unwrap().revision, "refs/pr/1");
        for text in [
            "", "gpt2", "a/b/c", "../b", "a/..", "a/b@", "a/b@../x", "a/b@x//y", "/b", "a/",
            "a b/c", "a/b?c", "a/.b",
        ] {
            assert!(text.parse::<HubId>().is_err(), "{text}");
        }
    }
}
