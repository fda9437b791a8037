// SPDX-License-Identifier: Apache-2.0

//! Signatures of an ingested folder that were lost.

use crate::{DataError, SIGNATURES_FILE, documents::Texts, verify};
use pol_corpus::{
    CorpusError,
    dedup::{DedupConfig, SignatureFile},
};
use std::{io::ErrorKind, path::Path};

/// Makes the signatures of an ingested folder anew if they are missing or damaged, and returns
/// `true` if they were.
///
/// They are made of the texts in the shards, which are verified before. A passage that was cut from
/// a text, and the end of a side that filled no shard, are in the first signatures only.
///
/// # Errors
///
/// Fails if the signatures cannot be read or were made with other options, and if they are lost and
/// another file of the folder is damaged too.
pub fn restore_signatures(folder: &Path, config: &DedupConfig) -> Result<bool, DataError> {
    let path = folder.join(SIGNATURES_FILE);
    let Err(error) = SignatureFile::open(&path, config) else { return Ok(false) };
    let is_lost = match &error {
        CorpusError::Damaged { .. } => true,
        CorpusError::Io { source, .. } => source.kind() == ErrorKind::NotFound,
        CorpusError::InvalidOption(_) | CorpusError::TooManyDocuments => false,
    };
    if !is_lost {
        return Err(error.into());
    }
    verify(folder)?;
    let texts = Texts::open(folder)?.filter_map(|item| match item {
        Ok((_, text)) => text.filter(|text| !text.is_empty()).map(Ok),
        Err(error) => Some(Err(error)),
    });
    SignatureFile::write(&path, config, texts)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IngestConfig, IngestRecord, TRAIN, ingest, tokenizer_trainer::tests::many_words};
    use pol_corpus::pipeline::References;
    use std::{fs, path::PathBuf};

    /// Ingests texts into the folder `out`, compared with signatures.
    fn data_of(scratch: &Path, texts: &[&str], out: &str, against: Vec<PathBuf>) -> IngestRecord {
        let input = scratch.join(format!("{out}-texts"));
        fs::create_dir(&input).unwrap();
        for (number, text) in texts.iter().enumerate() {
            fs::write(input.join(format!("{number}.txt")), text).unwrap();
        }
        let config = IngestConfig::small(input, scratch.join(out));
        let references = References { against, ..References::default() };
        ingest(&config, references, &|_| ()).unwrap()
    }

    #[test]
    fn lost_signatures_are_made_of_the_texts_in_the_shards() {
        let scratch = tempfile::tempdir().unwrap();
        let scratch = scratch.path();
        let text = many_words(30_000);
        let part = text.len() / 6;
        let texts: Vec<_> = (0..6).map(|at| &text[at * part..(at + 1) * part]).collect();
        data_of(scratch, &texts[..5], "a", Vec::new());
        let (folder, config) = (scratch.join("a"), DedupConfig::default());
        let path = folder.join(SIGNATURES_FILE);
        let first = fs::read(&path).unwrap();
        assert!(!restore_signatures(&folder, &config).unwrap(), "nothing is lost");
        let losses: [&dyn Fn(); 3] = [
            &|| fs::remove_file(&path).unwrap(),
            &|| fs::write(&path, &first[..first.len() / 2]).unwrap(),
            &|| {
                let mut flipped = first.clone();
                flipped[20] ^= 1;
                fs::write(&path, flipped).unwrap();
            },
        ];
        for lose in losses {
            lose();
            assert!(restore_signatures(&folder, &config).unwrap());
            let made = fs::read(&path).unwrap();
            // The last text lacks its end, which fills no shard.
            let whole = 48 + 4 * (first.len() - 80) / 5;
            assert_eq!((made.len(), &made[..whole]), (first.len(), &first[..whole]));
        }
        let edition = texts[4].replacen("w0", "W1 ", 3);
        let later = data_of(scratch, &[&edition, texts[5], texts[0]], "b", vec![path]);
        assert_eq!((later.documents, later.dropped), (1, 2), "only one text is new");
    }

    #[test]
    fn signatures_stay_lost_where_the_texts_are_damaged_and_others_are_left_alone() {
        let scratch = tempfile::tempdir().unwrap();
        data_of(scratch.path(), &[&many_words(10_000)], "a", Vec::new());
        let (folder, config) = (scratch.path().join("a"), DedupConfig::default());
        let path = folder.join(SIGNATURES_FILE);
        let first = fs::read(&path).unwrap();
        let other = DedupConfig { seed: 1, ..DedupConfig::default() };
        let error = restore_signatures(&folder, &other).unwrap_err().to_string();
        assert!(error.contains("made with another version"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), first);

        fs::write(&path, "torn").unwrap();
        let shards = folder.join(TRAIN).join("shards.u16");
        let mut bytes = fs::read(&shards).unwrap();
        bytes[100] ^= 1;
        fs::write(&shards, bytes).unwrap();
        let error = restore_signatures(&folder, &config).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"torn", "what is there stays");
    }
}
