// SPDX-License-Identifier: Apache-2.0

//! The input files, and the blocks of text in them.

use crate::{
    clean::{blocks, clean},
    error::{DataError, IoContext},
};
use indicatif::ProgressBar;
use pol_primitives::{Hash, MILLION, Ppm};
use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};
use walkdir::WalkDir;

/// Text files in reading order.
pub(crate) struct Corpus {
    files: Vec<(PathBuf, Hash)>,
    /// Size of all files.
    pub(crate) bytes: u64,
}

/// Piece of a document that repeats no earlier piece.
pub(crate) struct Block<'a> {
    pub(crate) text: &'a str,
    /// Index of the document.
    pub(crate) document: u32,
    /// Index of the block in the document.
    pub(crate) index: u32,
    /// BLAKE3 of the text without surrounding space.
    hash: Hash,
}

/// Counts of one pass over a corpus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CorpusCounts {
    pub(crate) documents: u32,
    pub(crate) blocks: u64,
    pub(crate) duplicate_blocks: u64,
    pub(crate) bytes: u64,
    pub(crate) invalid: u64,
}

impl Block<'_> {
    /// Returns `true` if the block belongs to the held-out split, which is `share` of all text.
    /// Only the text of the block decides.
    pub(crate) fn is_held_out(&self, share: Ppm) -> bool {
        let [a, b, c, d, e, f, g, h, ..] = self.hash;
        u64::from_le_bytes([a, b, c, d, e, f, g, h]) % u64::from(MILLION) < u64::from(share)
    }
}

impl Corpus {
    /// Lists and hashes `inputs`: files as they are, and for each folder all `.txt` files below it
    /// in the order of their paths.
    pub(crate) fn open(inputs: &[PathBuf]) -> Result<Self, DataError> {
        let mut paths = Vec::new();
        for input in inputs {
            if fs::metadata(input).io_context("read", input)?.is_dir() {
                paths.extend(text_files(input)?);
            } else {
                paths.push(input.clone());
            }
        }
        if paths.is_empty() {
            let names: Vec<String> =
                inputs.iter().map(|input| input.display().to_string()).collect();
            return Err(DataError::NoText(if names.is_empty() {
                "no input".into()
            } else {
                names.join(", ")
            }));
        }
        let (mut files, mut bytes) = (Vec::with_capacity(paths.len()), 0);
        for path in paths {
            let contents = fs::read(&path).io_context("read", &path)?;
            bytes += contents.len() as u64;
            files.push((path, *blake3::hash(&contents).as_bytes()));
        }
        Ok(Self { files, bytes })
    }

    /// Returns the hashes of the files. Together with the options they determine everything that
    /// an ingestion writes.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = &Hash> {
        self.files.iter().map(|(_, hash)| hash)
    }

    /// Calls `each` for every block of text. Holds one file in memory at a time, and advances
    /// `progress` by the bytes of each file.
    pub(crate) fn for_each_block(
        &self,
        progress: &ProgressBar,
        mut each: impl FnMut(&Block<'_>) -> Result<(), DataError>,
    ) -> Result<CorpusCounts, DataError> {
        let (mut counts, mut seen) = (CorpusCounts::default(), HashSet::new());
        for ((path, hash), document) in self.files.iter().zip(0..) {
            let contents = fs::read(path).io_context("read", path)?;
            if blake3::hash(&contents).as_bytes() != hash {
                return Err(DataError::Changed(path.clone()));
            }
            let cleaned = clean(&contents);
            counts.documents += 1;
            counts.invalid += cleaned.invalid;
            for (text, index) in blocks(&cleaned.text).zip(0..) {
                let hash = *blake3::hash(text.trim().as_bytes()).as_bytes();
                if !seen.insert(hash) {
                    counts.duplicate_blocks += 1;
                    continue;
                }
                counts.blocks += 1;
                counts.bytes += text.len() as u64;
                each(&Block { text, document, index, hash })?;
            }
            progress.inc(contents.len() as u64);
        }
        Ok(counts)
    }
}

/// Returns the `.txt` files below `folder`, sorted by path. Does not follow links to folders, which
/// may lead in circles.
fn text_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut paths = Vec::new();
    for entry in WalkDir::new(folder) {
        let entry = entry.map_err(|error| DataError::Io {
            action: "read",
            path: error.path().unwrap_or(folder).to_owned(),
            source: error.into_io_error().unwrap_or_else(|| io::ErrorKind::Other.into()),
        })?;
        let is_text = |path: &Path| {
            path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("txt"))
        };
        // `is_file` follows links to files.
        if is_text(entry.path()) && entry.path().is_file() {
            paths.push(entry.into_path());
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen = Vec<(String, u32, u32)>;

    fn read(inputs: &[PathBuf]) -> (CorpusCounts, Seen) {
        let mut seen = Vec::new();
        let corpus = Corpus::open(inputs).unwrap();
        let counts = corpus
            .for_each_block(&ProgressBar::hidden(), |block| {
                seen.push((block.text.to_owned(), block.document, block.index));
                Ok(())
            })
            .unwrap();
        (counts, seen)
    }

    #[test]
    fn folders_are_read_in_order_and_repeats_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("b")).unwrap();
        fs::create_dir(path("g.txt")).unwrap();
        for (name, text) in [
            ("c.TXT", "third"),
            ("b/x.txt", "second"),
            ("a.txt", "first"),
            ("d.txt", "\n first\n"),
            ("e.md", "no"),
        ] {
            fs::write(path(name), text).unwrap();
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::symlink;
            symlink(folder.path(), path("b/circle")).unwrap();
            symlink(folder.path(), path("b/circle.txt")).unwrap();
            symlink(path("b/x.txt"), path("f.txt")).unwrap();
        }
        let (counts, seen) = read(&[folder.path().to_owned()]);
        // The leading space of " first" stays in the text, but does not make it another block.
        assert_eq!(
            seen,
            [("first\n".into(), 0, 0), ("second\n".into(), 1, 0), ("third\n".into(), 2, 0)]
        );
        assert_eq!(
            counts,
            CorpusCounts { documents: 5, blocks: 3, duplicate_blocks: 2, bytes: 19, invalid: 0 }
        );

        let (counts, seen) = read(&[path("e.md"), path("c.TXT"), folder.path().to_owned()]);
        assert_eq!(seen[0].0, "no\n");
        assert_eq!((counts.documents, counts.duplicate_blocks), (7, 3));
    }

    #[test]
    fn missing_and_changing_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let opened = Corpus::open(std::slice::from_ref(&missing));
        assert!(matches!(opened, Err(DataError::Io { path, .. }) if path == missing));
        for inputs in [vec![], vec![folder.path().to_owned()]] {
            let Err(error) = Corpus::open(&inputs) else { panic!("opened") };
            assert!(error.to_string().contains("scripts/setup.sh"), "{error}");
        }
        let file = folder.path().join("a.txt");
        fs::write(&file, "before").unwrap();
        let corpus = Corpus::open(std::slice::from_ref(&file)).unwrap();
        fs::write(&file, "after").unwrap();
        let read = corpus.for_each_block(&ProgressBar::hidden(), |_| Ok(()));
        assert!(matches!(read, Err(DataError::Changed(path)) if path == file));
    }
}
