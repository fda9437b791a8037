//! The input files, and the blocks of text in them.

use crate::{
    clean::{blocks, clean},
    error::{At, DataError},
};
use indicatif::ProgressBar;
use pol_primitives::{Hash, MILLION, Ppm};
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

/// Text files, in the order in which they are read.
pub(crate) struct Corpus {
    files: Vec<(PathBuf, Hash)>,
    /// Size of all files.
    pub bytes: u64,
}

/// A piece of a document that occurs nowhere before it.
pub(crate) struct Block<'a> {
    pub text: &'a str,
    /// Number of its document.
    pub document: u32,
    /// Its place in the document.
    pub place: u32,
    /// BLAKE3 of the text without space around it.
    hash: Hash,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub documents: u32,
    pub blocks: u64,
    pub duplicate_blocks: u64,
    pub bytes: u64,
    pub invalid: u64,
}

impl Block<'_> {
    /// Whether the block belongs to the held-out part, which is `share` of all. Its text alone
    /// decides.
    pub fn is_held_out(&self, share: Ppm) -> bool {
        let [a, b, c, d, e, f, g, h, ..] = self.hash;
        u64::from_le_bytes([a, b, c, d, e, f, g, h]) % u64::from(MILLION) < u64::from(share)
    }
}

impl Corpus {
    /// Lists `inputs`: files as they are, of folders every `.txt` file below them in the order of
    /// their paths.
    pub fn open(inputs: &[PathBuf]) -> Result<Self, DataError> {
        let mut paths = Vec::new();
        for input in inputs {
            if fs::metadata(input).at("read", input)?.is_dir() {
                let start = paths.len();
                list(input, &mut paths)?;
                paths[start..].sort();
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
            let contents = fs::read(&path).at("read", &path)?;
            bytes += contents.len() as u64;
            files.push((path, *blake3::hash(&contents).as_bytes()));
        }
        Ok(Self { files, bytes })
    }

    /// Hashes of the files, which together with the options decide everything that ingestion
    /// writes.
    pub fn hashes(&self) -> impl Iterator<Item = &Hash> {
        self.files.iter().map(|(_, hash)| hash)
    }

    /// Gives every block of text to `each`, one file in memory at a time. Advances `progress` by
    /// the bytes of each file.
    pub fn read(
        &self,
        progress: &ProgressBar,
        mut each: impl FnMut(&Block<'_>) -> Result<(), DataError>,
    ) -> Result<Counts, DataError> {
        let (mut counts, mut seen) = (Counts::default(), HashSet::new());
        for ((path, hash), document) in self.files.iter().zip(0..) {
            let contents = fs::read(path).at("read", path)?;
            if blake3::hash(&contents).as_bytes() != hash {
                return Err(DataError::Changed(path.clone()));
            }
            let cleaned = clean(&contents);
            counts.documents += 1;
            counts.invalid += cleaned.invalid;
            for (text, place) in blocks(&cleaned.text).zip(0..) {
                let hash = *blake3::hash(text.trim().as_bytes()).as_bytes();
                if !seen.insert(hash) {
                    counts.duplicate_blocks += 1;
                    continue;
                }
                counts.blocks += 1;
                counts.bytes += text.len() as u64;
                each(&Block { text, document, place, hash })?;
            }
            progress.inc(contents.len() as u64);
        }
        Ok(counts)
    }
}

/// Adds the `.txt` files below `folder`. Links to folders are not followed, as they may lead in
/// circles.
fn list(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<(), DataError> {
    for entry in fs::read_dir(folder).at("read", folder)? {
        let entry = entry.at("read", folder)?;
        let path = entry.path();
        if entry.file_type().at("read", &path)?.is_dir() {
            list(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("txt"))
            && path.is_file()
        {
            paths.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen = Vec<(String, u32, u32)>;

    fn read(inputs: &[PathBuf]) -> (Counts, Seen) {
        let mut seen = Vec::new();
        let corpus = Corpus::open(inputs).unwrap();
        let counts = corpus
            .read(&ProgressBar::hidden(), |block| {
                seen.push((block.text.to_owned(), block.document, block.place));
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
        std::os::unix::fs::symlink(folder.path(), path("b/circle")).unwrap();
        let (counts, seen) = read(&[folder.path().to_owned()]);
        // The leading space of " first" stays in the text, but does not make it another block.
        assert_eq!(
            seen,
            [("first\n".into(), 0, 0), ("second\n".into(), 1, 0), ("third\n".into(), 2, 0)]
        );
        assert_eq!(
            counts,
            Counts { documents: 4, blocks: 3, duplicate_blocks: 1, bytes: 19, invalid: 0 }
        );

        let (counts, seen) = read(&[path("e.md"), path("c.TXT"), folder.path().to_owned()]);
        assert_eq!(seen[0].0, "no\n");
        assert_eq!((counts.documents, counts.duplicate_blocks), (6, 2));
    }

    #[test]
    fn missing_and_changing_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        assert!(
            matches!(Corpus::open(std::slice::from_ref(&missing)), Err(DataError::Io { path, .. }) if path == missing)
        );
        for inputs in [vec![], vec![folder.path().to_owned()]] {
            let Err(error) = Corpus::open(&inputs) else { panic!("opened") };
            assert!(error.to_string().contains("scripts/setup.sh"), "{error}");
        }
        let file = folder.path().join("a.txt");
        fs::write(&file, "before").unwrap();
        let corpus = Corpus::open(std::slice::from_ref(&file)).unwrap();
        fs::write(&file, "after").unwrap();
        assert!(
            matches!(corpus.read(&ProgressBar::hidden(), |_| Ok(())), Err(DataError::Changed(path)) if path == file)
        );
    }
}
