// SPDX-License-Identifier: Apache-2.0

//! Downloads of files: within limits, resumed, and verified.

use super::{FetchError, HttpClient, Request};
use reqwest::header::{HeaderValue, RANGE};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
};

/// Most times that a broken transfer is resumed.
const MAX_RESUMPTIONS: u32 = 4;
/// Bytes of a file that are read at a time.
const CHUNK: usize = 1 << 18;

/// Statements about a file that is to be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stated {
    /// Length in bytes, if it is known.
    pub bytes: Option<u64>,
    /// SHA-256 of the contents, if it is known.
    pub sha256: Option<[u8; 32]>,
    /// Largest length that is accepted, in bytes.
    pub max_bytes: u64,
}

/// Facts about a file that was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Downloaded {
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of the contents.
    pub sha256: [u8; 32],
    /// BLAKE3 of the contents.
    pub blake3: [u8; 32],
}

/// Digests of the bytes so far.
#[derive(Clone, Default)]
struct Progress {
    bytes: u64,
    sha256: Sha256,
    blake3: blake3::Hasher,
}

impl Progress {
    fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.sha256.update(bytes);
        self.blake3.update(bytes);
    }

    fn read(&mut self, file: &mut File) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(()),
                read => self.update(&buffer[..read]),
            }
        }
    }

    fn finish(self) -> Downloaded {
        Downloaded {
            bytes: self.bytes,
            sha256: self.sha256.finalize().into(),
            blake3: self.blake3.finalize().into(),
        }
    }
}

/// Reason why a file did not come.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// There is no response within the limits.
    #[error("{0}")]
    Fetch(#[from] FetchError),
    /// The file is not as it is stated to be.
    #[error("{0}")]
    Differs(String),
    /// The file cannot be written or read.
    #[error(transparent)]
    Disk(#[from] io::Error),
}

impl HttpClient {
    /// Downloads a file to `path`, where it appears whole and as it is stated to be. `watch` is
    /// called with the number of bytes so far.
    ///
    /// A transfer that broke, also in an earlier run, is resumed if the SHA-256 is known: only then
    /// it shows that the parts belong together.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be had within the limits, if it is not as stated, or if it cannot
    /// be written.
    pub async fn download(
        &self,
        request: &Request,
        path: &Path,
        stated: &Stated,
        watch: impl Fn(u64),
    ) -> Result<Downloaded, DownloadError> {
        let part = path.with_added_extension("part");
        let downloaded = self.download_part(request, &part, stated, &watch).await?;
        fs::rename(&part, path)?;
        Ok(downloaded)
    }

    /// Fills the file `part`, and verifies it.
    async fn download_part(
        &self,
        request: &Request,
        part: &Path,
        stated: &Stated,
        watch: &impl Fn(u64),
    ) -> Result<Downloaded, DownloadError> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(part)?;
        let mut progress = Progress::default();
        progress.read(&mut file)?;
        let mut resumptions = if stated.sha256.is_some() { MAX_RESUMPTIONS } else { 0 };
        let appended = loop {
            let before = progress.bytes;
            match self.append(request, &mut file, &mut progress, stated, watch).await {
                Err(DownloadError::Fetch(FetchError::Transport(_)))
                    if progress.bytes > before && resumptions > 0 =>
                {
                    resumptions -= 1;
                }
                appended => break appended,
            }
        };
        let downloaded = appended.and_then(|()| {
            file.sync_all()?;
            let downloaded = progress.finish();
            stated.check(&downloaded).map_err(DownloadError::Differs)?;
            Ok(downloaded)
        });
        if let Err(DownloadError::Differs(_) | DownloadError::Fetch(FetchError::TooLarge)) =
            downloaded
        {
            // It would fail again after it is resumed.
            fs::remove_file(part)?;
        }
        downloaded
    }

    /// Appends what is missing to `file`, which has the bytes of `progress`.
    async fn append(
        &self,
        request: &Request,
        file: &mut File,
        progress: &mut Progress,
        stated: &Stated,
        watch: &impl Fn(u64),
    ) -> Result<(), DownloadError> {
        let most = stated.bytes.unwrap_or(u64::MAX).min(stated.max_bytes);
        if stated.sha256.is_none() || progress.bytes > most {
            start(progress, file)?;
        }
        if progress.bytes > 0 && stated.check(&progress.clone().finish()).is_ok() {
            return Ok(());
        }
        let mut request = request.clone();
        if progress.bytes > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={}-", progress.bytes))
        {
            request = request.header(RANGE, range);
        }
        let mut body = match self.open(&request.max_bytes(most)).await {
            Err(FetchError::Status(416)) => {
                return Err(DownloadError::Differs("its server has less of it than before".into()));
            }
            body => body?,
        };
        match body.first_byte() {
            first if first == progress.bytes => {}
            // The server sends the whole file.
            0 => start(progress, file)?,
            _ => return Err(DownloadError::Differs("its server sends another part of it".into())),
        }
        if body.response.content_length().is_some_and(|length| length > most - progress.bytes) {
            return Err(FetchError::TooLarge.into());
        }
        while let Some(chunk) = body.chunk().await? {
            if most - progress.bytes < chunk.len() as u64 {
                return Err(FetchError::TooLarge.into());
            }
            file.write_all(&chunk)?;
            progress.update(&chunk);
            watch(progress.bytes);
        }
        Ok(())
    }
}

/// Forgets what came.
fn start(progress: &mut Progress, file: &File) -> io::Result<()> {
    *progress = Progress::default();
    file.set_len(0)
}

impl Downloaded {
    /// Reads a file, and returns the facts about it.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let mut progress = Progress::default();
        progress.read(&mut File::open(path)?)?;
        Ok(progress.finish())
    }
}

impl Stated {
    /// Compares a file with what is stated about it.
    ///
    /// # Errors
    ///
    /// Fails with the contradiction.
    pub fn check(&self, found: &Downloaded) -> Result<(), String> {
        if let Some(stated) = self.bytes.filter(|stated| *stated != found.bytes) {
            return Err(format!("it has {} bytes, and is said to have {stated}", found.bytes));
        }
        if self.sha256.is_some_and(|stated| stated != found.sha256) {
            return Err("its SHA-256 is another one than stated; ask for a new description".into());
        }
        if found.bytes > self.max_bytes {
            return Err(format!("it has {} bytes, over {}", found.bytes, self.max_bytes));
        }
        Ok(())
    }
}
